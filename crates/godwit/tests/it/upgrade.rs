//! Data directories of every format there was: today's binary opens a copy, answers as the version that wrote it did, takes
//! more, and does so after a restart.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::raw::Raw;
use crate::server::{BOTH_DOORS, Home, Server};

/// Both doors; the copies grow old, and nothing in them does.
fn settings() -> String {
    format!("{BOTH_DOORS}[journal]\nkeep = \"36500d\"\nids_keep = \"36500d\"\n")
}

/// `tests/formats`.
fn formats() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where a test belongs");
    Path::new(&here).join("tests/formats")
}

/// Every format that is kept.
fn kept() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(formats()).expect("listed").map(|entry| entry.expect("an entry").path());
    let mut kept: Vec<_> = entries.filter(|path| path.join("data/FORMAT").exists()).collect();
    kept.sort();
    assert!(!kept.is_empty());
    kept
}

/// A home with a copy of a format's directory.
fn copy(format: &Path) -> Home {
    let home = Home::new();
    home.settings(&settings());
    for (from, to) in [("data", home.data()), ("data.key", home.path().join("data.key"))] {
        let status = Command::new("cp").arg("-r").arg(format.join(from)).arg(to).status().expect("cp runs");
        assert!(status.success());
    }
    home
}

/// Every question with the answer of the version that wrote the directory.
fn expected(format: &Path) -> Vec<(String, String)> {
    let mut questions: Vec<_> = std::fs::read_dir(format.join("expected"))
        .expect("listed")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .map(|path| {
            let read = |path: &Path| std::fs::read_to_string(path).expect("read");
            (read(&path), read(&path.with_extension("csv")))
        })
        .collect();
    questions.sort();
    assert!(questions.len() >= 4, "a format keeps its questions");
    questions
}

/// Whether two rows say the same. A mean from rollups is rounded once, one from readings with each of them: the last digit
/// of such a fraction may differ.
fn is_same(found: &str, expected: &str) -> bool {
    let is_near = |(found, expected): (&str, &str)| {
        found == expected
            || expected.contains('.')
                && matches!((found.parse::<f64>(), expected.parse::<f64>()),
                (Ok(found), Ok(expected)) if (found - expected).abs() <= 1e-14 * expected.abs())
    };
    let cells = |row: &str| row.split(',').count();
    cells(found) == cells(expected) && found.split(',').zip(expected.split(',')).all(is_near)
}

/// Asks everything; each line is compared, so that a difference is seen at once.
fn check(server: &Server, format: &Path, until: &str) {
    for (sql, expected) in expected(format) {
        let found = server.ok(&["query", "--csv", "--wait", "120s", sql.trim()]);
        for (found, expected) in found.lines().zip(expected.lines()) {
            let place = format!("{}, {until}: {sql}", format.display());
            assert!(is_same(found, expected), "{place}: `{found}` for `{expected}`");
        }
        assert_eq!(found.lines().count(), expected.lines().count(), "{until}: {sql}");
    }
}

fn format_of(home: &Home) -> serde_json::Value {
    let text = std::fs::read(home.data().join("FORMAT")).expect("read");
    serde_json::from_slice(&text).expect("JSON")
}

#[test]
fn every_older_format_is_upgraded_and_answers_as_before() {
    for format in kept() {
        let home = copy(&format);
        let before = format_of(&home);
        let server = home.start();
        let after = format_of(&home);
        assert!(after["format"].as_u64() >= before["format"].as_u64());
        assert_eq!(after["id"], before["id"]);
        assert_eq!(after["boot"].as_u64(), before["boot"].as_u64().map(|boot| boot + 1));
        check(&server, &format, "at first");
        // Who it knew before it still knows.
        let door = home.door_with_passwords();
        let passwords = std::fs::read_to_string(format.join("expected/passwords.csv")).expect("read");
        for line in passwords.lines().skip(1) {
            let (name, password) = line.split_once(',').expect("two columns");
            assert_eq!(Raw::open(door).say_connect(name, Some((name, password))), 0, "{name}");
        }
        // A repeat of a message id from before is still known: its answer did not change.
        server.ok(&[
            "send",
            "dt/room-1/climate",
            r#"{"ts":1767225900000,"temperature":22.5}"#,
            "--message-id",
            "order-1",
        ]);
        check(&server, &format, "after a restart");
        server.kill();

        let server = home.start();
        check(&server, &format, "after a kill");
        Raw::connect(server.mqtt, "new").publish_acked("dt/new/x", br#"{"ts":1800000000000,"t":7}"#);
        server.stop();
        let server = home.start();
        assert_eq!(server.value("SELECT value FROM latest WHERE device = 'new'"), "7", "it takes more");
        let raw = server.value("SELECT count(*) FROM readings WHERE device <> 'new'");
        let (_, readings) = expected(&format)
            .into_iter()
            .find(|(sql, _)| sql.contains("received_at FROM readings"))
            .expect("kept");
        assert_eq!(raw, (readings.lines().count() - 1).to_string());
        server.stop();
    }
}

#[test]
fn an_upgrade_that_is_cut_off_is_done_by_the_next_start() {
    for format in kept() {
        let home = copy(&format);
        // The number is the first that changes: a crash right behind it leaves all else as the older version wrote it.
        let mut text = format_of(&home);
        text["format"] = host::FORMAT_VERSION.into();
        std::fs::write(home.data().join("FORMAT"), text.to_string()).expect("written");
        check(&home.start(), &format, "with the number alone");
        // Killed at any other moment of the first start.
        let home = copy(&format);
        for _ in 0..3 {
            home.start().kill();
        }
        check(&home.start(), &format, "after starts that were killed");
    }
}

#[test]
fn a_newer_format_is_refused_by_name_and_left_alone() {
    let home = copy(&kept()[0]);
    let newer = r#"{"format": 999, "id": "a", "boot": 1, "shape": "unknown"}"#;
    std::fs::write(home.data().join("FORMAT"), newer).expect("written");
    let said = home.start_refused();
    assert!(said.contains("has format 999; this version of Godwit knows formats up to"), "{said}");
    assert!(said.contains("hint: start the version of Godwit that wrote it"), "{said}");
    assert_eq!(std::fs::read_to_string(home.data().join("FORMAT")).expect("read"), newer);
}

#[test]
fn an_older_format_is_backed_up_as_it_is_and_restored_as_today() {
    let format = &kept()[0];
    let home = copy(format);
    let (data, to) = (home.data(), home.path().join("backup.tar"));
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let before = format_of(&home);
    let godwit = |arguments: &[&str]| {
        let output =
            Command::new(crate::server::GODWIT).args(arguments).env_clear().output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    godwit(&["backup", "--data", &text(&data), "--to", &text(&to), "--without-key"]);
    assert_eq!(format_of(&home), before, "to back up is not to upgrade");
    let elsewhere = Home::new();
    elsewhere.settings(&settings());
    std::fs::copy(home.path().join("data.key"), elsewhere.path().join("data.key")).expect("copied");
    godwit(&["restore", &text(&to), "--data", &text(&elsewhere.data())]);
    assert_eq!(format_of(&elsewhere)["format"], before["format"]);
    check(&elsewhere.start(), format, "restored");
}
