//! Sorted rows → the bytes of a column file. Chooses the columns by trying.
//!
//! Not here: writing to disk. The law: what [`encode`] makes, the scan reads back bit for bit, and no candidate is
//! taken that is not exact for every row.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion,
};
use parquet::schema::types::ColumnPath;

use super::{DECIMALS_MAX, PAGE_ROWS, UNITS};
use crate::rows::{NO_TEXT, Rows};

/// Rows from which a choice is made: enough to see the pace of many devices, few enough to try often.
const SAMPLE_ROWS: usize = 128 * 1024;

/// A steady pace is only worth three columns when it saves this share of the plain ones: a scan reads fewer columns.
const PACE_WORTH: f64 = 0.9;

/// Why rows cannot be encoded: a fault of ours.
#[derive(Debug, thiserror::Error)]
#[error("cannot encode readings as columns")]
pub(crate) struct EncodeError(#[from] ParquetError);

impl From<arrow::error::ArrowError> for EncodeError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self(error.into())
    }
}

/// The column file of `rows`.
pub(crate) fn encode(rows: &Rows) -> Result<Vec<u8>, EncodeError> {
    let mut columns = keys(rows)?;
    columns.extend(time(rows)?);
    columns.extend(values(rows)?);
    columns.extend(rest(rows)?);
    write(&columns, Types::Plain)
}

/// A file of the columns of `batch` as they are.
pub(crate) fn encode_plain(batch: &RecordBatch) -> Result<Vec<u8>, EncodeError> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()));
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties.build()))?;
    writer.write(batch)?;
    Ok(writer.into_inner()?)
}

/// The batches of such a file.
pub(crate) fn decode_plain(bytes: bytes::Bytes) -> Result<Vec<RecordBatch>, EncodeError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()?;
    Ok(reader.collect::<Result<_, _>>()?)
}

/// How a column's values are laid out in its pages; zstd comes on top of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Each value once, and its place.
    Dictionary,
    /// Integers: steps from one to the next.
    Delta,
    /// Texts: their lengths, then all of them.
    DeltaText,
    /// Numbers: their first bytes, then their second, …
    Split,
}

impl Layout {
    fn encoding(self) -> Option<Encoding> {
        match self {
            Self::Dictionary => None,
            Self::Delta => Some(Encoding::DELTA_BINARY_PACKED),
            Self::DeltaText => Some(Encoding::DELTA_LENGTH_BYTE_ARRAY),
            Self::Split => Some(Encoding::BYTE_STREAM_SPLIT),
        }
    }
}

/// A column as it will be written.
pub(crate) struct Column {
    name: String,
    array: ArrayRef,
    layout: Layout,
    statistics: EnabledStatistics,
    /// Encoded bytes of the sample.
    bytes: usize,
}

impl Column {
    /// Tries every layout on the sample and keeps the smallest.
    pub(crate) fn smallest(
        name: impl Into<String>,
        array: ArrayRef,
        layouts: &[Layout],
        statistics: EnabledStatistics,
    ) -> Result<Self, EncodeError> {
        let mut column = Self { name: name.into(), array, layout: layouts[0], statistics, bytes: usize::MAX };
        let rows = column.array.len();
        // The middle, so that neither the first device nor the last decides alone.
        let sample = column.array.slice(rows.saturating_sub(SAMPLE_ROWS) / 2, rows.min(SAMPLE_ROWS));
        if layouts.len() == 1 {
            return Ok(column);
        }
        for &layout in layouts {
            let tried = Self {
                name: column.name.clone(),
                array: Arc::clone(&sample),
                layout,
                statistics: EnabledStatistics::None,
                bytes: 0,
            };
            let bytes = write(std::slice::from_ref(&tried), Types::Plain)?.len();
            if bytes < column.bytes {
                (column.bytes, column.layout) = (bytes, layout);
            }
        }
        Ok(column)
    }

    /// A column of integers without statistics.
    pub(crate) fn integers(name: impl Into<String>, array: Int64Array) -> Result<Self, EncodeError> {
        Self::smallest(name, Arc::new(array), &[Layout::Delta, Layout::Dictionary], EnabledStatistics::None)
    }

