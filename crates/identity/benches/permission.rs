//! What a decision and a proof cost: `may` is asked for every message (target: under a microsecond), `authenticate`
//! for every connection (10,000 a second after an outage).

use std::sync::Arc;

use divan::{Bencher, black_box};
use host::{Host, KeyRing, SystemClock, SystemDisk, SystemRandom};
use identity::policy::{AwsSettings, Circumstances, Context, Document, Policy, PolicyName};
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

/// Policies with so many statements in all, a hundred in each: a third names one topic, a third a prefix, a third has a
/// wildcard inside; one in ten denies.
fn statements(n: usize) -> Arc<[Arc<Policy>]> {
    let one = |at: usize| {
        let resource = match at % 3 {
            0 => format!("topic/dt/site-{at}/flow"),
            1 => format!("topic/dt/site-{at}/${{godwit:Device}}/*"),
            _ => format!("topic/dt/site-{at}/*/flow"),
        };
        let effect = if at % 10 == 9 { "Deny" } else { "Allow" };
        format!(
            "{{\"Effect\":\"{effect}\",\"Action\":\"iot:Publish\",\"Resource\":\"arn:aws:iot:*:*:{resource}\"}}"
        )
    };
    let numbers: Vec<usize> = (0..n).collect();
    let policy = |(at, of): (usize, &[usize])| {
        let list: Vec<String> = of.iter().map(|at| one(*at)).collect();
        let text = format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{}]}}", list.join(","));
        let name = PolicyName::parse(format!("p{at}")).expect("a name");
        Arc::new(Policy { name, version: 1, document: Document::parse(&text).expect("a policy") })
    };
    numbers.chunks(100).enumerate().map(policy).collect()
}

fn context() -> Context {
    Context {
        device: Some(name(77)),
        circumstances: Circumstances { client_id: "device-77".into(), ..Circumstances::default() },
        ..Context::default()
    }
}

/// A topic that the wildcard of one of the last statements matches.
#[divan::bench(args = [10, 100, 1000])]
fn policies_allow(bencher: Bencher<'_, '_>, n: usize) {
    let permissions = Permissions::by_policies(statements(n), context(), &AwsSettings::default());
    let topic =
        format!("dt/site-{}/pump/flow", (0..n).rev().find(|at| at % 3 == 2 && at % 10 != 9).expect("one"));
    assert!(permissions.may(Action::Publish, &topic).is_permitted());
    bencher.bench_local(|| permissions.may(Action::Publish, black_box(&topic)));
}

#[divan::bench(args = [10, 100, 1000])]
fn policies_deny(bencher: Bencher<'_, '_>, n: usize) {
    let permissions = Permissions::by_policies(statements(n), context(), &AwsSettings::default());
    let at = (0..n).rev().find(|at| at % 10 == 9).expect("one");
    let topic = match at % 3 {
        0 => format!("dt/site-{at}/flow"),
        1 => format!("dt/site-{at}/device-77/flow"),
        _ => format!("dt/site-{at}/pump/flow"),
    };
    assert!(matches!(
        permissions.may(Action::Publish, &topic),
        identity::Decision::Refused(identity::Reason::Denied(_))
    ));
    bencher.bench_local(|| permissions.may(Action::Publish, black_box(&topic)));
}

#[divan::bench(args = [10, 100, 1000])]
fn policies_say_nothing(bencher: Bencher<'_, '_>, n: usize) {
    let permissions = Permissions::by_policies(statements(n), context(), &AwsSettings::default());
    bencher.bench_local(|| permissions.may(Action::Publish, black_box("dt/site-5/pump/pressure")));
}

#[divan::bench(args = [10, 100, 1000])]
fn compile_policies(bencher: Bencher<'_, '_>, n: usize) {
    let policies = statements(n);
    bencher.bench_local(|| {
        Permissions::by_policies(black_box(Arc::clone(&policies)), context(), &AwsSettings::default())
    });
}

/// What a change that concerns somebody else costs a session.
#[divan::bench]
fn not_concerned(bencher: Bencher<'_, '_>) {
    let bench = register();
    let who =
        bench.identity.authenticate(Some("device-77"), Some(bench.password.as_bytes())).expect("let in");
    let here = Circumstances::of("device-77");
    let permissions = bench.identity.permissions_of(&who, &here);
    bencher.bench_local(|| bench.identity.permissions_again(black_box(&who), &here, &permissions).is_none());
}
