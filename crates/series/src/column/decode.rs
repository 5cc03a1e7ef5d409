//! From a file's own columns back to the logical ones: one physical expression per logical column.
//!
//! Not here: which expression a file needs (`adapter`). The law: the inverse of `encode`, bit for bit.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema, TimestampMicrosecondType};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ColumnarValue;

use crate::schema;

/// How a logical column is made of its inputs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// One input: units of so many microseconds.
    Time { unit: i64 },
    /// Base, step and rest: base + step × pace + rest × unit.
    PacedTime { pace: i64, unit: i64 },
    /// One input per number of decimals, `None` for an f64 as it is. At most one of them has a value in a row.
    Value { decimals: Vec<Option<u8>> },
    /// One input: milliseconds.
    Received,
    /// The time as microseconds, and milliseconds since then.
    Delayed,
    /// One input: bits.
    Flags,
    /// A number, and steps of its last binary digit from there.
    Nudged,
    /// A time, and units of so many microseconds from there; either may be absent.
    After { unit: i64 },
    /// Start of a bucket of so many microseconds, a time in it, and microseconds: the seconds from the time to the bucket's
    /// end, less those; absent where one of them is.
    Standing { length: i64 },
}

/// A logical column made of a file's own columns.
#[derive(Debug, Clone)]
pub(crate) struct Decoded {
    form: Form,
    inputs: Vec<Arc<dyn PhysicalExpr>>,
}

impl Decoded {
    pub(crate) fn of(form: Form, inputs: Vec<Arc<dyn PhysicalExpr>>) -> Arc<dyn PhysicalExpr> {
        Arc::new(Self { form, inputs })
    }
}

impl PartialEq for Decoded {
    fn eq(&self, other: &Self) -> bool {
        self.form == other.form && self.inputs == other.inputs
    }
}

impl Eq for Decoded {}

impl std::hash::Hash for Decoded {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.form.hash(state);
        self.inputs.hash(state);
    }
}

impl fmt::Display for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}(", self.form)?;
        for (place, input) in self.inputs.iter().enumerate() {
            write!(f, "{}{input}", if place == 0 { "" } else { ", " })?;
        }
        write!(f, ")")
    }
}

impl PhysicalExpr for Decoded {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(match self.form {
            Form::Value { .. } | Form::Nudged | Form::Standing { .. } => DataType::Float64,
            Form::Flags => DataType::Int32,
            Form::Time { .. }
            | Form::PacedTime { .. }
            | Form::Received
            | Form::Delayed
            | Form::After { .. } => schema::timestamp(),
        })
    }

    fn nullable(&self, _: &Schema) -> Result<bool> {
        Ok(matches!(
            self.form,
            Form::Value { .. } | Form::Nudged | Form::After { .. } | Form::Standing { .. }
        ))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = batch.num_rows();
        let inputs = self
            .inputs
            .iter()
            .map(|input| input.evaluate(batch)?.into_array(rows))
            .collect::<Result<Vec<_>>>()?;
        Ok(ColumnarValue::Array(self.form.decode(&inputs)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.inputs.iter().collect()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Self::of(self.form.clone(), children))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn integers(array: &ArrayRef) -> &Int64Array {
    array.as_primitive::<Int64Type>()
}

fn moments(micros: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("+00:00"))
}

impl Form {
    /// Arithmetic wraps: a file that holds nonsense gives nonsense, not a panic.
    fn decode(&self, inputs: &[ArrayRef]) -> ArrayRef {
        match self {
            Self::Time { unit } => {
                moments(integers(&inputs[0]).values().iter().map(|time| time.wrapping_mul(*unit)))
            }
            Self::PacedTime { pace, unit } => {
                let (base, step, rest) = (integers(&inputs[0]), integers(&inputs[1]), integers(&inputs[2]));
                let parts = base.values().iter().zip(step.values()).zip(rest.values());
                moments(parts.map(|((base, step), rest)| {
                    base.wrapping_add(step.wrapping_mul(*pace)).wrapping_add(rest.wrapping_mul(*unit))
                }))
            }
            Self::Received => moments(integers(&inputs[0]).values().iter().map(|ms| ms.wrapping_mul(1_000))),
            Self::Delayed => {
                let time = inputs[0].as_primitive::<TimestampMicrosecondType>();
                let both = time.values().iter().zip(integers(&inputs[1]).values());
                moments(
                    both.map(|(time, delay)| time.div_euclid(1_000).wrapping_add(*delay).wrapping_mul(1_000)),
                )
            }
            Self::Flags => Arc::new(Int32Array::from_iter_values(
                integers(&inputs[0]).values().iter().map(|bits| *bits as i32),
            )),
            Self::Value { decimals } => values(decimals, inputs),
            Self::Nudged => {
                let numbers = inputs[0].as_primitive::<Float64Type>();
                let both = numbers.values().iter().zip(integers(&inputs[1]).values());
                let nudged = both.map(|(number, ulps)| {
                    f64::from_bits((number.to_bits() as i64).wrapping_add(*ulps) as u64)
                });
                Arc::new(Float64Array::new(nudged.collect(), numbers.nulls().cloned()))
            }
            Self::After { unit } => {
                let from = inputs[0].as_primitive::<TimestampMicrosecondType>();
                let both = from.values().iter().zip(integers(&inputs[1]).values());
                let times = both.map(|(from, after)| from.wrapping_add(after.wrapping_mul(*unit)));
                let valid = NullBuffer::union(from.nulls(), inputs[1].nulls());
                let times = TimestampMicrosecondArray::new(times.collect(), valid);
                Arc::new(times.with_timezone("+00:00"))
            }
            Self::Standing { length } => {
                let start = inputs[0].as_primitive::<TimestampMicrosecondType>().values();
                let first = inputs[1].as_primitive::<TimestampMicrosecondType>();
                let all = start.iter().zip(first.values()).zip(integers(&inputs[2]).values());
                let seconds = all.map(|((start, first), short)| {
                    let most = start.wrapping_add(*length).wrapping_sub(*first);
                    most.wrapping_sub(*short) as f64 / 1e6
                });
                let valid = NullBuffer::union(first.nulls(), inputs[2].nulls());
                Arc::new(Float64Array::new(seconds.collect(), valid))
            }
        }
    }
}

/// The quotient is the f64 nearest to the decimal number: see `encode::scaled`.
fn values(decimals: &[Option<u8>], inputs: &[ArrayRef]) -> ArrayRef {
    let column = |decimals: Option<u8>, input: &ArrayRef| match decimals {
        Some(0) => integers(input).values().iter().map(|digits| *digits as f64).collect::<Vec<_>>(),
        Some(decimals) => {
            let power = 10f64.powi(i32::from(decimals));
            integers(input).values().iter().map(|digits| *digits as f64 / power).collect()
        }
        None => input.as_primitive::<Float64Type>().values().to_vec(),
    };
    let mut numbers = column(decimals[0], &inputs[0]);
    let mut valid = inputs[0].nulls().cloned();
    for (&decimals, input) in decimals[1..].iter().zip(&inputs[1..]) {
        // Only one of the columns has a value in a row: take this one's where it has.
        let more = column(decimals, input);
        match input.nulls() {
            None => (numbers, valid) = (more, None),
            Some(nulls) => {
                for row in nulls.valid_indices() {
                    numbers[row] = more[row];
                }
                // No nulls in what there was: every row has its value already.
                valid = valid.map(|valid| NullBuffer::new(valid.inner() | nulls.inner()));
            }
        }
    }
    Arc::new(Float64Array::new(numbers.into(), valid.filter(|valid| valid.null_count() > 0)))
}
