//! Labels and annotations: texts with places for what is known of an episode.
//!
//! Not here: when they are written (`alerts`). The laws: a name that cannot be known is refused when the rule is loaded;
//! what a template may cost is bounded, in steps and in length.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::value::{Serde, Value as Worth};
use minijinja::{Environment, UndefinedBehavior};
use model::{ChannelName, Timestamp, Value};

use crate::fault::did_you_mean;
use crate::key::Key;
use crate::rule::Rule;

/// Most steps that one template takes.
const FUEL: u64 = 20_000;

/// Longest text that a template makes; what is longer is cut.
pub const TEMPLATE_BYTES_MAX: usize = 4_096;

/// Names that every template may use, beside the parts of the key and the rule's channels.
const ALWAYS: [&str; 6] = ["since", "learnt", "labels", "values", "attr", "rule"];

/// A text with places.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    text: String,
    /// The attributes that it names.
    attributes: Vec<String>,
}

/// What is known of an episode when its texts are written.
pub struct Facts<'a> {
    /// Whose it is.
    pub key: &'a Key,
    /// The attributes of the device, where the key names one.
    pub attributes: &'a BTreeMap<String, String>,
    /// The readings of the sample that tells: [`Episode::values`](crate::Episode::values).
    pub values: &'a [(ChannelName, Value)],
    /// The start of the episode.
    pub since: Timestamp,
    /// When the server learnt of it.
    pub learnt: Timestamp,
}

/// The labels and annotations of an episode.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// By name.
    pub labels: BTreeMap<String, String>,
    /// By name.
    pub annotations: BTreeMap<String, String>,
}

impl Template {
    /// Checks a template: its grammar, and that `is_known` knows every name in it.
    pub(crate) fn parse(text: &str, known: &[String]) -> Result<Self, (String, Option<String>)> {
        let environment = environment();
        if text.len() > TEMPLATE_BYTES_MAX {
            let message = format!("the template is {} bytes; the most is {TEMPLATE_BYTES_MAX}", text.len());
            return Err((message, None));
        }
        let template = environment.template_from_str(text).map_err(|error| {
            let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            (format!("the template is malformed: {detail}"), None)
        })?;
        let named = template.undeclared_variables(true);
        let attributes =
            named.iter().filter_map(|name| name.strip_prefix("attr.")).map(str::to_owned).collect();
        let mut unknown: Vec<String> = named
            .into_iter()
            .filter(|name| !is_known(name, known))
            .filter(|name| environment.globals().all(|(global, _)| global != name))
            .collect();
        unknown.sort();
        match unknown.first() {
            None => Ok(Self { text: text.to_owned(), attributes }),
            Some(name) => {
                let names = known.iter().map(String::as_str).chain(ALWAYS);
                let suggestion = did_you_mean(name, names.clone()).unwrap_or_else(|| {
                    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
                    format!("there are {}; an attribute is `attr.NAME`", names.join(", "))
                });
                Err((format!("the template names `{name}`, which nobody knows"), Some(suggestion)))
            }
        }
    }

    fn write(&self, environment: &Environment<'_>, context: &Worth) -> String {
        let written =
            environment.template_from_str(&self.text).and_then(|template| template.render(context.clone()));
        let mut text = written.unwrap_or_else(|error| format!("({error})"));
        if text.len() > TEMPLATE_BYTES_MAX {
            let end = (0..=TEMPLATE_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
        }
        text
    }
}

impl Rule {
    /// Writes the labels and annotations of an episode. `alertname` is always among the labels. A template that fails on
    /// what it is given writes why, in brackets.
    #[must_use]
    pub fn write(&self, facts: &Facts<'_>) -> Written {
        let environment = environment();
        let mut names = self.names(facts);
        let mut labels = BTreeMap::from([("alertname".to_owned(), self.name.clone())]);
        let context = Worth::from(Serde(&names));
        for (name, template) in &self.labels {
            labels.insert(name.clone(), template.write(&environment, &context));
        }
        names.insert("labels".to_owned(), serde_json::Value::from_iter(labels.clone()));
        let context = Worth::from(Serde(&names));
        let write =
            |(name, template): &(String, Template)| (name.clone(), template.write(&environment, &context));
        let annotations = self.annotations.iter().map(write).collect();
        Written { labels, annotations }
    }

    /// The attributes that its labels and annotations name: what [`Facts::attributes`] is to have.
    #[must_use]
    pub fn attributes_written(&self) -> BTreeSet<&str> {
        let templates = self.labels.iter().chain(&self.annotations);
        templates.flat_map(|(_, template)| template.attributes.iter().map(String::as_str)).collect()
    }

    fn names(&self, facts: &Facts<'_>) -> serde_json::Map<String, serde_json::Value> {
        let mut names = serde_json::Map::new();
        let mut values = serde_json::Map::new();
        for (channel, value) in facts.values {
            let value = shown(value);
            place(&mut names, channel.as_str(), value.clone());
            values.insert(channel.to_string(), value);
        }
        names.insert("values".to_owned(), values.into());
        let attributes = facts.attributes.iter().map(|(name, value)| (name.clone(), value.clone()));
        names.insert("attr".to_owned(), serde_json::Value::from_iter(attributes));
        for (part, value) in facts.key.parts().filter(|(part, _)| !part.starts_with("attr.")) {
            names.insert(part.to_owned(), value.into());
        }
        names.insert("since".to_owned(), facts.since.to_string().into());
        names.insert("learnt".to_owned(), facts.learnt.to_string().into());
        names.insert("rule".to_owned(), self.name.clone().into());
        names
    }
}

/// Whether a name such as `energy.total`, `attr.floor` or `labels.severity` is among what is known.
fn is_known(name: &str, known: &[String]) -> bool {
    let first = name.split('.').next().unwrap_or(name);
    ALWAYS.contains(&first)
        // A name of several levels is asked for level by level.
        || known.iter().any(|known| known == name || known.starts_with(&format!("{name}.")) || name.starts_with(&format!("{known}.")))
}

/// Puts `value` at a name of one or more levels.
fn place(names: &mut serde_json::Map<String, serde_json::Value>, name: &str, value: serde_json::Value) {
    match name.split_once('.') {
        None => {
            names.insert(name.to_owned(), value);
        }
        Some((level, rest)) => {
            let inner = names.entry(level).or_insert_with(|| serde_json::Map::new().into());
            if let Some(inner) = inner.as_object_mut() {
                place(inner, rest, value);
            }
        }
    }
}

/// A reading as people write it: 31, not 31.0.
fn shown(value: &Value) -> serde_json::Value {
    match value {
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => (*number as i64).into(),
        Value::Number(number) => (*number).into(),
        Value::Text(text) | Value::BigInteger(_, text) => text.to_string().into(),
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    // What is not in the sample is written as nothing.
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment
}
