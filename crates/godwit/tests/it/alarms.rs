//! What people and systems are told by a running server: soon where it matters, never about the past, whatever receivers and
//! data are like.
//!
//! Not here: which episodes a recording has (`rules`), what needs another clock (crates/alerts).

use std::time::{SystemTime, UNIX_EPOCH};

use model::Timestamp;

use crate::hook::{Hook, Request, nobody};
use crate::rules::{judged, until};
use crate::server::{BOTH_DOORS, GODWIT, Home, Server};
use crate::sql::send;

const MINUTE: i64 = 60 * Timestamp::SECOND;

const HOT: &str = "
groups:
- name: g
  rules:
  - alert: Hot
    from: dt/+/telemetry
    expr: temperature > 30
    for: 5m
    labels: {severity: critical}
    annotations: {summary: '{{device}} is hot'}
";

/// A server with these rules that tells `pager` everything as a webhook, and `people` in words.
fn home(rules: &str, pager: &Hook, people: &Hook) -> Home {
    let home = with_rules(rules, "");
    let alerts = format!(
        "route: {{receiver: ops, group_by: ['...'], group_wait: 0s, group_interval: 1s}}
receivers:
- name: ops
  webhook_configs: [{{url: '{}'}}]
  slack_configs: [{{api_url: '{}'}}]
",
        pager.url(),
        people.url()
    );
    std::fs::write(home.path().join("alerts.yaml"), alerts).expect("written");
    home
}

fn with_rules(rules: &str, more: &str) -> Home {
    let home = Home::new();
    let dir = home.path();
    std::fs::create_dir(dir.join("rules")).expect("made");
    std::fs::write(dir.join("rules/g.yaml"), rules).expect("written");
    let alerts = if more.is_empty() {
        format!("[alerts]\nconfig = \"{}\"\n", dir.join("alerts.yaml").display())
    } else {
        more.to_owned()
    };
    home.settings(&format!("{BOTH_DOORS}[rules]\ndir = \"{}\"\n{alerts}", dir.join("rules").display()));
    home
}

fn now() -> Timestamp {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros();
    Timestamp::from_micros(i64::try_from(micros).expect("a time"))
}

/// What a device has kept: a sample every half minute from one time to another, hot where it says so.
fn buffer(from: Timestamp, to: Timestamp, is_hot: impl Fn(Timestamp) -> bool) -> Vec<String> {
    let sample = |at: Timestamp| {
        let degrees = if is_hot(at) { 35 } else { 20 };
        format!("{{\"ts\":{},\"temperature\":{degrees}}}", at.micros() / 1_000)
    };
    let steps = to.micros_since(from) / (MINUTE / 2);
    (0..=steps).map(|step| sample(from.plus_micros(step * MINUTE / 2))).collect()
}

/// An alarm of now: when it is told, everything from before it was told too, if it was to be.
fn alarm(server: &Server, device: &str) {
    let now = now();
    send(server, &format!("dt/{device}/telemetry"), &buffer(now.plus_micros(-6 * MINUTE), now, |_| true));
}

fn devices(requests: &[Request]) -> Vec<String> {
    let of = |request: &Request| {
        request.json()["alerts"][0]["labels"]["device"].as_str().expect("text").to_owned()
    };
    requests.iter().map(of).collect()
}

#[test]
fn a_device_back_after_ten_minutes_still_hot_is_urgent_and_says_since_when() {
    let (pager, people) = (Hook::start(), Hook::start());
    let home = home(HOT, &pager, &people);
    let server = home.start();
    let now = now();
    let since = now.plus_micros(-8 * MINUTE);
    send(&server, "dt/back/telemetry", &buffer(now.plus_micros(-10 * MINUTE), now, |at| at >= since));
    let told = pager.wait(1)[0].json();
    let alert = &told["alerts"][0];
    assert_eq!((&told["status"], &alert["godwit"]["late"]), (&"firing".into(), &false.into()), "{told:#}");
    // Times of devices are in milliseconds here.
    let millis = |at: Timestamp| Timestamp::from_micros(at.micros() / 1_000 * 1_000).to_string();
    assert_eq!(alert["startsAt"], millis(since), "{told:#}");
    assert_eq!(alert["godwit"]["firedAt"], millis(since.plus_micros(5 * MINUTE)), "{told:#}");
    let words = people.wait(1)[0].body.clone();
    let learnt = alert["godwit"]["learntAt"].as_str().expect("a time");
    assert!(words.contains(&format!("since {}, learnt {learnt}", millis(since))), "{words}");

    // One that was away for an hour and is hot for most of it: told once too, and as urgent.
    let since = now.plus_micros(-50 * MINUTE);
    send(&server, "dt/longer/telemetry", &buffer(now.plus_micros(-60 * MINUTE), now, |at| at >= since));
    pager.wait(2);
    alarm(&server, "marker");
    assert_eq!(devices(&pager.wait(3)), ["back", "longer", "marker"]);
    assert_eq!(pager.got()[1].json()["alerts"][0]["startsAt"], millis(since));
    assert_eq!(server.rows("SELECT DISTINCT late FROM alerts WHERE rule = 'Hot'"), [["false"]]);
}

