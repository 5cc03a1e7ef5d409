//! Merges generations that overlap: of the rows of one (device, channel, time) only the newest generation's is kept.
//!
//! A streaming operator over inputs that are each sorted and without duplicates; the later input wins. Not here: which
//! files overlap (`readings`). The law: the output is sorted and has each identity once;
//! of a channel that appends, what is said is part of the identity.

use std::cmp::Ordering;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::{AsArray, Float64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{Distribution, EquivalenceProperties, OrderingRequirements, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterDescription, FilterDescription, FilterPushdownPhase,
};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
    RecordBatchStream, SendableRecordBatchStream,
};
use futures::{Stream, StreamExt};
use model::Channels;

use crate::conflict;
use crate::schema;

/// Merges sorted inputs of one partition each, oldest generation first.
#[derive(Debug)]
pub(crate) struct MergeExec {
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    channels: Arc<Channels>,
    properties: Arc<PlanProperties>,
}

impl MergeExec {
    /// The inputs must have the columns of the key and be sorted by it; value and text too, where a channel of them
    /// may append.
    pub(crate) fn new(inputs: Vec<Arc<dyn ExecutionPlan>>, channels: Arc<Channels>) -> Self {
        let schema = inputs[0].schema();
        let order = schema::key_order(&schema).expect("inputs have the key's columns");
        let equivalence = EquivalenceProperties::new_with_orderings(schema, [order]);
        let properties = Arc::new(PlanProperties::new(
            equivalence,
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { inputs, channels, properties }
    }
}

impl DisplayAs for MergeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MergeGenerations: inputs={}", self.inputs.len())
    }
}

