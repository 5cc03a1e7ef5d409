//! The room at work: threads that read the journal, write column files, and keep them in order.
//!
//! ```text
//! series          reads the journal, decodes, applies; waits when memory is full and being written
//! series-write    memory → column files → manifest → report to the journal
//! series-upkeep   merges small files, drops old ones
//! series-query    answers queries (see `query`)
//! ```
//!
//! All of them run at low priority: an acknowledgement never waits for them.
//! Not here: what they do (`store`, `upkeep`). The laws: what cannot be written stays in memory and in the journal and
//! is tried again; on [`Series::close`] everything applied is on disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use host::Host;
use journal::{Chains, Consumer, Hold, Journal};
use model::route::Routes;
use model::sparkplug::{EdgeNode, Sparkplug};
use model::{Channels, DeviceName};
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, watch};

use crate::answer::Answer;
use crate::error::{OpenError, QueryError, StoreError};
use crate::export::{self, ExportStatus};
use crate::foreign::ForeignTable;
use crate::query::Engine;
use crate::rebirth::Rebirths;
use crate::reprocess::Reprocessing;
use crate::retention;
use crate::settings::{QueryLimits, Settings};
use crate::stats::Stats;
use crate::store::{Store, chain};
use crate::tiers;
use crate::upkeep;

/// How often age and budget are looked at, and a failed write is tried again.
const TICK: Duration = Duration::from_secs(1);

/// Records that are applied at once: scans wait no longer than for these.
const RECORDS_AT_ONCE: usize = 4_096;

/// Name of the consumer in the journal.
const CONSUMER: &str = "series";

/// Readings as columns, and SQL over them. Cheap to clone.
#[derive(Clone)]
pub struct Series {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<Store>,
    pub(crate) engine: Engine,
    /// The `seq` up to which everything is applied.
    pub(crate) applied: watch::Sender<u64>,
    stopping: watch::Sender<bool>,
    write: Signal,
    upkeep: Signal,
    /// Flushes that were asked for and done, so that one who asks can wait for his.
    flushed: watch::Sender<u64>,
    is_reader_done: AtomicBool,
    is_writer_done: AtomicBool,
    last_flush_from: AtomicU64,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) journal: Option<Journal>,
    /// Room for exports that are asked for.
    pub(crate) exports: Arc<Semaphore>,
    pub(crate) export_statuses: Mutex<Vec<ExportStatus>>,
    /// The last reprocessing, or the one that runs.
    pub(crate) reprocessing: Mutex<Option<Reprocessing>>,
}

/// Wakes a thread.
#[derive(Default)]
struct Signal {
    asked: Mutex<u64>,
    changed: Condvar,
}

impl Signal {
    fn ask(&self) -> u64 {
        let mut asked = self.asked.lock();
        *asked += 1;
        self.changed.notify_all();
        *asked
    }

    /// Ends a wait without asking.
    fn wake(&self) {
        let _asked = self.asked.lock();
        self.changed.notify_all();
    }

    /// How often it was asked.
    fn asked(&self) -> u64 {
        *self.asked.lock()
    }

    /// Waits until asked more than `seen` times, woken, or for a tick. Returns how often it was asked.
    fn wait(&self, seen: u64) -> u64 {
        let mut asked = self.asked.lock();
        if *asked == seen {
            self.changed.wait_for(&mut asked, TICK);
        }
        *asked
    }
}

