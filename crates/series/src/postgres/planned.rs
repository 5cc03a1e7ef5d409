//! A statement that is ready to be done: a plan with what its parameters are, or what is no read.
//!
//! Not here: planning and doing (`handler`). The law: how many parameters there are is bounded.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ParamValues;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion_postgres::arrow_pg::datatypes::df::deserialize_parameters_with_server_types;
use datafusion_postgres::arrow_pg::datatypes::into_pg_type;
use pgwire::api::Type;
use pgwire::api::portal::Portal;
use pgwire::api::results::FieldInfo;
use pgwire::error::PgWireResult;

use super::fault::Fault;
use super::statement::Said;
use crate::query::explain;
use crate::settings::QueryLimits;

/// Most parameters of a statement.
pub(super) const PARAMETERS_MAX: usize = 1_000;

/// A statement that is ready to be done.
#[derive(Clone, Debug)]
pub(crate) enum Ready {
    Read(Planned),
    Declare {
        name: String,
        planned: Planned,
    },
    /// Everything else; the columns of its answer, if it has one.
    Other(Said, Arc<Vec<FieldInfo>>),
}

/// A plan with what its parameters are.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(super) plan: Arc<LogicalPlan>,
    /// What the plan makes of each.
    kinds: Vec<Option<DataType>>,
    /// What the protocol calls them.
    pub(super) types: Vec<Type>,
}

impl Planned {
    pub(super) fn schema(&self) -> arrow::datatypes::SchemaRef {
        Arc::clone(self.plan.schema().inner())
    }

    /// The values that a portal has for the parameters.
    pub(super) fn values(&self, portal: &Portal<Ready>) -> PgWireResult<Option<ParamValues>> {
        if portal.parameter_len() != self.types.len() {
            return Err(Fault::new(
                "08P01",
                format!("{} values are given for {} parameters", portal.parameter_len(), self.types.len()),
            )
            .into());
        }
        if self.types.is_empty() {
            return Ok(None);
        }
        let kinds: Vec<Option<&DataType>> = self.kinds.iter().map(Option::as_ref).collect();
        let types: Vec<Option<&Type>> = self.types.iter().map(Some).collect();
        deserialize_parameters_with_server_types(portal, &kinds, &types).map(Some)
    }
}

/// What the parameters of a plan are, as far as it says.
pub(super) fn parameters(plan: LogicalPlan) -> Result<Planned, Fault> {
    let failed = |error: datafusion::error::DataFusionError| {
        let explained = explain::explain(&error, &QueryLimits::default());
        Fault::of_query(&explained)
    };
    let mut known: HashMap<String, Option<DataType>> = plan.get_parameter_types().map_err(failed)?;
    // `$1::text` says what it is.
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                let (Expr::Cast(_) | Expr::TryCast(_) | Expr::Placeholder(_)) = expr else {
                    return Ok(TreeNodeRecursion::Continue);
                };
                let (inner, to) = match expr {
                    Expr::Cast(cast) => (&*cast.expr, Some(cast.field.data_type().clone())),
                    Expr::TryCast(cast) => (&*cast.expr, Some(cast.field.data_type().clone())),
                    other => (other, None),
                };
                if let Expr::Placeholder(placeholder) = inner {
                    let kind = known.entry(placeholder.id.clone()).or_insert(None);
                    if kind.is_none() {
                        *kind = to;
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map_err(failed)?;
    let mut numbered = Vec::with_capacity(known.len());
    for (id, kind) in known {
        let number = id.trim_start_matches('$').parse::<usize>().ok().filter(|number| *number > 0);
        let number =
            number.ok_or_else(|| Fault::new("42P02", format!("`{id}` is no parameter; write $1, $2, …")))?;
        numbered.push((number, kind));
    }
    let count = numbered.iter().map(|(number, _)| *number).max().unwrap_or(0);
    if count > PARAMETERS_MAX {
        return Err(Fault::new(
            "54000",
            format!("statement has parameter ${count}; the last is ${PARAMETERS_MAX}"),
        ));
    }
    let mut kinds = vec![None; count];
    for (number, kind) in numbered {
        kinds[number - 1] = kind;
    }
    let types = kinds.iter().map(|kind| match kind {
        Some(kind) => into_pg_type(kind).unwrap_or(Type::UNKNOWN),
        None => Type::UNKNOWN,
    });
    Ok(Planned { types: types.collect(), plan: Arc::new(plan), kinds })
}
