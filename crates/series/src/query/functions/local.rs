//! Local time: where in a zone's day a moment is, and when a local moment was.
//!
//! Not here: SQL. The laws: a local day begins at its first moment, also where midnight is skipped or comes twice; the
//! hour that comes twice in autumn is two hours.

use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Timestamp};

pub(super) const SECOND: i64 = 1_000_000;
pub(super) const HOUR: i64 = 3_600 * SECOND;
pub(super) const DAY: i64 = 24 * HOUR;

/// 1970-01-05 was a Monday: bins of whole weeks begin on Mondays.
const MONDAY: i64 = 4;

/// How long a bin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stride {
    /// Microseconds that divide a day: bins go by the local clock, from midnight.
    Clock(i64),
    /// Whole local days, counted from 1970-01-01, whole weeks from a Monday.
    Days(i64),
    /// Whole local months, counted from January.
    Months(i64),
}

impl Stride {
    /// A stride of so many months, days and nanoseconds, one of which is not zero.
    pub(super) fn of(months: i32, days: i32, nanoseconds: i64) -> Result<Self, String> {
        match (months, days, nanoseconds) {
            (1.., 0, 0) => Ok(Self::Months(months.into())),
            (0, 1.., 0) => Ok(Self::Days(days.into())),
            (0, 0, 1..) => {
                let micros = nanoseconds / 1_000;
                if nanoseconds % 1_000 != 0 || DAY % micros != 0 {
                    // `24 hours` is no local day: that has 23 to 25.
                    return Err("a stride of hours must divide a day, such as 15 minutes or 6 hours; \
                                write `1 day` for local days"
                        .to_owned());
                }
                if micros == DAY {
                    return Ok(Self::Days(1));
                }
                Ok(Self::Clock(micros))
            }
            _ => {
                Err("a stride is a number of months, or of days, or of hours and less, and above zero"
                    .to_owned())
            }
        }
    }
}

/// A zone, with what is known of the time around the last moment that was asked for.
pub(super) struct Local {
    zone: TimeZone,
    /// The offset in microseconds that holds from `from` until `until`.
    offset: i64,
    from: i64,
    until: i64,
    /// Until then from `from` on, the clock shows what it showed before.
    twice_until: i64,
    /// The last bin.
    bin: (i64, i64),
}

impl Local {
    pub(super) fn new(zone: TimeZone) -> Self {
        Self { zone, offset: 0, from: 0, until: 0, twice_until: 0, bin: (0, 0) }
    }

    /// What the local clock showed, as microseconds since its 1970-01-01 00:00. `None` outside of the years -9999 to
    /// 9999.
    pub(super) fn wall(&mut self, moment: i64) -> Option<i64> {
        if !(self.from..self.until).contains(&moment) {
            let at = Timestamp::from_microsecond(moment).ok()?;
            let micros = |seconds: i32| i64::from(seconds) * SECOND;
            self.offset = micros(self.zone.to_offset(at).seconds());
            let after = Timestamp::from_microsecond(moment + 1).ok()?;
            let before = self.zone.preceding(after).next().map(|change| change.timestamp());
            self.from = before.map_or(i64::MIN, Timestamp::as_microsecond);
            self.until =
                self.zone.following(at).next().map_or(i64::MAX, |change| change.timestamp().as_microsecond());
            self.twice_until = match before.and_then(|change| change.checked_sub(Span::new().seconds(1)).ok())
            {
                Some(earlier) => {
                    let offset = micros(self.zone.to_offset(earlier).seconds());
                    self.from.saturating_add((offset - self.offset).max(0))
                }
                None => self.from,
            };
        }
        moment.checked_add(self.offset)
    }

