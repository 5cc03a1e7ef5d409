//! What devices do that a database must bear: they repeat what is cached, make channels without end, and change the
//! type of a value.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use host::Host;
use host::sim::Machine;
use model::route::{RouteSettings, Routes};
use series::{Offline, Settings};

use crate::support::{DIR, START, csv, message, open, open_with, records, telemetry};

/// With the route of zigbee2mqtt's devices.
fn zigbee(host: &Host) -> Offline {
    let route = RouteSettings { preset: Some("zigbee2mqtt".to_owned()), ..RouteSettings::default() };
    let routes = Arc::new(Routes::new(&[route]).expect("a preset"));
    let settings = Settings { query_threads: Some(1), ..Settings::default() };
    Offline::open(Path::new(DIR), &settings, routes, Arc::default(), host).expect("opened")
}

/// A state that was last heard `seen_s` seconds after the start, and came `sent_s` seconds after it.
fn state(seen_s: i64, sent_s: i64, fields: &str) -> model::Message {
    let seen_ms = START / 1_000 + seen_s * 1_000;
    let payload = format!(r#"{{"last_seen":{seen_ms},{fields}}}"#);
    message("zigbee2mqtt/hall/lamp", payload, START + sent_s * 1_000_000)
}

#[test]
fn what_was_cached_and_is_said_again_makes_no_reading() {
    let store = zigbee(&Machine::new(1).host());
    let sql =
        "SELECT channel, count(*) AS n, max(value) AS value FROM readings GROUP BY channel ORDER BY channel";
    store.apply(&records(
        1,
        [state(10, 10, r#""state":"ON","power":5"#), state(20, 20, r#""state":"ON","power":6"#)],
    ));
    let expect = "channel,n,value\npower,2,6\nstate,2,1\n";
    assert_eq!(csv(&store, sql), expect);
    // After its restart the bridge says all of it again: the newest, and what is older still.
    let again = [state(20, 300, r#""state":"ON","power":6"#), state(10, 301, r#""state":"ON","power":5"#)];
    store.apply(&records(3, again));
    store.flush().expect("written");
    assert_eq!(csv(&store, sql), expect);
    let tally = store.series().stats().tally;
    assert_eq!((tally.cached_repeats, tally.readings), (2, 4));
    // Availability has the time of its receipt, and says nothing of when the device spoke.
    let online = message("zigbee2mqtt/hall/lamp/availability", "online", START + 400_000_000);
    store.apply(&records(5, [online, state(30, 401, r#""power":7"#)]));
    assert_eq!(csv(&store, "SELECT value FROM latest WHERE channel = 'power'"), "value\n7\n");
    // Of the moment that is known there may be more to say.
    store.apply(&records(7, [state(30, 402, r#""power":7,"state":"OFF""#)]));
    assert_eq!(csv(&store, "SELECT value FROM latest WHERE channel = 'state'"), "value\n0\n");
    assert_eq!(store.series().stats().tally.cached_repeats, 2);
}

#[test]
fn a_crash_takes_no_reading_for_a_repeat_of_itself() {
    let mut machine = Machine::new(1);
    let sent = || {
        records(
            1,
            [state(10, 10, r#""power":5"#), state(20, 20, r#""power":6"#), state(20, 30, r#""power":6"#)],
        )
    };
    let store = zigbee(&machine.host());
    store.apply(&sent()[..1]);
    store.flush().expect("written");
    store.apply(&sent()[1..]);
    drop(store);
    machine.crash();
    let store = zigbee(&machine.host());
    assert_eq!(store.series().applied(), 1);
    store.apply(&sent());
    assert_eq!(csv(&store, "SELECT value FROM readings ORDER BY time"), "value\n5\n6\n");
    assert_eq!(store.series().stats().tally.cached_repeats, 1);
}

#[test]
fn without_its_time_a_value_that_may_be_cached_says_so() {
    let store = zigbee(&Machine::new(1).host());
    let sent = || message("zigbee2mqtt/old", r#"{"temperature":19}"#, START);
    store.apply(&records(1, [sent()]));
    // Receipt time used (1), no identity (16), possibly cached (32).
    assert_eq!(csv(&store, "SELECT flags FROM readings"), "flags\n49\n");
}

#[test]
fn a_device_with_channels_without_end_is_bounded_counted_and_named() {
    let machine = Machine::new(1);
    let settings = Settings { channels_per_device: 2_500, ..Settings::default() };
    let store = open_with(&machine.host(), &settings);
    // 100,000 channels, a thousand a message, and each message has one channel that stays.
    let flood = |n: i64| {
        let mut fields = format!(r#""steady":{n}"#);
        for channel in 0..999 {
            write!(fields, r#","c{n}-{channel}":{n}"#).expect("text");
        }
        telemetry("noisy", START + n * 1_000_000, &fields)
    };
    for n in 0..100 {
        store.apply(&records(n as u64 + 1, [flood(n)]));
    }
    store.apply(&records(101, [telemetry("quiet", START, r#""t":1"#)]));
    let count = |store: &Offline| {
        csv(
            store,
            "SELECT device, count(DISTINCT channel) AS channels, count(*) AS rows FROM readings GROUP BY device ORDER BY device",
        )
    };
    // 2,500 channels: `steady` 100 times, the others once each.
    let expect = "device,channels,rows\nnoisy,2500,2599\nquiet,1,1\n";
    assert_eq!(count(&store), expect);
    assert_eq!(csv(&store, "SELECT value FROM latest WHERE channel = 'steady'"), "value\n99\n");
    let stats = store.series().stats();
    assert_eq!(stats.tally.channels_beyond.get("noisy"), Some(&(100_000 - 2_599)));
    assert_eq!((stats.tally.channels_beyond.len(), stats.channels), (1, 2_501));
    // The bound holds over a restart.
    store.flush().expect("written");
    drop(store);
    let store = open_with(&machine.host(), &settings);
    store.apply(&records(102, [flood(200)]));
    assert_eq!(count(&store), "device,channels,rows\nnoisy,2500,2600\nquiet,1,1\n");
    assert_eq!(store.series().stats().tally.channels_beyond.get("noisy"), Some(&(100_000 - 2_599 + 999)));
}

#[test]
fn a_text_where_a_number_was_is_stored_counted_and_named() {
    let machine = Machine::new(1);
    let store = open(&machine.host());
    let values = ["1", r#""open""#, r#""closed""#, "2", "3"];
    let sent = values
        .iter()
        .zip(0..)
        .map(|(value, n)| telemetry("a", START + n * 1_000_000, &format!(r#""t":{value},"u":1"#)));
    store.apply(&records(1, sent));
    let sql = "SELECT value, text FROM readings WHERE channel = 't' ORDER BY time";
    let expect = "value,text\n1,\n,open\n,closed\n2,\n3,\n";
    assert_eq!(csv(&store, sql), expect);
    assert_eq!(csv(&store, "SELECT avg(value) AS mean FROM readings WHERE channel = 't'"), "mean\n2\n");
    store.flush().expect("written");
    assert_eq!(csv(&store, sql), expect);
    assert_eq!(csv(&store, "SELECT avg(value) AS mean FROM readings WHERE channel = 't'"), "mean\n2\n");
    let changed = store.series().stats().tally.type_changed;
    let changed: Vec<_> = changed.iter().map(|(device, channels)| (device.as_str(), channels)).collect();
    assert_eq!(changed, [("a", &[("t".to_owned(), 2)].into())]);
}

#[test]
fn the_names_of_changed_types_are_bounded() {
    let store = open(&Machine::new(1).host());
    let fields = |value: &str| (0..100).map(|n| format!(r#""c{n}":{value}"#)).collect::<Vec<_>>().join(",");
    store.apply(&records(
        1,
        [telemetry("a", START, &fields("1")), telemetry("a", START + 1, &fields(r#""x""#))],
    ));
    assert_eq!(store.series().stats().tally.type_changed["a"].len(), 20);
}
