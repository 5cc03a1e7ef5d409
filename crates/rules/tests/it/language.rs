//! What expressions mean, evaluated as a rule evaluates them.

use model::{ChannelName, DeviceName, Flags, Reading, Sample, Timestamp, Value};
use rules::{Circumstances, Counts, Fold};

use crate::{load, manual, rule};

/// What device `press-3` has sent, a sample a minute, as docs/rules.md shows it: channels that are missing are left out.
fn samples() -> Vec<Sample> {
    let text = |text: &str| Some(Value::Text(text.to_owned().into()));
    let number = |number: f64| Some(Value::Number(number));
    let rows: [[Option<Value>; 5]; 5] = [
        [number(9.0), number(100.0), None, number(0.0), number(7.0)],
        [number(2.0), number(150.0), None, number(0.0), None],
        [number(4.0), number(10.0), text("off"), number(1.0), None],
        [number(1.0), number(30.0), None, number(1.0), None],
        [number(5.0), number(90.0), text("Eco heat"), number(1.0), None],
    ];
    let names = ["x", "energy", "mode", "open", "switch:0.apower"];
    let sample = |(minute, row): (usize, [Option<Value>; 5])| Sample {
        device: DeviceName::parse("press-3".to_owned()).expect("a name"),
        time: Timestamp::from_micros(60 * Timestamp::SECOND * i64::try_from(minute).expect("small")),
        flags: Flags::empty(),
        readings: names
            .iter()
            .zip(row)
            .filter_map(|(name, value)| {
                let channel = ChannelName::parse((*name).to_owned()).expect("a name");
                Some(Reading { channel, value: value? })
            })
            .collect(),
    };
    rows.into_iter().enumerate().map(sample).collect()
}

/// Whether a rule with this condition is firing after the last sample, and what was counted.
fn fires(expr: &str) -> (bool, Counts) {
    let rule = rule(&format!("expr: >-\n  {expr}"));
    let attribute = |name: &str| match name {
        "floor" => Some("17".to_owned()),
        "line" => Some("A".to_owned()),
        _ => None,
    };
    let known = Circumstances { group: None, attribute: &attribute };
    let (mut fold, mut counts, mut told) = (Fold::new(&rule), Counts::default(), Vec::new());
    for sample in samples() {
        let subject = rule.subject(&sample.device, &known).expect("a device");
        fold.step(&rule, &subject, &sample, &mut counts, &mut told);
    }
    (fold.firing().is_some(), counts)
}

/// What a condition is at the last sample: `Some(true)`, `Some(false)`, or `None` for Undefined.
fn holds(expr: &str) -> Option<bool> {
    // `coalesce` makes it defined; `x` keeps the sample seen.
    let is_true = fires(&format!("coalesce({expr}, false) and x > 0")).0;
    let is_false = fires(&format!("not coalesce({expr}, true) and x > 0")).0;
    assert!(!(is_true && is_false), "{expr}");
    if is_true { Some(true) } else { is_false.then_some(false) }
}

#[test]
fn expressions_mean_what_the_manual_says() {
    let check = |expr: &str, expect: Option<bool>| assert_eq!(holds(expr), expect, "{expr}");
    check("x + 1 * 2 = 7", Some(true));
    check("x - 1 - 1 == 3 and -x < 0", Some(true));
    check("7 % x = 2 and x / 2 = 2.5", Some(true));
    check("x <> 5 or x != 5", Some(false));
    check("open = true and open", Some(true));
    check("mode = 'Eco heat' and mode > 'Eco'", Some(true));
    check("case when x > 4 then 'hot' when x > 2 then 'warm' else 'cold' end = 'hot'", Some(true));
    check("case when gone > 4 then 1 else 2 end = 2", Some(true));
    check("case when x > 9 then 1 end = 1", None);
    check("attr.floor = 17 and attr.floor = '17' and attr.line = 'A'", Some(true));
    check("attr.none = 1", None);
    check("\"switch:0.apower\" > 1", None);
    check("last(\"switch:0.apower\") = 7", Some(true));
}

#[test]
fn undefined_is_three_valued_and_what_data_caused_is_counted() {
    let check = |expr: &str, expect: Option<bool>| assert_eq!(holds(expr), expect, "{expr}");
    check("gone > 1", None);
    check("not gone > 1", None);
    check("gone > 1 and x > 9", Some(false));
    check("gone > 1 and x > 1", None);
    check("gone > 1 or x > 1", Some(true));
    check("gone > 1 or x > 9", None);
    check("gone + x > 1", None);
    check("x / (x - 5) > 1", None);
    check("mode > 5", None);
    check("mode + 1 > 5", None);
    check("sqrt(-x) > 0", None);
    // A number that is neither 1 nor 0 is no truth.
    check("x and true", None);
    let counted = |expr: &str| fires(expr).1;
    assert_eq!(counted("x / (x - 5) > 1"), Counts { division_by_zero: 1, ..Counts::default() });
    assert_eq!(counted("mode > 5").wrong_kind, 2);
    assert_eq!(counted("x * 1e308 * 10 > 1").not_finite, 5);
    // What is only missing is nobody's mistake.
    assert_eq!(counted("gone > 1 or x > 100").total(), 0);
}

#[test]
fn a_channel_that_is_text_today_and_a_number_tomorrow_is_undefined_today() {
    let rule = rule("expr: x > 3");
    let subject = rule.subject(&samples()[0].device, &Circumstances::UNKNOWN).expect("a device");
    let (mut fold, mut counts, mut told) = (Fold::new(&rule), Counts::default(), Vec::new());
    let sent = |nth: usize, value: Value| {
        let mut sample = samples()[nth].clone();
        sample.readings[0].value = value;
        sample
    };
    for sample in [sent(0, Value::Text("hot".to_owned().into())), sent(1, Value::Number(4.0))] {
        fold.step(&rule, &subject, &sample, &mut counts, &mut told);
    }
    assert_eq!((counts.wrong_kind, told.len()), (1, 1));
    assert_eq!(fold.firing().map(|(start, _)| start), Some(samples()[1].time));
}

#[test]
fn every_row_of_the_function_table_holds() {
    let manual = manual();
    let start = manual.find("<!-- functions -->").expect("the table begins");
    let end = manual.find("<!-- end of functions -->").expect("the table ends");
    let mut names: Vec<String> = Vec::new();
    for row in manual[start..end].lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [function, _, example] = cells[..] else { panic!("three cells: {row}") };
        let name = function.trim_matches('`').split('(').next().expect("a name").to_owned();
        assert!(example.contains(&name), "{row}");
        assert_eq!(holds(example.trim_matches('`')), Some(true), "{row}");
        names.push(name);
    }
    names.sort();
    names.dedup();
    assert_eq!(names, rules::FUNCTION_NAMES);
}

#[test]
fn every_example_of_the_manual_loads() {
    let manual = manual();
    let mut examples = 0;
    for block in manual.split("```yaml\n").skip(1) {
        let text = block.split("```").next().expect("an end");
        let loaded = if text.starts_with("groups:") {
            rules::RuleSet::load([("docs/rules.md", text)], &rules::Limits::default()).map(drop)
        } else if text.starts_with("rule_files:") {
            rules::TestFile::parse(text)
                .map(drop)
                .map_err(|faults| faults.into_iter().map(|fault| fault.of("docs/rules.md")).collect())
        } else {
            load(text).map(drop)
        };
        assert!(loaded.is_ok(), "{text}\n{loaded:?}");
        examples += 1;
    }
    assert!(examples >= 5, "{examples} examples");
}
