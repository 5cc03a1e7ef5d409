//! `date_bin(stride, time, zone)` and `time_bucket(stride, time [, zone])`.
//!
//! Not here: bins in UTC and bins with an origin, which are the engine's. The law: a text that is no zone and no moment
//! is refused with the zone that was probably meant.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit, TimestampMicrosecondType};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use super::local::Stride;
use super::part::{Zones, is_moment, is_text};
use crate::schema::timestamp;

/// `date_bin` or `time_bucket`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct LocalBin {
    name: &'static str,
    site: String,
    /// Does what has no zone; `None` for `time_bucket`.
    engines_own: Option<Arc<ScalarUDF>>,
    signature: Signature,
}

impl LocalBin {
    pub(super) fn date_bin(site: &str, engines_own: Arc<ScalarUDF>) -> Self {
        Self { engines_own: Some(engines_own), ..Self::new("date_bin", site) }
    }

    pub(super) fn time_bucket(site: &str) -> Self {
        Self::new("time_bucket", site)
    }

    fn new(name: &'static str, site: &str) -> Self {
        let signature = Signature::user_defined(Volatility::Immutable);
        Self { name, site: site.to_owned(), engines_own: None, signature }
    }

    fn local(&self, given: &ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ColumnarValue::Scalar(ScalarValue::IntervalMonthDayNano(Some(stride))) = &given.args[0] else {
            return Err(DataFusionError::Execution(format!(
                "the stride of `{}` must be a constant",
                self.name
            )));
        };
        let stride =
            Stride::of(stride.months, stride.days, stride.nanoseconds).map_err(DataFusionError::Execution)?;
        let rows = given.number_rows;
        let mut zones = Zones::new(given.args.get(2), &self.site, rows)?;
        let given_as = given.args[1].data_type();
        let moments = cast(&given.args[1].to_array(rows)?, &timestamp())?;
        let moments = moments.as_primitive::<TimestampMicrosecondType>();
        let mut starts: Vec<Option<i64>> = Vec::with_capacity(rows);
        for (row, moment) in moments.iter().enumerate() {
            starts.push(match (moment, zones.at(row)?) {
                (Some(moment), Some(local)) => local.bin(moment, stride),
                _ => None,
            });
        }
        let starts: ArrayRef = Arc::new(TimestampMicrosecondArray::from(starts).with_timezone("+00:00"));
        Ok(ColumnarValue::Array(cast(&starts, &given_as)?))
    }
}

impl ScalarUDFImpl for LocalBin {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let is_stride =
            |kind: &DataType| matches!(kind, DataType::Interval(_) | DataType::Duration(_)) || is_text(kind);
        let is_right = (2..=3).contains(&given.len())
            && is_stride(&given[0])
            && is_moment(&given[1])
            && given
                .get(2)
                .is_none_or(|third| is_text(third) || (self.engines_own.is_some() && is_moment(third)));
        if !is_right {
            return Err(DataFusionError::Plan(format!(
                "`{0}` takes a stride, a time and the name of a zone: {0}('1 day', time, 'Europe/Berlin')",
                self.name
            )));
        }
        let mut wanted = vec![DataType::Interval(IntervalUnit::MonthDayNano)];
        wanted.push(match &given[1] {
            DataType::Timestamp(..) => given[1].clone(),
            _ => timestamp(),
        });
        if let Some(third) = given.get(2) {
            wanted.push(match third {
                DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()),
                DataType::Date32 | DataType::Date64 => DataType::Timestamp(TimeUnit::Nanosecond, None),
                _ => DataType::Utf8,
            });
        }
        Ok(wanted)
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        Ok(given[1].clone())
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        // A later moment is in no earlier bin, as long as stride and zone are the same.
        let is_constant = |place: usize| {
            inputs.get(place).is_none_or(|input| input.sort_properties.eq(&SortProperties::Singleton))
        };
        let is_ordered = is_constant(0) && is_constant(2);
        Ok(if is_ordered { inputs[1].sort_properties } else { SortProperties::Unordered })
    }

    fn invoke_with_args(&self, mut given: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(engines_own) = &self.engines_own else { return self.local(&given) };
        if let Some(third) = given.args.get(2)
            && third.data_type() == DataType::Utf8
        {
            // A text is a zone, or an origin: that one begins with its year.
            let ColumnarValue::Scalar(ScalarValue::Utf8(Some(text))) = third else {
                return self.local(&given);
            };
            if !text.trim_start().starts_with(|c: char| c.is_ascii_digit()) {
                return self.local(&given);
            }
            let kind = DataType::Timestamp(TimeUnit::Nanosecond, None);
            let origin = ScalarValue::Utf8(Some(text.clone())).cast_to(&kind)?;
            given.args[2] = ColumnarValue::Scalar(origin);
            if let Some(field) = given.arg_fields.get_mut(2) {
                *field = Arc::new(Field::new(field.name(), kind, true));
            }
        }
        engines_own.inner().invoke_with_args(given)
    }
}
