//! A door with its rooms: the journal on a simulated disk whose syncs can be held back, the catalog in a directory.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use broker::{Broker, Parts, Settings};
use catalog::Catalog;
use host::sim::{Machine, SimClock, SimDisk};
use host::{Disk, Entry, File, Host, Space, SystemDisk};
use identity::Identity;
use journal::Journal;
use model::Routes;
use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Syncs that may go on, or wait.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// From now on no sync returns.
    pub fn hold(&self) {
        *self.0.0.lock() = true;
    }

    /// Every sync goes on.
    pub fn release(&self) {
        *self.0.0.lock() = false;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut is_closed = self.0.0.lock();
        while *is_closed {
            self.0.1.wait(&mut is_closed);
        }
    }
}

/// The house.
pub struct House {
    pub runtime: Rc<Runtime>,
    pub broker: Broker,
    pub gate: Gate,
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
        let gate = Gate::default();
        let clock = Arc::new(SimClock::new());
        let host = Host { disk: Arc::new(SystemDisk), clock: Arc::clone(&clock) as _, ..machine.host() };
        let disk = GatedDisk { disk: (*machine.disk).clone(), gate: gate.clone() };
        let journal_host = Host { disk: Arc::new(disk), ..host.clone() };
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
        Self { runtime: Rc::new(runtime), broker, gate, clock, serial: 0, journal, catalog, _dir: dir }
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

struct GatedDisk {
    disk: SimDisk,
    gate: Gate,
}

impl GatedDisk {
    fn gated(&self, file: io::Result<Box<dyn File>>) -> io::Result<Box<dyn File>> {
        Ok(Box::new(GatedFile { file: file?, gate: self.gate.clone() }))
    }
}

impl Disk for GatedDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.gated(self.disk.create(path))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.disk.open(path)
    }
    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        self.disk.read(path, bytes_max)
    }
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.disk.replace(path, bytes)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        self.disk.space(path)
    }
}

struct GatedFile {
    file: Box<dyn File>,
    gate: Gate,
}

impl File for GatedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync()
    }
    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.file.truncate(bytes)
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }
}