    fn properties(&self, builder: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        let path = || ColumnPath::new(vec![self.name.clone()]);
        let builder = builder
            .set_column_dictionary_enabled(path(), self.layout == Layout::Dictionary)
            .set_column_statistics_enabled(path(), self.statistics);
        match self.layout.encoding() {
            Some(encoding) => builder.set_column_encoding(path(), encoding),
            None => builder,
        }
    }
}

/// Whether a file says the types of its columns in the words of Arrow too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Types {
    /// Its columns are integers, numbers and texts: Parquet's own words say it all.
    Plain,
    /// Among them are times with a zone.
    Arrow,
}

/// The bytes of a file of one row group.
pub(crate) fn write(columns: &[Column], types: Types) -> Result<Vec<u8>, EncodeError> {
    let field = |column: &Column| {
        Field::new(&column.name, column.array.data_type().clone(), column.array.null_count() > 0)
    };
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by(concat!("godwit ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_max_row_group_row_count(None);
    for column in columns {
        properties = column.properties(properties);
    }
    let options = ArrowWriterOptions::new()
        .with_properties(properties.build())
        .with_skip_arrow_metadata(types == Types::Plain);
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        columns.iter().map(|column| Arc::clone(&column.array)).collect(),
    )?;
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema, options)?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}

/// Device and channel: constant over a run.
fn keys(rows: &Rows) -> Result<Vec<Column>, EncodeError> {
    let mut devices = Words::default();
    let mut channels = Words::default();
    for run in &rows.runs {
        devices.push(&run.device, run.rows);
        channels.push(&run.channel, run.rows);
    }
    let key = |name: &str, words: Words<'_>| -> Result<Column, EncodeError> {
        Ok(Column {
            name: name.to_owned(),
            array: words.array()?,
            layout: Layout::Dictionary,
            statistics: EnabledStatistics::Page,
            bytes: 0,
        })
    };
    Ok(vec![key("device", devices)?, key("channel", channels)?])
}

/// Words by number, a dictionary in the making.
#[derive(Default)]
struct Words<'a> {
    places: hashbrown::HashMap<&'a str, i32>,
    words: Vec<&'a str>,
    rows: Vec<i32>,
}

impl<'a> Words<'a> {
    fn push(&mut self, word: &'a str, rows: usize) {
        let next = i32::try_from(self.words.len()).expect("fewer words than rows");
        let place = *self.places.entry(word).or_insert_with(|| {
            self.words.push(word);
            next
        });
        self.rows.extend(std::iter::repeat_n(place, rows));
    }

    fn array(self) -> Result<ArrayRef, EncodeError> {
        let words = Arc::new(StringArray::from(self.words));
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(Int32Array::from(self.rows), words)?))
    }
}

/// The coarsest unit in which every one of `micros` is whole.
pub(crate) fn unit_of(micros: impl Iterator<Item = i64> + Clone) -> (&'static str, i64) {
    UNITS
        .into_iter()
        .find(|(_, unit)| micros.clone().all(|micros| micros % unit == 0))
        .expect("everything is whole in microseconds")
}

fn time(rows: &Rows) -> Result<Vec<Column>, EncodeError> {
    let (name, unit) = unit_of(rows.time.iter().copied());
    let plain = Column::smallest(
        format!("time.{name}"),
        Arc::new(Int64Array::from_iter_values(rows.time.iter().map(|time| time / unit))),
        &[Layout::Delta, Layout::Dictionary],
        EnabledStatistics::Page,
    )?;
    let Some(pace) = pace(rows, unit) else { return Ok(vec![plain]) };
    let paced = paced_time(rows, pace, unit)?;
    let bytes: usize = paced.iter().map(|column| column.bytes).sum();
    if (bytes as f64) < plain.bytes as f64 * PACE_WORTH { Ok(paced) } else { Ok(vec![plain]) }
}

