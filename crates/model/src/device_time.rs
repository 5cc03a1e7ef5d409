//! When a reading was measured: the device's own time when it sent one that can be true, else the time of receipt.
//!
//! Reads what a device sends (numbers of four units, RFC 3339, local time of a zone) and judges whether it can be
//! true. Not here: what needs to remember the device's earlier times (see [`DeviceClock`](crate::DeviceClock)).
//! The law it keeps: whatever was sent, a sample gets a time, and its flags say which one.

use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::limit::CLOCK_AHEAD_MICROS_MAX;
use crate::{Flags, Notes, Timestamp};

/// 2000-01-01T00:00:00Z: the start of the range in which `auto` looks, and where many clocks start anew.
const YEAR_2000_S: i64 = 946_684_800;
/// 2100-01-01T00:00:00Z: the end of that range.
const YEAR_2100_S: i64 = 4_102_444_800;

/// Moments at which clocks start that lost their battery: Unix, GPS, and many RTC chips.
const RESETS: [Timestamp; 3] = [
    Timestamp::from_micros(0),
    Timestamp::from_micros(315_964_800 * Timestamp::SECOND),
    Timestamp::from_micros(YEAR_2000_S * Timestamp::SECOND),
];

/// How long after (or, with a time zone mistaken, before) a reset a clock is not believed.
const RESET_MICROS: i64 = 7 * Timestamp::DAY;

/// 2000-01-08T00:00:00Z: times before it are not believed unless a route says so.
pub const NOT_BEFORE_DEFAULT: Timestamp =
    Timestamp::from_micros(YEAR_2000_S * Timestamp::SECOND + RESET_MICROS);

/// Fields that carry the time when the route names none, the first one present wins. Case does not matter.
pub const TIME_FIELDS: [&str; 3] = ["ts", "time", "timestamp"];

/// The unit of a time that is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeUnit {
    /// Seconds, milliseconds, microseconds or nanoseconds, whichever puts it between 2000 and 2100: the four
    /// ranges do not meet.
    #[default]
    Auto,
    /// Seconds since 1970, perhaps with a fraction.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
    /// Microseconds since 1970.
    Microseconds,
    /// Nanoseconds since 1970; what is finer than a microsecond is cut.
    Nanoseconds,
}

impl TimeUnit {
    /// The units that `auto` tries.
    pub const KNOWN: [Self; 4] = [Self::Seconds, Self::Milliseconds, Self::Microseconds, Self::Nanoseconds];

    /// The unit that a route calls `text`: `auto`, `s`, `ms`, `us` or `ns`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "auto" => Self::Auto,
            "s" => Self::Seconds,
            "ms" => Self::Milliseconds,
            "us" => Self::Microseconds,
            "ns" => Self::Nanoseconds,
            _ => return None,
        })
    }

    /// How many of it are a second; 0 for `auto`.
    #[must_use]
    pub const fn per_second(self) -> i64 {
        match self {
            Self::Auto => 0,
            Self::Seconds => 1,
            Self::Milliseconds => 1_000,
            Self::Microseconds => 1_000_000,
            Self::Nanoseconds => 1_000_000_000,
        }
    }

    /// The numbers that `auto` takes for this unit: 2000 up to, not including, 2100.
    const fn range(self) -> (i64, i64) {
        (YEAR_2000_S * self.per_second(), YEAR_2100_S * self.per_second())
    }

    /// The moment that `number` names; `None` when it has no unit or is beyond the range of a [`Timestamp`].
    #[must_use]
    pub fn read_integer(self, number: i64) -> Option<Timestamp> {
        let micros = match self {
            Self::Auto => {
                let within = |unit: &Self| {
                    let (from, to) = unit.range();
                    (from..to).contains(&number)
                };
                return Self::KNOWN.into_iter().find(within)?.read_integer(number);
            }
            Self::Seconds => number.checked_mul(1_000_000)?,
            Self::Milliseconds => number.checked_mul(1_000)?,
            Self::Microseconds => number,
            Self::Nanoseconds => number.div_euclid(1_000),
        };
        Some(Timestamp::from_micros(micros))
    }

    /// As [`Self::read_integer`], for a number with a fraction; the nearest microsecond.
    #[must_use]
    pub fn read_number(self, number: f64) -> Option<Timestamp> {
        if self == Self::Auto {
            let within = |unit: &Self| {
                let (from, to) = unit.range();
                from as f64 <= number && number < to as f64
            };
            return Self::KNOWN.into_iter().find(within)?.read_number(number);
        }
        let micros = (number * (1e6 / self.per_second() as f64)).round();
        // Every f64 strictly inside ±2^63 is an i64; NaN is not inside.
        let fits = micros.abs() < 9_223_372_036_854_775_808.0;
        fits.then(|| Timestamp::from_micros(micros as i64))
    }
}

