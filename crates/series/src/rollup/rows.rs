//! Rollup rows as columns: their schema, and how folded rows become batches and files.
//!
//! Not here: the fold (`bucket`). The law: rows are sorted by (device, channel, time), each bucket once.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Builder, Int64Builder, RecordBatch, StringViewBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};

use super::bucket::RollupRow;
use crate::rows::Key;
use crate::schema;

/// Position of `time`, `device` and `channel` in [`rollup_schema`].
pub(crate) const TIME: usize = 0;
/// Position of `device`.
pub(crate) const DEVICE: usize = 1;
/// Position of `channel`.
pub(crate) const CHANNEL: usize = 2;

/// Position of `frozen`.
pub(crate) const FROZEN: usize = 15;

/// The columns of `readings_1m`, `readings_5m`, `readings_1h`, and of their files.
pub(crate) fn rollup_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let number = |name: &str| Field::new(name, DataType::Float64, true);
        let whole = |name: &str| Field::new(name, DataType::Int64, false);
        let moment = |name: &str, may_lack: bool| Field::new(name, schema::timestamp(), may_lack);
        Arc::new(Schema::new(vec![
            moment("time", false),
            Field::new("device", DataType::Utf8View, false),
            Field::new("channel", DataType::Utf8View, false),
            whole("count"),
            number("sum"),
            number("min"),
            number("max"),
            number("first"),
            number("last"),
            number("seconds"),
            number("weighted_sum"),
            number("increase"),
            moment("first_time", true),
            moment("last_time", true),
            whole("texts"),
            Field::new("frozen", DataType::Boolean, false),
        ]))
    });
    Arc::clone(&SCHEMA)
}

/// A batch in the making.
pub(crate) struct RollupRows {
    time: TimestampMicrosecondBuilder,
    device: StringViewBuilder,
    channel: StringViewBuilder,
    count: Int64Builder,
    numbers: [Float64Builder; 8],
    first_time: TimestampMicrosecondBuilder,
    last_time: TimestampMicrosecondBuilder,
    texts: Int64Builder,
    rows: usize,
}

impl Default for RollupRows {
    fn default() -> Self {
        let names = || StringViewBuilder::new().with_deduplicate_strings();
        let moments = || TimestampMicrosecondBuilder::new().with_timezone("+00:00");
        Self {
            time: moments(),
            device: names(),
            channel: names(),
            count: Int64Builder::new(),
            numbers: Default::default(),
            first_time: moments(),
            last_time: moments(),
            texts: Int64Builder::new(),
            rows: 0,
        }
    }
}

impl RollupRows {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// Adds a row after all others.
    pub(crate) fn push(&mut self, device: &str, channel: &str, row: &RollupRow) {
        self.time.append_value(row.time);
        self.device.append_value(device);
        self.channel.append_value(channel);
        // Readings of an hour are far fewer than 2^63.
        self.count.append_value(row.count as i64);
        self.texts.append_value(row.texts as i64);
        let of = row.numbers.as_ref();
        self.first_time.append_option(of.map(|of| of.first_time));
        self.last_time.append_option(of.map(|of| of.last_time));
        let values =
            of.map(|of| [of.sum, of.min, of.max, of.first, of.last, of.seconds, of.weighted_sum].map(Some));
        let values = values.unwrap_or_default().into_iter().chain([of.and_then(|of| of.increase)]);
        for (column, value) in self.numbers.iter_mut().zip(values) {
            column.append_option(value);
        }
        self.rows += 1;
    }

    /// The batch of all rows; then none are left.
    pub(crate) fn finish(&mut self) -> RecordBatch {
        let frozen = BooleanArray::from(vec![false; std::mem::take(&mut self.rows)]);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.time.finish()),
            Arc::new(self.device.finish()),
            Arc::new(self.channel.finish()),
            Arc::new(self.count.finish()),
        ];
        columns.extend(self.numbers.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
        columns.push(Arc::new(self.first_time.finish()));
        columns.push(Arc::new(self.last_time.finish()));
        columns.push(Arc::new(self.texts.finish()));
        columns.push(Arc::new(frozen));
        RecordBatch::try_new(rollup_schema(), columns).expect("built for this schema")
    }
}

/// The identity of a row: its bucket's start, device and channel.
pub(crate) fn key_at(batch: &RecordBatch, row: usize) -> Key {
    let text = |column: usize| batch.column(column).as_string_view().value(row).to_owned();
    let time = batch.column(TIME).as_primitive::<TimestampMicrosecondType>().value(row);
    Key { device: text(DEVICE), channel: text(CHANNEL), time }
}

/// The times of the rows.
pub(crate) fn times(batch: &RecordBatch) -> &[i64] {
    batch.column(TIME).as_primitive::<TimestampMicrosecondType>().values()
}

/// Whether the batch has rows.
pub(crate) fn is_empty(batch: &RecordBatch) -> bool {
    batch.column(TIME).is_empty()
}