/// The commonest distance between neighbours of a run, in microseconds, rounded to a whole second where it is
/// longer than ten: the median over the runs of their medians. `None` when there is nothing to gain.
fn pace(rows: &Rows, unit: i64) -> Option<i64> {
    let mut at = 0;
    let mut medians = Vec::new();
    for run in &rows.runs {
        // A few dozen distances tell the pace of a run.
        let times = &rows.time[at..at + run.rows.min(64)];
        let mut steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        if !steps.is_empty() {
            let middle = steps.len() / 2;
            medians.push(*steps.select_nth_unstable(middle).1);
        }
        at += run.rows;
    }
    if medians.is_empty() {
        return None;
    }
    let middle = medians.len() / 2;
    let median = *medians.select_nth_unstable(middle).1;
    let round = if median >= 10_000_000 { 1_000_000 } else { unit };
    let pace = (median + round / 2) / round * round;
    (pace > unit).then_some(pace)
}

/// Time as base + step × pace + rest: steady devices have steps of one and small rests.
fn paced_time(rows: &Rows, pace: i64, time_unit: i64) -> Result<Vec<Column>, EncodeError> {
    let mut base = Vec::with_capacity(rows.len());
    let mut step = Vec::with_capacity(rows.len());
    let mut rest = Vec::with_capacity(rows.len());
    let mut at = 0;
    for run in &rows.runs {
        let times = &rows.time[at..at + run.rows];
        // The middle of the phases, so that jitter around it does not reach the next step.
        let mut phases: Vec<i64> = times.iter().take(64).map(|time| time.rem_euclid(pace)).collect();
        let middle = phases.len() / 2;
        let phase = *phases.select_nth_unstable(middle).1;
        // Steps are counted from the run's own day, so that they start near zero for every run.
        let day = times[0].div_euclid(model::Timestamp::DAY) * model::Timestamp::DAY;
        let first_base = day.div_euclid(pace) * pace + phase;
        let split = |time: i64, base: i64| {
            let steps = (time - base + pace / 2).div_euclid(pace);
            (steps, time - base - steps * pace)
        };
        // The middle between the extremes: rests of all runs then have the same few values.
        let rests = times.iter().map(|&time| split(time, first_base).1);
        let (least, most) =
            rests.fold((i64::MAX, i64::MIN), |(least, most), rest| (least.min(rest), most.max(rest)));
        let run_base = (first_base + (least + most) / 2) / time_unit * time_unit;
        for &time in times {
            let (steps, left) = split(time, run_base);
            base.push(run_base);
            step.push(steps);
            rest.push(left);
        }
        at += run.rows;
    }
    let (name, unit) = unit_of(rest.iter().copied());
    for rest in &mut rest {
        *rest /= unit;
    }
    Ok(vec![
        Column::integers("time.base", Int64Array::from(base))?,
        Column::integers(format!("time.step.{pace}"), Int64Array::from(step))?,
        Column::integers(format!("time.rest.{name}"), Int64Array::from(rest))?,
    ])
}

