//! An operator on one sorted input of one partition, whose output is rollup rows, sorted by the key too.
//!
//! What the engine asks of every operator is said here once. Not here: what an operator does with the rows (`fold`). The law:
//! the engine is told what is so: one partition in and out, sorted in and out.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{Distribution, EquivalenceProperties, OrderingRequirements, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};

use crate::rollup::rollup_schema;
use crate::schema;

/// What an operator does.
pub(crate) trait Operator: fmt::Debug + Send + Sync + 'static {
    /// How plans name it.
    const NAME: &'static str;
    /// Whether its rows are some of its input's.
    const KEEPS_ROWS: bool;

    /// What a plan tells of it.
    fn describe(&self) -> String;

    /// Its rows, of the input's, in batches of about so many.
    fn run(self: Arc<Self>, input: SendableRecordBatchStream, batch_rows: usize)
    -> SendableRecordBatchStream;
}

/// An operator in a plan.
#[derive(Debug)]
pub(crate) struct SortedExec<O> {
    input: Arc<dyn ExecutionPlan>,
    operator: Arc<O>,
    properties: Arc<PlanProperties>,
}

impl<O: Operator> SortedExec<O> {
    /// The input has one partition and is sorted by the key.
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, operator: Arc<O>) -> Self {
        let schema = rollup_schema();
        let order = schema::key_order(&schema).expect("rollups have a key");
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new_with_orderings(schema, [order]),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { input, operator, properties }
    }
}

impl<O: Operator> DisplayAs for SortedExec<O> {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.operator.describe())
    }
}

impl<O: Operator> ExecutionPlan for SortedExec<O> {
    fn name(&self) -> &'static str {
        O::NAME
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
        vec![O::KEEPS_ROWS]
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
        Ok(Arc::new(Self::new(children.remove(0), Arc::clone(&self.operator))))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batch_rows = context.session_config().batch_size();
        let input = self.input.execute(partition, context)?;
        Ok(Arc::clone(&self.operator).run(input, batch_rows))
    }
}
