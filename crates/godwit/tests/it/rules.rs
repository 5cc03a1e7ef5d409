//! Rules in a running server: from a file and a recording to episodes, whatever happens on the way.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::office::{OFFICE, Recording, STALE_AIR, WARM};
use crate::raw::Raw;
use crate::server::{BOTH_DOORS, Home, Server};

/// How long the rules may take to have judged what came.
const PATIENCE: Duration = Duration::from_secs(120);

fn home() -> Home {
    let home = Home::new();
    let dir = home.path().join("rules");
    std::fs::create_dir(&dir).expect("made");
    home.settings(&format!("{BOTH_DOORS}[rules]\ndir = \"{}\"\n", dir.display()));
    home
}

fn write(home: &Home, text: &str) {
    std::fs::write(home.path().join("rules/office.yaml"), text).expect("written");
}

fn episodes(server: &Server, rule: &str) -> Vec<Vec<String>> {
    server.rows(&format!(
        "SELECT started_at, fired_at, resolved_at FROM alerts WHERE rule = '{rule}' ORDER BY started_at"
    ))
}

/// Waits until what is asked for is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
    }
}

/// Waits until the rules have judged all that came.
pub(crate) fn judged(server: &Server) {
    // Of the journal: a query may not see all of it yet.
    let last = server.metric("godwit_journal_durable_seq");
    until("everything is judged", || server.metric("godwit_rules_judged_seq") >= last);
}

#[test]
fn the_recording_raises_its_alerts_in_order_shuffled_and_over_a_kill() {
    let recording = Recording::office();
    let recording = recording.text();
    let home = home();
    write(&home, OFFICE);
    let server = home.start();
    server.ok(&["replay", recording, "--as", "office-1", "--shuffle", "7"]);
    server.kill();
    let server = home.start();
    judged(&server);
    assert_eq!(episodes(&server, "StaleAir"), STALE_AIR);
    assert_eq!(episodes(&server, "Warm"), WARM);
    // Once more, in order: nothing new.
    server.ok(&["replay", recording, "--as", "office-1"]);
    judged(&server);
    assert_eq!(episodes(&server, "StaleAir"), STALE_AIR);
    assert_eq!(episodes(&server, "Warm"), WARM);
    assert_eq!(server.value("SELECT count(*) FROM alerts WHERE late = false"), "0", "the past pages nobody");
    let listed = server.ok(&["alert", "list"]);
    assert!(listed.contains("StaleAir") && listed.contains("device=office-1"), "{listed}");
    until("the action has published", || {
        server.value("SELECT count(*) FROM messages WHERE topic = 'ops/hot/office-1'") != "0"
    });
}

const HOT: &str = "
groups:
- name: g
  rules:
  - alert: Hot
    from: dt/+/climate
    expr: temperature > 30
    labels: {severity: critical}
";

