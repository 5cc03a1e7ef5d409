//! When a row was measured: RFC 3339, a number since 1970, or local time of a zone.

use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone};
use model::Timestamp;
use model::device_time::TimeUnit;

/// Reads the times of one recording, in the order of its rows.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    zone: TimeZone,
    last: Option<Timestamp>,
}

impl Times {
    /// Texts without an offset are local times of `zone`.
    pub(crate) fn new(zone: TimeZone) -> Self {
        Self { zone, last: None }
    }

    /// The moment that `text` names; `None` when it is no time.
    ///
    /// Of the hour that occurs twice in autumn the first one is meant, unless the row before was later: a
    /// recording goes forward.
    pub(crate) fn read(&mut self, text: &str) -> Option<Timestamp> {
        let time = self.peek(text)?;
        self.last = Some(time);
        Some(time)
    }

    /// As [`Self::read`], without going forward.
    pub(crate) fn peek(&self, text: &str) -> Option<Timestamp> {
        let text = text.trim();
        if let Ok(number) = text.parse::<i64>() {
            return TimeUnit::Auto.read_integer(number);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return TimeUnit::Auto.read_number(text.parse().ok()?);
        }
        Timestamp::parse(text).ok().or_else(|| self.local(text))
    }

    fn local(&self, text: &str) -> Option<Timestamp> {
        // A zone in brackets without an offset would be read and not obeyed.
        if text.contains('[') {
            return None;
        }
        // Year first with slashes is as clear as with dashes; day or month first is not, and is not guessed.
        let year_first = text.as_bytes().get(4) == Some(&b'/');
        let dashed = if year_first { text.replacen('/', "-", 2) } else { text.to_owned() };
        let local: civil::DateTime = dashed.parse().ok()?;
        let at = self.zone.to_ambiguous_timestamp(local);
        let is_fold = matches!(at.offset(), AmbiguousOffset::Fold { .. });
        let micros = |time: jiff::Timestamp| Timestamp::from_micros(time.as_microsecond());
        let first = micros(at.compatible().ok()?);
        match at.later() {
            Ok(later) if is_fold && self.last.is_some_and(|last| last > first) => Some(micros(later)),
            _ => Some(first),
        }
    }
}

/// Milliseconds since 1970 as JSON writes them; a fraction only where there is one.
pub(crate) fn millis(time: Timestamp) -> String {
    let micros = time.micros();
    let (whole, rest) = (micros / 1000, (micros % 1000).abs());
    if rest == 0 {
        return whole.to_string();
    }
    // The sign of less than a millisecond before 1970 would be lost with the zero.
    let sign = if micros < 0 && whole == 0 { "-" } else { "" };
    format!("{sign}{whole}.{}", format!("{rest:03}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_common_way_to_write_a_time_is_read() {
        let times = Times::new(TimeZone::UTC);
        let check = |text: &str, expect: &str| {
            assert_eq!(times.peek(text).map_or("none".to_owned(), |time| time.to_string()), expect, "{text}");
        };
        check("2015-02-04 17:51:00", "2015-02-04T17:51:00Z");
        check("2015-02-04T17:51:59", "2015-02-04T17:51:59Z");
        check("2015-02-04 17:51", "2015-02-04T17:51:00Z");
        check("2015/02/04 17:51:00", "2015-02-04T17:51:00Z");
        check("2015-02-04", "2015-02-04T00:00:00Z");
        check(" 2015-02-04 17:51:00.25 ", "2015-02-04T17:51:00.25Z");
        check("2015-02-04T17:51:00Z", "2015-02-04T17:51:00Z");
        check("2015-02-04 17:51:00+01:00", "2015-02-04T16:51:00Z");
        check("1423072260", "2015-02-04T17:51:00Z");
        check("1423072260000", "2015-02-04T17:51:00Z");
        check("1423072260.5", "2015-02-04T17:51:00.5Z");
        check("04/02/2015 17:51", "none");
        check("23.18", "none");
        check("", "none");
        check("office", "none");
        check("2015-02-30", "none");
    }

    #[test]
    fn a_zone_gives_local_times_their_moment_and_the_doubled_hour_goes_forward() {
        let zone = TimeZone::get("Europe/Berlin").expect("the zones of the machine");
        let mut times = Times::new(zone);
        let mut check = |text: &str, expect: &str| {
            assert_eq!(times.read(text).map(|time| time.to_string()).as_deref(), Some(expect), "{text}");
        };
        check("2015-10-25 01:30:00", "2015-10-24T23:30:00Z");
        check("2015-10-25 02:30:00", "2015-10-25T00:30:00Z");
        check("2015-10-25 02:00:00", "2015-10-25T01:00:00Z");
        check("2015-10-25 02:30:00", "2015-10-25T01:30:00Z");
        check("2015-10-25 03:00:00", "2015-10-25T02:00:00Z");
        check("2015-03-29 02:30:00", "2015-03-29T01:30:00Z");
    }

    #[test]
    fn milliseconds_keep_what_is_finer() {
        let check = |micros: i64, expect: &str| assert_eq!(millis(Timestamp::from_micros(micros)), expect);
        check(1_423_072_260_000_000, "1423072260000");
        check(1_423_072_260_000_500, "1423072260000.5");
        check(1_001, "1.001");
        check(-1, "-0.001");
        check(-1_500, "-1.5");
        check(0, "0");
    }
}
