//! The task that owns the machine: reads what changed, lets the machine judge, stores what it decided, rings the ways.
//!
//! Not here: the judging (`machine`), the sending (`delivery`). The law: what the machine decided is stored before it is
//! applied and before any way hears of it; a decision that could not be stored is made again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use catalog::{Catalog, ReadError, SqlError, WriteError, params};
use hashbrown::HashSet;
use host::{Host, Shutdown};
use model::Timestamp;
use parking_lot::Mutex;

use crate::Alerts;
use crate::machine::notice::Cause;
use crate::machine::{Look, Machine, Now, SaidRow};
use crate::sight::place;
use crate::steady::Steady;
use crate::store::episodes::{self, Stored};
use crate::store::{outbox, past, silences};

/// Changed episodes that are read at once.
const PAGE: usize = 1_000;

/// Groups that are looked at in one transaction.
const LOOKS: usize = 64;

/// Longest sleep: so often it shows that it lives.
const SLEEP_MAX: Duration = Duration::from_secs(10);

/// The pause after the catalog failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Most silences in force: more than people keep in their heads.
pub const SILENCES_MAX: usize = 1_000;

/// Since when the machine has not turned before it counts as dead, in microseconds.
const DEAD_MICROS: u64 = 60_000_000;

/// Shows that the machine turns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    fn beat(&self, host: &Host) {
        self.0.store(host.clock.mono_micros().max(1), Ordering::Relaxed);
    }

    pub(crate) fn is_alive(&self, host: &Host) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        last > 0 && host.clock.mono_micros().saturating_sub(last) < DEAD_MICROS
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<SqlError> for TurnError {
    fn from(error: SqlError) -> Self {
        Self::Read(ReadError::Sql(error))
    }
}

pub(crate) struct Dispatcher {
    alerts: Alerts,
    machine: Machine,
    steady: Steady,
    /// The last change that was seen.
    turn: u64,
    /// Of what is known of devices: when it changes, alerts may be elsewhere.
    revision: u64,
    /// The episodes that the machine has in hand: what was told of them it knows itself.
    known: Arc<Mutex<HashSet<crate::EpisodeId>>>,
}

/// What a start reads.
struct Before {
    groups: hashbrown::HashMap<String, (u64, Timestamp)>,
    unsettled: Vec<(Stored, Vec<SaidRow>)>,
    chapters: Vec<(Stored, Vec<String>)>,
    turn: u64,
}

impl Dispatcher {
    /// Stands where the one before stood.
    pub(crate) async fn open(alerts: Alerts) -> Result<Self, TurnError> {
        let (catalog, host, config) = (alerts.catalog().clone(), alerts.host().clone(), alerts.config());
        let steady = Steady::start(&host);
        let now = steady.now(&host);
        let (bury_host, bury_config) = (host.clone(), config.clone());
        let buried =
            catalog.write(move |tx| Ok::<_, WriteError>(outbox::bury(tx, &bury_host, &bury_config)?)).await?;
        if buried > 0 {
            tracing::warn!(
                notices = buried,
                "notices for receivers that are no longer configured are dead letters now"
            );
        }
        let since = now.wall.plus_micros(-config.refire() - 3_600 * Timestamp::SECOND);
        let reader = host.clone();
        let before: Before = catalog
            .read_async::<_, ReadError>(move |connection| {
                let mut unsettled = Vec::new();
                for one in past::unsettled(connection, &reader)? {
                    let said = past::said(connection, one.id)?;
                    unsettled.push((one, said));
                }
                let turn = connection.query_one(
                    "SELECT value FROM alert_counters WHERE name = 'turn'",
                    params![],
                    |row| row.get(0),
                )?;
                Ok(Before {
                    groups: past::groups(connection, now.wall)?,
                    unsettled,
                    chapters: past::chapters(connection, &reader, since)?,
                    turn: turn.unwrap_or(0),
                })
            })
            .await?;
        let identity = alerts.identity().clone();
        let revision = identity.revision();
        let mut machine = Machine::new(config, before.groups);
        for (stored, receivers) in before.chapters {
            machine.remember(stored, receivers);
        }
        let known = Arc::new(Mutex::new(HashSet::new()));
        for (mut stored, said) in before.unsettled {
            stored.place = place(&identity, &stored.episode.key);
            known.lock().insert(stored.id);
            let changed = stored.changed_at.min(now.steady);
            machine.see(stored, &said, changed);
        }
        Ok(Self { alerts, machine, steady, turn: before.turn, revision, known })
    }

