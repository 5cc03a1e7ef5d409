//! Rows of a CSV file.
//!
//! The header names the channels: lower case, other characters `_`. An unnamed first column is a row number and is
//! dropped; R writes such a column without naming it at all, so that the header has one name fewer than the rows
//! have cells.

use std::io::Read;

use csv::{ByteRecord, Reader};
use jiff::civil;
use model::Timestamp;

use super::rows::{BadRow, Item, Reading, Row};
use crate::command::recording::TIME_NAMES;
use crate::command::recording::cells::{cell, channel_name, read, reader, shown};
use crate::command::recording::payload::Payload;
use crate::command::recording::times::Times;
use crate::command::recording::unreadable::Unreadable;

pub(crate) struct CsvRows<R> {
    reader: Reader<R>,
    /// The first row was read to understand the header.
    first: Option<ByteRecord>,
    record: ByteRecord,
    columns: Vec<Column>,
    time: TimeAt,
    times: Times,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    /// As the file calls it.
    header: String,
    /// As its channel is called; `None`: the time, or dropped.
    channel: Option<String>,
}

/// Where the time stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeAt {
    Column(usize),
    /// A date in one column, the time of day in another.
    DateAndTime(usize, usize),
}

impl<R: Read> CsvRows<R> {
    pub(super) fn open(input: R, head: &[u8], reading: &Reading) -> Result<Self, Unreadable> {
        let mut reader = reader(input, head);
        let (mut header, mut first) = (ByteRecord::new(), ByteRecord::new());
        if !read(&mut reader, &mut header)? || !read(&mut reader, &mut first)? {
            return Err(Unreadable::Empty);
        }
        let mut columns = columns(&header, first.len());
        let times = Times::new(reading.zone.clone());
        let time = find_time(&columns, &first, &times, reading.time.as_deref())?;
        match time {
            TimeAt::Column(at) => columns[at].channel = None,
            TimeAt::DateAndTime(date, time) => {
                columns[date].channel = None;
                columns[time].channel = None;
            }
        }
        refuse_same_names(&columns)?;
        Ok(Self { reader, first: Some(first), record: ByteRecord::new(), columns, time, times })
    }

    pub(super) fn next(&mut self) -> Option<Item> {
        match self.first.take() {
            Some(first) => self.record = first,
            None => match read(&mut self.reader, &mut self.record) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            },
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        Some(Ok(self.row(line).map_err(|why| BadRow { line, why })))
    }

    fn row(&mut self, line: u64) -> Result<Row, String> {
        let (cells, names) = (self.record.len(), self.columns.len());
        if cells != names {
            return Err(format!("it has {cells} cells; the header names {names}"));
        }
        let time = self.time()?;
        let mut payload = Payload::new(time);
        for (column, cell) in self.columns.iter().zip(&self.record) {
            if let Some(channel) = &column.channel {
                let cell = std::str::from_utf8(cell)
                    .map_err(|_| format!("the cell of `{}` is not UTF-8", column.header))?;
                payload.cell(channel, cell);
            }
        }
        let payload = payload.finish().ok_or("it has no value beside its time")?;
        Ok(Row { line, time, payload })
    }

    fn time(&mut self) -> Result<Timestamp, String> {
        let text = |at: usize| cell(&self.record, at);
        match self.time {
            TimeAt::Column(at) => {
                let (text, header) = (text(at), &self.columns[at].header);
                self.times
                    .read(&text)
                    .ok_or_else(|| format!("`{}` in column `{header}` is no time", shown(&text)))
            }
            TimeAt::DateAndTime(date, time) => {
                let text = format!("{} {}", text(date), text(time));
                self.times.read(&text).ok_or_else(|| format!("`{}` is no time", shown(&text)))
            }
        }
    }
}

fn columns(header: &ByteRecord, cells: usize) -> Vec<Column> {
    let unnamed = || Column { header: String::new(), channel: None };
    let named = header.iter().enumerate().map(|(at, name)| {
        let header = String::from_utf8_lossy(name).into_owned();
        if header.is_empty() && at == 0 {
            return unnamed();
        }
        let header = if header.is_empty() { format!("column_{}", at + 1) } else { header };
        let channel = Some(channel_name(&header));
        Column { header, channel }
    });
    let row_number = (header.len() + 1 == cells).then(unnamed);
    row_number.into_iter().chain(named).collect()
}

fn find_time(
    columns: &[Column],
    first: &ByteRecord,
    times: &Times,
    wanted: Option<&str>,
) -> Result<TimeAt, Unreadable> {
    let named = |name: &str| columns.iter().position(|column| column.header.eq_ignore_ascii_case(name));
    if let Some(name) = wanted {
        let at = named(name)
            .ok_or_else(|| Unreadable::NoSuchColumn { name: name.to_owned(), columns: listed(columns) })?;
        return Ok(TimeAt::Column(at));
    }
    if let (Some(date), Some(time)) = (named("date"), named("time"))
        && cell(first, date).parse::<civil::Date>().is_ok()
        && cell(first, time).parse::<civil::Time>().is_ok()
        && cell(first, time).contains(':')
    {
        return Ok(TimeAt::DateAndTime(date, time));
    }
    let is_time = |at: &usize| times.peek(&cell(first, *at)).is_some();
    let by_name = TIME_NAMES.iter().filter_map(|name| named(name)).find(is_time);
    // The dropped row number is asked last of all: it is not in the list.
    let any = || (0..columns.len()).filter(|at| columns[*at].channel.is_some()).find(is_time);
    by_name.or_else(any).map(TimeAt::Column).ok_or_else(|| Unreadable::NoTime {
        columns: listed(columns),
        row: first
            .iter()
            .map(|cell| format!("`{}`", shown(&String::from_utf8_lossy(cell))))
            .collect::<Vec<_>>()
            .join(", "),
    })
}

/// `ts` is the time in the message, so no other column may be called that.
fn refuse_same_names(columns: &[Column]) -> Result<(), Unreadable> {
    let mut taken = vec![("the time", "ts")];
    for column in columns {
        let Some(name) = column.channel.as_deref() else { continue };
        if let Some((first, _)) = taken.iter().find(|(_, other)| *other == name) {
            return Err(Unreadable::SameName {
                first: (*first).to_owned(),
                second: column.header.clone(),
                name: name.to_owned(),
            });
        }
        taken.push((&column.header, name));
    }
    Ok(())
}

fn listed(columns: &[Column]) -> String {
    let names = columns.iter().filter(|column| !column.header.is_empty());
    names.map(|column| format!("`{}`", column.header)).collect::<Vec<_>>().join(", ")
}
