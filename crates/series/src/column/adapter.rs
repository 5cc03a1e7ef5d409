//! Rewrites expressions over the logical columns into expressions over the columns of one file.
//!
//! DataFusion asks for each file it opens, for projections and for filters. Comparisons of `time` with a constant
//! become comparisons of the stored integer, so that statistics of pages still rule pages out.
//! Not here: the decoding itself (`decode`). The law: an expression and its rewritten form say the same of every row.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};
use datafusion::physical_plan::expressions::{BinaryExpr, Column, Literal, lit};

use super::UNITS;
use super::decode::{Decoded, Form};

/// Makes a [`ColumnsAdapter`] for each file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ColumnsAdapterFactory;

impl PhysicalExprAdapterFactory for ColumnsAdapterFactory {
    fn create(&self, _logical: SchemaRef, physical: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        Ok(Arc::new(ColumnsAdapter { physical }))
    }
}

#[derive(Debug)]
struct ColumnsAdapter {
    physical: SchemaRef,
}

impl PhysicalExprAdapter for ColumnsAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        expr.transform_down(|expr| {
            if let Some(compared) = self.compared_time(&expr) {
                return Ok(Transformed::new(compared, true, TreeNodeRecursion::Jump));
            }
            match expr.downcast_ref::<Column>() {
                Some(column) => {
                    Ok(Transformed::new(self.column(column.name())?, true, TreeNodeRecursion::Jump))
                }
                None => Ok(Transformed::no(expr)),
            }
        })
        .data()
    }
}

impl ColumnsAdapter {
    fn own(&self, name: &str) -> Option<Arc<dyn PhysicalExpr>> {
        let index = self.physical.index_of(name).ok()?;
        Some(Arc::new(Column::new(name, index)))
    }

    /// The file's column whose name starts with `prefix`, and the rest of its name.
    fn own_by_prefix(&self, prefix: &str) -> Option<(Arc<dyn PhysicalExpr>, &str)> {
        let found = |(index, field): (usize, &'_ Arc<arrow::datatypes::Field>)| {
            let rest = field.name().strip_prefix(prefix)?.len();
            Some((index, field.name().len() - rest))
        };
        let (index, at) = self.physical.fields().iter().enumerate().find_map(found)?;
        let name = self.physical.field(index).name();
        Some((Arc::new(Column::new(name, index)), &name[at..]))
    }

    /// The stored time and its unit, where it is one column.
    fn plain_time(&self) -> Option<(Arc<dyn PhysicalExpr>, i64)> {
        UNITS.iter().find_map(|(name, unit)| Some((self.own(&format!("time.{name}"))?, *unit)))
    }

    fn time(&self) -> Option<Arc<dyn PhysicalExpr>> {
        if let Some((stored, unit)) = self.plain_time() {
            return Some(Decoded::of(Form::Time { unit }, vec![stored]));
        }
        let base = self.own("time.base")?;
        let (step, pace) = self.own_by_prefix("time.step.")?;
        let (rest, unit) = self.own_by_prefix("time.rest.")?;
        let (_, unit) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        Some(Decoded::of(Form::PacedTime { pace: pace.parse().ok()?, unit }, vec![base, step, rest]))
    }

    fn value(&self) -> Arc<dyn PhysicalExpr> {
        let mut decimals = Vec::new();
        let mut inputs = Vec::new();
        for (index, field) in self.physical.fields().iter().enumerate() {
            let Some(form) = field.name().strip_prefix("value.") else { continue };
            let scale = form.strip_prefix('e').and_then(|scale| scale.parse().ok());
            if scale.is_some() || form == "f64" {
                decimals.push(scale);
                inputs.push(Arc::new(Column::new(field.name(), index)) as Arc<dyn PhysicalExpr>);
            }
        }
        if inputs.is_empty() {
            return lit(ScalarValue::Float64(None));
        }
        Decoded::of(Form::Value { decimals }, inputs)
    }

    fn received(&self) -> Option<Arc<dyn PhysicalExpr>> {
        if let Some(stored) = self.own("received.ms") {
            return Some(Decoded::of(Form::Received, vec![stored]));
        }
        Some(Decoded::of(Form::Delayed, vec![self.time()?, self.own("delay.ms")?]))
    }

    fn column(&self, name: &str) -> Result<Arc<dyn PhysicalExpr>> {
        let found = match name {
            "time" => self.time(),
            "value" => Some(self.value()),
            "received_at" => self.received(),
            "flags" => Some(match self.own("flags") {
                Some(stored) => Decoded::of(Form::Flags, vec![stored]),
                None => lit(0_i32),
            }),
            "text" => Some(self.own("text").unwrap_or_else(|| lit(ScalarValue::Utf8View(None)))),
            other => self.own(other),
        };
        found.ok_or_else(|| {
            let columns: Vec<_> = self.physical.fields().iter().map(|field| field.name().as_str()).collect();
            DataFusionError::Execution(format!("it has no `{name}`; its columns are {}", columns.join(", ")))
        })
    }

    /// `time <op> constant` over the stored integer, where the time is one column.
    fn compared_time(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
        let compared = expr.downcast_ref::<BinaryExpr>()?;
        let is_time = |side: &Arc<dyn PhysicalExpr>| {
            side.downcast_ref::<Column>().is_some_and(|column| column.name() == "time")
        };
        let micros = |side: &Arc<dyn PhysicalExpr>| match side.downcast_ref::<Literal>()?.value() {
            ScalarValue::TimestampMicrosecond(Some(micros), _) => Some(*micros),
            _ => None,
        };
        let (op, micros) = if is_time(compared.left()) {
            (*compared.op(), micros(compared.right())?)
        } else if is_time(compared.right()) {
            (compared.op().swap()?, micros(compared.left())?)
        } else {
            return None;
        };
        let (stored, unit) = self.plain_time()?;
        let floor = micros.div_euclid(unit);
        let is_whole = micros.rem_euclid(unit) == 0;
        let (op, bound) = match op {
            Operator::Eq if is_whole => (Operator::Eq, floor),
            Operator::Eq => return Some(lit(false)),
            Operator::NotEq if is_whole => (Operator::NotEq, floor),
            Operator::NotEq => return Some(lit(true)),
            // The first stored value that is not below.
            Operator::GtEq if is_whole => (Operator::GtEq, floor),
            Operator::GtEq | Operator::Gt => (Operator::Gt, floor),
            Operator::Lt if is_whole => (Operator::Lt, floor),
            Operator::Lt | Operator::LtEq => (Operator::LtEq, floor),
            _ => return None,
        };
        Some(Arc::new(BinaryExpr::new(stored, op, lit(bound))))
    }
}
