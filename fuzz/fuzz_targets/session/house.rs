//! A door with its rooms: the journal on a simulated disk whose syncs can be held back, the catalog in a directory.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use broker::{Broker, Parts, Settings};
use catalog::Catalog;
use host::sim::{Machine, SimClock, SimDisk};
use host::{Host, SystemDisk};
use identity::Identity;
use journal::Journal;
use model::Routes;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The house.
pub struct House {
    pub runtime: Rc<Runtime>,
    pub broker: Broker,
    /// Where the journal is: its syncs can be held back.
    pub disk: SimDisk,
    pub clock: Arc<SimClock>,
    /// Counts everything that must be told apart: client ids, payloads.
    pub serial: u64,
    journal: Journal,
    catalog: Catalog,
    _dir: TempDir,
}

impl House {
    /// Opens it, empty.
    pub fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // In memory where there is such a place: a session that is kept costs a sync.
        let dir = ["/dev/shm", "/tmp"].into_iter().find_map(|at| tempfile::tempdir_in(at).ok());
        let dir = dir.expect("a directory");
        let machine = Machine::new(1);
        let clock = Arc::new(SimClock::new());
        let host = Host { disk: Arc::new(SystemDisk), clock: Arc::clone(&clock) as _, ..machine.host() };
        let disk = (*machine.disk).clone();
        let journal_host = Host { disk: Arc::new(disk.clone()), ..host.clone() };
        let settings = journal::Settings { bytes_max: Some(1 << 28), ..journal::Settings::default() };
        let (journal, _) = Journal::open(Path::new("/journal"), &settings, &journal_host).expect("a journal");
        let migrations = [Broker::migrations(), Identity::migrations()].concat();
        let catalog = Catalog::open(&dir.path().join("catalog.db"), &migrations, &host).expect("a catalog");
        let identity = Identity::open(catalog.clone(), host.clone()).expect("identity");
        let parts = Parts {
            host,
            journal: journal.clone(),
            catalog: catalog.clone(),
            identity,
            routes: Arc::new(Routes::new(&[]).expect("routes")),
            tls: None,
        };
        // Small enough that scripts find the bounds.
        let settings = Settings {
            receive_maximum: 8,
            inflight_max: 4,
            queue_messages_max: 8,
            left_messages_max: 16,
            filters_per_session_max: 6,
            topic_aliases_max: 3,
            packet_bytes_max: 4_096,
            ..Settings::default()
        };
        let broker = runtime.block_on(Broker::start(&settings, Vec::new(), parts)).expect("a door");
        Self { runtime: Rc::new(runtime), broker, disk, clock, serial: 0, journal, catalog, _dir: dir }
    }

    /// A number that was not given before.
    pub fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Ends it in good order.
    pub fn close(self) {
        self.runtime.block_on(async {
            self.broker.close().await;
            self.journal.close().await;
            self.catalog.close().await;
        });
    }
}
