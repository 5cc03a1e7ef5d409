//! Rules tried on made-up readings and on recordings, without a server.

use model::Timestamp;
use rules::{Backtest, Circumstances, Difference, Intervals, Limits, RuleSet, TestFile, in_order};

use crate::recording;
use crate::rule;

const RULES: &str = "groups:
- name: comfort
  rules:
  - alert: RoomTooHot
    from: dt/+/climate
    expr: temperature > 30
    for: 5m
    labels: {severity: critical}
    annotations: {summary: '{{device}} on {{attr.floor}}: {{temperature}} °C'}
  - alert: DoorOpen
    from: dt/+/door
    expr: open = true
    for: 30m
    hold: 24h
  - alert: Silent
    from: dt/+/climate
    absent_for: 3 * interval
";

fn results(tests: &str) -> Vec<String> {
    let rules = RuleSet::load([("rules.yaml", RULES)], &Limits::default()).expect("right");
    let file = TestFile::parse(tests).unwrap_or_else(|faults| panic!("{faults:?}"));
    assert_eq!(file.rule_files(), ["rules.yaml"]);
    let results = file.run(&rules);
    results.iter().flat_map(|result| result.failures.iter().map(ToString::to_string)).collect()
}

fn with_input(input: &str, expect: &str) -> String {
    format!(
        "rule_files: [rules.yaml]\ntests:\n- name: a test\n  interval: 1m\n  until: 2h\n  input:\n{input}\n  expect:\n{expect}\n"
    )
}

#[test]
fn a_test_passes_when_exactly_the_episodes_come_that_are_written() {
    let input =
        "  - {device: a, topic: dt/a/climate, attributes: {floor: 17}, values: {temperature: 20 31x9 25x109}}
  - {device: b, topic: dt/b/climate, values: {temperature: 31x3 25 _x9 31x2 25x104}}
  - {device: c, topic: dt/c/door, values: {open: true _x40 false}}
  - {device: d, topic: dt/d/climate, values: {temperature: 20x20 _x50 20}}";
    let hot = "    RoomTooHot:
    - {start: 1m, fired: 6m, resolved: 11m, key: {device: a}, labels: {severity: critical}, annotations: {summary: a on 17: 31 °C}}";
    let hot = hot.replace("a on 17: 31 °C", "'a on 17: 31 °C'");
    let door = "    DoorOpen:\n    - {start: 0m, fired: 30m, resolved: 41m}";
    let silent = "    Silent:
    - {start: 4m, fired: 7m, resolved: 14m, key: {device: b}}
    - {start: 20m, fired: 23m, resolved: 71m}
    - {start: 71m, fired: 74m, resolved: open}";
    let all = format!("{hot}\n{door}\n{silent}");
    assert_eq!(results(&with_input(input, &all)), Vec::<String>::new());
    assert_eq!(
        results(&with_input(input, "    RoomTooHot: []")),
        [
            "12:1: `RoomTooHot` has an episode that is not written here: {start: 1m, fired: 6m, resolved: 11m} of {\"device\":\"a\"}"
        ]
    );
    let wrong = hot.replace("fired: 6m", "fired: 7m").replace("17", "18");
    assert_eq!(results(&with_input(input, &wrong)).len(), 2);
    let text = hot.replace("on 17", "on 18");
    assert_eq!(
        results(&with_input(input, &text)),
        ["13:1: the annotation `summary` is `a on 17: 31 °C`, not `a on 18: 31 °C`"]
    );
    assert_eq!(
        results(&with_input(input, "    RoomToHot: []")),
        ["12:1: no rule file has an alert `RoomToHot`; did you mean `RoomTooHot`?"]
    );
}

#[test]
fn a_file_of_tests_is_checked_as_a_whole() {
    let text = "rule_files: []
tests:
- nam: x
  interval: soon
  input:
  - {device: a b, values: {x: hot}}
  expect: {A: [{start: 1, fired: 2m, resolved: open}]}
";
    let faults = TestFile::parse(text).map(drop).expect_err("faults");
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "3:3: a test needs `name`",
            "3:3: unknown key `nam`; did you mean `name`?",
            "4:13: `interval`: `soon` is no span of time; write it as `90s`, `15m`, `1h30m` or `30d`",
            "6:14: device name `a b` has the character ` `; letters, digits, `:`, `_` and `-` are allowed",
            "7:24: `1` is no time; write how long after the start: `6m`, or a moment: `2026-01-01T00:06:00Z`",
        ]
    );
}

/// Ten minutes above a thousand, five below, for a day.
fn day() -> Vec<model::Sample> {
    let mut text = "date,co2\n".to_owned();
    for minute in 0..1440 {
        let co2 = if minute % 15 < 10 { 1200 } else { 800 };
        text += &format!("2015-02-05 {:02}:{:02}:00,{co2}\n", minute / 60, minute % 60);
    }
    recording::parse(&text, "office-1")
}

#[test]
fn a_backtest_says_what_a_rule_would_have_done_and_what_another_would() {
    let listing = |body: &str, most: usize| {
        let rule = rule(body);
        let mut backtest = Backtest::new(&rule).listing(most);
        let mut shuffled = day();
        shuffled.reverse();
        shuffled.extend(day());
        in_order(shuffled)
            .iter()
            .for_each(|sample| backtest.feed(sample, sample.time, &Circumstances::UNKNOWN));
        backtest.finish(None)
    };
    let report = |body: &str| listing(body, usize::MAX);
    let old = report("expr: co2 > 1000\nfor: 9m\nlabels: {severity: warning}");
    assert_eq!((old.samples, old.out_of_order, old.keys_seen, old.episodes().count()), (1440, 0, 1, 96));
    let at = |text: &str| Timestamp::parse(text).expect("a time");
    assert_eq!(old.range, Some((at("2015-02-05T00:00:00Z"), at("2015-02-05T23:59:00Z"))));
    assert_eq!(old.notices.values().next().and_then(|day| day.get("warning")), Some(&192));
    let new = report("expr: co2 > 1000\nfor: 10m");
    assert_ne!(old.version, new.version);
    let differences = new.difference_to(&old);
    assert_eq!(differences.len(), 1);
    assert!(differences[0].1.iter().all(|difference| matches!(difference, Difference::Vanished(_))));
    assert_eq!((differences[0].1.len(), old.difference_to(&old).len()), (96, 0));
    // Of what is only counted nothing is said, and that this is so is known.
    let few = listing("expr: co2 > 1000\nfor: 9m\nlabels: {severity: warning}", 10);
    assert_eq!((few.episodes_unlisted, few.lists_all(), old.lists_all()), (86, false, true));
    assert_eq!(new.difference_to(&few)[0].1.len(), 10);
}

#[test]
fn what_reports_on_change_is_warned_of_without_hold() {
    let sparse = |body: &str, every: usize| {
        let rule = rule(body);
        let mut intervals = Intervals::new(&rule);
        day().iter().step_by(every).for_each(|sample| intervals.feed(sample));
        intervals
            .sparse()
            .iter()
            .map(|of| (of.channel.to_string(), of.intervals, of.longer))
            .collect::<Vec<_>>()
    };
    assert_eq!(sparse("expr: co2 > 1\nfor: 30m", 1), []);
    assert_eq!(sparse("expr: co2 > 1\nfor: 30m", 31), [("co2".to_owned(), 46, 46)]);
    assert_eq!(sparse("expr: co2 > 1\nfor: 30m\nhold: 24h", 31), []);
    assert_eq!(sparse("expr: co2 > 1", 31), []);
}
