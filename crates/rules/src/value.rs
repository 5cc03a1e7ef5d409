//! What an expression can be at one sample: nothing, a number, a text, a truth, or a text that is a number too.
//!
//! Not here: how it came about. The law: a number is finite; what cannot be told is Undefined and never a guess.

use std::cmp::Ordering;

use bytestring::ByteString;
use model::Value;

/// Below it every integer is a number of its own: 2^53.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// The value of an expression, borrowed where it can be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    /// It cannot be told: a channel that is not there, a division by zero.
    Undefined,
    /// A finite number.
    Number(f64),
    /// True or false.
    Truth(bool),
    /// A text. Cheap to clone.
    Text(ByteString),
    /// A text that is a number too: an attribute such as `17`, an integer beyond 2^53.
    Both(f64, ByteString),
}

impl Scalar {
    /// A number; Undefined when it is not finite.
    pub(crate) fn finite(number: f64) -> Self {
        if number.is_finite() { Self::Number(number) } else { Self::Undefined }
    }

    /// What a reading says.
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Number(number) => Self::finite(*number),
            Value::Text(text) => Self::Text(text.clone()),
            Value::BigInteger(number, text) => Self::Both(*number, text.clone()),
        }
    }

    /// What an attribute says: a text, and a number where it reads as one.
    pub(crate) fn of_attribute(text: &str) -> Self {
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Self::Both(number, ByteString::from(text)),
            _ => Self::Text(ByteString::from(text)),
        }
    }

    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) | Self::Both(number, _) => Some(*number),
            Self::Truth(truth) => Some(f64::from(u8::from(*truth))),
            Self::Undefined | Self::Text(_) => None,
        }
    }

    /// As a truth: readings say 1 and 0.
    pub(crate) fn truth(&self) -> Option<bool> {
        match self {
            Self::Truth(truth) => Some(*truth),
            Self::Number(1.0) => Some(true),
            Self::Number(0.0) => Some(false),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&ByteString> {
        match self {
            Self::Text(text) | Self::Both(_, text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_defined(&self) -> bool {
        *self != Self::Undefined
    }

    /// How two values stand to each other: numbers as numbers, texts as texts. `None` when one is Undefined or they
    /// are of different kinds.
    pub(crate) fn compared(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(a), b) => Some(a.as_bytes().cmp(b.text()?.as_bytes())),
            (a, Self::Text(b)) => Some(a.text()?.as_bytes().cmp(b.as_bytes())),
            // Two integers beyond 2^53 are told apart by their digits.
            (Self::Both(a, x), Self::Both(b, y)) if a == b && a.abs() >= EXACT_MAX => {
                Some(x.as_bytes().cmp(y.as_bytes()))
            }
            (a, b) => a.number()?.partial_cmp(&b.number()?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_kinds_do_not_compare() {
        let text = |text: &str| Scalar::Text(ByteString::from(text));
        assert_eq!(Scalar::Number(1.0).compared(&text("1")), None);
        assert_eq!(Scalar::Undefined.compared(&Scalar::Undefined), None);
        assert_eq!(text("a").compared(&text("b")), Some(Ordering::Less));
        assert_eq!(Scalar::Number(1.0).compared(&Scalar::Truth(true)), Some(Ordering::Equal));
        assert_eq!(Scalar::of_attribute("17").compared(&Scalar::Number(9.0)), Some(Ordering::Greater));
        assert_eq!(Scalar::of_attribute("17").compared(&text("17")), Some(Ordering::Equal));
        let big = |text: &str| Scalar::Both(9_007_199_254_740_992.0, ByteString::from(text));
        assert_ne!(big("9007199254740993").compared(&big("9007199254740992")), Some(Ordering::Equal));
    }
}
