//! Delivering jobs: attempt after attempt, until a receiver takes them, refuses them, or has not taken them for too long.
//!
//! Not here: which messages are jobs (`job`), where the action then stands (`sink`). The laws: jobs of one partition (a device is always in
//! the same) go one after the other, partitions side by side; a word to stop ends every wait, and so does the first job that was held
//! too long: what is given up is told at once, not when the youngest beside it has had its time too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use host::Host;
use journal::{AppendError, Journal};
use model::route::Routes;
use model::{Kind, Message, Origin};
use parking_lot::Mutex;
use rules::{Action, ActionRule, Secret};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Settings;
use crate::job::{Facts, Job, Post, Request, error_request};
use crate::letter::{Failure, Reason};
use crate::pace;
use crate::status::Gauge;
use crate::webhook::{self, Attempt};

/// Attempts to tell the error action by HTTP: it must not hold up what it is told of.
const ERROR_ATTEMPTS_MAX: u32 = 3;

/// What every action is lent.
pub(crate) struct Means {
    pub(crate) journal: Journal,
    pub(crate) host: Host,
    pub(crate) routes: Arc<Routes>,
    pub(crate) account_id: String,
    pub(crate) settings: Settings,
    pub(crate) http: reqwest::Client,
}

/// An action at work.
pub(crate) struct Courier {
    pub(crate) means: Arc<Means>,
    pub(crate) rule: Arc<ActionRule>,
    /// Which of the rule's actions.
    pub(crate) index: usize,
    /// `rule/kind-n`.
    pub(crate) name: String,
    pub(crate) gauge: Arc<Gauge>,
    pub(crate) stop: watch::Receiver<bool>,
    /// How often an attempt may meet something that will pass: `None` is until `hold` is over.
    pub(crate) attempts_max: Option<u32>,
    /// Of jobs that wait for the next delivery, by `seq`.
    pub(crate) paces: Mutex<BTreeMap<u64, Pace>>,
}

/// Where the attempts of a job stand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    attempts: u32,
    /// The moment of the steady clock of the next one, in microseconds.
    not_before: u64,
}

/// What became of a job.
#[derive(Debug)]
pub(crate) enum Fate {
    Delivered,
    Failed(Failure),
    /// Told to stop before it was known.
    Open,
}

impl Courier {
    pub(crate) fn action(&self) -> &Action {
        &self.rule.actions[self.index]
    }

    fn secret(action: &Action) -> Option<&Secret> {
        match action {
            Action::Webhook(webhook) => webhook.secret.as_ref(),
            Action::Publish(_) => None,
        }
    }

    /// Delivers jobs; their fates by `seq`.
    pub(crate) async fn deliver(self: &Arc<Self>, jobs: Vec<Job>) -> BTreeMap<u64, Fate> {
        let mut fates = BTreeMap::new();
        let mut chains: BTreeMap<u8, Vec<Job>> = BTreeMap::new();
        let mut messages = Vec::new();
        for job in jobs {
            match job.request {
                Request::Publish(_) => messages.push(job),
                Request::Post(_) => chains.entry(job.message.origin.partition).or_default().push(job),
            }
        }
        self.append_all(messages, &mut fates).await;
        let mut set = JoinSet::new();
        let over = watch::Sender::new(false);
        for chain in chains.into_values() {
            let (courier, over) = (Arc::clone(self), over.clone());
            set.spawn(async move { courier.post_all(chain, &over).await });
        }
        while let Some(joined) = set.join_next().await {
            // A chain that panicked is one whose jobs nobody knows of: they stay open and are tried again.
            fates.extend(joined.unwrap_or_default());
        }
        for fate in fates.values() {
            match fate {
                Fate::Delivered => Gauge::count(&self.gauge.delivered, 1),
                Fate::Failed(_) => Gauge::count(&self.gauge.failed, 1),
                Fate::Open => {}
            }
        }
        fates
    }

