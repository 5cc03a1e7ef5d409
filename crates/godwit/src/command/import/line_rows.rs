//! Rows of a file in InfluxDB's line protocol: the device from tags, a channel per field, the time in its unit.
//!
//! Not here: the syntax (`line_protocol`). A text may hold line breaks: a line that ends within one is tried together
//! with the lines that follow; when that makes no line, it alone is refused and the others are read for themselves.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read};

use model::{DeviceName, Names, Timestamp};

use super::line_protocol::{self, Line, Value};
use super::row::{BadRow, Channels, DEVICE_NAMES, Item, Precision, Reading, Row, device};
use crate::command::recording::lines::{Lines, too_long};
use crate::command::recording::payload::quoted;

/// Most lines that one text may reach over.
const LINES_JOINED_MAX: usize = 64;
/// Most unused tags that are remembered by name.
const UNUSED_TAGS_MAX: usize = 20;

pub(super) struct LineRows<R> {
    lines: Lines<R>,
    /// Lines that were read in search of the end of a text, and are to be read for themselves.
    ahead: VecDeque<Raw>,
    names: Names,
    one: Option<DeviceName>,
    precision: Precision,
    channels: Channels,
    device_tags: Vec<String>,
    channel_tags: Vec<String>,
    unused_tags: BTreeSet<String>,
}

struct Raw {
    line: u64,
    text: Vec<u8>,
    is_too_long: bool,
}

impl<R: Read> LineRows<R> {
    pub(super) fn open(input: R, reading: &Reading) -> Self {
        Self {
            lines: Lines::open(input),
            ahead: VecDeque::new(),
            names: Names::new(),
            one: reading.device.clone(),
            precision: reading.precision,
            channels: reading.channels,
            device_tags: reading.device_tags.clone(),
            channel_tags: reading.channel_tags.clone(),
            unused_tags: BTreeSet::new(),
        }
    }

    pub(super) fn remark(&self) -> Option<String> {
        let tags: Vec<&str> = self.unused_tags.iter().map(String::as_str).collect();
        (!tags.is_empty()).then(|| {
            format!(
                "tags that were left out: {}; where they tell devices or channels apart, name them with --device-tag or \
                 --channel-tag",
                tags.join(", ")
            )
        })
    }