/// Numbers that are exact in f64 however large the power of ten: see [`scaled`].
const POWERS: [f64; DECIMALS_MAX as usize + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// The integer whose quotient by 10^`decimals` is exactly `value`, if there is one below 2^53.
fn scaled(value: f64, decimals: usize) -> Option<i64> {
    let digits = (value * POWERS[decimals]).round();
    // Both operands are exact, so the quotient is the f64 nearest to the decimal number: what a parser gives.
    let exact =
        digits.abs() < 9_007_199_254_740_992.0 && (digits / POWERS[decimals]).to_bits() == value.to_bits();
    exact.then_some(digits as i64)
}

/// The integer whose quotient by 10^`decimals` is at most `ulps_max` steps of the last binary digit from `value`, and
/// these steps.
pub(crate) fn scaled_near(value: f64, decimals: usize, ulps_max: i64) -> Option<(i64, i64)> {
    // Adding zero turns -0.0, which an integer cannot say, into 0.0.
    let digits = (value * POWERS[decimals]).round() + 0.0;
    let quotient = digits / POWERS[decimals];
    let ulps = (value.to_bits() as i64).wrapping_sub(quotient.to_bits() as i64);
    let is_near = digits.abs() < 9_007_199_254_740_992.0 && ulps.unsigned_abs() <= ulps_max.unsigned_abs();
    is_near.then_some((digits as i64, ulps))
}

fn values(rows: &Rows) -> Result<Vec<Column>, EncodeError> {
    const RAW: usize = DECIMALS_MAX as usize + 1;
    let mut scale_of_run = Vec::with_capacity(rows.runs.len());
    let mut at = 0;
    for run in &rows.runs {
        let range = at..at + run.rows;
        let numbers = rows.value[range.clone()]
            .iter()
            .zip(&rows.has_value[range.clone()])
            .filter_map(|(value, has)| has.then_some(*value));
        // The least number of decimals that is enough for every number of the run.
        let mut decimals = 0;
        for value in numbers {
            while decimals < RAW && scaled(value, decimals).is_none() {
                decimals += 1;
            }
            if decimals == RAW {
                break;
            }
        }
        // More decimals may be inexact for a number that had fewer: look again.
        let numbers = rows.value[range.clone()].iter().zip(&rows.has_value[range]);
        if decimals != RAW && !numbers.clone().all(|(value, has)| !has || scaled(*value, decimals).is_some())
        {
            decimals = RAW;
        }
        scale_of_run.push(decimals);
        at += run.rows;
    }
    let mut columns = Vec::new();
    for scale in 0..=RAW {
        let stretches = || {
            let runs = rows.runs.iter().zip(&scale_of_run);
            let mut at = 0;
            runs.flat_map(move |(run, &of)| {
                let range = at..at + run.rows;
                at += run.rows;
                range.map(move |row| (row, of == scale))
            })
        };
        if !stretches().any(|(row, of)| of && rows.has_value[row]) {
            continue;
        }
        let present = |(row, of): (usize, bool)| (of && rows.has_value[row]).then(|| rows.value[row]);
        if scale == RAW {
            let array = Float64Array::from_iter(stretches().map(present));
            columns.push(Column::smallest(
                "value.f64",
                Arc::new(array),
                &[Layout::Split, Layout::Dictionary],
                EnabledStatistics::None,
            )?);
        } else {
            let digits = |value: f64| scaled(value, scale).expect("tried before");
            let array = Int64Array::from_iter(stretches().map(|at| present(at).map(digits)));
            columns.push(Column::integers(format!("value.e{scale}"), array)?);
        }
    }
    Ok(columns)
}

/// Text, flags, topic and receipt.
fn rest(rows: &Rows) -> Result<Vec<Column>, EncodeError> {
    let mut columns = Vec::new();
    if !rows.texts.is_empty() {
        let text = |&place: &u32| (place != NO_TEXT).then(|| rows.texts[place as usize].as_str());
        let array: StringArray = rows.text.iter().map(text).collect();
        let layouts = [Layout::Dictionary, Layout::DeltaText];
        columns.push(Column::smallest("text", Arc::new(array), &layouts, EnabledStatistics::None)?);
    }
    if rows.flags.iter().any(|&flags| flags != 0) {
        let array = Int64Array::from_iter_values(rows.flags.iter().map(|&flags| i64::from(flags)));
        let mut flags = Column::integers("flags", array)?;
        flags.layout = Layout::Dictionary;
        columns.push(flags);
    }
    let mut topics = Words::default();
    for &place in &rows.topic {
        topics.push(&rows.topics[place as usize], 1);
    }
    columns.push(Column {
        name: "topic".to_owned(),
        array: topics.array()?,
        layout: Layout::Dictionary,
        statistics: EnabledStatistics::None,
        bytes: 0,
    });
    debug_assert!(columns.iter().all(|column| *column.array.data_type() != DataType::Null));

    let received = Column::integers("received.ms", Int64Array::from(rows.received_ms.clone()))?;
    let delays = rows.time.iter().zip(&rows.received_ms).map(|(time, ms)| ms - time.div_euclid(1_000));
    let delay = Column::integers("delay.ms", Int64Array::from_iter_values(delays))?;
    columns.push(if delay.bytes < received.bytes { delay } else { received });
    Ok(columns)
}
