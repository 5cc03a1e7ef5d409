//! What a device's times tell of its clock: steps, lateness, offset. A fold over its samples in order of receipt.
//!
//! Here because two rooms need one answer; the state is kept by who stores the samples (`series`, one
//! [`DeviceClock`] per device, made anew from the newest stored time after a restart). It sees only times that the
//! device sent and that are plausible: a time of receipt tells nothing of the device's clock.
//!
//! The difficulty: a clock that was set back and a backlog that is sent late look alike at first. A clock goes on at
//! the pace of receipt; a backlog drains faster. The law: data late by a backlog is `LATE` and at most the first of
//! it is `CLOCK_STEP`; a recording that is replayed is never `CLOCK_STEP`, for its device was never on time.

use crate::limit::{CLOCK_AHEAD_MICROS_MAX, CLOCK_STEP_MICROS_MIN};
use crate::{Flags, Timestamp};

/// How long a clock must keep one pace with receipt before its offset is believed, in microseconds: 10 s.
const STEADY_MICROS_MIN: i64 = 10 * Timestamp::SECOND;
/// How long times that went back must keep the pace of a clock before they are the clock: 1 minute. Also how long
/// a backlog may pause before its next sample opens another.
const ADOPT_MICROS_MIN: i64 = 60 * Timestamp::SECOND;

/// What is known of one device's clock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceClock {
    newest: Option<Timestamp>,
    ahead: Option<Track>,
    behind: Option<Track>,
}

/// What one sample told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSeen {
    /// [`Flags::LATE`]: older than the newest sample of its device. [`Flags::CLOCK_STEP`]: the clock of a device
    /// that had been on time went back by more than 10 s. The caller adds them to the sample's flags.
    pub flags: Flags,
    /// Device time minus receipt in microseconds, once it has been steady for 10 s: the value of the channel
    /// `health.clock_offset`. Transmission makes it a little negative.
    pub offset_micros: Option<i64>,
}

/// Times that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Track {
    /// The newest device time on it, and when that came.
    time: Timestamp,
    received: Timestamp,
    /// Since when, and at which offset, it keeps the pace of receipt.
    steady_since: Timestamp,
    steady_offset: i64,
    /// Whether it was ever quicker than receipt.
    drained: bool,
}

impl DeviceClock {
    /// The clock of a device whose newest stored sample has the time `newest`: what is older is late.
    #[must_use]
    pub fn resume(newest: Timestamp) -> Self {
        Self { newest: Some(newest), ..Self::default() }
    }

    /// The newest time the device sent.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    /// Takes in one sample, in order of receipt: its plausible device time, and when it was received.
    pub fn observe(&mut self, device_time: Timestamp, received_at: Timestamp) -> ClockSeen {
        let late = self.newest.is_some_and(|newest| device_time < newest);
        self.newest = self.newest.max(Some(device_time));
        let mut flags = if late { Flags::LATE } else { Flags::empty() };

        let Some(ahead) = &mut self.ahead else {
            self.ahead = Some(Track::new(device_time, received_at));
            return ClockSeen { flags, offset_micros: None };
        };
        if ahead.continues(device_time) {
            let steady = ahead.go_on(device_time, received_at);
            let offset = device_time.micros_since(received_at);
            return ClockSeen { flags, offset_micros: (steady >= STEADY_MICROS_MIN).then_some(offset) };
        }

        let was_on_time = ahead.time.micros_since(ahead.received).saturating_abs() <= CLOCK_AHEAD_MICROS_MAX;
        match &mut self.behind {
            Some(behind) if received_at.micros_since(behind.received) <= ADOPT_MICROS_MIN => {
                let went_on = behind.continues(device_time);
                let steady = behind.go_on(device_time, received_at);
                if went_on && steady >= ADOPT_MICROS_MIN && ahead.received <= behind.steady_since {
                    // It is the clock now: what comes next is late or not by the new times.
                    self.newest = Some(behind.time);
                    self.ahead = self.behind.take();
                } else if went_on && was_on_time && !behind.drained {
                    flags |= Flags::CLOCK_STEP;
                }
            }
            _ => {
                self.behind = Some(Track::new(device_time, received_at));
                if was_on_time {
                    flags |= Flags::CLOCK_STEP;
                }
            }
        }
        ClockSeen { flags, offset_micros: None }
    }
}

impl Track {
    fn new(time: Timestamp, received: Timestamp) -> Self {
        let steady_offset = time.micros_since(received);
        Self { time, received, steady_since: received, steady_offset, drained: false }
    }

    /// Whether `time` is not so far back that it must belong to something else.
    fn continues(&self, time: Timestamp) -> bool {
        time.micros_since(self.time) >= -CLOCK_STEP_MICROS_MIN
    }

