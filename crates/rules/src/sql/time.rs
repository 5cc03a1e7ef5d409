//! `parse_time` and `time_to_epoch`: times as text, by the patterns of Joda-Time that AWS uses.
//!
//! Not here: the time of the message (`timestamp()`, from the context). The law: pattern and zone are read when the statement
//! is loaded; a letter that is not supported is refused there.
//!
//! ```text
//! y year   M month (MMM Jan, MMMM January)   d day   D day of year   E weekday (EEEE in full)   a AM/PM
//! H hour 0-23   h hour 1-12   m minute   s second   S fraction   Z +0100 (ZZ +01:00, ZZZ Europe/Berlin)   z zone's short name
//! ```

use std::fmt::Write;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

use super::lexer::Place;
use super::node::{Node, Scope};
use super::value::Value;
use crate::fault::Fault;

/// `parse_time(pattern, milliseconds, zone)`: milliseconds to text. (The name is AWS's.)
#[derive(Debug)]
pub(crate) struct Format {
    pub(crate) pattern: Pattern,
    pub(crate) zone: TimeZone,
    pub(crate) time: Node,
}

/// `time_to_epoch(text, pattern)`: text to milliseconds.
#[derive(Debug)]
pub(crate) struct Parse {
    pub(crate) pattern: Pattern,
    pub(crate) text: Node,
}

/// A pattern, taken apart.
#[derive(Debug)]
pub(crate) struct Pattern(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Field(char, usize),
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The letters that are supported.
const LETTERS: &str = "yMdDEaHhmsSZz";

impl Pattern {
    /// Reads a pattern that stands at `place`.
    pub(crate) fn parse(text: &str, place: Place) -> Result<Self, Fault> {
        let mut pieces = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(character) = rest.next() {
            if character == '\'' {
                pieces.push(Piece::Text(quoted(&mut rest)));
            } else if character.is_ascii_alphabetic() {
                if !LETTERS.contains(character) {
                    return Err(place
                        .fault(format!("`{character}` is no letter of a time pattern"))
                        .suggesting(format!(
                            "use {LETTERS}, and quote text: `''T''` within a statement's quotes"
                        )));
                }
                let mut width = 1;
                while rest.next_if_eq(&character).is_some() {
                    width += 1;
                }
                pieces.push(Piece::Field(character, width));
            } else {
                pieces.push(Piece::Text(character.to_string()));
            }
        }
        Ok(Self(pieces))
    }

    fn format(&self, time: &Zoned) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Field(letter, width) => write_field(&mut text, *letter, *width, time),
            }
        }
        text
    }

    fn read(&self, text: &str) -> Option<Timestamp> {
        let mut fields = Fields::default();
        let mut rest = text;
        for (at, piece) in self.0.iter().enumerate() {
            rest = match piece {
                Piece::Text(piece) => rest.strip_prefix(piece.as_str())?,
                Piece::Field(letter, width) => {
                    // Digits that touch the digits of the next field end where the pattern says.
                    let touches = matches!(self.0.get(at + 1), Some(Piece::Field(next, _)) if "yMdDHhmsS".contains(*next));
                    fields.read(*letter, *width, touches, rest)?
                }
            };
        }
        if rest.is_empty() { fields.moment() } else { None }
    }
}

/// What stands in quotes; two quotes are one.
fn quoted(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut text = String::new();
    if rest.next_if_eq(&'\'').is_some() {
        return "'".to_owned();
    }
    while let Some(character) = rest.next() {
        if character == '\'' && rest.next_if_eq(&'\'').is_none() {
            break;
        }
        text.push(character);
    }
    text
}

fn write_field(text: &mut String, letter: char, width: usize, time: &Zoned) {
    let month = MONTHS[usize::from(time.month().unsigned_abs() - 1)];
    let weekday = weekday_name(time.weekday());
    let hour12 = if time.hour() % 12 == 0 { 12 } else { time.hour() % 12 };
    let written = match letter {
        'y' if width == 2 => write!(text, "{:02}", time.year().rem_euclid(100)),
        'y' => write!(text, "{:0width$}", time.year()),
        'M' if width >= 4 => write!(text, "{month}"),
        'M' if width == 3 => write!(text, "{}", &month[..3]),
        'M' => write!(text, "{:0width$}", time.month()),
        'd' => write!(text, "{:0width$}", time.day()),
        'D' => write!(text, "{:0width$}", time.day_of_year()),
        'E' if width >= 4 => write!(text, "{weekday}"),
        'E' => write!(text, "{}", &weekday[..3]),
        'a' => write!(text, "{}", if time.hour() < 12 { "AM" } else { "PM" }),
        'H' => write!(text, "{:0width$}", time.hour()),
        'h' => write!(text, "{hour12:0width$}"),
        'm' => write!(text, "{:0width$}", time.minute()),
        's' => write!(text, "{:0width$}", time.second()),
        'S' => {
            let nanos = format!("{:09}", time.subsec_nanosecond());
            write!(text, "{:0<width$}", &nanos[..width.min(9)])
        }
        'Z' if width >= 3 => {
            let zone = time.time_zone().iana_name().map_or_else(|| time.offset().to_string(), str::to_owned);
            write!(text, "{zone}")
        }
        'Z' => {
            let seconds = time.offset().seconds();
            let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
            let colon = if width == 2 { ":" } else { "" };
            write!(text, "{sign}{:02}{colon}{:02}", minutes / 60, minutes % 60)
        }
        _ => write!(text, "{}", time.strftime("%Z")),
    };
    written.expect("text grows");
}

