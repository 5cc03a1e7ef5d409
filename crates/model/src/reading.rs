//! What a message meant: readings, and the sample they form.

use bitflags::bitflags;
use bytestring::ByteString;

use crate::{ChannelName, DeviceName, Timestamp};

bitflags! {
    /// What is unusual about the readings of a sample. The bits are stored: their numbers never change.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Flags: u16 {
        /// The device sent no time; the time of receipt was used.
        const RECEIPT_TIME = 1;
        /// The device sent a time that cannot be true; the time of receipt was used.
        const IMPLAUSIBLE_TIME = 2;
        /// It came later than its neighbours in time.
        const LATE = 4;
        /// The device's clock had just stepped backwards.
        const CLOCK_STEP = 8;
        /// Neither device time nor id nor QoS 2: a retry may be a second reading.
        const NO_IDENTITY = 16;
        /// The device may have sent a value it had cached.
        const POSSIBLY_CACHED = 32;
        /// The value is below the channel's `min` or above its `max`.
        const OUT_OF_RANGE = 64;
    }
}

/// What was measured: a number, a text, or an integer too large for a number, as both.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A finite number. Booleans are 1 and 0.
    Number(f64),
    /// A text.
    Text(ByteString),
    /// An integer beyond 2^53: the nearest number, and its digits.
    BigInteger(f64, ByteString),
}

impl Value {
    /// The value as a number, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) | Self::BigInteger(number, _) => Some(*number),
            Self::Text(_) => None,
        }
    }

    /// The value as text, if it has one.
    #[must_use]
    pub fn text(&self) -> Option<&ByteString> {
        match self {
            Self::Number(_) => None,
            Self::Text(text) | Self::BigInteger(_, text) => Some(text),
        }
    }
}

/// One measurement of a sample: what was measured, and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What was measured.
    pub channel: ChannelName,
    /// Its value.
    pub value: Value,
}

/// The readings that one message carried for one device and one time. Its identity is (device, channel, time)
/// per reading: a repeat changes nothing, a different value replaces.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Whose readings these are.
    pub device: DeviceName,
    /// When they were measured: the device's own time when it has a plausible one, else the time of receipt.
    pub time: Timestamp,
    /// What is unusual about them.
    pub flags: Flags,
    /// At most [`MESSAGE_READINGS_MAX`](crate::limit::MESSAGE_READINGS_MAX) readings; a channel occurs once.
    pub readings: Vec<Reading>,
}
