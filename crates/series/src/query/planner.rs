//! Answers questions about readings from rollups, where that is exact.
//!
//! ```text
//! SELECT date_bin(INTERVAL '1 hour', time) AS t, avg(value) FROM readings WHERE time >= F AND time < T GROUP BY 1
//!
//!          F   A                                          B   T
//! time ----|===|++++++++++++++++++++++++++++++++++++++++++|===|--->
//!           raw              readings_1h                   raw
//! ```
//!
//! A rule of the optimizer. It knows `avg`, `sum`, `min`, `max` and `count` of `value` (and `count(*)`), grouped by
//! nothing, by `device`, by `channel`, by `date_bin` and `date_trunc` of `time` or by what is made of these, with
//! conditions on `device` and `channel` of any kind and simple ones on `time`. From the days that are stored and not
//! touched it takes the coarsest table whose buckets lie within the groups; the ends of a range that cut a bucket, and
//! days that are not stored yet, come from the readings themselves. Everything else is asked of the readings as before.
//! `EXPLAIN` shows which table is read; the setting `series.query.rollups` turns it off.
//!
//! Not here: the tables (`rollups`). The law: the answer is that of the readings; sums are exact within a bucket, where
//! those of readings are rounded at each step, and so may differ in the last digits.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigExtension;
use datafusion::common::extensions_options;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_aggregate::expr_fn::{max, min, sum};
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction};
use datafusion::logical_expr::logical_plan::Aggregate;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, LogicalPlan, LogicalPlanBuilder, Operator, cast, lit, when,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use model::Timestamp;

use super::provided::Provided;
use super::readings::Readings;
use super::rollups::RollupTable;
use crate::rollup::{HOUR, Resolution};
use crate::store::Store;

extensions_options! {
    /// What Godwit adds to the engine's own options.
    pub(crate) struct EngineOptions {
        /// Whether questions about readings may be answered from rollups.
        pub rollups: bool, default = true
    }
}

impl ConfigExtension for EngineOptions {
    const PREFIX: &'static str = "godwit";
}

/// Of the rows of a range this share must be rolled up, in hundredths: else rollups would be folded for nothing.
const STORED_PERCENT_MIN: u64 = 80;

/// The rule.
#[derive(Clone)]
pub(crate) struct FromRollups(pub Arc<Store>);

impl std::fmt::Debug for FromRollups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FromRollups")
    }
}

impl OptimizerRule for FromRollups {
    fn name(&self) -> &'static str {
        "from_rollups"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let options = config.options();
        let is_on = options.extensions.get::<EngineOptions>().is_none_or(|options| options.rollups);
        if let LogicalPlan::Aggregate(aggregate) = &plan
            && is_on
            && let Some(asked) = Asked::read(aggregate)
            && let Some(answer) = self.answer(aggregate, &asked)?
        {
            return Ok(Transformed::yes(answer));
        }
        Ok(Transformed::no(plan))
    }
}

/// What is asked, when it is something that rollups know.
struct Asked {
    /// The coarsest buckets that lie within the groups.
    resolution: Resolution,
    /// Conditions on device and channel.
    conditions: Vec<Expr>,
    /// From this time on, in microseconds.
    from: Option<i64>,
    /// Before this time.
    to: Option<i64>,
}

impl Asked {
    fn read(aggregate: &Aggregate) -> Option<Self> {
        let mut asked = Self { resolution: Resolution::Hour, conditions: Vec::new(), from: None, to: None };
        let mut input = &*aggregate.input;
        let scan = loop {
            match input {
                LogicalPlan::Filter(filter) => {
                    asked.conditions(&filter.predicate)?;
                    input = &filter.input;
                }
                LogicalPlan::Projection(projection)
                    if projection.expr.iter().all(|expr| matches!(expr, Expr::Column(_))) =>
                {
                    input = &projection.input;
                }
                LogicalPlan::TableScan(scan) => break scan,
                _ => return None,
            }
        };
        if scan.table_name.table() != "readings" || scan.fetch.is_some() {
            return None;
        }
        for filter in &scan.filters {
            asked.conditions(filter)?;
        }
        for expr in &aggregate.group_expr {
            asked.group(expr)?;
        }
        let measures: Option<Vec<Measure>> = aggregate.aggr_expr.iter().map(Measure::of).collect();
        let measures = measures.filter(|measures| !measures.is_empty())?;
        // How many rows there are at all is known without reading any.
        let is_count = aggregate.group_expr.is_empty()
            && asked.conditions.is_empty()
            && (asked.from, asked.to) == (None, None)
            && measures.iter().all(|measure| *measure == Measure::Rows);
        (!is_count).then_some(asked)
    }

