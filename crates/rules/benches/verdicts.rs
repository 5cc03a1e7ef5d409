//! What a verdict costs: 10,000 devices, ten rules, a sample a minute, as the server feeds them.

use std::collections::HashMap;

use divan::counter::ItemsCount;
use model::{ChannelName, DeviceName, Flags, Reading, Sample, Timestamp, Value};
use rules::{Backtest, Circumstances, Counts, Fold, Limits, Rule, RuleSet, Subject};

fn main() {
    divan::main();
}

const DEVICES: usize = 10_000;
const RULES: usize = 10;
/// Rounds of a sample from every device, before what is measured: windows are full then.
const ROUNDS: i64 = 6;
const TOPIC: &str = "dt/office-1/climate";

/// Ten rules of one kind, each with its own limit.
fn rules(body: &str) -> Vec<Rule> {
    let rule = |nth: usize| {
        let body = body.replace("LIMIT", &(20 + nth).to_string());
        format!("  - alert: Rule{nth}\n    from: dt/+/climate\n    {body}\n")
    };
    let text: String = (0..RULES).map(rule).collect();
    let text = format!("groups:\n- name: bench\n  rules:\n{text}");
    RuleSet::load([("bench.yaml", text.as_str())], &Limits::default()).expect("right").alerts
}

/// A round of samples, each with three readings; the values move around the limits.
fn round(devices: &[DeviceName], minute: i64) -> Vec<Sample> {
    let channels = ["temperature", "humidity", "co2"].map(|name| ChannelName::parse(name).expect("a name"));
    let sample = |(nth, device): (usize, &DeviceName)| Sample {
        device: device.clone(),
        time: Timestamp::from_micros(minute * 60 * Timestamp::SECOND),
        flags: Flags::empty(),
        readings: channels
            .iter()
            .map(|channel| {
                let value = 15.0 + ((nth as i64 + minute * 7) % 23) as f64 * 0.7;
                Reading { channel: channel.clone(), value: Value::Number(value) }
            })
            .collect(),
    };
    devices.iter().enumerate().map(sample).collect()
}

/// Feeds a round at a time; what is counted is samples, each judged by ten rules.
fn feed(bencher: divan::Bencher<'_, '_>, body: &str) {
    let rules = rules(body);
    let name = |nth: usize| DeviceName::parse(format!("device-{nth:05}")).expect("a name");
    let devices: Vec<DeviceName> = (0..DEVICES).map(name).collect();
    let places: HashMap<DeviceName, usize> = devices.iter().cloned().zip(0..).collect();
    let state = |rule: &Rule, device: &DeviceName| -> (Subject, Fold) {
        (rule.subject(device, &Circumstances::UNKNOWN).expect("a key"), Fold::new(rule))
    };
    let mut states: Vec<Vec<(Subject, Fold)>> =
        devices.iter().map(|device| rules.iter().map(|rule| state(rule, device)).collect()).collect();
    let (mut counts, mut told) = (Counts::default(), Vec::new());
    let mut run = |samples: &[Sample]| {
        for sample in samples {
            let of_device = &mut states[places[&sample.device]];
            for (rule, (subject, fold)) in rules.iter().zip(of_device) {
                if rule.from().matches(divan::black_box(TOPIC)) {
                    fold.step(rule, subject, sample, &mut counts, &mut told);
                }
            }
            divan::black_box(&told);
            told.clear();
        }
    };
    let mut minute = 0;
    for _ in 0..ROUNDS {
        minute += 1;
        run(&round(&devices, minute));
    }
    bencher
        .counter(ItemsCount::new(DEVICES))
        .with_inputs(|| {
            minute += 1;
            round(&devices, minute)
        })
        .bench_local_values(|samples| run(&samples));
}

#[divan::bench]
fn a_filter_ten_rules(bencher: divan::Bencher<'_, '_>) {
    feed(bencher, "expr: temperature > LIMIT");
}

#[divan::bench]
fn for_five_minutes_ten_rules(bencher: divan::Bencher<'_, '_>) {
    feed(bencher, "expr: temperature > LIMIT\n    for: 5m\n    max_gap: 2m");
}

#[divan::bench]
fn a_five_minute_mean_ten_rules(bencher: divan::Bencher<'_, '_>) {
    feed(bencher, "expr: avg(temperature, 5m) > LIMIT");
}

/// Readings a second through a backtest: one rule, a year of minutes of one device.
#[divan::bench(sample_count = 10)]
fn a_backtest(bencher: divan::Bencher<'_, '_>) {
    let rules = rules("expr: temperature > LIMIT\n    for: 5m");
    let device = [DeviceName::parse("office-1").expect("a name")];
    let samples: Vec<Sample> = (0..525_600).flat_map(|minute| round(&device, minute)).collect();
    bencher.counter(ItemsCount::new(samples.len() * 3)).bench_local(|| {
        let mut backtest = Backtest::new(&rules[0]);
        samples.iter().for_each(|sample| backtest.feed(sample, sample.time, &Circumstances::UNKNOWN));
        backtest.finish(None)
    });
}
