//! Rollups of days: written, put in place of others, looked at.
//!
//! Not here: how they are folded (`rollup`). The law: a day's rollups and what they cover change together, in the manifest.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{LiveFile, Store, chain};
use crate::column::FileReader;
use crate::error::StoreError;
use crate::files::Stored;
use crate::manifest;
use crate::rollup::{self, LiveRollup, Resolution, RollupFile, Rollups};
use crate::rows::Key;
use crate::tally::Tally;

impl Store {
    /// The column files and rollups of a day.
    pub(crate) fn day(&self, day: i64) -> (Vec<LiveFile>, Option<Arc<LiveRollup>>) {
        let live = self.live.read();
        let files = live.files.iter().filter(|file| file.entry.day == day).cloned().collect();
        (files, live.rollups.get(&day).cloned())
    }

    /// Days that have rows, with how many and whether a table is stored for them and not touched by newer files; and
    /// whether there are readings in memory.
    pub(crate) fn stored_days(
        &self,
        resolution: Resolution,
    ) -> (std::collections::BTreeMap<i64, (u64, bool)>, bool) {
        let (files, rollups, has_memory) = {
            let live = self.live.read();
            let has_memory = live.active.readings() > 0 || live.frozen.is_some();
            (Arc::clone(&live.files), Arc::clone(&live.rollups), has_memory)
        };
        let mut days = std::collections::BTreeMap::new();
        for (day, live) in rollups.iter() {
            // Of frozen hours there are no readings: the rollups would answer what they cannot.
            let is_stored =
                live.day.rules == self.rules && !live.day.has_frozen && live.day.stored.contains(&resolution);
            let rows = live.files(resolution).map(|(file, _)| file.rows).sum();
            days.insert(*day, (rows, is_stored));
        }
        for file in files.iter() {
            let is_covered =
                rollups.get(&file.entry.day).is_some_and(|live| live.day.covers(&file.entry.name));
            let (rows, is_stored) = days.entry(file.entry.day).or_insert((0, false));
            *rows += file.entry.rows;
            *is_stored &= is_covered;
        }
        (days, has_memory)
    }

    /// Bytes of all rollup files.
    pub(crate) fn rollup_bytes(&self) -> u64 {
        self.rollups().values().flat_map(|live| &live.day.files).map(|file| file.bytes).sum()
    }

    /// The rollups of all days.
    pub(crate) fn rollups(&self) -> Rollups {
        Arc::clone(&self.live.read().rollups)
    }

    /// Writes and syncs a rollup file; the directory is synced by the caller.
    pub(crate) fn write_rollup(
        &self,
        (day, resolution): (i64, Resolution),
        batch: &arrow::array::RecordBatch,
        (first, last): (Key, Key),
        (time_min, time_max): (i64, i64),
    ) -> Result<(RollupFile, Arc<FileReader>), StoreError> {
        let stem = manifest::rollup_stem(day, resolution, self.next_file.fetch_add(1, Ordering::Relaxed));
        let encoded = rollup::encode(resolution, batch)
            .map_err(|error| StoreError::Encode { name: stem.clone(), reason: chain(&error) })?;
        let Stored { name, bytes, checksums, sealed, .. } = self.files.write(&stem, &encoded)?;
        let rows = batch.num_rows() as u64;
        let file =
            RollupFile { name, resolution, rows, bytes, checksums, sealed, first, last, time_min, time_max };
        let reader = FileReader::new(file.stored(), &self.files, &self.cache);
        Ok((file, reader))
    }

    /// Puts the rollups of a day in place of the old ones, through the manifest. `count` corrects what was counted.
    pub(crate) fn replace_rollups(
        &self,
        new: LiveRollup,
        count: impl Fn(&mut Tally),
    ) -> Result<(), StoreError> {
        let mut manifest = self.manifest.lock();
        let mut next = manifest.clone();
        next.rollups.retain(|day| day.day != new.day.day);
        next.rollups.push(new.day.clone());
        next.next_file = self.next_file.load(Ordering::Relaxed);
        count(&mut next.tally);
        if let Err(error) = self.commit(&mut manifest, next) {
            new.readers.iter().for_each(|reader| reader.doom());
            return Err(error);
        }
        let mut live = self.live.write();
        count(&mut live.tally);
        live.count_in_frozen(&count);
        let mut rollups = std::collections::BTreeMap::clone(&live.rollups);
        let old = rollups.insert(new.day.day, Arc::new(new));
        live.rollups = Arc::new(rollups);
        drop(live);
        for reader in old.iter().flat_map(|old| &old.readers) {
            reader.doom();
        }
        Ok(())
    }
}