    /// Takes in conditions that all hold; `None` when one of them is not known.
    fn conditions(&mut self, all: &Expr) -> Option<()> {
        for condition in split_conjunction(all) {
            if is_of_names(condition) {
                if !self.conditions.contains(condition) {
                    self.conditions.push(condition.clone());
                }
                continue;
            }
            match condition {
                Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (is_time(left), is_time(right)) {
                    (true, false) => self.bound(*op, micros(right)?)?,
                    (false, true) => self.bound(op.swap()?, micros(left)?)?,
                    _ => return None,
                },
                Expr::Between(Between { expr, negated: false, low, high }) if is_time(expr) => {
                    self.bound(Operator::GtEq, micros(low)?)?;
                    self.bound(Operator::LtEq, micros(high)?)?;
                }
                _ => return None,
            }
        }
        Some(())
    }

    fn bound(&mut self, op: Operator, micros: i64) -> Option<()> {
        let from = |from: i64| Some(self.from.map_or(from, |known| known.max(from)));
        let to = |to: i64| Some(self.to.map_or(to, |known| known.min(to)));
        match op {
            Operator::GtEq => self.from = from(micros),
            Operator::Gt => self.from = from(micros.checked_add(1)?),
            Operator::Lt => self.to = to(micros),
            Operator::LtEq => self.to = to(micros.checked_add(1)?),
            _ => return None,
        }
        Some(())
    }

    /// Takes in what is grouped by; `None` when buckets may lie across its groups.
    fn group(&mut self, expr: &Expr) -> Option<()> {
        match expr {
            Expr::Alias(alias) => self.group(&alias.expr),
            _ if is_of_names(expr) => Some(()),
            Expr::ScalarFunction(ScalarFunction { func, args }) => {
                let resolution = match (func.name(), args.as_slice()) {
                    ("date_bin", [stride, time]) if is_time(time) => resolution_of(stride_of(stride)?)?,
                    ("date_bin", [stride, time, origin]) if is_time(time) => {
                        let (of_stride, origin) = (resolution_of(stride_of(stride)?)?, micros(origin)?);
                        of_stride.min(resolution_of(origin)?)
                    }
                    ("date_trunc", [Expr::Literal(unit, _), time]) if is_time(time) => {
                        match unit.try_as_str()??.to_lowercase().as_str() {
                            "hour" | "day" | "week" | "month" | "quarter" | "year" => Resolution::Hour,
                            "minute" => Resolution::Minute,
                            _ => return None,
                        }
                    }
                    _ => return None,
                };
                self.resolution = self.resolution.min(resolution);
                Some(())
            }
            _ => None,
        }
    }
}

/// Whether it is made of device and channel alone.
fn is_of_names(expr: &Expr) -> bool {
    let columns = expr.column_refs();
    !columns.is_empty()
        && columns.iter().all(|column| matches!(column.name.as_str(), "device" | "channel"))
        && !expr.is_volatile()
}

/// Whether it is the time, in whichever unit a function takes it.
fn is_time(expr: &Expr) -> bool {
    match expr {
        Expr::Column(column) => column.name == "time",
        Expr::Cast(cast) => {
            matches!(
                cast.field.data_type(),
                DataType::Timestamp(TimeUnit::Nanosecond | TimeUnit::Microsecond, _)
            ) && is_time(&cast.expr)
        }
        _ => false,
    }
}

/// A moment: the planner has made literals of the column's own type of them.
fn micros(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::TimestampMicrosecond(Some(micros), _), _) => Some(*micros),
        Expr::Literal(ScalarValue::TimestampNanosecond(Some(nanos), _), _) if nanos % 1_000 == 0 => {
            Some(nanos / 1_000)
        }
        _ => None,
    }
}

/// The length of a stride in microseconds; a month counts as a day, which hours lie within as well.
fn stride_of(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(stride)), _) => {
            let days = i64::from(stride.days) + i64::from(stride.months);
            let rest = (stride.nanoseconds % 1_000 == 0).then_some(stride.nanoseconds / 1_000)?;
            days.checked_mul(Timestamp::DAY)?.checked_add(rest)
        }
        Expr::Literal(ScalarValue::IntervalDayTime(Some(stride)), _) => {
            let rest = i64::from(stride.milliseconds).checked_mul(1_000)?;
            i64::from(stride.days).checked_mul(Timestamp::DAY)?.checked_add(rest)
        }
        _ => None,
    }
}

/// The coarsest buckets that fit into `micros` without a rest.
fn resolution_of(micros: i64) -> Option<Resolution> {
    Resolution::ALL.into_iter().rev().find(|resolution| micros % resolution.micros() == 0)
}

/// What is asked of the readings of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Mean,
    Sum,
    Min,
    Max,
    Count,
    Rows,
}

