//! What every test needs: a machine, a catalog with the tables, episodes to speak of.
//!
//! Not here: any test. The law: nothing outlives its test.

use std::collections::BTreeMap;

use alerts::{Episode, Transition};
use catalog::{Catalog, WriteError};
use host::Host;
use host::sim::Machine;
use model::Timestamp;

/// Seconds as a time: small numbers read well.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + seconds * Timestamp::SECOND)
}

pub(crate) struct House {
    pub(crate) machine: Machine,
    pub(crate) host: Host,
    pub(crate) catalog: Catalog,
    pub(crate) dir: tempfile::TempDir,
}

impl House {
    pub(crate) fn new() -> Self {
        let machine = Machine::new(6);
        let mut host = machine.host();
        // The catalog's file is a real one: SQLite opens it itself.
        host.disk = std::sync::Arc::new(host::SystemDisk);
        let dir = tempfile::tempdir().expect("a directory");
        let migrations: Vec<catalog::Migration> =
            identity::Identity::migrations().iter().chain(alerts::MIGRATIONS).copied().collect();
        let catalog = Catalog::open(&dir.path().join("catalog.db"), &migrations, &host).expect("a catalog");
        Self { machine, host, catalog, dir }
    }

    /// Stores transitions as the evaluation does, in one transaction.
    pub(crate) async fn store(&self, transitions: &[Transition]) -> Vec<alerts::Applied> {
        let (host, transitions) = (self.host.clone(), transitions.to_vec());
        let now = host.clock.now();
        self.catalog
            .write(move |tx| {
                let stored = transitions.iter().map(|one| alerts::store::transition(tx, &host, now, one));
                Ok::<_, WriteError>(stored.collect::<Result<Vec<_>, _>>()?)
            })
            .await
            .expect("stored")
    }
}

pub(crate) fn texts(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// An episode of a device that is firing.
pub(crate) fn firing(rule: &str, device: &str, start: i64) -> Episode {
    Episode {
        rule: rule.to_owned(),
        version: 1,
        key: texts(&[("device", device)]),
        labels: texts(&[("severity", "critical"), ("site", "hq"), ("device", device)]),
        annotations: texts(&[("summary", "it is too hot")]),
        values: BTreeMap::from([("temperature".to_owned(), model::Value::Number(31.5))]),
        started_at: at(start),
        fired_at: at(start + 300),
        resolved_at: None,
        learnt_at: at(start + 301),
        late: false,
    }
}

/// The same when it is over.
pub(crate) fn resolved(mut episode: Episode, end: i64) -> Episode {
    episode.resolved_at = Some(at(end));
    episode
}
