//! What lies on the disk: sealed, bound to its name, and never believed when it was changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use host::sim::Machine;
use host::{Disk, SystemDisk};
use proptest::prelude::*;
use series::{Offline, QueryError, Settings};

use crate::support::{DIR, START, ask, csv, message, open, open_with, records, stored, telemetry};

const DAY: i64 = 86_400_000_000;

/// Every file of the directory with its content.
fn contents(machine: &Machine) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = machine.disk.list(Path::new(DIR)).expect("listed");
    let paths = entries.into_iter().map(|entry| Path::new(DIR).join(entry.name));
    paths.map(|path| (path.clone(), machine.disk.content(&path).expect("there"))).collect()
}

fn plain() -> Settings {
    Settings { encrypt: false, ..Settings::default() }
}

/// Two days of two devices, a text, and a message that nobody understands.
fn fill(store: &Offline, from: u64) {
    let mut messages: Vec<_> = (0..40)
        .map(|n| telemetry(&format!("d{}", n % 2), START + n * DAY / 20, &format!(r#""t":{n}.5,"n":{n}"#)))
        .collect();
    messages.push(telemetry("secret-device", START, r#""secret_channel":"a secret text""#));
    messages.push(message("dt/x/telemetry", "{a secret payload", START));
    messages.push(message("secret/topic", "another secret", START));
    store.apply(&records(from, messages));
    store.flush().expect("written");
}

#[test]
fn nothing_readable_lies_in_the_directory() {
    let machine = Machine::new(1);
    let store = open(&machine.host());
    fill(&store, 1);
    store.retain(u64::MAX / 2).expect("dropped, so that the newest readings have a file of their own");
    fill(&store, 101);
    store.compact().expect("merged");
    store
        .apply(&records(201, [telemetry("secret-device", START + 1, r#""secret_channel":"a secret text""#)]));
    store.flush().expect("written");
    let finds = |machine: &Machine| {
        let words = ["secret", "payload", "dt/", "temperature", "PAR1", "device", "position"];
        let found = contents(machine).into_values().flat_map(|content| {
            let text = String::from_utf8_lossy(&content).into_owned();
            words.into_iter().filter(move |word| text.contains(word))
        });
        found.collect::<Vec<_>>()
    };
    assert_eq!(finds(&machine), Vec::<&str>::new());
    assert!(contents(&machine).len() > 3, "column files, newest readings, manifest");

    // The same search finds them where nothing is sealed.
    let machine = Machine::new(1);
    fill(&open_with(&machine.host(), &plain()), 1);
    assert!(finds(&machine).contains(&"secret"));
}

/// Every byte near the ends of a file and every 31st between them has one of its bits flipped.
#[test]
fn a_flipped_bit_of_any_file_is_an_error_that_names_it() {
    for settings in [Settings::default(), plain()] {
        let machine = Machine::new(1);
        let store = open_with(&machine.host(), &settings);
        fill(&store, 1);
        let sql = "SELECT device, channel, time, value, text, topic, flags, received_at FROM readings ORDER BY 1, 2, 3";
        let expect = csv(&store, sql);
        drop(store);
        let mut named = 0;
        for (path, content) in contents(&machine) {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let places = (0..content.len()).filter(|at| at % 31 == 0 || content.len() - at < 12);
            for at in places {
                machine.disk.flip_bit(&path, at as u64, (at % 8) as u8);
                let opened = std::panic::AssertUnwindSafe(|| try_open(&machine, &settings));
                match opened() {
                    Err(error) => assert!(error.contains("MANIFEST"), "{error}"),
                    Ok(store) => {
                        let error = ask(&store, sql).expect_err("damaged").to_string();
                        assert!(error.contains(&name), "byte {at} of {name}: {error}");
                        assert!(store.series().stats().faulty.contains_key(&name), "{name}");
                    }
                }
                named += 1;
                machine.disk.flip_bit(&path, at as u64, (at % 8) as u8);
            }
        }
        assert!(named > 150, "{named}");
        assert_eq!(csv(&open_with(&machine.host(), &settings), sql), expect);
    }
}

fn try_open(machine: &Machine, settings: &Settings) -> Result<Offline, String> {
    let settings = Settings { query_threads: Some(1), ..settings.clone() };
    let routes = std::sync::Arc::default();
    Offline::open(Path::new(DIR), &settings, routes, std::sync::Arc::default(), &machine.host())
        .map_err(|error| error.to_string())
}

#[test]
fn two_files_that_were_swapped_are_noticed() {
    let machine = Machine::new(1);
    let store = open(&machine.host());
    // The same readings on two days: files of the same length.
    let day = |n: i64| {
        (0..20).map(move |m| telemetry("a", START + n * DAY + m * 1_000_000, &format!(r#""t":{m}"#)))
    };
    store.apply(&records(1, day(0).chain(day(1))));
    store.flush().expect("written");
    drop(store);
    let mut files: Vec<_> =
        contents(&machine).into_iter().filter(|(path, _)| !path.ends_with("MANIFEST")).collect();
    let (b, a) = (files.pop().expect("a file"), files.pop().expect("another"));
    assert_eq!(a.1.len(), b.1.len(), "as long as each other, so that only the seal can tell");
    machine.disk.put(&a.0, &b.1);
    machine.disk.put(&b.0, &a.1);
    let store = open(&machine.host());
    for day in [0, 1] {
        let sql = format!("SELECT value FROM readings WHERE time >= {}", moment(START + day * DAY));
        assert!(matches!(ask(&store, &sql), Err(QueryError::File { .. })), "day {day}");
    }
}

fn moment(micros: i64) -> String {
    format!("'{}'", model::Timestamp::from_micros(micros))
}

#[test]
fn another_key_is_refused_by_name() {
    let machine = Machine::new(1);
    fill(&open(&machine.host()), 1);
    let mut host = machine.host();
    host.keys = std::sync::Arc::new(host::KeyRing::new(&[9; 32]));
    let opened = Offline::open(
        Path::new(DIR),
        &Settings::default(),
        std::sync::Arc::default(),
        std::sync::Arc::default(),
        &host,
    );
    let error = opened.err().expect("refused");
    assert!(error.to_string().contains("MANIFEST` was encrypted under key"), "{error}");
    assert_eq!(error.hint(), Some("name the right key file with `[keys] file`"));
    assert!(contents(&machine).len() > 2, "nothing was removed");
}

/// Files written by version 1 of the manifest: plain, with checksums.
#[test]
fn a_directory_of_version_1_is_read_and_upgraded_by_the_next_write() {
    let machine = Machine::new(1);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/series-1");
    for entry in SystemDisk.list(&golden).expect("listed") {
        let content = SystemDisk.read(&golden.join(&entry.name), 1 << 20).expect("read");
        machine.disk.put(&Path::new(DIR).join(entry.name), &content);
    }
    let store = open(&machine.host());
    let sql = "SELECT channel, count(*) AS n, sum(value) AS sum FROM readings GROUP BY 1 ORDER BY 1";
    let expect = "channel,n,sum\nco2,40,28780\nlight,40,1715\ntemperature,40,857\n";
    let first = csv(&store, sql);
    assert_eq!(first, expect);
    assert_eq!(store.series().applied(), 40);
    let manifest = || contents(&machine)[&Path::new(DIR).join("MANIFEST")].clone();
    assert!(manifest().starts_with(b"godwit-series 1 crc32c="));

    store.apply(&records(41, [telemetry("office-1", 1_423_058_400_000_001, r#""co2":1"#)]));
    store.flush().expect("written");
    assert!(manifest().starts_with(b"godwit-series 2 sealed\n"));
    store.compact().expect("merged");
    drop(store);
    let store = open(&machine.host());
    assert_eq!(csv(&store, "SELECT count(*) AS n FROM readings"), "n\n121\n");
    let plain_left =
        contents(&machine).keys().filter(|path| path.extension().is_some_and(|end| end == "parquet")).count();
    assert_eq!(plain_left, 1, "the day that was merged is sealed, the other as it was");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Sealed, plain, and written under changing settings.
    #[test]
    fn answers_are_the_same_however_files_are_kept(
        batches in prop::collection::vec(prop::collection::vec((0_i64..4, 0_i64..60, 0_u8..9), 1..30), 1..5),
        sealed in prop::collection::vec(any::<bool>(), 5),
    ) {
        let kept = |encrypt: &dyn Fn(usize) -> bool| {
            let machine = Machine::new(1);
            let mut seq = 1;
            for (n, batch) in batches.iter().enumerate() {
                let settings = Settings { encrypt: encrypt(n), ..Settings::default() };
                let store = open_with(&machine.host(), &settings);
                let messages = batch.iter().map(|(device, hour, value)| {
                    telemetry(&format!("d{device}"), START + hour * DAY / 24, &format!(r#""t":{value}"#))
                });
                store.apply(&records(seq, messages));
                seq += batch.len() as u64;
                store.flush().expect("written");
            }
            let store = open(&machine.host());
            let before = stored(&store);
            store.compact().expect("merged");
            assert_eq!(before, stored(&store));
            before
        };
        let expect = kept(&|_| true);
        prop_assert_eq!(&kept(&|_| false), &expect);
        prop_assert_eq!(&kept(&|n| sealed[n]), &expect);
    }
}
