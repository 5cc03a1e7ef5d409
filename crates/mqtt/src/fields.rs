//! A cursor over the body of one packet: takes one field after the other off the front, shares their bytes, and
//! knows what to say when one is wrong.

use bytes::{Buf, Bytes};
use bytestring::ByteString;
use model::{TopicError, TopicName};

use crate::error::DecodeError;
use crate::limit::Limits;
use crate::packet::PacketType;
use crate::reason::Reason;
use crate::rule::Rule;
use crate::version::{Side, Version};

/// Longest detail of an error in characters: enough to find the client, too little to fill a log.
const DETAIL_CHARS_MAX: usize = 160;

/// What is left of the body of one packet.
pub(crate) struct Fields<'a> {
    pub(crate) rest: Bytes,
    pub(crate) packet: PacketType,
    /// The lower half of the first byte.
    pub(crate) flags: u8,
    pub(crate) version: Version,
    /// Who reads.
    pub(crate) side: Side,
    pub(crate) limits: &'a Limits,
}

impl Fields<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Who wrote the packet.
    pub(crate) fn sender(&self) -> Side {
        match self.side {
            Side::Server => Side::Client,
            Side::Client => Side::Server,
        }
    }

    #[cold]
    pub(crate) fn error(&self, rule: Rule) -> DecodeError {
        DecodeError {
            packet: Some(self.packet),
            rule,
            version: Some(self.version),
            detail: None,
            bridge: None,
        }
    }

    #[cold]
    pub(crate) fn error_with(&self, rule: Rule, detail: String) -> DecodeError {
        DecodeError { detail: Some(shown(&detail)), ..self.error(rule) }
    }

    /// Refuses bytes behind the last field.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(self.error_with(Rule::Trailing, format!("{bytes} of them"))),
        }
    }

    fn need(&self, bytes: usize) -> Result<(), DecodeError> {
        if self.rest.len() < bytes { Err(self.error(Rule::Short)) } else { Ok(()) }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.need(1)?;
        Ok(self.rest.get_u8())
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.need(2)?;
        Ok(self.rest.get_u16())
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.need(4)?;
        Ok(self.rest.get_u32())
    }

    /// A Variable Byte Integer (MQTT 5.0, section 1.5.5).
    pub(crate) fn varint(&mut self) -> Result<usize, DecodeError> {
        match varint(&self.rest) {
            Varint::Value { value, bytes, minimal: true } => {
                self.rest.advance(bytes);
                Ok(value)
            }
            Varint::Value { minimal: false, .. } => Err(self.error(Rule::LengthNotMinimal)),
            Varint::Incomplete => Err(self.error(Rule::Short)),
            Varint::TooLong => Err(self.error(Rule::LengthMalformed)),
        }
    }

    /// Binary data (MQTT 5.0, section 1.5.6).
    pub(crate) fn binary(&mut self) -> Result<Bytes, DecodeError> {
        let bytes = usize::from(self.u16()?);
        self.need(bytes)?;
        // An empty field pins no buffer.
        Ok(if bytes == 0 { Bytes::new() } else { self.rest.split_to(bytes) })
    }

    /// A UTF-8 text of which U+0000 is still to be refused: topics and filters look for it themselves.
    pub(crate) fn text_unchecked_for_nul(&mut self) -> Result<ByteString, DecodeError> {
        let bytes = self.binary()?;
        ByteString::try_from(bytes).map_err(|_| self.error(Rule::TextNotUtf8))
    }

    /// A UTF-8 text (MQTT 5.0, section 1.5.4).
    pub(crate) fn text(&mut self) -> Result<ByteString, DecodeError> {
        let text = self.text_unchecked_for_nul()?;
        if text.as_bytes().contains(&0) { Err(self.error(Rule::TextNul)) } else { Ok(text) }
    }

    /// Makes a topic name of a text (MQTT 5.0, section 4.7).
    pub(crate) fn topic(&self, text: ByteString) -> Result<TopicName, DecodeError> {
        TopicName::parse(text).map_err(|error| {
            let rule = match error {
                TopicError::Empty => Rule::TopicEmpty,
                TopicError::Nul => Rule::TextNul,
                TopicError::TooDeep { .. } | TopicError::TooLong { .. } => Rule::TopicTooDeep,
                TopicError::WildcardInName(_) | TopicError::MalformedFilter(_) => Rule::TopicWildcard,
            };
            self.error_with(rule, error.to_string())
        })
    }

    /// A packet id, which is never 0 (MQTT 5.0, section 2.2.1).
    pub(crate) fn packet_id(&mut self) -> Result<u16, DecodeError> {
        match self.u16()? {
            0 => Err(self.error(Rule::PacketIdZero)),
            id => Ok(id),
        }
    }

    /// Makes a reason of a code that this packet may carry.
    pub(crate) fn reason(&self, code: u8) -> Result<Reason, DecodeError> {
        Reason::from_u8(code)
            .filter(|reason| reason.is_allowed_in(self.packet, self.sender()))
            .ok_or_else(|| self.error_with(Rule::ReasonNotAllowed, format!("0x{code:02x}")))
    }

    /// The section of properties, without its length (MQTT 5.0, section 2.2.2.1).
    pub(crate) fn property_section(&mut self) -> Result<Self, DecodeError> {
        let bytes = self.varint()?;
        if bytes > self.rest.len() {
            return Err(self.error(Rule::PropertyOverrun));
        }
        Ok(Self { rest: self.rest.split_to(bytes), ..*self })
    }
}

