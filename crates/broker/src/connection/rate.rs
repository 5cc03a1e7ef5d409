//! How much a client may publish in a second: a token bucket for messages and one for bytes.
//!
//! Pure: time comes in. The laws: QoS 1 and 2 over the rate are taken and then read more slowly, never refused and never a
//! reason to end the connection; QoS 0 over it is handed back to be counted; a client that was silent for a second has a
//! second's messages at once.

use std::time::Duration;

use model::Qos;

const SECOND_NANOS: u64 = 1_000_000_000;
const MICRO_NANOS: u64 = 1_000;

/// One bucket, as the moment at which it is full again: one number a connection, whatever the rate.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    full_at_nanos: u64,
}

impl Bucket {
    /// Takes `units` at `now_mono`, in microseconds, however many there are.
    pub(crate) fn take(&mut self, units: u64, per_second: u64, now_mono: u64) {
        let nanos = u128::from(units) * u128::from(SECOND_NANOS) / u128::from(per_second.max(1));
        let from = self.full_at_nanos.max(now_mono * MICRO_NANOS);
        self.full_at_nanos = from.saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX));
    }

    /// How long until something is in it again.
    pub(crate) fn wait(&self, now_mono: u64) -> Option<Duration> {
        let empty_until = self.full_at_nanos.saturating_sub(SECOND_NANOS);
        let nanos = empty_until.checked_sub(now_mono * MICRO_NANOS).filter(|nanos| *nanos > 0)?;
        Some(Duration::from_nanos(nanos))
    }
}

/// What one connection has published lately.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rate {
    messages: Bucket,
    bytes: Bucket,
}

/// What becomes of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is within the rate.
    Within,
    /// It is taken; the next is read after so long.
    Slowly(Duration),
    /// QoS 0, over the rate.
    Dropped,
}

impl Rate {
    /// Judges a publish of `bytes` bytes.
    pub(super) fn take(
        &mut self,
        qos: Qos,
        bytes: usize,
        messages_per_second: u32,
        bytes_per_second: u64,
        now_mono: u64,
    ) -> Taken {
        let is_over = self.wait(now_mono).is_some();
        if is_over && qos == Qos::AtMostOnce {
            return Taken::Dropped;
        }
        self.messages.take(1, messages_per_second.into(), now_mono);
        self.bytes.take(bytes as u64, bytes_per_second, now_mono);
        match self.wait(now_mono) {
            Some(wait) if qos != Qos::AtMostOnce => Taken::Slowly(wait),
            _ => Taken::Within,
        }
    }

    fn wait(&self, now_mono: u64) -> Option<Duration> {
        self.messages.wait(now_mono).max(self.bytes.wait(now_mono))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn qos_0_over_the_rate_is_dropped_and_qos_1_is_read_later() {
        let mut rate = Rate::default();
        let mut take = |qos, now_mono| rate.take(qos, 10, 100, 1_000_000, now_mono);
        for n in 0..100 {
            assert_eq!(take(Qos::AtMostOnce, 5_000_000), Taken::Within, "{n}");
        }
        let first_over = take(Qos::AtLeastOnce, 5_000_000);
        assert_eq!(first_over, Taken::Slowly(Duration::from_millis(10)), "a hundredth of a second each");
        assert_eq!(take(Qos::AtMostOnce, 5_000_000), Taken::Dropped);
        assert_eq!(take(Qos::AtLeastOnce, 5_000_000), Taken::Slowly(Duration::from_millis(20)));
        assert_eq!(take(Qos::AtMostOnce, 5_020_000), Taken::Within, "what was dropped cost nothing");
        assert_eq!(take(Qos::AtMostOnce, 60_000_000), Taken::Within);
    }

    #[test]
    fn bytes_are_counted_beside_messages() {
        let mut rate = Rate::default();
        let mut take = |bytes| rate.take(Qos::ExactlyOnce, bytes, 1_000_000, 1_000, 0);
        assert_eq!(take(1_000), Taken::Within);
        assert_eq!(take(500), Taken::Slowly(Duration::from_millis(500)));
    }

    proptest! {
        /// Over any time, at most the rate and one second's burst (and the one that empties the bucket).
        #[test]
        fn no_more_passes_than_the_rate_and_a_burst(
            per_second in 1..5_000_u32,
            gaps in prop::collection::vec(0..3_000_u64, 1..2_000),
        ) {
            let mut rate = Rate::default();
            let (mut now, mut passed) = (1_000_000, 0_u64);
            for gap in gaps {
                now += gap;
                passed += u64::from(rate.take(Qos::AtMostOnce, 0, per_second, u64::MAX, now) == Taken::Within);
            }
            let most = u64::from(per_second) * (now - 1_000_000) / 1_000_000 + u64::from(per_second) + 2;
            prop_assert!(passed <= most, "{} passed, {} may", passed, most);
        }
    }
}
