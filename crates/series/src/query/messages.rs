//! The table `messages`: what the journal still holds, decoded with today's routes where a column needs it.
//!
//! Read from the journal while the query runs, between the bounds that the query sets on `seq` and `received_at`.
//! Not here: the journal's format. The laws: messages for one connection alone are not shown; a query that asks for
//! few rows reads few records.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Builder, RecordBatch, StringViewBuilder, TimestampMicrosecondBuilder, UInt64Builder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use journal::{Chains, Journal, Reader, Record};
use model::route::Routes;
use model::{Keep, Names, Timestamp};

use super::provided::{Provide, Question};
use super::wanted::{integer_bounds, moment_bounds};

/// Records per batch.
const BATCH_ROWS: usize = 1_024;

/// `messages`.
#[derive(Clone)]
pub(crate) struct Messages {
    pub journal: Journal,
    pub routes: Arc<Routes>,
}

impl std::fmt::Debug for Messages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("messages")
    }
}

/// Columns of `messages`.
fn messages_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("seq", DataType::UInt64, false),
        Field::new("time", crate::schema::timestamp(), false),
        Field::new("received_at", crate::schema::timestamp(), false),
        Field::new("device", DataType::Utf8View, true),
        Field::new("topic", DataType::Utf8View, false),
        Field::new("lane", DataType::Utf8View, false),
        Field::new("qos", DataType::Int32, false),
        Field::new("payload", DataType::Utf8View, true),
        Field::new("payload_bytes", DataType::UInt64, false),
        Field::new("error", DataType::Utf8View, true),
        Field::new("client_id", DataType::Utf8View, true),
        Field::new("message_id", DataType::Utf8View, true),
        Field::new("retain", DataType::Boolean, false),
        Field::new("id_reused", DataType::Boolean, false),
    ]))
}

#[async_trait]
impl Provide for Messages {
    fn name(&self) -> &'static str {
        "messages"
    }

    fn schema(&self) -> SchemaRef {
        messages_schema()
    }

    async fn scan(&self, question: Question<'_>) -> Result<Arc<dyn ExecutionPlan>> {
        let Question { projection, filters, limit, .. } = question;
        let (from, to) = integer_bounds(filters, "seq");
        let (received, _) = moment_bounds(filters, "received_at");
        let mut from = from.unwrap_or(0).max(self.journal.first_seq());
        let to = to.unwrap_or(u64::MAX).min(self.journal.durable_seq());
        if let Some(time) = received {
            from = from.max(self.journal.seq_at(Timestamp::from_micros(time)));
        }
        let stream = Arc::new(Scan { table: self.clone(), schema: messages_schema(), from, to });
        let plan = StreamingTableExec::try_new(
            messages_schema(),
            vec![stream],
            projection,
            Vec::new(),
            false,
            limit,
        )?;
        Ok(Arc::new(plan))
    }
}

/// Records `from` to `to`.
#[derive(Debug)]
struct Scan {
    table: Messages,
    schema: SchemaRef,
    from: u64,
    to: u64,
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let state = State {
            // A reader is asked for the record after the one it knows.
            reader: (self.from <= self.to).then(|| self.table.journal.reader(self.from.max(1), Chains::Both)),
            routes: Arc::clone(&self.table.routes),
            names: Names::new(),
            to: self.to,
        };
        let stream = futures::stream::try_unfold(state, |mut state| async move {
            match state.next()? {
                Some(batch) => {
                    // Reading is blocking and cheap: let others run between two batches.
                    tokio::task::yield_now().await;
                    Ok(Some((batch, state)))
                }
                None => Ok(None),
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))
    }
}

struct State {
    reader: Option<Reader>,
    routes: Arc<Routes>,
    names: Names,
    to: u64,
}

