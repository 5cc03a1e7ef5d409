//! JSON, flattened while it is read: no tree is built.
//!
//! `serde_json` parses. The one thing the parser does not tell is the digits of whole numbers beyond 64 bits: a payload
//! that has such a number is read once more, scalar by scalar from its text. That costs a second pass for what hardly
//! any device sends.

use super::collect::Collector;
use super::flatten::Flattening;
use super::{DecodeError, Decoded, error};
use crate::limit::JSON_BYTES_MAX;
use crate::route::Route;
use crate::{Message, Names};

pub(super) fn decode(route: &Route, message: &Message, names: &mut Names) -> Result<Decoded, DecodeError> {
    let text = text(&message.payload)?;
    let mut flattening = Flattening::new(Collector::new(route, message, names)?, false);
    read(&mut flattening, text)?;
    if !flattening.lost_digits {
        return Ok(flattening.out.finish());
    }
    drop(flattening);
    let mut flattening = Flattening::new(Collector::new(route, message, names)?, true);
    read(&mut flattening, text)?;
    Ok(flattening.out.finish())
}

/// The payload as text, if it is not too large.
pub(crate) fn text(payload: &[u8]) -> Result<&str, DecodeError> {
    if payload.len() > JSON_BYTES_MAX {
        return Err(DecodeError::json_too_large(payload.len()));
    }
    std::str::from_utf8(payload).map_err(|e| DecodeError::NotUtf8 { byte: e.valid_up_to() })
}

fn read(pass: &mut Flattening<'_>, text: &str) -> Result<(), DecodeError> {
    let mut parser = serde_json::Deserializer::from_str(text);
    pass.payload(&mut parser).and_then(|()| parser.end()).map_err(|e| match pass.refusal.take() {
        Some(refusal) => refusal,
        None => not_json(&e, &pass.out.path),
    })
}

/// What the parser says, with its place.
pub(crate) fn not_json(parser: &serde_json::Error, path: &str) -> DecodeError {
    let field = error::shown(path);
    let (line, column) = (parser.line(), parser.column());
    let said = parser.to_string();
    let reason = said.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&said);
    if reason == "number out of range" {
        return DecodeError::NotFinite { field };
    }
    DecodeError::NotJson { line, column, field, reason: reason.to_owned() }
}
