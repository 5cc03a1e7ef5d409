//! Spans of time as rules write them: `90s`, `15m`, `1h30m`, `30d`.
//!
//! Not here: when a span begins. The law: a span that exists is more than zero and at most ten years, in microseconds.

use model::Timestamp;

/// The units, longest name first where one begins another, with their microseconds.
const UNITS: [(&str, i64); 6] = [
    ("ms", 1_000),
    ("s", Timestamp::SECOND),
    ("m", 60 * Timestamp::SECOND),
    ("h", 3_600 * Timestamp::SECOND),
    ("d", Timestamp::DAY),
    ("w", 7 * Timestamp::DAY),
];

/// Longest span: beyond ten years a number is a slip of the finger.
pub const SPAN_MICROS_MAX: i64 = 3_660 * Timestamp::DAY;

/// Reads a span: numbers with units, largest unit first or in any order, without spaces.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let malformed = || format!("`{text}` is no span of time; write it as `90s`, `15m`, `1h30m` or `30d`");
    let mut rest = text;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: i64 = rest[..digits].parse().map_err(|_| malformed())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = UNITS.iter().find(|(name, _)| *name == &rest[..letters]).ok_or_else(malformed)?;
        total = number.checked_mul(unit.1).and_then(|micros| total.checked_add(micros)).unwrap_or(i64::MAX);
        rest = &rest[letters..];
    }
    match total {
        0 => Err(if text.is_empty() { malformed() } else { format!("`{text}` is no time at all") }),
        total if total > SPAN_MICROS_MAX => Err(format!("`{text}` is longer than ten years")),
        total => Ok(total),
    }
}

/// Writes a span as rules write it: `1h30m`.
#[must_use]
pub fn shown(micros: i64) -> String {
    let mut rest = micros.max(0);
    let mut text = String::new();
    for (name, unit) in UNITS.iter().rev().filter(|(name, _)| *name != "w") {
        if rest >= *unit {
            text += &format!("{}{name}", rest / unit);
            rest %= unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_go_in_and_out() {
        let check = |text: &str, micros: i64| {
            assert_eq!(parse(text), Ok(micros), "{text}");
            assert_eq!(parse(&shown(micros)), Ok(micros), "{text}");
        };
        check("90s", 90_000_000);
        check("5m", 300_000_000);
        check("1h30m", 5_400_000_000);
        check("2w", 14 * Timestamp::DAY);
        check("250ms", 250_000);
        assert_eq!(shown(93_600_000_000), "1d2h");
        for text in ["", "5", "m", "5 m", "5min", "-5m", "0s", "99999999999999999w", "11y"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