#[test]
fn yesterdays_backlog_pages_nobody() {
    let (pager, people) = (Hook::start(), Hook::start());
    let home = home(HOT, &pager, &people);
    let server = home.start();
    let end = now().plus_micros(-10 * 60 * MINUTE);
    let begin = end.plus_micros(-24 * 60 * MINUTE);
    // Hot for the first quarter of an hour of every eight, and at the end of it.
    let is_hot =
        |at: Timestamp| at.micros_since(begin) / MINUTE % 480 < 15 || end.micros_since(at) < 20 * MINUTE;
    let mut kept = buffer(begin, end, is_hot);
    send(&server, "dt/back/telemetry", &kept);
    // And the same from one whose buffer comes newest first.
    kept.reverse();
    send(&server, "dt/reversed/telemetry", &kept);
    judged(&server);
    alarm(&server, "marker");
    assert_eq!(devices(&pager.wait(1)), ["marker"]);
    until("the inbox has them", || server.ok(&["alert", "inbox"]).contains("late: Hot"));
    for device in ["back", "reversed"] {
        let found = server.rows(&format!(
            "SELECT state, late FROM alerts WHERE rule = 'Hot' AND key = '{{\"device\":\"{device}\"}}' ORDER BY started_at"
        ));
        let over = ["resolved", "true"];
        assert_eq!(found, [over, over, over, ["firing", "true"]], "{device}");
    }
    assert_eq!((devices(&pager.got()), people.got().len()), (vec!["marker".to_owned()], 1));
}

#[test]
fn an_action_whose_receiver_is_down_loses_nothing_and_delays_no_other_even_over_a_kill() {
    let (works, refuses) = (Hook::start(), Hook::at(([127, 0, 0, 1], 0).into(), 404));
    let down = nobody();
    let rule = |name: &str, url: &str| {
        format!(
            "  - rule: {name}\n    sql: SELECT n, topic(2) AS device FROM 'dt/+/climate' WHERE n >= 0\n    actions: [{{webhook: \"{url}\"}}]\n"
        )
    };
    let rules = format!(
        "groups:\n- name: g\n  rules:\n{}{}{}    error_action: {{publish: \"ops/errors\"}}\n",
        rule("down", &format!("http://{down}/hook")),
        rule("works", &works.url()),
        rule("refused", &refuses.url()),
    );
    let home = with_rules(&rules, "[sinks]\nretry_min = \"10ms\"\nretry_max = \"200ms\"\n");
    let server = home.start();
    let lines = |range: std::ops::Range<usize>| range.map(|n| format!("{{\"n\":{n}}}")).collect::<Vec<_>>();
    let bodies = |got: &[Request]| got.iter().map(|request| request.body.clone()).collect::<Vec<_>>();
    let expected = |range: std::ops::Range<usize>| {
        range.map(|n| format!("{{\"n\":{n},\"device\":\"a\"}}")).collect::<Vec<_>>()
    };
    send(&server, "dt/a/climate", &lines(0..20));
    // The one that works has all of it while the other has nothing.
    assert_eq!(bodies(&works.wait(20)), expected(0..20));
    until("it says what troubles it", || server.ok(&["action", "list"]).contains("no connection"));
    // What is refused for good is told by the error action, message by message, and is one dead letter.
    until("the errors are told", || {
        server.value("SELECT count(*) FROM messages WHERE topic = 'ops/errors'") == "20"
    });
    let letters = server.ok(&["action", "letters"]);
    assert!(letters.contains("404") && !letters.contains("down/"), "{letters}");
    assert_eq!(refuses.got().len(), 20, "404 is not asked again");
    assert!(refuses.got().iter().all(|request| request.status == 404));

    server.kill();
    let server = home.start();
    send(&server, "dt/a/climate", &lines(20..30));
    let back = Hook::at(down, 200);
    let got = back.wait(30);
    // What the receiver takes twice, it takes under the same id.
    let mut ids = std::collections::HashSet::new();
    let first: Vec<Request> =
        got.into_iter().filter(|request| ids.insert(request.header("godwit-id").to_owned())).collect();
    assert_eq!(bodies(&first), expected(0..30));
    until("its trouble is over", || !server.ok(&["action", "list"]).contains("no connection"));
}

