//! The room as others see it: opened once, started once, asked and told by the API.
//!
//! Not here: what each part does. The law: whatever somebody changes here is in the audit log, in the same transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::Catalog;
use host::{Host, Shutdown};
use journal::Journal;
use tokio::task::JoinHandle;

use crate::config::receiver::WayKind;
use crate::delivery::{Lane, heartbeat};
use crate::dispatcher::{Dispatcher, Pulse};
use crate::{Config, Wake};

/// Alerts and who hears of them. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Alerts {
    parts: Arc<Parts>,
}

struct Parts {
    catalog: Catalog,
    host: Host,
    config: Config,
    wake: Wake,
    /// One per way, by its key.
    bells: BTreeMap<String, Wake>,
    pulse: Pulse,
}

/// Why the room cannot start.
#[derive(Debug, thiserror::Error)]
#[error("alerts cannot start: what was told before cannot be read")]
pub struct StartError {
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
    kind: model::Kind,
}

impl StartError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> model::Kind {
        self.kind
    }
}

impl Alerts {
    /// The room on this catalog, which must have been opened with [`crate::MIGRATIONS`]. Nothing happens yet.
    #[must_use]
    pub fn open(catalog: Catalog, host: Host, config: Config) -> Self {
        let bells = config.ways().map(|way| (way.key.clone(), Wake::default())).collect();
        let parts = Parts { catalog, host, config, wake: Wake::default(), bells, pulse: Pulse::default() };
        Self { parts: Arc::new(parts) }
    }

    /// Starts to decide and to send: one task that owns the machine, one per way to a receiver, one for the heartbeat. All
    /// end soon after `shutdown`; await them before the journal and the catalog close.
    ///
    /// # Errors
    /// [`StartError`] when what was told before cannot be read: then nothing is started, so that nothing is told twice.
    pub async fn start(
        &self,
        journal: &Journal,
        shutdown: &Shutdown,
    ) -> Result<Vec<JoinHandle<()>>, StartError> {
        let dispatcher = Dispatcher::open(self.clone()).await.map_err(|error| {
            let kind = match &error {
                crate::dispatcher::TurnError::Read(error) => error.kind(),
                crate::dispatcher::TurnError::Write(error) => error.kind(),
            };
            StartError { source: Box::new(error), kind }
        })?;
        let mut tasks = vec![tokio::spawn(dispatcher.run(shutdown.clone()))];
        for way in self.parts.config.ways().filter(|way| !matches!(way.kind, WayKind::Inbox)) {
            let lane = Lane {
                way: way.clone(),
                catalog: self.parts.catalog.clone(),
                host: self.parts.host.clone(),
                bell: self.parts.bells[&way.key].clone(),
                journal: journal.clone(),
            };
            tasks.push(tokio::spawn(lane.run(shutdown.clone())));
        }
        if let Some(heartbeat) = self.parts.config.heartbeat() {
            let (pulse, host) = (self.parts.pulse.clone(), self.parts.host.clone());
            let is_alive = move || pulse.is_alive(&host);
            let beats =
                heartbeat::run(heartbeat.clone(), self.parts.host.clone(), shutdown.clone(), is_alive);
            tasks.push(tokio::spawn(beats));
        }
        Ok(tasks)
    }

    /// The bell to ring when a transition was committed.
    #[must_use]
    pub fn bell(&self) -> &Wake {
        &self.parts.wake
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.parts.config
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.parts.catalog
    }

    pub(crate) fn host(&self) -> &Host {
        &self.parts.host
    }

    pub(crate) fn pulse(&self) -> &Pulse {
        &self.parts.pulse
    }

    /// Tells the ways to a receiver that something may wait.
    pub(crate) fn ring(&self, receiver: &str) {
        for way in self.parts.config.receiver(receiver).iter().flat_map(|receiver| &receiver.ways) {
            self.ring_way(&way.key);
        }
    }

    pub(crate) fn ring_way(&self, way: &str) {
        if let Some(bell) = self.parts.bells.get(way) {
            bell.wake();
        }
    }
}
