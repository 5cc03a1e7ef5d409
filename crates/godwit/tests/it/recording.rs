//! The real recording of an office, and the answers that must come out.

use std::path::PathBuf;
use std::process::Stdio;

use crate::server::{Home, Server};

/// The folder of this crate, asked when it runs: checkouts may share what one of them built.
fn here() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where a test belongs"))
}

/// The recording, where the checkout has its shared data beside it.
fn recording() -> Option<PathBuf> {
    Some(here().ancestors().nth(3).expect("beside the checkout").join("shared/data/occupancy-office.csv"))
        .filter(|path| path.exists())
}

/// The answers, as the recording's own rows give them.
fn assert_the_answers(server: &Server) {
    let counts = "SELECT count(*), count(DISTINCT channel), min(time), max(time) FROM readings WHERE device = 'office-1'";
    assert_eq!(server.rows(counts), [["48858", "6", "2015-02-04T17:51:00Z", "2015-02-10T09:33:00Z"]]);
    let co2 = "SELECT max(value), count(*) FILTER (WHERE value > 1000) FROM readings WHERE device = 'office-1' AND channel = 'co2'";
    assert_eq!(server.rows(co2), [["2028.5", "974"]]);
    let days = "SELECT cast(cast(time AS date) AS varchar), round(avg(value), 6), count(*) FROM readings \
        WHERE device = 'office-1' AND channel = 'temperature' GROUP BY 1 ORDER BY 1";
    let expected = [
        ("2015-02-04", "21.765255", "369"),
        ("2015-02-05", "21.469044", "1440"),
        ("2015-02-06", "20.8805", "1440"),
        ("2015-02-07", "20.576546", "1440"),
        ("2015-02-08", "19.510642", "1440"),
        ("2015-02-09", "20.498565", "1440"),
        ("2015-02-10", "20.283957", "574"),
    ];
    assert_eq!(server.rows(days), expected.map(|(day, mean, rows)| vec![day, mean, rows]));
    let latest = "SELECT DISTINCT time FROM latest WHERE device = 'office-1'";
    assert_eq!(server.rows(latest), [["2015-02-10T09:33:00Z"]]);
    let channels = "SELECT channel FROM latest WHERE device = 'office-1' ORDER BY channel";
    let names = ["co2", "humidity", "humidityratio", "light", "occupancy", "temperature"];
    assert_eq!(server.rows(channels), names.map(|name| vec![name]));
}

#[test]
fn the_real_recording_gives_its_answers_whatever_happens_to_it() {
    let Some(recording) = recording() else { return made_up_day_only() };
    let recording = recording.to_str().expect("text");
    let home = Home::new();
    let server = home.start();
    let replay = ["replay", recording, "--as", "office-1"];
    server.ok(&replay);
    assert_eq!(server.value("SELECT count(*) FROM messages WHERE device = 'office-1'"), "8143");
    assert_the_answers(&server);

    // Twice, and shuffled: a repeat changes nothing, and arrival says nothing about time.
    server.ok(&replay);
    server.ok(&["replay", recording, "--as", "office-1", "--shuffle", "7"]);
    assert_eq!(
        server.value("SELECT count(*) FROM messages WHERE device = 'office-1'"),
        (3 * 8143).to_string()
    );
    assert_the_answers(&server);

    // From files as from memory.
    server.stop();
    assert_the_answers(&home.start());
}

#[test]
fn every_message_sent_twice_changes_nothing() {
    let Some(recording) = recording() else { return made_up_day_only() };
    let home = Home::new();
    let rows = std::fs::read_to_string(recording).expect("readable");
    let (header, rows) = rows.split_once('\n').expect("a header");
    let doubled: String = rows.lines().flat_map(|row| [row, "\n", row, "\n"]).collect();
    let path = home.path().join("doubled.csv");
    std::fs::write(&path, format!("{header}\n{doubled}")).expect("written");
    let server = home.start();
    server.ok(&["replay", path.to_str().expect("text"), "--as", "office-1"]);
    assert_eq!(
        server.value("SELECT count(*) FROM messages WHERE device = 'office-1'"),
        (2 * 8143).to_string()
    );
    assert_the_answers(&server);
}

#[test]
fn killed_in_the_middle_of_a_replay_and_resumed_it_gives_the_same_answers() {
    let Some(recording) = recording() else { return made_up_day_only() };
    let home = Home::new();
    // A port that stays, so that the replay finds the server again.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address");
    home.settings(&format!(
        "[[listener]]\ndoor = \"mqtt\"\nbind = \"{port}\"\nauth = \"anonymous\"\n[http]\nbind = \"127.0.0.1:0\"\n"
    ));
    let server = home.start();
    let mut replay = std::process::Command::new(crate::server::GODWIT)
        .args(["replay", recording.to_str().expect("text"), "--as", "office-1", "--to", &port.to_string()])
        // A row a millisecond, so that there is a middle: the recording has one a minute.
        .args(["--patience", "60s", "--window", "50", "--speed", "60000"])
        .current_dir(home.path())
        .env("XDG_STATE_HOME", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // In the middle: some are acknowledged, not all.
    while server.metric("godwit_broker_received_messages_total") < 1500.0 {
        assert!(replay.try_wait().expect("known").is_none(), "the replay is still on its way");
    }
    server.kill();
    let server = home.start();
    let output = replay.wait_with_output().expect("ended");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_the_answers(&server);
}

/// Without the shared recording: the day that ships with the project, whose answers are its own rows'.
fn made_up_day_only() {
    let day = here().join("../../demo/office-day.csv");
    let home = Home::new();
    let server = home.start();
    server.ok(&["replay", day.to_str().expect("text"), "--as", "office-1"]);
    assert_eq!(server.value("SELECT count(*) FROM readings"), (1440 * 5).to_string());
    let text = std::fs::read_to_string(day).expect("readable");
    let co2 = text.lines().skip(1).filter_map(|row| row.split(',').nth(4)?.parse::<f64>().ok());
    let most = co2.fold(0.0, f64::max);
    assert_eq!(server.value("SELECT max(value) FROM readings WHERE channel = 'co2'"), most.to_string());
}
