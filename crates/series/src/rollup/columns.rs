//! How rollup rows are laid out in their files, and how the columns of the table come back.
//!
//! As in column files, a column's *name says how to read it*:
//!
//! | column | holds |
//! |---|---|
//! | `time`, `device`, `channel`, `count`, `texts`, `frozen` | themselves |
//! | `N.eK`, `N.f64` for a number `N` (`sum`, `min`, …) | as `value.eK` and `value.f64` of column files: a row has at most one of them, chosen per channel of a device |
//! | `N.ulp` | steps of the last binary digit from the quotient to the number: a sum of decimals is mostly the nearest number to a decimal, not always. Absent when all are 0 |
//! | `first_time.offset.U` | the first time is the bucket's start and so many U (`us`, `ms` or `s`) |
//! | `last_time.after.U` | the last time is the first time and so many U |
//! | `seconds.short.L` | of a bucket of L µs: numbers stood from the first time to its end, less so many µs |
//!
//! A column of the table's own name is that column as it is: so were all of them in the first files. Not here: the rows
//! (`rows`). The law: what is encoded comes back bit for bit.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use arrow::datatypes::{Float64Type, SchemaRef, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};
use datafusion::physical_plan::expressions::{Column as Stored, lit};
use parquet::file::properties::EnabledStatistics as Statistics;

use super::bucket::Resolution;
use super::rows::{CHANNEL, DEVICE};
use crate::column::{
    Column, DECIMALS_MAX, Decoded, EncodeError, Form, Layout, Types, UNITS, scaled_near, unit_of, write,
};

/// Steps from a quotient by a power of ten to the number that are still worth a column of their own: sums of a few
/// thousand decimals are hardly ever further off.
const ULPS_MAX: i64 = 15;

/// The numbers of a row that are laid out as decimals.
const NUMBERS: [&str; 7] = ["sum", "min", "max", "first", "last", "weighted_sum", "increase"];

/// The bytes of a rollup file.
pub(crate) fn encode(resolution: Resolution, batch: &RecordBatch) -> Result<Vec<u8>, EncodeError> {
    let named = |name: &str| Arc::clone(batch.column_by_name(name).expect("a column of the table"));
    let mut columns = Vec::new();
    for name in ["time", "device", "channel"] {
        let layouts: &[Layout] =
            if name == "time" { &[Layout::Delta, Layout::Dictionary] } else { &[Layout::Dictionary] };
        columns.push(Column::smallest(name, named(name), layouts, Statistics::Page)?);
    }
    for name in ["count", "texts", "frozen"] {
        columns.push(Column::smallest(name, named(name), &[Layout::Dictionary], Statistics::None)?);
    }
    let runs = runs(batch);
    for name in NUMBERS {
        columns.extend(numbers(name, named(name).as_primitive::<Float64Type>(), &runs)?);
    }
    columns.extend(times(batch)?);
    columns.push(match short(resolution, batch) {
        Some(short) => Column::integers(format!("seconds.short.{}", resolution.micros()), short)?,
        None => Column::smallest(
            "seconds",
            named("seconds"),
            &[Layout::Split, Layout::Dictionary],
            Statistics::None,
        )?,
    });
    write(&columns, Types::Arrow)
}

/// Where each channel of a device ends.
fn runs(batch: &RecordBatch) -> Vec<usize> {
    let device = batch.column(DEVICE).as_string_view();
    let channel = batch.column(CHANNEL).as_string_view();
    let key = |row: usize| (device.value(row), channel.value(row));
    let rows = batch.num_rows();
    (1..=rows).filter(|&row| row == rows || key(row) != key(row - 1)).collect()
}

