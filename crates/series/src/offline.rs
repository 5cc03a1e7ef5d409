//! The room without threads of its own: each step is taken when it is asked for.
//!
//! Not here: the steps. The law: what it does is what the service does, in the order of the calls.

use std::path::Path;
use std::sync::Arc;

use host::Host;
use model::Channels;
use model::route::Routes;

use crate::error::{OpenError, StoreError};
use crate::retention;
use crate::service::Series;
use crate::settings::Settings;
use crate::tiers;
use crate::upkeep;

/// The room without threads of its own: records are handed in, and each step is taken when it is asked for. For
/// tests, benches, and tools that work on a journal offline.
pub struct Offline {
    series: Series,
}

impl Offline {
    /// Opens `dir`, or makes it.
    ///
    /// # Errors
    /// As [`Series::open`].
    pub fn open(
        dir: &Path,
        settings: &Settings,
        routes: Arc<Routes>,
        channels: Arc<Channels>,
        host: &Host,
    ) -> Result<Self, OpenError> {
        Ok(Self { series: Series::assemble(dir, settings, routes, channels, None, host)? })
    }

    /// Takes in records, in the order of `seq`; those that had their effect already are passed over.
    pub fn apply(&self, records: &[journal::Record]) {
        self.series.inner.store.apply(records);
        self.series.inner.applied.send_replace(self.series.applied());
    }

    /// Writes memory to column files.
    ///
    /// # Errors
    /// [`StoreError`]: memory is as it was, and the next call tries again.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.series.inner.store.flush()
    }

    /// Merges what is worth merging as if nothing more came; returns how many files were merged.
    ///
    /// # Errors
    /// [`StoreError`]: the files are as they were.
    pub fn compact(&self) -> Result<usize, StoreError> {
        let inner = &self.series.inner;
        upkeep::roll_up(&inner.store, &inner.engine, u64::MAX, true)?;
        let mut merged = 0;
        while let Some(files) = upkeep::to_merge(&inner.store, u64::MAX) {
            merged += upkeep::merge(&inner.store, &inner.engine, files)?.files;
        }
        Ok(merged)
    }

    /// Rolls up every day that is not as its readings are now; returns how many rows were written.
    ///
    /// # Errors
    /// [`StoreError`]: the rollups of that day are as they were.
    pub fn roll_up(&self) -> Result<u64, StoreError> {
        let inner = &self.series.inner;
        Ok(upkeep::roll_up(&inner.store, &inner.engine, u64::MAX, false)?.rows)
    }

    /// Drops what is too old or too much; `other_bytes` is what else counts towards the disk budget.
    ///
    /// # Errors
    /// [`StoreError`]: the files are as they were.
    pub fn retain(&self, other_bytes: u64) -> Result<(), StoreError> {
        let inner = &self.series.inner;
        upkeep::drop_files(&inner.store, &inner.engine, &upkeep::to_drop(&inner.store, other_bytes))?;
        while retention::step(&inner.store, &inner.engine)? > 0 {}
        upkeep::watch_disk(&inner.store, other_bytes);
        Ok(())
    }

    /// Moves files that are old enough to the remote store, some of them; returns how many moved.
    ///
    /// # Errors
    /// [`StoreError`]: what did not move is where it was.
    pub fn tier(&self) -> Result<usize, StoreError> {
        tiers::step(&self.series.inner.store, &self.series.inner.engine)
    }

    /// For queries and figures.
    #[must_use]
    pub fn series(&self) -> &Series {
        &self.series
    }
}
