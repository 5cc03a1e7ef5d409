//! The room as others see it: opened once, started once, asked and told by the API.
//!
//! Not here: what each part does. The law: whatever somebody changes here is in the audit log, in the same transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use catalog::{Catalog, WriteError};
use host::{Host, Shutdown};
use identity::Identity;
use journal::Journal;
use model::Timestamp;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::at_work::{AtWork, Order};
use crate::dispatcher::{Pulse, TurnError};
use crate::store::{past, retention};
use crate::{Config, Wake};

/// Transactions of one look at what is old: 10,000 episodes and as many notices; the rest goes with the next look.
const FORGET_ROUNDS: usize = 50;

/// How long the past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Episodes that are over, from their last change, and silences from their end.
    pub episodes: Duration,
    /// Notices and dead letters, from their making.
    pub notices: Duration,
}

/// What was forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Episodes.
    pub episodes: usize,
    /// Notices, with their deliveries.
    pub notices: usize,
}

/// Alerts and who hears of them. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Alerts {
    parts: Arc<Parts>,
}

struct Parts {
    catalog: Catalog,
    host: Host,
    identity: Identity,
    in_force: RwLock<InForce>,
    wake: Wake,
    pulse: Pulse,
    orders: mpsc::Sender<Order>,
    /// Until the start.
    asked: Mutex<Option<mpsc::Receiver<Order>>>,
}

struct InForce {
    config: Config,
    /// One per way, by its key.
    bells: BTreeMap<String, Wake>,
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
    pub fn open(catalog: Catalog, host: Host, identity: Identity, config: Config) -> Self {
        let (orders, asked) = mpsc::channel(1);
        let parts = Parts {
            catalog,
            host,
            identity,
            in_force: RwLock::new(InForce { bells: bells(&config, BTreeMap::new()), config }),
            wake: Wake::default(),
            pulse: Pulse::default(),
            orders,
            asked: Mutex::new(Some(asked)),
        };
        Self { parts: Arc::new(parts) }
    }

    /// Starts to decide and to send, once: one task that owns the machine, one per way to a receiver, one for the heartbeat,
    /// and one above them that ends soon after `shutdown`; await it before the journal and the catalog close.
    ///
    /// # Errors
    /// [`StartError`] when what was told before cannot be read: then nothing is started, so that nothing is told twice.
    pub async fn start(
        &self,
        journal: &Journal,
        shutdown: &Shutdown,
    ) -> Result<Vec<JoinHandle<()>>, StartError> {
        let at_work = AtWork::start(self.clone(), journal.clone(), shutdown.clone());
        let at_work = at_work.await.map_err(|error| {
            let kind = match &error {
                TurnError::Read(error) => error.kind(),
                TurnError::Write(error) => error.kind(),
            };
            StartError { source: Box::new(error), kind }
        })?;
        let asked = self.parts.asked.lock().take();
        Ok(asked.map(|asked| tokio::spawn(at_work.run(asked))).into_iter().collect())
    }

    /// Puts another configuration in force; returns when it is, or when the room is closed. Who was told of what stays as it
    /// is; a way ends the attempt that is under way.
    pub async fn replace(&self, config: Config) {
        let (done, told) = oneshot::channel();
        if self.parts.orders.send(Order { config, done }).await.is_ok() {
            let _ = told.await;
        }
    }

    /// Forgets what is older than it is kept, in small transactions; more than some thousands in several calls. What is open or
    /// waits stays.
    ///
    /// # Errors
    /// What the catalog says; what went before stays forgotten.
    pub async fn forget(&self, keep: Keep) -> Result<Forgotten, WriteError> {
        let now = self.host().clock.now();
        let (episodes, notices) = (before(now, keep.episodes), before(now, keep.notices));
        let mut forgotten = Forgotten::default();
        for _ in 0..FORGET_ROUNDS {
            let some = self.catalog().write(move |tx| {
                retention::forget_silences(tx, episodes)?;
                retention::forget_groups(tx, now.plus_micros(-past::GROUP_MICROS))?;
                let (episodes, notices) =
                    (retention::forget_episodes(tx, episodes)?, retention::forget_notices(tx, notices)?);
                Ok::<_, WriteError>(Forgotten { episodes, notices })
            });
            let some = some.await?;
            forgotten.episodes += some.episodes;
            forgotten.notices += some.notices;
            for (what, count) in [("episodes", some.episodes), ("notices", some.notices)] {
                metrics::counter!("godwit_alerts_forgotten_total", "what" => what).increment(count as u64);
            }
            if some.episodes.max(some.notices) < retention::AT_ONCE {
                break;
            }
        }
        Ok(forgotten)
    }

    /// The bell to ring when a transition was committed.
    #[must_use]
    pub fn bell(&self) -> &Wake {
        &self.parts.wake
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Config {
        self.parts.in_force.read().config.clone()
    }

    /// Nobody may be deciding by the one before any more.
    pub(crate) fn put_in_force(&self, config: Config) {
        let mut in_force = self.parts.in_force.write();
        let known = std::mem::take(&mut in_force.bells);
        *in_force = InForce { bells: bells(&config, known), config };
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.parts.catalog
    }

    pub(crate) fn host(&self) -> &Host {
        &self.parts.host
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.parts.identity
    }

    pub(crate) fn pulse(&self) -> &Pulse {
        &self.parts.pulse
    }

    /// Tells the ways to a receiver that something may wait.
    pub(crate) fn ring(&self, receiver: &str) {
        for way in self.config().receiver(receiver).iter().flat_map(|receiver| &receiver.ways) {
            self.ring_way(&way.key);
        }
    }

    pub(crate) fn ring_way(&self, way: &str) {
        self.bell_of(way).wake();
    }

    /// The bell of a way; one that nobody hears when there is no such way.
    pub(crate) fn bell_of(&self, way: &str) -> Wake {
        self.parts.in_force.read().bells.get(way).cloned().unwrap_or_default()
    }
}

/// A bell for each way: the one that is known, so that a ring is not lost.
fn bells(config: &Config, mut known: BTreeMap<String, Wake>) -> BTreeMap<String, Wake> {
    config.ways().map(|way| (way.key.clone(), known.remove(&way.key).unwrap_or_default())).collect()
}

fn before(now: Timestamp, kept: Duration) -> Timestamp {
    now.plus_micros(-i64::try_from(kept.as_micros()).unwrap_or(i64::MAX / 2))
}