/// The columns of a number: by the least number of decimals that is enough for its run, and the steps beside.
fn numbers(name: &str, values: &Float64Array, runs: &[usize]) -> Result<Vec<Column>, EncodeError> {
    const RAW: usize = DECIMALS_MAX as usize + 1;
    let mut ulps = vec![0_i64; values.len()];
    let mut digits: [Option<Vec<Option<i64>>>; RAW] = Default::default();
    let mut raw: Option<Vec<Option<f64>>> = None;
    let mut from = 0;
    for &to in runs {
        let present = || (from..to).filter(|&row| values.is_valid(row));
        let near = |row: usize, decimals| scaled_near(values.value(row), decimals, ULPS_MAX);
        let decimals = (0..RAW).find(|&decimals| present().all(|row| near(row, decimals).is_some()));
        match decimals {
            Some(decimals) if present().next().is_some() => {
                let column = digits[decimals].get_or_insert_with(|| vec![None; values.len()]);
                for row in present() {
                    let (whole, ulp) = near(row, decimals).expect("found before");
                    (column[row], ulps[row]) = (Some(whole), ulp);
                }
            }
            Some(_) => {}
            None => {
                let column = raw.get_or_insert_with(|| vec![None; values.len()]);
                present().for_each(|row| column[row] = Some(values.value(row)));
            }
        }
        from = to;
    }
    let mut columns = Vec::new();
    for (decimals, column) in digits.into_iter().enumerate() {
        if let Some(column) = column {
            columns.push(Column::integers(format!("{name}.e{decimals}"), Int64Array::from(column))?);
        }
    }
    if let Some(raw) = raw {
        let array: ArrayRef = Arc::new(Float64Array::from(raw));
        let layouts = [Layout::Split, Layout::Dictionary];
        columns.push(Column::smallest(format!("{name}.f64"), array, &layouts, Statistics::None)?);
    }
    if ulps.iter().any(|ulp| *ulp != 0) {
        columns.push(Column::integers(format!("{name}.ulp"), Int64Array::from(ulps))?);
    }
    Ok(columns)
}

fn moments<'a>(batch: &'a RecordBatch, name: &str) -> &'a TimestampMicrosecondArray {
    batch.column_by_name(name).expect("a column of the table").as_primitive::<TimestampMicrosecondType>()
}

/// First and last time, from the bucket's start and from each other.
fn times(batch: &RecordBatch) -> Result<[Column; 2], EncodeError> {
    let (first, last) = (moments(batch, "first_time"), moments(batch, "last_time"));
    let start = moments(batch, "time");
    let offset = |row: usize| first.is_valid(row).then(|| first.value(row) - start.value(row));
    let after = |row: usize| first.is_valid(row).then(|| last.value(row) - first.value(row));
    let column = |name: &str, of: &dyn Fn(usize) -> Option<i64>| {
        let all = (0..batch.num_rows()).map(of);
        let (unit_name, unit) = unit_of(all.clone().flatten());
        let units = Int64Array::from_iter(all.map(|micros| micros.map(|micros| micros / unit)));
        Column::integers(format!("{name}.{unit_name}"), units)
    };
    Ok([column("first_time.offset", &offset)?, column("last_time.after", &after)?])
}

/// By how many microseconds numbers stood less than from the first to the bucket's end; `None` when that does not lead
/// back to the very same `seconds`.
fn short(resolution: Resolution, batch: &RecordBatch) -> Option<Int64Array> {
    let (start, first) = (moments(batch, "time"), moments(batch, "first_time"));
    let seconds = batch.column_by_name("seconds")?.as_primitive::<Float64Type>();
    let rows = (0..batch.num_rows()).map(|row| {
        if seconds.is_null(row) {
            return Some(None);
        }
        let most = start.value(row).checked_add(resolution.micros())?.checked_sub(first.value(row))?;
        let stood = (seconds.value(row) * 1e6).round();
        let is_same = stood.abs() < 1e15 && (stood / 1e6).to_bits() == seconds.value(row).to_bits();
        is_same.then(|| Some(most - stood as i64))
    });
    rows.collect::<Option<Vec<_>>>().map(Int64Array::from)
}

/// Makes an adapter for each rollup file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RollupAdapterFactory;

impl PhysicalExprAdapterFactory for RollupAdapterFactory {
    fn create(&self, _logical: SchemaRef, physical: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        Ok(Arc::new(RollupAdapter { physical }))
    }
}

#[derive(Debug)]
struct RollupAdapter {
    physical: SchemaRef,
}

impl PhysicalExprAdapter for RollupAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        expr.transform_down(|expr| match expr.downcast_ref::<Stored>() {
            Some(column) => Ok(Transformed::new(self.column(column.name())?, true, TreeNodeRecursion::Jump)),
            None => Ok(Transformed::no(expr)),
        })
        .data()
    }
}

impl RollupAdapter {
    fn own(&self, name: &str) -> Option<Arc<dyn PhysicalExpr>> {
        let index = self.physical.index_of(name).ok()?;
        Some(Arc::new(Stored::new(name, index)))
    }

