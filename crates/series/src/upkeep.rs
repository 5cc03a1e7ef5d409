//! Upkeep of column files: merging small ones, dropping old ones.
//!
//! Not here: when it is done (`service`). The laws: only neighbours in the order of generations are merged, so that of
//! two files the higher generation always has the newer value; what is dropped is counted; the newest reading of a
//! channel outlives its file.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::Timestamp;

use crate::column::{ROWS_MAX, TEXT_BYTES_MAX};
use crate::error::StoreError;
use crate::query::Engine;
use crate::retention;
use crate::rollup::{self, Resolution};
use crate::rows::Rows;
use crate::store::{LiveFile, Store, chain};

/// Generations of one day that are left side by side at most: each overlap costs a scan a merge.
const GENERATIONS_MAX: usize = 4;

/// What one step of upkeep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Merged {
    /// Files before.
    pub files: usize,
    /// Rows of them that older generations had already.
    pub rows_dropped: u64,
}

/// Neighbouring generations of one day that are worth merging, the oldest first; `None` when there are none.
///
/// A day that nothing was added to since the last flush (`quiet_before` is the first `seq` of that flush) becomes one
/// generation. Elsewhere generations are merged when there are more than [`GENERATIONS_MAX`], from the newest back as
/// long as what is gathered is not small beside the next: so a row is merged a few times, not with every flush.
///
/// A day of which a file cannot be read stays as it is: its neighbours must not be merged across it.
pub(crate) fn to_merge(store: &Store, quiet_before: u64) -> Option<Vec<LiveFile>> {
    let files = store.files();
    let mut days: BTreeMap<i64, Vec<&LiveFile>> = BTreeMap::new();
    for file in files.iter() {
        days.entry(file.entry.day).or_default().push(file);
    }
    days.retain(|_, files| !files.iter().any(|file| store.bytes().is_faulty(&file.entry.name)));
    for files in days.values_mut() {
        files.sort_by_key(|file| file.entry.seq_to);
        // What is in the remote store stays as it is; what is newer than all of it can be merged.
        if let Some(last) = files.iter().rposition(|file| file.entry.remote) {
            files.drain(..=last);
        }
        let generations: Vec<&[&LiveFile]> =
            files.chunk_by(|a, b| a.entry.seq_to == b.entry.seq_to).collect();
        if generations.len() < 2 {
            continue;
        }
        let is_quiet = files.iter().all(|file| file.entry.seq_to < quiet_before);
        let chosen = if is_quiet {
            &generations[..]
        } else if generations.len() > GENERATIONS_MAX {
            &generations[first_of_tail(&generations)..]
        } else {
            continue;
        };
        return Some(chosen.iter().flat_map(|files| files.iter().map(|file| (*file).clone())).collect());
    }
    None
}

/// Where the generations begin that are merged: at least two.
fn first_of_tail(generations: &[&[&LiveFile]]) -> usize {
    let rows = |generation: &[&LiveFile]| generation.iter().map(|file| file.entry.rows).sum::<u64>();
    let mut first = generations.len() - 2;
    let mut gathered = rows(generations[first]) + rows(generations[first + 1]);
    while first > 0 && rows(generations[first - 1]) <= gathered {
        first -= 1;
        gathered += rows(generations[first]);
    }
    first
}

/// Merges `files` of one day and puts the result in their place.
pub(crate) fn merge(store: &Store, engine: &Engine, files: Vec<LiveFile>) -> Result<Merged, StoreError> {
    let day = files[0].entry.day;
    let seq_from = files.iter().map(|file| file.entry.seq_from).min().unwrap_or_default();
    let seq_to = files.iter().map(|file| file.entry.seq_to).max().unwrap_or_default();
    let rows_before: u64 = files.iter().map(|file| file.entry.rows).sum();
    let mut rows = Rows::default();
    let mut written: Vec<LiveFile> = Vec::new();
    let cut = |rows: &mut Rows, written: &mut Vec<LiveFile>| -> Result<(), StoreError> {
        let rows = std::mem::take(rows);
        if !rows.is_empty() {
            written.push(store.write_file(day, &rows, (seq_from, seq_to))?);
        }
        Ok(())
    };
    let merged = engine.merge_files(files.clone(), |batch| {
        rows.push_batch(batch);
        if rows.len() + batch.num_rows() > ROWS_MAX || rows.text_bytes() > TEXT_BYTES_MAX {
            cut(&mut rows, &mut written)?;
        }
        Ok(())
    });
    let merged = merged.map_err(|reason| {
        let day = Timestamp::from_micros(day.saturating_mul(Timestamp::DAY)).to_string();
        StoreError::Merge { day: day.split('T').next().unwrap_or_default().to_owned(), reason }
    });
    let result = merged.and_then(|result| result).and_then(|()| cut(&mut rows, &mut written));
    if let Err(error) = result.and_then(|()| store.bytes().sync_dir()) {
        // Nobody knows of them yet.
        for file in &written {
            file.reader.doom();
        }
        return Err(error);
    }
    let rows_after: u64 = written.iter().map(|file| file.entry.rows).sum();
    let rows_dropped = rows_before - rows_after;
    let done = Merged { files: files.len(), rows_dropped };
    store.replace_files(&files, written, false, |tally| tally.repeated += rows_dropped)?;
    Ok(done)
}