fn weekday_name(day: Weekday) -> &'static str {
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
        [usize::from(day.to_monday_zero_offset().unsigned_abs())]
}

/// What a text said.
struct Fields {
    year: i16,
    month: i8,
    day: i8,
    day_of_year: Option<i16>,
    hour: i8,
    is_afternoon: Option<bool>,
    minute: i8,
    second: i8,
    nanosecond: i32,
    zone: TimeZone,
}

impl Default for Fields {
    /// What a pattern does not name is the start of 1970, in UTC.
    fn default() -> Self {
        Self {
            year: 1970,
            month: 1,
            day: 1,
            day_of_year: None,
            hour: 0,
            is_afternoon: None,
            minute: 0,
            second: 0,
            nanosecond: 0,
            zone: TimeZone::UTC,
        }
    }
}

impl Fields {
    /// Reads one field at the beginning of `text`; what follows it.
    fn read<'t>(&mut self, letter: char, width: usize, touches: bool, text: &'t str) -> Option<&'t str> {
        let most = if touches || letter == 'S' && width > 1 { width } else { 9 };
        let digits = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let number = || text[..digits].parse::<i32>().ok();
        let rest = &text[digits..];
        match letter {
            'M' if width >= 3 => {
                let word = word(text);
                let of =
                    |month: &&str| month.eq_ignore_ascii_case(word) || month[..3].eq_ignore_ascii_case(word);
                self.month = i8::try_from(MONTHS.iter().position(of)?).ok()? + 1;
                return Some(&text[word.len()..]);
            }
            'E' => return Some(&text[word(text).len()..]),
            'a' => {
                let word = word(text);
                self.is_afternoon = Some(word.eq_ignore_ascii_case("pm"));
                return matches!(word.to_ascii_lowercase().as_str(), "am" | "pm")
                    .then(|| &text[word.len()..]);
            }
            'Z' | 'z' => return self.read_zone(text),
            _ => {}
        }
        let value = number()?;
        let small = || i8::try_from(value).ok();
        match letter {
            'y' if width == 2 && digits == 2 => self.year = i16::try_from(value).ok()? + 2000,
            'y' => self.year = i16::try_from(value).ok()?,
            'M' => self.month = small()?,
            'd' => self.day = small()?,
            'D' => self.day_of_year = Some(i16::try_from(value).ok()?),
            'H' | 'h' => self.hour = small()?,
            'm' => self.minute = small()?,
            's' => self.second = small()?,
            _ => self.nanosecond = value * 10_i32.pow(9 - u32::try_from(digits).ok()?),
        }
        Some(rest)
    }

    fn read_zone<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let end =
            text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-:/_".contains(c))).unwrap_or(text.len());
        let (zone, rest) = text.split_at(end);
        self.zone = match zone {
            "Z" | "UTC" | "GMT" => TimeZone::UTC,
            _ => match offset(zone) {
                Some(offset) => TimeZone::fixed(offset),
                None => TimeZone::get(zone).ok()?,
            },
        };
        Some(rest)
    }

    fn moment(self) -> Option<Timestamp> {
        let hour = match self.is_afternoon {
            Some(is_afternoon) => self.hour % 12 + if is_afternoon { 12 } else { 0 },
            None => self.hour,
        };
        let time = Time::new(hour, self.minute, self.second, self.nanosecond).ok()?;
        let date = match self.day_of_year {
            Some(day) => Date::new(self.year, 1, 1).ok()?.with().day_of_year(day).build().ok()?,
            None => Date::new(self.year, self.month, self.day).ok()?,
        };
        Some(self.zone.to_zoned(date.to_datetime(time)).ok()?.timestamp())
    }
}

fn word(text: &str) -> &str {
    &text[..text.bytes().take_while(u8::is_ascii_alphabetic).count()]
}

/// `+0100`, `+01:00` or `-05`.
fn offset(text: &str) -> Option<Offset> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits: String = text[1..].chars().filter(|character| *character != ':').collect();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || !(digits.len() == 2 || digits.len() == 4) {
        return None;
    }
    let hours: i32 = digits[..2].parse().ok()?;
    let minutes: i32 = if digits.len() == 4 { digits[2..].parse().ok()? } else { 0 };
    Offset::from_seconds(sign * (hours * 3_600 + minutes * 60)).ok()
}

/// The zone of this name, which stands at `place`.
pub(crate) fn zone(name: &str, place: Place) -> Result<TimeZone, Fault> {
    if let Some(offset) = offset(name) {
        return Ok(TimeZone::fixed(offset));
    }
    TimeZone::get(name).map_err(|_| {
        place
            .fault(format!("there is no time zone `{name}`"))
            .suggesting("write it as `Europe/Berlin`, or as `+01:00`".to_owned())
    })
}

impl Format {
    pub(crate) fn evaluate(&self, scope: &Scope<'_>) -> Value {
        let millis = self.time.evaluate(scope).int().and_then(|millis| i64::try_from(millis).ok());
        let time = millis.and_then(|millis| Timestamp::from_millisecond(millis).ok());
        time.map_or(Value::Undefined, |time| {
            Value::Text(self.pattern.format(&time.to_zoned(self.zone.clone())))
        })
    }
}

impl Parse {
    pub(crate) fn evaluate(&self, scope: &Scope<'_>) -> Value {
        let text = self.text.evaluate(scope).text();
        let time = text.and_then(|text| self.pattern.read(&text));
        time.map_or(Value::Undefined, |time| Value::Int(time.as_millisecond().into()))
    }
}
