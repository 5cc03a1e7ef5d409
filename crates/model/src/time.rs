//! One kind of time inside: microseconds since 1970, UTC, in an `i64`.
//!
//! Reading and writing RFC 3339 is `jiff`'s work; no clock is read here (only `host` may).

use std::fmt;
use std::time::Duration;

/// A moment: microseconds since 1970-01-01T00:00:00Z, without leap seconds. Negative before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// Why a text is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a time as RFC 3339 writes it, such as 2026-11-22T14:02:00Z")]
pub struct TimeError {
    /// The text, at most its first 64 characters.
    pub text: String,
}

impl Timestamp {
    /// Microseconds in a second.
    pub const SECOND: i64 = 1_000_000;
    /// Microseconds in a day of 24 hours.
    pub const DAY: i64 = 86_400 * Self::SECOND;

    /// The moment that is `micros` microseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339 with an offset or `Z`; a space may stand in place of the `T`.
    ///
    /// # Errors
    /// [`TimeError`] when the text is something else, names no offset, or names a moment that does not exist.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        text.parse::<jiff::Timestamp>()
            .map(|t| Self(t.as_microsecond()))
            .map_err(|_| TimeError { text: text.chars().take(64).collect() })
    }

    /// This moment moved by `micros`, held at the ends of the range.
    #[must_use]
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds from `earlier` to this moment; negative when `earlier` is later.
    #[must_use]
    pub const fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment moved back by `duration`, held at the start of the range.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The day of this moment in UTC, as days since 1970-01-01.
    #[must_use]
    pub const fn day(self) -> i64 {
        self.0.div_euclid(Self::DAY)
    }
}

/// RFC 3339 with `Z`; a fraction only when it is not zero.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(t) => write!(f, "{t}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_goes_in_and_out() {
        let check = |text: &str, out: &str| {
            assert_eq!(Timestamp::parse(text).expect("a time").to_string(), out);
        };
        check("2015-02-04T17:51:00Z", "2015-02-04T17:51:00Z");
        check("2015-02-04 17:51:00.5+01:00", "2015-02-04T16:51:00.5Z");
        check("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z");
        assert!(Timestamp::parse("2015-02-04T17:51:00").is_err(), "no offset is no moment");
        assert!(Timestamp::parse("yesterday").is_err());
    }

    #[test]
    fn a_day_before_1970_is_a_day_too() {
        assert_eq!(Timestamp::from_micros(-1).day(), -1);
        assert_eq!(Timestamp::from_micros(0).day(), 0);
    }
}
