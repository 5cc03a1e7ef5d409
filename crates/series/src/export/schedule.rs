//! A lake that is kept up to date: each day that is over is written once, and written anew when late readings came.
//!
//! ```text
//! flush memory ─→ days of our column files, and up to which generation each goes
//!                 compared with `_latest.json` ─→ one file a day, whole ─→ `_latest.json`, after each
//! ```
//!
//! Not here: the files' content (`encoder`), how they appear (`lake`). The laws: a day's file holds all readings of the day
//! or, when some of them were dropped here meanwhile, stays and gets a file of what came later beside it; a crash at any
//! moment repeats at most the day at hand.

use std::sync::Arc;
use std::time::Duration;

use model::Timestamp;
use tokio::sync::watch;

use super::index::{Index, Partition, Written};
use super::lake::{Lake, LakeError};
use super::settings::ExportSettings;
use super::{Day, start};
use crate::error::QueryError;
use crate::query::Part;
use crate::service::{Inner, Series};
use crate::store::{LiveFile, chain};
use crate::table::Wanted;

/// How a schedule stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportStatus {
    /// Where to.
    pub to: String,
    /// When it was last looked at.
    pub tried_at: Option<Timestamp>,
    /// When it was last up to date.
    pub done_at: Option<Timestamp>,
    /// Seconds since then, or since the start.
    pub lag_s: u64,
    /// Seconds since it fails; `None` while it does not.
    pub failing_s: Option<u64>,
    /// Days written since the start.
    pub days: u64,
    /// Readings in them.
    pub readings: u64,
    /// Why the last try failed.
    pub error: Option<String>,
    started_at: Timestamp,
    failing_since: Option<Timestamp>,
}

impl ExportStatus {
    fn begun(to: &str, now: Timestamp) -> Self {
        Self { to: to.to_owned(), started_at: now, ..Self::default() }
    }

    /// A look at all days ended.
    fn tried(&mut self, error: Option<String>, now: Timestamp) {
        self.tried_at = Some(now);
        if error.is_none() {
            self.done_at = Some(now);
            self.failing_since = None;
        } else {
            self.failing_since.get_or_insert(now);
        }
        self.error = error;
    }

    /// As it stands at `now`.
    fn at(&self, now: Timestamp) -> Self {
        let seconds =
            |since: Timestamp| u64::try_from(now.micros_since(since) / Timestamp::SECOND).unwrap_or_default();
        let lag_s = seconds(self.done_at.unwrap_or(self.started_at));
        Self { lag_s, failing_s: self.failing_since.map(seconds), ..self.clone() }
    }
}

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Lake(#[from] LakeError),
    #[error("cannot read {day}")]
    Read {
        day: Day,
        #[source]
        source: QueryError,
    },
}

impl Series {
    /// Keeps lakes up to date, each on a thread of its own, until the room is closed.
    ///
    /// # Errors
    /// [`LakeError`] when a lake of them cannot be opened: none is kept up to date then.
    pub fn schedule(&self, exports: &[ExportSettings]) -> Result<(), LakeError> {
        let host = self.inner.store.host();
        let disk = &host.disk;
        let lakes = exports.iter().map(|export| Lake::open(&export.to, &export.access, disk));
        let lakes: Vec<Lake> = lakes.collect::<Result<_, _>>()?;
        for (export, lake) in exports.iter().zip(lakes) {
            let place = {
                let mut statuses = self.inner.export_statuses.lock();
                statuses.push(ExportStatus::begun(&export.to, host.clock.now()));
                statuses.len() - 1
            };
            let (series, settings) = (self.clone(), export.clone());
            let failed =
                |error: std::io::Error| LakeError::Use { to: export.to.clone(), reason: error.to_string() };
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
            let thread = std::thread::Builder::new().name("series-export".to_owned());
            let thread = thread.spawn(move || {
                host::lower_priority();
                runtime.block_on(keep(&series, &lake, &settings, place));
            });
            self.inner.threads.lock().push(thread.map_err(failed)?);
        }
        Ok(())
    }

    /// How the schedules stand.
    #[must_use]
    pub fn exports(&self) -> Vec<ExportStatus> {
        let now = self.inner.store.host().clock.now();
        self.inner.export_statuses.lock().iter().map(|status| status.at(now)).collect()
    }
}

/// Round after round until told to stop.
async fn keep(series: &Series, lake: &Lake, settings: &ExportSettings, place: usize) {
    let mut stopping = series.inner.stopping();
    while !*stopping.borrow() {
        // What is in memory is exported too.
        series.flush().await;
        let round = Round { inner: &series.inner, lake, settings, place, stopping: stopping.clone() };
        let outcome = round.run().await;
        {
            let error = outcome.as_ref().err().map(|error| chain(error));
            if let Some(error) = &error {
                tracing::error!(to = settings.to, error, "cannot export; trying again");
                metrics::counter!("godwit_series_export_errors_total").increment(1);
            }
            let now = series.inner.store.host().clock.now();
            series.inner.export_statuses.lock()[place].tried(error, now);
        }
        let wait = if outcome.is_ok() { settings.every } else { settings.every.min(Duration::from_secs(60)) };
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            () = tokio::time::sleep(wait.max(Duration::from_millis(100))) => {}
        }
    }
}

