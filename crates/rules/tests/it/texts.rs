//! Labels and annotations as they are written for an episode.

use std::collections::BTreeMap;

use model::{ChannelName, Timestamp, Value};
use rules::{Facts, Key, TEMPLATE_BYTES_MAX, Written};

use crate::{load, rule};

fn written(body: &str) -> Written {
    let number = |name: &str, number: f64| {
        (ChannelName::parse(name.to_owned()).expect("a name"), Value::Number(number))
    };
    let rule = rule(body);
    rule.write(&Facts {
        key: &Key::new([("device", "press-3")]),
        attributes: &BTreeMap::from([("floor".to_owned(), "17".to_owned())]),
        values: &[number("temperature", 31.0), number("energy.total", 2.5), number("switch:0.apower", 7.0)],
        since: Timestamp::parse("2026-11-22T14:02:00Z").expect("a time"),
        learnt: Timestamp::parse("2026-11-22T14:10:00Z").expect("a time"),
    })
}

const EXPR: &str = "expr: temperature > 30 and energy.total > 1 and \"switch:0.apower\" > 1";

#[test]
fn texts_know_the_key_the_attributes_the_readings_and_the_times() {
    let written = written(&format!(
        "{EXPR}\nlabels: {{severity: critical, floor: '{{{{attr.floor}}}}'}}\nannotations:\n  summary: '{{{{device}}}} on {{{{attr.floor}}}} \
         {{{{temperature}}}} °C, {{{{energy.total}}}} kWh, {{{{values[\"switch:0.apower\"]}}}} W, since {{{{since}}}}, learnt {{{{learnt}}}} ({{{{labels.severity}}}})'"
    ));
    let labels = [("alertname", "Test"), ("floor", "17"), ("severity", "critical")];
    assert_eq!(written.labels, labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!(
        written.annotations["summary"],
        "press-3 on 17 31 °C, 2.5 kWh, 7 W, since 2026-11-22T14:02:00Z, learnt 2026-11-22T14:10:00Z (critical)"
    );
}

#[test]
fn what_is_not_there_is_written_as_nothing() {
    let written = written(&format!(
        "{EXPR} and gone.deep = 1\nannotations: {{a: 'x{{{{gone.deep}}}}y{{{{attr.none}}}}z'}}"
    ));
    assert_eq!(written.annotations["a"], "xyz");
}

#[test]
fn a_name_that_nobody_knows_is_refused() {
    let check = |template: &str, expect: Option<&str>| {
        let loaded = load(&format!("{EXPR}\nannotations: {{a: \"{template}\"}}"));
        let told = loaded.map(drop).err().map(|faults| faults[0].fault.clone());
        let told = told.map(|fault| format!("{}; {}", fault.message, fault.suggestion.unwrap_or_default()));
        assert_eq!(told.as_deref(), expect, "{template}");
    };
    check(
        "{{temperatur}}",
        Some("the template names `temperatur`, which nobody knows; did you mean `temperature`?"),
    );
    check("{{device}} {% if temperature > 40 %}!{% endif %} {{ since | upper }}", None);
    check("{% for n in range(3) %}{{ n }}{% endfor %}", None);
    check(
        "{{ temperature",
        Some("the template is malformed: unexpected end of input, expected end of variable block; "),
    );
}

#[test]
fn a_template_that_never_ends_is_stopped() {
    let endless = "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
    let text = &written(&format!("{EXPR}\nannotations: {{a: \"{endless}\"}}")).annotations["a"];
    assert!(text.contains("fuel"), "{text}");
    let long = "{% for a in range(5000) %}x{% endfor %}";
    let text = &written(&format!("{EXPR}\nannotations: {{a: \"{long}\"}}")).annotations["a"];
    assert!(text.len() <= TEMPLATE_BYTES_MAX, "{} bytes", text.len());
}
