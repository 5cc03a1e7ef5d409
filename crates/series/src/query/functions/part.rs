//! `day(time [, zone])` and `hour(time [, zone])`.
//!
//! Not here: what local time is (`local`). The law: no moment, no zone: no answer (NULL).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Date32Array, Int32Array};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::local::{DAY, HOUR, Local};
use crate::schema::timestamp;

/// `day` or `hour`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct LocalPart {
    name: &'static str,
    site: String,
    signature: Signature,
}

impl LocalPart {
    pub(super) fn day(site: &str) -> Self {
        Self::new("day", site)
    }

    pub(super) fn hour(site: &str) -> Self {
        Self::new("hour", site)
    }

    fn new(name: &'static str, site: &str) -> Self {
        Self { name, site: site.to_owned(), signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for LocalPart {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let is_right =
            (1..=2).contains(&given.len()) && is_moment(&given[0]) && given[1..].iter().all(is_text);
        if !is_right {
            return Err(DataFusionError::Plan(format!(
                "`{0}` takes a time and the name of a zone: {0}(time, 'Europe/Berlin')",
                self.name
            )));
        }
        let mut wanted = vec![timestamp(), DataType::Utf8];
        wanted.truncate(given.len());
        Ok(wanted)
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(if self.name == "day" { DataType::Date32 } else { DataType::Int32 })
    }

    fn invoke_with_args(&self, given: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = given.number_rows;
        let mut zones = Zones::new(given.args.get(1), &self.site, rows)?;
        let moments = given.args[0].to_array(rows)?;
        let moments = moments.as_primitive::<TimestampMicrosecondType>();
        let mut parts: Vec<Option<i32>> = Vec::with_capacity(rows);
        for (row, moment) in moments.iter().enumerate() {
            let wall = match (moment, zones.at(row)?) {
                (Some(moment), Some(local)) => local.wall(moment),
                _ => None,
            };
            let part = wall.map(|wall| match self.name {
                "day" => wall.div_euclid(DAY),
                _ => wall.rem_euclid(DAY) / HOUR,
            });
            parts.push(part.and_then(|part| i32::try_from(part).ok()));
        }
        let array: ArrayRef = match self.name {
            "day" => Arc::new(Date32Array::from(parts)),
            _ => Arc::new(Int32Array::from(parts)),
        };
        Ok(ColumnarValue::Array(array))
    }
}

pub(super) fn is_moment(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Null)
        || is_text(kind)
}

pub(super) fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null)
}

/// The zone of every row: mostly one, seldom a column of names.
pub(super) enum Zones {
    One(Option<Box<Local>>),
    Column { names: ArrayRef, last: String, local: Option<Box<Local>> },
}

impl Zones {
    pub(super) fn new(given: Option<&ColumnarValue>, site: &str, rows: usize) -> Result<Self> {
        let one = |name: &str| Ok(Self::One(Some(Box::new(Local::new(find(name)?)))));
        match given {
            None => one(site),
            Some(ColumnarValue::Scalar(name)) => match name.try_as_str().flatten() {
                Some(name) => one(name),
                None => Ok(Self::One(None)),
            },
            Some(column) => {
                Ok(Self::Column { names: column.to_array(rows)?, last: String::new(), local: None })
            }
        }
    }

    pub(super) fn at(&mut self, row: usize) -> Result<Option<&mut Local>> {
        match self {
            Self::One(local) => Ok(local.as_deref_mut()),
            Self::Column { names, last, local } => {
                let names = names.as_string::<i32>();
                if names.is_null(row) {
                    return Ok(None);
                }
                let name = names.value(row);
                if local.is_none() || last != name {
                    *local = Some(Box::new(Local::new(find(name)?)));
                    name.clone_into(last);
                }
                Ok(local.as_deref_mut())
            }
        }
    }
}

fn find(name: &str) -> Result<jiff::tz::TimeZone> {
    super::zone(name).map_err(DataFusionError::Execution)
}
