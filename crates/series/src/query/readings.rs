//! The table `readings`: column files and memory as one.
//!
//! Files that no condition can meet are left out; parts that cannot hold the same reading are scanned side by side;
//! those that may are merged. Not here: reading a file (`column`), merging (`merge`). The law: an applied reading is
//! seen exactly once, with its newest value.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use async_trait::async_trait;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::expressions::Column;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;

use model::{Channels, Timestamp};

use super::merge::MergeExec;
use super::provided::{Provide, Question};
use super::rollups::predicate;
use super::wanted::wanted;
use crate::column::{ColumnsAdapterFactory, ReaderFactory};
use crate::rows::Key;
use crate::schema;
use crate::store::{LiveFile, Snapshot, Store};
use crate::table::Wanted;

/// `readings`.
pub(crate) struct Readings(pub Arc<Store>);

#[async_trait]
impl Provide for Readings {
    fn name(&self) -> &'static str {
        "readings"
    }

    fn schema(&self) -> SchemaRef {
        schema::readings()
    }

    async fn scan(&self, question: Question<'_>) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted = wanted(question.filters);
        let parts = parts(self.0.snapshot(&wanted), &wanted);
        let everything: Vec<usize> = (0..schema::readings().fields().len()).collect();
        let projection = question.projection.unwrap_or(&everything);
        scan(parts, self.0.channels(), projection, question.session.config().target_partitions())
    }
}

/// What of a snapshot may be wanted.
pub(crate) fn parts(snapshot: Snapshot, wanted: &Wanted) -> Vec<Part> {
    let files = snapshot.files.iter().filter(|file| {
        let entry = &file.entry;
        wanted.meets(&entry.first, &entry.last, &(entry.time_min..=entry.time_max))
    });
    let mut parts: Vec<Part> = files.map(|file| Part::of_file(file.clone())).collect();
    let memory = snapshot.memory.into_iter().zip(1..);
    parts.extend(memory.map(|(batches, nth)| Part::of_memory(batches, nth)));
    parts
}

/// The plan that reads `parts` as one stream in the order of the key.
pub(crate) fn in_order(mut parts: Vec<Part>, channels: &Arc<Channels>) -> Result<Arc<dyn ExecutionPlan>> {
    let everything: Vec<usize> = (0..schema::readings().fields().len()).collect();
    if parts.is_empty() {
        return plain(Vec::new(), &everything);
    }
    parts.sort_by(|a, b| a.generation.cmp(&b.generation).then_with(|| a.first.cmp(&b.first)));
    merge(parts, channels, &everything, None)
}

/// The plan that reads these columns of what is wanted of `parts` as one stream in the order of the key. Of memory more may
/// come than is wanted.
pub(crate) fn chosen(
    parts: Vec<Part>,
    channels: &Arc<Channels>,
    columns: &[usize],
    wanted: &Wanted,
) -> Result<Arc<dyn ExecutionPlan>> {
    if parts.is_empty() {
        return plain(Vec::new(), columns);
    }
    sorted(parts, channels, columns, predicate(wanted, &schema::readings()).as_ref())
}

/// Something sorted and without duplicates.
#[derive(Clone)]
pub(crate) struct Part {
    first: Key,
    last: Key,
    times: RangeInclusive<i64>,
    /// Higher is newer. Memory is newer than files.
    generation: (u64, u64),
    /// Whether a channel of it may append.
    appends: bool,
    content: Content,
}

#[derive(Clone)]
enum Content {
    File(LiveFile),
    Memory(Vec<RecordBatch>),
}

impl Part {
    /// A column file.
    pub(crate) fn of_file(file: LiveFile) -> Self {
        let entry = &file.entry;
        Self {
            first: entry.first.clone(),
            last: entry.last.clone(),
            times: entry.time_min..=entry.time_max,
            generation: (0, entry.seq_to),
            appends: entry.appends,
            content: Content::File(file),
        }
    }

    /// Batches in memory, `nth` of the memories, the oldest first.
    pub(crate) fn of_memory(batches: Vec<RecordBatch>, nth: u64) -> Self {
        let times = batches.iter().flat_map(|batch| {
            batch.column(schema::TIME).as_primitive::<TimestampMicrosecondType>().values().iter().copied()
        });
        let (from, to) = times.fold((i64::MAX, i64::MIN), |(from, to), time| (from.min(time), to.max(time)));
        let last = batches.last().expect("memory without rows is left out");
        Self {
            first: key_at(&batches[0], 0),
            last: key_at(last, last.num_rows() - 1),
            times: from..=to,
            generation: (nth, 0),
            // Not known without a look at every channel.
            appends: true,
            content: Content::Memory(batches),
        }
    }

    /// The days of its times.
    pub(crate) fn days(&self) -> BTreeSet<i64> {
        let day = |micros: i64| Timestamp::from_micros(micros).day();
        match &self.content {
            Content::File(file) => BTreeSet::from([file.entry.day]),
            Content::Memory(batches) => {
                let times = batches.iter().flat_map(|batch| {
                    batch.column(schema::TIME).as_primitive::<TimestampMicrosecondType>().values()
                });
                times.map(|micros| day(*micros)).collect()
            }
        }
    }

