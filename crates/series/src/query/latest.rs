//! The table `latest`: the newest reading of each channel of each device, from memory.
//!
//! Not here: how it is kept (`crate::latest`). The law: answered without reading a file.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::wanted::wanted;
use crate::latest::latest_schema;
use crate::store::Store;

/// `latest`.
#[derive(Clone)]
pub(crate) struct LatestTable(pub Arc<Store>);

impl std::fmt::Debug for LatestTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("latest")
    }
}

#[async_trait]
impl TableProvider for LatestTable {
    fn schema(&self) -> SchemaRef {
        latest_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let batch = self.0.latest(&wanted(filters));
        Ok(MemorySourceConfig::try_new_exec(&[vec![batch]], latest_schema(), projection.cloned())?)
    }
}
