//! Operators on sorted rows: readings to rollup rows, and rollup rows that are not touched.
//!
//! Not here: the arithmetic (`crate::rollup`), their place in a plan (`sorted`). The law: the output is sorted as the
//! input is, and each bucket of the scope is folded from all its readings.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Float64Type, SchemaRef, TimestampMicrosecondType};
use datafusion::error::Result;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{RecordBatchStream, SendableRecordBatchStream};
use futures::{Stream, StreamExt};
use model::Channels;

use super::sorted::Operator;
use crate::rollup::{self, Bucket, Buckets, HOUR, Resolution, RollupRows, Rules, is_frozen, rollup_schema};
use crate::rows::Key;

/// Which hours are folded.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// Only these; `None`: all.
    pub only: Option<Buckets>,
    /// But not these.
    pub except: Buckets,
    /// Nor what these freeze.
    pub ranges: Vec<(Key, Key)>,
}

impl Scope {
    fn has(&self, device: &str, channel: &str, time: i64) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(device, channel, time))
            && (self.except.is_empty() || !self.except.contains(device, channel, time))
            && (self.ranges.is_empty() || !is_frozen(&self.ranges, device, channel, time))
    }
}

/// Folds sorted readings (time, device, channel, value) into the rows of a table.
#[derive(Debug)]
pub(crate) struct Fold {
    pub channels: Arc<Channels>,
    pub resolution: Resolution,
    pub scope: Arc<Scope>,
}

impl Operator for Fold {
    const NAME: &'static str = "FoldReadings";
    const KEEPS_ROWS: bool = false;

    fn describe(&self) -> String {
        let of = if self.scope.only.is_some() { "touched hours" } else { "all" };
        format!("{}: to={}, of={of}", Self::NAME, self.resolution.table())
    }

    fn run(
        self: Arc<Self>,
        input: SendableRecordBatchStream,
        batch_rows: usize,
    ) -> SendableRecordBatchStream {
        Box::pin(Folding {
            input,
            fold: self,
            at: At::default(),
            bucket: Bucket::default(),
            rows: RollupRows::default(),
            batch_rows,
            is_done: false,
        })
    }
}

/// The bucket that is being filled.
#[derive(Default)]
struct At {
    device: String,
    channel: String,
    start: i64,
    /// The hour that `is_in` was found for.
    hour: i64,
    is_in: bool,
    rules: Option<Rules>,
}

struct Folding {
    input: SendableRecordBatchStream,
    fold: Arc<Fold>,
    at: At,
    bucket: Bucket,
    rows: RollupRows,
    batch_rows: usize,
    is_done: bool,
}

impl Folding {
    fn add_rows(&mut self, batch: &RecordBatch) {
        let time = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        let device = batch.column(1).as_string_view();
        let channel = batch.column(2).as_string_view();
        let value = batch.column(3).as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            let moment = time.value(row);
            let (device, channel) = (device.value(row), channel.value(row));
            let is_same = self.at.rules.is_some() && self.at.channel == channel && self.at.device == device;
            let start = self.fold.resolution.start(moment);
            if !is_same || start != self.at.start {
                self.close();
                let hour = moment.div_euclid(HOUR);
                if !is_same {
                    self.at.rules = Some(Rules::of(self.fold.channels.find(channel)));
                    device.clone_into(&mut self.at.device);
                    channel.clone_into(&mut self.at.channel);
                }
                if !is_same || hour != self.at.hour {
                    self.at.is_in = self.fold.scope.has(device, channel, moment);
                    self.at.hour = hour;
                }
                self.at.start = start;
            }
            if let Some(rules) = self.at.rules.as_ref().filter(|_| self.at.is_in) {
                self.bucket.push(moment, value.is_valid(row).then(|| value.value(row)), rules);
            }
        }
    }

    /// Ends the bucket.
    fn close(&mut self) {
        if let Some(rules) = self.at.rules.as_ref().filter(|_| !self.bucket.is_empty()) {
            let row = self.bucket.finish(self.fold.resolution, self.at.start, rules);
            self.rows.push(&self.at.device, &self.at.channel, &row);
        }
    }
}

impl Stream for Folding {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.rows.len() >= self.batch_rows || (self.is_done && self.rows.len() > 0) {
                return Poll::Ready(Some(Ok(self.rows.finish())));
            }
            if self.is_done {
                return Poll::Ready(None);
            }
            match ready!(self.input.poll_next_unpin(context)) {
                Some(Ok(batch)) => self.add_rows(&batch),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.close();
                    self.is_done = true;
                }
            }
        }
    }
}

impl RecordBatchStream for Folding {
    fn schema(&self) -> SchemaRef {
        rollup_schema()
    }
}

/// Lets stored rows through whose hours are not folded anew. Rows that `freeze` freezes say so.
#[derive(Debug)]
pub(crate) struct Untouched {
    pub scope: Arc<Scope>,
    pub freeze: Vec<(Key, Key)>,
}

impl Operator for Untouched {
    const NAME: &'static str = "UntouchedHours";
    const KEEPS_ROWS: bool = true;

    fn describe(&self) -> String {
        Self::NAME.to_owned()
    }

    fn run(self: Arc<Self>, input: SendableRecordBatchStream, _: usize) -> SendableRecordBatchStream {
        let kept = input.map(move |batch| batch.and_then(|batch| self.keep(&batch)));
        Box::pin(RecordBatchStreamAdapter::new(rollup_schema(), kept))
    }
}

impl Untouched {
    fn keep(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let device = batch.column(rollup::DEVICE).as_string_view();
        let channel = batch.column(rollup::CHANNEL).as_string_view();
        let times = rollup::times(batch);
        let mask: BooleanArray = (0..batch.num_rows())
            .map(|row| Some(!self.scope.has(device.value(row), channel.value(row), times[row])))
            .collect();
        let kept = filter_record_batch(batch, &mask)?;
        if self.freeze.is_empty() {
            return Ok(kept);
        }
        let device = kept.column(rollup::DEVICE).as_string_view();
        let channel = kept.column(rollup::CHANNEL).as_string_view();
        let frozen = kept.column(rollup::FROZEN).as_boolean();
        let frozen: BooleanArray = (0..kept.num_rows())
            .map(|row| {
                let time = rollup::times(&kept)[row];
                let (device, channel) = (device.value(row), channel.value(row));
                Some(frozen.value(row) || is_frozen(&self.freeze, device, channel, time))
            })
            .collect();
        let mut columns = kept.columns().to_vec();
        columns[rollup::FROZEN] = Arc::new(frozen);
        Ok(RecordBatch::try_new(kept.schema(), columns)?)
    }
}
