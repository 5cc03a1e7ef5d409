//! How fast rules are tried on what is kept as columns, the whole way: files, samples, folds, report.
//!
//! `cargo bench -p alerts --bench backtest [-- ROWS_PER_DEVICE]`: 1,000 devices × 3,400 messages of three readings, 250 s
//! apart, some ten days. Each line is one trial, the best of three; what is counted is readings that were looked at.

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use alerts::{Against, EvaluateParts, Evaluation, Trial, URGENT_WITHIN, Wake};
use catalog::Catalog;
use host::{Host, KeyRing, SystemClock, SystemDisk, SystemRandom};
use identity::Identity;
use journal::{Journal, Record};
use model::{Message, Origin, Qos, Timestamp, TopicName};
use rules::{Limits, RuleSet};
use series::{Offline, Settings};

const DEVICES: usize = 1_000;
const PACE_MS: i64 = 250_000;
/// 2026-01-01T00:00:00Z in milliseconds.
const START_MS: i64 = 1_767_225_600_000;

#[tokio::main]
async fn main() {
    let rows: i64 = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(3_400);
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host {
        clock: Arc::new(SystemClock::start()),
        disk: Arc::new(SystemDisk),
        random: Arc::new(SystemRandom),
        keys: Arc::new(KeyRing::new(&[7; 32])),
        boot: 1,
    };
    let settings = Settings { memory_readings: usize::MAX, ..Settings::default() };
    let store = Offline::open(&dir.path().join("series"), &settings, Arc::default(), Arc::default(), &host)
        .expect("opened");
    fill(&store, rows);
    let stats = store.series().stats();
    println!("{} readings in {} files, encrypted", stats.file_readings, stats.files);
    let migrations: Vec<catalog::Migration> = identity::Identity::migrations()
        .iter()
        .chain(alerts::MIGRATIONS)
        .chain(alerts::EVALUATION_MIGRATIONS)
        .copied()
        .collect();
    let catalog = Catalog::open(&dir.path().join("catalog.db"), &migrations, &host).expect("a catalog");
    let (journal, _) =
        Journal::open(&dir.path().join("journal"), &journal::Settings::default(), &host).expect("a journal");
    let parts = EvaluateParts {
        identity: Identity::open(catalog.clone(), host.clone()).expect("a register"),
        host,
        catalog,
        journal,
        series: store.series().clone(),
        routes: Arc::default(),
        wake: Wake::default(),
        connected: Arc::new(hashbrown::HashMap::new),
        urgent_within: URGENT_WITHIN,
    };
    let evaluation = Evaluation::start(parts, Vec::new()).await.expect("started");
    let all = "temperature > 24 and humidity > 20 and co2 > 400";
    for (name, body) in [
        ("a filter over one of three channels", "expr: temperature > 24".to_owned()),
        ("a filter over three channels", format!("expr: {all}")),
        ("`for: 30m` over three channels", format!("expr: {all}\n    for: 30m\n    max_gap: 10m")),
        ("a mean of an hour over one channel", "expr: avg(temperature, 1h) > 24".to_owned()),
        ("silence", "absent_for: 15m".to_owned()),
        ("devices that share a state, three channels", format!("by: [group]\n    expr: {all}")),
    ] {
        measure(&evaluation, name, &body, 1).await;
    }
    measure(&evaluation, "ten filters over three channels", &format!("expr: {all}"), 10).await;
}

async fn measure(evaluation: &Evaluation, name: &str, body: &str, rules: usize) {
    let rule = |nth: usize| format!("  - alert: Rule{nth}\n    from: dt/+/climate\n    {body}\n");
    let text: String = (0..rules).map(rule).collect();
    let text = format!("groups:\n- name: bench\n  rules:\n{text}");
    let mut best = 0.0_f64;
    let mut shown = String::new();
    for _ in 0..3 {
        let rules = RuleSet::load([("bench.yaml", text.as_str())], &Limits::default()).expect("right").alerts;
        let trial =
            Trial { rules, against: Against::InForce, from: None, to: None, label: "severity".to_owned() };
        let started = Instant::now();
        let tried = evaluation.try_rules(trial, |_| ControlFlow::Continue(())).await.expect("tried");
        let took = started.elapsed().as_secs_f64();
        let rate = tried.readings as f64 / took / 1e6;
        if rate > best {
            best = rate;
            let report = &tried.rules[0].report;
            let episodes = report.episodes().count() as u64 + report.episodes_unlisted;
            shown = format!("{} readings in {took:.2} s, {episodes} episodes", tried.readings);
        }
    }
    println!("{best:6.2} M readings/s  {name} ({shown})");
}

fn fill(store: &Offline, rows: i64) {
    let origin = Arc::new(Origin::inside(1));
    let topics: Vec<TopicName> = (0..DEVICES)
        .map(|n| TopicName::parse(format!("dt/device-{n:04}/climate")).expect("a topic"))
        .collect();
    let mut seq = 0;
    for row in 0..rows {
        let at = START_MS + row * PACE_MS;
        let records = topics.iter().enumerate().map(|(device, topic)| {
            let n = device as i64 * 7 + row;
            // A slow wave with a little that differs from device to device.
            let temperature = 20.0 + ((n / 40) % 10) as f64 * 0.55 + (n % 13) as f64 * 0.01;
            let humidity = 30 + (n * 31) % 40;
            let payload = format!(
                "{{\"ts\":{},\"temperature\":{temperature:.2},\"humidity\":{humidity},\"co2\":{}}}",
                at + device as i64,
                500 + (n * 17) % 300
            );
            seq += 1;
            let received_at = Timestamp::from_micros((at + device as i64 + 30) * 1_000);
            let message = Message::new(topic.clone(), payload, Arc::clone(&origin));
            let message = Message { qos: Qos::AtLeastOnce, packet_id: 1, received_at, ..message };
            Record { seq, id_reused: false, message }
        });
        store.apply(&records.collect::<Vec<_>>());
        if store.series().stats().memory_readings >= 500_000 {
            store.flush().expect("written");
        }
    }
    store.flush().expect("written");
    store.compact().expect("merged");
}
