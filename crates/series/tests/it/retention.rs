//! How long readings are kept, and what the disk budget takes.

use std::time::Duration;

use host::sim::Machine;
use model::Timestamp;
use series::{Budget, Offline, RetentionSettings, Settings};

use crate::support::{START, csv, open_with, records, telemetry};

const DAY: i64 = 86_400_000_000;
const COUNTS: &str = "SELECT channel, count(*) AS n FROM readings GROUP BY 1 ORDER BY 1";

fn day(machine: &Machine, days: i64) {
    machine.clock.set(Timestamp::from_micros(START + days * DAY));
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

fn rule(channel: &str, keep: u64) -> RetentionSettings {
    RetentionSettings { channel: channel.to_owned(), device: "*".to_owned(), keep: days(keep) }
}

fn fill(store: &Offline) {
    let messages = (0..10).map(|n| telemetry("a", START + n * DAY, r#""debug.heap":1,"co2":2,"energy":3"#));
    store.apply(&records(1, messages));
    store.flush().expect("written");
}

#[test]
fn each_channel_has_its_age_and_its_newest_reading_outlives_it() {
    let machine = Machine::new(1);
    let settings = Settings {
        keep: Some(days(20)),
        retention: vec![rule("debug.*", 5), rule("energy", 400)],
        ..Settings::default()
    };
    day(&machine, 0);
    let store = open_with(&machine.host(), &settings);
    fill(&store);
    let at = |days: i64, store: &Offline| {
        day(&machine, days);
        store.retain(0).expect("dropped");
        csv(store, COUNTS)
    };
    assert_eq!(
        at(9, &store),
        "channel,n\nco2,10\ndebug.heap,6\nenergy,10\n",
        "days 0 to 3 are over 5 days old"
    );
    assert_eq!(at(26, &store), "channel,n\nco2,4\nenergy,10\n");
    let dropped = store.series().stats().tally.dropped;
    assert_eq!(dropped, 16);
    drop(store);
    let store = open_with(&machine.host(), &settings);
    assert_eq!(store.series().stats().tally.dropped, dropped);
    assert_eq!(at(100, &store), "channel,n\nenergy,10\n");
    assert_eq!(csv(&store, "SELECT channel, time FROM latest WHERE device = 'a'").lines().count(), 4);
    assert_eq!(at(411, &store), "channel,n\n");
    assert_eq!(store.series().stats().files, 0);
}

#[test]
fn a_file_is_rewritten_once_for_a_rule_and_not_where_nothing_is_too_old() {
    let machine = Machine::new(1);
    let settings =
        Settings { retention: vec![rule("debug.*", 5), rule("nothing", 6)], ..Settings::default() };
    day(&machine, 0);
    let store = open_with(&machine.host(), &settings);
    fill(&store);
    day(&machine, 30);
    machine.disk.remember_appends();
    store.retain(0).expect("dropped");
    assert!(!machine.disk.history().is_empty());
    assert_eq!(csv(&store, COUNTS), "channel,n\nco2,10\nenergy,10\n");
    for _ in 0..2 {
        day(&machine, 31);
        store.retain(0).expect("nothing to do");
        assert_eq!(machine.disk.history().len(), 0, "nothing is written");
    }
}

#[test]
fn a_recording_that_is_old_is_new_when_it_is_received() {
    let machine = Machine::new(1);
    let settings = Settings { keep: Some(days(20)), retention: vec![rule("t", 5)], ..Settings::default() };
    day(&machine, 1_000);
    let store = open_with(&machine.host(), &settings);
    let mut old = telemetry("a", START, r#""t":1"#);
    old.received_at = Timestamp::from_micros(START + 1_000 * DAY);
    store.apply(&records(1, [old]));
    store.flush().expect("written");
    store.retain(0).expect("nothing");
    assert_eq!(csv(&store, COUNTS), "channel,n\nt,1\n");
    day(&machine, 1_006);
    store.retain(0).expect("dropped");
    assert_eq!(csv(&store, COUNTS), "channel,n\n");
}

#[test]
fn the_disk_budget_takes_the_oldest_and_a_word_is_said_before() {
    let machine = Machine::new(1);
    day(&machine, 9);
    let bytes = {
        let store = open_with(&machine.host(), &Settings::default());
        fill(&store);
        store.series().stats().file_bytes
    };
    let budget = |bytes| Settings { disk_budget: Budget::Bytes(bytes), ..Settings::default() };

    let store = open_with(&machine.host(), &budget(bytes * 2));
    store.retain(0).expect("nothing");
    let disk = store.series().stats().disk;
    assert_eq!((disk.used, disk.budget, disk.is_nearly_full), (bytes, bytes * 2, false));
    assert!(disk.growth_per_day > 0 && disk.days_left.is_some_and(|days| days <= 14), "{disk:?}");
    store.retain(bytes).expect("nothing");
    assert!(store.series().stats().disk.is_nearly_full, "the journal counts too");
    assert_eq!(csv(&store, "SELECT count(*) AS n FROM readings"), "n\n30\n");
    drop(store);

    let store = open_with(&machine.host(), &budget(bytes / 2));
    store.retain(0).expect("dropped");
    let stats = store.series().stats();
    assert!(stats.file_bytes <= bytes / 2, "{} of {bytes}", stats.file_bytes);
    let first = Timestamp::from_micros(START + (10 - stats.files as i64) * DAY);
    assert_eq!(
        csv(&store, "SELECT min(time) AS t FROM readings"),
        format!("t\n{first}\n"),
        "the oldest went"
    );
    assert!((3..=5).contains(&stats.files), "no more than had to: {} files", stats.files);
}
