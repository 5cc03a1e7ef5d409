//! What SQL sees of readings: names and types of the columns, and the one order in which rows are kept.
//!
//! Not here: how a column file stores them (see `column`). The law: whatever a file's own columns are, a scan answers
//! in exactly this schema.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::expressions::Column;

/// Position of `time` in [`readings`].
pub(crate) const TIME: usize = 0;
/// Position of `device`.
pub(crate) const DEVICE: usize = 1;
/// Position of `channel`.
pub(crate) const CHANNEL: usize = 2;
/// Position of `value`.
pub(crate) const VALUE: usize = 3;
/// Position of `text`.
pub(crate) const TEXT: usize = 4;
/// Position of `flags`.
pub(crate) const FLAGS: usize = 5;
/// Position of `topic`.
pub(crate) const TOPIC: usize = 6;
/// Position of `received_at`.
pub(crate) const RECEIVED_AT: usize = 7;

/// The columns that identify a reading, in the order in which rows are sorted.
pub(crate) const KEY: [usize; 3] = [DEVICE, CHANNEL, TIME];

/// Every moment is microseconds UTC.
pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

/// The columns of `readings`.
pub(crate) fn readings() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("time", timestamp(), false),
            Field::new("device", DataType::Utf8View, false),
            Field::new("channel", DataType::Utf8View, false),
            Field::new("value", DataType::Float64, true),
            Field::new("text", DataType::Utf8View, true),
            Field::new("flags", DataType::Int32, false),
            Field::new("topic", DataType::Utf8View, false),
            Field::new("received_at", timestamp(), false),
        ]))
    });
    Arc::clone(&SCHEMA)
}

/// The order of rows by (device, channel, time), over the columns of `schema`; `None` when one of them is not there.
pub(crate) fn key_order(schema: &Schema) -> Option<LexOrdering> {
    let by = |name: &str| {
        let index = schema.index_of(name).ok()?;
        Some(PhysicalSortExpr::new_default(Arc::new(Column::new(name, index))))
    };
    LexOrdering::new([by("device")?, by("channel")?, by("time")?])
}