/// A time as the device sent it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SentTime<'a> {
    /// A whole number of some unit.
    Integer(i64),
    /// A number with a fraction, or too large for an integer.
    Number(f64),
    /// A text: a number, RFC 3339, or a local time.
    Text(&'a str),
}

/// A time and what is to be said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JudgedTime {
    /// The time of the sample.
    pub time: Timestamp,
    /// [`Flags::RECEIPT_TIME`], and [`Flags::IMPLAUSIBLE_TIME`] when a time was sent that cannot be true.
    pub flags: Flags,
    /// Why, for the operator.
    pub notes: Notes,
}

/// What a route says of its devices' times.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeRule {
    /// The field that carries it, nested names joined with `.`; `None`: [`TIME_FIELDS`].
    pub field: Option<String>,
    /// The unit of numbers.
    pub unit: TimeUnit,
    /// The zone of texts that name no offset.
    pub zone: Option<TimeZone>,
    /// Times before it are not believed.
    pub not_before: Timestamp,
}

impl Default for TimeRule {
    fn default() -> Self {
        Self { field: None, unit: TimeUnit::Auto, zone: None, not_before: NOT_BEFORE_DEFAULT }
    }
}

impl TimeRule {
    /// The time of a sample for which the device sent `sent` and which came at `received_at`.
    ///
    /// A time that cannot be true (more than 5 minutes ahead of receipt, before [`Self::not_before`], within
    /// 7 days of 1970-01-01, 1980-01-06 or 2000-01-01, or no time at all) is replaced by the time of receipt.
    /// A local time without a zone is too, with [`Notes::ZONE_MISSING`]. A local time of the hour that occurs
    /// twice in autumn is the later of the two that is not ahead of receipt, so that what is sent as it is
    /// measured stays in order.
    #[must_use]
    pub fn judge(&self, sent: Option<SentTime<'_>>, received_at: Timestamp) -> JudgedTime {
        let receipt = |flags, notes| JudgedTime { time: received_at, flags, notes };
        let implausible = Flags::RECEIPT_TIME | Flags::IMPLAUSIBLE_TIME;
        let Some(sent) = sent else { return receipt(Flags::RECEIPT_TIME, Notes::empty()) };
        match self.read(sent, received_at) {
            Read::Moment(time, notes) if self.believes(time, received_at) => {
                JudgedTime { time, flags: Flags::empty(), notes }
            }
            Read::Moment(..) | Read::Beyond => receipt(implausible, Notes::empty()),
            Read::NoZone => receipt(Flags::RECEIPT_TIME, Notes::ZONE_MISSING),
            Read::NoTime => receipt(implausible, Notes::TIME_UNREADABLE),
        }
    }

    fn believes(&self, time: Timestamp, received_at: Timestamp) -> bool {
        time.micros_since(received_at) <= CLOCK_AHEAD_MICROS_MAX
            && time >= self.not_before
            && RESETS.iter().all(|&reset| time.micros_since(reset).saturating_abs() >= RESET_MICROS)
    }

    fn read(&self, sent: SentTime<'_>, received_at: Timestamp) -> Read {
        match sent {
            SentTime::Integer(number) => Read::of(self.unit.read_integer(number)),
            SentTime::Number(number) => Read::of(self.unit.read_number(number)),
            SentTime::Text(text) => {
                let text = text.trim();
                if let Ok(number) = text.parse::<i64>() {
                    Read::of(self.unit.read_integer(number))
                } else if let Some(number) = decimal(text) {
                    Read::of(self.unit.read_number(number))
                } else if let Ok(time) = Timestamp::parse(text) {
                    Read::Moment(time, Notes::empty())
                } else {
                    self.read_local(text, received_at)
                }
            }
        }
    }

    fn read_local(&self, text: &str, received_at: Timestamp) -> Read {
        // A zone in brackets without an offset would be read and not obeyed.
        let Some(local) = text.parse::<civil::DateTime>().ok().filter(|_| !text.contains('[')) else {
            return Read::NoTime;
        };
        let Some(zone) = &self.zone else { return Read::NoZone };
        let at = zone.to_ambiguous_timestamp(local);
        let micros = |time: jiff::Timestamp| Timestamp::from_micros(time.as_microsecond());
        if let AmbiguousOffset::Fold { .. } = at.offset() {
            let later = at.later().map(micros).ok();
            let not_ahead = later.filter(|time| time.micros_since(received_at) <= CLOCK_AHEAD_MICROS_MAX);
            if let Some(time) = not_ahead.or_else(|| at.earlier().map(micros).ok()) {
                return Read::Moment(time, Notes::TIME_TWICE);
            }
            return Read::Beyond;
        }
        // An hour that spring leaves out is read as if it had not been.
        Read::of(at.compatible().map(micros).ok())
    }
}