impl State {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let mut rows = Rows::default();
        while let Some(reader) = &mut self.reader {
            let batch = reader.try_next().map_err(|error| DataFusionError::External(Box::new(error)))?;
            let Some(batch) = batch else {
                self.reader = None;
                break;
            };
            for record in &batch.records {
                if record.seq > self.to {
                    self.reader = None;
                    break;
                }
                if record.message.to.is_none() {
                    rows.push(record, &self.routes, &mut self.names);
                }
            }
            if rows.count >= BATCH_ROWS {
                break;
            }
        }
        if rows.count == 0 { Ok(None) } else { rows.finish().map(Some) }
    }
}

struct Rows {
    seq: UInt64Builder,
    time: TimestampMicrosecondBuilder,
    received_at: TimestampMicrosecondBuilder,
    device: StringViewBuilder,
    topic: StringViewBuilder,
    lane: StringViewBuilder,
    qos: Int32Builder,
    payload: StringViewBuilder,
    payload_bytes: UInt64Builder,
    error: StringViewBuilder,
    client_id: StringViewBuilder,
    message_id: StringViewBuilder,
    retain: Vec<bool>,
    id_reused: Vec<bool>,
    count: usize,
}

impl Default for Rows {
    fn default() -> Self {
        let moments = || TimestampMicrosecondBuilder::new().with_timezone("+00:00");
        Self {
            seq: UInt64Builder::new(),
            time: moments(),
            received_at: moments(),
            device: StringViewBuilder::new(),
            topic: StringViewBuilder::new(),
            lane: StringViewBuilder::new(),
            qos: Int32Builder::new(),
            payload: StringViewBuilder::new(),
            payload_bytes: UInt64Builder::new(),
            error: StringViewBuilder::new(),
            client_id: StringViewBuilder::new(),
            message_id: StringViewBuilder::new(),
            retain: Vec::new(),
            id_reused: Vec::new(),
            count: 0,
        }
    }
}

impl Rows {
    fn push(&mut self, record: &Record, routes: &Routes, names: &mut Names) {
        let message = &record.message;
        let mut time = message.received_at;
        let mut device = message.origin.device.clone();
        let mut error = None;
        match routes.find(&message.topic) {
            None => error = Some("unrouted".to_owned()),
            Some(route) if route.keep() != Keep::All => {}
            Some(route) => match route.decode(message, names) {
                Ok(decoded) => {
                    if let Some(sample) = decoded.samples.first() {
                        time = sample.time;
                        device = Some(sample.device.clone());
                    } else if let Some(heard) = &decoded.sparkplug {
                        device = Some(heard.device().clone());
                    }
                }
                Err(reason) => error = Some(format!("{}: {reason}", reason.slug())),
            },
        }
        self.seq.append_value(record.seq);
        self.time.append_value(time.micros());
        self.received_at.append_value(message.received_at.micros());
        self.device.append_option(device.as_deref());
        self.topic.append_value(message.topic.as_str());
        self.lane.append_value(message.lane.name());
        self.qos.append_value(i32::from(message.qos as u8));
        self.payload.append_option(std::str::from_utf8(&message.payload).ok());
        self.payload_bytes.append_value(message.payload.len() as u64);
        self.error.append_option(error);
        let client_id = &message.origin.client_id;
        self.client_id.append_option((!client_id.is_empty()).then_some(&**client_id));
        self.message_id.append_option(message.message_id.as_deref());
        self.retain.push(message.retain);
        self.id_reused.push(record.id_reused);
        self.count += 1;
    }

    fn finish(mut self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.seq.finish()),
            Arc::new(self.time.finish()),
            Arc::new(self.received_at.finish()),
            Arc::new(self.device.finish()),
            Arc::new(self.topic.finish()),
            Arc::new(self.lane.finish()),
            Arc::new(self.qos.finish()),
            Arc::new(self.payload.finish()),
            Arc::new(self.payload_bytes.finish()),
            Arc::new(self.error.finish()),
            Arc::new(self.client_id.finish()),
            Arc::new(self.message_id.finish()),
            Arc::new(arrow::array::BooleanArray::from(self.retain)),
            Arc::new(arrow::array::BooleanArray::from(self.id_reused)),
        ];
        Ok(RecordBatch::try_new(messages_schema(), columns)?)
    }
}
