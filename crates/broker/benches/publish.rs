//! What a publish costs at the door: matching with many subscriptions, delivery to one and to many, rights and route.
//!
//! `cargo bench -p broker`. The path from socket to PUBACK is measured whole, by `godwit load ingest`.

use std::sync::Arc;

use broker::Broker;
use broker::probe::Probe;
use divan::Bencher;
use host::{Host, KeyRing, SystemClock, SystemDisk, SystemRandom};
use identity::{Identity, Permissions, Who};
use model::Routes;

fn main() {
    divan::main();
}

/// What an anonymous client may do, by the identity room itself.
fn permissions() -> Permissions {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host {
        clock: Arc::new(SystemClock::start()),
        disk: Arc::new(SystemDisk),
        random: Arc::new(SystemRandom),
        keys: Arc::new(KeyRing::new(&[1; 32])),
        boot: 1,
    };
    let migrations = [Broker::migrations(), Identity::migrations()].concat();
    let catalog =
        catalog::Catalog::open(&dir.path().join("catalog.db"), &migrations, &host).expect("a catalog");
    Identity::open(catalog, host).expect("identity").permissions(&Who::anonymous(), "me")
}

fn with_others(others: usize) -> Probe {
    let mut probe = Probe::new(permissions());
    for n in 0..others {
        probe.subscribe(&format!("dt/device-{n}/+/climate/#"));
    }
    probe
}

/// A topic with one match among many subscriptions that have nothing to do with it.
#[divan::bench(args = [1, 1_000, 100_000])]
fn match_one_of_many(bencher: Bencher<'_, '_>, others: usize) {
    let mut probe = with_others(others);
    probe.subscribe("dt/office-1/#");
    bencher.bench_local(|| assert_eq!(probe.matches(divan::black_box("dt/office-1/a/climate/x")), 1));
}

/// A topic with no match at all, on the same subscriptions.
#[divan::bench(args = [1, 1_000, 100_000])]
fn match_none_of_many(bencher: Bencher<'_, '_>, others: usize) {
    let probe = with_others(others);
    bencher.bench_local(|| assert_eq!(probe.matches(divan::black_box("dt/office-1/a/climate/x")), 0));
}

/// Match, encode once, queue, take, write to memory: one message of 100 B to so many subscribers.
#[divan::bench(args = [1, 10, 500])]
fn deliver_to(bencher: Bencher<'_, '_>, subscribers: usize) {
    let mut probe = Probe::new(permissions());
    for _ in 0..subscribers {
        probe.subscribe("dt/+/climate");
    }
    let message = Probe::message("dt/office-1/climate", 100);
    bencher.bench_local(|| assert!(probe.deliver(&message) > 0));
}

/// Rights and route of a topic that is not the last one.
#[divan::bench]
fn judge(bencher: Bencher<'_, '_>) {
    let probe = Probe::new(permissions());
    let routes = Routes::default();
    bencher.bench_local(|| assert!(probe.judge(&routes, divan::black_box("dt/office-1/climate"))));
}