    /// The times of its rows, in microseconds.
    pub(crate) fn times(&self) -> &RangeInclusive<i64> {
        &self.times
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.generation != other.generation
            && self.times.start() <= other.times.end()
            && other.times.start() <= self.times.end()
            && self.first <= other.last
            && other.first <= self.last
    }
}

fn key_at(batch: &RecordBatch, row: usize) -> Key {
    let text = |column: usize| batch.column(column).as_string_view().value(row).to_owned();
    let time = batch.column(schema::TIME).as_primitive::<TimestampMicrosecondType>().value(row);
    Key { device: text(schema::DEVICE), channel: text(schema::CHANNEL), time }
}

/// Parts in groups that may hold the same reading; within a group the oldest generation first.
fn groups(mut parts: Vec<Part>) -> Vec<Vec<Part>> {
    parts.sort_by_key(|part| *part.times.start());
    // Which group each part is in; groups that meet become one.
    let mut group: Vec<usize> = (0..parts.len()).collect();
    fn root(group: &mut [usize], mut part: usize) -> usize {
        while group[part] != part {
            group[part] = group[group[part]];
            part = group[part];
        }
        part
    }
    let mut open: Vec<usize> = Vec::new();
    for part in 0..parts.len() {
        open.retain(|&other| parts[other].times.end() >= parts[part].times.start());
        for &other in &open {
            if parts[other].overlaps(&parts[part]) {
                let (a, b) = (root(&mut group, other), root(&mut group, part));
                group[a] = b;
            }
        }
        open.push(part);
    }
    let mut grouped: Vec<Vec<Part>> = (0..parts.len()).map(|_| Vec::new()).collect();
    for (place, part) in parts.into_iter().enumerate() {
        let to = root(&mut group, place);
        grouped[to].push(part);
    }
    grouped.retain(|parts| !parts.is_empty());
    for parts in &mut grouped {
        parts.sort_by(|a, b| a.generation.cmp(&b.generation).then_with(|| a.first.cmp(&b.first)));
    }
    grouped
}

/// The plan that reads `parts`, in `partitions` streams or more.
pub(crate) fn scan(
    parts: Vec<Part>,
    channels: &Arc<Channels>,
    projection: &[usize],
    partitions: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut plans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
    let mut alone = Vec::new();
    for mut group in groups(parts) {
        if group.len() > 1 {
            plans.push(sorted(group, channels, projection, None)?);
            continue;
        }
        match group.pop().expect("no group is empty").content {
            Content::File(file) => alone.push(file),
            Content::Memory(batches) => plans.push(memory(batches, projection)?),
        }
    }
    if !alone.is_empty() {
        plans.push(side_by_side(alone, projection, partitions)?);
    }
    match plans.len() {
        0 => Ok(Arc::new(EmptyExec::new(Arc::new(schema::readings().project(projection)?)))),
        1 => Ok(plans.remove(0)),
        _ => UnionExec::try_new(plans),
    }
}

/// The plan that reads files one after the other, their rows as they are.
pub(crate) fn plain(files: Vec<LiveFile>, projection: &[usize]) -> Result<Arc<dyn ExecutionPlan>> {
    if files.is_empty() {
        return Ok(Arc::new(EmptyExec::new(Arc::new(schema::readings().project(projection)?))));
    }
    side_by_side(files, projection, 1)
}

/// The plan that reads files one after the other, those of their rows that `filter` lets through.
pub(crate) fn plain_of(
    files: Vec<LiveFile>,
    projection: &[usize],
    filter: Option<&Arc<dyn PhysicalExpr>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    if files.is_empty() {
        return Ok(Arc::new(EmptyExec::new(Arc::new(schema::readings().project(projection)?))));
    }
    let group = FileGroup::new(files.iter().map(partitioned).collect());
    files_exec(vec![group], projection, filter, false)
}

/// All of `parts` in one sorted stream, each reading once, as far as `filter` - which may look at the key alone - lets
/// it through.
pub(crate) fn sorted(
    mut parts: Vec<Part>,
    channels: &Arc<Channels>,
    projection: &[usize],
    filter: Option<&Arc<dyn PhysicalExpr>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    parts.sort_by(|a, b| a.generation.cmp(&b.generation).then_with(|| a.first.cmp(&b.first)));
    merge(parts, channels, projection, filter)
}

