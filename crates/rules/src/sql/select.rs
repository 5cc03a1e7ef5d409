//! What stands between `SELECT` and `WHERE`: the items and what is made of them, at the top and nested.
//!
//! Not here: the topic filter and the payload (`sql`). The law: Undefined items are left out, null is kept.

use super::EvaluateError;
use super::node::{Node, Scope};
use super::value::Value;

/// The items and the condition.
#[derive(Debug)]
pub(crate) struct Select {
    pub(crate) items: Items,
    pub(crate) condition: Option<Node>,
}

/// What is selected.
#[derive(Debug)]
pub(crate) enum Items {
    /// `*`, maybe with items beside it, or items alone.
    Members { all: bool, items: Vec<Item> },
    /// `VALUE expr`.
    Value(Node),
}

/// One item and where in the result it is put.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) path: Vec<String>,
    pub(crate) node: Node,
}

/// `(SELECT … FROM array WHERE …)`.
#[derive(Debug)]
pub(crate) struct Nested {
    pub(crate) from: Node,
    pub(crate) select: Select,
}

/// What a statement makes of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    value: Option<Value>,
    payload: Vec<u8>,
}

impl Selection {
    /// The payload as it is.
    pub(crate) fn unchanged(payload: &[u8]) -> Self {
        Self { value: None, payload: payload.to_vec() }
    }

    /// A value as if it had been selected: for what Godwit itself has to say by an action.
    #[must_use]
    pub fn of(value: Value) -> Self {
        let payload = value.to_json().into_bytes();
        Self { value: Some(value), payload }
    }

    /// The bytes that are handed on: JSON, or the payload as it came when the statement is `SELECT *`.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The same, as the owner of the bytes.
    #[must_use]
    pub fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// What was made; `None` when the payload is handed on as it came.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }
}

impl Select {
    /// Whether it is `SELECT *` alone.
    pub(crate) fn is_all(&self) -> bool {
        matches!(&self.items, Items::Members { all: true, items } if items.is_empty())
    }

    /// Makes the result for what `scope` shows, counting what was Undefined.
    pub(crate) fn make(&self, scope: &Scope<'_>, undefined: &mut u32) -> Result<Value, EvaluateError> {
        let (all, items) = match &self.items {
            Items::Value(node) => {
                return match node.evaluate(scope).into_owned() {
                    Value::Undefined => {
                        *undefined += 1;
                        Err(EvaluateError::UndefinedValue)
                    }
                    value => Ok(value),
                };
            }
            Items::Members { all, items } => (*all, items),
        };
        let mut members = match scope.root {
            _ if !all => Vec::new(),
            Some(Value::Object(members)) => members.clone(),
            // Nested, `*` is the element, whatever it is.
            Some(other) if items.is_empty() => return Ok(other.clone()),
            Some(other) => return Err(EvaluateError::NotAnObject { found: other.kind() }),
            None => return Err(EvaluateError::NotAnObject { found: "not JSON" }),
        };
        for item in items {
            match item.node.evaluate(scope).into_owned() {
                Value::Undefined => *undefined += 1,
                value => put(&mut members, &item.path, value),
            }
        }
        Ok(Value::Object(members))
    }
}

impl Nested {
    /// The elements for which the condition holds, made into what is selected of each.
    pub(crate) fn evaluate(&self, scope: &Scope<'_>) -> Value {
        let from = self.from.evaluate(scope);
        let Value::Array(elements) = from.as_ref() else { return Value::Undefined };
        let mut made = Vec::new();
        for element in elements {
            let scope = Scope { root: Some(element), selected: None, ..*scope };
            let holds = self
                .select
                .condition
                .as_ref()
                .is_none_or(|condition| condition.evaluate(&scope).boolean() == Some(true));
            // An element that gives nothing is left out, as a member would be.
            if holds && let Ok(value) = self.select.make(&scope, &mut 0) {
                made.push(value);
            }
        }
        Value::Array(made)
    }
}

/// Puts `value` at a path, making the objects on the way.
fn put(members: &mut Vec<(String, Value)>, path: &[String], value: Value) {
    let [name, rest @ ..] = path else { return };
    let at = members.iter().rposition(|member| member.0 == *name).unwrap_or_else(|| {
        members.push((name.clone(), Value::Undefined));
        members.len() - 1
    });
    let slot = &mut members[at].1;
    if rest.is_empty() {
        *slot = value;
        return;
    }
    if !matches!(slot, Value::Object(_)) {
        *slot = Value::Object(Vec::new());
    }
    if let Value::Object(inner) = slot {
        put(inner, rest, value);
    }
}
