//! The values of one channel, as promtool writes them: `20 31x9 _ 1+2x3 'eco'`.
//!
//! Not here: their times. The laws: `axn` is a and n more of it, `a+bxn` is a and n more, each b further, `_` is no reading,
//! `_xn` is n of none; a series is bounded.

use model::Value;

/// Most values of one series.
const VALUES_MAX: usize = 100_000;

/// Reads a series; `None` where there is no reading.
pub(super) fn parse(text: &str) -> Result<Vec<Option<Value>>, String> {
    let mut values = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        rest = item(rest, &mut values)?.trim_start();
        if values.len() > VALUES_MAX {
            return Err(format!("a series has at most {VALUES_MAX} values"));
        }
    }
    Ok(values)
}

fn item<'a>(text: &'a str, values: &mut Vec<Option<Value>>) -> Result<&'a str, String> {
    if let Some(quoted) = text.strip_prefix('\'') {
        let (inner, rest) = quoted.split_once('\'').ok_or("a text has no end: write it as 'eco'")?;
        let (times, rest) = times(rest)?;
        let value = Value::Text(inner.to_owned().into());
        values.extend(std::iter::repeat_n(Some(value), times + 1));
        return Ok(rest);
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    if let Some(after) = word.strip_prefix('_') {
        let (times, _) = times(after)?;
        values.extend(std::iter::repeat_n(None, times.max(1)));
        return Ok(rest);
    }
    let malformed = || format!("`{word}` is no value; write `31`, `31x9`, `20+1x5`, `_`, `true` or `'eco'`");
    let (first, count) = match word.split_once('x') {
        Some((first, count)) => (first, count.parse().map_err(|_| malformed())?),
        None => (word, 0),
    };
    if count > VALUES_MAX {
        return Err(format!("a series has at most {VALUES_MAX} values"));
    }
    let (first, step) = match first.get(1..).and_then(|tail| tail.find(['+', '-'])) {
        // A sign inside a number, not at its head; an exponent has none here.
        Some(at) => (&first[..=at], first[at + 1..].parse().map_err(|_| malformed())?),
        None => (first, 0.0),
    };
    let number = match first {
        "true" => 1.0,
        "false" => 0.0,
        first => first.parse::<f64>().ok().filter(|number| number.is_finite()).ok_or_else(malformed)?,
    };
    values.extend((0..=count).map(|nth| Some(Value::Number(number + step * nth as f64))));
    Ok(rest)
}

/// `x9`, or nothing.
fn times(text: &str) -> Result<(usize, &str), String> {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    match text[..end].strip_prefix('x') {
        _ if end == 0 => Ok((0, text)),
        Some(count) => match count.parse() {
            Ok(count) if count <= VALUES_MAX => Ok((count, &text[end..])),
            _ => Err(format!("`x{count}` says how often: write `x9`")),
        },
        None => Err(format!("`{}` does not belong here", &text[..end])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_written_as_promtool_writes_it() {
        let check = |text: &str, expect: &str| {
            let shown = |value: &Option<Value>| match value {
                None => "_".to_owned(),
                Some(Value::Text(text)) => text.to_string(),
                Some(value) => value.number().map_or(String::new(), |number| number.to_string()),
            };
            let values = parse(text).map(|values| values.iter().map(shown).collect::<Vec<_>>().join(" "));
            assert_eq!(values.as_deref().unwrap_or_else(|error| error), expect, "{text}");
        };
        check("20 31x2 _ 25", "20 31 31 31 _ 25");
        check("1+2x3", "1 3 5 7");
        check("10-1x2 -5x1", "10 9 8 -5 -5");
        check("_x3 true false", "_ _ _ 1 0");
        check("'eco mode'x1 'off'", "eco mode eco mode off");
        check("", "");
        check("hot", "`hot` is no value; write `31`, `31x9`, `20+1x5`, `_`, `true` or `'eco'`");
        check("1x999999999", "a series has at most 100000 values");
        check("'eco", "a text has no end: write it as 'eco'");
    }
}
