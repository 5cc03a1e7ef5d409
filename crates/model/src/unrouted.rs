//! What to do about a message that no route matches: its topics as a pattern, and a route to paste.
//!
//! Guesses, for an operator to judge; nothing is decided by them. The law: what is suggested loads, and decodes the
//! sample it was made from.

use std::fmt::Write as _;

use crate::limit::TOPIC_LEVELS_MAX;
use crate::route::{Decoder, RouteSettings, Routes};
use crate::{Lane, Message, Names, Origin, Qos, Timestamp, TopicName};

/// A pattern for topics like the one seen, and a route for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// The topic with `+` for every level that looks like a name of one device or place: what such messages are
    /// counted under.
    pub pattern: String,
    /// A `[[route]]` for `godwit.toml`.
    pub toml: String,
}

/// Suggests a route for messages like the one with `payload` on `topic`.
#[must_use]
pub fn suggest(topic: &str, payload: &[u8]) -> Suggestion {
    let pattern = pattern(topic);
    let device = device(&pattern);
    let decoder = decoder(topic, payload);
    let name = match decoder {
        Decoder::Json => "json",
        Decoder::Number => "number",
        Decoder::Text => "text",
        Decoder::Raw => "raw",
    };
    let toml =
        format!("[[route]]\nfilter = {}\ndevice = \"{device}\"\ndecode = \"{name}\"\n", quoted(&pattern));
    Suggestion { pattern, toml }
}

/// `topic` with `+` in place of every level that looks like an id or a number: a few patterns for many devices.
#[must_use]
pub fn pattern(topic: &str) -> String {
    let levels = topic.split('/').map(|level| if looks_like_id(level) { "+" } else { level });
    let mut pattern = String::with_capacity(topic.len());
    for (n, level) in levels.enumerate().take(TOPIC_LEVELS_MAX) {
        if n > 0 {
            pattern.push('/');
        }
        pattern.push_str(level);
    }
    pattern
}

/// Whether a level names one of many: `17`, `office-1`, `tasmota_4F2A10`, `AA:BB:CC:00:11:22`, a UUID. What has a
/// digit as part of a word (`co2`, `v1`, `zigbee2mqtt`) does not.
fn looks_like_id(level: &str) -> bool {
    let has_digit = |part: &str| part.bytes().any(|byte| byte.is_ascii_digit());
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let digits = level.bytes().filter(u8::is_ascii_digit).count();
    if digits >= 4 || is_number(level) || (level.len() >= 6 && digits > 0 && is_hex(level)) {
        return true;
    }
    let mut parts = level.split(['-', '_', ':', '.', ' ']);
    // The first part alone is a word: `co2` is none of many, `co2-1` is.
    parts.next();
    parts.any(|part| is_number(part) || (part.len() >= 2 && has_digit(part) && is_hex(part)))
}

fn device(pattern: &str) -> String {
    let places: Vec<usize> =
        (1..).zip(pattern.split('/')).filter(|(_, level)| *level == "+").map(|(n, _)| n).collect();
    match places.as_slice() {
        [] => "connection".to_owned(),
        [only] => format!("topic({only})"),
        many => many.iter().map(|n| format!("{{topic({n})}}")).collect::<Vec<_>>().join("-"),
    }
}

/// The first decoder that takes the payload.
fn decoder(topic: &str, payload: &[u8]) -> Decoder {
    let message = message(topic, payload);
    let mut names = Names::new();
    let mut takes = |decode: &str| {
        let decode = Some(decode.to_owned());
        let settings = RouteSettings { filter: "#".to_owned(), decode, ..RouteSettings::default() };
        let routes = Routes::new(&[settings]).expect("the trial route is right");
        routes.find(&message.topic).is_some_and(|route| route.decode(&message, &mut names).is_ok())
    };
    if takes("json") {
        Decoder::Json
    } else if takes("number") {
        Decoder::Number
    } else if is_readable(payload) && takes("text") {
        Decoder::Text
    } else {
        Decoder::Raw
    }
}

/// A message to try decoders on.
fn message(topic: &str, payload: &[u8]) -> Message {
    let origin = Origin { client_id: "unrouted".into(), ..Origin::inside(0) };
    Message {
        topic: TopicName::parse(topic).unwrap_or_else(|_| TopicName::parse("unrouted").expect("a topic")),
        payload: payload.to_vec().into(),
        qos: Qos::AtMostOnce,
        retain: false,
        dup: false,
        lane: Lane::Telemetry,
        packet_id: 0,
        expiry_s: None,
        received_at: Timestamp::default(),
        received_mono: 0,
        properties: None,
        message_id: None,
        trace_id: None,
        to: None,
        origin: origin.into(),
    }
}

/// Whether a text is for people: no control characters but white space.
fn is_readable(payload: &[u8]) -> bool {
    let readable = |c: char| !c.is_control() || c.is_whitespace();
    std::str::from_utf8(payload).is_ok_and(|text| text.chars().all(readable))
}

/// `text` as a basic string of TOML 1.0.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Writing to a `String` does not fail.
            c if c.is_control() => drop(write!(out, "\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