    pub(super) fn next(&mut self) -> Option<Item> {
        loop {
            let raw = match self.ahead.pop_front().map_or_else(|| self.read(), |raw| Ok(Some(raw))) {
                Ok(Some(raw)) => raw,
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            };
            match self.item(raw) {
                Ok(Some(row)) => return Some(Ok(row)),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn read(&mut self) -> io::Result<Option<Raw>> {
        if !self.lines.read()? {
            return Ok(None);
        }
        let text = self.lines.text().to_vec();
        Ok(Some(Raw { line: self.lines.number(), text, is_too_long: self.lines.is_too_long() }))
    }

    /// What comes of a line; `None` when there is nothing in it.
    fn item(&mut self, raw: Raw) -> io::Result<Option<Result<Row, BadRow>>> {
        let Raw { line, text: raw, is_too_long } = raw;
        if is_too_long {
            return Ok(Some(Err(BadRow { line, why: too_long(), raw })));
        }
        let Ok(text) = std::str::from_utf8(&raw) else {
            return Ok(Some(Err(BadRow { line, why: "it is not UTF-8".to_owned(), raw })));
        };
        let refused = match line_protocol::parse(text) {
            Ok(None) => return Ok(None),
            Ok(Some(parsed)) => {
                let row = self.row(line, &parsed, raw.clone());
                return Ok(Some(row.map_err(|why| BadRow { line, why, raw })));
            }
            Err(refused) => refused,
        };
        if refused.is_open_text
            && let Some(joined) = self.joined(text.to_owned())?
        {
            let parsed = line_protocol::parse(&joined).ok().flatten();
            if let Some(parsed) = parsed {
                let row = self.row(line, &parsed, joined.clone().into_bytes());
                return Ok(Some(row.map_err(|why| BadRow { line, why, raw: joined.into_bytes() })));
            }
        }
        let why = format!("column {}: {}", refused.column, refused.what);
        Ok(Some(Err(BadRow { line, why, raw })))
    }

    /// The line with those that its text reaches over; `None` when no line comes of it.
    fn joined(&mut self, mut text: String) -> io::Result<Option<String>> {
        for joined in 0..LINES_JOINED_MAX {
            if self.ahead.len() == joined {
                match self.read()? {
                    Some(raw) => self.ahead.push_back(raw),
                    None => return Ok(None),
                }
            }
            let next = &self.ahead[joined];
            let Some(next) = std::str::from_utf8(&next.text).ok().filter(|_| !next.is_too_long) else {
                return Ok(None);
            };
            text.push('\n');
            text.push_str(next);
            match line_protocol::parse(&text) {
                Ok(_) => {
                    self.ahead.drain(..=joined);
                    return Ok(Some(text));
                }
                Err(error) if error.is_open_text => {}
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    fn row(&mut self, line: u64, parsed: &Line<'_>, raw: Vec<u8>) -> Result<Row, String> {
        let time = parsed.time.ok_or("it has no time: only what has one can be imported")?;
        let time = self.micros(time).ok_or("its time is out of range: is --precision right?")?;
        let device = self.device(parsed)?;
        self.note_unused(parsed);
        let mut channel = String::new();
        if self.channels == Channels::MeasurementField {
            channel.push_str(&parsed.measurement);
            channel.push('.');
        }
        for name in &self.channel_tags {
            if let Some((_, value)) = parsed.tags.iter().find(|(key, _)| key == name) {
                channel.push_str(value);
                channel.push('.');
            }
        }
        let stem = channel.len();
        let mut fields = String::new();
        for (key, value) in &parsed.fields {
            channel.truncate(stem);
            channel.push_str(key);
            if channel.eq_ignore_ascii_case("ts") {
                return Err(format!(
                    "a channel cannot be called `{channel}`: add the measurement with --channels"
                ));
            }
            match value {
                Value::Number(digits) => super::member(&mut fields, &channel, digits),
                Value::Boolean(true) => super::member(&mut fields, &channel, "true"),
                Value::Boolean(false) => super::member(&mut fields, &channel, "false"),
                Value::Text(text) => super::member(&mut fields, &channel, &quoted(text)),
            }
        }
        Ok(Row { line, device, time, fields, raw })
    }

    fn micros(&self, time: i64) -> Option<Timestamp> {
        let micros = match self.precision {
            Precision::Ns => Some(time.div_euclid(1_000)),
            Precision::Us => Some(time),
            Precision::Ms => time.checked_mul(1_000),
            Precision::S => time.checked_mul(1_000_000),
        };
        micros.map(Timestamp::from_micros)
    }

    fn device(&mut self, parsed: &Line<'_>) -> Result<DeviceName, String> {
        if let Some(one) = &self.one {
            return Ok(one.clone());
        }
        let tag = |name: &str| parsed.tags.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        if self.device_tags.is_empty() {
            let found = DEVICE_NAMES.iter().find_map(|name| tag(name));
            let text = found
                .ok_or("it has no tag `device`: name its tag with --device-tag, or the device with --as")?;
            return device(&mut self.names, text);
        }
        let mut text = String::new();
        for (nth, name) in self.device_tags.iter().enumerate() {
            let value = tag(name).ok_or_else(|| format!("it has no tag `{name}`, which names its device"))?;
            if nth > 0 {
                text.push('-');
            }
            text.push_str(value);
        }
        device(&mut self.names, &text)
    }

    fn note_unused(&mut self, parsed: &Line<'_>) {
        for (key, _) in &parsed.tags {
            let is_known = |names: &[String]| names.iter().any(|name| name == key);
            let is_device =
                self.one.is_none() && self.device_tags.is_empty() && DEVICE_NAMES.contains(&&**key);
            let is_used = is_device || is_known(&self.device_tags) || is_known(&self.channel_tags);
            if !is_used && self.unused_tags.len() < UNUSED_TAGS_MAX && !self.unused_tags.contains(&**key) {
                self.unused_tags.insert(key.to_string());
            }
        }
    }
}
