//! Operators on sorted rows: readings to rollup rows, and rollup rows that are not touched.
//!
//! Not here: the arithmetic (`crate::rollup`). The law: the output is sorted as the input is, and each bucket of the
//! scope is folded from all its readings.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Float64Type, SchemaRef, TimestampMicrosecondType};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{Distribution, EquivalenceProperties, OrderingRequirements, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, RecordBatchStream,
    SendableRecordBatchStream,
};
use futures::{Stream, StreamExt};
use model::Channels;

use crate::rollup::{self, Bucket, Buckets, HOUR, Resolution, RollupRows, Rules, is_frozen, rollup_schema};
use crate::rows::Key;
use crate::schema;

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

fn properties() -> Arc<PlanProperties> {
    let schema = rollup_schema();
    let order = schema::key_order(&schema).expect("rollups have a key");
    Arc::new(PlanProperties::new(
        EquivalenceProperties::new_with_orderings(schema, [order]),
        Partitioning::UnknownPartitioning(1),
        EmissionType::Incremental,
        Boundedness::Bounded,
    ))
}

/// Folds sorted readings (time, device, channel, value) into the rows of a table.
#[derive(Debug)]
pub(crate) struct FoldExec {
    input: Arc<dyn ExecutionPlan>,
    channels: Arc<Channels>,
    resolution: Resolution,
    scope: Arc<Scope>,
    properties: Arc<PlanProperties>,
}

impl FoldExec {
    /// The input has one partition and is sorted by the key.
    pub(crate) fn new(
        input: Arc<dyn ExecutionPlan>,
        channels: Arc<Channels>,
        resolution: Resolution,
        scope: Arc<Scope>,
    ) -> Self {
        Self { input, channels, resolution, scope, properties: properties() }
    }
}

impl DisplayAs for FoldExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if self.scope.only.is_some() { "touched hours" } else { "all" };
        write!(f, "FoldReadings: to={}, of={of}", self.resolution.table())
    }
}

impl ExecutionPlan for FoldExec {
    fn name(&self) -> &'static str {
        "FoldReadings"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![schema::key_order(&self.input.schema()).map(OrderingRequirements::from)]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (channels, scope) = (Arc::clone(&self.channels), Arc::clone(&self.scope));
        Ok(Arc::new(Self::new(children.remove(0), channels, self.resolution, scope)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batch_rows = context.session_config().batch_size();
        Ok(Box::pin(Folding {
            input: self.input.execute(partition, context)?,
            channels: Arc::clone(&self.channels),
            resolution: self.resolution,
            scope: Arc::clone(&self.scope),
            at: At::default(),
            bucket: Bucket::default(),
            rows: RollupRows::default(),
            batch_rows,
            is_done: false,
        }))
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
    channels: Arc<Channels>,
    resolution: Resolution,
    scope: Arc<Scope>,
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
            let start = self.resolution.start(moment);
            if !is_same || start != self.at.start {
                self.close();
                let hour = moment.div_euclid(HOUR);
                if !is_same {
                    self.at.rules = Some(Rules::of(self.channels.find(channel)));
                    device.clone_into(&mut self.at.device);
                    channel.clone_into(&mut self.at.channel);
                }
                if !is_same || hour != self.at.hour {
                    self.at.is_in = self.scope.has(device, channel, moment);
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
            let row = self.bucket.finish(self.resolution, self.at.start, rules);
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

/// Lets stored rows through whose hours are not folded anew.
#[derive(Debug)]
pub(crate) struct ScopeExec {
    input: Arc<dyn ExecutionPlan>,
    scope: Arc<Scope>,
    freeze: Vec<(Key, Key)>,
    properties: Arc<PlanProperties>,
}

impl ScopeExec {
    /// The input has one partition and is sorted by the key. Rows that `freeze` freezes say so.
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, scope: Arc<Scope>, freeze: Vec<(Key, Key)>) -> Self {
        Self { input, scope, freeze, properties: properties() }
    }
}

impl DisplayAs for ScopeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UntouchedHours")
    }
}

impl ExecutionPlan for ScopeExec {
    fn name(&self) -> &'static str {
        "UntouchedHours"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![schema::key_order(&self.input.schema()).map(OrderingRequirements::from)]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (scope, freeze) = (Arc::clone(&self.scope), self.freeze.clone());
        Ok(Arc::new(Self::new(children.remove(0), scope, freeze)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        Ok(Box::pin(Untouched { input, scope: Arc::clone(&self.scope), freeze: self.freeze.clone() }))
    }
}

struct Untouched {
    input: SendableRecordBatchStream,
    scope: Arc<Scope>,
    freeze: Vec<(Key, Key)>,
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

impl Stream for Untouched {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.input.poll_next_unpin(context));
        Poll::Ready(next.map(|batch| batch.and_then(|batch| self.keep(&batch))))
    }
}

impl RecordBatchStream for Untouched {
    fn schema(&self) -> SchemaRef {
        rollup_schema()
    }
}