impl Series {
    /// Opens `dir` (`<data>/series`), or makes it, and starts reading the journal where the manifest says.
    ///
    /// Readings are answered to queries within a second of being durable in the journal.
    ///
    /// # Errors
    /// [`OpenError`]: nothing was changed then.
    pub fn open(
        dir: &Path,
        settings: &Settings,
        routes: Arc<Routes>,
        channels: Arc<Channels>,
        journal: Journal,
        host: Host,
    ) -> Result<Self, OpenError> {
        let series = Self::assemble(dir, settings, routes, channels, Some(journal.clone()), &host)?;
        let inner = &series.inner;
        let consumer = Arc::new(journal.consumer(CONSUMER, Hold::Builtin));
        consumer.report(inner.store.durable());
        let told = Arc::clone(&consumer);
        let reader = Arc::clone(inner);
        let writer = Arc::clone(inner);
        let keeper = Arc::clone(inner);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(OpenError::Threads)?;
        let start = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(OpenError::Threads)
        };
        let threads = vec![
            start("series", Box::new(move || runtime.block_on(reader.read(&told))))?,
            start("series-write", Box::new(move || writer.write(&consumer)))?,
            start("series-upkeep", Box::new(move || keeper.keep()))?,
        ];
        *inner.threads.lock() = threads;
        Ok(series)
    }

    /// The room without a journal: for tests and benches, which hand records in themselves.
    pub(crate) fn assemble(
        dir: &Path,
        settings: &Settings,
        routes: Arc<Routes>,
        channels: Arc<Channels>,
        journal: Option<Journal>,
        host: &Host,
    ) -> Result<Self, OpenError> {
        let store = Arc::new(Store::open(dir, settings, routes, channels, host)?);
        let engine = Engine::new(&store, journal.as_ref())?;
        restore_latest(&store, &engine);
        let applied = store.applied();
        let inner = Inner {
            store,
            engine,
            applied: watch::Sender::new(applied),
            stopping: watch::Sender::new(false),
            write: Signal::default(),
            upkeep: Signal::default(),
            flushed: watch::Sender::new(0),
            is_reader_done: AtomicBool::new(false),
            is_writer_done: AtomicBool::new(false),
            last_flush_from: AtomicU64::new(u64::MAX),
            threads: Mutex::new(Vec::new()),
            journal,
            exports: Arc::new(Semaphore::new(export::AT_ONCE_MAX)),
            export_statuses: Mutex::new(Vec::new()),
            reprocessing: Mutex::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Answers SQL that only reads: `SELECT`, `EXPLAIN`, `SHOW`, `DESCRIBE`. Dropping the answer cancels the query.
    ///
    /// Tables: `readings`, `latest`, `messages`, and what was [registered](Self::register).
    ///
    /// # Errors
    /// [`QueryError`] says what is wrong with the query, or which bound it met.
    pub async fn query(&self, sql: &str, limits: &QueryLimits) -> Result<Answer, QueryError> {
        self.inner.engine.query(sql, limits).await
    }

    /// Adds a table that another room owns, or puts it in place of the one of its name.
    ///
    /// # Errors
    /// [`QueryError`] when its name cannot be a table's.
    pub fn register(&self, table: ForeignTable) -> Result<(), QueryError> {
        self.inner.engine.register(table)
    }

    /// Tells `watch` of every sample that is stored from now on.
    pub fn watch_samples(&self, watch: crate::SampleFunction) {
        self.inner.store.watch_samples(watch);
    }

    /// The bounds of a query by the settings.
    #[must_use]
    pub fn query_limits(&self) -> &QueryLimits {
        &self.inner.store.settings().query
    }

    /// The longest time that readings are in memory alone, by the settings.
    #[must_use]
    pub fn flush_after(&self) -> Duration {
        self.inner.store.settings().flush_after
    }

    /// Every record up to this `seq` has had its effect and is seen by queries.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.inner.store.applied()
    }

    /// Waits until every record up to `at_least` has had its effect. For ever, when the journal never comes so far.
    pub async fn caught_up(&self, at_least: u64) {
        let mut applied = self.inner.applied.subscribe();
        // The sender lives as long as `self`.
        let _ = applied.wait_for(|applied| *applied >= at_least).await;
    }

    /// What edge nodes of Sparkplug told, for whoever reads the journal too, and the `seq` up to which: cheap to take.
    #[must_use]
    pub fn edge_nodes(&self) -> (Sparkplug, u64) {
        self.inner.store.edge_nodes()
    }

    /// The devices behind an edge node of Sparkplug, born or not.
    #[must_use]
    pub fn devices_behind(&self, node: &EdgeNode) -> Vec<DeviceName> {
        self.inner.store.devices_behind(node)
    }

    /// Whether a route matches `topic`.
    #[must_use]
    pub fn has_route(&self, topic: &str) -> bool {
        self.inner.store.routes().find(topic).is_some()
    }

    /// How the room stands.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.store.stats()
    }

    /// Writes what is in memory to column files, and waits until that was tried.
    pub async fn flush(&self) {
        if self.inner.is_writer_done.load(Ordering::Acquire) {
            return;
        }
        let mut flushed = self.inner.flushed.subscribe();
        let mine = self.inner.write.ask();
        let _ = flushed.wait_for(|done| *done >= mine).await;
    }

    /// Stops reading, writes what is in memory, ends all queries. What cannot be written is in the journal.
    pub async fn close(&self) {
        self.inner.stopping.send_replace(true);
        self.inner.write.ask();
        self.inner.upkeep.ask();
        let threads = std::mem::take(&mut *self.inner.threads.lock());
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
        });
        let _ = joined.await;
        // Nobody waits for a flush that no thread will do.
        self.inner.flushed.send_replace(u64::MAX);
    }
}

