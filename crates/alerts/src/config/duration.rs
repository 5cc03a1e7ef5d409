//! Durations as Prometheus writes them: `30s`, `5m`, `1h30m`, `1d`, `2w`, `250ms`.
//!
//! Not here: times. The law: units come once each, the largest first; a number without a unit is refused, save 0.

/// Units in microseconds, the largest first.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000_000),
    ("w", 7 * 86_400_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
];

/// Microseconds.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no duration; it must read like `30s`, `5m`, `1h30m` or `2d`");
    if text == "0" {
        return Ok(0);
    }
    let (mut rest, mut total, mut from) = (text, 0_i64, 0);
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, behind) = rest.split_at(digits);
        let unit = behind.len() - behind.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, behind) = behind.split_at(unit);
        let number: i64 = number.parse().map_err(|_| wrong())?;
        let at =
            UNITS.iter().position(|(name, _)| *name == unit).filter(|at| *at >= from).ok_or_else(wrong)?;
        let part = number.checked_mul(UNITS[at].1).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        from = at + 1;
        rest = behind;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// As [`parse`] reads it: `1h30m`.
pub(crate) fn shown(micros: i64) -> String {
    let (mut rest, mut text) = (micros.max(0), String::new());
    for (unit, size) in &UNITS[2..] {
        if rest >= *size {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_as_prometheus_writes_it() {
        let cases = [
            ("0", Ok(0)),
            ("0s", Ok(0)),
            ("30s", Ok(30_000_000)),
            ("5m", Ok(300_000_000)),
            ("1h30m", Ok(5_400_000_000)),
            ("2w", Ok(14 * 86_400_000_000)),
            ("250ms", Ok(250_000)),
            ("", Err(())),
            ("5", Err(())),
            ("m", Err(())),
            ("-5m", Err(())),
            ("5m1h", Err(())),
            ("5m5m", Err(())),
            ("1.5h", Err(())),
            ("5 m", Err(())),
            ("99999999999999999y", Err(())),
        ];
        for (text, wanted) in cases {
            assert_eq!(parse(text).map_err(|_| ()), wanted, "{text}");
        }
        for text in ["0s", "30s", "1h30m", "14d", "250ms"] {
            assert_eq!(shown(parse(text).expect("a duration")), text);
        }
    }
}