    /// The moment at which the bin of `moment` begins.
    pub(super) fn bin(&mut self, moment: i64, stride: Stride) -> Option<i64> {
        let wall = self.wall(moment)?;
        if let Stride::Clock(micros) = stride {
            let start = wall - wall.rem_euclid(micros);
            let candidate = start - self.offset;
            return if candidate >= self.from { Some(candidate) } else { self.first_moment(start) };
        }
        if !(self.bin.0..self.bin.1).contains(&moment) {
            let day = wall.div_euclid(DAY);
            let (start, end) = match stride {
                Stride::Months(months) => {
                    let date = Timestamp::from_microsecond(wall).ok()?.to_zoned(TimeZone::UTC).date();
                    let month = i64::from(date.year()) * 12 + i64::from(date.month()) - 1;
                    let first = month - month.rem_euclid(months);
                    (first_of(first)?, first_of(first + months)?)
                }
                Stride::Days(days) => {
                    let anchor = if days % 7 == 0 { MONDAY } else { 0 };
                    let first = day - (day - anchor).rem_euclid(days);
                    (first * DAY, (first + days) * DAY)
                }
                Stride::Clock(_) => return None,
            };
            self.bin = (self.midnight(start)?, self.first_moment(end)?);
        }
        Some(self.bin.0)
    }

    /// The first moment at which the local clock showed `wall`, a midnight, or passed over it.
    fn midnight(&self, wall: i64) -> Option<i64> {
        let candidate = wall.checked_sub(self.offset)?;
        let is_plain = (self.twice_until..self.until).contains(&candidate) && candidate > self.from;
        if is_plain { Some(candidate) } else { self.first_moment(wall) }
    }

    fn first_moment(&self, wall: i64) -> Option<i64> {
        let civil = Timestamp::from_microsecond(wall).ok()?.to_zoned(TimeZone::UTC).datetime();
        let offset = match self.zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset,
            // Skipped: by the old offset it is the moment of the change. Twice: the first is by the old offset too.
            AmbiguousOffset::Gap { before, .. } | AmbiguousOffset::Fold { before, .. } => before,
        };
        wall.checked_sub(i64::from(offset.seconds()) * SECOND)
    }
}

