//! Devices that somebody permitted spoke of: registered in passing, many at a time.
//!
//! Asked for every message, so the usual answer is one look into a set. A new name is put on a list; one operation at
//! a time waits at the catalog's writer and takes the whole list when its turn comes. Not here: who is permitted (the
//! door asks `may` first). The laws: a message never waits for this; the list and the set are bounded; a name that
//! could not be kept is offered again by the device's next message.

use std::sync::Arc;

use catalog::{Catalog, params};
use hashbrown::HashSet;
use model::DeviceName;
use parking_lot::{Mutex, RwLock};

use crate::device::fleet::Fleet;

/// Most devices that are registered only because somebody spoke of them, in all. Twice the largest fleet that one
/// machine is meant for; a client that makes names up fills no disk.
pub const SEEN_DEVICES_MAX: usize = 200_000;

/// Most names that wait to be registered.
pub const SEEN_WAITING_MAX: usize = 10_000;

/// What became of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It was known.
    Known,
    /// It is new and will be registered in a moment.
    New,
    /// It is new, and a bound is reached or the catalog is busy: not registered now, counted.
    Full,
}

/// The names that are known, and those that wait to be.
pub(crate) struct Register {
    known: RwLock<HashSet<DeviceName>>,
    waiting: Mutex<Waiting>,
    dropped: metrics::Counter,
    failed: metrics::Counter,
}

#[derive(Default)]
struct Waiting {
    names: HashSet<DeviceName>,
    /// Whether an operation that will take the names is on its way.
    is_underway: bool,
}

impl Register {
    pub(crate) fn new(known: HashSet<DeviceName>) -> Self {
        Self {
            known: RwLock::new(known),
            waiting: Mutex::default(),
            dropped: metrics::counter!("godwit_identity_seen_dropped_total"),
            failed: metrics::counter!("godwit_identity_seen_batches_failed_total"),
        }
    }

    pub(crate) fn add(&self, name: &DeviceName) {
        self.known.write().insert(name.clone());
    }

    /// A name that was removed: whoever speaks of it again registers it again.
    pub(crate) fn forget(&self, name: &DeviceName) {
        self.known.write().remove(name);
    }

    pub(crate) fn see(
        self: &Arc<Self>,
        name: &DeviceName,
        catalog: &Catalog,
        clock: &Arc<dyn host::Clock>,
        fleet: &Arc<Fleet>,
    ) -> Seen {
        let known = {
            let known = self.known.read();
            if known.contains(name) {
                return Seen::Known;
            }
            known.len()
        };
        // Lock order: `known` is free again before `waiting` is taken.
        let mut waiting = self.waiting.lock();
        if !waiting.names.contains(name) {
            let is_full =
                waiting.names.len() >= SEEN_WAITING_MAX || known + waiting.names.len() >= SEEN_DEVICES_MAX;
            if is_full {
                self.dropped.increment(1);
                return Seen::Full;
            }
            waiting.names.insert(name.clone());
        }
        if !waiting.is_underway {
            waiting.is_underway = self.submit(catalog, clock, fleet);
        }
        Seen::New
    }

    fn submit(self: &Arc<Self>, catalog: &Catalog, clock: &Arc<dyn host::Clock>, fleet: &Arc<Fleet>) -> bool {
        let (register, clock, fleet) = (Arc::clone(self), Arc::clone(clock), Arc::clone(fleet));
        let names_of = Arc::clone(self);
        let write = catalog.submit(
            move |transaction| {
                let names = register.take();
                let now = clock.now();
                for name in &names {
                    transaction.execute(
                        "INSERT INTO devices (name, state, created) VALUES ($1, 'seen', $2)
                         ON CONFLICT (name) DO UPDATE SET state = 'seen', removed = NULL, successor = NULL,
                           version = devices.version + 1 WHERE devices.removed IS NOT NULL",
                        params![name, now],
                    )?;
                }
                Ok(names)
            },
            move |written| names_of.settle(&fleet, written),
        );
        write.is_ok()
    }

    /// The names that wait; those that come from now on need another operation.
    fn take(&self) -> HashSet<DeviceName> {
        let mut waiting = self.waiting.lock();
        waiting.is_underway = false;
        std::mem::take(&mut waiting.names)
    }

    fn settle(&self, fleet: &Fleet, written: Result<HashSet<DeviceName>, catalog::WriteError>) {
        match written {
            Ok(names) => {
                fleet.see(&names);
                self.known.write().extend(names);
            }
            // The next message of each of them brings its name again; the catalog has logged why.
            Err(_) => {
                self.waiting.lock().is_underway = false;
                self.failed.increment(1);
            }
        }
    }
}