    /// Posts the jobs of one partition, one after the other, until one is open or was held too long: those behind it are for the next
    /// delivery. `over` is said by who was held too long, and heard by all.
    async fn post_all(&self, chain: Vec<Job>, over: &watch::Sender<bool>) -> Vec<(u64, Fate)> {
        let mut fates = Vec::with_capacity(chain.len());
        for job in chain {
            let Request::Post(post) = &job.request else { continue };
            let fate = self.post(post, &job, over).await;
            // What follows it must not overtake it; nor is what is as old tried once more each, before anybody is told.
            let ends = match &fate {
                Fate::Open => true,
                Fate::Failed(failure) => failure.reason == Reason::Held && self.attempts_max.is_none(),
                Fate::Delivered => false,
            };
            fates.push((job.seq, fate));
            if ends {
                break;
            }
        }
        fates
    }

    async fn post(&self, post: &Post, job: &Job, over: &watch::Sender<bool>) -> Fate {
        let secret = Self::secret(self.action());
        let Pace { mut attempts, not_before } = self.paces.lock().remove(&job.seq).unwrap_or_default();
        let rest = not_before.saturating_sub(self.means.host.clock.mono_micros());
        if !self.is_held_too_long(&job.message)
            && !self.rest(job.seq, attempts, Duration::from_micros(rest), over).await
        {
            return Fate::Open;
        }
        loop {
            if self.is_stopping() {
                return Fate::Open;
            }
            attempts = attempts.saturating_add(1);
            let begun = self.means.host.clock.mono_micros();
            let sent =
                webhook::send(&self.means.http, &self.means.host, post, &job.message.topic, secret).await;
            let took = self.means.host.clock.mono_micros().saturating_sub(begun);
            metrics::histogram!("godwit_sinks_attempt_seconds", "sink" => self.name.clone())
                .record(took as f64 / 1e6);
            match sent {
                Attempt::Delivered => {
                    self.recovered();
                    return Fate::Delivered;
                }
                Attempt::Never { reason, detail } => {
                    self.recovered();
                    return Fate::Failed(Failure::of(job.seq, reason, detail));
                }
                Attempt::Later { reason, asked } => {
                    self.met(&reason);
                    let is_last = match self.attempts_max {
                        Some(most) => attempts >= most,
                        None => self.is_held_too_long(&job.message),
                    };
                    if is_last {
                        over.send_replace(self.attempts_max.is_none());
                        return Fate::Failed(Failure::of(job.seq, Reason::Held, reason));
                    }
                    let wait = pace::wait(&self.means.settings, attempts, &*self.means.host.random);
                    if !self.rest(job.seq, attempts, wait.max(asked.unwrap_or_default()), over).await {
                        return Fate::Open;
                    }
                }
            }
        }
    }

    /// Waits before the next attempt. `false` when the delivery is over before that: the next one goes on with the wait.
    async fn rest(&self, seq: u64, attempts: u32, wait: Duration, over: &watch::Sender<bool>) -> bool {
        if wait.is_zero() {
            return true;
        }
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        let not_before = self.means.host.clock.mono_micros().saturating_add(micros);
        let mut heard = over.subscribe();
        tokio::select! {
            biased;
            _ = heard.wait_for(|over| *over) => {
                self.paces.lock().insert(seq, Pace { attempts, not_before });
                false
            }
            () = self.pause(wait) => true,
        }
    }

