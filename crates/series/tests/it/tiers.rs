//! Hot files here, cold ones in a remote store, one answer over both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use host::sim::Machine;
use host::{Disk, SystemDisk};
use model::Timestamp;
use proptest::prelude::*;
use series::{Offline, QueryError, RemoteSettings, Settings};

use crate::support::{DIR, START, ask, csv, latest, newest, open_with, records, stored, telemetry};

const DAY: i64 = 86_400_000_000;

fn with_remote(dir: &Path) -> Settings {
    let url = Some(format!("file://{}", dir.display()));
    Settings { remote: RemoteSettings { url, ..RemoteSettings::default() }, ..Settings::default() }
}

fn objects(dir: &Path) -> usize {
    SystemDisk.list(dir).expect("listed").len()
}

fn column_files(machine: &Machine) -> Vec<PathBuf> {
    let entries = machine.disk.list(Path::new(DIR)).expect("listed");
    let names = entries.into_iter().map(|entry| entry.name);
    names.filter(|name| name.starts_with("20")).map(|name| Path::new(DIR).join(name)).collect()
}

/// Readings of `days` days from START on, and the clock `later` days after START.
fn fill(store: &Offline, from: u64, days: i64) {
    let messages =
        (0..days * 4).map(|n| telemetry(&format!("d{}", n % 2), START + n * DAY / 4, &format!(r#""t":{n}"#)));
    store.apply(&records(from, messages));
    store.flush().expect("written");
}

fn day(machine: &Machine, days: i64) {
    machine.clock.set(Timestamp::from_micros(START + days * DAY));
}

fn tier_all(store: &Offline) {
    while store.tier().expect("moved") > 0 {}
}

#[test]
fn old_files_move_and_one_query_answers_over_both() {
    let dir = tempfile::tempdir().expect("a directory");
    let machine = Machine::new(1);
    let store = open_with(&machine.host(), &with_remote(dir.path()));
    day(&machine, 0);
    fill(&store, 1, 50);
    let expect = stored(&store);
    assert_eq!(store.tier().expect("nothing"), 0, "everything is young");
    day(&machine, 60);
    tier_all(&store);
    let stats = store.series().stats();
    let remote = stats.remote.expect("a store");
    assert_eq!((remote.files, stats.files), (30, 50), "days 0 to 29 are older than 30 days");
    assert_eq!((objects(dir.path()), column_files(&machine).len()), (30, 20));
    assert_eq!(stored(&store), expect);
    drop(store);

    let store = open_with(&machine.host(), &with_remote(dir.path()));
    assert_eq!(latest(&store), newest(&expect));
    let reads = |store: &Offline| store.series().stats().remote.expect("a store").reads;
    assert_eq!(reads(&store), 0, "a start reads nothing that is far away");
    let hot = format!(
        "SELECT count(*) AS n FROM readings WHERE time >= '{}'",
        Timestamp::from_micros(START + 30 * DAY)
    );
    assert_eq!(csv(&store, &hot), "n\n80\n");
    assert_eq!(reads(&store), 0, "the manifest knows that no cold file is needed");
    assert_eq!(stored(&store), expect);
    let first = reads(&store);
    assert!((30..=60).contains(&first), "{first} reads of 30 files");
    assert_eq!(stored(&store), expect);
    assert_eq!(reads(&store), first, "the second time they are in memory");
}

/// The power goes off after each of the changes that moving makes to the disk.
#[test]
fn a_crash_while_files_move_loses_nothing_and_leaves_nothing() {
    // A plain file is sealed for the journey under a new name each time: an object that was begun and forgotten stays.
    for encrypt in [true, false] {
        cut_power_while_files_move(encrypt);
    }
}

fn cut_power_while_files_move(encrypt: bool) {
    let mut cuts = 0;
    for changes in 0.. {
        let dir = tempfile::tempdir().expect("a directory");
        let mut machine = Machine::new(changes);
        let settings = with_remote(dir.path());
        day(&machine, 0);
        fill(&open_with(&machine.host(), &Settings { encrypt, ..settings.clone() }), 1, 4);
        let store = open_with(&machine.host(), &settings);
        day(&machine, 34);
        let expect = stored(&store);
        machine.disk.cut_power_after(changes);
        let done = store.tier().is_ok_and(|moved| moved > 0);
        drop(store);
        // Dropping removes what has moved; that too may have been cut off.
        let done = done && machine.disk.space(Path::new(DIR)).is_ok();
        machine.crash();
        day(&machine, 34);

        let store = open_with(&machine.host(), &settings);
        assert_eq!(stored(&store), expect, "after {changes} changes");
        tier_all(&store);
        assert_eq!(stored(&store), expect, "after {changes} changes, and moved");
        let remote = store.series().stats().remote.expect("a store");
        assert_eq!(remote.files, 4);
        assert_eq!(objects(dir.path()), 4, "no object is left over after {changes} changes");
        assert_eq!(column_files(&machine).len(), 0, "no file is left over after {changes} changes");
        if done {
            break;
        }
        cuts += 1;
    }
    assert!(cuts >= 5, "only {cuts} cuts");
}

#[test]
fn what_is_dropped_goes_from_the_store_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let machine = Machine::new(1);
    let settings = Settings { keep: Some(Duration::from_secs(40 * 86_400)), ..with_remote(dir.path()) };
    let store = open_with(&machine.host(), &settings);
    day(&machine, 0);
    fill(&store, 1, 10);
    day(&machine, 39);
    tier_all(&store);
    assert_eq!(objects(dir.path()), 9);
    day(&machine, 45);
    store.retain(0).expect("dropped");
    tier_all(&store);
    // Days 0 to 4 are older than 40 days, the others older than 30.
    assert_eq!(objects(dir.path()), 5);
    assert_eq!(csv(&store, "SELECT count(*) AS n FROM readings"), "n\n20\n");
    assert_eq!(store.series().stats().tally.dropped, 20);
}

#[test]
fn a_store_that_is_away_stops_nobody_but_who_needs_it() {
    let parent = tempfile::tempdir().expect("a directory");
    let (dir, hidden) = (parent.path().join("store"), parent.path().join("hidden"));
    SystemDisk.create_dir(&dir).expect("made");
    let machine = Machine::new(1);
    let settings = with_remote(&dir);
    let store = open_with(&machine.host(), &settings);
    day(&machine, 0);
    fill(&store, 1, 40);
    day(&machine, 35);
    tier_all(&store);
    let expect = stored(&store);
    drop(store);

    rename(&dir, &hidden);
    let store = open_with(&machine.host(), &settings);
    let error = ask(&store, "SELECT value, time FROM readings").expect_err("half of it is away");
    assert!(matches!(&error, QueryError::Away { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("file://{}", dir.display())), "{error}");
    assert_eq!(error.kind(), model::Kind::Unavailable);
    assert!(error.hint().is_some());
    assert!(store.series().stats().faulty.is_empty(), "no file is to blame");
    let hot = format!(
        "SELECT count(*) AS n FROM readings WHERE time >= '{}'",
        Timestamp::from_micros(START + 20 * DAY)
    );
    assert_eq!(csv(&store, &hot), "n\n80\n");

    // Readings come in and are written; what should move waits.
    day(&machine, 80);
    store.apply(&records(1_000, [telemetry("new", START + 80 * DAY, r#""t":1"#)]));
    store.flush().expect("written");
    let error = store.tier().expect_err("the store is away");
    assert!(error.to_string().contains("does not answer"), "{error}");
    assert!(store.series().stats().remote.expect("a store").last_error.is_some());
    assert!(!dir.exists(), "a store that is away is not made anew in its place");

    rename(&hidden, &dir);
    tier_all(&store);
    let mut expect = expect;
    expect.insert(("new".to_owned(), "t".to_owned(), START + 80 * DAY), 1_f64.to_bits());
    assert_eq!(stored(&store), expect);
    let remote = store.series().stats().remote.expect("a store");
    assert_eq!(remote.files as usize, objects(&dir));
    assert_eq!((remote.files, remote.last_error), (40, None));
}

#[allow(clippy::disallowed_methods)]
fn rename(from: &Path, to: &Path) {
    std::fs::rename(from, to).expect("renamed");
}

#[test]
fn a_changed_object_is_named_and_never_believed() {
    let dir = tempfile::tempdir().expect("a directory");
    let machine = Machine::new(1);
    let settings = with_remote(dir.path());
    let store = open_with(&machine.host(), &settings);
    day(&machine, 0);
    fill(&store, 1, 2);
    day(&machine, 40);
    tier_all(&store);
    drop(store);
    let name = SystemDisk.list(dir.path()).expect("listed").remove(0).name;
    let path = dir.path().join(&name);
    let content = SystemDisk.read(&path, 1 << 20).expect("read");
    for text in ["d0", "PAR1", "device"] {
        assert!(!String::from_utf8_lossy(&content).contains(text), "a cloud operator reads `{text}`");
    }
    for at in (0..content.len()).step_by(97).chain([content.len() - 1]) {
        let mut damaged = content.clone();
        damaged[at] ^= 1 << (at % 8);
        SystemDisk.replace(&path, &damaged).expect("written");
        let store = open_with(&machine.host(), &settings);
        let error = ask(&store, "SELECT value, time, topic FROM readings").expect_err("damaged");
        assert!(
            matches!(&error, QueryError::File { name: named, .. } if *named == name),
            "byte {at}: {error:?}"
        );
    }
    for cut in [content[..content.len() - 1].to_vec(), Vec::new()] {
        SystemDisk.replace(&path, &cut).expect("written");
        let error =
            ask(&open_with(&machine.host(), &settings), "SELECT value FROM readings").expect_err("cut");
        assert!(error.to_string().contains(&name), "{error}");
    }
}

#[test]
fn late_readings_of_a_cold_day_replace_what_is_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let machine = Machine::new(1);
    let store = open_with(&machine.host(), &with_remote(dir.path()));
    day(&machine, 0);
    fill(&store, 1, 1);
    day(&machine, 40);
    tier_all(&store);
    let mut expect = stored(&store);
    for n in 0..3 {
        let mut late = telemetry("d0", START, &format!(r#""t":{}"#, 100 + n));
        late.received_at = Timestamp::from_micros(START + 40 * DAY);
        store.apply(&records(100 + n, [late]));
        store.flush().expect("written");
        expect.insert(("d0".to_owned(), "t".to_owned(), START), (100.0 + n as f64).to_bits());
        assert_eq!(stored(&store), expect);
    }
    store.compact().expect("merged");
    assert_eq!(store.series().stats().files, 2, "the late ones are one file beside the cold one");
    assert_eq!(stored(&store), expect);
    assert_eq!(store.tier().expect("nothing"), 0, "it was received today");
    day(&machine, 80);
    tier_all(&store);
    assert_eq!(stored(&store), expect);
    assert_eq!(objects(dir.path()), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_the_same_local_cold_mixed_plain_and_sealed(
        batches in prop::collection::vec(prop::collection::vec((0_i64..3, 0_i64..40, 0_u8..9), 1..20), 1..4),
        plain_until in 0_usize..4,
        moves_after in 0_usize..4,
    ) {
        let kept = |is_cold: bool, plain_until: usize| {
            let dir = tempfile::tempdir().expect("a directory");
            let machine = Machine::new(1);
            let mut seq = 1;
            for (n, batch) in batches.iter().enumerate() {
                let settings = Settings { encrypt: n >= plain_until, ..with_remote(dir.path()) };
                let store = open_with(&machine.host(), &settings);
                let messages = batch.iter().map(|(device, day, value)| {
                    telemetry(&format!("d{device}"), START + day * DAY, &format!(r#""t":{value}"#))
                });
                store.apply(&records(seq, messages));
                seq += batch.len() as u64;
                store.flush().expect("written");
                if is_cold && n >= moves_after {
                    day(&machine, 50);
                    tier_all(&store);
                }
            }
            let store = open_with(&machine.host(), &with_remote(dir.path()));
            let before = stored(&store);
            store.compact().expect("merged");
            assert_eq!(stored(&store), before);
            for object in SystemDisk.list(dir.path()).expect("listed") {
                assert!(plain_until > 0 || object.name.ends_with(".sealed"), "{}", object.name);
            }
            before
        };
        let expect = kept(false, 0);
        prop_assert_eq!(&kept(true, 0), &expect);
        prop_assert_eq!(&kept(true, plain_until), &expect);
    }
}
