//! The functions of text. Positions are of characters, from 0.
//!
//! Not here: regular expressions (`regex`), times (`time`). The law: what is no text is converted where the contract says so, else
//! the result is Undefined; nothing that a function makes is larger than [`MADE_BYTES_MAX`].

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::node::Scope;
use super::value::Value;

type Arguments<'a> = [Cow<'a, Value>];

/// Most spaces that padding adds (AWS: 1,000).
const PAD_MAX: i128 = 1_000;

/// Most bytes that a function makes of a message: some times the largest packet.
const MADE_BYTES_MAX: usize = 1024 * 1024;

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A function of one text.
fn of_text(arguments: &Arguments<'_>, make: impl FnOnce(String) -> Value) -> Value {
    arguments[0].text().map_or(Value::Undefined, make)
}

/// A function of two texts.
fn of_texts(arguments: &Arguments<'_>, make: impl FnOnce(&str, &str) -> Value) -> Value {
    match (arguments[0].text(), arguments[1].text()) {
        (Some(a), Some(b)) => make(&a, &b),
        _ => Value::Undefined,
    }
}

fn count(number: usize) -> Value {
    Value::Int(number as i128)
}

pub(crate) fn length(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    of_text(arguments, |text| count(text.chars().count()))
}

pub(crate) fn numbytes(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    of_text(arguments, |text| count(text.len()))
}

pub(crate) fn lower(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    of_text(arguments, |text| Value::Text(text.to_lowercase()))
}

pub(crate) fn upper(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    of_text(arguments, |text| Value::Text(text.to_uppercase()))
}

pub(crate) fn trim(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    of_text(arguments, |text| Value::text_of(text.trim()))
}

pub(crate) fn ltrim(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    of_text(arguments, |text| Value::text_of(text.trim_start()))
}

pub(crate) fn rtrim(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    of_text(arguments, |text| Value::text_of(text.trim_end()))
}

fn padded(arguments: &Arguments<'_>, make: impl FnOnce(&str, &str) -> String) -> Value {
    match (arguments[0].text(), arguments[1].int()) {
        (Some(text), Some(spaces)) => {
            let spaces = " ".repeat(usize::try_from(spaces.clamp(0, PAD_MAX)).unwrap_or(0));
            Value::Text(make(&text, &spaces))
        }
        _ => Value::Undefined,
    }
}

pub(crate) fn lpad(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    padded(arguments, |text, spaces| format!("{spaces}{text}"))
}

pub(crate) fn rpad(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    padded(arguments, |text, spaces| format!("{text}{spaces}"))
}

/// From position `i` to before `j`, both held within the text.
pub(crate) fn substring(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    let Some(text) = arguments[0].text() else { return Value::Undefined };
    let length = text.chars().count();
    let held = |position: i128| usize::try_from(position.clamp(0, length as i128)).unwrap_or(0);
    let Some(from) = arguments[1].int().map(held) else { return Value::Undefined };
    let to = match arguments.get(2) {
        None => length,
        Some(to) => match to.int() {
            Some(to) => held(to),
            None => return Value::Undefined,
        },
    };
    Value::Text(text.chars().skip(from).take(to.saturating_sub(from)).collect())
}

pub(crate) fn indexof(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    of_texts(arguments, |text, part| match text.find(part) {
        Some(at) => count(text[..at].chars().count()),
        None => Value::Int(-1),
    })
}

pub(crate) fn startswith(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    of_texts(arguments, |text, part| Value::Bool(text.starts_with(part)))
}

pub(crate) fn endswith(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    of_texts(arguments, |text, part| Value::Bool(text.ends_with(part)))
}

pub(crate) fn replace(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    let texts = (arguments[0].text(), arguments[1].text(), arguments[2].text());
    let (Some(text), Some(part), Some(with)) = texts else { return Value::Undefined };
    // An empty part stands between all characters; nobody means that.
    if part.is_empty() {
        return Value::Text(text);
    }
    let times = text.matches(part.as_str()).count();
    if text.len() + times.saturating_mul(with.len()) > MADE_BYTES_MAX {
        return Value::Undefined;
    }
    Value::Text(text.replace(&part, &with))
}

/// Texts one after the other; when one argument is an array, the values of all in one array.
pub(crate) fn concat(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    if arguments.iter().any(|argument| matches!(argument.as_ref(), Value::Array(_))) {
        let mut values = Vec::new();
        for argument in arguments {
            match argument.as_ref() {
                Value::Array(more) => values.extend_from_slice(more),
                Value::Undefined => return Value::Undefined,
                one => values.push(one.clone()),
            }
        }
        return Value::Array(values);
    }
    let mut made = String::new();
    for argument in arguments {
        match argument.text() {
            Some(text) if made.len() + text.len() <= MADE_BYTES_MAX => made.push_str(&text),
            _ => return Value::Undefined,
        }
    }
    Value::Text(made)
}

pub(crate) fn chr(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    let code = arguments[0].int().and_then(|code| u32::try_from(code).ok());
    let character = code.and_then(char::from_u32);
    character.map_or(Value::Undefined, Value::text_of)
}

/// `encode(x, 'base64')` of anything but the payload itself.
pub(crate) fn encode(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    of_text(arguments, |text| Value::Text(base64(text.as_bytes())))
}

pub(crate) fn decode(arguments: &Arguments<'_>, _: &Scope<'_>) -> Value {
    of_text(arguments, |text| {
        let bytes = STANDARD.decode(text.trim()).ok();
        bytes.and_then(|bytes| String::from_utf8(bytes).ok()).map_or(Value::Undefined, Value::Text)
    })
}
