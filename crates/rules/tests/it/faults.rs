//! What is wrong with a rule file is told at once, with its place and what would be right.

use proptest::prelude::*;
use rules::{Limits, RuleSet};

use crate::load;

/// The faults of a file, a line each.
fn faults(text: &str) -> String {
    let faults = RuleSet::load([("bad.yaml", text)], &Limits::default()).map(drop).expect_err(text);
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The faults of a rule with this expression: message and suggestion.
fn of_expr(expr: &str) -> String {
    let faults = load(&format!("expr: |\n  {expr}")).map(drop).expect_err(expr);
    let told = |fault: &rules::FileFault| {
        let suggestion = fault.fault.suggestion.as_deref().unwrap_or("");
        format!("{} ({suggestion})", fault.fault.message)
    };
    faults.iter().map(told).collect::<Vec<_>>().join("; ")
}

#[test]
fn all_faults_of_a_file_are_told_at_once_with_their_places() {
    let text = r#"groups:
- name: comfort
  rules:
  - alert: RoomTooHot
    from: dt/+/climate#
    by: [devise]
    expr: temprature > "switch:0.apower" and avgg(co2, 5m) > 3
    fro: 5m
    streak: none
    labels: {severity: 'a {{ sevrity }}'}
  - alert: RoomTooHot
    from: dt/+/climate
    expr: >
      co2 > 1000
      and avg(co2) > 3
    absent: 5m
  - sql: SELECT 1
  - rule: act
    sql: SELECT * FROM 'a'
  - alert: bad name
    from: dt/a
    expr: avgg(co2, 5m) > 3
"#;
    let expected = "\
bad.yaml:5:11: `from`: filter `dt/+/climate#` is malformed: `+` must be a whole level and `#` the whole last level
bad.yaml:6:10: `devise` is no part of a key; did you mean `device`?
bad.yaml:7:46: there is no function `avgg`; did you mean `avg`?
bad.yaml:8:5: unknown key `fro`; did you mean `for`?
bad.yaml:9:13: `streak` is a whole number from 1 to 1000000, not `none`
bad.yaml:10:24: the template names `sevrity`, which nobody knows; there are `since`, `learnt`, `labels`, `values`, `attr`, `rule`; an attribute is `attr.NAME`
bad.yaml:11:12: there is a rule `RoomTooHot` already, at bad.yaml:4; every rule has a name of its own
bad.yaml:15:11: `avg` takes a value and a window; write it as `avg(x, last 4)` or `avg(x, 5m)`
bad.yaml:16:5: unknown key `absent`; a rule with `alert` has `alert`, `from`, `by`, `expr`, `for`, `max_gap`, `clear`, `hold`, `streak`, `absent_for`, `connected`, `lateness`, `labels`, `annotations`
bad.yaml:17:5: a rule without `alert` or `rule`; `alert: NAME` raises alerts, `rule: NAME` acts on messages
bad.yaml:18:5: a rule with `rule` needs `actions`
bad.yaml:20:12: a rule's name is 1 to 128 letters, digits, `_` and `-`
bad.yaml:22:11: there is no function `avgg`; did you mean `avg`?";
    assert_eq!(faults(text), expected);
}

#[test]
fn faults_of_several_files_are_told_together() {
    let files = [("a.yaml", "groups: 5\n"), ("b.yaml", "groups:\n- rules: []\n"), ("c.yaml", "a: [\n")];
    let faults = RuleSet::load(files, &Limits::default()).map(drop).expect_err("three faults");
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(told[0], "a.yaml:1:9: `groups` is a list, and this is a number");
    assert_eq!(told[1], "b.yaml:2:3: a group needs `name`");
    assert!(told[2].starts_with("c.yaml:") && told[2].contains("no YAML"), "{told:?}");
    assert_eq!(told.len(), 3);
}

/// A file with so many actions: ten of a rule.
fn acting(actions: usize) -> String {
    let rule = |(n, actions): (usize, usize)| {
        let actions = vec!["{publish: a/b}"; actions].join(", ");
        format!("  - rule: r{n}\n    sql: SELECT * FROM 'dt/#'\n    actions: [{actions}]\n")
    };
    let tens = vec![10; actions / 10].into_iter().chain([actions % 10].into_iter().filter(|rest| *rest > 0));
    format!("groups:\n- name: g\n  rules:\n{}", tens.enumerate().map(rule).collect::<String>())
}

#[test]
fn more_actions_than_can_run_are_refused_with_both_numbers() {
    let most = rules::ACTIONS_OF_ALL_MAX;
    assert!(RuleSet::load([("many.yaml", acting(most).as_str())], &Limits::default()).is_ok());
    assert_eq!(
        faults(&acting(most + 1)),
        "the rules have 257 actions; the most is 256; every action reads the journal by itself: let one rule select for several receivers"
    );
    // Of all files together.
    let (first, second) = (acting(200), acting(60).replace("rule: r", "rule: s"));
    let files = [("a.yaml", first.as_str()), ("b.yaml", second.as_str())];
    let faults = RuleSet::load(files, &Limits::default()).map(drop).expect_err("260");
    assert!(faults[0].to_string().starts_with("the rules have 260 actions"), "{faults:?}");
}

#[test]
fn an_expression_is_refused_with_what_would_be_right() {
    let check = |expr: &str, expect: &str| assert_eq!(of_expr(expr), expect, "{expr}");
    check(
        "temperature + 1",
        "this is a number, not a condition (compare it with something: `temperature > 30`)",
    );
    check(
        "1 < 2",
        "`expr` looks at no channel: nothing would ever be judged (name a channel, such as `temperature`)",
    );
    check("true", "this is always the same, whatever the readings say ()");
    check("a > 'x' + 1", "a number is needed here, and this is a text ()");
    check("'a' > 1 and b > 1", "a text and a number do not compare ()");
    check("a / 0 > 1", "this divides by zero, whatever the readings say ()");
    check(
        "mode = \"auto\"",
        "`\"auto\"` needs no quotes (write `auto` for the channel, or `'auto'` for the text)",
    );
    check(
        "switch:0.apower > 5",
        "`switch:0.apower` is no plain name (a channel with such a name is written in quotes: `\"switch:0.apower\"`)",
    );
    check(
        "min(a, b) > 1",
        "the window of `min` is missing (write it as `min(x, last 4)` or `min(x, 5m)`; the least of several values is `least(x, y)`)",
    );
    check("avg(max(a, 5m), 5m) > 1", "`max` does not stand inside `avg`: windows do not nest ()");
    check("avg(a, last 0) > 1", "`last 0` is no number of samples (a whole number from 1)");
    check(
        "quantile(a, 2, 5m) > 1",
        "`quantile` takes a value, a number from 0 to 1 and a window (write it as `quantile(x, 0.95, 1h)`)",
    );
    check("abs(a, b) > 1", "`abs` takes 1 arguments, and here are 2 ()");
    check("last(a + 1) > 1", "`last` takes the name of a channel ()");
    check("a > 5 &&& b", "`&&` is no operator here (write `and`); `&` has no meaning here ()");
}

#[test]
fn a_pattern_that_would_explode_is_refused() {
    let told = of_expr("matches(mode, '(a{1000}){1000}')");
    assert_eq!(told, "the pattern would compile to more than 256 KiB (repeat less)");
    let told = of_expr("matches(mode, '(a')");
    assert_eq!(told, "the pattern is malformed: unclosed group ()");
    // What makes other engines slow is linear here.
    assert!(load("expr: matches(mode, '^(a+)+$')").is_ok());
}

#[test]
fn a_window_that_needs_too_much_memory_is_refused_with_what_it_would_need() {
    let fleet = Limits { devices: 100_000, ..Limits::default() };
    let text = |window: &str| {
        format!(
            "groups:\n- name: a\n  rules:\n  - alert: A\n    from: dt/#\n    expr: avg(x, {window}) > 1\n"
        )
    };
    let told =
        |window: &str, limits: &Limits| match RuleSet::load([("a.yaml", text(window).as_str())], limits) {
            Ok(_) => String::new(),
            Err(faults) => faults[0].fault.message.clone(),
        };
    assert_eq!(
        told("365d", &fleet),
        "the window `365d` would hold 525600 readings of a device that reports every 1m: 783 GiB of memory over 100000 \
         devices; the most is 1.0 GiB"
    );
    assert_eq!(
        told("last 100000", &Limits { devices: 10, ..Limits::default() }),
        "the window `last 100000` would hold 100000 readings of a device; the most is 65536"
    );
    assert_eq!(told("5m", &fleet), "");
    assert_eq!(told("1d", &Limits { devices: 1_000, ..Limits::default() }), "");
}

#[test]
fn what_cannot_work_together_is_refused() {
    let check = |body: &str, expect: &str| {
        let faults = load(body).map(drop).expect_err(body);
        assert_eq!(faults[0].fault.message, expect, "{body}");
    };
    check("expr: a > 1\nabsent_for: 5m", "`absent_for` and `expr` are two rules");
    check("absent_for: 5m\nfor: 5m", "`for` says nothing beside `absent_for`");
    check("expr: a > 1\nhold: 5m", "`hold` says nothing without `for`");
    check(
        "absent_for: 5 intervals",
        "`absent_for`: `5 intervals` is no span of time; write it as `90s`, `15m`, `1h30m` or `30d`",
    );
    check("absent_for: 0.5 * interval", "`0.5` intervals are not 1 to 1000");
    check("expr: a > 1\nconnected: true", "`connected` says nothing beside `expr`");
    check("absent_for: 5m\nconnected: false", "`connected` is `true`, or is not there, not `false`");
    check(
        "absent_for: 5m\nconnected: true\nby: [group]",
        "`connected` is about one device: `by` does not name it",
    );
    check("for: 5m", "a rule with `alert` needs `expr` or `absent_for`");
    check(
        "expr: a > 1\nfor: 300",
        "`for`: `300` is no span of time; write it as `90s`, `15m`, `1h30m` or `30d`",
    );
    check("expr: a > 1\nlabels: {alertname: x}", "`alertname` is the rule's own name, and is always there");
    check("expr: a > 1\nby: []", "`by` names nothing");
    check("expr: [a]", "`expr` is a text, and this is a list");
}

/// Words of the language, and what stands beside it.
const WORDS: [&str; 36] = [
    "a",
    "b.c",
    "\"x y\"",
    "'t'",
    "1",
    "2.5e3",
    "5m",
    "last",
    "last 4",
    "avg(",
    "quantile(",
    "matches(",
    "last(",
    "case",
    "when",
    "then",
    "else",
    "end",
    "and",
    "or",
    "not",
    "true",
    "=",
    "<>",
    "<",
    "+",
    "-",
    "*",
    "/",
    "%",
    "(",
    ")",
    ",",
    "attr.f",
    "\u{fe0f}ß",
    "\"",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_expression_brings_the_loader_down(words in prop::collection::vec(0..WORDS.len(), 0..24), folded: bool) {
        let expr: Vec<&str> = words.iter().map(|word| WORDS[*word]).collect();
        let sign = if folded { ">-" } else { "|" };
        let loaded = load(&format!("expr: {sign}\n  {}\nclear: a < 1", expr.join(" ")));
        if let Err(faults) = loaded {
            prop_assert!(faults.iter().all(|fault| (5..=9).contains(&fault.fault.line)), "{:?}", faults);
        }
    }

    #[test]
    fn no_file_brings_the_loader_down(text in "[-a-z:\\[\\]{}'\"|>&*! \n]{0,200}") {
        let body = format!("groups:\n- name: a\n  rules:\n  - {text}");
        drop(RuleSet::load([("a.yaml", text.as_str()), ("b.yaml", body.as_str())], &Limits::default()));
        drop(rules::TestFile::parse(&text));
    }
}
