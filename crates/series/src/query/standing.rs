//! SQL functions over readings that a plain aggregate gets wrong: the mean over time, and what a counter counted.
//!
//! ```sql
//! time_weighted_mean(time, value [, until [, hold]])   each value stands until the next; the last until `until`
//! increase(time, value [, rollover])                   what a counter grew, through restarts and through zero
//! ```
//!
//! One channel of one device at a time: group by both. A value stands at most for `hold`. Without `until` the last
//! reading stands for nothing: when it ends is not known. Not here: the same within a bucket (`crate::rollup`). The
//! law: the order in which rows come changes nothing, for they are sorted by time; sums are exact.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Field, FieldRef, Float64Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit,
    TimestampMicrosecondType,
};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use model::Timestamp;

use crate::rollup::{Counted, ExactSum, Rules};
use crate::schema;

/// Both functions.
pub(crate) fn functions() -> [AggregateUDF; 2] {
    [What::Mean, What::Increase].map(|what| {
        let signature = Signature::user_defined(Volatility::Immutable);
        AggregateUDF::from(Standing { what, signature })
    })
}

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum What {
    #[default]
    Mean,
    Increase,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Standing {
    what: What,
    signature: Signature,
}

impl AggregateUDFImpl for Standing {
    fn name(&self) -> &str {
        match self.what {
            What::Mean => "time_weighted_mean",
            What::Increase => "increase",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let all = match self.what {
            What::Mean => vec![
                schema::timestamp(),
                DataType::Float64,
                schema::timestamp(),
                DataType::Interval(IntervalUnit::MonthDayNano),
            ],
            What::Increase => vec![schema::timestamp(), DataType::Float64, DataType::Float64],
        };
        if given.len() < 2 || given.len() > all.len() {
            return match self.what {
                What::Mean => plan_err!(
                    "time_weighted_mean has 2 to 4 arguments: time, value, until when the last value stands, and how long any value stands at most"
                ),
                What::Increase => {
                    plan_err!(
                        "increase has 2 or 3 arguments: time, value, and where the counter starts again"
                    )
                }
            };
        }
        Ok(all.into_iter().take(given.len()).collect())
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Gathered { what: self.what, ..Gathered::default() }))
    }

    fn state_fields(&self, _: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |name: &str, of: DataType| Arc::new(Field::new(name, of, true));
        Ok(vec![
            field("readings", DataType::Binary),
            field("until", DataType::Int64),
            field("hold", DataType::Int64),
            field("rollover", DataType::Float64),
        ])
    }
}

/// The readings of a group.
#[derive(Debug, Default)]
struct Gathered {
    what: What,
    readings: Vec<(i64, f64)>,
    /// Microseconds.
    until: Option<i64>,
    /// Microseconds.
    hold: Option<i64>,
    rollover: Option<f64>,
}

impl Gathered {
    fn options(&mut self, values: &[ArrayRef]) -> Result<()> {
        let present = |at: usize| values.get(at).filter(|array| !array.is_empty() && array.is_valid(0));
        match self.what {
            What::Mean => {
                if let Some(until) = present(2) {
                    self.until = Some(until.as_primitive::<TimestampMicrosecondType>().value(0));
                }
                if let Some(hold) = present(3) {
                    let hold = hold.as_primitive::<IntervalMonthDayNanoType>().value(0);
                    let micros = i64::from(hold.days)
                        .checked_mul(Timestamp::DAY)
                        .and_then(|days| days.checked_add(hold.nanoseconds / 1_000))
                        .filter(|micros| hold.months == 0 && *micros >= 0);
                    self.hold = Some(micros.ok_or_else(|| {
                        DataFusionError::Plan(
                            "how long a value stands is days or shorter, such as INTERVAL '1 hour'"
                                .to_owned(),
                        )
                    })?);
                }
            }
            What::Increase => {
                if let Some(rollover) = present(2) {
                    self.rollover = Some(rollover.as_primitive::<Float64Type>().value(0));
                }
            }
        }
        Ok(())
    }

    fn mean(&self) -> Option<f64> {
        let rules = Rules { hold: self.hold, is_counter: false, rollover: None };
        let (mut stood, mut weighted) = (0_i64, ExactSum::default());
        for (place, &(time, value)) in self.readings.iter().enumerate() {
            let next = self.readings.get(place + 1).map(|next| next.0);
            let end = match (next, self.until) {
                (Some(next), Some(until)) => next.min(until),
                (Some(end), None) | (None, Some(end)) => end,
                (None, None) => continue,
            };
            let stands = rules.stands(end.saturating_sub(time));
            stood = stood.saturating_add(stands);
            weighted.add_product(value, stands.unsigned_abs());
        }
        (stood > 0).then(|| weighted.total() / stood as f64)
    }

    fn increase(&self) -> Option<f64> {
        let mut grown = ExactSum::default();
        for pair in self.readings.windows(2) {
            let (before, after) = (pair[0].1, pair[1].1);
            Counted::of(before, after, self.rollover).add_to(&mut grown, before, after);
        }
        (!self.readings.is_empty()).then(|| grown.total())
    }
}

impl Accumulator for Gathered {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.options(values)?;
        let times = values[0].as_primitive::<TimestampMicrosecondType>();
        let numbers = values[1].as_primitive::<Float64Type>();
        for row in 0..numbers.len() {
            if numbers.is_valid(row) && times.is_valid(row) && numbers.value(row).is_finite() {
                self.readings.push((times.value(row), numbers.value(row)));
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // Of one time, the order of values: what comes first from where must not matter.
        self.readings.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.total_cmp(&b.1)));
        Ok(ScalarValue::Float64(match self.what {
            What::Mean => self.mean(),
            What::Increase => self.increase(),
        }))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.readings.capacity() * size_of::<(i64, f64)>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut bytes = Vec::with_capacity(self.readings.len() * 16);
        for (time, value) in &self.readings {
            bytes.extend_from_slice(&time.to_le_bytes());
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        Ok(vec![
            ScalarValue::Binary(Some(bytes)),
            ScalarValue::Int64(self.until),
            ScalarValue::Int64(self.hold),
            ScalarValue::Float64(self.rollover),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let bytes = states[0].as_binary::<i32>();
        let until = states[1].as_primitive::<Int64Type>();
        let hold = states[2].as_primitive::<Int64Type>();
        let rollover = states[3].as_primitive::<Float64Type>();
        for row in 0..bytes.len() {
            if bytes.is_valid(row) {
                let (pairs, _) = bytes.value(row).as_chunks::<16>();
                self.readings.extend(pairs.iter().map(|pair| {
                    let (halves, _) = pair.as_chunks::<8>();
                    (i64::from_le_bytes(halves[0]), f64::from_le_bytes(halves[1]))
                }));
            }
            self.until = until.is_valid(row).then(|| until.value(row)).or(self.until);
            self.hold = hold.is_valid(row).then(|| hold.value(row)).or(self.hold);
            self.rollover = rollover.is_valid(row).then(|| rollover.value(row)).or(self.rollover);
        }
        Ok(())
    }
}
