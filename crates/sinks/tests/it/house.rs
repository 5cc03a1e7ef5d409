//! A journal, a catalog and the room, in a directory of their own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use catalog::Catalog;
use host::sim::{Machine, SimClock};
use host::{Clock, Host, SystemClock, SystemDisk, SystemRandom};
use journal::{Chains, Journal, Record};
use model::{DeviceName, Door, Message, Origin, Principal, Qos, Routes, Timestamp, TopicName, partition};
use rules::{Limits, RuleSet};
use sinks::{DeadLetter, MIGRATIONS, Parts, Settings, SinkStatus, Sinks};
use tempfile::TempDir;

/// Longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits that a test can wait for.
pub(crate) fn quick() -> Settings {
    Settings {
        timeout: Duration::from_millis(500),
        retry_min: Duration::from_millis(5),
        retry_max: Duration::from_millis(20),
        ..Settings::default()
    }
}

pub(crate) struct House {
    pub(crate) sinks: Sinks,
    pub(crate) journal: Journal,
    pub(crate) catalog: Catalog,
    host: Host,
    dir: Option<TempDir>,
    machine: Machine,
    settings: Settings,
}

/// The rules of a file whose rules these are, indented by two.
pub(crate) fn load(rules: &str) -> RuleSet {
    let text = format!("groups:\n- name: g\n  rules:\n{rules}");
    RuleSet::load([("r.yaml", text.as_str())], &Limits::default())
        .unwrap_or_else(|faults| panic!("{faults:#?}\n{text}"))
}

impl House {
    pub(crate) async fn open(rules: &str) -> Self {
        Self::with(rules, quick(), journal_settings(), Arc::new(SystemClock::start())).await
    }

    pub(crate) async fn with(
        rules: &str,
        settings: Settings,
        journal: journal::Settings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self::start(rules, settings, journal, clock, dir, Machine::new(1)).await
    }

    async fn start(
        rules: &str,
        settings: Settings,
        journal: journal::Settings,
        clock: Arc<dyn Clock>,
        dir: TempDir,
        machine: Machine,
    ) -> Self {
        let host =
            Host { clock, disk: Arc::new(SystemDisk), random: Arc::new(SystemRandom), ..machine.host() };
        let journal_host = Host { disk: machine.disk.clone(), ..host.clone() };
        let (journal, _) = Journal::open(Path::new("/journal"), &journal, &journal_host).expect("a journal");
        let catalog = Catalog::open(&dir.path().join("catalog.db"), MIGRATIONS, &host).expect("a catalog");
        let parts = Parts {
            catalog: catalog.clone(),
            journal: journal.clone(),
            host: host.clone(),
            routes: Arc::new(Routes::new(&[]).expect("routes")),
            account_id: "000000000000".to_owned(),
            settings: settings.clone(),
        };
        let sinks = Sinks::start(parts, load(rules).actions).await.expect("a room");
        Self { sinks, journal, catalog, host, dir: Some(dir), machine, settings }
    }

    /// Ends in good order and starts again.
    pub(crate) async fn restart(mut self, rules: &str) -> Self {
        self.sinks.close().await;
        self.journal.close().await;
        self.catalog.close().await;
        self.machine.restart();
        let dir = self.dir.take().expect("a directory");
        let clock = Arc::clone(&self.host.clock);
        Self::start(rules, self.settings, journal_settings(), clock, dir, self.machine).await
    }

    /// The power fails, and the machine starts again on what was durable.
    pub(crate) async fn crash(mut self, rules: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        self.catalog.copy_to(&dir.path().join("catalog.db"), &SystemDisk).expect("a copy");
        self.machine.crash();
        let clock = Arc::clone(&self.host.clock);
        drop(self.sinks);
        // They hold files that must not go before they do.
        std::mem::forget((self.journal, self.catalog, self.dir.take()));
        Self::start(rules, self.settings, journal_settings(), clock, dir, self.machine).await
    }

    /// Runs a statement in the catalog.
    pub(crate) async fn sql(&self, sql: &'static str) {
        let done = self.catalog.write(move |transaction| Ok(transaction.execute(sql, catalog::params![])?));
        done.await.expect("written");
    }

    pub(crate) async fn close(self) {
        self.sinks.close().await;
        self.journal.close().await;
        self.catalog.close().await;
    }

    /// A message of a device, durable when this returns; its `seq`.
    pub(crate) async fn publish(&self, device: &str, topic: &str, payload: &str) -> u64 {
        self.append(self.message(device, topic, payload)).await
    }

    pub(crate) fn message(&self, device: &str, topic: &str, payload: &str) -> Message {
        let device = DeviceName::parse(device).expect("a name");
        let origin = Origin {
            door: Door::Mqtt,
            principal: Principal::DevicePassword(device.clone()),
            partition: partition(Some(&device), ""),
            client_id: device.as_str().into(),
            device: Some(device),
            connection: 1,
            boot: self.host.boot,
        };
        Message {
            qos: Qos::AtLeastOnce,
            received_at: self.host.clock.now(),
            ..Message::new(TopicName::parse(topic).expect("a topic"), payload.as_bytes().to_vec(), origin)
        }
    }

    pub(crate) async fn append(&self, message: Message) -> u64 {
        self.journal.append(vec![message]).await.expect("durable")[0].seq()
    }

    /// Everything that is in the journal.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut reader = self.journal.reader(1, Chains::Both);
        let mut records = Vec::new();
        while let Some(batch) = reader.try_next().expect("readable") {
            records.extend(batch.records.iter().cloned());
        }
        records
    }

    /// What is in the journal on a topic, as text.
    pub(crate) fn on(&self, topic: &str) -> Vec<String> {
        let records = self.records().into_iter().filter(|record| &*record.message.topic == topic);
        records.map(|record| String::from_utf8(record.message.payload.to_vec()).expect("text")).collect()
    }

    /// Waits until the house is as wanted.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let wait = async {
            let mut look = tokio::time::interval(Duration::from_millis(2));
            while !is_so(self) {
                look.tick().await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("{what}: {:#?} {:#?}", self.sinks.status(), self.letters());
        }
    }

    pub(crate) fn status(&self, name: &str) -> SinkStatus {
        let found = self.sinks.status().into_iter().find(|sink| sink.name == name);
        found.unwrap_or_else(|| panic!("there is no {name}"))
    }

    pub(crate) fn letters(&self) -> Vec<DeadLetter> {
        self.sinks.dead_letters(None, 100).expect("readable")
    }
}

pub(crate) fn journal_settings() -> journal::Settings {
    journal::Settings { bytes_max: Some(1 << 30), ..journal::Settings::default() }
}

/// A clock that the test moves, at a time that is plausible.
pub(crate) fn clock() -> Arc<SimClock> {
    let clock = Arc::new(SimClock::new());
    clock.set(Timestamp::parse("2026-01-01T00:00:00Z").expect("a time"));
    clock
}
