//! `date_trunc(unit, time)` of moments in UTC.
//!
//! Where a time has a zone the engine goes through the calendar, row by row, though in UTC an hour and a day are plain
//! arithmetic. Our times are all in UTC: the engine is asked without the zone. Not here: zones of places, which are the
//! engine's still. The law: the answer is the engine's.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{
    ArrowTimestampType, DataType, FieldRef, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use datafusion::error::Result;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// How our times name UTC.
const UTC: &str = "+00:00";

/// `date_trunc`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct UtcTrunc {
    engines_own: Arc<ScalarUDF>,
}

impl UtcTrunc {
    pub(super) fn of(engines_own: Arc<ScalarUDF>) -> Self {
        Self { engines_own }
    }
}

/// The same moments under another zone.
fn in_zone<T: ArrowTimestampType>(moments: &ArrayRef, zone: Option<&str>) -> ArrayRef {
    let moments = moments.as_primitive::<T>().clone();
    Arc::new(moments.with_timezone_opt(zone.map(Arc::<str>::from)))
}

impl ScalarUDFImpl for UtcTrunc {
    fn name(&self) -> &str {
        self.engines_own.name()
    }

    fn aliases(&self) -> &[String] {
        self.engines_own.aliases()
    }

    fn signature(&self) -> &Signature {
        self.engines_own.signature()
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.engines_own.return_type(given)
    }

    fn return_field_from_args(&self, given: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.engines_own.return_field_from_args(given)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.engines_own.output_ordering(inputs)
    }

    fn invoke_with_args(&self, mut given: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let in_zone = match given.args.get(1).map(ColumnarValue::data_type) {
            Some(DataType::Timestamp(TimeUnit::Microsecond, Some(zone))) if &*zone == UTC => {
                in_zone::<TimestampMicrosecondType>
            }
            Some(DataType::Timestamp(TimeUnit::Nanosecond, Some(zone))) if &*zone == UTC => {
                in_zone::<TimestampNanosecondType>
            }
            _ => return self.engines_own.inner().invoke_with_args(given),
        };
        if let ColumnarValue::Array(moments) = &given.args[1] {
            given.args[1] = ColumnarValue::Array(in_zone(moments, None));
        } else {
            return self.engines_own.inner().invoke_with_args(given);
        }
        match self.engines_own.inner().invoke_with_args(given)? {
            ColumnarValue::Array(moments) => Ok(ColumnarValue::Array(in_zone(&moments, Some(UTC)))),
            scalar => Ok(scalar),
        }
    }
}
