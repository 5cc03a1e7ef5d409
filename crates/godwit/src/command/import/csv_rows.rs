//! Rows of a CSV file: wide (a column per channel) or long (a column that names the channel, and one or two that hold
//! the value).
//!
//! A file is long when it has columns `channel` and `value` (what `godwit export` and `godwit query --csv` write), or
//! when `--channel` or `--value` say so; its other columns are not measurements and are left out. In a wide file the
//! header names the channels, as in `replay`: lower case, other characters `_`.

use std::io::Read;

use csv::{ByteRecord, Reader};
use model::{DeviceName, Names, Timestamp};

use super::row::{BadRow, DEVICE_NAMES, Item, Reading, Row, device};
use crate::command::recording::TIME_NAMES;
use crate::command::recording::cells::{cell, channel_name, delimiter, read, reader, shown};
use crate::command::recording::payload::{number, quoted};
use crate::command::recording::times::Times;
use crate::command::recording::unreadable::Unreadable;

pub(super) struct CsvRows<R> {
    reader: Reader<R>,
    delimiter: u8,
    /// The first line as it stands.
    header_line: Vec<u8>,
    /// The first row was read to understand the header.
    first: Option<ByteRecord>,
    record: ByteRecord,
    headers: Vec<String>,
    time: usize,
    whose: Whose,
    what: What,
    times: Times,
    names: Names,
}

enum Whose {
    One(DeviceName),
    Column(usize),
}

enum What {
    /// Columns and their channels.
    Wide(Vec<(usize, String)>),
    Long {
        channel: usize,
        value: Option<usize>,
        text: Option<usize>,
    },
}

impl<R: Read> CsvRows<R> {
    pub(super) fn open(input: R, head: &[u8], reading: &Reading) -> Result<Self, Unreadable> {
        let mut reader = reader(input, head);
        let (mut header, mut first) = (ByteRecord::new(), ByteRecord::new());
        if !read_row(&mut reader, &mut header)? || !read_row(&mut reader, &mut first)? {
            return Err(Unreadable::Empty);
        }
        let mut headers: Vec<String> =
            header.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        if headers.len() + 1 == first.len() {
            // R writes the row number without naming it.
            headers.insert(0, String::new());
        }
        let columns = Columns(&headers);
        let times = Times::new(reading.zone.clone());
        let time = columns.time(&first, &times, reading.time.as_deref())?;
        let whose = match &reading.device {
            Some(device) => Whose::One(device.clone()),
            None => Whose::Column(columns.device(reading.device_column.as_deref())?),
        };
        let what = columns.what(time, &whose, reading)?;
        let delimiter = delimiter(head);
        let header_line = written(&header, delimiter);
        Ok(Self {
            reader,
            delimiter,
            header_line,
            first: Some(first),
            record: ByteRecord::new(),
            time,
            whose,
            what,
            times,
            names: Names::new(),
            headers,
        })
    }

    pub(super) fn header(&self) -> &[u8] {
        &self.header_line
    }

    pub(super) fn next(&mut self) -> Option<Item> {
        match self.first.take() {
            Some(first) => self.record = first,
            None => match read_row(&mut self.reader, &mut self.record) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            },
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        let row = self.row(line);
        Some(Ok(row.map_err(|why| BadRow { line, why, raw: written(&self.record, self.delimiter) })))
    }

    fn row(&mut self, line: u64) -> Result<Row, String> {
        let (cells, names) = (self.record.len(), self.headers.len());
        if cells != names {
            return Err(format!("it has {cells} cells; the header names {names}"));
        }
        let time = self.time()?;
        let device = match &self.whose {
            Whose::One(one) => one.clone(),
            Whose::Column(at) => device(&mut self.names, text(&self.record, &self.headers, *at)?)?,
        };
        let mut fields = String::new();
        match &self.what {
            What::Wide(columns) => {
                for (at, channel) in columns {
                    put(&mut fields, channel, self.text(*at)?);
                }
            }
            What::Long { channel, value, text } => {
                let channel = self.text(*channel)?;
                if channel.is_empty() {
                    return Err("it names no channel".to_owned());
                }
                let value = value.map_or(Ok(""), |at| self.text(at))?;
                let text = text.map_or(Ok(""), |at| self.text(at))?;
                put_either(&mut fields, channel, value, text);
            }
        }
        if fields.is_empty() {
            return Err("it has no value beside its time".to_owned());
        }
        Ok(Row { line, device, time, fields, raw: written(&self.record, self.delimiter) })
    }

    fn time(&mut self) -> Result<Timestamp, String> {
        let text = cell(&self.record, self.time);
        let time = self.times.read(&text);
        time.ok_or_else(|| format!("`{}` in column `{}` is no time", shown(&text), self.headers[self.time]))
    }

    fn text(&self, at: usize) -> Result<&str, String> {
        text(&self.record, &self.headers, at)
    }
}

