//! Lets long-running operators give way, so that a query's bound on time is kept and an abandoned query stops.
//!
//! Scans give way by themselves; an operator that makes much of little (a join without a condition) may not come back
//! to them for minutes. Not here: the bound itself. The law: between two batches of such an operator others may run.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;

/// Puts a point of giving way above every operator that combines inputs or makes rows by itself.
#[derive(Debug)]
pub(crate) struct Yielding;

impl PhysicalOptimizerRule for Yielding {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let combines = plan.children().len() != 1 || plan.name() == "UnnestExec";
            let gives_way = plan.name() == "CooperativeExec";
            if combines && !gives_way {
                return Ok(Transformed::yes(Arc::new(CooperativeExec::new(plan)) as Arc<dyn ExecutionPlan>));
            }
            Ok(Transformed::no(plan))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "yielding"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
