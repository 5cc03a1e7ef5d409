//! How much a device usually says, and when it says far more.
//!
//! Pure: times of samples come in, a verdict goes out. Counted is by the minute of the sample's own time, so that a device
//! that was away and now sends what it kept says as much in each of its minutes as it always did. A sample without a time of
//! its own counts at receipt; for these the minutes of silence before are a credit, for the same reason.
//!
//! ```text
//! usual      the most that a minute had lately: sinks by 1/256 a minute that has samples, rises at most twofold in one
//! unusual    more than 10 times the usual and more than 60 in one minute, of a device known for 30 such minutes
//! ```
//!
//! Not here: what follows. The laws: a history that is sent in order, however fast, is judged as it was when it was new;
//! what one device says changes nothing for another; memory is bounded.

use hashbrown::HashMap;
use model::{DeviceName, Timestamp};

/// Minutes with samples before a device is known well enough to be judged.
pub const RATE_LEARNT_MINUTES: u32 = 30;

/// So many times the usual is far over it.
pub const RATE_FACTOR: f32 = 10.0;

/// A minute with no more samples than this is never too much: one a second.
pub const RATE_FLOOR: u32 = 60;

/// Most devices that are watched, the fleet that one machine is meant for: some 100 bytes each.
pub const RATE_DEVICES_MAX: usize = 100_000;

/// Minutes that are counted at once: backlog and what is fresh come side by side.
const MINUTES_OPEN: usize = 3;

/// Longest silence that is credited to a device without a clock, in minutes: a week.
const SILENCE_MAX: i64 = 7 * 24 * 60;

/// What was seen of a device that says far more than usual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unusual {
    /// The most that a minute had lately.
    pub usual_per_minute: f32,
    /// What this minute has by now.
    pub seen_in_minute: u32,
    /// The beginning of the minute, in the device's own time.
    pub minute: Timestamp,
}

/// A minute that is being counted.
#[derive(Clone, Copy, Default)]
struct Open {
    minute: i64,
    count: u32,
    is_flagged: bool,
}

/// What is known of a device.
#[derive(Default)]
struct Rate {
    /// The one that was counted last comes first; a count of 0 is none.
    open: [Open; MINUTES_OPEN],
    usual: f32,
    learnt: u32,
    /// Samples that silence before them excuses.
    credit: f32,
    /// The newest minute of receipt of samples without a time of their own.
    last_receipt: Option<i64>,
}

/// What is known of all devices.
#[derive(Default)]
pub(super) struct Rates {
    devices: HashMap<DeviceName, Rate>,
    /// Samples of devices beyond the bound.
    pub(super) unwatched: u64,
}

impl Rates {
    /// A sample came. What is unusual is told once for each minute.
    pub(super) fn sample(
        &mut self,
        device: &DeviceName,
        time: Timestamp,
        is_receipt: bool,
    ) -> Option<Unusual> {
        if let Some(rate) = self.devices.get_mut(device) {
            return rate.sample(time, is_receipt);
        }
        if self.devices.len() >= RATE_DEVICES_MAX {
            self.unwatched += 1;
            return None;
        }
        self.devices.entry(device.clone()).or_default().sample(time, is_receipt)
    }
}

impl Rate {
    fn sample(&mut self, time: Timestamp, is_receipt: bool) -> Option<Unusual> {
        let minute = time.micros().div_euclid(60_000_000);
        if is_receipt {
            let silence = self.last_receipt.map_or(0, |last| (minute - last).clamp(0, SILENCE_MAX));
            if silence > 1 {
                self.credit = self.usual * silence as f32;
            }
            self.last_receipt = Some(minute);
        }
        let at = self.open.iter().position(|open| open.count > 0 && open.minute == minute);
        match at {
            Some(at) => self.open[..=at].rotate_right(1),
            None => {
                self.open.rotate_right(1);
                let done = std::mem::replace(&mut self.open[0], Open { minute, ..Open::default() });
                self.learn(done);
            }
        }
        let open = &mut self.open[0];
        open.count = open.count.saturating_add(1);
        let bound = (self.usual * RATE_FACTOR).max(RATE_FLOOR as f32);
        if self.learnt < RATE_LEARNT_MINUTES || open.is_flagged || open.count as f32 <= bound {
            return None;
        }
        if self.credit >= 1.0 {
            self.credit -= 1.0;
            return None;
        }
        open.is_flagged = true;
        Some(Unusual {
            usual_per_minute: self.usual,
            seen_in_minute: open.count,
            minute: Timestamp::from_micros(minute * 60_000_000),
        })
    }