/// Merges parts in the order of generations and keys, then leaves out the key where it is not asked for.
pub(crate) fn merge(
    parts: Vec<Part>,
    channels: &Arc<Channels>,
    projection: &[usize],
    filter: Option<&Arc<dyn PhysicalExpr>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut columns = projection.to_vec();
    let said = if parts.iter().any(|part| part.appends) { &[schema::VALUE, schema::TEXT][..] } else { &[] };
    let needed = schema::KEY.iter().chain(said).copied();
    columns.extend(needed.filter(|column| !projection.contains(column)));
    let mut inputs: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
    let mut at = 0;
    while at < parts.len() {
        // Files of one generation that follow each other by key are one sorted input.
        let mut files = Vec::new();
        while let Some(part) = parts.get(at)
            && let Content::File(file) = &part.content
            && (files.is_empty() || follows(&parts[at - 1], part))
        {
            files.push(partitioned(file));
            at += 1;
        }
        if !files.is_empty() {
            inputs.push(files_exec(vec![FileGroup::new(files)], &columns, filter, true)?);
        } else if let Content::Memory(batches) = &parts[at].content {
            inputs.push(memory(batches.clone(), &columns)?);
            at += 1;
        }
    }
    let merged: Arc<dyn ExecutionPlan> = if inputs.len() == 1 {
        inputs.remove(0)
    } else {
        Arc::new(MergeExec::new(inputs, Arc::clone(channels)))
    };
    if columns.len() == projection.len() {
        return Ok(merged);
    }
    let schema = merged.schema();
    let asked = (0..projection.len()).map(|place| {
        let name = schema.field(place).name();
        (Arc::new(Column::new(name, place)) as Arc<dyn PhysicalExpr>, name.clone())
    });
    Ok(Arc::new(ProjectionExec::try_new(asked.collect::<Vec<_>>(), merged)?))
}

fn follows(before: &Part, part: &Part) -> bool {
    before.generation == part.generation && before.last < part.first
}

fn memory(batches: Vec<RecordBatch>, projection: &[usize]) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = schema::readings();
    let order = schema::key_order(&schema).expect("readings have a key");
    let source = MemorySourceConfig::try_new(&[batches], schema, Some(projection.to_vec()))?
        .try_with_sort_information(vec![order])?;
    Ok(DataSourceExec::from_data_source(source))
}

/// Files that share no reading, spread over `partitions` by size.
fn side_by_side(
    mut files: Vec<LiveFile>,
    projection: &[usize],
    partitions: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    files.sort_by_key(|file| std::cmp::Reverse(file.entry.rows));
    let mut groups: Vec<(u64, Vec<LiveFile>)> = vec![(0, Vec::new()); partitions.clamp(1, files.len())];
    for file in files {
        let (rows, group) = groups.iter_mut().min_by_key(|(rows, _)| *rows).expect("at least one");
        *rows += file.entry.rows;
        group.push(file);
    }
    let groups = groups.into_iter().map(|(_, mut group)| {
        // The newest first: most questions are about now.
        group.sort_by_key(|file| std::cmp::Reverse(file.entry.time_max));
        FileGroup::new(group.iter().map(partitioned).collect())
    });
    files_exec(groups.collect(), projection, None, false)
}

fn files_exec(
    groups: Vec<FileGroup>,
    projection: &[usize],
    filter: Option<&Arc<dyn PhysicalExpr>>,
    is_sorted: bool,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = schema::readings();
    let order = schema::key_order(&schema).expect("readings have a key");
    let mut source = ParquetSource::new(Arc::clone(&schema))
        .with_parquet_file_reader_factory(Arc::new(ReaderFactory))
        .with_pushdown_filters(true)
        .with_bloom_filter_on_read(false);
    if let Some(filter) = filter {
        source = source.with_predicate(Arc::clone(filter));
    }
    let statistics = Statistics::try_merge_iter(
        groups.iter().flat_map(FileGroup::iter).filter_map(|file| file.statistics.as_deref()),
        &schema,
    )?;
    let config = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
        .with_file_groups(groups)
        .with_statistics(statistics)
        .with_projection_indices(Some(projection.to_vec()))?
        .with_expr_adapter(Some(Arc::new(ColumnsAdapterFactory)))
        .with_output_ordering(if is_sorted { vec![order] } else { Vec::new() });
    Ok(DataSourceExec::from_data_source(config.build()))
}

/// A file as the engine wants it, with what the manifest knows of it.
fn partitioned(file: &LiveFile) -> PartitionedFile {
    let entry = &file.entry;
    let mut statistics = Statistics::new_unknown(&schema::readings());
    statistics.num_rows = Precision::Exact(entry.rows as usize);
    let moment = |micros: i64| ScalarValue::TimestampMicrosecond(Some(micros), Some("+00:00".into()));
    statistics.column_statistics[schema::TIME] = ColumnStatistics {
        null_count: Precision::Exact(0),
        min_value: Precision::Exact(moment(entry.time_min)),
        max_value: Precision::Exact(moment(entry.time_max)),
        ..ColumnStatistics::new_unknown()
    };
    let text = |text: &str| ScalarValue::Utf8View(Some(text.to_owned()));
    statistics.column_statistics[schema::DEVICE] = ColumnStatistics {
        null_count: Precision::Exact(0),
        min_value: Precision::Exact(text(&entry.first.device)),
        max_value: Precision::Exact(text(&entry.last.device)),
        ..ColumnStatistics::new_unknown()
    };
    PartitionedFile::new(entry.name.clone(), entry.bytes)
        .with_extension(Arc::clone(&file.reader))
        .with_statistics(Arc::new(statistics))
}