    /// Takes in a sample and says for how long, in microseconds, the pace has been that of a clock.
    fn go_on(&mut self, time: Timestamp, received: Timestamp) -> i64 {
        let offset = time.micros_since(received);
        let drift = offset.saturating_sub(self.steady_offset);
        if drift.saturating_abs() > CLOCK_STEP_MICROS_MIN {
            self.steady_since = received;
            self.steady_offset = offset;
            self.drained = true;
        }
        self.time = self.time.max(time);
        self.received = received;
        received.micros_since(self.steady_since)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds (device time, receipt) in seconds and writes one letter per sample: `.` nothing, `l` late,
    /// `s` late and a step.
    fn told(clock: &mut DeviceClock, samples: impl IntoIterator<Item = (i64, i64)>) -> String {
        let letter = |(time, received): (i64, i64)| {
            let moment = |s: i64| Timestamp::from_micros((1_790_000_000 + s) * Timestamp::SECOND);
            match clock.observe(moment(time), moment(received)).flags {
                flags if flags == Flags::LATE | Flags::CLOCK_STEP => 's',
                Flags::LATE => 'l',
                flags if flags.is_empty() => '.',
                other => panic!("{other:?} without LATE"),
            }
        };
        samples.into_iter().map(letter).collect()
    }

    #[test]
    fn a_clock_that_goes_on_is_quiet() {
        let mut clock = DeviceClock::default();
        assert_eq!(told(&mut clock, (0..20).map(|n| (n, n + 1))), ".".repeat(20));
    }

    #[test]
    fn small_overtaking_is_late_and_no_step() {
        assert_eq!(told(&mut DeviceClock::default(), [(0, 0), (5, 5), (3, 6), (7, 7)]), "..l.");
    }

    #[test]
    fn a_clock_set_back_flags_its_readings_until_it_is_the_clock() {
        let mut clock = DeviceClock::default();
        assert_eq!(told(&mut clock, [(0, 0), (30, 30)]), "..");
        // Set back by an hour; a sample each 20 s.
        let back = (2..=8).map(|n| (n * 20 - 3_600, n * 20));
        assert_eq!(told(&mut clock, back), "sssl...");
    }

    #[test]
    fn a_backlog_after_a_live_sample_is_late_and_at_most_its_start_is_a_step() {
        let mut clock = DeviceClock::default();
        assert_eq!(told(&mut clock, [(0, 0)]), ".");
        let backlog = (0..500).map(|n| (n * 60 - 40_000, n / 100));
        let letters = told(&mut clock, backlog);
        assert_eq!(letters, format!("s{}", "l".repeat(499)));
    }

    #[test]
    fn a_backlog_between_live_samples_is_one_step_at_most() {
        let mut clock = DeviceClock::default();
        let mixed = (0..100).flat_map(|n| [(n, n), (n * 60 - 40_000, n)]);
        assert_eq!(told(&mut clock, mixed).matches('s').count(), 1);
    }

    #[test]
    fn a_recording_replayed_in_any_order_is_no_step() {
        let mut clock = DeviceClock::default();
        let shuffled = (0..1_000).map(|n| ((n * 7_919) % 1_000 * 60 - 300_000_000, n / 100));
        assert!(!told(&mut clock, shuffled).contains('s'));
    }

    #[test]
    fn the_offset_of_a_wrong_clock_is_known_after_ten_seconds() {
        let mut clock = DeviceClock::default();
        let moment = |s: i64| Timestamp::from_micros((1_790_000_000 + s) * Timestamp::SECOND);
        let offsets: Vec<_> =
            [0, 5, 10, 15].map(|s| clock.observe(moment(s - 90), moment(s)).offset_micros).into();
        assert_eq!(offsets, [None, None, Some(-90_000_000), Some(-90_000_000)]);
    }

    #[test]
    fn after_a_restart_the_newest_time_still_makes_late() {
        let mut clock = DeviceClock::resume(Timestamp::from_micros(1_790_000_100 * Timestamp::SECOND));
        assert_eq!(told(&mut clock, [(99, 200), (101, 201)]), "l.");
    }

    proptest! {
        #[test]
        fn any_times_are_taken_in(times in prop::collection::vec(any::<(i64, i64)>(), 0..20)) {
            let mut clock = DeviceClock::default();
            let mut newest = None;
            for (time, received) in times {
                let time = Timestamp::from_micros(time);
                let seen = clock.observe(time, Timestamp::from_micros(received));
                if newest.is_none_or(|newest| time >= newest) {
                    prop_assert!(!seen.flags.contains(Flags::CLOCK_STEP));
                }
                newest = newest.max(Some(time));
            }
        }
    }
}