/// What a sent time was read as.
enum Read {
    /// A moment.
    Moment(Timestamp, Notes),
    /// A number that no unit explains, or a moment beyond the range of a [`Timestamp`].
    Beyond,
    /// A local time, and the route names no zone.
    NoZone,
    /// Something else.
    NoTime,
}

impl Read {
    fn of(time: Option<Timestamp>) -> Self {
        time.map_or(Self::Beyond, |time| Self::Moment(time, Notes::empty()))
    }
}

/// A plain decimal number, so that neither `inf` nor `2015-02-04` is taken for one.
fn decimal(text: &str) -> Option<f64> {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'e' | b'E' | b'+'));
    plain.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RECEIVED: &str = "2026-11-22T12:00:00Z";

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    fn judge(rule: &TimeRule, sent: SentTime<'_>) -> String {
        let judged = rule.judge(Some(sent), at(RECEIVED));
        match judged.flags {
            flags if flags.is_empty() => judged.time.to_string(),
            Flags::RECEIPT_TIME => {
                assert_eq!((judged.time, judged.notes), (at(RECEIVED), Notes::ZONE_MISSING));
                "no zone".to_owned()
            }
            flags => {
                assert_eq!(flags, Flags::RECEIPT_TIME | Flags::IMPLAUSIBLE_TIME);
                assert_eq!(judged.time, at(RECEIVED));
                if judged.notes.is_empty() { "implausible".to_owned() } else { "unreadable".to_owned() }
            }
        }
    }

    #[test]
    fn numbers_find_their_unit() {
        let check = |sent, expect: &str| assert_eq!(judge(&TimeRule::default(), sent), expect, "{sent:?}");
        check(SentTime::Integer(1_423_072_260), "2015-02-04T17:51:00Z");
        check(SentTime::Integer(1_423_072_260_000), "2015-02-04T17:51:00Z");
        check(SentTime::Integer(1_423_072_260_000_001), "2015-02-04T17:51:00.000001Z");
        check(SentTime::Integer(1_423_072_260_000_001_999), "2015-02-04T17:51:00.000001Z");
        check(SentTime::Number(1_423_072_260.25), "2015-02-04T17:51:00.25Z");
        check(SentTime::Number(1_423_072_260_000.5), "2015-02-04T17:51:00.0005Z");
        check(SentTime::Text("1423072260"), "2015-02-04T17:51:00Z");
        check(SentTime::Text(" 1423072260.5 "), "2015-02-04T17:51:00.5Z");
        check(SentTime::Text("1.42307226e9"), "2015-02-04T17:51:00Z");
    }

    #[test]
    fn texts_are_rfc_3339() {
        let check = |text, expect: &str| {
            assert_eq!(judge(&TimeRule::default(), SentTime::Text(text)), expect, "{text}");
        };
        check("2015-02-04T17:51:00Z", "2015-02-04T17:51:00Z");
        check("2015-02-04 18:51:00.123+01:00", "2015-02-04T17:51:00.123Z");
        check("2015-02-04T17:51:00", "no zone");
        check("2015-02-04 17:51:00", "no zone");
        check("2015-02-04T17:51:00[Europe/Berlin]", "unreadable");
        check("yesterday", "unreadable");
        check("", "unreadable");
        check("inf", "unreadable");
    }

    #[test]
    fn what_cannot_be_true_is_replaced_by_the_time_of_receipt() {
        let check = |text, expect: &str| {
            assert_eq!(judge(&TimeRule::default(), SentTime::Text(text)), expect, "{text}");
        };
        check("2026-11-22T12:05:00Z", "2026-11-22T12:05:00Z");
        check("2026-11-22T12:05:00.000001Z", "implausible");
        check("9999-12-30T00:00:00Z", "implausible");
        check("2000-01-08T00:00:00Z", "2000-01-08T00:00:00Z");
        check("2000-01-07T23:59:59.999999Z", "implausible");
        check("1999-06-01T00:00:00Z", "implausible");
        check("1970-01-01T00:03:20Z", "implausible");
        for number in [0, 200, -1, i64::MIN, i64::MAX, 946_684_800, 946_684_800_000] {
            assert_eq!(judge(&TimeRule::default(), SentTime::Integer(number)), "implausible", "{number}");
        }
        for number in [f64::MAX, -1e300, 0.0, 1e18 * 5.0] {
            assert_eq!(judge(&TimeRule::default(), SentTime::Number(number)), "implausible", "{number}");
        }
    }

    #[test]
    fn an_earlier_not_before_still_believes_no_reset() {
        let rule = TimeRule { not_before: at("1950-01-01T00:00:00Z"), ..TimeRule::default() };
        let check = |text, expect: &str| assert_eq!(judge(&rule, SentTime::Text(text)), expect, "{text}");
        check("1960-06-01T00:00:00Z", "1960-06-01T00:00:00Z");
        check("1985-06-01T00:00:00Z", "1985-06-01T00:00:00Z");
        check("1949-12-31T23:59:59Z", "implausible");
        check("1969-12-31T23:00:00Z", "implausible");
        check("1970-01-07T23:59:59Z", "implausible");
        check("1970-01-08T00:00:00Z", "1970-01-08T00:00:00Z");
        check("1980-01-06T00:00:09Z", "implausible");
        check("2000-01-01T00:00:09Z", "implausible");
    }

    #[test]
    fn a_unit_that_is_named_is_obeyed() {
        let check = |unit, number, expect: &str| {
            let rule = TimeRule { unit, not_before: at("1950-01-01T00:00:00Z"), ..TimeRule::default() };
            assert_eq!(judge(&rule, SentTime::Integer(number)), expect, "{unit:?} {number}");
        };
        check(TimeUnit::Seconds, 86_400_000, "1972-09-27T00:00:00Z");
        check(TimeUnit::Milliseconds, 86_400_000_000, "1972-09-27T00:00:00Z");
        check(TimeUnit::Seconds, i64::MAX, "implausible");
        check(TimeUnit::Milliseconds, 1_423_072_260, "1970-01-17T11:17:52.26Z");
    }

    #[test]
    fn a_local_time_has_the_zone_of_its_route() {
        let zone = Some(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone"));
        let rule = TimeRule { zone, ..TimeRule::default() };
        let check = |text: &str, received: &str, expect: &str, notes: Notes| {
            let judged = rule.judge(Some(SentTime::Text(text)), at(received));
            assert_eq!((judged.time.to_string(), judged.notes), (expect.to_owned(), notes), "{text}");
        };
        check("2026-07-01T12:00:00", RECEIVED, "2026-07-01T10:00:00Z", Notes::empty());
        check("2026-01-01 12:00:00.5", RECEIVED, "2026-01-01T11:00:00.5Z", Notes::empty());
        // 25 October 2026: 02:30 occurs at 00:30Z and at 01:30Z; sent as it is measured it stays in order.
        check("2026-10-25T02:30:00", "2026-10-25T00:30:01Z", "2026-10-25T00:30:00Z", Notes::TIME_TWICE);
        check("2026-10-25T02:30:00", "2026-10-25T01:30:01Z", "2026-10-25T01:30:00Z", Notes::TIME_TWICE);
        // 29 March 2026: 02:30 does not occur.
        check("2026-03-29T02:30:00", RECEIVED, "2026-03-29T01:30:00Z", Notes::empty());
    }

    #[test]
    fn no_time_is_the_time_of_receipt() {
        let judged = TimeRule::default().judge(None, at(RECEIVED));
        assert_eq!((judged.time, judged.flags), (at(RECEIVED), Flags::RECEIPT_TIME));
    }

    proptest! {
        #[test]
        fn the_ranges_of_auto_are_disjoint(number in any::<i64>()) {
            let fits = |unit: &&TimeUnit| (unit.range().0..unit.range().1).contains(&number);
            prop_assert!(TimeUnit::KNOWN.iter().filter(fits).count() <= 1);
        }

        #[test]
        fn every_moment_between_2000_and_2100_comes_back_from_every_unit(
            seconds in YEAR_2000_S..YEAR_2100_S,
        ) {
            let expect = Timestamp::from_micros(seconds * 1_000_000);
            for unit in TimeUnit::KNOWN {
                let number = seconds * unit.per_second();
                prop_assert_eq!(TimeUnit::Auto.read_integer(number), Some(expect));
                prop_assert_eq!(unit.read_integer(number), Some(expect));
                let near = TimeUnit::Auto.read_number(number as f64).expect("a moment");
                prop_assert!(near.micros_since(expect).abs() <= 1);
            }
        }

        #[test]
        fn any_time_is_judged_without_panic(integer in any::<i64>(), number in any::<f64>(), text in ".{0,40}", received in any::<i64>()) {
            let received = Timestamp::from_micros(received);
            for sent in [SentTime::Integer(integer), SentTime::Number(number), SentTime::Text(&text)] {
                let judged = TimeRule::default().judge(Some(sent), received);
                prop_assert_eq!(judged.flags.contains(Flags::RECEIPT_TIME), judged.time == received);
            }
        }
    }
}
