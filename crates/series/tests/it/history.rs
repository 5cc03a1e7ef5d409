//! The past as samples: every reading once, in the order that was asked for, however little is held at a time.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use futures::executor::block_on;
use host::sim::Machine;
use model::{DeviceName, Sample, Timestamp, Value};
use series::{HeldMax, Met, Offline, Past, PastOrder, QueryError, Selection, StoredSample};

use crate::support::{START, message, open, records, telemetry};

const MINUTE: i64 = 60_000_000;

/// Three devices over two days and a bit, in column files and in memory, some readings late, twice, or said otherwise later;
/// one device says different things of one time over two topics.
fn fill(store: &Offline) {
    let mut messages = Vec::new();
    for round in 0..300 {
        let at = START + round * 10 * MINUTE;
        for device in ["c", "a", "b"] {
            let fields = format!("{{\"ts\":{at},\"temperature\":{round},\"state\":\"s{}\"}}", round % 3);
            messages.push(message(&format!("dt/{device}/climate"), fields, at + 1_000));
        }
        messages.push(message("dt/a/air", format!("{{\"ts\":{at},\"co2\":{}}}", round + 400), at + 2_000));
        if round % 50 == 49 {
            // An hour ago once more, with another value, received now.
            let ago = at - 60 * MINUTE;
            messages.push(message(
                "dt/b/climate",
                format!("{{\"ts\":{ago},\"temperature\":-1}}"),
                at + 3_000,
            ));
        }
    }
    let mut from = 1;
    for part in messages.chunks(400) {
        store.apply(&records(from, part.to_vec()));
        from += part.len() as u64;
        if from < 1_000 {
            store.flush().expect("flushed");
        }
    }
}

fn past(store: &Offline, past: Past) -> Result<Vec<StoredSample>, QueryError> {
    let take = |all: &mut Vec<StoredSample>, met: Met<'_>| {
        if let Met::Samples(samples) = met {
            all.extend(samples.iter().cloned());
        }
        ControlFlow::Continue(())
    };
    block_on(store.series().past(past, Vec::new(), take))
}

fn asked(order: PastOrder) -> Past {
    let held_max = HeldMax::default();
    Past { selection: Selection::default(), order, receipts: true, valued: None, held_max }
}

/// What another way of reading the same says: without flags, the readings by name.
fn all(store: &Offline, selection: &Selection) -> Vec<StoredSample> {
    let samples = block_on(store.series().samples(selection, 0, 1_000_000)).expect("samples");
    samples.into_iter().map(plain).collect()
}

fn plain(mut stored: StoredSample) -> StoredSample {
    stored.sample.flags = model::Flags::empty();
    stored.sample.readings.sort_by(|a, b| a.channel.cmp(&b.channel));
    stored
}

fn by_time(mut samples: Vec<StoredSample>) -> Vec<StoredSample> {
    let key = |sample: &Sample| (sample.time, sample.device.clone());
    samples.sort_by(|a, b| (key(&a.sample), &a.topic).cmp(&(key(&b.sample), &b.topic)));
    samples.into_iter().map(plain).collect()
}

#[test]
fn the_past_is_every_reading_once_in_the_order_that_was_asked_for() {
    let store = open(&Machine::new(1).host());
    fill(&store);
    let expect = all(&store, &Selection::default());
    assert_eq!(expect.len(), 1_200);
    let devices = past(&store, asked(PastOrder::Devices)).expect("read");
    let order: Vec<(i64, DeviceName, Timestamp)> = devices
        .iter()
        .map(|stored| (stored.sample.time.day(), stored.sample.device.clone(), stored.sample.time))
        .collect();
    assert!(order.is_sorted(), "day by day, device by device, by time");
    assert_eq!(by_time(devices), expect);
    for held_max in bounds() {
        let times = past(&store, Past { held_max, ..asked(PastOrder::Times) }).expect("read");
        let order: Vec<(Timestamp, DeviceName)> =
            times.iter().map(|stored| (stored.sample.time, stored.sample.device.clone())).collect();
        assert!(order.is_sorted(), "by time and device");
        assert_eq!(by_time(times), expect, "{held_max:?}");
    }
}

/// As much as is wanted at once, and so little that a day is read in many stretches.
fn bounds() -> [HeldMax; 4] {
    let most = HeldMax::default();
    let readings = [40, 7].map(|readings| HeldMax { readings, ..most });
    [most, readings[0], readings[1], HeldMax { text_bytes: 20, ..most }]
}

#[test]
fn a_device_whose_day_is_too_much_is_read_in_stretches_and_the_others_are_not_refused() {
    let store = open(&Machine::new(1).host());
    fill(&store);
    // One more, of which nothing is too much.
    let at = START + 3 * 60 * MINUTE;
    store.apply(&records(2_000, [telemetry("b-rare", at, "\"x\":1")]));
    let expect = all(&store, &Selection::default());
    for held_max in [bounds()[1], bounds()[3]] {
        let devices = past(&store, Past { held_max, ..asked(PastOrder::Devices) }).expect("read");
        let mut days: Vec<(i64, &DeviceName)> =
            devices.iter().map(|stored| (stored.sample.time.day(), &stored.sample.device)).collect();
        days.dedup();
        assert!(days.iter().map(|(day, _)| day).is_sorted(), "day by day");
        assert_eq!(days.len(), 3 * 3 + 1, "{held_max:?}: a device's day comes as a whole");
        let in_order = devices.windows(2).all(|pair| {
            let [before, next] = [&pair[0].sample, &pair[1].sample];
            before.device != next.device || before.time <= next.time
        });
        assert!(in_order, "{held_max:?}: each device by time");
        assert_eq!(by_time(devices), expect, "{held_max:?}");
    }
}

