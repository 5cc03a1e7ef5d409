//! A register with an authority, by a clock of the test's own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use catalog::Catalog;
use host::sim::Machine;
use host::{Clock, Host, SystemDisk};
use identity::{Authority, CertificateRefusal, Identity, Refusal, Who};
use model::Timestamp;

/// When it is opened: 2026-06-01.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_780_272_000_000_000);

/// The house. What a test does in it is in the test's own file.
pub(crate) struct House {
    pub(crate) identity: Identity,
    pub(crate) catalog: Catalog,
    pub(crate) host: Host,
    machine: Machine,
    dir: tempfile::TempDir,
}

impl House {
    pub(crate) async fn open() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let machine = Machine::new(7);
        machine.clock.set(NOW);
        let host = Host { disk: Arc::new(SystemDisk), ..machine.host() };
        let catalog =
            Catalog::open(&dir.path().join("catalog.db"), Identity::migrations(), &host).expect("opened");
        let authority = Authority::open(&catalog, &host).await.expect("an authority");
        let identity = Identity::open(catalog.clone(), host.clone()).expect("read").with_authority(authority);
        Self { identity, catalog, host, machine, dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.machine.clock.now()
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.machine.clock.set(Timestamp::from_micros(self.now().micros() + time.as_micros() as i64));
    }

    /// Who comes in by a certificate.
    pub(crate) fn enter(&self, der: &[u8]) -> Result<Who, CertificateRefusal> {
        self.identity.authenticate_certificate(der).map_err(|refusal| match refusal {
            Refusal::Certificate { why, .. } => why,
            other => panic!("{other}"),
        })
    }
}
