//! From the bytes of a message to samples, as its route says.
//!
//! One file per kind of payload. Not here: which route a message has ([`Routes`](crate::Routes)), and what becomes
//! of the samples. The laws: a message is decoded whole or refused whole; every refusal names the place and has a
//! bounded code; arbitrary bytes never panic and never cost more than the bounds of [`limit`](crate::limit).
//!
//! What each decoder does with what it meets:
//!
//! | payload | becomes |
//! |---|---|
//! | number | `f64`; a whole number beyond 2^53 keeps its digits as text too, however many |
//! | `true`, `false` | 1, 0 |
//! | `null`, or a text that is `nan`, `none` or `unavailable` in any case | no reading |
//! | other text | a text reading |
//! | bytes (CBOR) | a text reading, as base64url without padding (RFC 8949, section 6.1) |
//! | object | names joined with `.` |
//! | list of scalars or lists | `name.0`, `name.1`, … |
//! | list of objects | at the top, and where `channels` says: one sample each; elsewhere skipped, and counted in [`Decoded::objects_skipped`] |
//! | the same channel twice in one sample | the last one with a value wins |
//! | nothing at all, or `{}` | no sample, [`Notes::NO_READINGS`] (an empty payload is how MQTT clears a retained message) |
//!
//! The fields that carry time, id and device are taken out of the readings.

mod cayenne;
mod cbor;
pub(crate) mod collect;
mod error;
pub(crate) mod flatten;
pub(crate) mod json;
mod log;
mod number;
mod pick;
mod senml;
mod text;

use bitflags::bitflags;
use bytestring::ByteString;

pub(crate) use collect::keep_last;
pub use error::DecodeError;
pub(crate) use error::shown;
pub(crate) use pick::{pick, pick_cbor};

use crate::preset;
use crate::route::{Decoder, Route};
use crate::sparkplug::{self, Heard};
use crate::{ChannelName, Flags, Message, Names, Qos, Reading, Sample, Value};

bitflags! {
    /// What an operator should know of a route's messages; counted per route, not stored with readings.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Notes: u16 {
        /// A local time came and the route names no `zone`: the time of receipt was used.
        const ZONE_MISSING = 1;
        /// A text came as time that is none: the time of receipt was used.
        const TIME_UNREADABLE = 2;
        /// A local time came that occurs twice, in the hour that autumn repeats.
        const TIME_TWICE = 4;
        /// The message carries no reading.
        const NO_READINGS = 8;
        /// Objects inside lists were skipped: see [`Decoded::objects_skipped`].
        const OBJECTS_SKIPPED = 16;
        /// An uplink came whose payload its network server did not decode: it has no payload formatter.
        const NOT_FORMATTED = 32;
    }
}

/// What a message meant.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decoded {
    /// The samples, in the order of the payload; none is empty. Samples of one list that carry no time of their
    /// own share the time of receipt.
    pub samples: Vec<Sample>,
    /// What the operator should know.
    pub notes: Notes,
    /// Objects inside lists that are not at the top of the payload: not stored.
    pub objects_skipped: u32,
    /// Units that came with the payload; a channel occurs once.
    pub units: Vec<Unit>,
    /// How a repeat of what was cached is known.
    pub repeats: Repeats,
    /// What an edge node of Sparkplug said: whoever keeps the [`Sparkplug`](sparkplug::Sparkplug) state makes the samples.
    pub sparkplug: Option<Box<Heard>>,
}

/// The unit of a channel, as the payload tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The channel.
    pub channel: ChannelName,
    /// Its unit (UCUM), such as `Cel`.
    pub unit: ByteString,
}

/// Whether a sender says again what it has cached, and how that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Repeats {
    /// It does not: every sample stands.
    #[default]
    None,
    /// It does: a sample with a time of its own that is not newer than the newest of its device, and that says nothing
    /// new, is such a repeat. Who knows the device's newest time judges it.
    NotNewer,
}

impl Decoded {
    /// Readings of all samples.
    #[must_use]
    pub fn readings(&self) -> usize {
        self.samples.iter().map(|sample| sample.readings.len()).sum()
    }

    fn nothing() -> Self {
        Self { notes: Notes::NO_READINGS, ..Self::default() }
    }
}

