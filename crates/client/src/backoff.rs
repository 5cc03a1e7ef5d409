//! How long to wait before the next attempt to connect.
//!
//! Doubling, with jitter: a thousand clients of one server that was restarted must not come back in one instant.
//! Pure: the dice are handed in.

use std::time::Duration;

/// The first pause: a server that was only restarted is back soon.
const FIRST: Duration = Duration::from_millis(50);
/// The longest pause: an operator who has repaired something does not wait long for it to be seen.
const LONGEST: Duration = Duration::from_secs(5);

/// The pauses of one loss of connection.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// Attempts so far.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The next pause: between half and all of 50 ms, 100 ms, 200 ms … 5 s, as `dice` falls.
    pub(crate) fn next(&mut self, dice: u64) -> Duration {
        let full = FIRST.saturating_mul(1 << self.attempts.min(16)).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        let half = full / 2;
        let span = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_micros(dice % span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_seconds_and_never_vanish() {
        let mut backoff = Backoff::default();
        let mut full = 50;
        for n in 0..40_u64 {
            let pause = backoff.next(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let longest = Duration::from_millis(full.min(5_000));
            assert!(pause >= longest / 2 && pause <= longest, "{pause:?} of {longest:?}");
            full = (full * 2).min(5_000);
        }
        assert_eq!(backoff.attempts(), 40);
    }
}
