//! Conditions: what must hold of a session for a statement to count. Judged when policies are compiled, once per session.
//!
//! All operators and all keys of a block must hold; the values of one key are alternatives. A key that is not known makes a
//! condition false, except a negated one (`…Not…`), one that says `…IfExists`, `ForAllValues:…` and `Null`: as IAM does.
//! Not here: dates and numbers, of which no key speaks.

use super::address::Range;
use super::context::Context;
use super::error::DocumentError;
use super::node::Node;
use super::pattern::{Template, matches};
use super::variable::Variable;

/// One operator on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    operator: Operator,
    /// `ForAllValues:` or `ForAnyValue:`.
    over: Over,
    /// A key that is not known is as good as a right one.
    if_exists: bool,
    key: Variable,
    values: Vec<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Operator {
    test: Test,
    is_negated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    Equals,
    EqualsIgnoreCase,
    Like,
    Bool,
    Address,
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// Any of the values that the key has; negated: none of them.
    Plain,
    All,
    Any,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(Template),
    Range(Range),
    Flag(bool),
}

/// The operators there are, without `…IfExists` and `For…Values:`.
const OPERATORS: &[(&str, Operator)] = &[
    ("StringEquals", Operator { test: Test::Equals, is_negated: false }),
    ("StringNotEquals", Operator { test: Test::Equals, is_negated: true }),
    ("StringEqualsIgnoreCase", Operator { test: Test::EqualsIgnoreCase, is_negated: false }),
    ("StringNotEqualsIgnoreCase", Operator { test: Test::EqualsIgnoreCase, is_negated: true }),
    ("StringLike", Operator { test: Test::Like, is_negated: false }),
    ("StringNotLike", Operator { test: Test::Like, is_negated: true }),
    ("Bool", Operator { test: Test::Bool, is_negated: false }),
    ("IpAddress", Operator { test: Test::Address, is_negated: false }),
    ("NotIpAddress", Operator { test: Test::Address, is_negated: true }),
    ("Null", Operator { test: Test::Null, is_negated: false }),
];

impl Condition {
    /// Reads the block behind `Condition`. `place` says where it stands.
    pub(crate) fn parse_block(node: &Node, place: &str) -> Result<Vec<Self>, DocumentError> {
        let place = format!("{place}, `Condition`");
        let Node::Object(operators) = node else {
            return Err(DocumentError::shape(
                place,
                format!("it is {}; it must be an object of operators", node.kind()),
            ));
        };
        let mut conditions = Vec::new();
        for (name, keys) in operators {
            let Node::Object(keys) = keys else {
                let what = format!("`{name}` is {}; it must be an object of keys", keys.kind());
                return Err(DocumentError::shape(place, what));
            };
            for (key, values) in keys {
                let condition = Self::parse(name, key, values);
                conditions.push(condition.map_err(|what| DocumentError::shape(place.clone(), what))?);
            }
        }
        Ok(conditions)
    }

    fn parse(name: &str, key: &str, values: &Node) -> Result<Self, String> {
        let (over, bare) = match name.split_once(':') {
            Some(("ForAllValues", bare)) => (Over::All, bare),
            Some(("ForAnyValue", bare)) => (Over::Any, bare),
            Some((other, _)) => {
                return Err(format!("`{other}:` is unknown; write `ForAllValues:` or `ForAnyValue:`"));
            }
            None => (Over::Plain, name),
        };
        let (bare, if_exists) = bare.strip_suffix("IfExists").map_or((bare, false), |bare| (bare, true));
        let Some((_, operator)) = OPERATORS.iter().find(|(known, _)| *known == bare) else {
            let known: Vec<_> = OPERATORS.iter().map(|(known, _)| *known).collect();
            return Err(format!(
                "operator `{name}` is unknown; there are {}, each also with `IfExists`",
                known.join(", ")
            ));
        };
        if operator.test == Test::Null && (if_exists || over != Over::Plain) {
            return Err(format!("`{name}` is written `Null`"));
        }
        let Some(variable) = Variable::parse(key) else {
            return Err(format!("key `{key}` is unknown; docs/policies.md lists the keys there are"));
        };
        let read = |value: &Node| -> Result<Value, String> {
            let text = match value {
                Node::Text(text) => text.clone(),
                Node::Bool(flag) => flag.to_string(),
                Node::Number(number) => number.clone(),
                other => return Err(format!("a value of `{key}` is {}; it must be text", other.kind())),
            };
            match operator.test {
                Test::Equals | Test::EqualsIgnoreCase => Ok(Value::Text(Template::parse(&text, false))),
                Test::Like => Ok(Value::Text(Template::parse(&text, true))),
                Test::Bool | Test::Null => match text.to_ascii_lowercase().as_str() {
                    "true" => Ok(Value::Flag(true)),
                    "false" => Ok(Value::Flag(false)),
                    _ => Err(format!("`{text}` is neither `true` nor `false`")),
                },
                Test::Address => Range::parse(&text)
                    .map(Value::Range)
                    .ok_or_else(|| format!("`{text}` is no address and no range such as `192.0.2.0/24`")),
            }
        };
        let values = values.listed().iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if values.is_empty() {
            return Err(format!("`{key}` has no values"));
        }
        Ok(Self { operator: *operator, over, if_exists, key: variable, values })
    }

    /// Whether it holds.
    pub(crate) fn holds(&self, context: &Context) -> bool {
        let known = self.key.values(context);
        if self.operator.test == Test::Null {
            return self.values.contains(&Value::Flag(known.is_empty()));
        }
        if known.is_empty() && self.if_exists {
            return true;
        }
        let is_negated = self.operator.is_negated;
        let passes =
            |value: &str| self.values.iter().any(|wanted| self.is(wanted, value, context)) != is_negated;
        match self.over {
            Over::Any => known.iter().any(|value| passes(value)),
            Over::All => known.iter().all(|value| passes(value)),
            Over::Plain if is_negated => known.iter().all(|value| passes(value)),
            Over::Plain => known.iter().any(|value| passes(value)),
        }
    }

    fn is(&self, wanted: &Value, value: &str, context: &Context) -> bool {
        match wanted {
            Value::Flag(flag) => value.eq_ignore_ascii_case(if *flag { "true" } else { "false" }),
            Value::Range(range) => value.parse().is_ok_and(|address| range.contains(address)),
            Value::Text(template) => {
                let wanted = template.filled(|variable| match variable.texts(context).as_mut_slice() {
                    [one] => Some(std::mem::take(one).into_owned().into()),
                    _ => None,
                });
                match self.operator.test {
                    Test::EqualsIgnoreCase => value.to_lowercase() == wanted.to_lowercase(),
                    Test::Like => matches(&wanted, value),
                    _ => *value == *wanted,
                }
            }
        }
    }
}
