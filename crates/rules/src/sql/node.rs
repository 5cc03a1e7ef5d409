//! A compiled expression: what is worked out for each message.
//!
//! Not here: how it came to be (`parser`), the functions (`function` and its neighbours). The law: an operand that an operator
//! cannot take makes the result Undefined (sections 7.2 and 7.3 of the contract).

use std::borrow::Cow;
use std::cmp::Ordering;

use super::context::{Context, Draws};
use super::function::Call;
use super::number;
use super::regex::RegexCall;
use super::select::Nested;
use super::time::{Format, Parse};
use super::value::Value;
pub(crate) use crate::operator::{Arithmetic, Comparison};

/// An expression.
#[derive(Debug)]
pub(crate) enum Node {
    /// As it is written.
    Literal(Value),
    /// A member of the payload.
    Member(String),
    /// A member of what an expression gives.
    Field(Box<Node>, String),
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Compare(Comparison, Box<(Node, Node)>),
    Arithmetic(Arithmetic, Box<(Node, Node)>),
    Negate(Box<Node>),
    /// Whether the first is one of the others, or of the members of the one array among them.
    In(Box<Node>, Vec<Node>),
    /// Whether the first is neither below the second nor above the third.
    Between(Box<[Node; 3]>),
    /// `IS NULL`: null, or not there.
    IsNull(Box<Node>),
    Case {
        operand: Option<Box<Node>>,
        branches: Vec<(Node, Node)>,
        otherwise: Option<Box<Node>>,
    },
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
    Select(Box<Nested>),
    Cast(Type, Box<Node>),
    /// `encode(*, 'base64')`: the bytes of the payload.
    EncodePayload,
    Call(Call, Vec<Node>),
    Regex(Box<RegexCall>),
    FormatTime(Box<Format>),
    ParseTime(Box<Parse>),
}

/// What `cast` casts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Int,
    Decimal,
    Boolean,
    Text,
    Array,
    Object,
}

/// What an expression sees.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// The payload, or the element of a nested query.
    pub(crate) root: Option<&'a Value>,
    /// What the statement made: templates look there for what the payload does not have.
    pub(crate) selected: Option<&'a Value>,
    /// The payload's bytes.
    pub(crate) payload: &'a [u8],
    pub(crate) context: &'a Context<'a>,
    pub(crate) draws: &'a Draws,
}

static UNDEFINED: Value = Value::Undefined;

impl Node {
    pub(crate) fn evaluate<'a>(&'a self, scope: &Scope<'a>) -> Cow<'a, Value> {
        let value = match self {
            Self::Literal(value) => return Cow::Borrowed(value),
            Self::Member(name) => return Cow::Borrowed(scope.member(name)),
            Self::Field(of, name) => return field(of.evaluate(scope), name),
            Self::And(parts) => all(parts, scope, true),
            Self::Or(parts) => all(parts, scope, false),
            Self::Not(part) => bool_or_undefined(part.evaluate(scope).boolean().map(|value| !value)),
            Self::Compare(how, both) => how.of(&both.0.evaluate(scope), &both.1.evaluate(scope)),
            Self::Arithmetic(what, both) => what.of(&both.0.evaluate(scope), &both.1.evaluate(scope)),
            Self::Negate(part) => number::negate(&part.evaluate(scope)),
            Self::In(value, among) => is_in(&value.evaluate(scope), among, scope),
            Self::Between(parts) => {
                let [value, low, high] = parts.each_ref().map(|part| part.evaluate(scope));
                let at_least = value.order(&low).map(Ordering::is_ge);
                let at_most = value.order(&high).map(Ordering::is_le);
                bool_or_undefined(at_least.zip(at_most).map(|(low, high)| low && high))
            }
            Self::IsNull(part) => {
                Value::Bool(matches!(part.evaluate(scope).as_ref(), Value::Null | Value::Undefined))
            }
            Self::Case { operand, branches, otherwise } => {
                return case(operand.as_deref(), branches, otherwise.as_deref(), scope);
            }
            Self::Array(parts) => {
                Value::Array(parts.iter().map(|part| part.evaluate(scope).into_owned()).collect())
            }
            Self::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(name, part)| (name.clone(), part.evaluate(scope).into_owned()))
                    .collect(),
            ),
            Self::Select(nested) => nested.evaluate(scope),
            Self::Cast(to, part) => to.cast(&part.evaluate(scope)),
            Self::EncodePayload => Value::Text(super::text::base64(scope.payload)),
            Self::Call(call, parts) => {
                let arguments: Vec<Cow<'_, Value>> = parts.iter().map(|part| part.evaluate(scope)).collect();
                call(&arguments, scope)
            }
            Self::Regex(call) => call.evaluate(scope),
            Self::FormatTime(format) => format.evaluate(scope),
            Self::ParseTime(parse) => parse.evaluate(scope),
        };
        Cow::Owned(value)
    }
}

impl<'a> Scope<'a> {
    fn member(&self, name: &str) -> &'a Value {
        let of = |value: Option<&'a Value>| value.and_then(|value| value.member(name));
        of(self.root).or_else(|| of(self.selected)).unwrap_or(&UNDEFINED)
    }
}

/// The member `name` of `value`, without a copy where that is possible.
fn field<'a>(value: Cow<'a, Value>, name: &str) -> Cow<'a, Value> {
    match value {
        Cow::Borrowed(value) => Cow::Borrowed(value.member(name).unwrap_or(&UNDEFINED)),
        Cow::Owned(value) => Cow::Owned(value.member(name).cloned().unwrap_or(Value::Undefined)),
    }
}

