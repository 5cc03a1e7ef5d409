//! A line of InfluxDB's line protocol, taken apart.
//!
//! ```text
//! measurement[,tag=value…] field=value[,field=value…] [time]
//! weather,site=north\ hall temp=21.5,ok=true,n=3i,note="say \"hi\"" 1465839830100400200
//! ```
//!
//! In names and tags `\,`, `\=` and `\ ` stand for the character after the backslash; in texts `\"` and `\\`; any other
//! backslash is one. A text may hold line breaks, so that a line may end within one: [`Malformed::is_open_text`] says
//! so. Not here: what becomes a channel (`line_rows`). The laws: any text is either taken apart whole or refused with
//! its column; nothing is held but pieces of the line.
//!
//! Source: the line protocol reference of InfluxDB 2.

use std::borrow::Cow;

use crate::command::recording::payload::number;

/// Most tags and most fields of a line: far above what writers send, and under the readings of one message.
pub(super) const PARTS_MAX: usize = 1_000;

/// A line, its escapes undone.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) measurement: Cow<'a, str>,
    pub(super) tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub(super) fields: Vec<(Cow<'a, str>, Value<'a>)>,
    /// As it is written, in the unit that the writer knows.
    pub(super) time: Option<i64>,
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    /// A number, written as JSON writes it.
    Number(Cow<'a, str>),
    Boolean(bool),
    Text(Cow<'a, str>),
}

/// Why a line is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed {
    /// In characters, from 1.
    pub(super) column: usize,
    pub(super) what: String,
    /// The line ends within a text: it may go on in the next.
    pub(super) is_open_text: bool,
}

/// Takes a line apart; `None`: it is empty or a comment.
pub(super) fn parse(line: &str) -> Result<Option<Line<'_>>, Malformed> {
    let mut cursor = Cursor { line, at: 0 };
    cursor.spaces();
    if matches!(cursor.peek(), None | Some(b'#')) {
        return Ok(None);
    }
    let measurement = cursor.name(b", ", ", ")?;
    if measurement.is_empty() {
        return Err(cursor.wrong("here a measurement is named"));
    }
    let mut tags = Vec::new();
    while cursor.take(b',') {
        cursor.bound(tags.len(), "tags")?;
        let key = cursor.key("tag")?;
        let value = cursor.name(b", ", ",= ")?;
        if value.is_empty() {
            return Err(cursor.wrong(format!("tag `{key}` has no value")));
        }
        tags.push((key, value));
    }
    cursor.spaces();
    let mut fields = Vec::new();
    loop {
        cursor.bound(fields.len(), "fields")?;
        let key = cursor.key("field")?;
        fields.push((key, cursor.value()?));
        if !cursor.take(b',') {
            break;
        }
    }
    if !matches!(cursor.peek(), None | Some(b' ')) {
        return Err(cursor.wrong("after a value comes `,`, a space or the end"));
    }
    cursor.spaces();
    let time = cursor.time()?;
    Ok(Some(Line { measurement, tags, fields, time }))
}

