//! What the messages carry: always as long as their template says.
//!
//! Fillers, readings as JSON, and stamps by which a subscriber knows who sent a message and when.

use std::sync::Arc;

use bytes::Bytes;
use host::Clock;
use model::{Qos, TopicName};
use mqtt::{Delivery, PublishTemplate, Version};

/// How far before now the readings of `--json-readings` start, in milliseconds: a millisecond a message and device
/// must not overtake the clock.
const READINGS_START_MS: i64 = 3_600_000;

/// A stamp: the publisher's number and the time by the generator's monotonic clock.
pub(super) const STAMP_BYTES: usize = 12;

/// What each message of one publisher carries.
pub(super) struct Payload {
    pub(super) bytes: Vec<u8>,
    changes: Changes,
}

enum Changes {
    /// Nothing.
    Never,
    /// The time of the next reading in milliseconds.
    Reading(u64),
    /// The time of sending.
    Stamp,
}

impl Payload {
    /// Letters.
    pub(super) fn filler(bytes: usize) -> Self {
        Self { bytes: (0..bytes).map(|n| b'a' + (n % 26) as u8).collect(), changes: Changes::Never }
    }

    /// A stamp, and letters behind it; never less than the stamp.
    pub(super) fn stamped(bytes: usize, publisher: u32) -> Self {
        let mut filler = Self::filler(bytes.max(STAMP_BYTES));
        filler.bytes[..4].copy_from_slice(&publisher.to_be_bytes());
        Self { changes: Changes::Stamp, ..filler }
    }

    /// One JSON reading, a millisecond after the one before.
    pub(super) fn readings(clock: &Arc<dyn Clock>) -> Self {
        let now_ms = clock.now().micros() / 1000;
        let next_ms = u64::try_from(now_ms - READINGS_START_MS).unwrap_or(0);
        let bytes = b"{\"ts\":0000000000000,\"temperature\":20.00}".to_vec();
        Self { bytes, changes: Changes::Reading(next_ms) }
    }

    /// Makes the next one, sent at `now_micros`. A reading is a hundredth of a degree further every sixteenth time.
    pub(super) fn advance(&mut self, now_micros: u64) {
        match &mut self.changes {
            Changes::Never => {}
            Changes::Stamp => self.bytes[4..STAMP_BYTES].copy_from_slice(&now_micros.to_be_bytes()),
            Changes::Reading(ms) => {
                digits(*ms, &mut self.bytes[6..19]);
                let hundredths = *ms / 16 % 1000;
                digits(hundredths / 100, &mut self.bytes[35..36]);
                digits(hundredths % 100, &mut self.bytes[37..39]);
                *ms += 1;
            }
        }
    }
}

/// Who sent a stamped payload, and when.
pub(super) fn stamp(payload: &Bytes) -> Option<(u32, u64)> {
    let publisher = payload.first_chunk::<4>()?;
    let time = payload.get(4..)?.first_chunk::<8>()?;
    Some((u32::from_be_bytes(*publisher), u64::from_be_bytes(*time)))
}

/// Writes the last digits of `number`, as many as there is room for.
fn digits(mut number: u64, into: &mut [u8]) {
    for digit in into.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// The packets of one publisher, encoded but for their ids and digits.
pub(super) struct Templates {
    pub(super) each: PublishTemplate,
    /// Of QoS 1: behind messages of QoS 0 its acknowledgement says that the server has read them all.
    pub(super) last: PublishTemplate,
}

impl Templates {
    pub(super) fn new(
        topic: &TopicName,
        payload: &Payload,
        qos: Qos,
        version: Version,
    ) -> Result<Self, mqtt::EncodeError> {
        let of = |qos| {
            let delivery = Delivery {
                topic,
                qos,
                retain: false,
                expiry_s: None,
                subscription_ids: &[],
                attached: None,
                payload: &Bytes::copy_from_slice(&payload.bytes),
            };
            PublishTemplate::new(&delivery, version)
        };
        Ok(Self { each: of(qos)?, last: of(Qos::AtLeastOnce)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_json_of_one_length_a_millisecond_apart() {
        let clock: Arc<dyn Clock> = Arc::new(host::SystemClock::start());
        let mut payload = Payload::readings(&clock);
        let length = payload.bytes.len();
        let mut last = None;
        for _ in 0..2_000 {
            payload.advance(0);
            assert_eq!(payload.bytes.len(), length);
            let value: serde_json::Value = serde_json::from_slice(&payload.bytes).expect("JSON");
            let ts = value["ts"].as_u64().expect("a time");
            assert!(last.is_none_or(|last| ts == last + 1));
            assert!((20.0..30.0).contains(&value["temperature"].as_f64().expect("a number")));
            last = Some(ts);
        }
    }

    #[test]
    fn a_stamp_comes_back_as_it_was_set() {
        let mut payload = Payload::stamped(0, 7);
        payload.advance(1_234_567_890_123);
        assert_eq!(stamp(&Bytes::from(payload.bytes)), Some((7, 1_234_567_890_123)));
        assert_eq!(stamp(&Bytes::from_static(b"short")), None);
    }
}
