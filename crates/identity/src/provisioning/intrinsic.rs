//! The functions of a template: `Ref`, `Fn::Join`, `Fn::Select`, `Fn::Split`, `Fn::FindInMap`, `Fn::Sub`.
//!
//! Not here: what the results are for (`plan`). The laws: every node is looked at once and every text is bounded, so that
//! a template costs what it is long; what a device sent comes into a policy only if no letter of it means something there.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Longest text that a function makes, in bytes.
const TEXT_BYTES_MAX: usize = 10_240;

/// The certificate that is being provisioned.
pub(super) const CERTIFICATE_ID: &str = "AWS::IoT::Certificate::Id";

/// The functions there are, `Ref` beside.
pub(super) const FUNCTIONS: [&str; 5] = ["Fn::Join", "Fn::Select", "Fn::Split", "Fn::FindInMap", "Fn::Sub"];

/// A parameter's value.
pub(super) struct Parameter {
    pub(super) value: String,
    /// Else it is the template's default.
    pub(super) is_sent: bool,
}

/// What the functions look into.
pub(super) struct Values<'a> {
    pub(super) parameters: &'a BTreeMap<String, Parameter>,
    pub(super) mappings: &'a Map<String, Value>,
    pub(super) certificate: &'a str,
    /// What it is for cannot do with a parameter that is empty: two devices that send none would be one.
    pub(super) refuses_empty: bool,
}

/// Why there is no value.
#[derive(Debug)]
pub(super) enum Flaw {
    /// What the device sent is not enough, or not fit.
    Parameters(String),
    /// The template says something that cannot be, for these parameters.
    Template(String),
}

