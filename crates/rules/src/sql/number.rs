//! The functions of numbers.
//!
//! Not here: operators (`node`). The law: what is imaginary or no number is Undefined; text that is written as a number counts
//! as one; an Int stays an Int where the result is whole.

use std::borrow::Cow;

use super::node::{Arithmetic, Scope};
use super::value::Value;

type Arguments<'a> = [Cow<'a, Value>];

/// Most digits that `trunc` keeps: more than an f64 has.
const DIGITS_MAX: i128 = 34;

pub(crate) fn negate(value: &Value) -> Value {
    match value {
        Value::Int(int) => Value::Int(-int),
        other => other.number().map_or(Value::Undefined, |number| Value::decimal(-number)),
    }
}

/// The nearest whole number, halves away from zero.
pub(crate) fn nearest_whole(number: f64) -> Value {
    whole(number.round())
}

fn whole(number: f64) -> Value {
    if number.abs() < 1e34 { Value::whole(number as i128) } else { Value::decimal(number) }
}

/// A function of a real number.
fn real(arguments: &Arguments<'_>, of: impl Fn(f64) -> f64) -> Value {
    arguments[0].number().map_or(Value::Undefined, |number| Value::decimal(of(number)))
}

/// A function to whole numbers; whole numbers are left as they are.
fn to_whole(arguments: &Arguments<'_>, of: impl Fn(f64) -> f64) -> Value {
    match arguments[0].as_ref() {
        Value::Int(int) => Value::Int(*int),
        other => other.number().map_or(Value::Undefined, |number| whole(of(number))),
    }
}

macro_rules! real_functions {
    ($($name:ident: $of:expr),* $(,)?) => {$(
        pub(crate) fn $name(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
            real(arguments, $of)
        }
    )*};
}

real_functions! {
    sqrt: f64::sqrt,
    exp: f64::exp,
    sin: f64::sin,
    cos: f64::cos,
    tan: f64::tan,
    asin: f64::asin,
    acos: f64::acos,
    atan: f64::atan,
    sinh: f64::sinh,
    cosh: f64::cosh,
    tanh: f64::tanh,
}

pub(crate) fn ln(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    real(arguments, |number| if number > 0.0 { number.ln() } else { f64::NAN })
}

pub(crate) fn log(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    real(arguments, |number| if number > 0.0 { number.log10() } else { f64::NAN })
}

pub(crate) fn ceil(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    to_whole(arguments, f64::ceil)
}

pub(crate) fn floor(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    to_whole(arguments, f64::floor)
}

pub(crate) fn round(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    to_whole(arguments, f64::round)
}

pub(crate) fn abs(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    match arguments[0].as_ref() {
        Value::Int(int) => Value::Int(int.abs()),
        other => other.number().map_or(Value::Undefined, |number| Value::Decimal(number.abs())),
    }
}

pub(crate) fn sign(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    let sign = |number: f64| Value::Int(i128::from(number > 0.0) - i128::from(number < 0.0));
    arguments[0].number().map_or(Value::Undefined, sign)
}

/// Cuts the digits after the n-th, without rounding.
pub(crate) fn trunc(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    let (Some(number), Some(digits)) = (arguments[0].number(), arguments[1].int()) else {
        return Value::Undefined;
    };
    if let Value::Int(int) = arguments[0].as_ref() {
        return Value::Int(*int);
    }
    // By its written digits: 1.15 times 100 is 114.99999999999999.
    let text = Value::Decimal(number).to_json();
    match text.split_once('.') {
        Some((before, after)) if !after.contains('e') => {
            let keep = usize::try_from(digits.clamp(0, DIGITS_MAX)).unwrap_or(0).min(after.len());
            let cut = if keep == 0 { before.to_owned() } else { format!("{before}.{}", &after[..keep]) };
            cut.parse().map_or(Value::Undefined, Value::decimal)
        }
        _ => Value::Decimal(number),
    }
}

pub(crate) fn power(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    if let (Value::Int(base), Value::Int(exponent)) = (arguments[0].as_ref(), arguments[1].as_ref())
        && let Some(whole) = u32::try_from(*exponent).ok().and_then(|exponent| base.checked_pow(exponent))
    {
        return Value::whole(whole);
    }
    match (arguments[0].number(), arguments[1].number()) {
        (Some(base), Some(exponent)) => Value::decimal(base.powf(exponent)),
        _ => Value::Undefined,
    }
}

pub(crate) fn atan2(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    match (arguments[0].number(), arguments[1].number()) {
        (Some(y), Some(x)) => Value::decimal(y.atan2(x)),
        _ => Value::Undefined,
    }
}

pub(crate) fn remainder(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    Arithmetic::Remainder.of(&arguments[0], &arguments[1])
}

pub(crate) fn nanvl(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    match arguments[0].number() {
        Some(number) if number.is_finite() => arguments[0].as_ref().clone(),
        _ => arguments[1].as_ref().clone(),
    }
}

fn bits(arguments: &Arguments<'_>, of: impl Fn(i64, i64) -> i64) -> Value {
    let word = |value: &Value| value.int().and_then(|int| i64::try_from(int).ok());
    match (word(&arguments[0]), word(&arguments[1])) {
        (Some(a), Some(b)) => Value::Int(of(a, b).into()),
        _ => Value::Undefined,
    }
}

pub(crate) fn bitand(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    bits(arguments, |a, b| a & b)
}

pub(crate) fn bitor(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    bits(arguments, |a, b| a | b)
}

pub(crate) fn bitxor(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    bits(arguments, |a, b| a ^ b)
}

pub(crate) fn bitnot(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    let word = arguments[0].int().and_then(|int| i64::try_from(int).ok());
    word.map_or(Value::Undefined, |word| Value::Int((!word).into()))
}

/// A number from 0 to below 1, of the evaluation's own draws.
pub(crate) fn rand(_: &Arguments<'_>, scope: &Scope<'_>) -> Value {
    let bytes = scope.draws.draw();
    let bits = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    // The 53 bits that an f64 holds.
    Value::Decimal((bits >> 11) as f64 / (1_u64 << 53) as f64)
}
