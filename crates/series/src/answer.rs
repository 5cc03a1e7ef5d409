//! The answer to a query, encoded as text, CSV or JSON while it comes.
//!
//! How values are written, in every form: moments as RFC 3339 with `Z` and a fraction only when it is not zero; numbers
//! in the shortest form that reads back as the same number (`21.0` is `21`). Not here: the engine. The law: no type of
//! the engine is seen outside this crate.

use std::borrow::Cow;
use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    SchemaRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use model::Timestamp;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::error::QueryError;
use crate::foreign::Cell;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A table for people: aligned columns, no value is empty, control characters as escapes. Held in memory as a
    /// whole before the first line is known.
    Table,
    /// Header line; fields quoted where RFC 4180 asks for it; no value is empty, an empty text is `""`; lines end
    /// with `\n`. Numbers that are not finite are `inf`, `-inf` and `NaN`.
    Csv,
    /// A list of objects, one per row and line; no value, and a number that is not finite, is `null`.
    Json,
}

/// What a query answers. Dropped, the query is cancelled.
#[derive(Debug)]
pub struct Answer {
    columns: Vec<String>,
    schema: SchemaRef,
    batches: mpsc::Receiver<Result<RecordBatch, QueryError>>,
    rows: u64,
    /// What was written already.
    stage: Stage,
    /// What makes it; none when all of it is there.
    _task: Option<CancelOnDrop>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Start,
    Rows,
    Done,
}

#[derive(Debug)]
pub(crate) struct CancelOnDrop(pub AbortHandle);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Answer {
    pub(crate) fn new(
        schema: SchemaRef,
        batches: mpsc::Receiver<Result<RecordBatch, QueryError>>,
        task: CancelOnDrop,
    ) -> Self {
        let columns = schema.fields().iter().map(|field| field.name().clone()).collect();
        Self { columns, schema, batches, rows: 0, stage: Stage::Start, _task: Some(task) }
    }

    /// An answer of which everything is there.
    pub(crate) fn ready(batch: RecordBatch) -> Self {
        let schema = batch.schema();
        let columns = schema.fields().iter().map(|field| field.name().clone()).collect();
        let (sender, batches) = mpsc::channel(1);
        if batch.num_rows() > 0 {
            sender.try_send(Ok(batch)).expect("a new channel has room for one");
        }
        Self { columns, schema, batches, rows: 0, stage: Stage::Start, _task: None }
    }

    /// Names of the columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Rows that were handed out so far.
    #[must_use]
    pub fn rows_so_far(&self) -> u64 {
        self.rows
    }

    /// The next piece of the answer in `format`, some kilobytes of whole rows; `None` after the last. Give the same
    /// format to every call.
    ///
    /// # Errors
    /// [`QueryError`] when the query fails on its way; what was handed out before is not the whole answer then.
    pub async fn chunk(&mut self, format: Format) -> Result<Option<String>, QueryError> {
        if self.stage == Stage::Done {
            return Ok(None);
        }
        let mut text = String::new();
        if format == Format::Table {
            self.table(&mut text).await?;
            self.stage = Stage::Done;
            return Ok(Some(text));
        }
        let is_first = self.stage == Stage::Start;
        self.stage = Stage::Rows;
        if is_first {
            match format {
                Format::Csv => csv_line(&mut text, self.columns.iter().map(|name| Plain::Text(name.into()))),
                _ => text.push('['),
            }
        }
        let Some(batch) = self.batch().await? else {
            self.stage = Stage::Done;
            if format == Format::Json {
                text.push_str(if self.rows == 0 { "]\n" } else { "\n]\n" });
            }
            return Ok(Some(text));
        };
        let before = self.rows - batch.num_rows() as u64;
        let rows = PlainRows::new(&batch);
        for row in 0..batch.num_rows() {
            match format {
                Format::Csv => csv_line(&mut text, rows.row(row)),
                _ => {
                    text.push_str(if before == 0 && row == 0 { "\n" } else { ",\n" });
                    json_row(&mut text, &self.columns, rows.row(row));
                }
            }
        }
        Ok(Some(text))
    }

    /// The whole answer in `format`.
    ///
    /// # Errors
    /// As [`Self::chunk`].
    pub async fn whole(mut self, format: Format) -> Result<String, QueryError> {
        let mut text = String::new();
        while let Some(chunk) = self.chunk(format).await? {
            text.push_str(&chunk);
        }
        Ok(text)
    }

    /// The whole answer as values: what is no text, number, truth or moment comes as text.
    ///
    /// # Errors
    /// As [`Self::chunk`].
    pub async fn cells(mut self) -> Result<Vec<Vec<Cell>>, QueryError> {
        let mut cells = Vec::new();
        while let Some(batch) = self.batch().await? {
            let rows = PlainRows::new(&batch);
            cells.extend((0..batch.num_rows()).map(|row| rows.row(row).map(Plain::into_cell).collect()));
        }
        Ok(cells)
    }

