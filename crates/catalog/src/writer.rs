//! The one thread that changes the database.
//!
//! ```text
//! BEGIN · savepoint, operation, release (or undo) · savepoint, operation, … · COMMIT, one sync · answers, in order
//! ```
//!
//! While one group is synced the next one gathers, so the group grows with the load and nobody waits for a timer.
//! Not here: what the operations are (`write`). The law: nothing that happens inside an operation ends this thread.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::GROUP_MAX;
use crate::error::{Cause, SqlError};
use crate::statement::Transaction;
use crate::write::{Operation, guarded};

pub(crate) enum Order {
    Write(Box<dyn Operation>),
    /// Take nothing more, finish, and say so.
    Close(oneshot::Sender<()>),
}

pub(crate) struct Writer {
    raw: rusqlite::Connection,
    path: Arc<Path>,
    orders: mpsc::Receiver<Order>,
    clock: Arc<dyn host::Clock>,
    counts: Counts,
    /// Whether the last commit failed: the log hears of the first failure and of the end, not of each between.
    is_failing: bool,
}

struct Counts {
    operations: metrics::Counter,
    failed: metrics::Counter,
    commits: metrics::Counter,
    commit_seconds: metrics::Histogram,
}

impl Writer {
    pub(crate) fn new(
        raw: rusqlite::Connection,
        path: Arc<Path>,
        orders: mpsc::Receiver<Order>,
        clock: Arc<dyn host::Clock>,
    ) -> Self {
        let counts = Counts {
            operations: metrics::counter!("godwit_catalog_operations_total"),
            failed: metrics::counter!("godwit_catalog_operations_failed_total"),
            commits: metrics::counter!("godwit_catalog_commits_total"),
            commit_seconds: metrics::histogram!("godwit_catalog_commit_seconds"),
        };
        Self { raw, path, orders, clock, counts, is_failing: false }
    }

    pub(crate) fn start(self) -> std::io::Result<()> {
        std::thread::Builder::new().name("catalog".to_owned()).spawn(move || self.run()).map(drop)
    }

    /// Runs until it is told to close, or nobody is left who could tell it anything.
    fn run(mut self) {
        let mut closers = Vec::new();
        let mut group = VecDeque::with_capacity(GROUP_MAX);
        while let Some(first) = self.orders.blocking_recv() {
            let mut next = Some(first);
            while let Some(order) = next {
                match order {
                    Order::Write(operation) => group.push_back(operation),
                    Order::Close(closed) => {
                        self.orders.close();
                        closers.push(closed);
                    }
                }
                next = if group.len() < GROUP_MAX { self.orders.try_recv().ok() } else { None };
            }
            // More than one turn only when the engine gave up a whole transaction in the middle.
            while !group.is_empty() {
                self.commit(&mut group);
            }
        }
        self.fold_log();
        drop(self.raw);
        for closed in closers {
            let _ = closed.send(());
        }
    }

    /// Commits what can be committed of `group` and answers; takes at least one operation from it.
    fn commit(&mut self, group: &mut VecDeque<Box<dyn Operation>>) {
        let started = self.clock.mono_micros();
        let mut ran = Vec::with_capacity(group.len());
        let outcome = self.attempt(group, &mut ran);
        if outcome.is_ok() {
            self.counts.commits.increment(1);
            let micros = self.clock.mono_micros().saturating_sub(started);
            self.counts.commit_seconds.record(micros as f64 / 1e6);
        }
        self.counts.operations.increment(ran.len() as u64);
        if let Err(error) = &outcome {
            if !self.is_failing {
                let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
                tracing::error!(operations = ran.len(), %error, cause, hint = error.hint(), "catalog cannot commit");
            }
            self.counts.failed.increment(ran.len() as u64);
            // Fails only when the engine has rolled back already.
            let _ = self.raw.execute_batch("ROLLBACK");
        }
        if self.is_failing && outcome.is_ok() {
            tracing::info!("catalog commits again");
        }
        self.is_failing = outcome.is_err();
        for operation in ran {
            guarded(|| operation.answer(outcome.clone()));
        }
    }

    /// Moves operations from `group` to `ran` as they run, then commits.
    fn attempt(
        &self,
        group: &mut VecDeque<Box<dyn Operation>>,
        ran: &mut Vec<Box<dyn Operation>>,
    ) -> Result<(), SqlError> {
        if let Err(error) = self.run_sql("BEGIN IMMEDIATE") {
            ran.extend(group.drain(..));
            return Err(error);
        }
        while let Some(mut operation) = group.pop_front() {
            let opened = self.run_sql("SAVEPOINT operation");
            let kept = opened.is_ok() && operation.run(&Transaction::new(&self.raw, &self.path));
            ran.push(operation);
            opened?;
            if self.raw.is_autocommit() {
                // A full disk or a failed read can make the engine undo everything since BEGIN: those before share
                // this fate, those after have not run and get their turn.
                return Err(SqlError::Disk {
                    path: self.path.to_path_buf(),
                    source: Cause::new("the transaction was undone as a whole"),
                });
            }
            if !kept {
                self.counts.failed.increment(1);
                self.run_sql("ROLLBACK TO operation")?;
            }
            self.run_sql("RELEASE operation")?;
        }
        self.run_sql("COMMIT")
    }

    fn run_sql(&self, sql: &str) -> Result<(), SqlError> {
        let ran = self.raw.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
        ran.map(drop).map_err(|error| SqlError::of(&error, &self.path, sql))
    }

    /// Moves the log into the database file. A reader that still looks may prevent it; the log then stays, and stays
    /// true.
    fn fold_log(&self) {
        if let Err(error) = self.raw.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::warn!(%error, "the catalog's log was not folded in; the next start does it");
        }
    }
}
