//! What a crash, a failing disk or a damaged file does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::Disk;
use host::sim::Machine;
use series::{Offline, OpenError, QueryError, Settings};

use crate::support::{DIR, START, ask, csv, open, records, stored, telemetry};

const MINUTE: i64 = 60_000_000;

fn some_records(from: u64, count: i64) -> Vec<journal::Record> {
    records(
        from,
        (0..count).map(|n| {
            telemetry(
                &format!("d{}", n % 3),
                START + n * MINUTE,
                &format!(r#""t":{},"n":{n}"#, from as i64 + n),
            )
        }),
    )
}

/// The power goes off after each of the changes that a flush, and then a merge, make to the disk.
#[test]
fn effect_and_position_move_together() {
    let mut power_cuts = 0;
    for changes in 0.. {
        let mut machine = Machine::new(changes);
        let store = open(&machine.host());
        store.apply(&some_records(1, 40));
        store.flush().expect("written");
        store.apply(&some_records(41, 40));
        let expect = stored(&store);

        machine.disk.cut_power_after(changes);
        let done = store.flush().and_then(|()| store.compact()).is_ok();
        drop(store);
        machine.crash();

        let store = open(&machine.host());
        let position = store.series().applied();
        assert!([40, 80].contains(&position), "position {position} after {changes} changes");
        let tally = store.series().stats().tally;
        assert_eq!(tally.messages, position, "what was counted moved with the position");
        // The journal goes on after the position; handing in more than needed changes nothing.
        store.apply(&some_records(1, 40));
        store.apply(&some_records(41, 40));
        assert_eq!(stored(&store), expect, "after {changes} changes");
        assert_eq!(store.series().stats().tally.messages, 80);
        store.flush().expect("written");
        store.compact().expect("merged");
        assert_eq!(stored(&store), expect);
        assert_eq!(column_files(&machine).len() as u64, store.series().stats().files, "no file is left over");
        if done {
            break;
        }
        power_cuts += 1;
    }
    assert!(power_cuts > 8, "only {power_cuts} cuts: the disk was hardly used");
}

fn column_files(machine: &Machine) -> Vec<PathBuf> {
    let entries = machine.disk.list(Path::new(DIR)).expect("listed");
    let names = entries.into_iter().map(|entry| entry.name);
    names.filter(|name| name.starts_with("20")).map(|name| Path::new(DIR).join(name)).collect()
}

#[test]
fn what_cannot_be_written_stays_and_is_written_later() {
    let machine = Machine::new(1);
    let store = open(&machine.host());
    store.apply(&some_records(1, 40));
    let expect = stored(&store);
    machine.disk.limit_bytes(Some(100));
    let error = store.flush().expect_err("the disk is full");
    assert_eq!(error.kind(), model::Kind::TooMuch);
    assert!(error.to_string().starts_with("cannot write `data/series/2026-11-22-"), "{error}");
    assert_eq!(stored(&store), expect);
    // Readings that come meanwhile are seen too.
    store.apply(&some_records(41, 1));
    let expect = stored(&store);
    machine.disk.mend();
    store.flush().expect("written");
    assert_eq!(store.series().stats().durable, 40);
    store.flush().expect("written");
    assert_eq!(store.series().stats().durable, 41);
    assert_eq!(stored(&store), expect);
}

#[test]
fn a_damaged_or_missing_column_file_is_named_and_others_go_on() {
    let day = 86_400_000_000;
    for is_missing in [false, true] {
        let machine = Machine::new(1);
        let store = open(&machine.host());
        store.apply(&records(1, (0..2).map(|n| telemetry("a", START + n * day, r#""t":1"#))));
        store.flush().expect("written");
        drop(store);
        let file = column_files(&machine).remove(0);
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        if is_missing {
            machine.disk.remove(&file).expect("removed");
        } else {
            machine.disk.flip_bit(&file, 40, 3);
        }
        let store = open(&machine.host());
        let error = ask(&store, "SELECT value, time FROM readings").expect_err("it cannot be read");
        assert!(matches!(&error, QueryError::File { name: named, .. } if *named == name), "{error:?}");
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
        let other = csv(&store, "SELECT time FROM readings WHERE time >= '2026-11-23T00:00:00Z'");
        assert_eq!(other, "time\n2026-11-23T00:00:00Z\n");
        store.apply(&records(3, [telemetry("a", START + day + 1, r#""t":2"#)]));
        store.flush().expect("written");
    }
}

#[test]
fn a_manifest_of_a_newer_version_or_a_damaged_one_is_refused() {
    let machine = Machine::new(1);
    let store = open(&machine.host());
    store.apply(&some_records(1, 4));
    store.flush().expect("written");
    drop(store);
    let path = Path::new(DIR).join("MANIFEST");
    let content = machine.disk.content(&path).expect("there");
    let try_open = || {
        let opened = Offline::open(
            Path::new(DIR),
            &Settings::default(),
            Arc::default(),
            Arc::default(),
            &machine.host(),
        );
        opened.err().expect("refused")
    };

    machine.disk.put(&path, b"godwit-series 3 blake9=00\n...");
    let newer = try_open();
    assert!(matches!(newer, OpenError::Newer { found: 3, .. }));
    assert_eq!(
        newer.to_string(),
        "`data/series/MANIFEST` has version 3; this version of Godwit knows versions up to 2"
    );

    let mut damaged = content.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    machine.disk.put(&path, &damaged);
    let refused = try_open();
    assert!(refused.to_string().starts_with("`data/series/MANIFEST` is damaged: "), "{refused}");
    assert!(refused.hint().is_some());
    assert_eq!(column_files(&machine).len(), 1, "nothing is removed on a manifest that cannot be read");

    machine.disk.put(&path, &content);
    assert_eq!(stored(&open(&machine.host())).len(), 8);
}

#[test]
fn a_file_that_no_manifest_names_is_removed_at_start() {
    let machine = Machine::new(1);
    drop(open(&machine.host()));
    let path = Path::new(DIR).join("2026-11-22-00000009.parquet");
    machine.disk.put(&path, b"left over");
    let foreign = Path::new(DIR).join("notes.txt");
    machine.disk.put(&foreign, b"not ours");
    drop(open(&machine.host()));
    assert!(machine.disk.content(&path).is_none());
    assert!(machine.disk.content(&foreign).is_some());
}
