//! A moment as people write it behind `--since`: a date, RFC 3339, or how long ago.

use host::{Clock as _, SystemClock};
use jiff::civil;
use model::Timestamp;

use super::target::duration;

/// `2h` and `7d` ago, `2026-11-22` (UTC), `2026-11-22T12:00:00Z`.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = Timestamp::parse(text) {
        return Ok(time);
    }
    if let Ok(date) = text.parse::<civil::Date>()
        && let Ok(start) = date.to_zoned(jiff::tz::TimeZone::UTC)
    {
        return Ok(Timestamp::from_micros(start.timestamp().as_microsecond()));
    }
    match duration(text) {
        Ok(ago) if text.ends_with(|c: char| c.is_ascii_alphabetic()) => {
            Ok(SystemClock::start().now().minus(ago))
        }
        _ => Err("write 2h or 7d for so long ago, 2026-11-22, or 2026-11-22T12:00:00Z".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        let check = |text: &str, expect: &str| {
            assert_eq!(moment(text).map(|time| time.to_string()).as_deref(), Ok(expect), "{text}");
        };
        check("2015-02-04", "2015-02-04T00:00:00Z");
        check("2015-02-04T12:30:00+01:00", "2015-02-04T11:30:00Z");
        let now = SystemClock::start().now();
        let ago = now.micros_since(moment("2h").expect("a moment"));
        assert!((ago - 7_200_000_000).abs() < 60_000_000, "{ago}");
        for malformed in ["", "soon", "2", "2015-13-01", "-2h"] {
            assert!(moment(malformed).is_err(), "{malformed:?}");
        }
    }
}