impl Measure {
    fn of(expr: &Expr) -> Option<Self> {
        let function = match expr {
            Expr::Alias(alias) => return Self::of(&alias.expr),
            Expr::AggregateFunction(AggregateFunction { func, params }) => (func.name(), params),
            _ => return None,
        };
        let (name, params) = function;
        if params.distinct || params.filter.is_some() || !params.order_by.is_empty() {
            return None;
        }
        let [argument] = params.args.as_slice() else { return None };
        let column = match argument {
            Expr::Column(column) => column.name.as_str(),
            Expr::Literal(literal, _) if !literal.is_null() => "*",
            _ => return None,
        };
        match (name, column) {
            ("avg", "value") => Some(Self::Mean),
            ("sum", "value") => Some(Self::Sum),
            ("min", "value") => Some(Self::Min),
            ("max", "value") => Some(Self::Max),
            ("count", "value") => Some(Self::Count),
            // These are never absent.
            ("count", "*" | "time" | "device" | "channel" | "topic" | "received_at" | "flags") => {
                Some(Self::Rows)
            }
            _ => None,
        }
    }

    /// What is aggregated, and what is made of it.
    fn parts(self) -> (Vec<Expr>, Expr) {
        let out = |expr: &Expr| Expr::Column(Column::new_unqualified(expr.schema_name().to_string()));
        let or_none = |expr: &Expr| coalesce(vec![out(expr), lit(0_i64)]);
        match self {
            Self::Mean => {
                let (total, count) = (sum(column("sum")), sum(column("count")));
                let mean = out(&total) / cast(out(&count), DataType::Float64);
                (vec![total, count], mean)
            }
            Self::Sum => {
                let total = sum(column("sum"));
                (vec![total.clone()], out(&total))
            }
            Self::Min => {
                let least = min(column("min"));
                (vec![least.clone()], out(&least))
            }
            Self::Max => {
                let most = max(column("max"));
                (vec![most.clone()], out(&most))
            }
            Self::Count => {
                let count = sum(column("count"));
                (vec![count.clone()], or_none(&count))
            }
            Self::Rows => {
                let (count, texts) = (sum(column("count")), sum(column("texts")));
                let rows = or_none(&count) + or_none(&texts);
                (vec![count, texts], rows)
            }
        }
    }
}