/// Rolls up what is due; `first` only those days whose raw readings were dropped in part: before a merge mixes old
/// readings with late ones, so that these can be counted. Goes on with the next day after an error.
pub(crate) fn roll_up(
    store: &Store,
    engine: &Engine,
    quiet_before: u64,
    first: bool,
) -> Result<rollup::Redone, StoreError> {
    let rollups = store.rollups();
    let mut done = rollup::Redone::default();
    let mut failed = None;
    for day in rollup::to_redo(&store.files(), &rollups, store.rules(), quiet_before) {
        if first && rollups.get(&day).is_none_or(|known| !known.day.has_frozen) {
            continue;
        }
        match rollup::redo(store, engine, day, false) {
            Ok(redone) => done.add(redone),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(done), Err)
}

/// The files that are too old, or too many for the budget: whole files, the oldest first by the later of their
/// readings' time and receipt. `other_bytes` is what else of Godwit's is on the volume.
pub(crate) fn to_drop(store: &Store, other_bytes: u64) -> Vec<LiveFile> {
    let settings = store.settings();
    let mut files: Vec<LiveFile> = store.files().iter().cloned().collect();
    files.sort_by_key(|file| file.entry.newest());
    let now = store.host().clock.now();
    let mut dropped = 0;
    if let Some(keep) = retention::longest(settings) {
        let oldest = now.minus(keep.max(Duration::from_secs(1))).micros();
        dropped = files.partition_point(|file| file.entry.newest() < oldest);
    }
    if let Ok(space) = store.host().disk.space(store.dir()) {
        let budget = settings.disk_budget.bytes(space.total);
        let here = |file: &LiveFile| if file.entry.remote { 0 } else { file.entry.bytes };
        let rest = files.split_off(dropped);
        let mut used = other_bytes + store.rollup_bytes() + rest.iter().map(here).sum::<u64>();
        for file in rest {
            if used <= budget {
                break;
            }
            if !file.entry.remote {
                used -= file.entry.bytes;
                files.push(file);
            }
        }
    } else {
        files.truncate(dropped);
    }
    files
}

/// Days that are looked back on to tell how much comes in.
const GROWTH_DAYS: i64 = 7;
/// Days beyond which nothing is foretold.
const FORETOLD_DAYS: u64 = 3_650;

/// Looks how full the disk is, and says so once when it crosses the mark. `other_bytes` is what else of Godwit's is on
/// the volume.
pub(crate) fn watch_disk(store: &Store, other_bytes: u64) {
    let Ok(space) = store.host().disk.space(store.dir()) else { return };
    let budget = store.settings().disk_budget;
    let files = store.files();
    let here = || files.iter().filter(|file| !file.entry.remote);
    let used = other_bytes + here().map(|file| file.entry.bytes).sum::<u64>();
    let week_ago = store.host().clock.now().micros() - GROWTH_DAYS * Timestamp::DAY;
    // A file of merged generations counts when its newest part is young: too much rather than too little.
    let young = here().filter(|file| file.entry.received_max >= week_ago).map(|file| file.entry.bytes);
    let growth_per_day = young.sum::<u64>() / GROWTH_DAYS as u64;
    let left = budget.bytes(space.total).saturating_sub(used).checked_div(growth_per_day);
    let is_nearly_full = used >= budget.warning_bytes(space.total);
    let disk = crate::DiskStats {
        used,
        budget: budget.bytes(space.total),
        is_nearly_full,
        growth_per_day,
        days_left: left.filter(|days| *days <= FORETOLD_DAYS),
    };
    let before = store.note_disk(disk);
    metrics::gauge!("godwit_series_disk_used_bytes").set(used as f64);
    metrics::gauge!("godwit_series_disk_budget_bytes").set(budget.bytes(space.total) as f64);
    if is_nearly_full && !before.is_nearly_full {
        tracing::warn!(
            used,
            budget = budget.bytes(space.total),
            "the disk budget is nearly used: the oldest raw readings will go"
        );
    }
}

/// Rolls up the days of files that are about to lose rows, where that was not done yet.
pub(crate) fn keep_rollups(store: &Store, engine: &Engine, files: &[LiveFile]) {
    let days: BTreeSet<i64> = files.iter().map(|file| file.entry.day).collect();
    for day in days {
        let (of_day, known) = store.day(day);
        let is_kept = known.is_some_and(|known| {
            known.day.rules == store.rules()
                && known.day.stored.contains(&Resolution::Hour)
                && of_day.iter().all(|file| known.day.covers(&file.entry.name))
        });
        if !is_kept && let Err(error) = rollup::redo(store, engine, day, true) {
            // A file that cannot be read must not fill the disk for ever.
            tracing::error!(error = chain(&error), "readings are dropped without a rollup");
        }
    }
}

/// Drops files, counted. What is not rolled up yet is rolled up before.
pub(crate) fn drop_files(store: &Store, engine: &Engine, files: &[LiveFile]) -> Result<(), StoreError> {
    if files.is_empty() {
        return Ok(());
    }
    keep_rollups(store, engine, files);
    // What is newest of a channel may be in them alone.
    store.keep_latest()?;
    let rows: u64 = files.iter().map(|file| file.entry.rows).sum();
    tracing::info!(files = files.len(), readings = rows, "dropping the oldest readings");
    metrics::counter!("godwit_series_readings_dropped_total").increment(rows);
    store.replace_files(files, Vec::new(), true, |tally| tally.dropped += rows)
}
