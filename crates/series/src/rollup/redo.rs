//! Folding a day anew: which days, and how their rollups take the place of the old.
//!
//! Runs in upkeep. What was stored and is not touched is copied; what is touched is folded from the raw readings. Not
//! here: the plan that says which is which (`query::rollups`), which is the one that answers queries. The laws: what is
//! stored is what a query was answered before; a failed redo leaves everything as it was.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use super::rows::is_empty;
use super::{LiveRollup, Resolution, RollupDay, Rollups, key_at, rollup_schema, times};
use crate::error::StoreError;
use crate::query::Engine;
use crate::store::{LiveFile, Store};

/// Most rows of a rollup file: some 30 MB while it is made.
const ROWS_MAX: usize = 256 * 1024;

/// Readings that an hour of a channel must have on average for a table to be stored: fewer than two readings a row are
/// no rollup, but the readings once more.
fn worth(resolution: Resolution) -> u64 {
    match resolution {
        Resolution::Hour => 2,
        Resolution::FiveMinutes => 24,
        Resolution::Minute => 120,
    }
}

/// What a redo did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Redone {
    /// Rows of all tables.
    pub rows: u64,
    /// Readings that came for frozen hours.
    pub late: u64,
}

impl Redone {
    /// Adds what was done for another day.
    pub(crate) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.late += other.late;
    }
}

/// Days that are to be folded anew: those that nothing was added to since the last flush (`quiet_before` is the first
/// `seq` of that flush), and those of which half or more is new - so that a day is folded a few times, not with every
/// flush.
pub(crate) fn to_redo(files: &[LiveFile], rollups: &Rollups, rules: u64, quiet_before: u64) -> BTreeSet<i64> {
    let mut days = std::collections::BTreeMap::<i64, (u64, u64, bool)>::new();
    for file in files {
        let (all, new, is_quiet) = days.entry(file.entry.day).or_insert((0, 0, true));
        let known = rollups.get(&file.entry.day).map(|live| &live.day);
        *all += file.entry.rows;
        if known.is_none_or(|known| known.rules != rules || !known.covers(&file.entry.name)) {
            *new += file.entry.rows;
        }
        *is_quiet &= file.entry.seq_to < quiet_before;
    }
    let is_due = |(all, new, is_quiet): (u64, u64, bool)| new > 0 && (is_quiet || new * 2 >= all);
    let mut due: BTreeSet<i64> =
        days.into_iter().filter(|(_, day)| is_due(*day)).map(|(day, _)| day).collect();
    // What was dropped is written down in the rows.
    let is_pending =
        |live: &LiveRollup| !live.day.frozen.is_empty() && live.day.stored.contains(&Resolution::Hour);
    due.extend(rollups.iter().filter(|(_, live)| is_pending(live)).map(|(day, _)| *day));
    due
}

/// Folds `day` anew from the column files. `is_last`: its raw readings are about to be dropped.
pub(crate) fn redo(store: &Store, engine: &Engine, day: i64, is_last: bool) -> Result<Redone, StoreError> {
    let (files, old) = store.day(day);
    let mut next = RollupDay::new(day, store.channels().rules());
    next.covers = files.iter().map(|file| file.entry.name.clone()).collect();
    let was_stored = |resolution| old.as_ref().is_some_and(|old| old.day.stored.contains(&resolution));
    if let Some(old) = &old {
        next.has_frozen = old.day.has_frozen;
        // The rows say it from now on; where there are none, the ranges must.
        if !was_stored(Resolution::Hour) {
            next.frozen.clone_from(&old.day.frozen);
        }
    }
    let raw_rows: u64 = files.iter().map(|file| file.entry.rows).sum();
    let mut live = LiveRollup { day: next, readers: Vec::new() };
    let mut done = Redone::default();
    let mut hours = 0;
    let result = [Resolution::Hour, Resolution::FiveMinutes, Resolution::Minute].into_iter().try_for_each(
        |resolution| {
            let is_hour = resolution == Resolution::Hour;
            let is_frozen = live.day.has_frozen;
            // Of what is gone the stored rows are all there is; what was never stored cannot be made any more.
            let must = if is_frozen { was_stored(resolution) } else { is_hour && is_last };
            if !must && (is_frozen || (!is_hour && raw_rows < worth(resolution) * hours)) {
                return Ok(());
            }
            let rows_before = live.day.files.len();
            let (rows, late) = fold(store, engine, &files, old.as_ref(), resolution, &mut live)?;
            if is_hour {
                (hours, done.late) = (rows, late);
            }
            if must || raw_rows >= worth(resolution) * hours {
                live.day.stored.push(resolution);
                done.rows += rows;
            } else {
                live.day.files.truncate(rows_before);
                live.readers.drain(rows_before..).for_each(|reader| reader.doom());
            }
            Ok(())
        },
    );
    if let Err(error) = result.and_then(|()| store.bytes().sync_dir()) {
        // Nobody knows of them yet.
        live.readers.iter().for_each(|reader| reader.doom());
        return Err(error);
    }
    if done.late > 0 {
        tracing::warn!(
            day = crate::manifest::date(day),
            readings = done.late,
            "late readings for hours whose raw readings are dropped: stored, but in no rollup"
        );
        metrics::counter!("godwit_series_readings_late_to_frozen_total").increment(done.late);
    }
    let late = done.late;
    store.replace_rollups(live, |tally| tally.late_to_frozen += late)?;
    metrics::counter!("godwit_series_rollup_rows_written_total").increment(done.rows);
    Ok(done)
}

/// Folds one table and writes its files; how many rows it has, and how many readings came for frozen hours.
fn fold(
    store: &Store,
    engine: &Engine,
    files: &[LiveFile],
    old: Option<&Arc<LiveRollup>>,
    resolution: Resolution,
    live: &mut LiveRollup,
) -> Result<(u64, u64), StoreError> {
    let day = live.day.day;
    let mut rows = 0;
    let mut waiting: Vec<RecordBatch> = Vec::new();
    let mut write = |waiting: &mut Vec<RecordBatch>| -> Result<(), StoreError> {
        if waiting.is_empty() {
            return Ok(());
        }
        let batch = concat_batches(&rollup_schema(), waiting.iter()).expect("batches of one schema");
        waiting.clear();
        let (first, last) = (key_at(&batch, 0), key_at(&batch, batch.num_rows() - 1));
        let moments = times(&batch).iter().copied();
        let range = moments.fold((i64::MAX, i64::MIN), |(from, to), time| (from.min(time), to.max(time)));
        let (file, reader) = store.write_rollup((day, resolution), &batch, (first, last), range)?;
        live.day.files.push(file);
        live.readers.push(reader);
        Ok(())
    };
    let late = engine.fold_day(day, files, old, resolution, |batch| {
        if !is_empty(batch) {
            rows += batch.num_rows() as u64;
            waiting.push(batch.clone());
            if waiting.iter().map(RecordBatch::num_rows).sum::<usize>() + batch.num_rows() > ROWS_MAX {
                write(&mut waiting)?;
            }
        }
        Ok(())
    });
    let late = late.map_err(|reason| StoreError::Fold { day: crate::manifest::date(day), reason })??;
    write(&mut waiting)?;
    Ok((rows, late))
}
