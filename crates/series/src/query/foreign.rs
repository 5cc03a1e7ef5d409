//! A [`ForeignTable`] as the engine wants it.
//!
//! Not here: the table's meaning. The law: its rows are asked for once per query.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::ExecutionPlan;

use super::provided::{Provide, Question, of_memory};
use crate::foreign::{Cell, ColumnKind, ForeignTable};

/// A foreign table and its schema.
pub(crate) struct Foreign {
    table: ForeignTable,
    schema: SchemaRef,
}

impl Foreign {
    pub(crate) fn new(table: ForeignTable) -> Self {
        let field = |(name, kind): &(String, ColumnKind)| {
            let of = match kind {
                ColumnKind::Text => DataType::Utf8View,
                ColumnKind::Integer => DataType::Int64,
                ColumnKind::Number => DataType::Float64,
                ColumnKind::Boolean => DataType::Boolean,
                ColumnKind::Time => crate::schema::timestamp(),
            };
            Field::new(name, of, true)
        };
        let schema = Arc::new(Schema::new(table.columns.iter().map(field).collect::<Vec<_>>()));
        Self { table, schema }
    }

    fn batch(&self) -> Result<RecordBatch> {
        let rows = (self.table.rows)().map_err(|reason| {
            DataFusionError::Execution(format!("table `{}` cannot be read: {reason}", self.table.name))
        })?;
        let columns = self.table.columns.iter().enumerate().map(|(place, (_, kind))| {
            let cells = rows.iter().map(|row| row.get(place).unwrap_or(&Cell::Null));
            column(*kind, cells)
        });
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns.collect(), &options)?)
    }
}

fn column<'a>(kind: ColumnKind, cells: impl Iterator<Item = &'a Cell>) -> ArrayRef {
    macro_rules! of {
        ($array:ty, $cell:ident, $value:expr) => {
            cells
                .map(|cell| match cell {
                    Cell::$cell(value) => Some($value(value)),
                    _ => None,
                })
                .collect::<$array>()
        };
    }
    match kind {
        ColumnKind::Text => Arc::new(of!(StringViewArray, Text, |text: &'a String| text.as_str())),
        ColumnKind::Integer => Arc::new(of!(Int64Array, Integer, |number: &i64| *number)),
        ColumnKind::Number => Arc::new(of!(Float64Array, Number, |number: &f64| *number)),
        ColumnKind::Boolean => Arc::new(of!(BooleanArray, Boolean, |is: &bool| *is)),
        ColumnKind::Time => {
            let array = of!(TimestampMicrosecondArray, Time, |time: &model::Timestamp| time.micros());
            Arc::new(array.with_timezone("+00:00"))
        }
    }
}

#[async_trait]
impl Provide for Foreign {
    fn name(&self) -> &str {
        &self.table.name
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn scan(&self, question: Question<'_>) -> Result<Arc<dyn ExecutionPlan>> {
        of_memory(self.batch()?, question.projection)
    }
}
