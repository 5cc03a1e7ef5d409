//! `godwit rule` on files: what is wrong, what tests say, what would have been.

use std::process::{Command, Output};

use crate::office::Recording;
use crate::server::GODWIT;

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_owned()
    }

    /// Runs the binary in the directory: faults name files as they were given.
    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(GODWIT)
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .output()
            .expect("the binary starts")
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn fails(&self, arguments: &[&str]) -> (String, String) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (text(output.stdout), text(output.stderr))
    }
}

fn rule(name: &str, body: &str) -> String {
    format!("  - alert: {name}\n    from: dt/+/telemetry\n    {}\n", body.replace('\n', "\n    "))
}

fn file(rules: &[String]) -> String {
    format!("groups:\n- name: office\n  rules:\n{}", rules.concat())
}

#[test]
fn a_check_tells_every_fault_with_its_place_and_fails() {
    let files = Files::new();
    files.write("good.yaml", &file(&[rule("Hot", "expr: temperature > 30")]));
    files
        .write("bad.yaml", &file(&[rule("Bad", "expr: temperature >\nfro: 5m"), rule("Hot", "expr: a > 1")]));
    assert_eq!(
        files.ok(&["rule", "check", "good.yaml"]),
        "1 file: 1 alert and 0 action rules, nothing wrong\n"
    );
    let (_, told) = files.fails(&["rule", "check", "good.yaml", "bad.yaml"]);
    assert_eq!(
        told,
        "bad.yaml:6:24: expected a value, found the end\n\
         bad.yaml:7:5: unknown key `fro`; did you mean `for`?\n\
         bad.yaml:8:12: there is a rule `Hot` already, at good.yaml:4; every rule has a name of its own\n\
         error: 3 faults\n  hint: docs/rules.md teaches the language\n"
    );
    let (_, told) = files.fails(&["rule", "check", "none.yaml"]);
    assert!(told.starts_with("error: cannot read `none.yaml`"), "{told}");
}

#[test]
fn tests_of_rules_pass_or_say_what_is_otherwise() {
    let files = Files::new();
    files.write("office.yaml", &file(&[rule("Hot", "expr: temperature > 30\nfor: 5m")]));
    let test = |fired: &str| {
        format!(
            "rule_files: [office.yaml]\ntests:\n- name: five minutes\n  input:\n  - {{device: a, values: {{temperature: 20 31x9 25}}}}\n  \
             expect:\n    Hot:\n    - {{start: 1m, fired: {fired}, resolved: 11m}}\n"
        )
    };
    files.write("right.yaml", &test("6m"));
    files.write("wrong.yaml", &test("7m"));
    assert_eq!(files.ok(&["rule", "test", "right.yaml"]), "ok     five minutes\n1 of 1 tests passed\n");
    let (said, told) = files.fails(&["rule", "test", "wrong.yaml"]);
    assert_eq!(
        said,
        "FAILED five minutes\n       wrong.yaml:8:1: `Hot` has no episode {start: 1m, fired: 7m, resolved: 11m}\n       \
         wrong.yaml:7:1: `Hot` has an episode that is not written here: {start: 1m, fired: 6m, resolved: 11m} of {\"device\":\"a\"}\n\
         0 of 1 tests passed\n"
    );
    assert_eq!(told, "error: 1 of 1 tests failed\n");
}

#[test]
fn a_backtest_tells_episodes_days_and_differences() {
    let files = Files::new();
    let mut rows = "date,CO2\n".to_owned();
    for minute in 0..120 {
        let co2 = if minute % 30 < 12 { 1200 } else { 800 };
        rows += &format!("2015-02-05 {:02}:{:02}:00,{co2}\n", 9 + minute / 60, minute % 60);
    }
    files.write("day.csv", &rows);
    files.write(
        "new.yaml",
        &file(&[rule("Stuffy", "expr: co2 > 1000\nfor: 10m\nlabels: {severity: warning}")]),
    );
    files.write("old.yaml", &file(&[rule("Stuffy", "expr: co2 > 1000\nfor: 30m")]));
    let said = files.ok(&[
        "rule",
        "backtest",
        "new.yaml",
        "--recording",
        "day.csv",
        "--as",
        "office-1",
        "--against",
        "old.yaml",
    ]);
    assert!(
        said.contains(
            "): 4 episodes\n  120 samples of 1 key, 2015-02-05T09:00:00Z to 2015-02-05T10:59:00Z\n"
        ),
        "{said}"
    );
    assert!(
        said.contains(
            "    start 2015-02-05T09:30:00Z  fired 2015-02-05T09:40:00Z  resolved 2015-02-05T09:42:00Z\n"
        ),
        "{said}"
    );
    assert!(said.contains("    2015-02-05 8 severity=warning\n"), "{said}");
    assert_eq!(said.matches("    + start ").count(), 4, "{said}");
    let seen = files.ok(&["rule", "backtest", "new.yaml", "--recording", "day.csv", "--topic", "climate"]);
    assert!(seen.contains("no sample that `from: dt/+/telemetry` lets pass has a channel of it"), "{seen}");
}