fn text<'a>(record: &'a ByteRecord, headers: &[String], at: usize) -> Result<&'a str, String> {
    let cell = record.get(at).unwrap_or_default();
    std::str::from_utf8(cell).map_err(|_| format!("the cell of `{}` is not UTF-8", headers[at]))
}

/// Adds a member: a number as a number, other text quoted; nothing for an empty cell.
fn put(fields: &mut String, channel: &str, cell: &str) {
    if cell.is_empty() {
        return;
    }
    match number(cell) {
        Some(digits) => super::member(fields, channel, &digits),
        None => super::member(fields, channel, &quoted(cell)),
    }
}

/// Adds a member of a file that has a column for numbers and one for texts. A number with a text is a whole number
/// beyond what a float holds, and the text has its digits.
pub(super) fn put_either(fields: &mut String, channel: &str, value: &str, text: &str) {
    match (value, text) {
        (value, "") => put(fields, channel, value),
        ("", text) => super::member(fields, channel, &quoted(text)),
        (value, digits) => put(fields, channel, number(digits).as_deref().unwrap_or(value)),
    }
}

/// Reads a row that is none of the remarks in a file of refused rows; false at the end.
fn read_row<R: Read>(reader: &mut Reader<R>, into: &mut ByteRecord) -> std::io::Result<bool> {
    loop {
        if !read(reader, into)? {
            return Ok(false);
        }
        if !into.get(0).is_some_and(|cell| cell.starts_with(super::refused::REMARK.as_bytes())) {
            return Ok(true);
        }
    }
}

fn written(record: &ByteRecord, delimiter: u8) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    // Writing to memory does not fail.
    let _ = writer.write_byte_record(record);
    let mut line = writer.into_inner().unwrap_or_default();
    line.truncate(line.trim_ascii_end().len());
    line
}

struct Columns<'a>(&'a [String]);

impl Columns<'_> {
    fn named(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|header| header.eq_ignore_ascii_case(name))
    }

    fn asked(&self, name: &str) -> Result<usize, Unreadable> {
        self.named(name)
            .ok_or_else(|| Unreadable::NoSuchColumn { name: name.to_owned(), columns: self.listed() })
    }

    fn listed(&self) -> String {
        let names = self.0.iter().filter(|header| !header.is_empty());
        names.map(|header| format!("`{header}`")).collect::<Vec<_>>().join(", ")
    }

    fn time(&self, first: &ByteRecord, times: &Times, asked: Option<&str>) -> Result<usize, Unreadable> {
        if let Some(name) = asked {
            return self.asked(name);
        }
        let is_time = |at: &usize| times.peek(&cell(first, *at)).is_some();
        let named = || TIME_NAMES.iter().filter_map(|name| self.named(name));
        // The first row may be a bad one: then the name alone decides.
        let by_name = named().find(is_time).or_else(|| named().next());
        let any = || (0..self.0.len()).filter(|at| !self.0[*at].is_empty()).find(is_time);
        by_name.or_else(any).ok_or_else(|| Unreadable::NoTime {
            columns: self.listed(),
            row: first
                .iter()
                .map(|cell| format!("`{}`", shown(&String::from_utf8_lossy(cell))))
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    fn device(&self, asked: Option<&str>) -> Result<usize, Unreadable> {
        match asked {
            Some(name) => self.asked(name),
            None => DEVICE_NAMES
                .iter()
                .find_map(|name| self.named(name))
                .ok_or_else(|| Unreadable::NoDevice { columns: self.listed() }),
        }
    }

    fn what(&self, time: usize, whose: &Whose, reading: &Reading) -> Result<What, Unreadable> {
        let (channel, value) = (reading.channel_column.as_deref(), reading.value_column.as_deref());
        let is_long = channel.is_some()
            || value.is_some()
            || (self.named("channel").is_some() && self.named("value").is_some());
        if is_long {
            return Ok(What::Long {
                channel: self.asked(channel.unwrap_or("channel"))?,
                value: Some(self.asked(value.unwrap_or("value"))?),
                text: self.named("text").filter(|_| value.is_none()),
            });
        }
        let device = match whose {
            Whose::One(_) => None,
            Whose::Column(at) => Some(*at),
        };
        let is_channel =
            |at: &usize| *at != time && Some(*at) != device && (*at > 0 || !self.0[0].is_empty());
        let mut channels: Vec<(usize, String)> = Vec::new();
        for at in (0..self.0.len()).filter(is_channel) {
            let header = &self.0[at];
            let name = if header.is_empty() { format!("column_{}", at + 1) } else { channel_name(header) };
            let taken = channels.iter().find(|(_, other)| *other == name).map(|(at, _)| self.0[*at].clone());
            // `ts` is the time in the message, so no other column may be called that.
            if let Some(first) = taken.or_else(|| (name == "ts").then(|| "the time".to_owned())) {
                return Err(Unreadable::SameName { first, second: header.clone(), name });
            }
            channels.push((at, name));
        }
        if channels.is_empty() {
            return Err(Unreadable::NoValues { columns: self.listed() });
        }
        Ok(What::Wide(channels))
    }
}