impl Inner {
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Says when the room is being closed.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Reads the journal until told to stop.
    async fn read(&self, consumer: &Consumer) {
        host::lower_priority();
        let journal = self.journal.as_ref().expect("a service has a journal");
        let mut stopping = self.stopping.subscribe();
        let mut reader = journal.reader(self.store.applied() + 1, Chains::Both);
        let mut rebirths = Rebirths::default();
        let host = self.store.host();
        let messages = metrics::counter!("godwit_series_messages_applied_total");
        loop {
            let next = tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => break,
                next = reader.next() => next,
                () = rebirths.due(host) => {
                    rebirths.send(journal, host, |node| self.store.wants_birth(node));
                    continue;
                }
            };
            let batch = match next {
                Ok(batch) => batch,
                Err(error) => {
                    tracing::error!(error = chain(&error), "cannot read the journal; trying again");
                    tokio::select! {
                        _ = stopping.wait_for(|stop| *stop) => break,
                        () = tokio::time::sleep(TICK) => continue,
                    }
                }
            };
            for skipped in &batch.skipped {
                tracing::warn!(from = skipped.from, to = skipped.to, reason = ?skipped.reason, "records are lost");
                self.store.pass_over(skipped.from, skipped.to);
            }
            for records in batch.records.chunks(RECORDS_AT_ONCE) {
                self.store.apply(records);
                messages.increment(records.len() as u64);
                rebirths.take(self.store.take_rebirths(), host);
                rebirths.send(journal, host, |node| self.store.wants_birth(node));
                self.has_applied(consumer);
                if self.store.is_full() {
                    self.wait_for_room(&mut stopping).await;
                    self.write.wake();
                }
            }
            self.has_applied(consumer);
        }
        self.is_reader_done.store(true, Ordering::Release);
        self.write.ask();
    }

    /// What is in memory is seen by queries: it is no lag, though the journal holds it until it is in files.
    fn has_applied(&self, consumer: &Consumer) {
        let applied = self.store.applied();
        self.applied.send_replace(applied);
        consumer.applied(applied);
    }

    /// Memory is full: it is set aside to be written, once the part that was set aside before is on disk.
    async fn wait_for_room(&self, stopping: &mut watch::Receiver<bool>) {
        let mut flushed = self.flushed.subscribe();
        while !self.store.make_room() {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                changed = flushed.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Writes memory when asked, when full and when due, until told to stop; then once more.
    fn write(&self, consumer: &Consumer) {
        host::lower_priority();
        let mut seen = 0;
        let mut has_failed = false;
        loop {
            let is_last = self.is_reader_done.load(Ordering::Acquire);
            // What was set aside is written at once; after a failure it is tried again with the next tick.
            let is_waiting = has_failed || !self.store.is_frozen();
            let asked = if is_waiting { self.write.wait(seen) } else { self.write.asked() };
            let is_asked = asked != seen || is_last || self.store.is_due();
            if self.store.is_frozen() {
                has_failed = !self.flush(consumer);
            }
            if is_asked && !self.store.is_frozen() {
                has_failed = !self.flush(consumer);
            }
            self.flushed.send_replace(asked);
            seen = asked;
            if is_last {
                break;
            }
        }
        self.is_writer_done.store(true, Ordering::Release);
        self.flushed.send_replace(u64::MAX);
    }

    /// One flush. `false` when it failed.
    fn flush(&self, consumer: &Consumer) -> bool {
        let before = self.store.durable();
        if let Err(error) = self.store.flush() {
            report(&error, "cannot write column files; readings stay in the journal");
            return false;
        }
        let durable = self.store.durable();
        if durable > before {
            consumer.report(durable);
            self.last_flush_from.store(before + 1, Ordering::Relaxed);
            self.upkeep.ask();
        }
        true
    }

    /// Merges and drops files until told to stop.
    fn keep(&self) {
        host::lower_priority();
        let mut seen = 0;
        let mut pace = tiers::Pace::default();
        while !self.is_stopping() {
            seen = self.upkeep.wait(seen);
            self.roll_up(true);
            while !self.is_stopping() {
                let quiet_before = self.last_flush_from.load(Ordering::Relaxed);
                let Some(files) = upkeep::to_merge(&self.store, quiet_before) else { break };
                match upkeep::merge(&self.store, &self.engine, files) {
                    Ok(merged) => tracing::debug!(files = merged.files, "merged column files"),
                    Err(error) => {
                        report(&error, "cannot merge column files; they are served as they are");
                        break;
                    }
                }
            }
            self.roll_up(false);
            let journal_bytes = self.journal.as_ref().map_or(0, |journal| journal.status().bytes);
            let old = upkeep::to_drop(&self.store, journal_bytes);
            if let Err(error) = upkeep::drop_files(&self.store, &self.engine, &old) {
                report(&error, "cannot drop old column files");
            }
            while !self.is_stopping() {
                match retention::step(&self.store, &self.engine) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) => {
                        report(&error, "cannot take old readings out of a column file");
                        break;
                    }
                }
            }
            upkeep::watch_disk(&self.store, journal_bytes);
            while !self.is_stopping() && pace.step(&self.store, &self.engine) {}
        }
    }
}

