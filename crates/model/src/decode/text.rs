//! A payload that is one text: it is the reading.

use super::{DecodeError, Decoded, error, is_no_value, last_level, single};
use crate::limit::TEXT_BYTES_MAX;
use crate::route::Route;
use crate::{Message, Names, Value};

pub(super) fn decode(route: &Route, message: &Message, names: &mut Names) -> Result<Decoded, DecodeError> {
    let payload = &message.payload;
    let text = std::str::from_utf8(payload).map_err(|e| DecodeError::NotUtf8 { byte: e.valid_up_to() })?;
    let Some(channel) = last_level(route, message, names)? else { return Ok(Decoded::nothing()) };
    if text.len() > TEXT_BYTES_MAX {
        return Err(DecodeError::TextTooLong { field: error::shown(&channel), bytes: text.len() });
    }
    // Copied: a reading must not hold the network buffer that the payload may share.
    let value = (!is_no_value(text.trim())).then(|| Value::Text(text.into()));
    single(route, message, names, channel, value)
}