#[test]
fn the_recordings_give_their_answers_and_sparse_channels_are_warned_of() {
    let (recording, machine) = (Recording::office(), Recording::machine());
    let (office, ambient) = (recording.text(), machine.text());
    // What lies between the episodes is of the real one alone.
    let mean = match recording.is_made_up() {
        false => "start 2015-02-09T16:12:00Z  fired 2015-02-09T16:15:59Z  resolved 2015-02-09T18:10:59Z",
        true => "start 2015-02-09T16:17:00Z  fired 2015-02-09T16:21:00Z  resolved 2015-02-09T18:40:00Z",
    };
    let files = Files::new();
    files.write(
        "office.yaml",
        &file(&[
            rule("Stuffy", "expr: co2 > 1000\nfor: 10m\nmax_gap: 2m"),
            rule("Warm", "expr: temperature > 22\nclear: temperature < 21.5\nfor: 5m\nmax_gap: 2m"),
            rule("Mean", "expr: avg(temperature, last 4) > 22\nstreak: 5"),
        ]),
    );
    files.write("ambient.yaml", &file(&[rule("Failing", "expr: value > 78\nfor: 3h\nmax_gap: 2h")]));
    let said = files.ok(&["rule", "backtest", "office.yaml", "--recording", office, "--as", "office-1"]);
    for (name, episodes, line) in [
        (
            "Stuffy",
            4,
            "start 2015-02-09T09:53:59Z  fired 2015-02-09T10:04:00Z  resolved 2015-02-09T19:59:59Z",
        ),
        ("Warm", 5, "start 2015-02-04T17:51:00Z  fired 2015-02-04T17:57:00Z  resolved 2015-02-04T21:34:00Z"),
        ("Mean", 5, mean),
    ] {
        let head = said.lines().find(|text| text.starts_with(name)).expect("a rule");
        assert!(head.ends_with(&format!("): {episodes} episodes")), "{head}");
        assert!(said.contains(line), "{said}");
    }
    assert!(said.contains("8143 samples of 1 key, 2015-02-04T17:51:00Z to 2015-02-10T09:33:00Z"), "{said}");
    let said = files.ok(&["rule", "backtest", "ambient.yaml", "--recording", ambient, "--as", "ambient-1"]);
    assert!(said.contains("): 8 episodes"), "{said}");

    // Only where it differs from the row before: 41 messages.
    let text = std::fs::read_to_string(recording.path()).expect("the recording reads");
    let mut changes = "date,occupancy\n".to_owned();
    let mut before = "";
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let occupancy = cells[cells.len() - 1];
        if std::mem::replace(&mut before, occupancy) != occupancy {
            changes += &format!("{},{occupancy}\n", cells[1]);
        }
    }
    assert_eq!(changes.lines().count(), 42);
    files.write("changes.csv", &changes);
    files.write("bare.yaml", &file(&[rule("Occupied", "expr: occupancy > 0\nfor: 30m")]));
    files.write("held.yaml", &file(&[rule("Occupied", "expr: occupancy > 0\nfor: 30m\nhold: 24h")]));
    let warned = files.ok(&["rule", "check", "bare.yaml", "--recording", "changes.csv"]);
    assert!(
        warned.starts_with("warning: bare.yaml: `Occupied`: ") && warned.contains("hold: 24h"),
        "{warned}"
    );
    let quiet = files.ok(&["rule", "check", "held.yaml", "--recording", "changes.csv"]);
    assert!(!quiet.contains("warning"), "{quiet}");
    let said = files.ok(&["rule", "backtest", "held.yaml", "--recording", "changes.csv"]);
    assert!(said.contains("): 10 episodes"), "{said}");
    assert!(said.contains("start 2015-02-10T08:42:00Z  fired 2015-02-10T09:12:00Z  open"), "{said}");
    assert!(
        files.ok(&["rule", "backtest", "bare.yaml", "--recording", "changes.csv"]).contains("): 0 episodes")
    );
}
