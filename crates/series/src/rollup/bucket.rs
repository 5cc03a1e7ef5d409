//! One rollup row: what the readings of one channel of one device in one stretch of time come to. Pure.
//!
//! ```text
//!          bucket                                   next bucket
//!          |----------------------------------------|----
//! value    :      A════════╗                        :        (nothing before A is known here: no seconds)
//!          :               ║     B══════ ─ ─ ─ ─    :        A stands until B comes
//!          :               B════════╡ hold over     :        B stands until its hold is over,
//!          :                              C═════════:        C until the bucket's end (or its hold's)
//! seconds         |--------|--------|     |---------|        = 10 + 10 + 10, say
//! ```
//!
//! | column | means |
//! |---|---|
//! | `count`, `texts` | readings with a number; readings without one |
//! | `sum`, `min`, `max` | of the numbers |
//! | `first`, `last`, `first_time`, `last_time` | the first and last number and when they were measured |
//! | `seconds` | how long a number stood within the bucket |
//! | `weighted_sum` | sum of each number times the seconds it stood: `weighted_sum / seconds` is the mean over time |
//! | `increase` | of a counter: what it grew within the bucket |
//! | `frozen` | the raw readings are dropped: the row stays as it is |
//!
//! The decisions. A number stands until the next number of its channel, at most for the channel's `hold`, and never
//! beyond the bucket: what stood before the bucket's first number is another bucket's. With `first`, `last` and their
//! times buckets are joined exactly: what `last` stands for beyond its bucket is known from the next row. A text is no
//! number: it is counted in `texts`, ends no number's standing and is in no other column; a row of texts alone has
//! numbers nowhere. Of events of one moment only the last in order stands. A counter that falls to at most half of what
//! it was has started again, and all that it shows then is increase; one that rolls over has counted on through zero,
//! when the way through zero is less than half the way round; any lesser fall is a counter that runs backwards: no
//! increase. Not here: which readings there are (`query`), where rows are kept (`store`). The laws: a row is a function
//! of the readings of its bucket and the channel's rules alone, bit for bit; sums are exact and rounded once.

use model::{Channel, ChannelKind};

use super::sum::ExactSum;

/// How long a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(crate) enum Resolution {
    /// One minute.
    #[serde(rename = "1m")]
    Minute,
    /// Five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// One hour.
    #[serde(rename = "1h")]
    Hour,
}

impl Resolution {
    /// All, the finest first.
    pub(crate) const ALL: [Self; 3] = [Self::Minute, Self::FiveMinutes, Self::Hour];

    /// Its length in microseconds.
    pub(crate) fn micros(self) -> i64 {
        match self {
            Self::Minute => 60_000_000,
            Self::FiveMinutes => 300_000_000,
            Self::Hour => HOUR,
        }
    }

    /// Its name in files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
        }
    }

    /// The table.
    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Minute => "readings_1m",
            Self::FiveMinutes => "readings_5m",
            Self::Hour => "readings_1h",
        }
    }

    /// The start of the bucket that `time` is in.
    pub(crate) fn start(self, time: i64) -> i64 {
        time.div_euclid(self.micros()).saturating_mul(self.micros())
    }
}

/// An hour in microseconds: the longest bucket.
pub(crate) const HOUR: i64 = 3_600_000_000;

/// What of a channel decides its rollups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rules {
    /// Microseconds.
    pub hold: Option<i64>,
    pub is_counter: bool,
    pub rollover: Option<f64>,
}

impl Rules {
    /// Those of a channel.
    pub(crate) fn of(channel: &Channel) -> Self {
        Self {
            hold: channel.hold().map(|hold| i64::try_from(hold.as_micros()).unwrap_or(i64::MAX)),
            is_counter: channel.kind() == ChannelKind::Counter,
            rollover: channel.rollover(),
        }
    }

    /// How long a number stands that nothing follows for `micros`.
    pub(crate) fn stands(&self, micros: i64) -> i64 {
        self.hold.map_or(micros, |hold| micros.min(hold)).max(0)
    }
}

