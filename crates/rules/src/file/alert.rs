//! A rule with `alert:`: its keys, what goes with what, and its expressions.
//!
//! Not here: the language of the expressions (`expr`). The law: what cannot work together is refused, not ignored.

use model::TopicFilter;

use super::Place;
use super::shape::Shape;
use crate::document::Node;
use crate::duration;
use crate::expr::{Flaw, Lowering, Node as Plan};
use crate::fault::{Fault, did_you_mean};
use crate::key::By;
use crate::limits::Limits;
use crate::machine::Terms;
use crate::rule::{self, Condition, Rule, Version};
use crate::silence::AbsentFor;
use crate::template::Template;

const KEYS: [&str; 14] = [
    "alert",
    "from",
    "by",
    "expr",
    "for",
    "max_gap",
    "clear",
    "hold",
    "streak",
    "absent_for",
    "connected",
    "lateness",
    "labels",
    "annotations",
];

/// Keys that say when an expression fires: `absent_for` has none.
const KEYS_OF_EXPR: [&str; 6] = ["for", "max_gap", "clear", "hold", "streak", "lateness"];

/// Longest streak.
const STREAK_MAX: u32 = 1_000_000;

/// Most labels and most annotations of a rule, each.
const LABELS_MAX: usize = 32;

pub(super) fn read(
    limits: &Limits,
    place: Place<'_>,
    name: String,
    node: &Node,
    faults: &mut Vec<Fault>,
) -> Option<Rule> {
    let before = faults.len();
    let mut shape = Shape::of(node, "a rule with `alert`", &KEYS, faults);
    let from = from(&mut shape);
    let by = by(&mut shape);
    let condition = condition(limits, place, &mut shape, node);
    let condition = connected(condition, by.as_deref(), &mut shape);
    let lateness_micros = shape.span("lateness");
    shape.finish();
    let known = names(by.as_deref().unwrap_or_default(), condition.as_ref());
    let labels = templates(node, "labels", &known, faults);
    let annotations = templates(node, "annotations", &known, faults);
    if faults.len() > before {
        return None;
    }
    let text = node.normalised();
    Some(Rule {
        name,
        group: place.group.to_owned(),
        file: place.file.to_owned(),
        version: Version::of(&text),
        text,
        from: from?,
        by: by?,
        condition: condition?,
        lateness_micros,
        labels,
        annotations,
    })
}

fn from(shape: &mut Shape<'_, '_>) -> Option<TopicFilter> {
    shape.needed("from")?;
    let (text, node) = shape.text("from")?;
    match TopicFilter::parse(text) {
        Ok(filter) => Some(filter),
        Err(error) => {
            shape.fault(node.fault(format!("`from`: {error}")));
            None
        }
    }
}

fn by(shape: &mut Shape<'_, '_>) -> Option<Vec<By>> {
    let Some(node) = shape.take("by") else { return Some(vec![By::Device]) };
    let items = node.list().unwrap_or(std::slice::from_ref(node));
    let mut parts: Vec<By> = Vec::new();
    for item in items {
        let name = item.text().unwrap_or_default();
        let part = match name.as_str() {
            "device" => By::Device,
            "group" => By::Group,
            "site" => By::Site,
            _ => match name.strip_prefix("attr.").filter(|name| !name.is_empty()) {
                Some(attribute) => By::Attribute(attribute.to_owned()),
                None => {
                    let suggestion = did_you_mean(&name, ["device", "group", "site"]).unwrap_or_else(|| {
                        format!("there are `device`, `group` and `site`; an attribute is `attr.{name}`")
                    });
                    shape.fault(item.fault(format!("`{name}` is no part of a key")).suggesting(suggestion));
                    continue;
                }
            },
        };
        if parts.contains(&part) {
            shape.fault(item.fault(format!("`{name}` stands here twice")));
        }
        parts.push(part);
    }
    if items.is_empty() {
        shape.fault(node.fault("`by` names nothing").suggesting("write `by: [device]`".to_owned()));
    }
    Some(parts)
}

