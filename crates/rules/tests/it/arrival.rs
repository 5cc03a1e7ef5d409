//! Episodes are a function of samples: not of the order in which they came, nor of crashes, nor of what a window held before.

use model::{ChannelName, DeviceName, Flags, Reading, Sample, Timestamp, Value};
use proptest::prelude::*;
use rules::Rule;

use crate::consumer::{Consumer, Notice};
use crate::rule;

/// Histories tried of each law.
const CASES: u32 = 200;

/// Rules of every kind: runs, gaps, hysteresis, streaks, windows, last values, hold, merged keys.
const BODIES: [&str; 14] = [
    "expr: a > 2\nfor: 3m",
    "expr: a > 2\nfor: 3m\nmax_gap: 2m",
    "expr: a > 2\nclear: a < 1\nfor: 2m",
    "expr: a > 2\nclear: b < 2\nfor: 2m",
    "expr: a > 1 and b > 1\nstreak: 2",
    "expr: avg(a, last 4) > 2\nstreak: 3",
    "expr: avg(a, 5m) > 2\nfor: 2m",
    "expr: max(a - b, 4m) > 1 and last(b) > 0\nfor: 1m",
    "expr: last(a) > last(b, 5m)\nfor: 2m",
    "expr: a > 2\nfor: 4m\nhold: 10m",
    "expr: a > 2\nfor: 4m\nhold: 10m\nmax_gap: 3m\nclear: a = 0",
    "expr: count(a, 6m) > 4 or a / b > 2",
    "by: [attr.line]\nexpr: a > 2\nfor: 2m",
    "by: [attr.line]\nexpr: avg(a, last 3) > 2 and last(b, 9m) > 0\nclear: a < 2\nfor: 1m",
];

fn reading(channel: &str, value: i32) -> Reading {
    let channel = ChannelName::parse(channel.to_owned()).expect("a name");
    Reading { channel, value: Value::Number(f64::from(value)) }
}

/// Samples of two devices over some hours, in (time, device) order: steps of 20 s to 3 minutes, now and then a hole; channel
/// `a` nearly always, `b` sometimes, values that stay for a while.
fn history() -> impl Strategy<Value = Vec<Sample>> {
    let step = prop_oneof![9 => 1..10_i64, 1 => 20..60_i64];
    let sample = (
        step,
        0..2_usize,
        0..4_i32,
        prop::option::weighted(0.9, 0..5_i32),
        prop::option::weighted(0.5, 0..4_i32),
    );
    prop::collection::vec(sample, 2..150).prop_map(|rows| {
        let (mut seconds, mut held) = (1_000_000, 0);
        let mut samples = Vec::new();
        for (step, device, stays, a, b) in rows {
            seconds += step * 20;
            held = if stays > 0 { held } else { a.unwrap_or(0) };
            let readings: Vec<Reading> =
                a.map(|_| reading("a", held)).into_iter().chain(b.map(|b| reading("b", b))).collect();
            if readings.is_empty() {
                continue;
            }
            samples.push(Sample {
                device: DeviceName::parse(["one", "two"][device].to_owned()).expect("a name"),
                time: Timestamp::from_micros(seconds * Timestamp::SECOND),
                flags: Flags::empty(),
                readings,
            });
        }
        samples
    })
}

/// Messages of single channels, all of the first before all of the second half the time.
fn split(samples: &[Sample], by_channel: bool) -> Vec<Sample> {
    let of = |sample: &Sample| {
        let sample = sample.clone();
        sample
            .readings
            .clone()
            .into_iter()
            .map(move |reading| Sample { readings: vec![reading], ..sample.clone() })
    };
    let mut messages: Vec<Sample> = samples.iter().flat_map(of).collect();
    if by_channel {
        messages.sort_by_key(|message| message.readings[0].channel.clone());
    }
    messages
}

/// How a backlog may come in.
fn arrivals(samples: &[Sample], shuffled: &[usize]) -> Vec<Vec<Sample>> {
    let shuffled: Vec<Sample> = shuffled.iter().map(|at| samples[*at].clone()).collect();
    let doubled = samples.iter().flat_map(|sample| [sample.clone(), sample.clone()]).collect();
    let twice = shuffled.iter().chain(samples).cloned().collect();
    let mut split_and_shuffled = split(&shuffled, false);
    split_and_shuffled.reverse();
    vec![
        samples.iter().rev().cloned().collect(),
        shuffled.clone(),
        doubled,
        twice,
        split(samples, false),
        split(samples, true),
        split_and_shuffled,
    ]
}

fn ends<'a>(rule: &'a Rule, samples: Vec<Sample>, now: Timestamp) -> Consumer<'a> {
    Consumer::new(rule).all(samples).at(now)
}