    pub(crate) async fn batch(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        match self.batches.recv().await {
            Some(Ok(batch)) => {
                self.rows += batch.num_rows() as u64;
                Ok(Some(batch))
            }
            Some(Err(error)) => Err(error),
            None => Ok(None),
        }
    }

    async fn table(&mut self, text: &mut String) -> Result<(), QueryError> {
        let mut widths: Vec<usize> = self.columns.iter().map(|name| name.chars().count()).collect();
        let mut lines: Vec<Vec<String>> = Vec::new();
        while let Some(batch) = self.batch().await? {
            let rows = PlainRows::new(&batch);
            for row in 0..batch.num_rows() {
                let cells: Vec<String> = rows.row(row).map(|plain| plain.shown()).collect();
                for (width, cell) in widths.iter_mut().zip(&cells) {
                    *width = (*width).max(cell.chars().count());
                }
                lines.push(cells);
            }
        }
        let is_number: Vec<bool> =
            self.schema.fields().iter().map(|field| field.data_type().is_numeric()).collect();
        let mut line = |cells: &[String]| {
            let start = text.len();
            for (place, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let gap = if place == 0 { "" } else { "  " };
                let _ = if is_number[place] {
                    write!(text, "{gap}{cell:>width$}")
                } else {
                    write!(text, "{gap}{cell:<width$}")
                };
            }
            let end = text[start..].trim_end().len();
            text.truncate(start + end);
            text.push('\n');
        };
        line(&self.columns);
        line(&widths.iter().map(|&width| "-".repeat(width)).collect::<Vec<_>>());
        for cells in &lines {
            line(cells);
        }
        let _ = writeln!(text, "({} row{})", lines.len(), if lines.len() == 1 { "" } else { "s" });
        Ok(())
    }
}

/// A value, free of the engine's types.
enum Plain<'a> {
    Null,
    Text(Cow<'a, str>),
    Integer(i64),
    Number(f64),
    Single(f32),
    Boolean(bool),
    Time(i64),
}

/// A batch whose values can be had row by row.
struct PlainRows<'a> {
    columns: Vec<(&'a ArrayRef, Option<ArrayFormatter<'a>>)>,
}

impl<'a> PlainRows<'a> {
    fn new(batch: &'a RecordBatch) -> Self {
        static OPTIONS: FormatOptions<'static> = FormatOptions::new();
        let columns = batch.columns().iter();
        let formatter = |array: &'a ArrayRef| ArrayFormatter::try_new(array.as_ref(), &OPTIONS).ok();
        Self { columns: columns.map(|array| (array, formatter(array))).collect() }
    }

    fn row(&self, row: usize) -> impl Iterator<Item = Plain<'_>> {
        self.columns.iter().map(move |(array, formatter)| plain(array, row, formatter.as_ref()))
    }
}