    /// Turns until the shutdown.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        loop {
            let sleep = match self.turn().await {
                Ok(sleep) => sleep,
                Err(error) => {
                    tracing::error!(%error, "notices wait: the catalog fails");
                    PAUSE
                }
            };
            tokio::select! {
                () = shutdown.stopping() => return,
                () = self.alerts.bell().rung() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Does what is to be done now; how long nothing will be to do.
    async fn turn(&mut self) -> Result<Duration, TurnError> {
        let (catalog, host) = (self.alerts.catalog().clone(), self.alerts.host().clone());
        self.read_changes(&catalog, &host).await?;
        let now = self.steady.now(&host);
        self.see_moves(now);
        let (reader, wall) = (host.clone(), now.wall);
        let in_force = catalog
            .read_async::<_, ReadError>(move |connection| {
                Ok(silences::ending_after(connection, &reader, wall, SILENCES_MAX)?)
            })
            .await?;
        self.machine.set_silences(in_force, now);
        loop {
            let looks = self.machine.decide(now, LOOKS);
            if looks.is_empty() {
                break;
            }
            let (keeper, config, kept) = (host.clone(), self.alerts.config(), looks.clone());
            catalog.write(move |tx| Ok::<_, WriteError>(outbox::keep(tx, &keeper, &config, &kept)?)).await?;
            for look in &looks {
                self.measure(look);
                self.machine.apply(look);
                for one in &look.suppressed {
                    metrics::counter!("godwit_alerts_suppressed_total", "reason" => one.why.name())
                        .increment(1);
                }
                if let Some(notice) = &look.notice {
                    metrics::counter!("godwit_alerts_notices_total", "cause" => notice.body.cause.name())
                        .increment(1);
                    tracing::info!(receiver = look.receiver, notice = %notice.id, cause = notice.body.cause.name(), firing = notice.body.firing, resolved = notice.body.resolved, "notice made");
                    self.alerts.ring(&look.receiver);
                }
            }
        }
        let finished = self.machine.finished();
        if !finished.is_empty() {
            for one in &finished {
                self.known.lock().remove(&one.id);
            }
            catalog.write(move |tx| Ok::<_, WriteError>(outbox::finish(tx, &finished)?)).await?;
        }
        let (alerts, groups, _) = self.machine.sizes();
        metrics::gauge!("godwit_alerts_open").set(alerts as f64);
        metrics::gauge!("godwit_alerts_groups").set(groups as f64);
        self.alerts.pulse().beat(&host);
        let wait = self.machine.due().map(|due| due.micros_since(self.steady.now(&host).steady).max(0));
        let wait =
            wait.and_then(|micros| u64::try_from(micros).ok()).map_or(SLEEP_MAX, Duration::from_micros);
        Ok(wait.min(SLEEP_MAX))
    }

    /// How long the alerts of which a notice brings news waited for it.
    fn measure(&self, look: &Look) {
        if look.notice.as_ref().is_none_or(|notice| notice.body.cause != Cause::News) {
            return;
        }
        for since in look.heard.iter().filter_map(|(id, ..)| self.machine.since(id)) {
            let micros = look.at.steady.micros_since(since).max(0);
            metrics::histogram!("godwit_alerts_notice_seconds").record(micros as f64 / 1e6);
        }
    }

    /// A device that was moved takes its alerts along.
    fn see_moves(&mut self, now: Now) {
        let identity = self.alerts.identity();
        let revision = identity.revision();
        if std::mem::replace(&mut self.revision, revision) != revision {
            self.machine.set_places(&|key| place(identity, key), now);
        }
    }

    async fn read_changes(&mut self, catalog: &Catalog, host: &Host) -> Result<(), TurnError> {
        loop {
            let (reader, turn, known) = (host.clone(), self.turn, Arc::clone(&self.known));
            let page = catalog
                .read_async::<_, ReadError>(move |connection| {
                    let mut page = Vec::new();
                    for one in episodes::since(connection, &reader, turn, PAGE)? {
                        let said = if known.lock().contains(&one.id) {
                            Vec::new()
                        } else {
                            past::said(connection, one.id)?
                        };
                        page.push((one, said));
                    }
                    Ok(page)
                })
                .await?;
            let is_last = page.len() < PAGE;
            let changed = self.steady.now(host).steady;
            for (mut stored, said) in page {
                stored.place = place(self.alerts.identity(), &stored.episode.key);
                self.turn = self.turn.max(stored.turn);
                self.known.lock().insert(stored.id);
                self.machine.see(stored, &said, changed);
            }
            if is_last {
                return Ok(());
            }
        }
    }
}