fn column(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// `expr` with its columns taken from elsewhere.
fn of_table(expr: Expr, table: Option<&str>) -> Result<Expr> {
    expr.transform(|expr| {
        Ok(match expr {
            Expr::Column(Column { name, .. }) => {
                let column = match table {
                    Some(table) => Column::new(Some(table), name),
                    None => Column::new_unqualified(name),
                };
                Transformed::yes(Expr::Column(column))
            }
            other => Transformed::no(other),
        })
    })
    .data()
}

fn moment(micros: i64) -> Expr {
    Expr::Literal(ScalarValue::TimestampMicrosecond(Some(micros), Some("+00:00".into())), None)
}

impl FromRollups {
    fn answer(&self, aggregate: &Aggregate, asked: &Asked) -> Result<Option<LogicalPlan>> {
        let Some(span) = self.span(asked) else { return Ok(None) };
        let mut parts = vec![self.stored(asked, span)?];
        if span.has_before {
            parts.push(self.raw(asked, asked.from, Some(span.from))?);
        }
        if span.has_after {
            parts.push(self.raw(asked, Some(span.to), asked.to)?);
        }
        let mut parts = parts.into_iter();
        let mut plan = parts.next().expect("what is stored");
        for part in parts {
            plan = LogicalPlanBuilder::from(plan).union(part)?.build()?;
        }
        let group: Vec<Expr> =
            aggregate.group_expr.iter().map(|expr| of_table(expr.clone(), None)).collect::<Result<_>>()?;
        let mut aggregated: Vec<Expr> = Vec::new();
        let mut outputs: Vec<Expr> =
            group.iter().map(|expr| column(&expr.schema_name().to_string())).collect();
        for expr in &aggregate.aggr_expr {
            let (parts, output) = Measure::of(expr).expect("read before").parts();
            aggregated
                .extend(parts.into_iter().filter(|part| !aggregated.contains(part)).collect::<Vec<_>>());
            outputs.push(output);
        }
        let named = outputs
            .into_iter()
            .zip(aggregate.schema.iter())
            .map(|(output, (table, field))| output.alias_qualified(table.cloned(), field.name()));
        let plan = LogicalPlanBuilder::from(plan).aggregate(group, aggregated)?;
        Ok(Some(plan.project(named.collect::<Vec<_>>())?.build()?))
    }

    /// The part that is stored.
    fn stored(&self, asked: &Asked, span: Span) -> Result<LogicalPlan> {
        let name = span.resolution.table();
        let table = RollupTable { store: Arc::clone(&self.0), resolution: span.resolution };
        let time = Expr::Column(Column::new(Some(name), "time"));
        let mut conditions = asked.conditions.clone();
        if span.has_before || asked.from.is_some() {
            conditions.push(time.clone().gt_eq(moment(span.from)));
        }
        if span.has_after || asked.to.is_some() {
            conditions.push(time.lt(moment(span.to)));
        }
        let mut plan = LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(Provided(table))), None)?;
        for condition in conditions {
            plan = plan.filter(of_table(condition, Some(name))?)?;
        }
        let columns = ["time", "device", "channel", "count", "texts", "sum", "min", "max"];
        let columns = columns.map(|of| Expr::Column(Column::new(Some(name), of)).alias(of));
        plan.project(columns)?.build()
    }

    /// A part that is asked of the readings: each is a row of its own.
    fn raw(&self, asked: &Asked, from: Option<i64>, to: Option<i64>) -> Result<LogicalPlan> {
        let name = "readings";
        let source = provider_as_source(Arc::new(Provided(Readings(Arc::clone(&self.0)))));
        let of = |of: &str| Expr::Column(Column::new(Some(name), of));
        let mut conditions = asked.conditions.clone();
        conditions.extend(from.map(|from| of("time").gt_eq(moment(from))));
        conditions.extend(to.map(|to| of("time").lt(moment(to))));
        let mut plan = LogicalPlanBuilder::scan(name, source, None)?;
        for condition in conditions {
            plan = plan.filter(of_table(condition, Some(name))?)?;
        }
        let has = |yes: i64, no: i64| when(of("value").is_not_null(), lit(yes)).otherwise(lit(no));
        let columns = [
            of("time").alias("time"),
            of("device").alias("device"),
            of("channel").alias("channel"),
            has(1, 0)?.alias("count"),
            has(0, 1)?.alias("texts"),
            of("value").alias("sum"),
            of("value").alias("min"),
            of("value").alias("max"),
        ];
        plan.project(columns)?.build()
    }

    /// The buckets that are asked of a rollup table; `None` when there are too few.
    fn span(&self, asked: &Asked) -> Option<Span> {
        let coarser = Resolution::ALL.into_iter().rev().filter(|of| *of <= asked.resolution);
        coarser.into_iter().find_map(|resolution| self.span_of(asked, resolution))
    }

    fn span_of(&self, asked: &Asked, resolution: Resolution) -> Option<Span> {
        let (days, has_memory) = self.0.stored_days(resolution);
        let day_of = |micros: i64| micros.div_euclid(Timestamp::DAY);
        let (first, last) = (asked.from.map_or(i64::MIN, day_of), asked.to.map_or(i64::MAX, day_of));
        let mut within: Vec<_> = days.range(first..=last).collect();
        let newest = days.keys().next_back().copied();
        // What is in memory is mostly of the newest day: it would have to be folded for it.
        let is_stored = |(day, (_, is_stored)): &(&i64, &(u64, bool))| {
            *is_stored && !(has_memory && Some(**day) == newest)
        };
        let from = within.iter().position(is_stored)?;
        let to = within.iter().rposition(is_stored)?;
        let (start, end) = (*within[from].0, *within[to].0 + 1);
        let has_others = from > 0 || to + 1 < within.len() || has_memory;
        within = within[from..=to].to_vec();
        let rows = |only_stored: bool| -> u64 {
            let some = within.iter().filter(|day| !only_stored || is_stored(day));
            some.map(|(_, (rows, _))| *rows).sum()
        };
        if rows(true) * 100 < rows(false) * STORED_PERCENT_MIN {
            return None;
        }
        let (start, end) = (start.checked_mul(Timestamp::DAY)?, end.checked_mul(Timestamp::DAY)?);
        let from = asked.from.map_or(start, |from| from.max(start));
        let to = asked.to.map_or(end, |to| to.min(end));
        // Whole buckets only.
        let length = resolution.micros();
        let span = Span {
            resolution,
            from: resolution.start(from.checked_add(length - 1)?),
            to: resolution.start(to),
            has_before: false,
            has_after: false,
        };
        // A part of the readings that cannot have any is left out; what cannot be told is asked.
        let has_before = asked.from.map_or(has_others, |from| from < span.from);
        let has_after = asked.to.map_or(has_others, |to| to > span.to);
        (span.from < span.to && span.to - span.from >= HOUR.min(length * 4)).then_some(Span {
            has_before,
            has_after,
            ..span
        })
    }
}

/// Whole buckets of one table.
#[derive(Debug, Clone, Copy)]
struct Span {
    resolution: Resolution,
    /// Start of the first, in microseconds.
    from: i64,
    /// End of the last.
    to: i64,
    /// Whether readings before and after are asked for.
    has_before: bool,
    has_after: bool,
}