fn plain<'a>(array: &'a ArrayRef, row: usize, formatter: Option<&ArrayFormatter<'_>>) -> Plain<'a> {
    // A column of `NULL` alone has no bits that say so.
    if array.is_null(row) || *array.data_type() == DataType::Null {
        return Plain::Null;
    }
    macro_rules! number {
        ($kind:ty) => {
            array.as_primitive::<$kind>().value(row)
        };
    }
    match array.data_type() {
        DataType::Utf8View => Plain::Text(array.as_string_view().value(row).into()),
        DataType::Utf8 => Plain::Text(array.as_string::<i32>().value(row).into()),
        DataType::LargeUtf8 => Plain::Text(array.as_string::<i64>().value(row).into()),
        DataType::Float64 => Plain::Number(number!(Float64Type)),
        DataType::Float32 => Plain::Single(number!(Float32Type)),
        DataType::Float16 => Plain::Single(number!(Float16Type).to_f32()),
        DataType::Int64 => Plain::Integer(number!(Int64Type)),
        DataType::Int32 => Plain::Integer(number!(Int32Type).into()),
        DataType::Int16 => Plain::Integer(number!(Int16Type).into()),
        DataType::Int8 => Plain::Integer(number!(Int8Type).into()),
        DataType::UInt32 => Plain::Integer(number!(UInt32Type).into()),
        DataType::UInt16 => Plain::Integer(number!(UInt16Type).into()),
        DataType::UInt8 => Plain::Integer(number!(UInt8Type).into()),
        DataType::UInt64 => {
            let number = number!(UInt64Type);
            i64::try_from(number).map_or_else(|_| Plain::Text(number.to_string().into()), Plain::Integer)
        }
        DataType::Boolean => Plain::Boolean(array.as_boolean().value(row)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Plain::Time(number!(TimestampMicrosecondType)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            Plain::Time(number!(TimestampMillisecondType).saturating_mul(1_000))
        }
        DataType::Timestamp(TimeUnit::Second, _) => {
            Plain::Time(number!(TimestampSecondType).saturating_mul(1_000_000))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Plain::Time(number!(TimestampNanosecondType).div_euclid(1_000))
        }
        DataType::Date32 => {
            let day = Timestamp::from_micros(i64::from(number!(Date32Type)).saturating_mul(Timestamp::DAY));
            Plain::Text(day.to_string().trim_end_matches("T00:00:00Z").to_owned().into())
        }
        _ => match formatter {
            Some(formatter) => Plain::Text(formatter.value(row).to_string().into()),
            None => Plain::Null,
        },
    }
}

impl Plain<'_> {
    /// The value as people read it.
    fn shown(&self) -> String {
        match self {
            Self::Text(text) => {
                let mut shown = String::with_capacity(text.len());
                for c in text.chars() {
                    if c.is_control() {
                        shown.extend(c.escape_default());
                    } else {
                        shown.push(c);
                    }
                }
                shown
            }
            other => {
                let mut text = String::new();
                other.write(&mut text);
                text
            }
        }
    }

    fn write(&self, text: &mut String) {
        let _ = match self {
            Self::Null => Ok(()),
            Self::Text(value) => text.write_str(value),
            Self::Integer(value) => write!(text, "{value}"),
            Self::Number(value) => write_number(text, *value),
            Self::Single(value) => write!(text, "{value}"),
            Self::Boolean(value) => write!(text, "{value}"),
            Self::Time(micros) => write!(text, "{}", Timestamp::from_micros(*micros)),
        };
    }

    fn into_cell(self) -> Cell {
        match self {
            Self::Null => Cell::Null,
            Self::Text(text) => Cell::Text(text.into_owned()),
            Self::Integer(value) => Cell::Integer(value),
            Self::Number(value) => Cell::Number(value),
            Self::Single(value) => Cell::Number(value.into()),
            Self::Boolean(value) => Cell::Boolean(value),
            Self::Time(micros) => Cell::Time(Timestamp::from_micros(micros)),
        }
    }
}

/// The shortest digits that read back as the same number; with an exponent where that is far shorter.
fn write_number(text: &mut String, number: f64) -> std::fmt::Result {
    let size = number.abs();
    if size != 0.0 && number.is_finite() && !(1e-5..1e17).contains(&size) {
        write!(text, "{number:e}")
    } else {
        write!(text, "{number}")
    }
}

fn csv_line<'a>(text: &mut String, cells: impl Iterator<Item = Plain<'a>>) {
    for (place, cell) in cells.enumerate() {
        if place > 0 {
            text.push(',');
        }
        match &cell {
            Plain::Text(value) if value.is_empty() || value.contains([',', '"', '\n', '\r']) => {
                let _ = write!(text, "\"{}\"", value.replace('"', "\"\""));
            }
            cell => cell.write(text),
        }
    }
    text.push('\n');
}

/// The rows of a batch as lines of CSV, with the header line before them or not.
pub(crate) fn csv(batch: &RecordBatch, with_header: bool) -> String {
    let mut text = String::new();
    if with_header {
        let schema = batch.schema();
        csv_line(&mut text, schema.fields().iter().map(|field| Plain::Text(field.name().as_str().into())));
    }
    let rows = PlainRows::new(batch);
    for row in 0..batch.num_rows() {
        csv_line(&mut text, rows.row(row));
    }
    text
}

/// The rows of a batch as JSON objects, one a line.
pub(crate) fn json_lines(batch: &RecordBatch) -> String {
    let mut text = String::new();
    let columns: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    let rows = PlainRows::new(batch);
    for row in 0..batch.num_rows() {
        json_row(&mut text, &columns, rows.row(row));
        text.push('\n');
    }
    text
}

fn json_row<'a>(text: &mut String, columns: &[String], cells: impl Iterator<Item = Plain<'a>>) {
    for (place, (name, cell)) in columns.iter().zip(cells).enumerate() {
        text.push(if place == 0 { '{' } else { ',' });
        json_text(text, name);
        text.push(':');
        match &cell {
            Plain::Null => text.push_str("null"),
            Plain::Number(value) if !value.is_finite() => text.push_str("null"),
            Plain::Single(value) if !value.is_finite() => text.push_str("null"),
            Plain::Text(value) => json_text(text, value),
            Plain::Time(_) => {
                text.push('"');
                cell.write(text);
                text.push('"');
            }
            cell => cell.write(text),
        }
    }
    text.push_str(if columns.is_empty() { "{}" } else { "}" });
}

fn json_text(text: &mut String, value: &str) {
    text.push_str(&serde_json::to_string(value).expect("text becomes JSON"));
}
