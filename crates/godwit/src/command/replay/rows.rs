//! A recording as rows: CSV or JSON lines, one message each.
//!
//! Not here: how rows are sent. The law: a row that cannot be read is named with its line and its reason, and stops
//! no other.

use std::io::{self, Read};

use jiff::tz::TimeZone;
use model::Timestamp;

use super::csv_rows::CsvRows;
use super::json_rows::JsonRows;
use crate::command::recording::unreadable::Unreadable;
use crate::command::recording::without_bom;

/// How a recording is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Cells with a header line; between them a comma, semicolon or tab
    Csv,
    /// A JSON object a line
    Jsonl,
}

impl Format {
    /// By the file's name, else by its first character.
    pub(crate) fn detect(name: &str, head: &[u8]) -> Self {
        let name = name.to_ascii_lowercase();
        if [".jsonl", ".ndjson", ".json"].iter().any(|end| name.ends_with(end)) {
            return Self::Jsonl;
        }
        let first = without_bom(head).iter().find(|byte| !byte.is_ascii_whitespace());
        if first == Some(&b'{') && !name.ends_with(".csv") { Self::Jsonl } else { Self::Csv }
    }
}

/// What the user says of the file.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// The zone of times that name none.
    pub(crate) zone: TimeZone,
    /// The column or field that holds the time, by its name in the file; else it is found.
    pub(crate) time: Option<String>,
}

/// One message to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its line in the file, from 1.
    pub(crate) line: u64,
    /// When it was measured.
    pub(crate) time: Timestamp,
    /// The JSON.
    pub(crate) payload: Vec<u8>,
}

/// A row that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadRow {
    /// Its line in the file, from 1.
    pub(crate) line: u64,
    /// What is wrong with it.
    pub(crate) why: String,
}

/// What comes of a line.
pub(crate) type Item = io::Result<Result<Row, BadRow>>;

/// The rows of a recording, in the file's order.
pub(crate) enum Rows<R> {
    Csv(Box<CsvRows<R>>),
    Json(Box<JsonRows<R>>),
}

impl<R: Read> Rows<R> {
    /// Reads the header, if there is one. `head` is the start of the file, `input` the whole of it without a byte
    /// order mark.
    pub(crate) fn open(format: Format, input: R, head: &[u8], reading: &Reading) -> Result<Self, Unreadable> {
        Ok(match format {
            Format::Csv => Self::Csv(Box::new(CsvRows::open(input, without_bom(head), reading)?)),
            Format::Jsonl => Self::Json(Box::new(JsonRows::open(input, reading))),
        })
    }
}

impl<R: Read> Iterator for Rows<R> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        match self {
            Self::Csv(rows) => rows.next(),
            Self::Json(rows) => rows.next(),
        }
    }
}
