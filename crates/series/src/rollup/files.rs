//! Rollup files: what the manifest says of them, and how their columns are laid out.
//!
//! Parquet that any reader can open, in the very columns of the table; sorted by device, channel and time; named
//! `rollup-1h-2015-02-04-00000017-….parquet.sealed`. Not here: who writes them to disk (`store`). The law: what is encoded comes
//! back bit for bit.

use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};

use super::bucket::Resolution;
use crate::column::{FileReader, PAGE_ROWS};
use crate::files::Stored;
use crate::rows::Key;

/// Most key ranges that are frozen one by one; with more they become one from the first to the last.
const RANGES_MAX: usize = 64;

/// A rollup file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RollupFile {
    /// Its name in the directory.
    pub name: String,
    /// Whose rows.
    pub resolution: Resolution,
    /// How many.
    pub rows: u64,
    /// Its length.
    pub bytes: u64,
    /// CRC32C of each 256 KiB of it; none when it is sealed.
    pub checksums: Vec<u32>,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Identity of its first row.
    pub first: Key,
    /// Identity of its last row.
    pub last: Key,
    /// Start of the first bucket in microseconds.
    pub time_min: i64,
    /// Start of the last one.
    pub time_max: i64,
}

impl RollupFile {
    /// How it is stored.
    pub(crate) fn stored(&self) -> Stored {
        Stored {
            name: self.name.clone(),
            bytes: self.bytes,
            checksums: self.checksums.clone(),
            sealed: self.sealed,
            remote: false,
        }
    }
}

/// The rollups of a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RollupDay {
    /// Counted from 1970-01-01.
    pub day: i64,
    /// The rules of channels by which they were folded.
    pub rules: u64,
    /// Names of the column files that they were folded from, those that are live.
    pub covers: Vec<String>,
    /// The tables that are stored; the others are folded when asked.
    pub stored: Vec<Resolution>,
    /// Identities of first and last rows of column files that were dropped since the files were written: their hours
    /// are frozen, though the rows do not say so yet.
    pub frozen: Vec<(Key, Key)>,
    /// Whether any row is frozen.
    pub has_frozen: bool,
    /// The files.
    pub files: Vec<RollupFile>,
}

impl RollupDay {
    /// Nothing is stored of the day.
    pub(crate) fn new(day: i64, rules: u64) -> Self {
        Self {
            day,
            rules,
            covers: Vec::new(),
            stored: Vec::new(),
            frozen: Vec::new(),
            has_frozen: false,
            files: Vec::new(),
        }
    }

    /// Whether the column file is folded in.
    pub(crate) fn covers(&self, name: &str) -> bool {
        self.covers.iter().any(|covered| covered == name)
    }

    /// Column files were replaced: what was made of covered files alone is covered.
    pub(crate) fn replace(&mut self, old: &[String], new: &[String]) {
        let is_covered = !old.is_empty() && old.iter().all(|name| self.covers(name));
        self.covers.retain(|name| !old.contains(name));
        if is_covered {
            self.covers.extend_from_slice(new);
        }
    }

    /// What had these keys was dropped.
    pub(crate) fn freeze(&mut self, first: &Key, last: &Key) {
        self.has_frozen = true;
        self.frozen.push((first.clone(), last.clone()));
        if self.frozen.len() > RANGES_MAX {
            let first = self.frozen.iter().map(|(first, _)| first).min().cloned();
            let last = self.frozen.iter().map(|(_, last)| last).max().cloned();
            self.frozen = first.zip(last).into_iter().collect();
        }
    }
}

/// The rollups of a day, to be read.
#[derive(Debug)]
pub(crate) struct LiveRollup {
    /// What the manifest says.
    pub day: RollupDay,
    /// Readers of [`RollupDay::files`], in their order.
    pub readers: Vec<Arc<FileReader>>,
}

impl LiveRollup {
    /// The files of a table, in the order of their rows.
    pub(crate) fn files(
        &self,
        resolution: Resolution,
    ) -> impl Iterator<Item = (&RollupFile, &Arc<FileReader>)> {
        let files = self.day.files.iter().zip(&self.readers);
        files.filter(move |(file, _)| file.resolution == resolution)
    }
}

/// The bytes of a rollup file.
pub(crate) fn encode(batch: &RecordBatch) -> Result<Vec<u8>, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by(concat!("godwit ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_max_row_group_row_count(None)
        .set_statistics_enabled(EnabledStatistics::None);
    let path = |name: &str| ColumnPath::new(vec![name.to_owned()]);
    for name in ["time", "device", "channel"] {
        properties = properties.set_column_statistics_enabled(path(name), EnabledStatistics::Page);
    }
    for name in ["time", "first_time", "last_time"] {
        properties = properties
            .set_column_dictionary_enabled(path(name), false)
            .set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
    }
    // Hardly two are alike.
    for name in ["sum", "weighted_sum", "seconds"] {
        properties = properties
            .set_column_dictionary_enabled(path(name), false)
            .set_column_encoding(path(name), Encoding::BYTE_STREAM_SPLIT);
    }
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties.build()))?;
    writer.write(batch)?;
    writer.into_inner()
}
