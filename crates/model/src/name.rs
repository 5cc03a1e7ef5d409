//! Names of devices and channels: validated once, then trusted.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytestring::ByteString;

use crate::limit::{CHANNEL_NAME_BYTES_MAX, DEVICE_NAME_BYTES_MAX};

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("{what} is empty")]
    Empty {
        /// Which kind of name was asked for.
        what: &'static str,
    },
    /// The text is longer than the bound.
    #[error("{what} is {bytes} bytes; it must be 1 to {bytes_max} bytes")]
    TooLong {
        /// Which kind of name was asked for.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// A character that this kind of name may not have.
    #[error("{what} `{name}` has the character `{}`; {allowed}", character.escape_default())]
    Character {
        /// Which kind of name was asked for.
        what: &'static str,
        /// The text.
        name: String,
        /// The first character that is not allowed.
        character: char,
        /// What is allowed.
        allowed: &'static str,
    },
}

/// The name of a device: `[A-Za-z0-9:_-]{1,128}`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName(ByteString);

impl DeviceName {
    /// Checks `text` and makes a name of it.
    ///
    /// # Errors
    /// [`NameError`] names the bound or the character that is wrong.
    pub fn parse(text: impl Into<ByteString>) -> Result<Self, NameError> {
        let text = text.into();
        bounded("device name", &text, DEVICE_NAME_BYTES_MAX)?;
        match text.chars().find(|&c| !Self::allows(c)) {
            None => Ok(Self(text)),
            Some(character) => Err(NameError::Character {
                what: "device name",
                name: text.to_string(),
                character,
                allowed: "letters, digits, `:`, `_` and `-` are allowed",
            }),
        }
    }

    /// Makes a valid name of any text that came from a topic or payload: every character that is not
    /// allowed becomes `_`, and what exceeds the bound is cut. `None` for an empty text.
    ///
    /// Two different texts may become one name; a route that names its devices well avoids it.
    #[must_use]
    pub fn sanitize(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        if text.len() <= DEVICE_NAME_BYTES_MAX && text.chars().all(Self::allows) {
            return Some(Self(ByteString::from(text)));
        }
        let made: String =
            text.chars().take(DEVICE_NAME_BYTES_MAX).map(|c| if Self::allows(c) { c } else { '_' }).collect();
        Some(Self(ByteString::from(made)))
    }

    fn allows(c: char) -> bool {
        c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-')
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a channel: 1 to 256 bytes of UTF-8 without control characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(ByteString);

impl ChannelName {
    /// Checks `text` and makes a name of it.
    ///
    /// # Errors
    /// [`NameError`] names the bound or the character that is wrong.
    pub fn parse(text: impl Into<ByteString>) -> Result<Self, NameError> {
        let text = text.into();
        bounded("channel name", &text, CHANNEL_NAME_BYTES_MAX)?;
        match text.chars().find(|c| c.is_control()) {
            None => Ok(Self(text)),
            Some(character) => Err(NameError::Character {
                what: "channel name",
                name: text.to_string(),
                character,
                allowed: "control characters are not allowed",
            }),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn bounded(what: &'static str, text: &str, bytes_max: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty { what }),
        bytes if bytes > bytes_max => Err(NameError::TooLong { what, bytes, bytes_max }),
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
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
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
reads_as_text!(DeviceName, ChannelName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_name_is_checked() {
        let check = |text: &str, expect: Result<(), &str>| {
            let got = DeviceName::parse(text).map(drop).map_err(|e| e.to_string());
            assert_eq!(got, expect.map_err(str::to_owned), "{text:?}");
        };
        check("office-1", Ok(()));
        check("AA:BB:cc_9", Ok(()));
        check("", Err("device name is empty"));
        check(
            "room 3",
            Err("device name `room 3` has the character ` `; letters, digits, `:`, `_` and `-` are allowed"),
        );
        check(&"x".repeat(128), Ok(()));
        check(&"x".repeat(129), Err("device name is 129 bytes; it must be 1 to 128 bytes"));
    }

    #[test]
    fn a_text_from_a_topic_becomes_a_name() {
        let made = |text: &str| DeviceName::sanitize(text).map(|n| n.to_string());
        assert_eq!(made("Wohnzimmer Süd/1").as_deref(), Some("Wohnzimmer_S_d_1"));
        assert_eq!(made(&"é".repeat(200)).map(|n| n.len()), Some(128));
        assert_eq!(made(""), None);
    }

    #[test]
    fn a_channel_name_is_checked() {
        assert!(ChannelName::parse("energy.total").is_ok());
        assert!(ChannelName::parse("温度").is_ok());
        assert!(ChannelName::parse("a\u{0}b").is_err());
        assert!(ChannelName::parse("x".repeat(257)).is_err());
    }
}
