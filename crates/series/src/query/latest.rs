//! The table `latest`: the newest reading of each channel of each device, from memory.
//!
//! Not here: how it is kept (`crate::latest`). The law: answered without reading a file.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;

use super::provided::{Provide, Question, of_memory};
use super::wanted::wanted;
use crate::latest::latest_schema;
use crate::store::Store;

/// `latest`.
pub(crate) struct LatestTable(pub Arc<Store>);

#[async_trait]
impl Provide for LatestTable {
    fn name(&self) -> &'static str {
        "latest"
    }

    fn schema(&self) -> SchemaRef {
        latest_schema()
    }

    async fn scan(&self, question: Question<'_>) -> Result<Arc<dyn ExecutionPlan>> {
        of_memory(self.0.latest(&wanted(question.filters)), question.projection)
    }
}