struct Cursor<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn wrong(&self, what: impl Into<String>) -> Malformed {
        let column = self.line[..self.at].chars().count() + 1;
        Malformed { column, what: what.into(), is_open_text: false }
    }

    fn bound(&self, parts: usize, what: &str) -> Result<(), Malformed> {
        if parts < PARTS_MAX { Ok(()) } else { Err(self.wrong(format!("more than {PARTS_MAX} {what}"))) }
    }

    /// Up to the first of `ends` that no backslash stands before; `escaped` are the characters that one may.
    fn name(&mut self, ends: &[u8], escaped: &str) -> Result<Cow<'a, str>, Malformed> {
        let (start, bytes) = (self.at, self.line.as_bytes());
        let mut has_escapes = false;
        while let Some(&byte) = bytes.get(self.at) {
            let is_escape =
                byte == b'\\' && bytes.get(self.at + 1).is_some_and(|c| escaped.as_bytes().contains(c));
            if is_escape {
                has_escapes = true;
                self.at += 2;
            } else if ends.contains(&byte) {
                break;
            } else {
                self.at += 1;
            }
        }
        let raw = &self.line[start..self.at];
        Ok(if has_escapes { Cow::Owned(unescaped(raw, escaped)) } else { Cow::Borrowed(raw) })
    }

    /// A key and the `=` behind it.
    fn key(&mut self, of: &str) -> Result<Cow<'a, str>, Malformed> {
        let key = self.name(b",= ", ",= ")?;
        if key.is_empty() {
            return Err(self.wrong(format!("here a {of} is named")));
        }
        if !self.take(b'=') {
            return Err(
                self.wrong(format!("after {of} `{}` comes `=`", key.chars().take(64).collect::<String>()))
            );
        }
        Ok(key)
    }

    fn value(&mut self) -> Result<Value<'a>, Malformed> {
        if self.peek() == Some(b'"') {
            return self.text();
        }
        let start = self.at;
        while !matches!(self.peek(), None | Some(b',' | b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        let text = &self.line[start..self.at];
        let value = match text {
            "t" | "T" | "true" | "True" | "TRUE" => Some(Value::Boolean(true)),
            "f" | "F" | "false" | "False" | "FALSE" => Some(Value::Boolean(false)),
            _ => match text.as_bytes().last() {
                Some(b'i') => whole(&text[..text.len() - 1], |text| text.parse::<i64>().is_ok()),
                Some(b'u') => whole(&text[..text.len() - 1], |text| text.parse::<u64>().is_ok()),
                _ => {
                    number(text).filter(|_| text.parse::<f64>().is_ok_and(f64::is_finite)).map(Value::Number)
                }
            },
        };
        value.ok_or_else(|| {
            let shown: String = text.chars().take(64).collect();
            let at = Self { line: self.line, at: start };
            at.wrong(format!("`{shown}` is no value: write 1.5, 3i, 3u, true or \"text\""))
        })
    }

    fn text(&mut self) -> Result<Value<'a>, Malformed> {
        let opening = self.at;
        self.at += 1;
        let (start, bytes) = (self.at, self.line.as_bytes());
        let mut has_escapes = false;
        while let Some(&byte) = bytes.get(self.at) {
            match byte {
                b'"' => {
                    let raw = &self.line[start..self.at];
                    self.at += 1;
                    let text =
                        if has_escapes { Cow::Owned(unescaped(raw, "\"\\")) } else { Cow::Borrowed(raw) };
                    return Ok(Value::Text(text));
                }
                b'\\' if matches!(bytes.get(self.at + 1), Some(b'"' | b'\\')) => {
                    has_escapes = true;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
        self.at = opening;
        Err(Malformed { is_open_text: true, ..self.wrong("the text that begins here has no end") })
    }

    fn time(&mut self) -> Result<Option<i64>, Malformed> {
        let text = self.line[self.at..].trim_ascii_end();
        if text.is_empty() {
            return Ok(None);
        }
        let time = text.parse::<i64>().ok();
        let shown = || text.chars().take(64).collect::<String>();
        time.map(Some).ok_or_else(|| self.wrong(format!("`{}` is no time: it is a whole number", shown())))
    }
}

fn whole(text: &str, fits: impl Fn(&str) -> bool) -> Option<Value<'_>> {
    if fits(text) { number(text).map(Value::Number) } else { None }
}

/// `raw` without the backslashes before `escaped` characters.
fn unescaped(raw: &str, escaped: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(&next) if c == '\\' && escaped.contains(next) => {
                text.push(next);
                chars.next();
            }
            _ => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The line as `measurement|tag=value|field=value|time`, or `column: what`.
    fn told(line: &str) -> String {
        let line = match parse(line) {
            Ok(Some(line)) => line,
            Ok(None) => return "nothing".to_owned(),
            Err(error) => return format!("{}: {}", error.column, error.what),
        };
        let tags: Vec<String> = line.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let fields = line.fields.iter().map(|(key, value)| match value {
            Value::Number(digits) => format!("{key}={digits}"),
            Value::Boolean(is) => format!("{key}={is}"),
            Value::Text(text) => format!("{key}={text:?}"),
        });
        let fields: Vec<String> = fields.collect();
        let time = line.time.map_or(String::new(), |time| time.to_string());
        format!("{}|{}|{}|{time}", line.measurement, tags.join(","), fields.join(","))
    }

    #[test]
    fn every_corner_of_the_line_protocol() {
        let table: &[(&str, &str)] = &[
            ("m f=1", "m||f=1|"),
            ("m,a=b f=1 1465839830100400200", "m|a=b|f=1|1465839830100400200"),
            ("m,a=b,c=d f=1,g=2 -5", "m|a=b,c=d|f=1,g=2|-5"),
            ("  m f=1 7\r", "m||f=1|7"),
            ("m   f=1   7  ", "m||f=1|7"),
            // Values.
            ("m f=1.5,g=-0.5,h=1e3,i=1.5E-7", "m||f=1.5,g=-0.5,h=1e3,i=1.5E-7|"),
            ("m f=.5,g=5.,h=+5,i=007", "m||f=0.5,g=5,h=5,i=7|"),
            ("m f=1i,g=-1i,h=9223372036854775807i", "m||f=1,g=-1,h=9223372036854775807|"),
            ("m f=18446744073709551615u", "m||f=18446744073709551615|"),
            ("m a=t,b=T,c=true,d=True,e=TRUE", "m||a=true,b=true,c=true,d=true,e=true|"),
            ("m a=f,b=F,c=false,d=False,e=FALSE", "m||a=false,b=false,c=false,d=false,e=false|"),
            (r#"m f="text""#, r#"m||f="text"|"#),
            (r#"m f="" 1"#, r#"m||f=""|1"#),
            (r#"m f="a,b=c d" 1"#, r#"m||f="a,b=c d"|1"#),
            (r#"m f="say \"hi\" \\ \n" 1"#, r#"m||f="say \"hi\" \\ \\n"|1"#),
            ("m f=\"two\nlines\" 1", r#"m||f="two\nlines"|1"#),
            ("m f=\"21,5 °C\" 1", r#"m||f="21,5 °C"|1"#),
            // Names.
            (r"my\ m,t\ a=v\ b f\ c=1", "my m|t a=v b|f c=1|"),
            (r"a\,b,c\,d=e\,f g\,h=1", "a,b|c,d=e,f|g,h=1|"),
            (r"a=b,c\=d=e\=f g\=h=1", "a=b|c=d=e=f|g=h=1|"),
            (r"a\\b,c=d\x e=1", r"a\\b|c=d\x|e=1|"),
            (r"m\\,a=b f=1", r"m\,a=b||f=1|"),
            ("m,a=\"quoted\" f=1", "m|a=\"quoted\"|f=1|"),
            ("温度,ort=büro wert=1", "温度|ort=büro|wert=1|"),
            // Nothing.
            ("", "nothing"),
            ("   ", "nothing"),
            ("# a comment", "nothing"),
            // Refused, with the column.
            ("m", "2: here a field is named"),
            ("m ", "3: here a field is named"),
            ("m,a=b", "6: here a field is named"),
            (",a=b f=1", "1: here a measurement is named"),
            ("m,a f=1", "4: after tag `a` comes `=`"),
            ("m,a= f=1", "5: tag `a` has no value"),
            ("m,=b f=1", "3: here a tag is named"),
            ("m,a=b, f=1", "7: here a tag is named"),
            ("m f", "4: after field `f` comes `=`"),
            ("m =1", "3: here a field is named"),
            ("m f=1,", "7: here a field is named"),
            ("m f= 1", "5: `` is no value: write 1.5, 3i, 3u, true or \"text\""),
            ("m f=abc", "5: `abc` is no value: write 1.5, 3i, 3u, true or \"text\""),
            ("m f=nan", "5: `nan` is no value: write 1.5, 3i, 3u, true or \"text\""),
            ("m f=1.5i", "5: `1.5i` is no value: write 1.5, 3i, 3u, true or \"text\""),
            ("m f=i", "5: `i` is no value: write 1.5, 3i, 3u, true or \"text\""),
            ("m f=-1u", "5: `-1u` is no value: write 1.5, 3i, 3u, true or \"text\""),
            (
                "m f=9223372036854775808i",
                "5: `9223372036854775808i` is no value: write 1.5, 3i, 3u, true or \"text\"",
            ),
            ("m f=1e999", "5: `1e999` is no value: write 1.5, 3i, 3u, true or \"text\""),
            ("m f=\"open", "5: the text that begins here has no end"),
            (r#"m f="a"b 1"#, "8: after a value comes `,`, a space or the end"),
            ("m f=1 soon", "7: `soon` is no time: it is a whole number"),
            ("m f=1 1.5", "7: `1.5` is no time: it is a whole number"),
            ("m f=1 1 2", "7: `1 2` is no time: it is a whole number"),
            ("m f=1 9223372036854775808", "7: `9223372036854775808` is no time: it is a whole number"),
            ("é f=x", "5: `x` is no value: write 1.5, 3i, 3u, true or \"text\""),
        ];
        for (line, expect) in table {
            assert_eq!(told(line), *expect, "{line}");
        }
    }

    #[test]
    fn only_a_text_without_end_may_go_on_in_the_next_line() {
        let is_open = |line: &str| parse(line).is_err_and(|error| error.is_open_text);
        assert!(is_open("m f=\"two\n"));
        assert!(is_open("m f=1,g=\"\\\""));
        assert!(!is_open("m f="));
        assert!(!is_open("m f=\"a\"b"));
    }

    #[test]
    fn a_line_is_bounded() {
        let fields = |count: usize| (0..count).map(|n| format!("f{n}=1")).collect::<Vec<_>>().join(",");
        assert!(parse(&format!("m {}", fields(PARTS_MAX))).is_ok());
        let error = parse(&format!("m {}", fields(PARTS_MAX + 1))).expect_err("too many");
        assert_eq!(error.what, "more than 1000 fields");
    }

    proptest! {
        #[test]
        fn any_text_is_a_line_or_refused(text in ".{0,60}|[m,= \\\\\"ft1i\n]{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_escaped_comes_back(
            measurement in "[a-z ,é]{1,8}",
            key in "[a-z =,]{1,8}",
            tag in "[a-z =,]{1,8}",
            text in "[a-z\"\\\\,= \n]{0,12}",
        ) {
            let name = |text: &str| text.replace(',', "\\,").replace('=', "\\=").replace(' ', "\\ ");
            let measurement_written = measurement.replace(',', "\\,").replace(' ', "\\ ");
            let written = text.replace('\\', "\\\\").replace('"', "\\\"");
            let line = format!("{measurement_written},{}={} {}=\"{written}\" 1", name(&key), name(&tag), name(&key));
            let read = parse(&line).expect("a line").expect("not empty");
            prop_assert_eq!(&*read.measurement, measurement.as_str());
            prop_assert_eq!((&*read.tags[0].0, &*read.tags[0].1), (key.as_str(), tag.as_str()));
            prop_assert_eq!(&read.fields, &vec![(Cow::from(key.as_str()), Value::Text(Cow::from(text.as_str())))]);
        }
    }
}
