//! The room at work: one thread on which every action is a task, and what operators ask.
//!
//! Not here: what an action does (`sink`). The laws: other rules take the place of the old without a message lost or passed over; an action
//! keeps its place as long as its rule names it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use catalog::Catalog;
use host::Host;
use journal::{Chains, Journal, Record};
use model::route::Routes;
use parking_lot::Mutex;
use rules::{ACTIONS_OF_ALL_MAX, ActionRule};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::deliver::{Courier, Fate, Means};
use crate::error::{RetryError, StartError};
use crate::job::{Judged, judge};
use crate::letter::{DeadLetter, Failure, Reason};
use crate::settings::Settings;
use crate::sink::Sink;
use crate::status::{Gauge, SinkStatus};
use crate::store::{self, Step};

/// Attempts per message when a dead letter is tried again: somebody waits for the answer.
const ATTEMPTS_OF_RETRY: u32 = 2;

/// What the room works with.
pub struct Parts {
    /// Where positions and dead letters are, with [`MIGRATIONS`](crate::MIGRATIONS) applied.
    pub catalog: Catalog,
    /// What is read, and what is published to.
    pub journal: Journal,
    /// Clock and dice.
    pub host: Host,
    /// By which the lane of what is published is known.
    pub routes: Arc<Routes>,
    /// The account's number, for `accountid()`.
    pub account_id: String,
    /// Bounds.
    pub settings: Settings,
}

/// What came of trying a dead letter again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retried {
    /// Messages that were delivered.
    pub delivered: u64,
    /// What is left of it; `None` when it is off the list.
    pub left: Option<DeadLetter>,
}

/// The actions of all rules. Cheap to clone. When the last clone is dropped it ends at once, as by a crash.
#[derive(Clone)]
pub struct Sinks {
    inner: Arc<Inner>,
}

struct Inner {
    catalog: Catalog,
    means: Arc<Means>,
    runtime: Handle,
    /// Ends the thread.
    end: watch::Sender<bool>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    /// One change of rules at a time.
    running: tokio::sync::Mutex<BTreeMap<String, Running>>,
    /// The same, for who only looks.
    shown: Mutex<Vec<Shown>>,
    retrying: Mutex<BTreeSet<i64>>,
}

struct Running {
    rule: Arc<ActionRule>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    gauge: Arc<Gauge>,
}

#[derive(Clone)]
struct Shown {
    name: String,
    rule: Arc<ActionRule>,
    index: usize,
    gauge: Arc<Gauge>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The thread drops its tasks where they wait: nothing more is sent or stored.
        self.end.send_replace(true);
    }
}

