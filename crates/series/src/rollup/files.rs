//! Rollup files: what the manifest says of them.
//!
//! Parquet that any reader can open; sorted by device, channel and time; named
//! `rollup-1h-2015-02-04-00000017-….parquet.sealed`. Not here: their columns (`columns`), who writes them to disk (`store`). The
//! law: a day says which column files its rollups are made of.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bucket::Resolution;
use crate::column::FileReader;
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
        Stored::here(&self.name, self.bytes, &self.checksums, self.sealed)
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
