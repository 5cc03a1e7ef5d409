//! MQTT topic names and filters as values that were checked (MQTT 5.0, section 4.7).

use std::fmt;
use std::ops::Deref;

use bytestring::ByteString;

use crate::limit::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX};

/// Why a text is no topic name or filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// The text is empty.
    #[error("a topic must have at least one character")]
    Empty,
    /// The text is longer than an MQTT string can be.
    #[error("topic is {bytes} bytes; the most is {TOPIC_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// More levels than Godwit takes.
    #[error("topic has {levels} levels; the most is {TOPIC_LEVELS_MAX}")]
    TooDeep {
        /// Its levels.
        levels: usize,
    },
    /// The text has the character U+0000.
    #[error("a topic must not have the character U+0000")]
    Nul,
    /// A wildcard in a topic name.
    #[error("topic `{0}` has a wildcard; `+` and `#` are for subscriptions only")]
    WildcardInName(String),
    /// A `#` that is not the whole last level, or a `+` that is not a whole level.
    #[error("filter `{0}` is malformed: `+` must be a whole level and `#` the whole last level")]
    MalformedFilter(String),
}

/// A topic that messages are published to. Cheap to clone; may share a network buffer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(ByteString);

impl TopicName {
    /// Checks `text` and makes a topic name of it (MQTT 5.0, sections 3.3.2.1 and 4.7.3).
    ///
    /// # Errors
    /// [`TopicError`] names what is wrong.
    pub fn parse(text: impl Into<ByteString>) -> Result<Self, TopicError> {
        let text = text.into();
        let mut levels = 1;
        // One pass over the bytes: this stands on the path of every message.
        for byte in text.as_bytes() {
            match byte {
                b'/' => levels += 1,
                b'+' | b'#' => return Err(TopicError::WildcardInName(text.to_string())),
                0 => return Err(TopicError::Nul),
                _ => {}
            }
        }
        bounded(&text, levels)?;
        Ok(Self(text))
    }

    /// The topic as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The level at `position`, counted from 1 as `topic(n)` of a route and a rule counts.
    #[must_use]
    pub fn level(&self, position: usize) -> Option<&str> {
        self.0.split('/').nth(position.checked_sub(1)?)
    }

    /// The shared bytes under the text.
    #[must_use]
    pub fn into_inner(self) -> ByteString {
        self.0
    }
}

/// A pattern of topics: `+` stands for one level, `#` for the rest. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(ByteString);

impl TopicFilter {
    /// Checks `text` and makes a filter of it (MQTT 5.0, section 4.7.1). A `$share/…` filter is not
    /// taken apart here: the broker does that before.
    ///
    /// # Errors
    /// [`TopicError`] names what is wrong.
    pub fn parse(text: impl Into<ByteString>) -> Result<Self, TopicError> {
        let text = text.into();
        if text.contains('\0') {
            return Err(TopicError::Nul);
        }
        let levels = text.split('/').count();
        bounded(&text, levels)?;
        let well_formed = text.split('/').enumerate().all(|(n, level)| match level {
            "+" => true,
            "#" => n + 1 == levels,
            _ => !level.contains(['+', '#']),
        });
        if well_formed { Ok(Self(text)) } else { Err(TopicError::MalformedFilter(text.to_string())) }
    }

    /// The filter as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this filter matches `topic`. A filter that starts with a wildcard does not match a topic
    /// that starts with `$` (MQTT 5.0, section 4.7.2); `a/#` matches `a` too (section 4.7.1.2).
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut filter = self.0.split('/');
        let mut topic = topic.split('/');
        loop {
            match (filter.next(), topic.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(wanted), Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
    }
}

fn bounded(text: &str, levels: usize) -> Result<(), TopicError> {
    match text.len() {
        0 => Err(TopicError::Empty),
        bytes if bytes > TOPIC_BYTES_MAX => Err(TopicError::TooLong { bytes }),
        _ if levels > TOPIC_LEVELS_MAX => Err(TopicError::TooDeep { levels }),
        _ => Ok(()),
    }
}

macro_rules! reads_as_text {
    ($($name:ident),*) => {$(
        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                self.as_str()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }
    )*};
}
reads_as_text!(TopicName, TopicFilter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        let check = |filter: &str, topic: &str, expect: bool| {
            let filter = TopicFilter::parse(filter).expect("a filter");
            assert_eq!(filter.matches(topic), expect, "{filter} on {topic}");
        };
        check("dt/+/climate", "dt/office-1/climate", true);
        check("dt/+/climate", "dt/office-1/climate/raw", false);
        check("dt/#", "dt", true);
        check("dt/#", "dt/a/b", true);
        check("#", "$SYS/broker", false);
        check("+/broker", "$SYS/broker", false);
        check("$SYS/#", "$SYS/broker", true);
        check("a/+", "a/", true);
        check("a/+", "a", false);
        check("+", "/a", false);
        check("/+", "/a", true);
        check("+/+", "/a", true);
    }

    #[test]
    fn malformed_filters_and_names_are_refused() {
        for text in ["", "a/#/b", "a+", "a/b#", "#a", "a\0b"] {
            assert!(TopicFilter::parse(text).is_err(), "{text:?}");
        }
        for text in ["", "a/+", "#", "a\0"] {
            assert!(TopicName::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(
            TopicName::parse("/".repeat(128)).unwrap_err().to_string(),
            "topic has 129 levels; the most is 128"
        );
    }
}