impl Sinks {
    /// Starts the thread and an action for each of the rules'. An action that is new begins with what comes from now on.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start(parts: Parts, rules: Vec<Arc<ActionRule>>) -> Result<Self, StartError> {
        let machine = |reason: String| StartError::Machine { reason };
        let http = reqwest::Client::builder()
            .timeout(parts.settings.timeout)
            // A redirect would be followed with the message and its secret headers.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("godwit/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| machine(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| machine(error.to_string()))?;
        let handle = runtime.handle().clone();
        let end = watch::Sender::new(false);
        let mut ended = end.subscribe();
        let thread = thread::Builder::new().name("sinks".to_owned()).spawn(move || {
            host::lower_priority();
            // The sender gone is the end too.
            let _ = runtime.block_on(ended.wait_for(|end| *end));
            runtime.shutdown_background();
        });
        let thread = thread.map_err(|error| machine(error.to_string()))?;
        let means = Means {
            journal: parts.journal,
            host: parts.host,
            routes: parts.routes,
            account_id: parts.account_id,
            settings: parts.settings,
            http,
        };
        let sinks = Self {
            inner: Arc::new(Inner {
                catalog: parts.catalog,
                means: Arc::new(means),
                runtime: handle,
                end,
                thread: Mutex::new(Some(thread)),
                running: tokio::sync::Mutex::default(),
                shown: Mutex::default(),
                retrying: Mutex::default(),
            }),
        };
        sinks.replace(rules).await?;
        Ok(sinks)
    }

    /// Puts other rules in the place of those that run. Actions of a rule that did not change go on; those of one that did go on from where
    /// they stood; those that are gone forget their place.
    ///
    /// # Errors
    /// [`StartError::TooMany`] before anything changed; others leave some actions stopped, and a call with the same rules mends it: it begins
    /// those that do not run, where they stood.
    pub async fn replace(&self, rules: Vec<Arc<ActionRule>>) -> Result<(), StartError> {
        let wanted: Vec<(String, Arc<ActionRule>, usize)> = rules
            .iter()
            .flat_map(|rule| names(rule).map(|(index, name)| (name, Arc::clone(rule), index)))
            .collect();
        if wanted.len() > ACTIONS_OF_ALL_MAX {
            return Err(StartError::TooMany { found: wanted.len(), most: ACTIONS_OF_ALL_MAX });
        }
        let mut running = self.inner.running.lock().await;
        let done = self.change(&mut running, &wanted).await;
        // Also after a failure: what runs is what is shown.
        *self.inner.shown.lock() = wanted
            .into_iter()
            .filter_map(|(name, rule, index)| {
                let gauge = Arc::clone(&running.get(&name)?.gauge);
                Some(Shown { name, rule, index, gauge })
            })
            .collect();
        done
    }

    /// Ends what is not wanted, and begins what does not run.
    async fn change(
        &self,
        running: &mut BTreeMap<String, Running>,
        wanted: &[(String, Arc<ActionRule>, usize)],
    ) -> Result<(), StartError> {
        let inner = &self.inner;
        let is_wanted = |name: &str, old: &Running| {
            wanted.iter().any(|(wanted, rule, _)| wanted == name && rule.version == old.rule.version)
        };
        let gone: Vec<String> = running
            .iter()
            .filter(|(name, old)| !is_wanted(name, old))
            .map(|(name, _)| name.clone())
            .collect();
        let gone: Vec<Running> = gone.iter().filter_map(|name| running.remove(name)).collect();
        stop_all(gone).await;
        store::keep_only(&inner.catalog, wanted.iter().map(|(name, ..)| name.clone()).collect()).await?;
        for (name, rule, index) in wanted {
            if !running.contains_key(name) {
                let begun = self.begin(name.clone(), Arc::clone(rule), *index).await?;
                running.insert(name.clone(), begun);
            }
        }
        Ok(())
    }

    /// Starts one action where it stood, or at the end of the journal.
    async fn begin(&self, name: String, rule: Arc<ActionRule>, index: usize) -> Result<Running, StartError> {
        let inner = &self.inner;
        let (stop, stopped) = watch::channel(false);
        let gauge = Arc::new(Gauge::default());
        let courier = Arc::new(Courier {
            means: Arc::clone(&inner.means),
            rule: Arc::clone(&rule),
            index,
            name: name.clone(),
            gauge: Arc::clone(&gauge),
            stop: stopped,
            attempts_max: None,
            paces: Mutex::default(),
        });
        let position = match store::position(&inner.catalog, &name)? {
            Some(position) => position,
            None => {
                // Stored at once: what comes before the first save is not passed over after a crash.
                let position = inner.means.journal.durable_seq();
                let target = courier.action().target().to_owned();
                let now = inner.means.host.clock.now();
                let step = Step { sink: name, target, position, failures: Vec::new(), open: None, now };
                store::advance(&inner.catalog, step).await?;
                position
            }
        };
        let sink = Sink::new(courier, inner.catalog.clone(), position);
        let task = inner.runtime.spawn(sink.run());
        Ok(Running { rule, stop, task, gauge })
    }

    /// How every action is doing, in the order of the rules.
    #[must_use]
    pub fn status(&self) -> Vec<SinkStatus> {
        let shown = self.inner.shown.lock().clone();
        let status = |shown: Shown| SinkStatus {
            rule: shown.rule.name.clone(),
            kind: shown.rule.actions[shown.index].kind(),
            target: shown.rule.actions[shown.index].target().to_owned(),
            position: shown.gauge.position.load(Ordering::Relaxed),
            delivered: shown.gauge.delivered.load(Ordering::Relaxed),
            failed: shown.gauge.failed.load(Ordering::Relaxed),
            undefined: shown.gauge.undefined.load(Ordering::Relaxed),
            trouble: shown.gauge.trouble(),
            name: shown.name,
        };
        shown.into_iter().map(status).collect()
    }

    /// What was given up, newest first: the letters whose number is below `before`, or the newest. Blocks for a read of the catalog.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn dead_letters(
        &self,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, catalog::ReadError> {
        store::newest(&self.inner.catalog, before.unwrap_or(i64::MAX), limit)
    }

    /// Takes a dead letter off the list without trying it; whether it was there.
    ///
    /// # Errors
    /// When the catalog cannot be written.
    pub async fn discard(&self, id: i64) -> Result<bool, catalog::WriteError> {
        store::discard(&self.inner.catalog, id).await
    }

    /// Tries the messages of a dead letter again, in their order, until one is not taken. What was delivered is off the list.
    ///
    /// Waits for receivers: two attempts each, within `sinks.timeout` each.
    ///
    /// # Errors
    /// [`RetryError`]; the letter is as it was then.
    pub async fn retry(&self, id: i64) -> Result<Retried, RetryError> {
        let sinks = self.clone();
        let task = self.inner.runtime.spawn(async move {
            if !sinks.inner.retrying.lock().insert(id) {
                return Err(RetryError::Busy(id));
            }
            let retried = sinks.retry_now(id).await;
            sinks.inner.retrying.lock().remove(&id);
            retried
        });
        task.await.unwrap_or(Err(RetryError::Closed))
    }

    async fn retry_now(&self, id: i64) -> Result<Retried, RetryError> {
        let inner = &self.inner;
        let letter = store::one(&inner.catalog, id)?.ok_or(RetryError::NotFound(id))?;
        let shown = inner.shown.lock().iter().find(|shown| shown.name == letter.sink).cloned();
        let shown = shown.ok_or_else(|| RetryError::NoAction(letter.sink.clone()))?;
        let courier = Arc::new(Courier {
            means: Arc::clone(&inner.means),
            rule: shown.rule,
            index: shown.index,
            name: shown.name,
            gauge: Arc::new(Gauge::default()),
            stop: inner.end.subscribe(),
            attempts_max: Some(ATTEMPTS_OF_RETRY),
            paces: Mutex::default(),
        });
        let mut delivered = 0;
        let failure = again(&courier, &letter, &mut delivered).await?;
        Gauge::count(&shown.gauge.delivered, delivered);
        let Some(failure) = failure else {
            store::discard(&inner.catalog, id).await?;
            return Ok(Retried { delivered, left: None });
        };
        store::shorten(&inner.catalog, id, failure, inner.means.host.clock.now()).await?;
        Ok(Retried { delivered, left: store::one(&inner.catalog, id)? })
    }

    /// Stops every action and stores where it stands.
    pub async fn close(&self) {
        let running = std::mem::take(&mut *self.inner.running.lock().await);
        stop_all(running.into_values().collect()).await;
        self.inner.end.send_replace(true);
        let thread = self.inner.thread.lock().take();
        let joined = tokio::task::spawn_blocking(move || thread.map(thread::JoinHandle::join));
        let _ = joined.await;
    }
}

