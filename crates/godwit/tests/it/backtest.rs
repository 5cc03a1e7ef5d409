//! Rules tried on what a running server keeps: the answers of the recording, what is different, and nothing else happens.

use crate::office::{OFFICE, Recording, STALE_AIR, WARM};
use crate::rules::{judged, until};
use crate::server::{BOTH_DOORS, Home, Server};

/// A server whose own rules are none, with the recording as `office-1`.
fn office(recording: &str) -> (Home, Server) {
    let home = Home::new();
    let dir = home.path().join("rules");
    std::fs::create_dir(&dir).expect("made");
    home.settings(&format!("{BOTH_DOORS}[rules]\ndir = \"{}\"\nshipped = false\n", dir.display()));
    let server = home.start();
    server.ok(&["replay", recording, "--as", "office-1"]);
    (home, server)
}

fn write(home: &Home, name: &str, text: &str) -> String {
    let path = home.path().join(name);
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("text").to_owned()
}

/// What a failing command told on stderr.
fn told(server: &Server, arguments: &[&str]) -> String {
    let output = server.run(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).expect("text")
}

fn lines(episodes: &[[&str; 3]]) -> Vec<String> {
    let line = |[start, fired, end]: &[&str; 3]| format!("    start {start}  fired {fired}  resolved {end}");
    episodes.iter().map(line).collect()
}

#[test]
fn a_backtest_on_columns_says_what_one_on_the_recording_says_and_changes_nothing() {
    let recording = Recording::office();
    let recording = recording.text();
    let (home, server) = office(recording);
    let file = write(&home, "office.yaml", OFFICE);
    // First from memory; after a graceful stop from column files.
    let on_file = server.ok(&["rule", "backtest", &file, "--recording", recording, "--as", "office-1"]);
    let on_memory = server.ok(&["rule", "backtest", &file, "--since", "2015-01-01"]);
    assert_eq!(on_memory, on_file);
    server.stop();
    let server = home.start();
    let before = state(&server);
    let on_columns = server.ok(&["rule", "backtest", &file, "--since", "2015-01-01"]);
    assert_eq!(on_columns, on_file);
    for (rule, episodes) in [("StaleAir", &STALE_AIR[..]), ("Warm", &WARM[..])] {
        let part: Vec<&str> = on_columns.lines().skip_while(|line| !line.starts_with(rule)).skip(3).collect();
        assert_eq!(part[..episodes.len()], lines(episodes), "{on_columns}");
    }
    assert!(
        on_columns.contains("8143 samples of 1 key, 2015-02-04T17:51:00Z to 2015-02-10T09:33:00Z"),
        "{on_columns}"
    );
    assert_eq!(state(&server), before, "it has no effect");

    // A part of the time: its range is what there was in it.
    let part = server.ok(&["rule", "backtest", &file, "--since", "2015-02-09", "--until", "2015-02-10"]);
    assert!(part.contains("1440 samples of 1 key, 2015-02-09T00:00:00Z to 2015-02-09T23:58:59Z"), "{part}");
    assert!(part.contains("StaleAir") && part.contains("fired 2015-02-09T10:04:00Z"), "{part}");
    assert!(!part.contains("2015-02-05"), "{part}");
}

/// Everything that a backtest could have changed.
fn state(server: &Server) -> Vec<String> {
    judged(server);
    vec![
        server.value("SELECT count(*) FROM alerts"),
        server.value("SELECT count(*) FROM messages"),
        server.ok(&["alert", "inbox"]),
        server.ok(&["alert", "dead-letters"]),
        server.ok(&["rule", "list"]),
        server.ok(&["audit", "list"]),
    ]
}

/// One more rule for the office.
const DARK: &str = "
  - alert: Dark
    from: dt/+/telemetry
    expr: light < 1
    for: 12h
";

#[test]
fn a_backtest_says_what_is_otherwise_than_in_another_file_and_than_what_is_in_force() {
    let recording = Recording::office();
    let (home, server) = office(recording.text());
    let in_force = format!("{OFFICE}{DARK}");
    std::fs::write(home.path().join("rules/office.yaml"), &in_force).expect("written");
    until("the file is in force", || server.ok(&["rule", "list"]).contains("Dark"));
    // Higher by a hundred: the last episode starts and ends elsewhere, another is gone.
    let new = write(&home, "new.yaml", &in_force.replace("co2 > 1000", "co2 > 1400"));
    let said = server.ok(&["rule", "backtest", &new, "--since", "2015-01-01"]);
    let (stale, dark) = said.split_once("\nDark ").expect("rules");
    assert!(stale.contains(", which is in force:\n    "), "{said}");
    assert!(
        stale.contains("    - start 2015-02-05T10:38:00Z  fired 2015-02-05T10:49:00Z  resolved 2015-02-05T13:01:00Z  {\"device\":\"office-1\"}"),
        "{said}"
    );
    assert!(dark.contains("\n  the same as version ") && dark.contains(", which is in force\n"), "{said}");

    // Against a file: the same differences, and which rules are in one file alone.
    let old = write(&home, "old.yaml", &in_force.replace("alert: Dark", "alert: Night"));
    let against = server.ok(&["rule", "backtest", &new, "--since", "2015-01-01", "--against", &old]);
    let differences = |said: &str| -> Vec<String> {
        let is_one = |line: &&str| ["    + ", "    - ", "    ~ "].iter().any(|sign| line.starts_with(sign));
        said.lines().filter(is_one).map(str::to_owned).collect()
    };
    assert_eq!(differences(&against), differences(&said));
    assert!(!against.contains("in force"), "{against}");
    assert!(against.ends_with("Dark is new\nNight is gone\n"), "{against}");
}

