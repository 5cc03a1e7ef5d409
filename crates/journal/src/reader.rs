//! Readers: from memory while they keep up, from the disk when they do not.

use std::sync::Arc;

use tokio::sync::watch;

use crate::chain::Chains;
use crate::cursor::{Merge, Piece};
use crate::shared::{Progress, Shared};
use crate::{Batch, ReadError, Records, Skipped};

/// Reads the journal in the order of `seq`. Many readers cost little: rows in memory are shared.
pub struct Reader {
    shared: Arc<Shared>,
    chains: Chains,
    /// The lowest `seq` not yet given.
    next: u64,
    disk: Option<Merge>,
    progress: watch::Receiver<Progress>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, from: u64, chains: Chains) -> Self {
        let progress = shared.progress.subscribe();
        Self { shared, chains, next: from.max(1), disk: None, progress }
    }

    /// Everything of this reader's chains up to this `seq` was given, or told as skipped.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next - 1
    }

    /// The next records; waits until there are some. Safe to drop while it waits: nothing is lost.
    ///
    /// A reader that has fallen out of memory reads files in this call: one frame, usually 64 KiB.
    ///
    /// # Errors
    /// [`ReadError::Closed`] when the journal was closed and everything was given; [`ReadError::Io`].
    pub async fn next(&mut self) -> Result<Batch, ReadError> {
        loop {
            // Seen before looking: what comes between the two wakes us.
            let closed = self.progress.borrow_and_update().closed;
            if let Some(batch) = self.try_next()? {
                return Ok(batch);
            }
            if closed || self.progress.changed().await.is_err() {
                return Err(ReadError::Closed);
            }
        }
    }

    /// The next records; `None` when everything durable was given.
    ///
    /// # Errors
    /// [`ReadError::Io`].
    pub fn try_next(&mut self) -> Result<Option<Batch>, ReadError> {
        let mut skipped: Vec<Skipped> = Vec::new();
        loop {
            let durable = self.shared.durable();
            let records = match self.shared.in_memory(self.next, self.chains) {
                Ok(Some(records)) => {
                    self.disk = None;
                    records
                }
                Ok(None) => {
                    self.next = self.next.max(durable + 1);
                    return Ok(told(skipped));
                }
                Err(floor) => match self.next_on_disk(durable) {
                    Ok(Some(Piece::Records(records))) => Records::from(records),
                    // What was passed over is told first; the next call meets the error again.
                    Err(error) => return told(skipped).map(Some).ok_or(error),
                    Ok(Some(Piece::Gap(gap))) => {
                        self.next = self.next.max(gap.to + 1);
                        join(&mut skipped, gap);
                        continue;
                    }
                    Ok(None) => {
                        // Nothing of ours is left on the disk below the tap.
                        self.next = self.next.max(floor.min(durable) + 1);
                        if self.next <= durable {
                            continue;
                        }
                        return Ok(told(skipped));
                    }
                },
            };
            self.next = records.last().expect("never empty").seq + 1;
            return Ok(Some(Batch { skipped, records }));
        }
    }

    fn next_on_disk(&mut self, durable: u64) -> Result<Option<Piece>, ReadError> {
        let merge = self.disk.get_or_insert_with(|| Merge::new(self.chains, self.next));
        merge.next(&self.shared, durable)
    }
}

/// What was passed over without a record behind it.
fn told(skipped: Vec<Skipped>) -> Option<Batch> {
    (!skipped.is_empty()).then(|| Batch { skipped, records: Records::empty() })
}

/// Adds a gap; one that continues the last makes it longer.
fn join(skipped: &mut Vec<Skipped>, gap: Skipped) {
    match skipped.last_mut() {
        Some(last) if last.reason == gap.reason && last.to + 1 == gap.from => last.to = gap.to,
        _ => skipped.push(gap),
    }
}
