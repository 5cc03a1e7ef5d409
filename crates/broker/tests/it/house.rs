//! A door with its rooms, in a directory of its own, on a port of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, DoorName, ListenerSettings, Parts, Settings, Stats};
use catalog::Catalog;
use host::sim::{Machine, SimDisk};
use host::{Clock, Host, SystemClock, SystemDisk, SystemRandom};
use identity::{Identity, LocalToken};
use journal::Journal;
use model::{RouteSettings, Routes};
use tempfile::TempDir;

/// Longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a test may choose.
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) journal: journal::Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) routes: Vec<RouteSettings>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            journal: journal::Settings { bytes_max: Some(1 << 30), ..journal::Settings::default() },
            clock: Arc::new(SystemClock::start()),
            routes: Vec::new(),
        }
    }
}

impl Plan {
    pub(crate) fn with(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }
}

/// The house.
pub(crate) struct House {
    pub(crate) broker: Broker,
    pub(crate) journal: Journal,
    pub(crate) identity: Identity,
    pub(crate) token: LocalToken,
    pub(crate) disk: SimDisk,
    /// The certificate that clients trust.
    pub(crate) root: String,
    catalog: Catalog,
    dir: Option<TempDir>,
    machine: Machine,
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::with(Plan::default()).await
    }

    pub(crate) async fn with(plan: Plan) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self::start(plan, dir, Machine::new(1)).await
    }

    async fn start(plan: Plan, dir: TempDir, machine: Machine) -> Self {
        let disk = (*machine.disk).clone();
        let host = Host {
            clock: plan.clock,
            disk: Arc::new(SystemDisk),
            random: Arc::new(SystemRandom),
            ..machine.host()
        };
        // The journal's disk is simulated: it can be stopped, filled and broken. The catalog's files are SQLite's own.
        let journal_host = Host { disk: Arc::new(disk.clone()), ..host.clone() };
        let (journal, _) =
            Journal::open(Path::new("/journal"), &plan.journal, &journal_host).expect("a journal");
        let migrations = [Broker::migrations(), Identity::migrations()].concat();
        let catalog = Catalog::open(&dir.path().join("catalog.db"), &migrations, &host).expect("a catalog");
        let token = LocalToken::generate(&SystemRandom);
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let authority = identity::Authority::open(&catalog, &host).await.expect("an authority");
        let identity = Identity::open(catalog.clone(), host.clone()).expect("identity");
        let identity = identity.with_local_token(&token).with_authority(authority.clone());
        let parts = Parts {
            host,
            journal: journal.clone(),
            catalog: catalog.clone(),
            identity: identity.clone(),
            routes: Arc::new(Routes::new(&plan.routes).expect("routes")),
            tls: Some(authority.clone()),
        };
        let anonymous = ListenerSettings::anonymous(local);
        let tls = ListenerSettings { tls: true, ..anonymous.clone() };
        let websocket = ListenerSettings { door: DoorName::Websocket, ..anonymous.clone() };
        let both = ListenerSettings { tls: true, path: Some("/secure".to_owned()), ..websocket.clone() };
        let certificates = ListenerSettings::certificates(local);
        let listeners =
            vec![anonymous, ListenerSettings::password(local), tls, websocket, both, certificates];
        let broker = Broker::start(&plan.settings, listeners, parts).await.expect("a door");
        Self {
            broker,
            journal,
            identity,
            token,
            disk,
            root: authority.root_pem(),
            catalog,
            dir: Some(dir),
            machine,
        }
    }

    /// Ends everything in good order and starts again on the same directory.
    pub(crate) async fn restart(mut self, plan: Plan) -> Self {
        self.close().await;
        let dir = self.dir.take().expect("a directory");
        let mut machine = self.machine;
        machine.restart();
        Self::start(plan, dir, machine).await
    }

    /// The power fails, and the machine starts again on what was durable. The old process may go on: nothing of it lasts.
    pub(crate) async fn crash(mut self, plan: Plan) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        self.catalog.copy_to(&dir.path().join("catalog.db"), &SystemDisk).expect("a copy");
        self.machine.crash();
        let machine = self.machine;
        // Its rooms hold files that must not go before it does.
        std::mem::forget((self.broker, self.journal, self.catalog, self.dir.take()));
        Self::start(plan, dir, machine).await
    }

    pub(crate) fn catalog(&self) -> Catalog {
        self.catalog.clone()
    }

    pub(crate) async fn close(&self) {
        self.broker.close().await;
        self.journal.close().await;
        self.catalog.close().await;
    }

    /// The listener that asks for no name.
    pub(crate) fn anonymous(&self) -> SocketAddr {
        self.broker.addresses()[0]
    }

    /// The listener that asks for a password.
    pub(crate) fn password(&self) -> SocketAddr {
        self.broker.addresses()[1]
    }

    /// The listener that asks for a client certificate.
    pub(crate) fn certificates(&self) -> SocketAddr {
        self.broker.addresses()[5]
    }

    /// Waits until the numbers are as wanted.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Stats) -> bool) -> Stats {
        let wait = async {
            let mut look = tokio::time::interval(Duration::from_millis(2));
            loop {
                look.tick().await;
                let stats = self.broker.stats();
                if is_so(&stats) {
                    return stats;
                }
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("never: {what}: {:#?}", self.broker.stats()))
    }
}