#[test]
fn a_rule_file_that_changes_counts_at_once_and_one_that_is_wrong_changes_nothing() {
    let home = home();
    let server = home.start();
    assert!(!server.ok(&["rule", "list"]).contains("Hot"));
    write(&home, HOT);
    until("the file is in force", || server.ok(&["rule", "list"]).contains("Hot"));
    server.ok(&["send", "dt/a/climate", r#"{"temperature":35}"#]);
    judged(&server);
    let open = "SELECT state, late FROM alerts WHERE rule = 'Hot'";
    assert_eq!(server.rows(open), [["firing", "false"]]);

    write(&home, &HOT.replace("temperature > 30", "temperatur >"));
    until("what is wrong is said", || {
        server.ok(&["rule", "list"]).contains("Not all is in force as the files say now")
    });
    assert_eq!(server.rows(open), [["firing", "false"]], "the rules from before stay in force");

    write(&home, &HOT.replace("> 30", "> 40"));
    until("the old version's alert has ended", || server.rows(open) == [["resolved", "false"]]);
    let shown = server.ok(&["rule", "show", "Hot"]);
    assert!(shown.contains("temperature > 30") && shown.contains("temperature > 40"), "{shown}");
    server.ok(&["send", "dt/a/climate", r#"{"temperature":35}"#]);
    judged(&server);
    assert_eq!(server.rows(open), [["resolved", "false"]], "35 is not above 40");

    let refused = server.run(&["rule", "show", "Cold"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there is no rule `Cold`"));
}

/// A rule that acts on what the device says.
const ACTS: &str = "
groups:
- name: g
  rules:
  - rule: hot
    sql: SELECT temperature FROM 'dt/+/climate'
    actions: [{publish: ops/hot}]
";

/// Runs a statement in the server's catalog, behind its back.
fn database(home: &Home, sql: &str) {
    let run = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=30); c.execute(sys.argv[2]); c.commit()";
    let done =
        Command::new("python3").args(["-c", run]).arg(home.data().join("catalog.db")).arg(sql).status();
    assert!(done.expect("python3 is there").success());
}

#[test]
fn actions_that_could_not_begin_are_said_and_tried_again_until_they_do() {
    let home = home();
    let server = home.start();
    database(
        &home,
        "CREATE TRIGGER no_room BEFORE INSERT ON sink_positions BEGIN SELECT RAISE(ABORT, 'no room'); END",
    );
    write(&home, ACTS);
    let listed = || server.ok(&["rule", "list"]);
    until("it is said", || listed().contains("actions are not at work, and it is tried again: cannot write"));
    database(&home, "DROP TRIGGER no_room");
    until("it is at work", || !listed().contains("Not all is in force"));
    server.ok(&["send", "dt/a/climate", r#"{"temperature":35}"#]);
    until("it acts", || server.value("SELECT count(*) FROM messages WHERE topic = 'ops/hot'") == "1");
}

#[test]
fn every_dead_letter_of_actions_is_listed_however_many_there_are() {
    let home = home();
    let server = home.start();
    database(
        &home,
        "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 2100)
         INSERT INTO sink_letters (id, sink, target, seq_from, seq_to, messages, reason, detail, at)
         SELECT id, 'r/webhook-1', 'x', id, id, 1, 'held', 'nobody there', 0 FROM n",
    );
    let listed = server.ok(&["action", "letters"]);
    assert_eq!(listed.matches("held: nobody there").count(), 2_100);
    assert!(listed.lines().last().expect("a line").trim_start().starts_with("1 "), "the oldest is the last");
    let wrong = server.get("/api/v1/actions/dead-letters?after=x");
    assert!(wrong.contains("`next` of the page before"), "{wrong}");
}

#[test]
fn a_wrong_rule_file_is_refused_at_the_start_with_its_place() {
    let home = home();
    write(&home, &HOT.replace("expr: temperature", "expr: avgg(temperature)"));
    let said = home.start_refused();
    assert!(said.contains("office.yaml:7:") && said.contains("did you mean `avg`"), "{said}");
}

const HUNG: &str = "
groups:
- name: g
  rules:
  - alert: Hung
    from: dt/#
    absent_for: 2s
    connected: true
";

#[test]
fn a_device_that_hangs_is_named_while_its_connection_lives() {
    let home = home();
    write(&home, HUNG);
    let server = home.start();
    // As silent as the other, and without a connection of its own.
    server.ok(&["send", "dt/gone/climate", r#"{"temperature": 20}"#]);
    let added = server.ok(&["device", "add", "hangs", "--password"]);
    let password = added.lines().find_map(|line| line.strip_prefix("password")).expect("a password");
    let password = password.split_whitespace().next().expect("a word").to_owned();
    let mut raw = Raw::open(home.door_with_passwords());
    assert_eq!(raw.say_connect("hangs", Some(("hangs", &password))), 0, "accepted");
    raw.publish_acked("dt/hangs/climate", br#"{"temperature": 20}"#);
    until("it is named", || server.value("SELECT count(*) FROM alerts WHERE rule = 'Hung'") != "0");
    let of = |device: &str| server.value(&format!("SELECT count(*) FROM alerts WHERE key LIKE '%{device}%'"));
    assert_eq!([of("hangs"), of("gone")], ["1", "0"]);
}
