//! Backups of the server that runs: one at a time, each on a thread of its own, given out in pieces.
//!
//! Not here: HTTP (`api`). The law: a backup ends with its reader, with the server, or when nothing is taken of it for
//! [`STALL`]; until then it holds what it has not read yet, and the journal's status names it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use host::{Host, Shutdown};

use super::collect::{About, Rooms, collect};
use super::form::Derivation;
use super::pipe::{Patience, pipe};

/// Longest time that a backup waits for its reader: a slow disk or line is borne, one that stands still is not.
const STALL: Duration = Duration::from_secs(120);

/// What backups are made of.
pub(crate) struct Backups {
    pub(crate) catalog: catalog::Catalog,
    pub(crate) journal: journal::Journal,
    pub(crate) series: series::Series,
    pub(crate) about: About,
    pub(crate) host: Host,
    pub(crate) shutdown: Shutdown,
    /// Whether one is under way.
    pub(crate) is_busy: Arc<AtomicBool>,
}

impl Backups {
    /// Begins a backup; gives its bytes in pieces.
    pub(crate) fn begin(
        self: &Arc<Self>,
        order: api::BackupOrder,
    ) -> Result<tokio::sync::mpsc::Receiver<bytes::Bytes>, api::BackupBusy> {
        if self.is_busy.swap(true, Ordering::AcqRel) {
            return Err(api::BackupBusy);
        }
        let busy = Busy(Arc::clone(&self.is_busy));
        let backups = Arc::clone(self);
        let patience = Patience { stall: STALL, shutdown: self.shutdown.clone() };
        let (writer, pieces) = pipe(Some(patience));
        let begun = std::thread::Builder::new().name("backup".to_owned()).spawn(move || {
            let _busy = busy;
            host::lower_priority();
            let wrapping = order.key.map(|key| {
                let derivation = Derivation {
                    kdf: key.kdf,
                    memory_kib: key.memory_kib,
                    passes: key.passes,
                    lanes: key.lanes,
                    salt: key.salt,
                };
                (derivation, key.key)
            });
            let Self { catalog, journal, series, .. } = &*backups;
            let rooms = Rooms::Open { catalog, journal, series };
            match collect(writer, &rooms, &backups.about, &wrapping, &backups.host) {
                Ok(()) => {
                    metrics::counter!("godwit_backup_backups_total").increment(1);
                    tracing::info!("a backup was made");
                }
                Err(error) => {
                    metrics::counter!("godwit_backup_errors_total").increment(1);
                    tracing::error!(error = model::in_one_line(&error), "a backup was not finished");
                }
            }
        });
        if let Err(error) = begun {
            tracing::error!(%error, "no thread for a backup");
            return Err(api::BackupBusy);
        }
        Ok(pieces)
    }
}

/// Ends with the backup, however that ends.
struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
