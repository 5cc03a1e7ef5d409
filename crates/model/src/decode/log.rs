//! Lines of a device's log: a text on the channel `log`, and its level on `log.level` where the line names one.
//!
//! A line's time is the one it starts with, else the time of receipt. Lines of one message never share a time, or one
//! would replace the other: each that would comes a microsecond after the line before it. Colours are taken out; the
//! rest of a line stays as it was written.

use std::borrow::Cow;

use super::collect::{Collector, Scalar};
use super::{DecodeError, Decoded};
use crate::device_time::{JudgedTime, SentTime};
use crate::limit::LOG_BYTES_MAX;
use crate::route::Route;
use crate::{Message, Names, Notes};

/// A line that is not this much older than the one before it comes after it, in microseconds: more than the lines of a
/// message, and what loggers count in.
const SAME_MICROS: i64 = 1_000;

pub(super) fn decode(route: &Route, message: &Message, names: &mut Names) -> Result<Decoded, DecodeError> {
    let payload = &message.payload;
    if payload.len() > LOG_BYTES_MAX {
        return Err(DecodeError::too_large("log", payload.len(), LOG_BYTES_MAX));
    }
    let text = std::str::from_utf8(payload).map_err(|e| DecodeError::NotUtf8 { byte: e.valid_up_to() })?;
    let mut out = Collector::new(route, message, names)?;
    let mut before: Option<JudgedTime> = None;
    for line in text.lines() {
        let line = without_colours(line);
        let line = line.trim_end();
        if line.trim_start().is_empty() {
            continue;
        }
        let (sent, rest) = time(line);
        let own = sent.map(|sent| route.time().judge(Some(SentTime::Text(sent)), message.received_at));
        // A line without a time belongs to the one before it: a stack trace, say.
        let mut judged = own.or(before).unwrap_or_else(|| route.time().judge(None, message.received_at));
        if let Some(before) = before.map(|before| before.time)
            && (0..SAME_MICROS).contains(&before.micros_since(judged.time))
        {
            judged.time = before.plus_micros(1);
        }
        judged.notes = own.map_or(Notes::empty(), |own| own.notes);
        before = Some(judged);
        out.set_judged(judged);
        out.put("log", Scalar::Text(line))?;
        if let Some(level) = level(rest) {
            out.put("log.level", Scalar::Text(level))?;
        }
        out.end_sample()?;
    }
    Ok(out.finish())
}

/// The line without the escape sequences that colour it (ECMA-48, section 8.3.117).
fn without_colours(line: &str) -> Cow<'_, str> {
    if !line.contains('\u{1b}') {
        return Cow::Borrowed(line);
    }
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            plain.push(c);
            continue;
        }
        // From the escape to the letter that ends the sequence.
        if chars.next() == Some('[') {
            chars.by_ref().find(|c| !c.is_ascii_digit() && !matches!(c, ';' | '?'));
        }
    }
    Cow::Owned(plain)
}

/// The time at the start of a line, and the line after it.
fn time(line: &str) -> (Option<&str>, &str) {
    let open = line.trim_start().trim_start_matches(['[', '(']);
    let is_date = |text: &str| {
        let bytes = text.as_bytes();
        bytes.len() >= 10
            && bytes[..10].iter().enumerate().all(|(n, byte)| match n {
                4 | 7 => *byte == b'-',
                _ => byte.is_ascii_digit(),
            })
    };
    if !is_date(open) {
        return (None, line);
    }
    // `2026-11-22T12:00:00Z`, or `2026-11-22 12:00:00`.
    let with_space = open.as_bytes().get(10) == Some(&b' ');
    let from = if with_space { 11 } else { 0 };
    let end = open[from..].find([' ', '\t', ']', ')']).map_or(open.len(), |at| from + at);
    let sent = open[..end].trim_end_matches([':', ',']);
    (Some(sent), open[end..].trim_start_matches([']', ')', ' ', '\t', '-', ':']))
}

/// The level that a line names in its first word, or as `level=…`.
fn level(line: &str) -> Option<&'static str> {
    let line = line.trim_start();
    let word = line.split([' ', '\t', ':']).next().unwrap_or_default();
    let inner =
        word.split([']', '>']).next().unwrap_or_default().trim_matches(['[', ']', '(', ')', '<', '>', '|']);
    let is_marked = word.starts_with(['[', '<', '(']) || line[word.len()..].starts_with(" (");
    known(inner, is_marked).or_else(|| {
        let named = line.split_once("level=")?.1.trim_start_matches('"');
        known(named.split([' ', '"', ',']).next().unwrap_or_default(), true)
    })
}

/// A word or, where it is marked as a level, a letter or a number of syslog (RFC 5424, section 6.2.1).
fn known(word: &str, is_marked: bool) -> Option<&'static str> {
    const WORDS: [(&str, &str); 17] = [
        ("emerg", "critical"),
        ("alert", "critical"),
        ("crit", "critical"),
        ("critical", "critical"),
        ("fatal", "critical"),
        ("panic", "critical"),
        ("error", "error"),
        ("err", "error"),
        ("warning", "warning"),
        ("warn", "warning"),
        ("notice", "notice"),
        ("info", "info"),
        ("config", "info"),
        ("debug", "debug"),
        ("trace", "trace"),
        ("verbose", "trace"),
        ("very_verbose", "trace"),
    ];
    if let Some((_, level)) = WORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
        return Some(level);
    }
    if !is_marked {
        return None;
    }
    Some(match word {
        "F" => "critical",
        "E" => "error",
        "W" => "warning",
        "N" => "notice",
        "I" | "C" => "info",
        "D" => "debug",
        "V" | "VV" | "T" => "trace",
        number => match number.parse::<u8>().ok().filter(|number| *number < 192)? % 8 {
            0..=2 => "critical",
            3 => "error",
            4 => "warning",
            5 => "notice",
            6 => "info",
            _ => "debug",
        },
    })
}
