//! Why a message cannot be decoded: said shortly, naming the place, with a code to count by.

use crate::limit::{
    JSON_BYTES_MAX, JSON_DEPTH_MAX, MESSAGE_READINGS_MAX, NUMBER_BYTES_MAX, SPARKPLUG_METRICS_MAX,
    TEXT_BYTES_MAX,
};
use crate::{Kind, NameError};

/// Longest piece of a payload that an error repeats, in characters.
const SHOWN_CHARS_MAX: usize = 64;

/// Why a message cannot be decoded. It stays in the journal; nothing of it is half stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The payload is larger than a decoder takes.
    #[error("payload is {bytes} bytes; `decode = \"{decoder}\"` takes at most {bytes_max}")]
    TooLarge {
        /// Which decoder.
        decoder: &'static str,
        /// Its length.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The payload is no text.
    #[error("payload is not UTF-8 at byte {byte}")]
    NotUtf8 {
        /// The first byte that is wrong, counted from 0.
        byte: usize,
    },
    /// The payload is no JSON.
    #[error("payload is not JSON at line {line} column {column}{}: {reason}", near(field))]
    NotJson {
        /// Line, counted from 1.
        line: usize,
        /// Column in bytes, counted from 1; 0 before the first.
        column: usize,
        /// The field in or after which it goes wrong; empty before the first.
        field: String,
        /// What the parser says.
        reason: String,
    },
    /// The payload is JSON, but neither an object nor a list of objects.
    #[error("payload is {found}; readings come as an object or a list of objects")]
    NotAnObject {
        /// What it is.
        found: &'static str,
    },
    /// Nested too deeply.
    #[error("field `{field}` is nested deeper than {JSON_DEPTH_MAX} levels")]
    TooDeep {
        /// The field.
        field: String,
    },
    /// A number beyond what a 64-bit float holds.
    #[error("field `{field}` is not a finite number")]
    NotFinite {
        /// The field, or the channel where the payload is one number.
        field: String,
    },
    /// More readings than one message may carry.
    #[error("more than {MESSAGE_READINGS_MAX} readings; field `{field}` is one too many")]
    TooManyReadings {
        /// The first that is too many.
        field: String,
    },
    /// A text that is longer than a reading may be.
    #[error("field `{field}` is a text of {bytes} bytes; the most is {TEXT_BYTES_MAX}")]
    TextTooLong {
        /// The field, or the channel where the payload is one text.
        field: String,
        /// Its length.
        bytes: usize,
    },
    /// A field that cannot name a channel.
    #[error("field `{field}` cannot name a channel")]
    ChannelName {
        /// The field.
        field: String,
        /// Why.
        source: NameError,
    },
    /// The route's `device` finds none.
    #[error("no device: `{rule}` finds none here")]
    NoDevice {
        /// The route's `device`.
        rule: String,
    },
    /// The payload is no CBOR.
    #[error("payload is not CBOR at byte {byte}{}: {reason}", near(field))]
    NotCbor {
        /// Where it goes wrong, counted from 0.
        byte: usize,
        /// The field in or after which it goes wrong; empty before the first.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// The payload is no SenML.
    #[error("payload is not SenML{}: {reason}", record.map_or_else(String::new, |n| format!(" at record {n}")))]
    NotSenml {
        /// The record, counted from 1; `None` where it is not in a record.
        record: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// The payload is no Cayenne LPP.
    #[error("payload is not Cayenne LPP at byte {byte}: {reason}")]
    NotCayenne {
        /// Where it goes wrong, counted from 0.
        byte: usize,
        /// What is wrong.
        reason: String,
    },
    /// The payload is not what a device of the route's preset sends on such a topic.
    #[error("payload is not what devices of `{preset}` send here: {reason}")]
    NotOfPreset {
        /// The preset.
        preset: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The payload is not the one number that the route promises.
    #[error("payload `{text}` is not a number")]
    NotANumber {
        /// The payload, at most its first 64 characters.
        text: String,
    },
    /// The topic is none of Sparkplug's.
    #[error(
        "topic `{topic}` is not Sparkplug's: `spBv1.0/{{group}}/{{type}}/{{node}}`, a device's with one more level"
    )]
    SparkplugTopic {
        /// The topic, at most its first 64 characters.
        topic: String,
    },
    /// The payload is no Sparkplug B.
    #[error("payload is not Sparkplug B: {reason}")]
    NotSparkplug {
        /// What the parser says.
        reason: String,
    },
    /// More metrics than one message may carry.
    #[error("payload has {metrics} metrics; the most is {SPARKPLUG_METRICS_MAX}")]
    TooManyMetrics {
        /// How many.
        metrics: usize,
    },
}

impl DecodeError {
    /// Every code there is, so that a counter per reason is bounded.
    pub const SLUGS: [&'static str; 18] = [
        "decode.too_large",
        "decode.not_utf8",
        "decode.not_json",
        "decode.not_an_object",
        "decode.too_deep",
        "decode.not_finite",
        "decode.too_many_readings",
        "decode.text_too_long",
        "decode.channel_name",
        "decode.no_device",
        "decode.not_a_number",
        "decode.not_cbor",
        "decode.not_senml",
        "decode.not_cayenne",
        "decode.not_of_preset",
        "decode.sparkplug_topic",
        "decode.not_sparkplug",
        "decode.too_many_metrics",
    ];

    /// The code of the reason, one of [`Self::SLUGS`]; never reused for another.
    #[must_use]
    pub fn slug(&self) -> &'static str {
        Self::SLUGS[match self {
            Self::TooLarge { .. } => 0,
            Self::NotUtf8 { .. } => 1,
            Self::NotJson { .. } => 2,
            Self::NotAnObject { .. } => 3,
            Self::TooDeep { .. } => 4,
            Self::NotFinite { .. } => 5,
            Self::TooManyReadings { .. } => 6,
            Self::TextTooLong { .. } => 7,
            Self::ChannelName { .. } => 8,
            Self::NoDevice { .. } => 9,
            Self::NotANumber { .. } => 10,
            Self::NotCbor { .. } => 11,
            Self::NotSenml { .. } => 12,
            Self::NotCayenne { .. } => 13,
            Self::NotOfPreset { .. } => 14,
            Self::SparkplugTopic { .. } => 15,
            Self::NotSparkplug { .. } => 16,
            Self::TooManyMetrics { .. } => 17,
        }]
    }

    /// The same message will fail again until its sender or the route changes.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotJson { .. } | Self::NotUtf8 { .. } => {
                "if these payloads are no JSON, give the topic a route with `decode = \"number\"`, \"text\" or \"raw\""
            }
            Self::NotAnObject { found: "a number" | "a boolean" } => {
                "give the topic a route with `decode = \"number\"`"
            }
            Self::NotAnObject { found: "a text" } => "give the topic a route with `decode = \"text\"`",
            Self::NotANumber { .. } => {
                "give the topic a route with `decode = \"json\"` or `decode = \"text\"`"
            }
            Self::NotCbor { .. } | Self::NotSenml { .. } | Self::NotCayenne { .. } => {
                "if these payloads are something else, give the topic a route whose `decode` says what"
            }
            Self::NotOfPreset { .. } => {
                "put a route with its own `decode` for this topic before the one with `preset`"
            }
            Self::NoDevice { .. } => {
                "set `device` of the route to a level that every topic has, or to `connection`"
            }
            Self::TooManyReadings { .. } => "send the readings in several messages",
            Self::TooLarge { .. } => {
                "give the topic a route with `decode = \"raw\"` if these are no readings"
            }
            Self::NotSparkplug { .. } => {
                "if this is Sparkplug with compressed payloads, switch the compression off at the node"
            }
            Self::TooManyMetrics { .. } => {
                "divide the metrics over devices of the node: each has a birth of its own"
            }
            _ => return None,
        })
    }

    pub(super) fn too_large(decoder: &'static str, bytes: usize, bytes_max: usize) -> Self {
        Self::TooLarge { decoder, bytes, bytes_max }
    }

    pub(super) fn json_too_large(bytes: usize) -> Self {
        Self::TooLarge { decoder: "json", bytes, bytes_max: JSON_BYTES_MAX }
    }

    pub(super) fn number_too_large(bytes: usize) -> Self {
        Self::TooLarge { decoder: "number", bytes, bytes_max: NUMBER_BYTES_MAX }
    }
}

/// As much of a field's name, or of a payload, as an error repeats.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

fn near(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!(" near `{field}`") }
}
