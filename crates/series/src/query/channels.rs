//! The table `channels`: what is known of each channel of each device.
//!
//! Kinds and bounds come from the settings and from well-known names (`model::Channels`), the unit from the
//! settings, else from what the device says of it, else from the name, the interval from the settings or from the
//! readings' own pace. Not here: how that is learnt (`crate::pace`). The law: answered from memory.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Float64Builder, RecordBatch, StringViewBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use model::Channels;

use super::provided::{Provide, Question, of_memory};
use super::wanted::wanted;
use crate::latest::Known;
use crate::store::Store;

/// `channels`.
pub(crate) struct ChannelsTable(pub Arc<Store>);

fn channels_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let text = |name: &str, may_lack: bool| Field::new(name, DataType::Utf8View, may_lack);
        let number = |name: &str| Field::new(name, DataType::Float64, true);
        Arc::new(Schema::new(vec![
            text("device", false),
            text("channel", false),
            text("unit", true),
            text("kind", false),
            number("min"),
            number("max"),
            number("hold_s"),
            number("interval_s"),
            number("rollover"),
            text("type", false),
        ]))
    });
    Arc::clone(&SCHEMA)
}

/// The rows of the table.
fn rows(known: &[Known], channels: &Channels) -> RecordBatch {
    let names = || StringViewBuilder::new().with_deduplicate_strings();
    let (mut device, mut channel, mut unit) = (names(), names(), names());
    let (mut kind, mut of) = (names(), names());
    let mut numbers: [Float64Builder; 5] = Default::default();
    for known in known {
        let meant = channels.find(&known.channel);
        device.append_value(known.device.as_str());
        channel.append_value(&known.channel);
        unit.append_option(meant.unit_or(known.unit.as_deref()));
        kind.append_value(meant.kind().name());
        let interval = meant.interval().map(|interval| interval.as_secs_f64());
        let learnt = || known.interval.map(|micros| micros as f64 / 1e6);
        let values = [
            meant.min(),
            meant.max(),
            meant.hold().map(|hold| hold.as_secs_f64()),
            interval.or_else(learnt),
            meant.rollover(),
        ];
        for (column, value) in numbers.iter_mut().zip(values) {
            column.append_option(value);
        }
        of.append_value(if known.is_number { "number" } else { "text" });
    }
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(device.finish()),
        Arc::new(channel.finish()),
        Arc::new(unit.finish()),
        Arc::new(kind.finish()),
    ];
    columns.extend(numbers.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
    columns.push(Arc::new(of.finish()));
    RecordBatch::try_new(channels_schema(), columns).expect("built for this schema")
}

#[async_trait]
impl Provide for ChannelsTable {
    fn name(&self) -> &'static str {
        "channels"
    }

    fn schema(&self) -> SchemaRef {
        channels_schema()
    }

    async fn scan(&self, question: Question<'_>) -> Result<Arc<dyn ExecutionPlan>> {
        let batch = rows(&self.0.known(&wanted(question.filters)), self.0.channels());
        of_memory(batch, question.projection)
    }
}
