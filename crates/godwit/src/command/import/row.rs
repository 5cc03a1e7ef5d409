//! A file as rows: each one device, one time, and what was measured.
//!
//! Not here: how a row is sent. The law: what cannot be read is handed on as it stands, with its line and its reason,
//! and stops no other row.

use std::io::{self, Read};

use jiff::tz::TimeZone;
use model::{DeviceName, Names, Timestamp};

use super::csv_rows::CsvRows;
use super::json_rows::JsonRows;
use super::line_rows::LineRows;
use crate::command::recording::unreadable::Unreadable;
use crate::command::recording::without_bom;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Cells with a header line; between them a comma, semicolon or tab
    Csv,
    /// A JSON object a line
    Jsonl,
    /// InfluxDB's line protocol
    Line,
}

impl Format {
    /// By the file's name, else by its first character.
    pub(super) fn detect(name: &str, head: &[u8]) -> Self {
        let name = name.to_ascii_lowercase();
        let name = name.trim_end_matches(".rejected").trim_end_matches(".gz");
        let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        if ends(&[".csv", ".tsv", ".txt"]) {
            return Self::Csv;
        }
        if ends(&[".jsonl", ".ndjson", ".json"]) {
            return Self::Jsonl;
        }
        if ends(&[".lp", ".line", ".influx"]) {
            return Self::Line;
        }
        let first = without_bom(head).iter().find(|byte| !byte.is_ascii_whitespace());
        if matches!(first, Some(b'{' | b'[')) { Self::Jsonl } else { Self::Csv }
    }
}

/// Unit of the times of the line protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Precision {
    /// Nanoseconds
    Ns,
    /// Microseconds
    Us,
    /// Milliseconds
    Ms,
    /// Seconds
    S,
}

/// How channels of the line protocol are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Channels {
    /// weather.temperature
    #[value(name = "measurement.field")]
    MeasurementField,
    /// temperature
    Field,
}

/// What the user says of the file.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// The device of every row; else each row names its own.
    pub(super) device: Option<DeviceName>,
    /// The zone of times that name none.
    pub(super) zone: TimeZone,
    /// The column or field that holds the time, else it is found.
    pub(super) time: Option<String>,
    /// The column or field that holds the device, else it is found.
    pub(super) device_column: Option<String>,
    /// The column or field that holds the channel, in a file of one value a row.
    pub(super) channel_column: Option<String>,
    /// The column or field that holds the value there.
    pub(super) value_column: Option<String>,
    pub(super) precision: Precision,
    pub(super) channels: Channels,
    /// Tags that make the device, in this order.
    pub(super) device_tags: Vec<String>,
    /// Tags whose values become part of the channel.
    pub(super) channel_tags: Vec<String>,
}

/// Columns, fields and tags that hold a device when nobody says which.
pub(super) const DEVICE_NAMES: [&str; 3] = ["device", "device_id", "deviceid"];

/// One device at one time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// Its line in the file, from 1.
    pub(super) line: u64,
    pub(super) device: DeviceName,
    pub(super) time: Timestamp,
    /// Members of a JSON object: `"co2":721.25,"temperature":23.18`.
    pub(super) fields: String,
    /// The row as it stands in the file, for the case that it must be refused later.
    pub(super) raw: Vec<u8>,
}

/// A row that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadRow {
    /// Its line in the file, from 1.
    pub(super) line: u64,
    /// What is wrong with it.
    pub(super) why: String,
    /// As it stands in the file.
    pub(super) raw: Vec<u8>,
}

/// What comes of a row.
pub(super) type Item = io::Result<Result<Row, BadRow>>;

/// The rows of a file, in its order.
pub(super) enum Rows<R> {
    Csv(Box<CsvRows<R>>),
    Json(Box<JsonRows<R>>),
    Line(Box<LineRows<R>>),
}

impl<R: Read> Rows<R> {
    /// Reads the header, if there is one. `head` is the start of the file, `input` the whole of it without a byte
    /// order mark.
    pub(super) fn open(format: Format, input: R, head: &[u8], reading: &Reading) -> Result<Self, Unreadable> {
        Ok(match format {
            Format::Csv => Self::Csv(Box::new(CsvRows::open(input, without_bom(head), reading)?)),
            Format::Jsonl => Self::Json(Box::new(JsonRows::open(input, reading))),
            Format::Line => Self::Line(Box::new(LineRows::open(input, reading))),
        })
    }

    /// The first line of the file where it says how the others are to be read, for a file of refused rows.
    pub(super) fn header(&self) -> Option<&[u8]> {
        match self {
            Self::Csv(rows) => Some(rows.header()),
            Self::Json(_) | Self::Line(_) => None,
        }
    }

    /// What the reader should know at the end: tags that were not used.
    pub(super) fn remark(&self) -> Option<String> {
        match self {
            Self::Line(rows) => rows.remark(),
            Self::Csv(_) | Self::Json(_) => None,
        }
    }
}

impl<R: Read> Iterator for Rows<R> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        match self {
            Self::Csv(rows) => rows.next(),
            Self::Json(rows) => rows.next(),
            Self::Line(rows) => rows.next(),
        }
    }
}

/// The device that a cell, field or tag names: every character that a device name cannot have becomes `_`.
pub(super) fn device(names: &mut Names, text: &str) -> Result<DeviceName, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("it names no device".to_owned());
    }
    names.device(text).ok_or_else(|| "its device name is longer than 128 bytes".to_owned())
}