fn history_and_order() -> impl Strategy<Value = (Vec<Sample>, Vec<usize>)> {
    history().prop_flat_map(|samples| {
        let order: Vec<usize> = (0..samples.len()).collect();
        (Just(samples), Just(order).prop_shuffle())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn episodes_do_not_depend_on_arrival((samples, order) in history_and_order(), body in 0..BODIES.len()) {
        let rule = rule(BODIES[body]);
        let now = samples[samples.len() - 1].time.plus_micros(Timestamp::DAY);
        let live = ends(&rule, samples.clone(), now);
        prop_assert_eq!(live.looks, 0);
        for (nth, arrival) in arrivals(&samples, &order).into_iter().enumerate() {
            let late = ends(&rule, arrival, now);
            prop_assert_eq!(live.times(), late.times(), "{} by {}", BODIES[body], nth);
            prop_assert_eq!(&live.folds, &late.folds, "{} by {}", BODIES[body], nth);
        }
    }

    #[test]
    fn crash_changes_no_episode(
        (samples, order) in history_and_order(),
        body in 0..BODIES.len(),
        (saved, died) in (0..1_000_usize, 0..1_000_usize),
        in_order: bool,
    ) {
        let rule = rule(BODIES[body]);
        let now = samples[samples.len() - 1].time.plus_micros(Timestamp::DAY);
        let arrival: Vec<Sample> =
            if in_order { samples } else { order.iter().map(|at| samples[*at].clone()).collect() };
        let died = died % (arrival.len() + 1);
        let saved = saved % (died + 1);
        let straight = ends(&rule, arrival.clone(), now);
        // The state is saved, more comes, the process dies: the store and what was committed are ahead of the state.
        let mut crashed = Consumer::new(&rule).all(arrival[..saved].to_vec());
        let state = crashed.saved();
        crashed = crashed.all(arrival[saved..died].to_vec());
        crashed.crash(&state);
        crashed = crashed.all(arrival[saved..died].to_vec());
        crashed.is_behind = false;
        let crashed = crashed.all(arrival[died..].to_vec()).at(now);
        prop_assert_eq!(straight.times(), crashed.times(), "{}", BODIES[body]);
        if in_order {
            prop_assert_eq!(&straight.sequence, &crashed.sequence, "{}", BODIES[body]);
        }
        // A look that sees more at once may find the final start of an episode without its earlier ones: never one that
        // neither was nor is.
        let stands = |(key, start, _): &Notice| crashed.episodes.get(key).is_some_and(|of| of.contains_key(start));
        prop_assert!(crashed.notices.difference(&straight.notices).all(stands), "a notice of nothing");
    }

    #[test]
    fn a_window_is_a_function_of_its_samples(
        values in prop::collection::vec(-1000..1000_i32, 4),
        before in prop::collection::vec(prop_oneof![Just(1e15), Just(-1e15), Just(0.1), -1e3..1e3], 0..40),
        window in 0..2_usize,
    ) {
        // What comes before leaves the window, and leaves nothing behind: a running sum of these would.
        let window = ["last 4", "4m"][window];
        let minute = 60 * Timestamp::SECOND;
        let values: Vec<f64> = values.iter().map(|value| f64::from(*value) / 10.0).collect();
        let sample = |nth: usize, value: f64| Sample {
            device: DeviceName::parse("one".to_owned()).expect("a name"),
            time: Timestamp::from_micros(i64::try_from(nth).expect("few") * minute),
            flags: Flags::empty(),
            readings: vec![Reading { value: Value::Number(value), ..reading("a", 0) }],
        };
        let mean = values.iter().map(|value| (value * 10.0).round()).sum::<f64>() / 40.0;
        let text = |sign: &str| format!("expr: abs(avg(a, {window}) - ({mean})) {sign} 0.000000001");
        for (sign, fires) in [("<", true), (">=", false)] {
            let rule = rule(&text(sign));
            let all: Vec<f64> = before.iter().chain(&values).copied().collect();
            let samples: Vec<Sample> = all.iter().enumerate().map(|(nth, value)| sample(nth + 1, *value)).collect();
            let consumer = Consumer::new(&rule).all(samples);
            let is_firing = consumer.folds.values().any(|fold| fold.firing().is_some());
            prop_assert_eq!(is_firing, fires, "{} of {:?}", window, all);
        }
    }
}

#[test]
fn what_is_later_than_lateness_changes_nothing() {
    let rule = rule("expr: a > 2\nfor: 2m\nlateness: 10m");
    let at = |minute: i64, value: i32| Sample {
        device: DeviceName::parse("one".to_owned()).expect("a name"),
        time: Timestamp::from_micros(minute * 60 * Timestamp::SECOND),
        flags: Flags::empty(),
        readings: vec![reading("a", value)],
    };
    let live = [at(0, 0), at(1, 3), at(5, 3), at(20, 0)];
    let late = |minute, value| live.iter().cloned().chain([at(minute, value)]);
    assert_eq!(Consumer::new(&rule).all(live.clone()).times().len(), 1);
    let within = Consumer::new(&rule).all(late(12, 3));
    assert_eq!((within.times().len(), within.too_late, within.looks), (1, 0, 1));
    let beyond = Consumer::new(&rule).all(late(3, 0));
    assert_eq!((beyond.times().len(), beyond.too_late, beyond.looks), (1, 1, 0));
}

#[test]
fn state_of_another_rule_or_of_nobody_is_refused() {
    let plain = rule("expr: a > 2\nfor: 3m");
    let window = rule("expr: avg(a, last 4) > 2\nhold: 1h\nfor: 1m");
    let fold = rules::Fold::new(&window);
    assert!(rules::Fold::from_bytes(&plain, &fold.to_bytes()).is_err());
    assert_eq!(rules::Fold::from_bytes(&window, &fold.to_bytes()).as_ref(), Ok(&fold));
    for bytes in
        [&[][..], &[2, 0, 0], &[1, 9], &[1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]]
    {
        assert!(rules::Fold::from_bytes(&plain, bytes).is_err(), "{bytes:?}");
    }
    let mut long = fold.to_bytes();
    long.push(0);
    assert!(rules::Fold::from_bytes(&window, &long).is_err());
}