    /// The file's column whose name starts with `prefix`, and the rest of its name.
    fn own_by_prefix(&self, prefix: &str) -> Option<(Arc<dyn PhysicalExpr>, &str)> {
        let mut fields = self.physical.fields().iter().enumerate();
        let (index, rest) =
            fields.find_map(|(index, field)| Some((index, field.name().strip_prefix(prefix)?)))?;
        Some((Arc::new(Stored::new(self.physical.field(index).name(), index)), rest))
    }

    fn number(&self, name: &str) -> Arc<dyn PhysicalExpr> {
        let (mut decimals, mut inputs) = (Vec::new(), Vec::new());
        for scale in (0..=DECIMALS_MAX as u8).map(Some).chain([None]) {
            let form = scale.map_or("f64".to_owned(), |scale| format!("e{scale}"));
            if let Some(own) = self.own(&format!("{name}.{form}")) {
                decimals.push(scale);
                inputs.push(own);
            }
        }
        if inputs.is_empty() {
            return lit(ScalarValue::Float64(None));
        }
        let quotient = Decoded::of(Form::Value { decimals }, inputs);
        match self.own(&format!("{name}.ulp")) {
            Some(ulps) => Decoded::of(Form::Nudged, vec![quotient, ulps]),
            None => quotient,
        }
    }

    fn first_time(&self) -> Option<Arc<dyn PhysicalExpr>> {
        let (offset, unit) = self.own_by_prefix("first_time.offset.")?;
        Some(Decoded::of(Form::After { unit: unit_named(unit)? }, vec![self.own("time")?, offset]))
    }

    fn last_time(&self) -> Option<Arc<dyn PhysicalExpr>> {
        let (after, unit) = self.own_by_prefix("last_time.after.")?;
        Some(Decoded::of(Form::After { unit: unit_named(unit)? }, vec![self.first_time()?, after]))
    }

    fn seconds(&self) -> Option<Arc<dyn PhysicalExpr>> {
        let (short, length) = self.own_by_prefix("seconds.short.")?;
        let form = Form::Standing { length: length.parse().ok()? };
        Some(Decoded::of(form, vec![self.own("time")?, self.first_time()?, short]))
    }

    fn column(&self, name: &str) -> Result<Arc<dyn PhysicalExpr>> {
        let found = self.own(name).or_else(|| match name {
            "first_time" => self.first_time(),
            "last_time" => self.last_time(),
            "seconds" => self.seconds(),
            name if NUMBERS.contains(&name) => Some(self.number(name)),
            _ => None,
        });
        found.ok_or_else(|| {
            let columns: Vec<_> = self.physical.fields().iter().map(|field| field.name().as_str()).collect();
            DataFusionError::Execution(format!("it has no `{name}`; its columns are {}", columns.join(", ")))
        })
    }
}

fn unit_named(name: &str) -> Option<i64> {
    UNITS.iter().find(|(known, _)| *known == name).map(|(_, unit)| *unit)
}

#[cfg(test)]
mod tests {
    use arrow::compute::concat_batches;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use proptest::prelude::*;

    use super::*;
    use crate::rollup::bucket::{Bucket, Rules};
    use crate::rollup::rows::{RollupRows, TIME, rollup_schema};

