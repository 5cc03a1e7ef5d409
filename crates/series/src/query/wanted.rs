//! What a query's conditions say about device, channel and time, as far as it is said simply.
//!
//! Used to leave out files and memory before anything is read. Not here: the exact filtering, which the engine does.
//! The law: a row for which the conditions are true is always wanted; others may be.

use std::collections::BTreeSet;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};

use crate::table::Wanted;

/// Reads conditions that all hold.
pub(crate) fn wanted(filters: &[Expr]) -> Wanted {
    read_all(filters, "time")
}

/// The bounds that conditions set on the column of moments `name`: from and to in microseconds, both included.
pub(crate) fn moment_bounds(filters: &[Expr], name: &str) -> (Option<i64>, Option<i64>) {
    let wanted = read_all(filters, name);
    (wanted.from, wanted.to)
}

fn read_all(filters: &[Expr], time: &str) -> Wanted {
    let mut wanted = Wanted::default();
    for filter in filters {
        read(filter, time, &mut wanted);
    }
    wanted
}

fn read(filter: &Expr, time: &str, wanted: &mut Wanted) {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            read(left, time, wanted);
            read(right, time, wanted);
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (column(left), column(right)) {
            (Some(name), None) => compare((name, time), *op, right, wanted),
            (None, Some(name)) => {
                if let Some(op) = op.swap() {
                    compare((name, time), op, left, wanted);
                }
            }
            _ => {}
        },
        Expr::Between(Between { expr, negated: false, low, high }) => {
            if let Some(name) = column(expr) {
                compare((name, time), Operator::GtEq, low, wanted);
                compare((name, time), Operator::LtEq, high, wanted);
            }
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            let texts: Option<BTreeSet<String>> = list.iter().map(text).collect();
            if let (Some(name), Some(texts)) = (column(expr), texts) {
                only(name, texts, wanted);
            }
        }
        _ => {}
    }
}

fn compare((name, time): (&str, &str), op: Operator, constant: &Expr, wanted: &mut Wanted) {
    if name == time {
        let Some(micros) = micros(constant) else { return };
        if matches!(op, Operator::Eq | Operator::Gt | Operator::GtEq) {
            wanted.from = Some(wanted.from.map_or(micros, |from| from.max(micros)));
        }
        if matches!(op, Operator::Eq | Operator::Lt | Operator::LtEq) {
            wanted.to = Some(wanted.to.map_or(micros, |to| to.min(micros)));
        }
    } else if op == Operator::Eq
        && let Some(text) = text(constant)
    {
        only(name, BTreeSet::from([text]), wanted);
    }
}

fn only(name: &str, texts: BTreeSet<String>, wanted: &mut Wanted) {
    let known = match name {
        "device" => &mut wanted.devices,
        "channel" => &mut wanted.channels,
        _ => return,
    };
    *known = Some(match known.take() {
        Some(known) => known.intersection(&texts).cloned().collect(),
        None => texts,
    });
}

fn column(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(&column.name),
        _ => None,
    }
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(
            ScalarValue::Utf8View(Some(text))
            | ScalarValue::Utf8(Some(text))
            | ScalarValue::LargeUtf8(Some(text)),
            _,
        ) => Some(text.clone()),
        _ => None,
    }
}

/// A moment: the planner has made literals of the column's own type of them.
fn micros(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::TimestampMicrosecond(Some(micros), _), _) => Some(*micros),
        _ => None,
    }
}

/// The bounds that simple conditions set on an integer column: from and to, both included.
pub(crate) fn integer_bounds(filters: &[Expr], name: &str) -> (Option<u64>, Option<u64>) {
    fn read(filter: &Expr, name: &str, bounds: &mut (Option<u64>, Option<u64>)) {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else {
            if let Expr::Between(Between { expr, negated: false, low, high }) = filter
                && column(expr) == Some(name)
            {
                bound(Operator::GtEq, low, bounds);
                bound(Operator::LtEq, high, bounds);
            }
            return;
        };
        if *op == Operator::And {
            read(left, name, bounds);
            read(right, name, bounds);
        } else if column(left) == Some(name) {
            bound(*op, right, bounds);
        } else if column(right) == Some(name)
            && let Some(op) = op.swap()
        {
            bound(op, left, bounds);
        }
    }
    fn bound(op: Operator, constant: &Expr, bounds: &mut (Option<u64>, Option<u64>)) {
        let Expr::Literal(constant, _) = constant else { return };
        let number = match constant {
            ScalarValue::UInt64(Some(number)) => *number,
            ScalarValue::Int64(Some(number)) => u64::try_from(*number).unwrap_or(0),
            _ => return,
        };
        if matches!(op, Operator::Eq | Operator::Gt | Operator::GtEq) {
            bounds.0 = bounds.0.max(Some(number));
        }
        if matches!(op, Operator::Eq | Operator::Lt | Operator::LtEq) {
            bounds.1 = Some(bounds.1.map_or(number, |to| to.min(number)));
        }
    }
    let mut bounds = (None, None);
    for filter in filters {
        read(filter, name, &mut bounds);
    }
    bounds
}
