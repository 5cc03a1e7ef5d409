//! The tables `readings_1m`, `readings_5m` and `readings_1h`: stored rows where nothing newer touches them, folded from
//! the readings where something does.
//!
//! Not here: the fold itself and the files (`crate::rollup`). The law: the answer is what a fold of all readings there
//! are at this moment would give; of frozen hours, what was stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::expressions::{BinaryExpr, Column, in_list, lit};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use model::{Channels, Timestamp};

use super::fold::{Fold, Scope, Untouched};
use super::provided::{Provide, Question};
use super::readings::{self, Part};
use super::sorted::SortedExec;
use super::wanted::wanted;
use crate::column::{FileReader, ReaderFactory};
use crate::rollup::{self, Buckets, LiveRollup, Resolution, RollupAdapterFactory, RollupFile, rollup_schema};
use crate::schema;
use crate::store::{LiveFile, Store};
use crate::table::Wanted;

/// One of the three tables.
pub(crate) struct RollupTable {
    pub store: Arc<Store>,
    pub resolution: Resolution,
}

#[async_trait]
impl Provide for RollupTable {
    fn name(&self) -> &'static str {
        self.resolution.table()
    }

    fn schema(&self) -> SchemaRef {
        rollup_schema()
    }

    async fn scan(&self, question: Question<'_>) -> Result<Arc<dyn ExecutionPlan>> {
        let (filters, state) = (question.filters, question.session);
        let resolution = self.resolution;
        let rows_wanted = wanted(filters);
        // Every reading of a bucket that may be wanted.
        let raw_wanted = Wanted {
            from: rows_wanted.from.map(|from| resolution.start(from)),
            to: rows_wanted.to.map(|to| resolution.start(to).saturating_add(resolution.micros() - 1)),
            ..rows_wanted.clone()
        };
        let snapshot = self.store.snapshot(&raw_wanted);
        let mut days: BTreeMap<i64, DayParts> = BTreeMap::new();
        for file in snapshot.files.iter() {
            days.entry(file.entry.day).or_default().files.push(file.clone());
        }
        for (nth, memory) in (1..).zip(&snapshot.memory) {
            for day in days_of(memory) {
                days.entry(day).or_default().memory.push((nth, memory.clone()));
            }
        }
        for (day, live) in snapshot.rollups.iter() {
            days.entry(*day).or_default().rollup = Some(Arc::clone(live));
        }
        let everything: Vec<usize> = (0..rollup_schema().fields().len()).collect();
        let projection = question.projection.unwrap_or(&everything);
        let context = state.task_ctx();
        let mut plans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        let mut clean = Vec::new();
        for (day, parts) in days {
            let start = day.saturating_mul(Timestamp::DAY);
            let end = start.saturating_add(Timestamp::DAY - 1);
            if raw_wanted.from.is_some_and(|from| from > end) || raw_wanted.to.is_some_and(|to| to < start) {
                continue;
            }
            if let Some(live) = parts.rollup.clone().filter(|_| parts.is_clean(&self.store, resolution)) {
                clean.push(live);
                continue;
            }
            let planned = plan_day(self.store.channels(), &context, resolution, day, &parts, &raw_wanted);
            for plan in planned.await?.plans {
                plans.push(project(plan, projection)?);
            }
        }
        let files: Vec<_> = clean.iter().flat_map(|live| live.files(resolution)).collect();
        let files = files
            .into_iter()
            .filter(|(file, _)| rows_wanted.meets(&file.first, &file.last, &(file.time_min..=file.time_max)));
        if let Some(stored) = side_by_side(files.collect(), projection, state.config().target_partitions())? {
            plans.push(stored);
        }
        match plans.len() {
            0 => Ok(Arc::new(EmptyExec::new(Arc::new(rollup_schema().project(projection)?)))),
            1 => Ok(plans.remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }
}

/// What there is of a day.
#[derive(Default)]
pub(crate) struct DayParts {
    pub files: Vec<LiveFile>,
    /// Memories by age.
    pub memory: Vec<(u64, Vec<RecordBatch>)>,
    pub rollup: Option<Arc<LiveRollup>>,
}

impl DayParts {
    /// Whether the stored rows of a table are all there is to say.
    fn is_clean(&self, store: &Store, resolution: Resolution) -> bool {
        let Some(live) = &self.rollup else { return false };
        self.memory.is_empty()
            && live.day.frozen.is_empty()
            && live.day.rules == store.rules()
            && live.day.stored.contains(&resolution)
            && self.files.iter().all(|file| live.day.covers(&file.entry.name))
    }
}

/// How a day's rows are had.
pub(crate) struct DayPlan {
    /// One or two plans of one partition each, sorted, that share no row.
    pub plans: Vec<Arc<dyn ExecutionPlan>>,
    /// New readings that fall in frozen hours.
    pub late: u64,
}

/// Plans the rows of one day: what is stored and not touched, and the fold of the rest.
pub(crate) async fn plan_day(
    channels: &Arc<Channels>,
    context: &Arc<TaskContext>,
    resolution: Resolution,
    day: i64,
    parts: &DayParts,
    wanted: &Wanted,
) -> Result<DayPlan> {
    let start = day.saturating_mul(Timestamp::DAY);
    let within = (start, start.saturating_add(Timestamp::DAY - 1));
    let mut wanted = Wanted {
        from: Some(wanted.from.map_or(within.0, |from| from.max(within.0))),
        to: Some(wanted.to.map_or(within.1, |to| to.min(within.1))),
        ..wanted.clone()
    };
    let known = parts.rollup.as_deref();
    let stored = known.filter(|live| live.day.stored.contains(&resolution));
    let is_new = |file: &&LiveFile| known.is_none_or(|live| !live.day.covers(&file.entry.name));
    let new: Vec<LiveFile> = parts.files.iter().filter(is_new).cloned().collect();

    let mut touched = Buckets::default();
    let keys = [schema::DEVICE, schema::CHANNEL, schema::TIME];
    let plan = readings::plain_of(new, &keys, predicate(&wanted, &schema::readings()).as_ref())?;
    each(plan, context, |batch| touched.insert_batch(batch)).await?;
    for (_, batches) in &parts.memory {
        for batch in batches {
            let batch = within_day(&batch.project(&keys)?, within)?;
            touched.insert_batch(&batch);
        }
    }

    // Hours that stay as they are: what was dropped had a part in them.
    let ranges = known.map(|live| live.day.frozen.as_slice()).unwrap_or_default();
    let mut frozen = Buckets::default();
    let mut frozen_ranges = Vec::new();
    let hours = known.filter(|live| live.day.stored.contains(&Resolution::Hour));
    if let Some(hours) = hours {
        let files: Vec<_> = hours.files(Resolution::Hour).collect();
        if hours.day.has_frozen && !files.is_empty() {
            let plan = files_exec(vec![group(&files)], &rollup::FROZEN_KEYS, None, true)?;
            each(plan, context, |batch| frozen.insert_frozen(batch, ranges)).await?;
        }
    } else {
        // Without stored hours nobody knows which of them had readings.
        frozen_ranges = ranges.to_vec();
    }

    let is_full = touched.is_full();
    let late = touched.remove_all(&frozen);
    let is_valid = stored.is_some_and(|live| live.day.rules == channels.rules()) && !is_full;
    let scope = if is_valid {
        // Only their devices need be read.
        wanted.devices = Some(touched.devices());
        Scope { only: Some(touched), except: frozen, ranges: frozen_ranges }
    } else {
        Scope { only: None, except: frozen, ranges: frozen_ranges }
    };
    let scope = Arc::new(scope);
    let mut plans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
    if let Some(live) = stored {
        let files: Vec<_> = live.files(resolution).collect();
        let is_kept = scope.only.is_some() || !scope.except.is_empty();
        if is_kept && !files.is_empty() {
            let all: Vec<usize> = (0..rollup_schema().fields().len()).collect();
            let plan = files_exec(vec![group(&files)], &all, None, true)?;
            let is_untouched = scope.only.as_ref().is_some_and(Buckets::is_empty);
            let freeze = live.day.frozen.clone();
            plans.push(if is_untouched && freeze.is_empty() {
                plan
            } else {
                Arc::new(SortedExec::new(plan, Arc::new(Untouched { scope: Arc::clone(&scope), freeze })))
            });
        }
    }
    let has_work = scope.only.as_ref().is_none_or(|only| !only.is_empty());
    if has_work && !(parts.files.is_empty() && parts.memory.is_empty()) {
        let memory = parts.memory.iter().map(|(nth, batches)| {
            let batches: Result<Vec<_>> = batches.iter().map(|batch| within_day(batch, within)).collect();
            Ok((*nth, batches?.into_iter().filter(|batch| batch.num_rows() > 0).collect::<Vec<_>>()))
        });
        let memory: Vec<(u64, Vec<RecordBatch>)> = memory.collect::<Result<_>>()?;
        let memory = memory.into_iter().filter(|(_, batches)| !batches.is_empty());
        let mut raw: Vec<Part> = parts.files.iter().map(|file| Part::of_file(file.clone())).collect();
        raw.extend(memory.map(|(nth, batches)| Part::of_memory(batches, nth)));
        let projection = [schema::TIME, schema::DEVICE, schema::CHANNEL, schema::VALUE];
        let filter = predicate(&wanted, &schema::readings());
        if !raw.is_empty() {
            let input = readings::sorted(raw, channels, &projection, filter.as_ref())?;
            let fold = Fold { channels: Arc::clone(channels), resolution, scope };
            plans.push(Arc::new(SortedExec::new(input, Arc::new(fold))));
        }
    }
    Ok(DayPlan { plans, late })
}

/// Sorted plans that share no row, as one sorted plan.
pub(crate) fn in_order(plans: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
    let order = schema::key_order(&rollup_schema()).expect("rollups have a key");
    Ok(Arc::new(SortPreservingMergeExec::new(order, UnionExec::try_new(plans)?)))
}

/// Hands every batch of a plan to `take`.
async fn each(
    plan: Arc<dyn ExecutionPlan>,
    context: &Arc<TaskContext>,
    mut take: impl FnMut(&RecordBatch),
) -> Result<()> {
    let mut stream = execute_stream(plan, Arc::clone(context))?;
    while let Some(batch) = stream.next().await {
        take(&batch?);
    }
    Ok(())
}

fn days_of(batches: &[RecordBatch]) -> BTreeSet<i64> {
    let mut days = BTreeSet::new();
    let mut last = None;
    for batch in batches {
        for time in batch.column(schema::TIME).as_primitive::<TimestampMicrosecondType>().values() {
            let day = time.div_euclid(Timestamp::DAY);
            // Neighbours mostly share their day.
            if last != Some(day) {
                days.insert(day);
                last = Some(day);
            }
        }
    }
    days
}

/// The rows of a batch within a day.
fn within_day(batch: &RecordBatch, (from, to): (i64, i64)) -> Result<RecordBatch> {
    let times = batch.column_by_name("time").expect("batches have their key");
    let times = times.as_primitive::<TimestampMicrosecondType>();
    if times.values().iter().all(|time| (from..=to).contains(time)) {
        return Ok(batch.clone());
    }
    let mask = times.values().iter().map(|time| Some((from..=to).contains(time))).collect();
    Ok(arrow::compute::filter_record_batch(batch, &mask)?)
}

/// What is wanted, as a condition on the columns of `schema`.
pub(crate) fn predicate(wanted: &Wanted, schema: &SchemaRef) -> Option<Arc<dyn PhysicalExpr>> {
    let column = |name: &str| {
        let index = schema.index_of(name).expect("a column of the key");
        Arc::new(Column::new(name, index)) as Arc<dyn PhysicalExpr>
    };
    let mut all: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
    for (name, texts) in [("device", &wanted.devices), ("channel", &wanted.channels)] {
        if let Some(texts) = texts {
            let list = texts.iter().map(|text| lit(ScalarValue::Utf8View(Some(text.clone()))));
            all.extend(in_list(column(name), list.collect(), &false, schema).ok());
        }
    }
    let moment = |micros: i64| lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("+00:00".into())));
    for (op, bound) in [(Operator::GtEq, wanted.from), (Operator::LtEq, wanted.to)] {
        if let Some(bound) = bound {
            all.push(Arc::new(BinaryExpr::new(column("time"), op, moment(bound))));
        }
    }
    all.into_iter().reduce(|a, b| Arc::new(BinaryExpr::new(a, Operator::And, b)))
}

