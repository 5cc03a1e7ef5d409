//! What becomes of readings.

use host::sim::Machine;
use proptest::prelude::*;
use series::{Offline, Settings};

use crate::support::{
    Model, START, ask, csv, latest, message, newest, open, open_with, records, stored, telemetry,
};

const MINUTE: i64 = 60_000_000;

#[test]
fn a_reading_is_seen_before_and_after_it_is_on_disk() {
    let machine = Machine::new(1);
    let store = open(&machine.host());
    store.apply(&records(1, [telemetry("office-1", START, r#""temperature":21.5,"door":"open""#)]));
    let sql = "SELECT * FROM readings ORDER BY channel";
    let expect = "time,device,channel,value,text,flags,topic,received_at\n\
        2026-11-22T00:00:00Z,office-1,door,,open,0,dt/office-1/telemetry,2026-11-22T00:00:00.25Z\n\
        2026-11-22T00:00:00Z,office-1,temperature,21.5,,0,dt/office-1/telemetry,2026-11-22T00:00:00.25Z\n";
    assert_eq!(csv(&store, sql), expect);
    store.flush().expect("written");
    assert_eq!(store.series().stats().memory_readings, 0);
    assert_eq!(csv(&store, sql), expect);
    drop(store);
    assert_eq!(csv(&open(&machine.host()), sql), expect);
}

#[test]
fn a_repeat_changes_nothing() {
    let store = open(&Machine::new(1).host());
    let sent = || (0..10).map(|n| telemetry("a", START + n * MINUTE, r#""t":1,"u":2"#));
    store.apply(&records(1, sent()));
    store.apply(&records(11, sent()));
    let before = stored(&store);
    assert_eq!(before.len(), 20);
    assert_eq!(store.series().stats().tally.repeated, 20);
    store.flush().expect("written");
    store.apply(&records(21, sent()));
    assert_eq!(stored(&store), before);
    store.flush().expect("written");
    assert_eq!(stored(&store), before);
    store.compact().expect("merged");
    assert_eq!(stored(&store), before);
    let tally = store.series().stats().tally;
    assert_eq!((tally.readings, tally.repeated, tally.stored()), (60, 40, 20));
}

#[test]
fn a_different_value_replaces_by_seq_not_by_arrival_in_files() {
    let store = open(&Machine::new(1).host());
    for (seq, value) in (1..).zip([1, 2, 3]) {
        store.apply(&records(seq, [telemetry("a", START, &format!(r#""t":{value},"only{value}":1"#))]));
        store.flush().expect("written");
    }
    let sql = "SELECT channel, value FROM readings ORDER BY channel";
    let expect = "channel,value\nonly1,1\nonly2,1\nonly3,1\nt,3\n";
    assert_eq!(csv(&store, sql), expect);
    // A filter on the value must not bring an older one back.
    assert_eq!(csv(&store, "SELECT value FROM readings WHERE channel = 't' AND value < 3"), "value\n");
    store.compact().expect("merged");
    assert_eq!(store.series().stats().files, 1);
    assert_eq!(csv(&store, sql), expect);
    store.apply(&records(4, [telemetry("a", START, r#""t":4"#)]));
    assert_eq!(csv(&store, "SELECT value FROM readings WHERE channel = 't'"), "value\n4\n");
}

#[test]
fn latest_is_latest_by_device_time() {
    let mut machine = Machine::new(1);
    let store = open(&machine.host());
    let times = [5, 9, 2, 7];
    store.apply(&records(1, times.map(|n| telemetry("a", START + n * MINUTE, &format!(r#""t":{n}"#)))));
    let sql = "SELECT time, value FROM latest WHERE device = 'a'";
    assert_eq!(csv(&store, sql), "time,value\n2026-11-22T00:09:00Z,9\n");
    store.flush().expect("written");
    store.apply(&records(5, [telemetry("a", START + 8 * MINUTE, r#""t":8"#)]));
    store.flush().expect("written");
    drop(store);
    machine.restart();
    let store = open(&machine.host());
    assert_eq!(csv(&store, sql), "time,value\n2026-11-22T00:09:00Z,9\n");
    store.apply(&records(6, [telemetry("a", START + 9 * MINUTE, r#""t":-9"#)]));
    assert_eq!(csv(&store, sql), "time,value\n2026-11-22T00:09:00Z,-9\n");
}

#[test]
fn messages_for_one_connection_are_invisible() {
    let store = open(&Machine::new(1).host());
    let mut private = telemetry("a", START, r#""t":1"#);
    private.to = Some(7);
    store.apply(&records(1, [private]));
    assert_eq!((store.series().applied(), stored(&store).len()), (1, 0));
    assert_eq!(store.series().stats().tally.messages, 0);
}

#[test]
fn nothing_is_silently_dropped() {
    let mut machine = Machine::new(1);
    let store = open(&machine.host());
    let sent = [
        telemetry("a", START, r#""t":1"#),
        message("dt/a/telemetry", "{not json", START),
        message("dt/b/telemetry", "[1,2]", START),
        message("tele/tasmota_4F2A10/SENSOR", r#"{"t":1}"#, START),
        message("tele/tasmota_000001/SENSOR", r#"{"t":1}"#, START),
        message("dt/a/telemetry", "", START),
    ];
    let count = sent.len() as u64;
    store.apply(&records(1, sent));
    store.flush().expect("written");
    // What was counted moves with the position.
    store.apply(&records(count + 1, [message("dt/a/telemetry", "{", START)]));
    for store in [store, {
        machine.crash();
        let store = open(&machine.host());
        assert_eq!(store.series().applied(), count);
        store.apply(&records(count + 1, [message("dt/a/telemetry", "{", START)]));
        store
    }] {
        let tally = store.series().stats().tally;
        assert_eq!((tally.messages, tally.undecodable, tally.unrouted, tally.without_readings), (7, 3, 2, 1));
        assert_eq!(tally.stored() + tally.undecodable + tally.unrouted + tally.without_readings, 7);
        let unrouted = &tally.unrouted_kinds[0];
        assert_eq!((unrouted.pattern.as_str(), unrouted.count), ("tele/+/SENSOR", 2));
        assert!(unrouted.suggestion.contains("[[route]]"), "{}", unrouted.suggestion);
        let reasons: Vec<_> =
            tally.undecodable_kinds.iter().map(|kind| (kind.reason.as_str(), kind.count)).collect();
        assert_eq!(reasons, [("decode.not_json", 2), ("decode.not_an_object", 1)]);
    }
}

#[test]
fn samples_without_identity_are_named_by_device() {
    let store = open(&Machine::new(1).host());
    store.apply(&records(
        1,
        [message("dt/a/t", r#"{"t":1}"#, START), message("dt/a/t", r#"{"t":1}"#, START + 5)],
    ));
    assert_eq!(store.series().stats().tally.no_identity.get("a"), Some(&2));
    assert_eq!(csv(&store, "SELECT flags FROM readings"), "flags\n17\n17\n");
}

#[test]
fn numbers_come_back_bit_for_bit() {
    let machine = Machine::new(1);
    let store = open(&machine.host());
    let numbers = [
        "0.1",
        "21.0",
        "-0.0",
        "1e300",
        "5e-324",
        "123456789.123456789",
        "9007199254740993",
        "0.30000000000000004",
        "-40",
        "1.005",
        "2028.5",
        "0.00479298817650529",
        "1e-9",
        "4503599627370497.5",
    ];
    let mut expect = Vec::new();
    let mut sent = Vec::new();
    for (n, number) in (0..).zip(numbers) {
        // Each alone in its channel, and all in one.
        for channel in [format!("c{n}"), "mixed".to_owned()] {
            sent.push(telemetry("a", START + n * MINUTE, &format!(r#""{channel}":{number}"#)));
            let value: f64 = number.parse().expect("a number");
            let value = if value == 0.0 { 0.0 } else { value };
            expect.push((("a".to_owned(), channel, START + n * MINUTE), value.to_bits()));
        }
    }
    let expect: Model = expect.into_iter().collect();
    store.apply(&records(1, sent));
    assert_eq!(stored(&store), expect);
    store.flush().expect("written");
    assert_eq!(stored(&store), expect);
    let digits = "SELECT text FROM readings WHERE channel = 'c6'";
    assert_eq!(csv(&store, digits), "text\n9007199254740993\n");
}

#[test]
fn readings_are_dropped_by_age_of_the_later_of_time_and_receipt() {
    let machine = Machine::new(1);
    let day = 86_400_000_000;
    machine.clock.set(model::Timestamp::from_micros(START + 30 * day));
    let settings =
        Settings { keep: Some(std::time::Duration::from_secs(10 * 86_400)), ..Settings::default() };
    let store = open_with(&machine.host(), &settings);
    let mut recording = telemetry("recording", START - 4_000 * day, r#""t":1"#);
    recording.received_at = model::Timestamp::from_micros(START + 29 * day);
    let old = telemetry("old", START, r#""t":1"#);
    store.apply(&records(1, [old, recording, telemetry("new", START + 29 * day, r#""t":1"#)]));
    store.flush().expect("written");
    store.retain(0).expect("dropped");
    assert_eq!(csv(&store, "SELECT device FROM readings ORDER BY device"), "device\nnew\nrecording\n");
    assert_eq!(store.series().stats().tally.dropped, 1);
    let newest = csv(&store, "SELECT device FROM latest ORDER BY device");
    assert_eq!(newest, "device\nnew\nold\nrecording\n", "the newest reading outlives its file");
    drop(store);
    let store = open_with(&machine.host(), &settings);
    assert_eq!(csv(&store, "SELECT device FROM latest ORDER BY device"), newest);
}

/// One thing that happens to a store.
#[derive(Debug, Clone)]
enum Step {
    Send { device: u8, channel: u8, minute: u8, value: i16 },
    Flush,
    Compact,
    Crash,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let send = (0..3_u8, 0..3_u8, any::<u8>(), -300..300_i16)
        .prop_map(|(device, channel, minute, value)| Step::Send { device, channel, minute, value });
    let step = prop_oneof![
        20 => send,
        2 => Just(Step::Flush),
        1 => Just(Step::Compact),
        1 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..120)
}

fn cases() -> u32 {
    std::env::var("SERIES_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Against a plain map: every answer along the way, with flushes, merges, crashes and restarts anywhere.
    #[test]
    fn shuffled_doubled_or_replayed_ends_in_the_same_readings(steps in steps(), seed in any::<u64>()) {
        let mut machine = Machine::new(seed);
        let mut store = open(&machine.host());
        let mut model = Model::new();
        let mut journal = Vec::new();
        for step in steps {
            match step {
                Step::Send { device, channel, minute, value } => {
                    // Two days, so that more than one file is written; 7 hours apart at most.
                    let at = START + i64::from(minute) * 11 * MINUTE;
                    let value = f64::from(value) / 10.0;
                    let sent = telemetry(&format!("d{device}"), at, &format!(r#""c{channel}":{value}"#));
                    let seq = journal.len() as u64 + 1;
                    journal.extend(records(seq, [sent]));
                    store.apply(&journal[seq as usize - 1..]);
                    model.insert((format!("d{device}"), format!("c{channel}"), at), (value + 0.0).to_bits());
                }
                Step::Flush => store.flush().expect("written"),
                Step::Compact => {
                    store.compact().expect("merged");
                }
                Step::Crash | Step::Restart => {
                    drop(store);
                    if matches!(step, Step::Crash) { machine.crash() } else { machine.restart() }
                    store = open(&machine.host());
                    // The journal is durable: it is replayed from the manifest's position. Handing in all of it
                    // again changes nothing.
                    store.apply(&journal);
                }
            }
        }
        check(&store, &model)?;
        store.flush().expect("written");
        check(&store, &model)?;
        store.compact().expect("merged");
        check(&store, &model)?;
        let tally = store.series().stats().tally;
        prop_assert_eq!(tally.readings, journal.len() as u64);
        prop_assert_eq!(tally.stored(), model.len() as u64, "{:?}", tally);
    }
}

fn check(store: &Offline, model: &Model) -> Result<(), TestCaseError> {
    prop_assert_eq!(&stored(store), model);
    prop_assert_eq!(latest(store), newest(model));
    // Conditions on the identity and on the value see the same rows.
    let at = START + 700 * MINUTE;
    type Keep<'a> = &'a dyn Fn(&(String, String, i64), f64) -> bool;
    let some = |keep: Keep<'_>| model.iter().filter(|(key, bits)| keep(key, f64::from_bits(**bits))).count();
    let count = |condition: &str| {
        ask(store, &format!("SELECT value FROM readings WHERE {condition}")).expect("an answer").len()
    };
    let moment = model::Timestamp::from_micros(at);
    prop_assert_eq!(count(&format!("time >= '{moment}'")), some(&|key, _| key.2 >= at));
    prop_assert_eq!(
        count(&format!("time < '{moment}' AND device = 'd1'")),
        some(&|key, _| key.2 < at && key.0 == "d1")
    );
    prop_assert_eq!(count(&format!("time = '{moment}'")), some(&|key, _| key.2 == at));
    prop_assert_eq!(
        count("channel IN ('c0', 'c2') AND value > 5"),
        some(&|key, value| key.1 != "c1" && value > 5.0)
    );
    prop_assert_eq!(count("value IS NOT NULL AND device <> 'd0'"), some(&|key, _| key.0 != "d0"));
    Ok(())
}

/// A number as sensors send it: few decimals, many decimals, huge, tiny.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-100_000..100_000_i64, 0..5_u32)
            .prop_map(|(digits, scale)| digits as f64 / 10f64.powi(scale as i32)),
        prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
        any::<i32>().prop_map(f64::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Whatever columns are chosen, the same bits come back, by memory and by file.
    #[test]
    fn memory_and_files_answer_alike(
        runs in prop::collection::vec((
            prop::collection::vec(number(), 1..60),
            prop_oneof![Just(1_i64), Just(1_000), Just(1_000_000), Just(250_000_000), Just(61_000_000)],
            0..86_400_000_000_i64,
            prop_oneof![Just(0_i64), Just(3), Just(400_000)],
        ), 1..6),
        delays in prop::collection::vec(0..5_000_000_i64, 60),
    ) {
        let store = open(&Machine::new(1).host());
        let mut sent = Vec::new();
        for (n, (numbers, pace, phase, jitter)) in runs.iter().enumerate() {
            for (i, number) in (0..).zip(numbers) {
                let at = START + phase + i * pace + (i * 7_919) % (jitter + 1);
                let mut message = telemetry(&format!("d{n}"), at, &format!(r#""v":{number:e},"n":"x{number}""#));
                message.received_at = model::Timestamp::from_micros(at + delays[i as usize]);
                sent.push(message);
            }
        }
        store.apply(&records(1, sent));
        let sql = "SELECT * FROM readings ORDER BY device, channel, time";
        let in_memory = ask(&store, sql).expect("an answer");
        let bits = stored_numbers(&in_memory);
        store.flush().expect("written");
        prop_assert_eq!(store.series().stats().memory_readings, 0);
        let in_files = ask(&store, sql).expect("an answer");
        prop_assert_eq!(&in_files, &in_memory);
        prop_assert_eq!(stored_numbers(&in_files), bits);
    }
}

fn stored_numbers(rows: &[Vec<series::Cell>]) -> Vec<u64> {
    let number = |row: &Vec<series::Cell>| match row[3] {
        series::Cell::Number(number) => number.to_bits(),
        _ => 0,
    };
    rows.iter().map(number).collect()
}
