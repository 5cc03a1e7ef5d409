//! The thread that reads the journal and feeds the rules.
//!
//! ```text
//! urgent chain ──┐ first
//!                ├─> decode ─> rules that listen to the topic ─> what they say ─> one transaction ─> bell
//! regular chain ─┘ in slices        └─> looks, when a sample came late ──────────────┘
//! every second: what fires because nothing came; every few seconds: states, then positions
//! ```
//!
//! Beside it: `clock` (what is due by the clock), `in_force` (other rules), `looks`, `saves`, `latency`.
//! Not here: conditions (`rules`), who hears of it (`machine`). The laws: what is urgent never waits behind more than a slice
//! of the backlog and one look; looks take no more time than judging while there is something to judge; a position is stored after
//! everything it covers; what cannot be stored is tried again before anything else is read.

mod clock;
mod in_force;
mod latency;
mod looks;
mod saves;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use catalog::WriteError;
use hashbrown::HashMap;
use journal::{Chains, Consumer, Reader, Record};
use model::route::Decoder;
use model::{DeviceName, Keep, Names, Timestamp};
use rules::{Presence, Rule, Transition};
use tokio::sync::{mpsc, oneshot, watch};

use super::book::{Arrived, Book, Said, Stored};
use super::keep::Marks;
use super::nodes::{Nodes, Understood};
use super::status::{RuleStatus, Status};
use super::told;
use super::{EvaluateParts, Shared};
use crate::store;
use clock::Due;
use latency::Latency;

pub(super) use in_force::put_in_force;
pub(super) use saves::restored;

/// Records of the backlog between two looks at what is urgent.
const SLICE: usize = 256;

/// How often it is seen what fires because nothing came.
const TICK: Duration = Duration::from_secs(1);

/// How often it is looked whether the columns have what an edge node told.
const NAP: Duration = Duration::from_millis(20);

/// How long is waited before what failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What is asked of the thread.
pub(super) enum Order {
    /// These rules are in force from now on.
    Rules(Vec<Arc<Rule>>, oneshot::Sender<()>),
    /// Behind the newest sample's age of which an episode is late.
    UrgentWithin(Duration),
}

pub(super) struct Work {
    parts: EvaluateParts,
    shared: Arc<Shared>,
    stopping: watch::Receiver<bool>,
    /// Told to stop before what was read had its effect: it is read again.
    is_cut_short: bool,
    book: Book,
    marks: Marks,
    presence: Presence,
    is_caught_up: bool,
    /// Where the journal ended at the start: from there on it has caught up.
    catch_up_to: u64,
    names: Names,
    nodes: Nodes,
    /// As far as a rule wants to know.
    connected: HashMap<DeviceName, Timestamp>,
    backlog: VecDeque<Record>,
    /// The highest `seq` that was judged: what a look reads has everything in it that the states have.
    seen: u64,
    /// Of what is known of devices: another one, and rules see them anew.
    revision: u64,
    clocks: (Timestamp, u64),
    latency: Latency,
    shares: Shares,
    last: Instants,
    due: Option<Due>,
    /// How long the columns were waited for in vain, the last time.
    columns_waited: Option<Duration>,
}

/// What judging and second looks took since there was nothing to judge, in microseconds.
#[derive(Default)]
struct Shares {
    judging: u64,
    looking: u64,
}

/// By the steady clock.
#[derive(Default)]
struct Instants {
    look: u64,
    tick: u64,
    save: u64,
    expect: Option<u64>,
    connected: Option<u64>,
}

impl Work {
    pub(super) fn new(
        parts: EvaluateParts,
        shared: Arc<Shared>,
        marks: Marks,
        book: Book,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let (now, mono) = (parts.host.clock.now(), parts.host.clock.mono_micros());
        let mut presence = Presence::default();
        for (from, to) in &marks.absences {
            presence.absent(*from, *to);
        }
        presence.absent(marks.alive_at.unwrap_or(now), now);
        let catch_up_to = parts.journal.durable_seq();
        let revision = parts.identity.revision();
        let nodes = Nodes::new(&parts.routes);
        Self {
            parts,
            shared,
            stopping,
            is_cut_short: false,
            book,
            marks,
            presence,
            is_caught_up: false,
            catch_up_to,
            names: Names::new(),
            nodes,
            connected: HashMap::new(),
            backlog: VecDeque::new(),
            seen: 0,
            revision,
            clocks: (now, mono),
            latency: Latency::new(),
            shares: Shares::default(),
            last: Instants::default(),
            due: None,
            columns_waited: None,
        }
    }