fn condition(limits: &Limits, place: Place<'_>, shape: &mut Shape<'_, '_>, node: &Node) -> Option<Condition> {
    let expr = shape.text("expr");
    let absent = shape.text("absent_for");
    match (expr, absent) {
        (None, None) => {
            // Another fault may be why there is none.
            if node.get("expr").is_none() && node.get("absent_for").is_none() {
                let fault = node.fault("a rule with `alert` needs `expr` or `absent_for`");
                shape.fault(fault.suggesting("write `expr: temperature > 30`".to_owned()));
            }
            None
        }
        (Some(_), Some((_, absent))) => {
            let fault = absent.fault("`absent_for` and `expr` are two rules");
            shape.fault(fault.suggesting("write one for each".to_owned()));
            None
        }
        (None, Some((text, absent))) => {
            for key in KEYS_OF_EXPR {
                if let Some((key_node, _)) =
                    node.map()?.iter().find(|(name, _)| name.text().as_deref() == Some(key))
                {
                    shape.fault(key_node.fault(format!("`{key}` says nothing beside `absent_for`")));
                }
            }
            match absent_for(&text) {
                Ok(absent_for) => Some(Condition::Absent(absent_for, false)),
                Err(message) => {
                    let fault = absent.fault(message);
                    shape.fault(
                        fault.suggesting("write `absent_for: 15m` or `absent_for: 3 * interval`".to_owned()),
                    );
                    None
                }
            }
        }
        (Some((text, expr)), None) => expression(limits, place, shape, &text, expr),
    }
}

/// `connected: true`, which goes with the silence of a device alone.
fn connected(
    condition: Option<Condition>,
    by: Option<&[By]>,
    shape: &mut Shape<'_, '_>,
) -> Option<Condition> {
    let Some((text, node)) = shape.text("connected") else { return condition };
    if text != "true" {
        let fault = node.fault(format!("`connected` is `true`, or is not there, not `{text}`"));
        shape.fault(fault.suggesting("write `connected: true`".to_owned()));
    }
    if by.is_some_and(|by| !by.contains(&By::Device)) {
        let fault = node.fault("`connected` is about one device: `by` does not name it");
        shape.fault(fault.suggesting("write `by: [device]`, or leave `by` out".to_owned()));
    }
    match condition {
        Some(Condition::Absent(absent_for, _)) => Some(Condition::Absent(absent_for, true)),
        Some(Condition::Expr(_)) => {
            let fault = node.fault("`connected` says nothing beside `expr`");
            shape.fault(fault.suggesting("it goes with `absent_for`".to_owned()));
            None
        }
        None => None,
    }
}

fn expression(
    limits: &Limits,
    place: Place<'_>,
    shape: &mut Shape<'_, '_>,
    text: &str,
    node: &Node,
) -> Option<Condition> {
    let mut lowering = Lowering::new(limits);
    let expr = compile(&mut lowering, place, shape, text, node);
    if expr.is_some() && lowering.slots.channels.is_empty() {
        let fault = node.fault("`expr` looks at no channel: nothing would ever be judged");
        shape.fault(fault.suggesting("name a channel, such as `temperature`".to_owned()));
    }
    let clear = match shape.text("clear") {
        None => Some(None),
        Some((text, node)) => compile(&mut lowering, place, shape, &text, node).map(Some),
    };
    let terms = Terms {
        for_micros: shape.span("for").unwrap_or(0),
        max_gap_micros: shape.span("max_gap"),
        hold_micros: shape.span("hold"),
        streak: streak(shape),
    };
    if let Some(hold) = shape.take("hold").filter(|_| terms.for_micros == 0) {
        let fault = hold.fault("`hold` says nothing without `for`");
        shape.fault(fault.suggesting("it lets a value stand while `for` runs".to_owned()));
    }
    let (expr, clear) = (expr?, clear?);
    Some(Condition::Expr(Box::new(rule::Plan { expr, clear, slots: lowering.slots, terms })))
}