/// One look at all days.
struct Round<'a> {
    inner: &'a Arc<Inner>,
    lake: &'a Lake,
    settings: &'a ExportSettings,
    place: usize,
    stopping: watch::Receiver<bool>,
}

impl Round<'_> {
    async fn run(&self) -> Result<(), RoundError> {
        self.lake.clean().await?;
        let mut index = Index::read(self.lake).await?;
        let durable = self.inner.store.durable();
        let ahead = index.partitions.values().any(|partition| partition.seq_to > durable);
        if ahead {
            tracing::warn!(to = self.settings.to, "was written from other data: every day is exported anew");
            index.partitions.clear();
        }
        let now = self.inner.store.host().clock.now();
        for (day, files) in by_day(&self.inner.store.files()) {
            if *self.stopping.borrow() {
                return Ok(());
            }
            let settle = i64::try_from(self.settings.settle.as_micros()).unwrap_or(i64::MAX);
            let finished = now.micros_since(day.end()) >= settle;
            if !finished && !self.settings.unfinished {
                continue;
            }
            let known = index.partitions.get(&day.to_string());
            let seq_to = files.iter().map(|file| file.entry.seq_to).max().unwrap_or_default();
            if known.is_some_and(|known| known.seq_to >= seq_to && known.finished >= finished) {
                continue;
            }
            let partition = self.day(day, files, seq_to, known, finished).await?;
            index.partitions.insert(day.to_string(), partition);
            index.write(self.lake).await?;
        }
        Ok(())
    }

    /// Writes a day, or what came to it since something of it was dropped.
    async fn day(
        &self,
        day: Day,
        mut files: Vec<LiveFile>,
        seq_to: u64,
        known: Option<&Partition>,
        finished: bool,
    ) -> Result<Partition, RoundError> {
        let extension = self.settings.format.extension();
        let seq_from = files.iter().map(|file| file.entry.seq_from).min().unwrap_or_default();
        let (mut partition, name) = match known {
            // The oldest of it is gone here, but not there: it must not be written over.
            Some(known) if seq_from > known.seq_from => {
                files.retain(|file| file.entry.seq_from > known.seq_to);
                let kept = Partition { seq_to, finished, ..known.clone() };
                (kept, format!("date={day}/late-{seq_to:020}.{extension}"))
            }
            _ => {
                let new = Partition { files: Vec::new(), seq_from, seq_to, finished };
                (new, format!("date={day}/readings.{extension}"))
            }
        };
        if files.is_empty() {
            return Ok(partition);
        }
        let parts = files.into_iter().map(Part::of_file).collect();
        let failed = |source| RoundError::Read { day, source };
        let mut export =
            start(self.inner, vec![(day, Some(parts))], Wanted::default(), self.settings.format, None);
        let mut file = self.lake.begin(&name);
        while let Some(bytes) = export.chunk().await.map_err(failed)? {
            file.write(&bytes).await?;
        }
        let bytes = file.finish().await?;
        let rows = export.rows();
        partition.files.retain(|file| file.name != name);
        partition.files.push(Written { name, rows, bytes });
        metrics::counter!("godwit_series_exported_readings_total").increment(rows);
        let status = &mut self.inner.export_statuses.lock()[self.place];
        status.days += 1;
        status.readings += rows;
        Ok(partition)
    }
}

fn by_day(files: &[LiveFile]) -> Vec<(Day, Vec<LiveFile>)> {
    let mut days: std::collections::BTreeMap<i64, Vec<LiveFile>> = std::collections::BTreeMap::new();
    for file in files {
        days.entry(file.entry.day).or_default().push(file.clone());
    }
    days.into_iter().map(|(day, files)| (Day::new(day), files)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_and_failure_are_counted_from_their_beginning() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * Timestamp::SECOND);
        let mut status = ExportStatus::begun("lake", at(1_000));
        let seen = |status: &ExportStatus, now| (status.at(at(now)).lag_s, status.at(at(now)).failing_s);
        assert_eq!(seen(&status, 1_030), (30, None), "since the start");
        status.tried(None, at(1_040));
        assert_eq!(seen(&status, 1_100), (60, None));
        status.tried(Some("gone".to_owned()), at(1_100));
        status.tried(Some("gone".to_owned()), at(1_160));
        assert_eq!(seen(&status, 4_700), (3_660, Some(3_600)), "since the first of the failures");
        assert_eq!((status.tried_at, status.done_at), (Some(at(1_160)), Some(at(1_040))));
        assert_eq!(seen(&status, 900), (0, Some(0)), "a clock that was set back");
        status.tried(None, at(4_800));
        assert_eq!((seen(&status, 4_800), status.error), ((0, None), None));
    }
}