#[test]
fn a_backtest_that_sees_nothing_says_what_there_is_instead() {
    let home = Home::new();
    let file = |from: &str, expr: &str| {
        let text = format!("groups:\n- name: g\n  rules:\n  - {{alert: Hot, from: {from}, expr: {expr}}}\n");
        write(&home, "hot.yaml", &text)
    };
    home.settings(&format!("{BOTH_DOORS}[rules]\nshipped = false\n"));
    let server = home.start();
    let backtest = |file: &str, since: &str| server.ok(&["rule", "backtest", file, "--since", since]);
    let said = backtest(&file("dt/+/climate", "temperature > 30"), "2015-01-01");
    assert!(said.contains("0 episodes\n  this server has no readings\n"), "{said}");
    server.ok(&["send", "dt/a/climate", r#"{"ts":"2026-01-02T03:04:05Z","temperature":35}"#]);
    judged(&server);
    let said = backtest(&file("dt/+/climate", "temperatur > 30"), "2015-01-01");
    assert!(said.contains("\n  there is no channel `temperatur`; did you mean `temperature`?\n"), "{said}");
    let said = backtest(&file("dt/+/climat", "temperature > 30"), "2015-01-01");
    assert!(
        said.contains("\n  no reading of its channels came over a topic that `dt/+/climat` matches; did you mean `dt/+/climate`?\n"),
        "{said}"
    );
    let said = backtest(&file("plant/#", "temperature > 30"), "2015-01-01");
    assert!(said.contains("`plant/#` matches; they came over `dt/+/climate`\n"), "{said}");
    let said = backtest(&file("dt/+/climate", "temperature > 30"), "2026-01-03");
    assert!(said.contains("of that time; "), "{said}");

    // What is wrong is said as `check` says it.
    let wrong = file("dt/+/climate", "temperature >");
    let told_wrong = told(&server, &["rule", "backtest", &wrong, "--since", "1d"]);
    assert_eq!(
        told_wrong,
        format!(
            "{wrong}:4:57: expected a value, found the end\nerror: 1 fault\n  hint: docs/rules.md teaches the language\n"
        )
    );
    let right = file("dt/+/climate", "temperature > 30");
    let crossed =
        told(&server, &["rule", "backtest", &right, "--since", "2026-02-01", "--until", "2026-01-01"]);
    assert_eq!(
        crossed,
        "error: nothing lies between 2026-02-01T00:00:00Z and 2026-01-01T00:00:00Z\n  hint: `since` is before `until`\n"
    );
    let both = told(&server, &["rule", "backtest", &right, "--since", "1d", "--recording", "x.csv"]);
    assert!(both.contains("cannot be used with"), "{both}");
}

const SHARED: &str = "
groups:
- name: g
  rules:
  - alert: FloorHot
    from: dt/+/climate
    by: [group]
    expr: avg(temperature, 5m) > 30
    for: 2m
  - alert: Quiet
    from: dt/+/climate
    absent_for: 1h
";

#[test]
fn rules_of_a_group_and_of_silence_are_tried_too() {
    let home = Home::new();
    home.settings(&format!("{BOTH_DOORS}[rules]\nshipped = false\n"));
    let server = home.start();
    for group in ["hq", "hq/floor-1"] {
        server.ok(&["group", "add", group]);
    }
    for device in ["a", "b"] {
        server.ok(&["device", "add", device, "--password", "--group", "hq/floor-1"]);
    }
    // Above thirty on average only together, from 03:05 on; then nothing for two hours.
    for minute in 0..8 {
        for (device, temperature) in [("a", 24 + 2 * minute), ("b", 32)] {
            let payload =
                format!("{{\"ts\":\"2026-01-02T03:{minute:02}:00Z\",\"temperature\":{temperature}}}");
            server.ok(&["send", &format!("dt/{device}/climate"), &payload]);
        }
    }
    judged(&server);
    let file = write(&home, "shared.yaml", SHARED);
    let said = server.ok(&["rule", "backtest", &file, "--since", "2026-01-01"]);
    let start = said.lines().find(|line| line.starts_with("    start ")).unwrap_or_default();
    assert!(
        said.contains("\n  16 samples of 1 key, ") && said.contains("{\"group\":\"hq/floor-1\"}: 1 episode"),
        "{said}"
    );
    assert!(start.starts_with("    start 2026-01-02T03:05:00Z  fired 2026-01-02T03:07:00Z  open"), "{said}");
    // Heard just now, whatever time the readings are of.
    let quiet = said.split_once("\nQuiet ").expect("both").1;
    assert!(quiet.contains("0 episodes\n  16 samples of 2 keys"), "{said}");
}
