//! A clock that stands still until a test moves it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use model::Timestamp;

use crate::Clock;

/// 2026-01-01T00:00:00Z: a day on which nothing happens.
const START_MICROS: i64 = 1_767_225_600_000_000;

/// Tells the time that the test set.
pub struct SimClock {
    wall: AtomicI64,
    mono: AtomicU64,
}

impl SimClock {
    /// A clock at 2026-01-01T00:00:00Z, its monotonic side at zero.
    #[must_use]
    pub fn new() -> Self {
        Self { wall: AtomicI64::new(START_MICROS), mono: AtomicU64::new(0) }
    }

    /// Lets time pass, on both sides of the clock.
    pub fn advance(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.wall.fetch_add(i64::try_from(micros).unwrap_or(i64::MAX), Ordering::SeqCst);
        self.mono.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets the wall clock, as an operator or NTP does; it may go back. The monotonic side does not notice.
    pub fn set(&self, now: Timestamp) {
        self.wall.store(now.micros(), Ordering::SeqCst);
    }
}

impl Default for SimClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.wall.load(Ordering::SeqCst))
    }

    fn mono_micros(&self) -> u64 {
        self.mono.load(Ordering::SeqCst)
    }
}