    /// What a scan makes of a file.
    fn read(bytes: Vec<u8>) -> RecordBatch {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).expect("Parquet");
        let batches: Vec<RecordBatch> =
            reader.build().expect("Parquet").collect::<std::result::Result<_, _>>().expect("rows");
        let file = concat_batches(&batches[0].schema(), &batches).expect("one schema");
        let adapter = RollupAdapterFactory.create(rollup_schema(), file.schema()).expect("an adapter");
        let schema = rollup_schema();
        let columns = schema.fields().iter().enumerate().map(|(place, field)| {
            let column = Arc::new(Stored::new(field.name(), place));
            let column = adapter.rewrite(column).expect("a column");
            let array = column.evaluate(&file).and_then(|value| value.into_array(file.num_rows()));
            arrow::compute::cast(&array.expect("evaluated"), field.data_type()).expect("its type")
        });
        RecordBatch::try_new(rollup_schema(), columns.collect()).expect("the table")
    }

    /// Equal to the bit, where `==` would take 0 for -0.
    fn assert_same(a: &RecordBatch, b: &RecordBatch) {
        for (place, field) in rollup_schema().fields().iter().enumerate() {
            assert_eq!(a.column(place).nulls(), b.column(place).nulls(), "{}", field.name());
            assert_eq!(a.column(place), b.column(place), "{}", field.name());
            if let Some(numbers) = a.column(place).as_primitive_opt::<Float64Type>() {
                let others = b.column(place).as_primitive::<Float64Type>();
                for row in (0..numbers.len()).filter(|row| numbers.is_valid(*row)) {
                    assert_eq!(numbers.value(row).to_bits(), others.value(row).to_bits(), "{}", field.name());
                }
            }
        }
    }

    type Reading = (i64, Option<f64>);

    fn rows(resolution: Resolution, devices: &[Vec<Reading>], rules: &Rules) -> RecordBatch {
        let mut rows = RollupRows::default();
        for (n, readings) in devices.iter().enumerate() {
            let mut bucket = Bucket::default();
            let mut start = None;
            for &(time, value) in readings {
                let begins = resolution.start(time);
                if let Some(before) = start.filter(|start| *start != begins) {
                    rows.push(&format!("d{n:03}"), "t", &bucket.finish(resolution, before, rules));
                }
                start = Some(begins);
                bucket.push(time, value, rules);
            }
            if let Some(start) = start {
                rows.push(&format!("d{n:03}"), "t", &bucket.finish(resolution, start, rules));
            }
        }
        rows.finish()
    }

    fn number() -> impl Strategy<Value = Option<f64>> {
        prop_oneof![
            6 => (-100_000..100_000_i64).prop_map(|hundredths| Some(hundredths as f64 / 100.0)),
            2 => (-9_i64..9).prop_map(|whole| Some(whole as f64)),
            1 => any::<f64>().prop_filter("a number", |value| value.is_finite() && value.abs() < 1e150).prop_map(|value| Some(value + 0.0)),
            1 => Just(None),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn what_is_encoded_comes_back_bit_for_bit(
            devices in prop::collection::vec(prop::collection::vec((0..20_000_000_i64, number()), 1..60), 1..5),
            unit in prop_oneof![Just(1_i64), Just(1_000), Just(1_000_000)],
            hold in prop_oneof![Just(None), Just(Some(0_i64)), Just(Some(10_000_000))],
            is_counter in any::<bool>(),
            resolution in prop_oneof![Just(Resolution::Minute), Just(Resolution::Hour)],
        ) {
            let devices: Vec<Vec<Reading>> = devices.into_iter().map(|mut readings| {
                readings.sort_by_key(|(time, _)| *time);
                readings.into_iter().map(|(time, value)| (time * 1_000 / unit * unit, value)).collect()
            }).collect();
            let rules = Rules { hold, is_counter, rollover: None };
            let batch = rows(resolution, &devices, &rules);
            assert_same(&read(encode(resolution, &batch).expect("encoded")), &batch);
        }
    }

    /// Decimals of a sensor: sums are decimals but for a last digit, and take a fraction of their eight bytes.
    #[test]
    fn rows_of_a_sensor_are_small() {
        let mut dice = 7_u64;
        let mut throw = |below: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((dice >> 33) % below) as i64
        };
        let devices: Vec<Vec<Reading>> = (0..200)
            .map(|device| {
                (0..345)
                    .map(|n| {
                        let time = (device * 777 + n * 250_000 + throw(800)) * 1_000;
                        (time, Some((2_000 + throw(500)) as f64 / 100.0))
                    })
                    .collect()
            })
            .collect();
        let rules = Rules { hold: None, is_counter: false, rollover: None };
        let batch = rows(Resolution::Hour, &devices, &rules);
        let bytes = encode(Resolution::Hour, &batch).expect("encoded");
        let per_row = bytes.len() as f64 / batch.num_rows() as f64;
        assert!(per_row < 22.0, "{per_row} bytes a row");
        assert_same(&read(bytes), &batch);
    }

    /// The first files had the table's own columns.
    #[test]
    fn files_of_before_are_read_as_they_are() {
        let readings = vec![(5_000_000, Some(21.5)), (20_000_000, Some(0.1)), (70_000_000, None)];
        let rules = Rules { hold: None, is_counter: true, rollover: None };
        let batch = rows(Resolution::Minute, &[readings], &rules);
        let mut writer =
            parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
        writer.write(&batch).expect("written");
        assert_same(&read(writer.into_inner().expect("whole")), &batch);
        assert_eq!(batch.column(TIME).len(), 2);
    }
}
