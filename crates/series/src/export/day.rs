//! A day of event time, UTC: what exported files are divided by.

use std::fmt;

use model::Timestamp;

use crate::table::Wanted;

/// A day. Shown as `2015-02-04`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(i64);

impl Day {
    /// By its number, counted from 1970-01-01.
    #[must_use]
    pub fn new(number: i64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> i64 {
        self.0
    }

    /// Its first moment.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp::from_micros(self.0.saturating_mul(Timestamp::DAY))
    }

    /// The first moment of the next.
    #[must_use]
    pub fn end(self) -> Timestamp {
        Timestamp::from_micros(self.0.saturating_add(1).saturating_mul(Timestamp::DAY))
    }

    /// What is wanted, of this day alone.
    pub(crate) fn within(self, wanted: &Wanted) -> Wanted {
        let (start, last) = (self.start().micros(), self.end().micros() - 1);
        Wanted {
            from: Some(wanted.from.map_or(start, |from| from.max(start))),
            to: Some(wanted.to.map_or(last, |to| to.min(last))),
            ..wanted.clone()
        }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.start().to_string().split('T').next().unwrap_or_default())
    }
}