fn project(plan: Arc<dyn ExecutionPlan>, projection: &[usize]) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = rollup_schema();
    if projection.iter().copied().eq(0..schema.fields().len()) {
        return Ok(plan);
    }
    let asked = projection.iter().map(|&place| {
        let name = schema.field(place).name();
        (Arc::new(Column::new(name, place)) as Arc<dyn PhysicalExpr>, name.clone())
    });
    Ok(Arc::new(ProjectionExec::try_new(asked.collect::<Vec<_>>(), plan)?))
}

type StoredFile<'a> = (&'a RollupFile, &'a Arc<FileReader>);

/// Files that share no row, spread over `partitions` by size.
fn side_by_side(
    mut files: Vec<StoredFile<'_>>,
    projection: &[usize],
    partitions: usize,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if files.is_empty() {
        return Ok(None);
    }
    files.sort_by_key(|(file, _)| std::cmp::Reverse(file.rows));
    let mut groups: Vec<(u64, Vec<StoredFile<'_>>)> = vec![(0, Vec::new()); partitions.clamp(1, files.len())];
    for file in files {
        let (rows, group) = groups.iter_mut().min_by_key(|(rows, _)| *rows).expect("at least one");
        *rows += file.0.rows;
        group.push(file);
    }
    let groups = groups.iter().map(|(_, files)| group(files)).collect();
    files_exec(groups, projection, None, false).map(Some)
}

fn group(files: &[StoredFile<'_>]) -> FileGroup {
    FileGroup::new(files.iter().map(partitioned).collect())
}

fn files_exec(
    groups: Vec<FileGroup>,
    projection: &[usize],
    filter: Option<&Arc<dyn PhysicalExpr>>,
    is_sorted: bool,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = rollup_schema();
    let mut source = ParquetSource::new(Arc::clone(&schema))
        .with_parquet_file_reader_factory(Arc::new(ReaderFactory))
        .with_pushdown_filters(true)
        .with_bloom_filter_on_read(false);
    if let Some(filter) = filter {
        source = source.with_predicate(Arc::clone(filter));
    }
    let order = schema::key_order(&schema).expect("rollups have a key");
    let config = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
        .with_file_groups(groups)
        .with_projection_indices(Some(projection.to_vec()))?
        .with_expr_adapter(Some(Arc::new(RollupAdapterFactory)))
        .with_output_ordering(if is_sorted { vec![order] } else { Vec::new() });
    Ok(DataSourceExec::from_data_source(config.build()))
}

/// A file as the engine wants it.
fn partitioned((file, reader): &StoredFile<'_>) -> PartitionedFile {
    let mut statistics = Statistics::new_unknown(&rollup_schema());
    statistics.num_rows = Precision::Exact(file.rows as usize);
    let moment = |micros: i64| ScalarValue::TimestampMicrosecond(Some(micros), Some("+00:00".into()));
    statistics.column_statistics[rollup::TIME] = ColumnStatistics {
        null_count: Precision::Exact(0),
        min_value: Precision::Exact(moment(file.time_min)),
        max_value: Precision::Exact(moment(file.time_max)),
        ..ColumnStatistics::new_unknown()
    };
    PartitionedFile::new(file.name.clone(), file.bytes)
        .with_extension(Arc::clone(reader))
        .with_statistics(Arc::new(statistics))
}
