//! A table of ours as the engine wants it.
//!
//! Not here: its rows. The law: conditions are taken as hints, and the engine looks at them once more; so a table may give
//! too many rows, never too few.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

/// What is asked of a table.
pub(crate) struct Question<'a> {
    /// Whose question it is.
    pub session: &'a dyn Session,
    /// Places of the columns that are wanted; `None`: all.
    pub projection: Option<&'a Vec<usize>>,
    /// What every row that is wanted satisfies.
    pub filters: &'a [Expr],
    /// How many rows are enough.
    pub limit: Option<usize>,
}

/// Where the rows of a table are.
#[async_trait]
pub(crate) trait Provide: Send + Sync + 'static {
    /// The table's name.
    fn name(&self) -> &str;

    /// Its columns.
    fn schema(&self) -> SchemaRef;

    /// The plan that reads them.
    async fn scan(&self, question: Question<'_>) -> Result<Arc<dyn ExecutionPlan>>;
}

/// A table.
pub(crate) struct Provided<T>(pub T);

impl<T: Provide> fmt::Debug for Provided<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

#[async_trait]
impl<T: Provide> TableProvider for Provided<T> {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.0.scan(Question { session, projection, filters, limit }).await
    }
}

/// The plan that gives what is in memory.
pub(crate) fn of_memory(
    batch: RecordBatch,
    projection: Option<&Vec<usize>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = batch.schema();
    Ok(MemorySourceConfig::try_new_exec(&[vec![batch]], schema, projection.cloned())?)
}