impl Values<'_> {
    /// The value of a node. With `is_strict`, parameters that the device sent may hold letters, digits and `_.:@=,-` alone.
    pub(super) fn of(&self, node: &Value, is_strict: bool) -> Result<Value, Flaw> {
        match node {
            Value::Object(members) => match function(members) {
                Some((name, argument)) => self.call(name, argument, is_strict),
                None => {
                    let each = members.iter().map(|(key, node)| Ok((key.clone(), self.of(node, is_strict)?)));
                    Ok(Value::Object(each.collect::<Result<_, Flaw>>()?))
                }
            },
            Value::Array(nodes) => {
                let each = nodes.iter().map(|node| self.of(node, is_strict));
                Ok(Value::Array(each.collect::<Result<_, Flaw>>()?))
            }
            plain => Ok(plain.clone()),
        }
    }

    /// The value of a node that must be a text; numbers and booleans are as they are written.
    pub(super) fn text(&self, node: &Value, is_strict: bool) -> Result<String, Flaw> {
        match self.of(node, is_strict)? {
            Value::String(text) => Ok(text),
            plain @ (Value::Number(_) | Value::Bool(_)) => Ok(plain.to_string()),
            other => Err(Flaw::Template(format!("{} stands where a text is needed", kind(&other)))),
        }
    }

    fn call(&self, name: &str, argument: &Value, is_strict: bool) -> Result<Value, Flaw> {
        let wrong = |how: &str| Flaw::Template(format!("`{name}` needs {how}"));
        let pair = || argument.as_array().filter(|list| list.len() == 2).map(|list| (&list[0], &list[1]));
        let text = |node: &Value| self.text(node, is_strict);
        let list = |node: &Value| match self.of(node, is_strict)? {
            Value::Array(list) => Ok(list),
            _ => Err(wrong("a list")),
        };
        let result = match name {
            "Ref" => self.parameter(argument.as_str().ok_or_else(|| wrong("a name"))?, is_strict)?,
            "Fn::Join" => {
                let (between, parts) = pair().ok_or_else(|| wrong("a separator and a list"))?;
                let parts = list(parts)?.iter().map(text).collect::<Result<Vec<_>, _>>()?;
                parts.join(&text(between)?)
            }
            "Fn::Select" => {
                let (at, parts) = pair().ok_or_else(|| wrong("a number and a list"))?;
                let (at, parts) = (text(at)?, list(parts)?);
                let at: usize = at.parse().map_err(|_| wrong("a number from 0"))?;
                let chosen = parts.get(at);
                return chosen.cloned().ok_or_else(|| {
                    Flaw::Parameters(format!(
                        "`Fn::Select` asks for part {at}, and there are {}",
                        parts.len()
                    ))
                });
            }
            "Fn::Split" => {
                let (at, whole) = pair().ok_or_else(|| wrong("a separator and a text"))?;
                let (at, whole) = (text(at)?, text(whole)?);
                if at.is_empty() {
                    return Err(wrong("a separator that is not empty"));
                }
                return Ok(whole.split(at.as_str()).map(Value::from).collect());
            }
            "Fn::FindInMap" => {
                let [map, first, second] = argument.as_array().map_or(&[][..], Vec::as_slice) else {
                    return Err(wrong("a map and two keys"));
                };
                let (map, first, second) = (text(map)?, text(first)?, text(second)?);
                let found = self.mappings.get(&map).and_then(|map| map.get(&first)?.get(&second));
                return found.cloned().ok_or_else(|| {
                    Flaw::Parameters(format!("`Fn::FindInMap`: `{map}` has nothing at `{first}`, `{second}`"))
                });
            }
            "Fn::Sub" => self.substituted(argument, is_strict)?,
            other => return Err(Flaw::Template(format!("there is no function `{other}`"))),
        };
        if result.len() > TEXT_BYTES_MAX {
            let bytes = result.len();
            return Err(Flaw::Template(format!(
                "`{name}` makes a text of {bytes} bytes; the most is {TEXT_BYTES_MAX}"
            )));
        }
        Ok(Value::String(result))
    }

    /// A text with `${Name}` in it; `${!Name}` stands for `${Name}`, as variables of policies need it.
    fn substituted(&self, argument: &Value, is_strict: bool) -> Result<String, Flaw> {
        let own = Map::new();
        let (text, own) = match argument {
            Value::String(text) => (text, &own),
            Value::Array(both) => match both.as_slice() {
                [Value::String(text), Value::Object(own)] => (text, own),
                _ => return Err(Flaw::Template("`Fn::Sub` needs a text and a map".to_owned())),
            },
            _ => return Err(Flaw::Template("`Fn::Sub` needs a text".to_owned())),
        };
        let mut made = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find("${") {
            made += &rest[..at];
            let Some((name, after)) = rest[at + 2..].split_once('}') else {
                return Err(Flaw::Template("`Fn::Sub`: a `${` has no `}`".to_owned()));
            };
            match (name.strip_prefix('!'), own.get(name)) {
                (Some(literal), _) => made += &format!("${{{literal}}}"),
                (None, Some(node)) => made += &self.text(node, is_strict)?,
                (None, None) => made += &self.parameter(name, is_strict)?,
            }
            if made.len() > TEXT_BYTES_MAX {
                return Err(Flaw::Template(format!(
                    "`Fn::Sub` makes a text of more than {TEXT_BYTES_MAX} bytes"
                )));
            }
            rest = after;
        }
        Ok(made + rest)
    }

    fn parameter(&self, name: &str, is_strict: bool) -> Result<String, Flaw> {
        if name == CERTIFICATE_ID {
            return Ok(self.certificate.to_owned());
        }
        let Some(parameter) = self.parameters.get(name) else {
            return Err(Flaw::Parameters(format!("parameter `{name}` is missing")));
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.:@=,-".contains(c);
        if is_strict && parameter.is_sent && !parameter.value.chars().all(is_plain) {
            return Err(Flaw::Parameters(format!(
                "parameter `{name}` goes into a policy, where it may have letters, digits and `_.:@=,-` alone"
            )));
        }
        if self.refuses_empty && parameter.value.trim().is_empty() {
            return Err(Flaw::Parameters(format!(
                "parameter `{name}` is empty, and the device is named by it"
            )));
        }
        Ok(parameter.value.clone())
    }
}

/// The function that an object is, and what it is given.
pub(super) fn function(members: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (name, argument) = members.iter().next().filter(|_| members.len() == 1)?;
    (name == "Ref" || name.starts_with("Fn::")).then_some((name, argument))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Array(_) => "a list",
        _ => "an object",
    }
}
