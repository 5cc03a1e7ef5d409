//! A row as the JSON that a device would have sent.
//!
//! The law: digits stay as they are in the file. A number is written anew only as far as JSON's grammar asks.

use std::borrow::Cow;

use model::Timestamp;

use super::times::millis;

/// A payload in the making: `{"ts":…` first, then the fields in their order.
pub(crate) struct Payload {
    text: String,
    fields: usize,
}

impl Payload {
    pub(crate) fn new(time: Timestamp) -> Self {
        Self { text: format!(r#"{{"ts":{}"#, millis(time)), fields: 0 }
    }

    /// A field whose value is JSON already.
    pub(crate) fn raw(&mut self, name: &str, value: &str) {
        self.text.push(',');
        self.text.push_str(&quoted(name));
        self.text.push(':');
        self.text.push_str(value);
        self.fields += 1;
    }

    /// A field from a cell: a number as a number, other text quoted, an empty cell left out.
    pub(crate) fn cell(&mut self, name: &str, cell: &str) {
        let cell = cell.trim();
        if cell.is_empty() {
            return;
        }
        match number(cell) {
            Some(digits) => self.raw(name, &digits),
            None => self.raw(name, &quoted(cell)),
        }
    }

    /// The payload; `None` when it has no field but the time.
    pub(crate) fn finish(mut self) -> Option<Vec<u8>> {
        self.text.push('}');
        (self.fields > 0).then(|| self.text.into_bytes())
    }
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text becomes JSON")
}

/// The cell as a JSON number, when it is a decimal number. JSON has no `+5`, `.5`, `5.` and `007`: those get the
/// digits that JSON asks for, all others stay as they are.
pub(crate) fn number(cell: &str) -> Option<Cow<'_, str>> {
    let (sign, rest) = match cell.as_bytes().first()? {
        b'-' => ("-", &cell[1..]),
        b'+' => ("", &cell[1..]),
        _ => ("", cell),
    };
    let (mantissa, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], &rest[at..]),
        None => (rest, ""),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_digits = exponent.get(1..).unwrap_or("");
    let exponent_digits = exponent_digits.strip_prefix(['+', '-']).unwrap_or(exponent_digits);
    let well_formed = digits(whole)
        && digits(fraction)
        && whole.len() + fraction.len() > 0
        && digits(exponent_digits)
        && (exponent.is_empty() || !exponent_digits.is_empty());
    if !well_formed {
        return None;
    }
    let is_json = !whole.is_empty()
        && (whole == "0" || !whole.starts_with('0'))
        && mantissa.contains('.') != fraction.is_empty()
        && !cell.starts_with('+');
    if is_json {
        return Some(Cow::Borrowed(cell));
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        rest => rest,
    };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(Cow::Owned(format!("{sign}{whole}{point}{fraction}{exponent}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_become_json() {
        let check = |cell: &str, expect: &str| {
            let mut payload = Payload::new(Timestamp::from_micros(1_000));
            payload.cell("c", cell);
            let got = payload.finish().map(|bytes| String::from_utf8(bytes).expect("text"));
            let expect = (!expect.is_empty()).then(|| format!(r#"{{"ts":1,"c":{expect}}}"#));
            assert_eq!(got, expect, "{cell:?}");
            if let Some(got) = got {
                serde_json::from_str::<serde_json::Value>(&got).expect("JSON");
            }
        };
        check("0.00479298817650529", "0.00479298817650529");
        check("721.25", "721.25");
        check("21.10", "21.10");
        check("-5", "-5");
        check("1e3", "1e3");
        check("1.5E-07", "1.5E-07");
        check("0", "0");
        check("-0.5", "-0.5");
        check("123456789012345678901234567890", "123456789012345678901234567890");
        check("+5", "5");
        check(".5", "0.5");
        check("-.5", "-0.5");
        check("5.", "5");
        check("007", "7");
        check("00.5", "0.5");
        check("000", "0");
        check("+.5e+3", "0.5e+3");
        check(" 21.5 ", "21.5");
        check("", "");
        check("  ", "");
        check("open", r#""open""#);
        check("say \"hi\"\n", r#""say \"hi\"""#);
        check("nan", r#""nan""#);
        check("inf", r#""inf""#);
        check("1,5", r#""1,5""#);
        check("12:30", r#""12:30""#);
        check("0x1F", r#""0x1F""#);
        check("1e", r#""1e""#);
        check("1e+", r#""1e+""#);
        check("-", r#""-""#);
        check(".", r#"".""#);
        check("1.2.3", r#""1.2.3""#);
        check("--1", r#""--1""#);
        check("é", r#""é""#);
    }
}
