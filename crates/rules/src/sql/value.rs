//! The values of rules SQL and what becomes of them: numbers, booleans, text, JSON (sections 7.2 and 7.3 of the contract).
//!
//! Not here: reading payloads (`payload`), operators (`node`). The law: no conversion fails loudly; what cannot be converted is
//! `None`, and Undefined in the end.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What an expression gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// There is nothing: a member that is missing, an operation on what it cannot be done with.
    Undefined,
    /// JSON's null.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number of at most 34 digits.
    Int(i128),
    /// Any other number.
    Decimal(f64),
    /// Text.
    Text(String),
    /// Values in a row.
    Array(Vec<Value>),
    /// Names and values, in the order in which they came; of a name that comes twice the last counts.
    Object(Vec<(String, Value)>),
}

/// Above this a whole number is a Decimal: AWS's 34 digits.
const INT_MAX: i128 = 9_999_999_999_999_999_999_999_999_999_999_999;

impl Value {
    /// A whole number: `Int` when it has at most 34 digits, else Decimal.
    #[must_use]
    pub fn whole(number: i128) -> Self {
        if number.abs() <= INT_MAX { Self::Int(number) } else { Self::Decimal(number as f64) }
    }

    /// A number; Undefined when it is none (an imaginary result).
    pub(crate) fn decimal(number: f64) -> Self {
        if number.is_nan() { Self::Undefined } else { Self::Decimal(number) }
    }

    pub(crate) fn text_of(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// What kind of value it is, as messages to people say it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Decimal(_) => "a number",
            Self::Text(_) => "text",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// As an f64: numbers, and text that is written as one.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Int(int) => Some(*int as f64),
            Self::Decimal(decimal) => Some(*decimal),
            Self::Text(text) => number_of(text),
            _ => None,
        }
    }

    /// As a whole number; a fraction is cut off.
    pub(crate) fn int(&self) -> Option<i128> {
        match self {
            Self::Int(int) => Some(*int),
            _ => self.number().filter(|number| number.abs() < 1e34).map(|number| number.trunc() as i128),
        }
    }

    /// As true or false: booleans, and the texts `true` and `false`.
    pub(crate) fn boolean(&self) -> Option<bool> {
        match self {
            Self::Bool(bool) => Some(*bool),
            Self::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Self::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    /// As text: arrays and objects as JSON; null and Undefined have none.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Undefined | Self::Null => None,
            Self::Text(text) => Some(text.clone()),
            other => Some(other.to_json()),
        }
    }

    /// The member `name` of an object.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Object(members) => {
                members.iter().rev().find(|member| member.0 == name).map(|member| &member.1)
            }
            _ => None,
        }
    }

    /// The value as JSON. A whole number is written without a fraction; what JSON cannot say is null.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = String::new();
        self.write_json(&mut json);
        json
    }

    fn write_json(&self, json: &mut String) {
        match self {
            Self::Undefined | Self::Null => json.push_str("null"),
            Self::Bool(bool) => json.push_str(if *bool { "true" } else { "false" }),
            Self::Int(int) => write!(json, "{int}").expect("text grows"),
            Self::Decimal(decimal) => write_decimal(json, *decimal),
            Self::Text(text) => write_text(json, text),
            Self::Array(values) => {
                json.push('[');
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        json.push(',');
                    }
                    value.write_json(json);
                }
                json.push(']');
            }
            Self::Object(members) => {
                json.push('{');
                for (at, (name, value)) in members.iter().filter(|member| member.1.is_written()).enumerate() {
                    if at > 0 {
                        json.push(',');
                    }
                    write_text(json, name);
                    json.push(':');
                    value.write_json(json);
                }
                json.push('}');
            }
        }
    }

    /// Whether it appears as a member: Undefined, and numbers without an end, do not.
    fn is_written(&self) -> bool {
        match self {
            Self::Undefined => false,
            Self::Decimal(decimal) => decimal.is_finite(),
            _ => true,
        }
    }

    /// `=`: `None` when one of the two is Undefined. Values of different types are unequal; numbers are of one type.
    pub(crate) fn equals(&self, other: &Value) -> Option<bool> {
        match (self, other) {
            (Self::Undefined, _) | (_, Self::Undefined) => None,
            _ => Some(same(self, other)),
        }
    }

    /// `<`, `>`: by number; `None` where one of the two is none.
    pub(crate) fn order(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            _ => self.number()?.partial_cmp(&other.number()?),
        }
    }
}

/// Whether two values are the same, whatever the order of members.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Undefined, Value::Undefined) | (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Int(_) | Value::Decimal(_), Value::Int(_) | Value::Decimal(_)) => a.number() == b.number(),
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            let by_name = |members: &'_ [(String, Value)]| -> BTreeMap<String, Value> {
                members.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
            };
            let (a, b) = (by_name(a), by_name(b));
            a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
        }
        _ => false,
    }
}

/// The number that a text writes: `^-?\d+(\.\d+)?([eE]-?\d+)?$`.
pub(crate) fn number_of(text: &str) -> Option<f64> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let written = digits(whole)
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix('-').unwrap_or(exponent)));
    if written { text.parse().ok() } else { None }
}

fn write_decimal(json: &mut String, decimal: f64) {
    let size = decimal.abs();
    let written = if !decimal.is_finite() {
        json.push_str("null");
        return;
    } else if decimal == 0.0 {
        write!(json, "0")
    } else if (1e-7..1e34).contains(&size) {
        // Never with an exponent, and whole numbers without a fraction.
        write!(json, "{decimal}")
    } else {
        write!(json, "{decimal:e}")
    };
    written.expect("text grows");
}

fn write_text(json: &mut String, text: &str) {
    json.push_str(&serde_json::to_string(text).expect("text is JSON"));
}
