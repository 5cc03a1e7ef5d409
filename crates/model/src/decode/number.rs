//! A payload that is one number, as text: `23.18`. Also `true` and `false`, and the words for no value.

use super::{DecodeError, Decoded, error, is_no_value, last_level, single, written};
use crate::limit::NUMBER_BYTES_MAX;
use crate::route::Route;
use crate::{Message, Names, Value};

pub(super) fn decode(route: &Route, message: &Message, names: &mut Names) -> Result<Decoded, DecodeError> {
    let payload = &message.payload;
    if payload.len() > NUMBER_BYTES_MAX {
        return Err(DecodeError::number_too_large(payload.len()));
    }
    let text =
        std::str::from_utf8(payload).map_err(|e| DecodeError::NotUtf8 { byte: e.valid_up_to() })?.trim();
    let Some(channel) = last_level(route, message, names)? else { return Ok(Decoded::nothing()) };
    let value = value(text, &channel)?;
    single(route, message, names, channel, value)
}

fn value(text: &str, channel: &str) -> Result<Option<Value>, DecodeError> {
    match text {
        _ if is_no_value(text) || text.is_empty() || text == "null" => return Ok(None),
        "true" => return Ok(Some(Value::Number(1.0))),
        "false" => return Ok(Some(Value::Number(0.0))),
        _ => {}
    }
    // `inf` and `infinity` are numbers to Rust: they are refused as not finite, like 1e999.
    let number: f64 = text.parse().map_err(|_| DecodeError::NotANumber { text: error::shown(text) })?;
    if !number.is_finite() {
        return Err(DecodeError::NotFinite { field: error::shown(channel) });
    }
    Ok(Some(written(text, number)))
}