/// What a stranger sent, fit for a log line: bounded, and without control characters.
fn shown(detail: &str) -> Box<str> {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    detail.chars().take(DETAIL_CHARS_MAX).map(escaped).collect::<String>().into()
}

/// What stands at the front of a slice that should start with a Variable Byte Integer.
pub(crate) enum Varint {
    /// The number, how many bytes it takes, and whether it could not be written with fewer.
    Value { value: usize, bytes: usize, minimal: bool },
    /// More bytes are needed.
    Incomplete,
    /// The fourth byte says that a fifth follows.
    TooLong,
}

/// Reads a Variable Byte Integer (MQTT 5.0, section 1.5.5) without taking it.
pub(crate) fn varint(src: &[u8]) -> Varint {
    let mut value = 0;
    for (n, &byte) in src.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * n);
        if byte & 0x80 == 0 {
            return Varint::Value { value, bytes: n + 1, minimal: n == 0 || byte != 0 };
        }
    }
    if src.len() < 4 { Varint::Incomplete } else { Varint::TooLong }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_byte_integers_are_read_as_the_standard_says() {
        let check = |src: &[u8], expect: Result<(usize, usize, bool), bool>| {
            let got = match varint(src) {
                Varint::Value { value, bytes, minimal } => Ok((value, bytes, minimal)),
                Varint::Incomplete => Err(true),
                Varint::TooLong => Err(false),
            };
            assert_eq!(got, expect, "{src:02x?}");
        };
        check(&[0x00], Ok((0, 1, true)));
        check(&[0x7F, 0xFF], Ok((127, 1, true)));
        check(&[0x80, 0x01], Ok((128, 2, true)));
        check(&[0xFF, 0x7F], Ok((16_383, 2, true)));
        check(&[0x80, 0x80, 0x01], Ok((16_384, 3, true)));
        check(&[0xFF, 0xFF, 0x7F], Ok((2_097_151, 3, true)));
        check(&[0x80, 0x80, 0x80, 0x01], Ok((2_097_152, 4, true)));
        check(&[0xFF, 0xFF, 0xFF, 0x7F], Ok((268_435_455, 4, true)));
        check(&[0x80, 0x00], Ok((0, 2, false)));
        check(&[], Err(true));
        check(&[0xFF, 0xFF, 0xFF], Err(true));
        check(&[0xFF, 0xFF, 0xFF, 0xFF], Err(false));
    }
}
