//! What to do about a message that no route matches: its topics as a pattern, and a route to paste.
//!
//! Guesses, for an operator to judge; nothing is decided by them. The law: what is suggested loads, and decodes the
//! sample it was made from.

use std::fmt::Write as _;

use crate::limit::TOPIC_LEVELS_MAX;
use crate::preset::PRESETS;
use crate::route::{Decoder, RouteSettings, Routes};
use crate::sparkplug::{NAMESPACE, Topic};
use crate::{Message, Names, Origin, TopicName};

/// A pattern for topics like the one seen, and a route for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// The topic with `+` for every level that looks like a name of one device or place: what such messages are
    /// counted under.
    pub pattern: String,
    /// A `[[route]]` for `godwit.toml`.
    pub toml: String,
}

/// Suggests a route for messages like the one with `payload` on `topic`: a preset where the topic is one that its
/// devices publish on, else a filter and how such payloads are read.
#[must_use]
pub fn suggest(topic: &str, payload: &[u8]) -> Suggestion {
    let pattern = pattern(topic);
    let message = message(topic, payload);
    if let Some(preset) = preset(&message) {
        // What only the owner knows stands there to be filled in.
        let zone = if preset == "tasmota" {
            "# zone = \"Europe/Berlin\"   # of the devices' local times\n"
        } else {
            ""
        };
        return Suggestion { pattern, toml: format!("[[route]]\npreset = \"{preset}\"\n{zone}") };
    }
    if is_sparkplug(&message) {
        let toml = format!("[[route]]\nfilter = \"{NAMESPACE}/#\"\ndecode = \"sparkplug\"\n");
        return Suggestion { pattern, toml };
    }
    let device = device(&pattern);
    let name = decoder(&message).name();
    let toml =
        format!("[[route]]\nfilter = {}\ndevice = \"{device}\"\ndecode = \"{name}\"\n", quoted(&pattern));
    Suggestion { pattern, toml }
}

/// The preset whose topics the message's is one of, and which reads its payload.
fn preset(message: &Message) -> Option<&'static str> {
    let mut names = Names::new();
    PRESETS.iter().map(|preset| preset.name).find(|name| {
        let settings = RouteSettings { preset: Some((*name).to_owned()), ..RouteSettings::default() };
        let routes = Routes::new(&[settings]).expect("a preset is right");
        // The default route, which ends every list, is none of the preset's.
        let found = routes.find(&message.topic).filter(|route| route.filter().as_str() != "dt/+/#");
        // What other systems say on topics that a preset puts aside is no sign of its devices.
        let is_foreign = message.topic.starts_with("homeassistant/");
        found.is_some_and(|route| !is_foreign && route.decode(message, &mut names).is_ok())
    })
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

/// The first decoder that takes the payload. Formats that any bytes could be by chance (Cayenne) are never guessed.
fn decoder(message: &Message) -> Decoder {
    let mut names = Names::new();
    let mut readings = |decode: Decoder| {
        let decode = Some(decode.name().to_owned());
        let settings = RouteSettings { filter: "#".to_owned(), decode, ..RouteSettings::default() };
        let routes = Routes::new(&[settings]).expect("the trial route is right");
        let decoded = routes.find(&message.topic)?.decode(message, &mut names).ok()?;
        Some(decoded.readings())
    };
    let payload: &[u8] = &message.payload;
    let is_list = payload.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    // A list of CBOR starts with these bytes, a map with those (RFC 8949, section 3.1).
    let (is_cbor_list, is_cbor_map) =
        (matches!(payload.first(), Some(0x80..=0x9f)), matches!(payload.first(), Some(0xa0..=0xbf)));
    if (is_list || is_cbor_list) && readings(Decoder::Senml).is_some_and(|count| count > 0) {
        Decoder::Senml
    } else if readings(Decoder::Json).is_some() {
        Decoder::Json
    } else if readings(Decoder::Number).is_some() {
        Decoder::Number
    } else if is_readable(payload) && readings(Decoder::Text).is_some() {
        Decoder::Text
    } else if (is_cbor_map || is_cbor_list) && readings(Decoder::Cbor).is_some_and(|count| count > 0) {
        Decoder::Cbor
    } else {
        Decoder::Raw
    }
}

/// Whether the message is Sparkplug's, and reads as that.
fn is_sparkplug(message: &Message) -> bool {
    let is_read = || {
        let decode = Some("sparkplug".to_owned());
        let settings = RouteSettings { filter: format!("{NAMESPACE}/#"), decode, ..RouteSettings::default() };
        let routes = Routes::new(&[settings]).expect("the trial route is right");
        routes.find(&message.topic).is_some_and(|route| route.decode(message, &mut Names::new()).is_ok())
    };
    Topic::parse(&message.topic).is_some() && is_read()
}

/// A message to try decoders on.
fn message(topic: &str, payload: &[u8]) -> Message {
    let origin = Origin { client_id: "unrouted".into(), ..Origin::inside(0) };
    let topic = TopicName::parse(topic).unwrap_or_else(|_| TopicName::parse("unrouted").expect("a topic"));
    Message::new(topic, payload.to_vec(), origin)
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
