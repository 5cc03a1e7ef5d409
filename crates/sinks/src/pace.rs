//! How long to wait before the next attempt.
//!
//! Not here: the waiting. The law: waits double up to a bound and are spread by chance, so that a receiver that comes back is not
//! met by everybody at once.

use std::time::Duration;

use host::Random;

use crate::Settings;

/// The longest wait that a receiver may ask for by `Retry-After`.
pub(crate) const ASKED_MAX: Duration = Duration::from_secs(3_600);

/// The wait after `attempts` failed ones: half of it certain, half of it by chance.
pub(crate) fn wait(settings: &Settings, attempts: u32, random: &dyn Random) -> Duration {
    let doubled = settings.retry_min.saturating_mul(1 << attempts.saturating_sub(1).min(20));
    let whole = doubled.min(settings.retry_max);
    // 53 bits: a fraction from 0 to below 1.
    let fraction = (random.number() >> 11) as f64 / (1_u64 << 53) as f64;
    whole.mul_f64(0.5 + fraction / 2.0)
}

#[cfg(test)]
mod tests {
    use host::sim::SimRandom;

    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_are_spread() {
        let settings = Settings::default();
        let random = SimRandom::new(1);
        let of = |attempts| wait(&settings, attempts, &random);
        for (attempts, whole_ms) in [(1, 500), (2, 1_000), (5, 8_000), (8, 60_000), (4_000, 60_000)] {
            let (low, high) = (Duration::from_millis(whole_ms / 2), Duration::from_millis(whole_ms));
            assert!((low..=high).contains(&of(attempts)), "{attempts}");
        }
        assert_ne!(of(9), of(9));
    }
}