    /// A minute is over, as far as can be said.
    fn learn(&mut self, done: Open) {
        if done.count == 0 {
            return;
        }
        self.learnt = self.learnt.saturating_add(1);
        let rises_to = if self.learnt <= 1 { f32::MAX } else { self.usual * 2.0 };
        self.usual = (done.count as f32).max(self.usual - self.usual / 256.0).min(rises_to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Device {
        rates: Rates,
        name: DeviceName,
        told: Vec<Unusual>,
    }

    impl Device {
        fn new() -> Self {
            let name = DeviceName::parse("meter-1").expect("a name");
            Self { rates: Rates::default(), name, told: Vec::new() }
        }

        /// So many samples in a minute.
        fn says(&mut self, minute: i64, count: u32, is_receipt: bool) {
            for n in 0..count {
                let at = Timestamp::from_micros(minute * 60_000_000 + i64::from(n));
                self.told.extend(self.rates.sample(&self.name, at, is_receipt));
            }
        }

        fn usually(per_minute: u32, is_receipt: bool) -> Self {
            let mut device = Self::new();
            (0..60).for_each(|minute| device.says(minute, per_minute, is_receipt));
            assert!(device.told.is_empty());
            device
        }
    }

    #[test]
    fn far_more_than_usual_is_told_once_a_minute_with_both_numbers() {
        let mut device = Device::usually(12, false);
        device.says(60, 120, false);
        assert!(device.told.is_empty(), "ten times is much, not far over");
        device.says(61, 5_000, false);
        let told = device.told.clone();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].minute, Timestamp::from_micros(61 * 60_000_000));
        assert!(told[0].seen_in_minute > 120 && told[0].usual_per_minute <= 24.0, "{told:?}");
    }

    #[test]
    fn a_drain_after_absence_is_no_misuse() {
        // Two weeks of a reading a minute, sent in one go, with fresh ones between.
        let mut device = Device::usually(2, false);
        let now = 60 + 14 * 24 * 60;
        for minute in 60..now {
            device.says(minute, 2, false);
            if minute % 1_000 == 0 {
                device.says(now, 1, false);
            }
        }
        assert!(device.told.is_empty(), "{:?}", device.told);
        // The same of a device that has no clock: a day of silence, then all of it at once.
        let mut device = Device::usually(2, true);
        device.says(60 + 24 * 60, 2 * 24 * 60, true);
        assert!(device.told.is_empty(), "{:?}", device.told);
        device.says(61 + 24 * 60, 10_000, true);
        assert_eq!(device.told.len(), 1, "the credit of silence is used up");
    }

    #[test]
    fn a_device_that_is_not_known_or_says_little_is_not_judged() {
        let mut device = Device::new();
        device.says(0, 100_000, false);
        assert!(device.told.is_empty());
        let mut device = Device::usually(1, false);
        device.says(60, RATE_FLOOR, false);
        assert!(device.told.is_empty(), "one a second is never too much");
        device.says(60, 1, false);
        assert_eq!(device.told.len(), 1);
    }

    #[test]
    fn a_new_usual_is_learnt_in_some_minutes() {
        let mut device = Device::usually(10, false);
        (60..120).for_each(|minute| device.says(minute, 600, false));
        let told = device.told.len();
        assert!((1..=6).contains(&told), "{told}");
        (120..180).for_each(|minute| device.says(minute, 600, false));
        assert_eq!(device.told.len(), told, "it is usual now");
    }

    #[test]
    fn an_hourly_burst_is_usual() {
        let mut device = Device::new();
        for minute in 0..60 * 24 {
            device.says(minute, if minute % 60 == 0 { 300 } else { 1 }, false);
        }
        let late: Vec<_> = device.told.iter().filter(|one| one.minute.micros() > 6 * 3_600_000_000).collect();
        assert!(late.is_empty(), "{late:?}");
    }
}