fn bool_or_undefined(value: Option<bool>) -> Value {
    value.map_or(Value::Undefined, Value::Bool)
}

/// `AND` (`is_and`) or `OR`: Undefined as soon as one operand is neither true nor false.
fn all(parts: &[Node], scope: &Scope<'_>, is_and: bool) -> Value {
    let mut result = is_and;
    for part in parts {
        match part.evaluate(scope).boolean() {
            Some(value) if is_and => result &= value,
            Some(value) => result |= value,
            None => return Value::Undefined,
        }
    }
    Value::Bool(result)
}

fn is_in(value: &Value, among: &[Node], scope: &Scope<'_>) -> Value {
    if *value == Value::Undefined {
        return Value::Undefined;
    }
    if let [only] = among
        && let Value::Array(values) = only.evaluate(scope).as_ref()
    {
        return Value::Bool(values.iter().any(|one| value.equals(one) == Some(true)));
    }
    Value::Bool(among.iter().any(|one| value.equals(&one.evaluate(scope)) == Some(true)))
}

fn case<'a>(
    operand: Option<&'a Node>,
    branches: &'a [(Node, Node)],
    otherwise: Option<&'a Node>,
    scope: &Scope<'a>,
) -> Cow<'a, Value> {
    let operand = operand.map(|operand| operand.evaluate(scope));
    for (when, then) in branches {
        let when = when.evaluate(scope);
        let holds = match &operand {
            Some(operand) => operand.equals(&when),
            None => when.boolean(),
        };
        if holds == Some(true) {
            return then.evaluate(scope);
        }
    }
    otherwise.map_or(Cow::Borrowed(&UNDEFINED), |otherwise| otherwise.evaluate(scope))
}

impl Comparison {
    fn of(self, a: &Value, b: &Value) -> Value {
        let holds = match self {
            Self::Equal => a.equals(b),
            Self::Unequal => a.equals(b).map(|equal| !equal),
            Self::Less => a.order(b).map(Ordering::is_lt),
            Self::LessOrEqual => a.order(b).map(Ordering::is_le),
            Self::Greater => a.order(b).map(Ordering::is_gt),
            Self::GreaterOrEqual => a.order(b).map(Ordering::is_ge),
        };
        bool_or_undefined(holds)
    }
}

impl Arithmetic {
    pub(crate) fn of(self, a: &Value, b: &Value) -> Value {
        if self == Self::Add && matches!((a, b), (Value::Text(_), _) | (_, Value::Text(_))) {
            return match (a.text(), b.text()) {
                (Some(a), Some(b)) => Value::Text(a + &b),
                _ => Value::Undefined,
            };
        }
        if let (Value::Int(a), Value::Int(b)) = (a, b) {
            let whole = match self {
                Self::Add => a.checked_add(*b),
                Self::Subtract => a.checked_sub(*b),
                Self::Multiply => a.checked_mul(*b),
                Self::Divide | Self::Remainder if *b == 0 => return Value::Undefined,
                Self::Divide => Some(a / b),
                Self::Remainder => Some(a % b),
            };
            if let Some(whole) = whole {
                return Value::whole(whole);
            }
        }
        let (Some(a), Some(b)) = (a.number(), b.number()) else { return Value::Undefined };
        match self {
            Self::Add => Value::decimal(a + b),
            Self::Subtract => Value::decimal(a - b),
            Self::Multiply => Value::decimal(a * b),
            Self::Divide | Self::Remainder if b == 0.0 => Value::Undefined,
            Self::Divide => Value::decimal(a / b),
            Self::Remainder => Value::decimal(a % b),
        }
    }
}

impl Type {
    /// The names that a type has in `cast(x as …)`.
    pub(crate) const NAMES: &[(&str, Self)] = &[
        ("int", Self::Int),
        ("integer", Self::Int),
        ("bigint", Self::Int),
        ("decimal", Self::Decimal),
        ("float", Self::Decimal),
        ("double", Self::Decimal),
        ("boolean", Self::Boolean),
        ("bool", Self::Boolean),
        ("string", Self::Text),
        ("text", Self::Text),
        ("varchar", Self::Text),
        ("nvarchar", Self::Text),
        ("array", Self::Array),
        ("object", Self::Object),
    ];

    fn cast(self, value: &Value) -> Value {
        match (self, value) {
            (Self::Int, Value::Bool(bool)) => Value::Int(i128::from(*bool)),
            (Self::Int, Value::Int(int)) => Value::Int(*int),
            (Self::Int, value) => value.number().map_or(Value::Undefined, number::nearest_whole),
            (Self::Decimal, Value::Bool(bool)) => Value::Decimal(f64::from(u8::from(*bool))),
            (Self::Decimal, value) => value.number().map_or(Value::Undefined, Value::Decimal),
            (Self::Boolean, Value::Int(_) | Value::Decimal(_)) => Value::Bool(value.number() != Some(0.0)),
            (Self::Boolean, value) => bool_or_undefined(value.boolean()),
            (Self::Text, value) => value.text().map_or(Value::Undefined, Value::Text),
            (Self::Array, Value::Array(_)) | (Self::Object, Value::Object(_)) => value.clone(),
            (Self::Array | Self::Object, _) => Value::Undefined,
        }
    }
}