    /// Appends messages together, in their order.
    async fn append_all(&self, jobs: Vec<Job>, fates: &mut BTreeMap<u64, Fate>) {
        if jobs.is_empty() {
            return;
        }
        let made = jobs.iter().filter_map(|job| match &job.request {
            Request::Publish(message) => Some(self.ready(message)),
            Request::Post(_) => None,
        });
        let batch: Vec<Message> = made.collect();
        let mut attempts = 0_u32;
        loop {
            let appended = self.means.journal.append(batch.clone()).await;
            let error = match appended {
                Ok(_) => {
                    self.recovered();
                    fates.extend(jobs.iter().map(|job| (job.seq, Fate::Delivered)));
                    return;
                }
                Err(error) => error,
            };
            if matches!(error, AppendError::TooLarge { .. }) {
                // One of them is; the others are not to suffer for it.
                if let [job] = &jobs[..] {
                    let failure = Failure::of(job.seq, Reason::TooLarge, error.to_string());
                    fates.insert(job.seq, Fate::Failed(failure));
                    return;
                }
                for job in jobs {
                    Box::pin(self.append_all(vec![job], fates)).await;
                }
                return;
            }
            attempts = attempts.saturating_add(1);
            self.met(&error.to_string());
            let is_over = error.kind() != Kind::TooMuch || self.is_stopping() || self.attempts_max.is_some();
            if is_over {
                // A journal that takes nothing more is a server that must be looked at: nothing is given up.
                fates.extend(jobs.iter().map(|job| (job.seq, Fate::Open)));
                return;
            }
            self.pause(pace::wait(&self.means.settings, attempts, &*self.means.host.random)).await;
        }
    }

    /// The message as it is appended now.
    fn ready(&self, message: &Message) -> Message {
        let lane = self.means.routes.find(&message.topic).map_or_else(Default::default, model::Route::lane);
        let origin = Origin { boot: self.means.host.boot, ..(*message.origin).clone() };
        Message {
            lane,
            received_at: self.means.host.clock.now(),
            received_mono: self.means.host.clock.mono_micros(),
            origin: Arc::new(origin),
            ..message.clone()
        }
    }

    /// Tells the error action of a failure, once or a few times; what it does not take is counted.
    pub(crate) async fn tell(&self, message: &Message, failure: &Failure) {
        let Some(action) = &self.rule.error_action else { return };
        let record = journal::Record { seq: failure.from, message: message.clone(), id_reused: false };
        let facts = Facts::of(&self.rule.name, &record);
        let context = facts.context(message, &self.means.account_id);
        let told = match error_request(
            &self.rule.name,
            self.action(),
            action,
            &self.name,
            &record,
            &context,
            &facts,
            failure,
        ) {
            Ok(Request::Publish(error)) => self.means.journal.append(vec![self.ready(&error)]).await.is_ok(),
            Ok(Request::Post(post)) => self.post_error(&post, message, Self::secret(action)).await,
            Err(detail) => {
                tracing::warn!(sink = self.name, detail, "the error action cannot be filled in");
                false
            }
        };
        if !told {
            metrics::counter!("godwit_sinks_errors_untold_total", "sink" => self.name.clone()).increment(1);
        }
    }

    async fn post_error(&self, post: &Post, message: &Message, secret: Option<&Secret>) -> bool {
        for attempt in 1..=ERROR_ATTEMPTS_MAX {
            match webhook::send(&self.means.http, &self.means.host, post, &message.topic, secret).await {
                Attempt::Delivered => return true,
                Attempt::Never { .. } => return false,
                Attempt::Later { .. } if self.is_stopping() => return false,
                Attempt::Later { .. } => {
                    self.pause(pace::wait(&self.means.settings, attempt, &*self.means.host.random)).await;
                }
            }
        }
        false
    }

    fn is_held_too_long(&self, message: &Message) -> bool {
        let age = self.means.host.clock.now().micros_since(message.received_at);
        Duration::from_micros(u64::try_from(age).unwrap_or(0)) >= self.means.settings.hold
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    async fn pause(&self, wait: Duration) {
        let mut stop = self.stop.clone();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    fn met(&self, reason: &str) {
        if self.gauge.trouble().is_none() {
            tracing::warn!(sink = self.name, reason, "a receiver takes no messages; trying again");
        }
        self.gauge.met(reason, self.means.host.clock.now());
        metrics::counter!("godwit_sinks_retries_total", "sink" => self.name.clone()).increment(1);
    }

    fn recovered(&self) {
        if let Some(trouble) = self.gauge.clear() {
            tracing::info!(sink = self.name, attempts = trouble.attempts, "the receiver answers again");
        }
    }
}