#[test]
fn data_that_no_rule_can_reckon_with_raise_nothing_stop_nothing_and_are_counted() {
    let rules = "
groups:
- name: g
  rules:
  - {alert: Ratio, from: dt/+/telemetry, expr: energy / count > 2}
  - {alert: Level, from: dt/+/telemetry, expr: level > 5}
";
    let (pager, people) = (Hook::start(), Hook::start());
    let home = home(rules, &pager, &people);
    let server = home.start();
    // Each has a time of its own: readings of one time are one sample.
    let begin = now().micros() / 1_000 - 60_000;
    let at = |second: i64, fields: &str| format!("{{\"ts\":{},{fields}}}", begin + second * 1_000);
    let lines = [at(1, r#""energy":9,"count":0"#), at(2, r#""level":"nine""#), at(3, r#""level":"9""#)];
    send(&server, "dt/a/telemetry", &lines);
    judged(&server);
    let counted = |name: &str| {
        let listed: serde_json::Value = serde_json::from_str(&server.get("/api/v1/rules")).expect("JSON");
        let rules = listed["rules"].as_array().expect("rules").clone();
        let rule = rules.into_iter().find(|rule| rule["name"] == name).expect("it is in force");
        (rule["undefined"].as_u64(), rule["firing"].as_u64())
    };
    until("both are counted", || counted("Ratio").0 == Some(1) && counted("Level").0 == Some(2));
    assert_eq!((counted("Ratio").1, counted("Level").1), (Some(0), Some(0)));
    // Tomorrow it is a number, and there is something to divide by.
    let lines = [at(4, r#""energy":9,"count":3"#), at(5, r#""level":9"#)];
    send(&server, "dt/a/telemetry", &lines);
    let told = pager.wait(2);
    let mut names: Vec<_> =
        told.iter().map(|one| one.json()["alerts"][0]["labels"]["alertname"].to_string()).collect();
    names.sort();
    assert_eq!(names, ["\"Level\"", "\"Ratio\""]);
}

#[test]
fn rules_that_cannot_work_are_refused_all_at_once_at_a_check_and_at_a_start() {
    let rules = r#"
groups:
- name: g
  rules:
  - {alert: Nought, from: dt/#, expr: x / 0 > 1}
  - {alert: Explodes, from: dt/#, expr: "matches(mode, '(a{1000}){1000}')"}
  - {alert: Unknown, from: dt/#, expr: temperature > 1, annotations: {summary: '{{temprature}}'}}
  - {alert: Year, from: dt/#, expr: "avg(x, 365d) > 1"}
  - rule: act
    sql: SELECT regexp_matches(mode, '(a{1000}){1000}') FROM 'dt/#'
    actions: [{publish: ops/x}]
"#;
    let wrong = [
        "this divides by zero",
        "the pattern would compile to more than",
        "did you mean `temperature`?",
        "783 GiB of memory over 100000 devices; the most is 1.0 GiB",
    ];
    let home = with_rules(rules, "[sinks]\n");
    let file = home.path().join("rules/g.yaml");
    let check = std::process::Command::new(GODWIT)
        .args(["rule", "check", "--devices", "100000"])
        .arg(&file)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(!check.status.success());
    for (line, wrong) in (5..).zip(wrong) {
        let told =
            said.lines().find(|told| told.contains(wrong)).unwrap_or_else(|| panic!("{wrong}: {said}"));
        assert!(told.contains(&format!("g.yaml:{line}:")), "{told}");
    }
    assert!(said.contains("g.yaml:10:"), "the statement too: {said}");
    let said = home.start_refused();
    for wrong in &wrong[..3] {
        assert!(said.contains(wrong), "{wrong}: {said}");
    }
    assert!(said.contains("of memory over 10000 devices"), "{said}");
}
