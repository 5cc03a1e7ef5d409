//! What a decision and a proof cost: `may` is asked for every message (target: under a microsecond), `authenticate`
//! for every connection (10,000 a second after an outage).

use std::sync::Arc;

use divan::{Bencher, black_box};
use host::{Host, KeyRing, SystemClock, SystemDisk, SystemRandom};
use identity::{Action, Actor, Identity, LocalToken, Permissions, Who};
use model::DeviceName;

/// Devices with a password.
const DEVICES: usize = 10_000;

fn main() {
    divan::main();
}

struct Bench {
    identity: Identity,
    password: String,
    _dir: tempfile::TempDir,
}

/// A register of [`DEVICES`]; the password is that of `device-77`.
fn register() -> Bench {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host {
        clock: Arc::new(SystemClock::start()),
        disk: Arc::new(SystemDisk),
        random: Arc::new(SystemRandom),
        keys: Arc::new(KeyRing::new(&[7; 32])),
        boot: 1,
    };
    let catalog = catalog::Catalog::open(&dir.path().join("catalog.db"), Identity::migrations(), &host)
        .expect("opened");
    let token = LocalToken::generate(&*host.random);
    let identity = Identity::open(catalog, host).expect("read").with_local_token(&token);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let password = runtime.block_on(async {
        let adding = (0..DEVICES).map(|n| {
            let name = name(n);
            let identity = identity.clone();
            async move {
                identity
                    .add_device_with_password(&Actor::inside(), &name)
                    .await
                    .expect("added")
                    .reveal()
                    .to_owned()
            }
        });
        futures::future::join_all(adding).await.swap_remove(77)
    });
    Bench { identity, password, _dir: dir }
}

fn name(n: usize) -> DeviceName {
    DeviceName::parse(format!("device-{n}")).expect("a name")
}

fn of_a_device(bench: &Bench) -> Permissions {
    let who =
        bench.identity.authenticate(Some("device-77"), Some(bench.password.as_bytes())).expect("let in");
    bench.identity.permissions(&who, "device-77")
}

#[divan::bench(args = ["dt/device-77/telemetry", "$aws/things/device-77/shadow/update", "dt/device-78/telemetry"])]
fn device_publish(bencher: Bencher<'_, '_>, topic: &str) {
    let permissions = of_a_device(&register());
    bencher.bench_local(|| permissions.may(Action::Publish, black_box(topic)));
}

#[divan::bench(args = ["cmd/device-77/#", "cmd/device-77/relay/+/set", "#"])]
fn device_subscribe(bencher: Bencher<'_, '_>, filter: &str) {
    let permissions = of_a_device(&register());
    bencher.bench_local(|| permissions.may(Action::Subscribe, black_box(filter)));
}

#[divan::bench]
fn anonymous_publish(bencher: Bencher<'_, '_>) {
    let permissions = register().identity.permissions(&Who::anonymous(), "laptop");
    bencher.bench_local(|| permissions.may(Action::Publish, black_box("dt/device-77/telemetry")));
}

#[divan::bench]
fn compile_permissions(bencher: Bencher<'_, '_>) {
    let bench = register();
    let who =
        bench.identity.authenticate(Some("device-77"), Some(bench.password.as_bytes())).expect("let in");
    bencher.bench_local(|| bench.identity.permissions(black_box(&who), "device-77"));
}

#[divan::bench]
fn right_password(bencher: Bencher<'_, '_>) {
    let bench = register();
    let password = bench.password.as_bytes();
    bencher.bench_local(|| bench.identity.authenticate(black_box(Some("device-77")), Some(password)).is_ok());
}

#[divan::bench]
fn wrong_password(bencher: Bencher<'_, '_>) {
    let bench = register();
    let wrong = "x".repeat(bench.password.len());
    bencher.bench_local(|| {
        bench.identity.authenticate(black_box(Some("device-77")), Some(wrong.as_bytes())).is_ok()
    });
}

#[divan::bench]
fn unknown_name(bencher: Bencher<'_, '_>) {
    let bench = register();
    let wrong = "x".repeat(bench.password.len());
    bencher.bench_local(|| {
        bench.identity.authenticate(black_box(Some("nobody-77")), Some(wrong.as_bytes())).is_ok()
    });
}

#[divan::bench]
fn seen_and_known(bencher: Bencher<'_, '_>) {
    let bench = register();
    let name = name(77);
    bencher.bench_local(|| bench.identity.seen(black_box(&name)));
}