fn compile(
    lowering: &mut Lowering<'_>,
    place: Place<'_>,
    shape: &mut Shape<'_, '_>,
    text: &str,
    node: &Node,
) -> Option<Plan> {
    match lowering.condition(text) {
        Ok(plan) => Some(plan),
        Err(flaws) => {
            for Flaw { at, message, suggestion } in flaws {
                let (line, column) = node.place_of(place.source, at);
                shape.fault(Fault::new(line, column, message).suggesting(suggestion));
            }
            None
        }
    }
}

fn streak(shape: &mut Shape<'_, '_>) -> u32 {
    let Some((text, node)) = shape.text("streak") else { return 1 };
    match text.parse() {
        Ok(streak @ 1..=STREAK_MAX) => streak,
        _ => {
            shape.fault(
                node.fault(format!("`streak` is a whole number from 1 to {STREAK_MAX}, not `{text}`")),
            );
            1
        }
    }
}

/// `15m`, or `3 * interval`.
fn absent_for(text: &str) -> Result<AbsentFor, String> {
    let text = text.trim();
    let times = match text.split_once('*') {
        None if text == "interval" => Some("1"),
        None => None,
        Some((times, word)) if word.trim() == "interval" => Some(times.trim()),
        Some((word, times)) if word.trim() == "interval" => Some(times.trim()),
        Some(_) => return Err(format!("`absent_for` is a span of time or so many intervals, not `{text}`")),
    };
    match times {
        None => {
            duration::parse(text).map(AbsentFor::Span).map_err(|message| format!("`absent_for`: {message}"))
        }
        Some(times) => match times.parse::<f64>() {
            Ok(times) if (1.0..=1_000.0).contains(&times) => Ok(AbsentFor::Intervals(times)),
            _ => Err(format!("`{times}` intervals are not 1 to 1000")),
        },
    }
}

/// What templates may name: the parts of the key, and the rule's channels.
fn names(by: &[By], condition: Option<&Condition>) -> Vec<String> {
    let mut names: Vec<String> = by.iter().map(By::name).collect();
    if let Some(Condition::Expr(plan)) = condition {
        names.extend(plan.slots.channels.iter().map(ToString::to_string));
    }
    names
}

fn templates(
    node: &Node,
    key: &'static str,
    known: &[String],
    faults: &mut Vec<Fault>,
) -> Vec<(String, Template)> {
    let mut templates = Vec::new();
    let Some(value) = node.get(key).filter(|value| value.content != crate::Content::Null) else {
        return templates;
    };
    let Some(entries) = value.map() else {
        faults.push(value.fault(format!("`{key}` is a map, and this is {}", value.kind())));
        return templates;
    };
    if entries.len() > LABELS_MAX {
        faults.push(value.fault(format!("`{key}` has {} entries; the most is {LABELS_MAX}", entries.len())));
    }
    for (name, text) in entries {
        let name_text = name.text().unwrap_or_default();
        let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let is_rest = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name_text.starts_with(is_first) || !name_text.chars().all(is_rest) {
            let message = format!("`{name_text}` is no name of one of the `{key}`: letters, digits and `_`");
            faults.push(name.fault(message));
        }
        if key == "labels" && name_text == "alertname" {
            faults.push(name.fault("`alertname` is the rule's own name, and is always there"));
        }
        let Some(source) = text.text() else {
            faults.push(text.fault(format!("`{name_text}` is a text, and this is {}", text.kind())));
            continue;
        };
        match Template::parse(&source, known) {
            Ok(template) => templates.push((name_text, template)),
            Err((message, suggestion)) => faults.push(text.fault(message).suggesting(suggestion)),
        }
    }
    templates
}