/// Decodes `message` by `route`; see [`Route::decode`].
pub(crate) fn decode(route: &Route, message: &Message, names: &mut Names) -> Result<Decoded, DecodeError> {
    if route.decoder() == Decoder::Sparkplug {
        // An empty payload says something here: a death needs no metric.
        return sparkplug::decode(route, message, names);
    }
    if message.payload.is_empty() {
        return Ok(Decoded::nothing());
    }
    match route.decoder() {
        Decoder::Json => json::decode(route, message, names),
        Decoder::Senml => senml::decode(route, message, names),
        Decoder::Cbor => cbor::decode(route, message, names),
        Decoder::Cayenne => cayenne::decode(route, message, names),
        Decoder::Number => number::decode(route, message, names),
        Decoder::Text => text::decode(route, message, names),
        Decoder::Log => log::decode(route, message, names),
        Decoder::Raw | Decoder::Sparkplug => Ok(Decoded::default()),
        Decoder::Preset(part) => preset::decode(part, route, message, names),
    }
}

/// The one reading of a payload that is a single value. Its channel is the topic's last level; its time that of
/// receipt.
fn single(
    route: &Route,
    message: &Message,
    names: &mut Names,
    channel: ChannelName,
    value: Option<Value>,
) -> Result<Decoded, DecodeError> {
    let Some(value) = value else { return Ok(Decoded::nothing()) };
    let device = route
        .device_of(&message.topic, &message.origin, names)
        .ok_or_else(|| DecodeError::NoDevice { rule: route.device_rule().to_string() })?;
    let flags = flags(Flags::RECEIPT_TIME, message, false);
    let readings = vec![Reading { channel, value }];
    let samples = vec![Sample { device, time: message.received_at, flags, readings }];
    Ok(Decoded { samples, ..Decoded::default() })
}

/// The channel of a payload that is a single value: the last level of the topic, as the route renames it; `None` when
/// the route ignores it.
fn last_level(
    route: &Route,
    message: &Message,
    names: &mut Names,
) -> Result<Option<ChannelName>, DecodeError> {
    let level = message.topic.rsplit('/').next().unwrap_or_default();
    let name = match route.naming() {
        None => level.into(),
        Some(naming) => match naming.channel(level) {
            Some(name) => name,
            None => return Ok(None),
        },
    };
    let made = names.channel(&name).map(Some);
    made.map_err(|source| DecodeError::ChannelName { field: error::shown(level), source })
}

/// Bytes as text: base64 with the alphabet for URLs and without padding (RFC 4648, section 5).
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..=chunk.len() {
            let index = group >> (18 - 6 * n) & 63;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

/// Adds to what the time tells whether a retry of the message would be a second reading: when the receipt gives
/// the time and nothing else tells the two apart.
pub(crate) fn flags(time: Flags, message: &Message, has_id: bool) -> Flags {
    let known_again = has_id || message.message_id.is_some() || message.qos == Qos::ExactlyOnce;
    if time.contains(Flags::RECEIPT_TIME) && !known_again { time | Flags::NO_IDENTITY } else { time }
}

/// Whether `text` is how devices write that there is no value.
fn is_no_value(text: &str) -> bool {
    ["nan", "none", "unavailable"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Every whole number up to here is its own `f64`: 2^53.
const EXACT_MAX: u64 = 1 << 53;

/// The value of a whole number: with its digits when it is beyond [`EXACT_MAX`].
pub(crate) fn whole(number: i128) -> Value {
    if number.unsigned_abs() <= u128::from(EXACT_MAX) {
        Value::Number(number as f64)
    } else {
        Value::BigInteger(number as f64, number.to_string().into())
    }
}

/// The value of a number that was written as `text`: with its digits when it is whole and beyond [`EXACT_MAX`].
fn written(text: &str, number: f64) -> Value {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit());
    // Above 2^53 every second number is lost, and 2^53 + 1 reads as 2^53: the digits decide.
    if number.abs() < EXACT_MAX as f64 || !is_whole || digits.parse().is_ok_and(|n: u64| n <= EXACT_MAX) {
        Value::Number(number)
    } else {
        Value::BigInteger(number, text.into())
    }
}