/// The first of a month, counted from January of the year 0, as the local clock shows it.
fn first_of(month: i64) -> Option<i64> {
    let year = i16::try_from(month.div_euclid(12)).ok()?;
    let date = jiff::civil::Date::new(year, i8::try_from(month.rem_euclid(12) + 1).ok()?, 1).ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> i64 {
        text.parse::<Timestamp>().expect("a moment").as_microsecond()
    }

    fn local(zone: &str) -> Local {
        Local::new(TimeZone::get(zone).expect("a zone"))
    }

    /// Every bin that starts in `from..to`, with its length in minutes.
    fn bins(zone: &str, stride: Stride, from: &str, to: &str) -> Vec<(String, i64)> {
        let mut local = local(zone);
        let step = 5 * 60 * SECOND;
        let mut starts = Vec::new();
        let mut at = moment(from);
        while at < moment(to) {
            let start = local.bin(at, stride).expect("a bin");
            assert!(start <= at);
            // Asked alone, without what was known of the time around, the answer is the same.
            assert_eq!(self::local(zone).bin(at, stride), Some(start), "{at}");
            match starts.last() {
                Some(last) if *last == start => {}
                Some(last) => {
                    assert!(*last < start, "bins follow each other");
                    starts.push(start);
                }
                None => starts.push(start),
            }
            at += step;
        }
        let ends = starts.iter().copied().skip(1).chain([moment(to)]);
        let length = starts.iter().zip(ends).map(|(start, end)| (end - start) / 60 / SECOND);
        let zone = TimeZone::get(zone).expect("a zone");
        let shown = starts.iter().map(|start| {
            let at = Timestamp::from_microsecond(*start).expect("in range").to_zoned(zone.clone());
            at.strftime("%m-%d %H:%M").to_string()
        });
        shown.zip(length).collect()
    }

    fn check(zone: &str, stride: Stride, (from, to): (&str, &str), expected: &[(&str, i64)]) {
        let expected: Vec<(String, i64)> =
            expected.iter().map(|(at, length)| ((*at).to_owned(), *length)).collect();
        assert_eq!(bins(zone, stride, from, to), expected, "{zone} {stride:?}");
    }

    #[test]
    fn a_local_day_has_23_24_or_25_hours() {
        let day = Stride::Days(1);
        let spring = [("03-29 00:00", 1440), ("03-30 00:00", 1380), ("03-31 00:00", 1440)];
        check("Europe/Berlin", day, ("2025-03-28T23:00:00Z", "2025-03-31T22:00:00Z"), &spring);
        let autumn = [("10-25 00:00", 1440), ("10-26 00:00", 1500), ("10-27 00:00", 1440)];
        check("Europe/Berlin", day, ("2025-10-24T22:00:00Z", "2025-10-27T23:00:00Z"), &autumn);
        let spring = [("03-08 00:00", 1440), ("03-09 00:00", 1380), ("03-10 00:00", 1440)];
        check("America/New_York", day, ("2025-03-08T05:00:00Z", "2025-03-11T04:00:00Z"), &spring);
        let autumn = [("11-01 00:00", 1440), ("11-02 00:00", 1500), ("11-03 00:00", 1440)];
        check("America/New_York", day, ("2025-11-01T04:00:00Z", "2025-11-04T05:00:00Z"), &autumn);
    }

    #[test]
    fn a_midnight_that_is_skipped_or_comes_twice_begins_one_day() {
        // Santiago: 2025-09-07 begins at 01:00. Havana: 2025-11-02 has 00:00 to 01:00 twice.
        let skipped = [("09-06 00:00", 1440), ("09-07 01:00", 1380), ("09-08 00:00", 1440)];
        check(
            "America/Santiago",
            Stride::Days(1),
            ("2025-09-06T04:00:00Z", "2025-09-09T03:00:00Z"),
            &skipped,
        );
        let twice = [("11-01 00:00", 1440), ("11-02 00:00", 1500), ("11-03 00:00", 1440)];
        check("America/Havana", Stride::Days(1), ("2025-11-01T04:00:00Z", "2025-11-04T05:00:00Z"), &twice);
    }

    #[test]
    fn hours_go_by_the_clock_and_the_doubled_one_is_two() {
        let hour = bins("Europe/Berlin", Stride::Clock(HOUR), "2025-10-25T22:00:00Z", "2025-10-26T23:00:00Z");
        assert_eq!(hour.len(), 25);
        assert!(hour.iter().all(|(_, minutes)| *minutes == 60));
        assert_eq!(hour.iter().filter(|(at, _)| at == "10-26 02:00").count(), 2);
        let hour =
            bins("America/New_York", Stride::Clock(HOUR), "2025-03-09T05:00:00Z", "2025-03-10T04:00:00Z");
        assert_eq!(hour.len(), 23);
        let six = [("10-26 00:00", 420), ("10-26 06:00", 360), ("10-26 12:00", 360), ("10-26 18:00", 360)];
        check(
            "Europe/Berlin",
            Stride::Clock(6 * HOUR),
            ("2025-10-25T22:00:00Z", "2025-10-26T23:00:00Z"),
            &six,
        );
        let six = [("03-30 00:00", 300), ("03-30 06:00", 360), ("03-30 12:00", 360), ("03-30 18:00", 360)];
        check(
            "Europe/Berlin",
            Stride::Clock(6 * HOUR),
            ("2025-03-29T23:00:00Z", "2025-03-30T22:00:00Z"),
            &six,
        );
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        let week = [("03-24 00:00", 7 * 1440 - 60), ("03-31 00:00", 7 * 1440)];
        check("Europe/Berlin", Stride::Days(7), ("2025-03-23T23:00:00Z", "2025-04-06T22:00:00Z"), &week);
        let month = [("10-01 00:00", 31 * 1440 + 60), ("11-01 00:00", 30 * 1440)];
        check("Europe/Berlin", Stride::Months(1), ("2025-09-30T22:00:00Z", "2025-11-30T23:00:00Z"), &month);
        let quarter = Stride::Months(3);
        assert_eq!(
            local("UTC").bin(moment("2025-06-30T12:00:00Z"), quarter),
            Some(moment("2025-04-01T00:00:00Z"))
        );
        assert_eq!(
            local("UTC").bin(moment("1969-12-31T12:00:00Z"), quarter),
            Some(moment("1969-10-01T00:00:00Z"))
        );
    }

    #[test]
    fn a_stride_that_cannot_be_is_refused() {
        for (months, days, nanoseconds) in [
            (0, 0, 0),
            (1, 1, 0),
            (-1, 0, 0),
            (0, -1, 0),
            (0, 0, -1),
            (0, 0, 7 * 3_600_000_000_000),
            (0, 0, 500),
        ] {
            assert!(Stride::of(months, days, nanoseconds).is_err(), "{months} {days} {nanoseconds}");
        }
        assert_eq!(Stride::of(0, 0, 900_000_000_000), Ok(Stride::Clock(900 * SECOND)));
    }
}