impl ExecutionPlan for MergeExec {
    fn name(&self) -> &'static str {
        "MergeGenerations"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition; self.inputs.len()]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let order = |input: &Arc<dyn ExecutionPlan>| {
            schema::key_order(&input.schema()).map(OrderingRequirements::from)
        };
        self.inputs.iter().map(order).collect()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true; self.inputs.len()]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.inputs.len()]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(children, Arc::clone(&self.channels))))
    }

    /// Only what is said of the identity may be asked of the inputs: a filter on anything else could hide the newer
    /// row and let the older through.
    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        let schema = self.schema();
        let key = ["device", "channel", "time"].map(|name| schema.index_of(name));
        let key: Vec<usize> = key.into_iter().collect::<Result<_, _>>()?;
        self.inputs.iter().try_fold(FilterDescription::new(), |description, input| {
            let allowed = key.iter().copied().collect();
            Ok(description.with_child(ChildFilterDescription::from_child_with_allowed_indices(
                &parent_filters,
                allowed,
                input,
            )?))
        })
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batch_rows = context.session_config().batch_size();
        let inputs = self
            .inputs
            .iter()
            .map(|input| {
                debug_assert_eq!(input.output_partitioning().partition_count(), 1);
                Ok(Input {
                    stream: input.execute(partition, Arc::clone(&context))?,
                    at: None,
                    is_done: false,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let schema = self.schema();
        let key = |name: &str| schema.index_of(name).map_err(DataFusionError::from);
        let key = [key("device")?, key("channel")?, key("time")?];
        let said = schema.index_of("value").ok().zip(schema.index_of("text").ok());
        let columns = Columns { key, said, channels: Arc::clone(&self.channels) };
        let output = Output { batches: Vec::new(), rows: Vec::new(), batch_rows };
        Ok(Box::pin(Merge { schema, columns, inputs, output }))
    }
}

struct Merge {
    schema: SchemaRef,
    columns: Columns,
    inputs: Vec<Input>,
    output: Output,
}

/// Where the columns are that say which rows are one reading.
struct Columns {
    key: [usize; 3],
    /// Value and text, where both are there.
    said: Option<(usize, usize)>,
    channels: Arc<Channels>,
}

/// One generation.
struct Input {
    stream: SendableRecordBatchStream,
    /// Its current row; `None` when the next batch must be had first.
    at: Option<Cursor>,
    is_done: bool,
}

/// A row of a batch.
struct Cursor {
    device: StringViewArray,
    channel: StringViewArray,
    time: TimestampMicrosecondArray,
    said: Option<(Float64Array, StringViewArray)>,
    /// The batch's place in the output's batches, once a row of it was taken.
    place: Option<usize>,
    batch: RecordBatch,
    row: usize,
}

impl Cursor {
    fn new(batch: RecordBatch, columns: &Columns) -> Self {
        let key = columns.key;
        let said = columns.said.map(|(value, text)| {
            (batch.column(value).as_primitive().clone(), batch.column(text).as_string_view().clone())
        });
        Self {
            device: batch.column(key[0]).as_string_view().clone(),
            channel: batch.column(key[1]).as_string_view().clone(),
            time: batch.column(key[2]).as_primitive().clone(),
            said,
            place: None,
            batch,
            row: 0,
        }
    }

    fn compare(&self, other: &Self, channels: &Channels) -> Ordering {
        let (a, b) = (self.row, other.row);
        self.device
            .value(a)
            .cmp(other.device.value(b))
            .then_with(|| self.channel.value(a).cmp(other.channel.value(b)))
            .then_with(|| self.time.value(a).cmp(&other.time.value(b)))
            .then_with(|| match (&self.said, &other.said) {
                // Rarely reached: the same device, channel and time.
                (Some((value, text)), Some((other_value, other_text)))
                    if channels.find(self.channel.value(a)).appends() =>
                {
                    conflict::order(
                        conflict::said(value, text, a),
                        conflict::said(other_value, other_text, b),
                    )
                }
                _ => Ordering::Equal,
            })
    }
}

/// Rows that were chosen, as places in batches.
struct Output {
    batches: Vec<RecordBatch>,
    rows: Vec<(usize, usize)>,
    batch_rows: usize,
}

impl Output {
    fn take(&mut self, cursor: &mut Cursor) {
        let place = *cursor.place.get_or_insert_with(|| {
            self.batches.push(cursor.batch.clone());
            self.batches.len() - 1
        });
        self.rows.push((place, cursor.row));
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= self.batch_rows
    }
}

impl Merge {
    /// The batch of what was chosen.
    fn cut(&mut self) -> Result<RecordBatch> {
        let batches: Vec<&RecordBatch> = self.output.batches.iter().collect();
        let batch = interleave_record_batch(&batches, &self.output.rows)?;
        self.output.batches.clear();
        self.output.rows.clear();
        for cursor in self.inputs.iter_mut().filter_map(|input| input.at.as_mut()) {
            cursor.place = None;
        }
        Ok(batch)
    }

    /// Has every input stand on a row or be at its end.
    fn poll_inputs(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        for input in &mut self.inputs {
            while input.at.is_none() && !input.is_done {
                match ready!(input.stream.poll_next_unpin(context)) {
                    Some(Ok(batch)) if batch.num_rows() == 0 => {}
                    Some(Ok(batch)) => input.at = Some(Cursor::new(batch, &self.columns)),
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    None => input.is_done = true,
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Chooses rows until the output is full or an input needs its next batch. `false` when all are at their end.
    fn choose(&mut self) -> bool {
        loop {
            // The winner: the least key, of equal ones the newest generation.
            let mut winner: Option<usize> = None;
            for (place, input) in self.inputs.iter().enumerate() {
                let Some(cursor) = &input.at else { continue };
                let is_less_or_newer = winner.is_none_or(|winner| {
                    let best = self.inputs[winner].at.as_ref().expect("it has a row");
                    cursor.compare(best, &self.columns.channels) != Ordering::Greater
                });
                if is_less_or_newer {
                    winner = Some(place);
                }
            }
            let Some(winner) = winner else { return false };
            if !self.take_from(winner) || self.output.is_full() {
                return true;
            }
        }
    }

    /// Takes the winner's row, drops its equals, and goes on with the winner while it is before all others.
    /// `false` when an input needs its next batch.
    fn take_from(&mut self, winner: usize) -> bool {
        let channels = &*self.columns.channels;
        let (before, rest) = self.inputs.split_at_mut(winner);
        let (chosen, after) = rest.split_first_mut().expect("the winner is one of them");
        let others = || before.iter().chain(after.iter());
        let cursor = chosen.at.as_mut().expect("it has a row");
        self.output.take(cursor);

        let mut is_ready = true;
        // Older generations lie before the winner; of equal keys the winner is the newest.
        let mut dropped = Vec::new();
        for (place, other) in before.iter().enumerate() {
            if other.at.as_ref().is_some_and(|other| other.compare(cursor, channels) == Ordering::Equal) {
                dropped.push(place);
            }
        }
        cursor.row += 1;
        if dropped.is_empty() {
            // The next of the others: up to there the winner goes on alone.
            let next = others().filter_map(|other| other.at.as_ref()).min_by(|a, b| a.compare(b, channels));
            while cursor.row < cursor.batch.num_rows()
                && !self.output.is_full()
                && next.is_none_or(|next| cursor.compare(next, channels) == Ordering::Less)
            {
                self.output.take(cursor);
                cursor.row += 1;
            }
        }
        if cursor.row == cursor.batch.num_rows() {
            chosen.at = None;
            is_ready = false;
        }
        for place in dropped {
            is_ready &= before[place].advance();
        }
        is_ready
    }
}

impl Input {
    /// Goes on by one row. `false` when the next batch is needed.
    fn advance(&mut self) -> bool {
        let Some(cursor) = &mut self.at else { return false };
        cursor.row += 1;
        if cursor.row == cursor.batch.num_rows() {
            self.at = None;
        }
        self.at.is_some()
    }
}

impl Stream for Merge {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(self.poll_inputs(context)) {
                Ok(()) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            let is_more = self.choose();
            if self.output.is_full() || (!is_more && !self.output.rows.is_empty()) {
                return Poll::Ready(Some(self.cut()));
            }
            if !is_more {
                return Poll::Ready(None);
            }
        }
    }
}

impl RecordBatchStream for Merge {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