impl Inner {
    /// Rolls up what is due.
    fn roll_up(&self, first: bool) {
        let quiet_before = self.last_flush_from.load(Ordering::Relaxed);
        if let Err(error) = upkeep::roll_up(&self.store, &self.engine, quiet_before, first) {
            report(&error, "cannot roll up readings; they are folded when asked");
        }
    }
}

fn report(error: &StoreError, message: &str) {
    tracing::error!(error = chain(error), hint = error.hint(), "{message}");
    metrics::counter!("godwit_series_write_errors_total").increment(1);
}

/// Makes the newest readings anew: from their file, and from the column files that are newer.
fn restore_latest(store: &Store, engine: &Engine) {
    let entry = store.latest_entry();
    let saved = entry.as_ref().and_then(|entry| match store.read_latest(entry) {
        Ok(batches) => Some((entry.seq, batches)),
        Err(reason) => {
            tracing::warn!(file = entry.name, reason, "newest readings are made anew from all column files");
            None
        }
    });
    let after = saved.as_ref().map_or(0, |(seq, _)| *seq);
    let mut files: Vec<_> = store.files().iter().filter(|file| file.entry.seq_to > after).cloned().collect();
    files.sort_by_key(|file| file.entry.seq_to);
    for batch in saved.into_iter().flat_map(|(_, batches)| batches) {
        store.restore_latest(&batch);
    }
    let mut is_away = false;
    for file in files {
        if is_away && file.entry.remote {
            continue;
        }
        // By generation: of the same time, the newer generation's value is the last.
        if let Err(reason) = engine.read_files(vec![file.clone()], |batch| store.restore_latest(batch)) {
            // A store that does not answer is asked once.
            is_away |= file.entry.remote;
            tracing::error!(
                file = file.entry.name,
                reason,
                "column file cannot be read; its readings are missing"
            );
        }
    }
}