/// What a counter did from one reading to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Counted {
    /// It grew, or stayed.
    On,
    /// It started again from zero.
    Anew,
    /// It counted on through zero, where it starts again.
    Through(f64),
    /// It ran backwards.
    Back,
}

impl Counted {
    /// Judges a step.
    pub(crate) fn of(before: f64, after: f64, rollover: Option<f64>) -> Self {
        if after >= before {
            return Self::On;
        }
        if let Some(round) = rollover
            && before < round
            && after >= 0.0
            && (round - before) + after < round / 2.0
        {
            return Self::Through(round);
        }
        if after >= 0.0 && after <= before / 2.0 { Self::Anew } else { Self::Back }
    }

    /// Adds what was counted.
    pub(crate) fn add_to(self, sum: &mut ExactSum, before: f64, after: f64) {
        match self {
            Self::On => {
                sum.add(after);
                sum.subtract(before);
            }
            Self::Anew => sum.add(after),
            Self::Through(round) => {
                sum.add(round);
                sum.add(after);
                sum.subtract(before);
            }
            Self::Back => {}
        }
    }
}

/// The numbers of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Numbers {
    pub sum: f64,
    pub min: f64,
    pub max: f64,
    pub first: f64,
    pub last: f64,
    /// Microseconds.
    pub first_time: i64,
    /// Microseconds.
    pub last_time: i64,
    pub seconds: f64,
    pub weighted_sum: f64,
    /// Of a counter.
    pub increase: Option<f64>,
}

/// A rollup row without its device and channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RollupRow {
    /// The bucket's start in microseconds.
    pub time: i64,
    pub count: u64,
    pub texts: u64,
    /// `None` when there is no number.
    pub numbers: Option<Numbers>,
}

/// A bucket in the making.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    count: u64,
    texts: u64,
    min: f64,
    max: f64,
    first: (i64, f64),
    last: (i64, f64),
    stood: i64,
    sum: ExactSum,
    weighted: ExactSum,
    increase: ExactSum,
}

