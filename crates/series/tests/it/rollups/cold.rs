//! Rollups whose readings have moved away, are away for a while, or lie in a copied directory.

use std::sync::Arc;

use host::Disk;
use host::sim::Machine;
use model::Timestamp;
use series::{Offline, QueryError, RemoteSettings, Settings};

use super::{DAY, HOUR, MINUTE, Readings, Row, ask_both, naive, table};
use crate::support::{DIR, START, ask, csv, open, open_with, records, telemetry};

/// What each table says, all of it.
fn tables(store: &Offline) -> Vec<Vec<Row>> {
    ["readings_1m", "readings_5m", "readings_1h"].map(|name| table(store, name, "true")).into()
}

/// What they must say, by plain arithmetic.
fn expected(readings: &Readings) -> Vec<Vec<Row>> {
    [MINUTE, 5 * MINUTE, HOUR].map(|length| naive(readings, length)).into()
}

/// Two devices, two days, a reading a minute: hours and five minutes are stored, minutes are not.
fn fill(store: &Offline, readings: &mut Readings, from: u64) -> u64 {
    let mut sent = Vec::new();
    for n in 0..2 * 24 * 60_i64 {
        for device in ["a", "b"] {
            let (at, value) = (START + n * MINUTE, (n * 7 % 61) as f64 / 4.0);
            sent.push(telemetry(device, at, &format!(r#""gauge":{value}"#)));
            readings.insert((device.to_owned(), "gauge".to_owned(), at), Some(value));
        }
    }
    let sent = records(from, sent);
    store.apply(&sent);
    store.flush().expect("written");
    from + sent.len() as u64
}

/// A late reading of device `a` in the first day, received `days` days after.
fn late(readings: &mut Readings, seq: u64, minute: i64, value: f64, days: i64) -> Vec<journal::Record> {
    let at = START + minute * MINUTE + 1_000_000;
    let mut message = telemetry("a", at, &format!(r#""gauge":{value}"#));
    message.received_at = Timestamp::from_micros(START + days * DAY);
    readings.insert(("a".to_owned(), "gauge".to_owned(), at), Some(value));
    records(seq, [message])
}

fn remote(dir: &std::path::Path) -> Settings {
    let url = Some(format!("file://{}", dir.display()));
    Settings { remote: RemoteSettings { url, ..RemoteSettings::default() }, ..Settings::default() }
}

fn reads(store: &Offline) -> u64 {
    store.series().stats().remote.expect("a remote store").reads
}

/// Rolled up before they moved, or after; with late readings for days whose others are far away.
#[test]
fn rollups_of_cold_readings_are_what_they_were_of_hot_ones() {
    for is_rolled_up_before in [true, false] {
        let dir = tempfile::tempdir().expect("a directory");
        let machine = Machine::new(1);
        machine.clock.set(Timestamp::from_micros(START));
        let mut readings = Readings::new();
        let store = open_with(&machine.host(), &remote(dir.path()));
        let seq = fill(&store, &mut readings, 1);
        if is_rolled_up_before {
            assert!(store.roll_up().expect("rolled up") > 0);
        }
        machine.clock.set(Timestamp::from_micros(START + 40 * DAY));
        while store.tier().expect("moved") > 0 {}
        drop(store);

        let store = open_with(&machine.host(), &remote(dir.path()));
        let far = store.series().stats().remote.expect("a remote store");
        assert_eq!((far.files, store.series().stats().files), (2, 2), "all of it is far away");
        let hours = naive(&readings, HOUR);
        assert_eq!(table(&store, "readings_1h", "true"), hours);
        let has_read = reads(&store) > 0;
        assert_eq!(has_read, !is_rolled_up_before, "what is stored needs no readings");
        assert_eq!(tables(&store), expected(&readings));

        // One late reading: only its hour is folded, from readings that are far away but for it.
        store.apply(&late(&mut readings, seq, 90, 1_000.0, 40));
        assert_eq!(tables(&store), expected(&readings), "in memory");
        store.flush().expect("written");
        assert_eq!(tables(&store), expected(&readings), "in a file");
        assert!(store.roll_up().expect("rolled up") > 0);
        assert_eq!(tables(&store), expected(&readings), "redone");
        assert_eq!(store.roll_up().expect("nothing to do"), 0);
        let before = reads(&store);
        let plan = csv(&store, "EXPLAIN SELECT sum(count) FROM readings_1h");
        assert!(!plan.contains("FoldReadings"), "{plan}");
        assert_eq!(table(&store, "readings_1h", "true"), naive(&readings, HOUR));
        assert_eq!(reads(&store), before, "what is redone needs no readings again");
        let sql = "SELECT date_bin(INTERVAL '1 hour', time) AS t, sum(value), max(value), count(*) FROM readings GROUP BY 1 ORDER BY 1";
        let (rows, is_from_rollups) = ask_both(&store, sql);
        assert!(is_from_rollups && rows.len() == 48, "{rows:?}");
    }
}

/// The remote store is away: what is stored of the days answers, and a redo that needs the readings leaves it as it is.
#[test]
fn rollups_answer_while_the_store_of_their_readings_is_away() {
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("store");
    host::SystemDisk.create_dir(&dir).expect("made");
    let machine = Machine::new(1);
    machine.clock.set(Timestamp::from_micros(START));
    let mut readings = Readings::new();
    let store = open_with(&machine.host(), &remote(&dir));
    let seq = fill(&store, &mut readings, 1);
    store.roll_up().expect("rolled up");
    machine.clock.set(Timestamp::from_micros(START + 40 * DAY));
    while store.tier().expect("moved") > 0 {}
    drop(store);
    let hidden = parent.path().join("hidden");
    rename(&dir, &hidden);

    let store = open_with(&machine.host(), &remote(&dir));
    let hours = naive(&readings, HOUR);
    assert_eq!(table(&store, "readings_1h", "true"), hours);
    store.apply(&late(&mut readings, seq, 90, 1_000.0, 40));
    store.flush().expect("written");
    let error = ask(&store, "SELECT sum(count) FROM readings_1h").expect_err("its hour is far away");
    assert!(matches!(error, QueryError::Away { .. }), "{error:?}");
    store.roll_up().expect_err("its hour is far away");
    let second = "time >= '2026-11-23T00:00:00Z'";
    let of_second: Vec<Row> = hours.into_iter().filter(|row| row.2 >= START + DAY).collect();
    assert_eq!(table(&store, "readings_1h", second), of_second, "the other day answers");

    rename(&hidden, &dir);
    assert_eq!(tables(&store), expected(&readings));
    store.roll_up().expect("rolled up");
    assert_eq!(tables(&store), expected(&readings));
}

#[allow(clippy::disallowed_methods)]
fn rename(from: &std::path::Path, to: &std::path::Path) {
    std::fs::rename(from, to).expect("renamed");
}

/// What a backup does with the columns: every file of the directory, at one moment, elsewhere.
#[test]
fn rollups_of_a_copied_directory_are_those_of_the_original() {
    let machine = Machine::new(1);
    let disk = &machine.disk;
    let mut readings = Readings::new();
    let store = open(&machine.host());
    let mut seq = fill(&store, &mut readings, 1);
    store.roll_up().expect("rolled up");
    // One hour is touched and not redone, as a backup finds it in the midst of things.
    store.apply(&late(&mut readings, seq, 90, 1_000.0, 1));
    store.flush().expect("written");
    seq += 1;
    let copy = std::path::Path::new("restored/series");
    disk.create_dir(copy).expect("made");
    for file in disk.list(std::path::Path::new(DIR)).expect("listed") {
        let content = disk.read(&std::path::Path::new(DIR).join(&file.name), 1 << 24).expect("read");
        disk.replace(&copy.join(&file.name), &content).expect("written");
    }
    // The original goes its own way.
    let at_copy = readings.clone();
    store.apply(&late(&mut readings, seq, 200, 5.0, 1));
    store.flush().expect("written");
    store.roll_up().expect("rolled up");
    store.compact().expect("merged");
    assert_eq!(tables(&store), expected(&readings));

    let settings = Settings { query_threads: Some(1), ..Settings::default() };
    let restored = Offline::open(copy, &settings, Arc::default(), Arc::default(), &machine.host());
    let restored = restored.expect("opened");
    let plan = csv(&restored, "EXPLAIN SELECT sum(count) FROM readings_1h");
    assert!(plan.contains("of=touched hours") && plan.contains("rollup-1h-2026-11-23-"), "{plan}");
    assert_eq!(tables(&restored), expected(&at_copy));
    assert!(restored.roll_up().expect("rolled up") > 0);
    assert_eq!(tables(&restored), expected(&at_copy));
    assert_eq!(restored.roll_up().expect("nothing to do"), 0);
}