#[test]
fn a_text_that_does_not_matter_is_not_held() {
    let store = open(&Machine::new(1).host());
    fill(&store);
    let held_max = HeldMax { text_bytes: 0, ..HeldMax::default() };
    for order in [PastOrder::Devices, PastOrder::Times] {
        let dense = past(&store, Past { held_max, ..asked(order) }).expect_err("no text may be held");
        assert_eq!(
            dense.to_string(),
            "one second of 2026-11-22 has more than 0 bytes of texts to be looked at; the one too many is of `a`"
        );
        for valued in [&["co2", "temperature"][..], &[]] {
            let valued: BTreeSet<String> = valued.iter().map(ToString::to_string).collect();
            let found =
                past(&store, Past { held_max, valued: Some(valued.clone()), ..asked(order) }).expect("read");
            let mut expect = all(&store, &Selection::default());
            let readings = expect.iter_mut().flat_map(|stored| &mut stored.sample.readings);
            readings
                .filter(|reading| !valued.contains(reading.channel.as_str()))
                .for_each(|reading| reading.value = Value::Text("".into()));
            assert_eq!(by_time(found), expect, "{order:?} {valued:?}");
        }
    }
}

#[test]
fn the_past_is_what_was_selected_of_it() {
    let store = open(&Machine::new(1).host());
    fill(&store);
    let selection = Selection {
        from: Some(Timestamp::from_micros(START + 95 * MINUTE)),
        to: Some(Timestamp::from_micros(START + 1_500 * MINUTE)),
        devices: vec!["a".to_owned(), "b".to_owned()],
        channels: vec!["co2".to_owned(), "state".to_owned()],
    };
    let expect = all(&store, &selection);
    assert!(!expect.is_empty());
    for order in [PastOrder::Devices, PastOrder::Times] {
        let found = past(&store, Past { selection: selection.clone(), ..asked(order) }).expect("read");
        assert_eq!(by_time(found), expect, "{order:?}");
    }
}

#[test]
fn what_is_too_much_to_be_held_is_refused_and_who_has_seen_enough_is_left_alone() {
    let store = open(&Machine::new(1).host());
    fill(&store);
    // Seven readings have one time; three of them are of one device.
    for (order, readings, device) in [(PastOrder::Devices, 2, "a"), (PastOrder::Times, 6, "c")] {
        let held_max = HeldMax { readings, ..HeldMax::default() };
        let dense = past(&store, Past { held_max, ..asked(order) }).expect_err("too much");
        let said = format!(
            "one second of 2026-11-22 has more than {readings} readings to be looked at; the one too many is of `{device}`"
        );
        assert_eq!(dense.to_string(), said, "a second is not divided");
        assert!(dense.hint().is_some_and(|hint| hint.contains("without that second")));
    }
    let take = |seen: &mut u32, met: Met<'_>| {
        *seen += u32::from(matches!(met, Met::Samples(_)));
        if *seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    assert_eq!(block_on(store.series().past(asked(PastOrder::Times), 0, take)).expect("read"), 3);
}

/// The first day has a moment in which much happens; the days after it have a reading an hour.
#[test]
fn one_dense_moment_does_not_make_the_days_after_it_slow() {
    let store = open(&Machine::new(1).host());
    let (second, hour) = (1_000_000, 60 * MINUTE);
    let burst = (0..60).map(|nth| START + nth * second / 20);
    let sparse = (1..30 * 24).map(|nth| START + nth * hour);
    let messages = burst.chain(sparse).map(|at| telemetry("a", at, "\"x\":1"));
    store.apply(&records(1, messages.collect::<Vec<_>>()));
    store.flush().expect("flushed");
    let last = |last: &mut (u64, usize, usize), met: Met<'_>| {
        match met {
            Met::HowFar(how_far) => (last.0, last.1) = (how_far.stretches, how_far.days_done + 1),
            Met::Samples(samples) => last.2 += samples.len(),
        }
        ControlFlow::Continue(())
    };
    // The burst has twenty readings a second: it is read second by second.
    let held_max = HeldMax { readings: 24, ..HeldMax::default() };
    let past = Past { held_max, ..asked(PastOrder::Times) };
    let (stretches, days, samples) = block_on(store.series().past(past, (0, 0, 0), last)).expect("read");
    assert_eq!((days, samples), (30, 60 + 30 * 24 - 1));
    // Down to a second and up again is 17 steps each way; then a few stretches a day.
    assert!((40..300).contains(&stretches), "{stretches} stretches");
}