/// The actions of a rule and their names: `rule/kind-n`, counted by kind, so that a webhook keeps its place when a publish is put before it.
fn names(rule: &ActionRule) -> impl Iterator<Item = (usize, String)> {
    let before = |index: usize| {
        let kind = rule.actions[index].kind();
        rule.actions[..index].iter().filter(|action| action.kind() == kind).count()
    };
    (0..rule.actions.len()).map(move |index| {
        (index, format!("{}/{}-{}", rule.name, rule.actions[index].kind(), before(index) + 1))
    })
}

/// Tells all to stop, then waits for each.
async fn stop_all(running: Vec<Running>) {
    for one in &running {
        one.stop.send_replace(true);
    }
    for one in running {
        if let Err(error) = one.task.await {
            tracing::error!(rule = one.rule.name, %error, "an action ended badly");
        }
    }
}

/// Delivers the messages of a letter in their order; the first failure.
async fn again(
    courier: &Arc<Courier>,
    letter: &DeadLetter,
    delivered: &mut u64,
) -> Result<Option<Failure>, RetryError> {
    let mut reader = courier.means.journal.reader(letter.from, Chains::Both);
    while reader.position() < letter.to {
        let Some(batch) = reader.try_next().map_err(RetryError::Journal)? else { break };
        let gap = batch.skipped.iter().find(|gap| gap.from <= letter.to && gap.to >= letter.from);
        if let Some(gap) = gap {
            let from = gap.from.max(letter.from);
            return Ok(Some(Failure::of(from, Reason::Trimmed, gap.reason.to_string())));
        }
        for record in batch.records.iter().filter(|record| record.seq <= letter.to) {
            if let Some(failure) = one_again(courier, record, delivered).await {
                return Ok(Some(failure));
            }
        }
    }
    Ok(None)
}

async fn one_again(courier: &Arc<Courier>, record: &Record, delivered: &mut u64) -> Option<Failure> {
    let account = &courier.means.account_id;
    match judge(&courier.rule, &courier.name, courier.action(), account, record, &mut 0) {
        Judged::NotForUs => None,
        Judged::Failed(failure) => Some(failure),
        Judged::Job(job) => match courier.deliver(vec![*job]).await.remove(&record.seq) {
            Some(Fate::Delivered) => {
                *delivered += 1;
                None
            }
            Some(Fate::Failed(failure)) => Some(failure),
            Some(Fate::Open) | None => {
                Some(Failure::of(record.seq, Reason::Held, "the journal takes no messages"))
            }
        },
    }
}