    /// Works until told to stop; then stores where it is.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>, consumer: Consumer) {
        let mut stopping = self.stopping.clone();
        let mut urgent = self.parts.journal.reader(self.marks.urgent + 1, Chains::Urgent);
        let mut regular = self.parts.journal.reader(self.marks.regular + 1, Chains::Regular);
        consumer.report(self.read());
        self.show();
        loop {
            if self.is_stopping() {
                break;
            }
            self.drain_urgent(&mut urgent).await;
            if self.backlog.is_empty() {
                match self.wait(&mut urgent, &mut regular, &mut orders, &mut stopping).await {
                    Waited::Stop => break,
                    Waited::Done => {}
                    Waited::Nothing => self.shares = Shares::default(),
                }
            }
            if !self.backlog.is_empty() {
                let began = self.mono();
                self.slice().await;
                self.shares.judging += self.mono().saturating_sub(began);
            }
            self.look_up_put_off().await;
            if self.backlog.is_empty() || self.shares.looking <= self.shares.judging {
                let began = self.mono();
                self.look_again(began).await;
                self.shares.looking += self.mono().saturating_sub(began);
            }
            self.see_where_it_is(&urgent, &regular);
            self.clock().await;
            self.save_if_due(&consumer).await;
        }
        self.save(&consumer).await;
    }

    /// Waits for the next thing to do, and does it, but for the backlog, which is set aside.
    async fn wait(
        &mut self,
        urgent: &mut Reader,
        regular: &mut Reader,
        orders: &mut mpsc::Receiver<Order>,
        stopping: &mut watch::Receiver<bool>,
    ) -> Waited {
        let has_looks = self.book.has_due_look(self.mono());
        // What waits for the columns is looked for soon.
        let nap = if self.nodes.first_put_off().is_some() { NAP } else { TICK };
        let nothing = async {
            // A look waits for nothing but for what has come.
            if !has_looks {
                tokio::time::sleep(nap).await;
            }
        };
        let next = tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => return Waited::Stop,
            order = orders.recv() => match order {
                Some(order) => Next::Order(order),
                None => return Waited::Stop,
            },
            batch = urgent.next() => Next::Urgent(batch),
            batch = regular.next() => Next::Regular(batch),
            () = nothing => Next::Nothing,
        };
        match next {
            Next::Order(Order::Rules(rules, done)) => {
                self.replace(rules).await;
                // Whoever asked may be gone.
                let _ = done.send(());
            }
            Next::Order(Order::UrgentWithin(urgent_within)) => {
                self.book.set_urgent_within(urgent_within);
            }
            Next::Urgent(Ok(batch)) => {
                skipped(&batch);
                self.take(&batch.records).await;
                self.marks.urgent = urgent.position();
            }
            Next::Regular(Ok(batch)) => {
                skipped(&batch);
                self.backlog.extend(batch.records.iter().cloned());
                if self.backlog.is_empty() {
                    self.marks.regular = regular.position();
                }
            }
            Next::Urgent(Err(error)) | Next::Regular(Err(error)) => {
                if matches!(error, journal::ReadError::Closed) {
                    return Waited::Stop;
                }
                tracing::error!(
                    error = model::in_one_line(&error),
                    "rules cannot read the journal; trying again"
                );
                tokio::time::sleep(PAUSE).await;
            }
            Next::Nothing => return Waited::Nothing,
        }
        Waited::Done
    }

    /// The steady clock, in microseconds.
    fn mono(&self) -> u64 {
        self.parts.host.clock.mono_micros()
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits for `what`, but not beyond the word to stop: then there is no answer.
    async fn unless_stopped<T>(&self, what: impl Future<Output = T>) -> Option<T> {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => None,
            answer = what => Some(answer),
        }
    }

    async fn drain_urgent(&mut self, urgent: &mut Reader) {
        while let Ok(Some(batch)) = urgent.try_next() {
            skipped(&batch);
            self.take(&batch.records).await;
            self.marks.urgent = urgent.position();
        }
    }

    /// A slice of the backlog.
    async fn slice(&mut self) {
        let some = SLICE.min(self.backlog.len());
        let records: Vec<Record> = self.backlog.drain(..some).collect();
        self.take(&records).await;
        if let Some(last) = records.last() {
            self.marks.regular = self.marks.regular.max(last.seq);
        }
    }

    /// Judges records, and stores what the rules say of them.
    async fn take(&mut self, records: &[Record]) {
        let revision = self.parts.identity.revision();
        if revision != self.revision {
            self.revision = revision;
            self.book.forget_subjects();
        }
        let mut said = Vec::new();
        let mut heard = Vec::with_capacity(records.len());
        for record in records {
            self.seen = self.seen.max(record.seq);
            if self.judge(record, &mut said).await {
                heard.push((record.message.received_at, record.message.lane.is_urgent()));
            }
        }
        self.say(said).await;
        let now = self.parts.host.clock.now();
        for (received_at, is_urgent) in heard {
            self.latency.record(now.micros_since(received_at), is_urgent);
        }
    }

    /// Hands a message to the rules that listen to its topic; whether there are any.
    async fn judge(&mut self, record: &Record, said: &mut Vec<Said>) -> bool {
        let message = &record.message;
        if message.to.is_some() {
            return false;
        }
        let Some(route) = self.parts.routes.find(&message.topic) else { return false };
        if route.keep() != Keep::All {
            return false;
        }
        let places = self.book.of(&message.topic);
        let is_learnt = self.nodes.is_learning() && route.decoder() == Decoder::Sparkplug;
        if places.is_empty() && !is_learnt {
            return false;
        }
        // What cannot be decoded is counted and shown by `series`.
        let Ok(decoded) = route.decode(message, &mut self.names) else { return false };
        let (received_at, seq) = (message.received_at, record.seq);
        let is_again = seq <= self.catch_up_to;
        let samples = match decoded.sparkplug {
            None => decoded.samples,
            Some(heard) => match self.nodes.take(*heard, seq, &self.parts).await {
                Understood::Said(samples) => samples,
                Understood::Stored(devices, times) => {
                    self.look_up(&places, (devices, times), (received_at, seq), said);
                    return !places.is_empty();
                }
                Understood::Later(heard) => {
                    self.nodes.put_off(message.topic.clone(), *heard, received_at, seq);
                    return !places.is_empty();
                }
            },
        };
        for sample in &samples {
            let arrived = Arrived { sample, received_at, seq, is_again };
            self.book.take(&places, &self.parts.identity, arrived, said);
        }
        !places.is_empty()
    }

    fn look_up(
        &mut self,
        places: &[usize],
        (devices, times): (Vec<DeviceName>, [Timestamp; 2]),
        (received_at, seq): (Timestamp, u64),
        said: &mut Vec<Said>,
    ) {
        let is_again = seq <= self.catch_up_to;
        for device in devices {
            let stored = Stored { device, times, received_at, seq, is_again };
            self.book.look_up(places, &self.parts.identity, &stored, said);
        }
    }

    /// Messages of edge nodes that waited for the columns.
    async fn look_up_put_off(&mut self) {
        let mut said = Vec::new();
        while let Some((topic, understood, received)) = self.nodes.next_put_off(&self.parts.series) {
            let places = self.book.of(&topic);
            self.look_up(&places, understood, received, &mut said);
        }
        self.say(said).await;
    }

    /// Stores what was said; tries until it is stored.
    async fn say(&mut self, said: Vec<Said>) {
        if said.is_empty() {
            return;
        }
        let transitions: Vec<store::Transition> = said.iter().map(|said| self.told(said)).collect();
        self.store(transitions).await;
    }

    fn told(&self, said: &Said) -> store::Transition {
        let rule = &self.book.entries[said.rule].rule;
        let episode = |episode: &rules::Episode| {
            told::episode(
                &self.parts.identity,
                rule,
                &said.key,
                episode,
                said.learnt,
                self.book.urgent_within(),
            )
        };
        match &said.transition {
            Transition::Fired(fired) if said.is_fresh_again => store::Transition::Changed(episode(fired)),
            Transition::Fired(fired) => store::Transition::Fired(episode(fired)),
            Transition::Resolved(resolved) => {
                // Whether it came late was decided when it was learnt of, while it held: this says nothing about it.
                store::Transition::Resolved(crate::Episode { late: true, ..episode(resolved) })
            }
        }
    }

    async fn store(&mut self, transitions: Vec<store::Transition>) {
        if transitions.is_empty() {
            return;
        }
        let (host, count) = (self.parts.host.clone(), transitions.len());
        let stored = self.write("alerts", move |tx| {
            let now = host.clock.now();
            transitions
                .iter()
                .try_for_each(|transition| store::transition(tx, &host, now, transition).map(drop))
        });
        if stored.await {
            metrics::counter!("godwit_rules_transitions_total").increment(count as u64);
            self.parts.wake.wake();
        }
    }

    /// Writes until it is written. `false` when everything stops before that.
    async fn write<F>(&mut self, what: &str, change: F) -> bool
    where
        F: Fn(&catalog::Transaction<'_>) -> Result<(), catalog::SqlError> + Send + Sync + 'static,
    {
        let change = Arc::new(change);
        loop {
            let given = Arc::clone(&change);
            match self.parts.catalog.write(move |tx| Ok(given(tx)?)).await {
                Ok(()) => return true,
                Err(WriteError::Closed) => break,
                Err(error) => tracing::error!(
                    error = model::in_one_line(&error),
                    "{what} cannot be stored; trying again"
                ),
            }
            if self.unless_stopped(tokio::time::sleep(PAUSE)).await.is_none() {
                break;
            }
        }
        self.is_cut_short = true;
        false
    }

    /// Up to here everything is read and judged, but for second looks that wait.
    fn read(&self) -> u64 {
        self.marks.urgent.min(self.marks.regular)
    }

    /// Before this, second looks are made too: what made the first that waits necessary must be read again after a crash.
    fn looked(&self) -> u64 {
        let first = self.book.looked_before().into_iter().chain(self.nodes.first_put_off()).min();
        first.map_or(u64::MAX, |first| first.saturating_sub(1))
    }

    /// Whether everything that was there at the start has been read.
    fn see_where_it_is(&mut self, urgent: &Reader, regular: &Reader) {
        if !self.backlog.is_empty() {
            return;
        }
        // What a reader has given is judged; it may have passed over records of the other chain since.
        self.marks.urgent = self.marks.urgent.max(urgent.position());
        self.marks.regular = self.marks.regular.max(regular.position());
        let judged = self.read().min(self.looked());
        let is_new = self.shared.judged.send_if_modified(|known| std::mem::replace(known, judged) != judged);
        if is_new {
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
            metrics::gauge!("godwit_rules_judged_seq").set(judged as f64);
        }
        // A look that waits takes nothing back of what was heard.
        if !self.is_caught_up && self.read() >= self.catch_up_to {
            self.is_caught_up = true;
            self.presence.caught_up(self.parts.host.clock.now());
        }
    }

    /// Shows how the rules stand.
    fn show(&self) {
        let rules = self.book.entries.iter().map(RuleStatus::of).collect();
        let status = Status { rules, backlog: self.backlog.len(), is_caught_up: self.is_caught_up };
        *self.shared.status.lock() = status;
    }
}

enum Waited {
    Done,
    /// Nothing was there to be done.
    Nothing,
    Stop,
}

enum Next {
    Order(Order),
    Urgent(Result<journal::Batch, journal::ReadError>),
    Regular(Result<journal::Batch, journal::ReadError>),
    Nothing,
}

fn skipped(batch: &journal::Batch) {
    for skipped in &batch.skipped {
        tracing::warn!(from = skipped.from, to = skipped.to, reason = ?skipped.reason, "records are lost to the rules");
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