impl Bucket {
    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.count + self.texts == 0
    }

    /// Takes in the next reading in order of time.
    pub(crate) fn push(&mut self, time: i64, value: Option<f64>, rules: &Rules) {
        let Some(value) = value else {
            self.texts += 1;
            return;
        };
        if self.count == 0 {
            (self.min, self.max, self.first) = (value, value, (time, value));
        } else {
            self.stand_until(time, rules);
            (self.min, self.max) = (self.min.min(value), self.max.max(value));
            if rules.is_counter {
                let counted = Counted::of(self.last.1, value, rules.rollover);
                counted.add_to(&mut self.increase, self.last.1, value);
            }
        }
        self.sum.add(value);
        self.last = (time, value);
        self.count += 1;
    }

    /// The last number stands until `time`, or its hold is over before.
    fn stand_until(&mut self, time: i64, rules: &Rules) {
        let stood = rules.stands(time - self.last.0);
        self.stood += stood;
        self.weighted.add_product(self.last.1, stood.unsigned_abs());
    }

    /// The row of the bucket that starts at `time`, and an empty bucket.
    pub(crate) fn finish(&mut self, resolution: Resolution, time: i64, rules: &Rules) -> RollupRow {
        if self.count > 0 {
            self.stand_until(time.saturating_add(resolution.micros()), rules);
        }
        let bucket = std::mem::take(self);
        let numbers = (bucket.count > 0).then(|| Numbers {
            sum: bucket.sum.total(),
            min: bucket.min,
            max: bucket.max,
            first: bucket.first.1,
            last: bucket.last.1,
            first_time: bucket.first.0,
            last_time: bucket.last.0,
            seconds: bucket.stood as f64 / 1e6,
            weighted_sum: bucket.weighted.total() / 1e6,
            increase: rules.is_counter.then(|| bucket.increase.total()),
        });
        RollupRow { time, count: bucket.count, texts: bucket.texts, numbers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { hold: None, is_counter: false, rollover: None };

    fn fold(readings: &[(i64, Option<f64>)], rules: &Rules) -> RollupRow {
        let mut bucket = Bucket::default();
        for &(second, value) in readings {
            bucket.push(second * 1_000_000, value, rules);
        }
        bucket.finish(Resolution::Minute, 0, rules)
    }

    #[test]
    fn a_value_stands_until_the_next_and_to_the_end() {
        let row = fold(&[(10, Some(1.0)), (20, Some(3.0)), (50, Some(2.0))], &RULES);
        let numbers = row.numbers.expect("numbers");
        assert_eq!((row.count, numbers.seconds, numbers.weighted_sum), (3, 50.0, 10.0 + 90.0 + 20.0));
        assert_eq!((numbers.sum, numbers.min, numbers.max), (6.0, 1.0, 3.0));
        assert_eq!((numbers.first, numbers.last), (1.0, 2.0));
        assert_eq!((numbers.first_time, numbers.last_time), (10_000_000, 50_000_000));
        assert_eq!(numbers.increase, None);
        let held = fold(
            &[(10, Some(1.0)), (20, Some(3.0)), (50, Some(2.0))],
            &Rules { hold: Some(12_000_000), ..RULES },
        );
        let numbers = held.numbers.expect("numbers");
        assert_eq!((numbers.seconds, numbers.weighted_sum), (10.0 + 12.0 + 10.0, 10.0 + 36.0 + 20.0));
        let event = fold(&[(10, Some(1.0))], &Rules { hold: Some(0), ..RULES });
        assert_eq!(event.numbers.expect("numbers").seconds, 0.0);
    }

    #[test]
    fn a_text_where_a_number_was_is_counted_and_ends_nothing() {
        let row = fold(&[(0, Some(1.0)), (10, None), (30, Some(3.0))], &RULES);
        let numbers = row.numbers.expect("numbers");
        assert_eq!((row.count, row.texts, numbers.seconds, numbers.weighted_sum), (2, 1, 60.0, 120.0));
        assert_eq!(fold(&[(0, None)], &RULES), RollupRow { time: 0, count: 0, texts: 1, numbers: None });
    }

    #[test]
    fn a_counter_restarts_rolls_over_or_runs_backwards() {
        let check = |values: &[f64], rollover: Option<f64>, expect: f64| {
            let rules = Rules { is_counter: true, rollover, ..RULES };
            let readings: Vec<_> = (0..).zip(values).map(|(at, value)| (at, Some(*value))).collect();
            assert_eq!(
                fold(&readings, &rules).numbers.expect("numbers").increase,
                Some(expect),
                "{values:?}"
            );
        };
        check(&[5.0], None, 0.0);
        check(&[5.0, 7.5, 7.5, 10.0], None, 5.0);
        check(&[100.0, 110.0, 3.0, 5.0], None, 10.0 + 3.0 + 2.0);
        check(&[65_530.0, 4.0], Some(65_536.0), 10.0);
        check(&[65_530.0, 4.0], None, 4.0);
        check(&[20_000.0, 10.0], Some(65_536.0), 10.0);
        // Backwards by a little: nothing was counted, and nothing is made up.
        check(&[1_000.0, 999.0, 1_001.0], None, 2.0);
        check(&[1_000.0, 900.0, 800.0], None, 0.0);
        check(&[10.0, -5.0], None, 0.0);
        check(&[0.1, 0.2, 0.3], None, 0.3 - 0.1);
    }

    #[test]
    fn a_bucket_starts_where_its_length_says_before_1970_too() {
        assert_eq!(Resolution::Hour.start(-1), -HOUR);
        assert_eq!(Resolution::FiveMinutes.start(299_999_999), 0);
        assert_eq!(Resolution::Minute.start(60_000_000), 60_000_000);
    }
}
