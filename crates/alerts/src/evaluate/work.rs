//! The thread that reads the journal and feeds the rules.
//!
//! ```text
//! urgent chain ──┐ first
//!                ├─> decode ─> rules that listen to the topic ─> what they say ─> one transaction ─> bell
//! regular chain ─┘ in slices        └─> looks, when a sample came late ──────────────┘
//! every second: what fires because nothing came; every few seconds: states, then positions
//! ```
//!
//! Not here: conditions (`rules`), who hears of it (`machine`). The laws: what is urgent never waits behind more than a slice
//! of the backlog and one look; looks take no more time than judging while there is something to judge; a position is stored after everything it covers; what cannot be stored is tried again before anything
//! else is read.

mod latency;
mod looks;
mod saves;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use catalog::WriteError;
use hashbrown::HashMap;
use host::Host;
use journal::{Chains, Consumer, Reader, Record};
use model::route::Decoder;
use model::{DeviceName, Keep, Names, Timestamp};
use rules::{Presence, Rule, Transition};
use tokio::sync::{mpsc, oneshot, watch};

use super::book::{Arrived, Book, Clock, Entry, Said, Stored};
use super::keep::{self, Marks};
use super::nodes::{Nodes, Understood};
use super::status::{RuleStatus, Status};
use super::told;
use super::{EvaluateParts, Shared};
use crate::{EpisodeId, store};
use latency::Latency;

pub(super) use saves::restored;

/// Records of the backlog between two looks at what is urgent.
const SLICE: usize = 256;

/// How often it is seen what fires because nothing came.
const TICK: Duration = Duration::from_secs(1);

/// How often it is looked whether the columns have what an edge node told.
const NAP: Duration = Duration::from_millis(20);

/// How long is waited before what failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// A step of the wall clock against the steady one from which on it was set.
const CLOCK_STEP: i64 = 30 * Timestamp::SECOND;

/// How often devices that were never heard are asked for.
const EXPECT_EVERY: Duration = Duration::from_secs(60);

/// How often it is asked who is connected.
const CONNECTED_EVERY: Duration = Duration::from_secs(10);

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

/// A moment at which it is to be seen what did not come.
struct Due {
    /// What was durable then.
    seq: u64,
    at: Timestamp,
    mono: u64,
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
        consumer.report(self.marks.urgent.min(self.marks.regular));
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

    /// What is due by the clock.
    async fn clock(&mut self) {
        let mono = self.parts.host.clock.mono_micros();
        let now = self.parts.host.clock.now();
        self.see_clock_steps(now, mono);
        if mono.saturating_sub(self.last.look) >= micros(TICK) {
            self.last.look = mono;
            self.show();
        }
        // Before everything that was durable by then is read nobody can say that nothing came. It is said of the moment when it was
        // due, however long the reading takes: what comes meanwhile does not put it off, and what waits unread is no silence.
        let is_due = mono.saturating_sub(self.last.tick) >= micros(TICK);
        if !is_due || !self.is_caught_up {
            return;
        }
        self.end_what_was_removed().await;
        let until = self.parts.journal.durable_seq();
        let due = self.due.get_or_insert(Due { seq: until, at: now, mono });
        if self.marks.urgent.min(self.marks.regular) < due.seq {
            return;
        }
        let read_until = due.at.min(now);
        self.last.tick = due.mono;
        self.due = None;
        if self.last.expect.is_none_or(|last| mono.saturating_sub(last) >= micros(EXPECT_EVERY)) {
            self.last.expect = Some(mono);
            self.expect();
        }
        self.see_who_is_connected(mono);
        let clock = Clock { presence: &self.presence, connected: &self.connected, read_until, now };
        let mut said = Vec::new();
        for (at, entry) in self.book.entries.iter_mut().enumerate() {
            entry.tick(at, clock, &mut said);
        }
        self.say(said).await;
    }

    /// What fires of devices that were removed is over: nobody will hear of them again. It ends as it was told.
    async fn end_what_was_removed(&mut self) {
        let gone = self.book.forget_removed(&self.parts.identity);
        if gone.is_empty() {
            return;
        }
        let gone: Vec<(String, u64, String)> = gone
            .into_iter()
            .map(|(rule, key)| {
                let key = serde_json::to_string(&told::parts(&key)).expect("texts are JSON");
                (rule.name().to_owned(), rule.version().0, key)
            })
            .collect();
        let host = self.parts.host.clone();
        let change = move |tx: &catalog::Transaction<'_>| {
            let now = host.clock.now();
            for (rule, version, key) in &gone {
                for (id, fired_at) in keep::firing_of(tx, (rule, *version, key))? {
                    end(tx, &host, id, now.max(fired_at), now)?;
                }
            }
            Ok(())
        };
        if self.write("the end of what fired of removed devices", change).await {
            self.parts.wake.wake();
        }
    }

    fn see_who_is_connected(&mut self, mono: u64) {
        let is_due =
            self.last.connected.is_none_or(|last| mono.saturating_sub(last) >= micros(CONNECTED_EVERY));
        if is_due && self.book.entries.iter().any(|entry| entry.rule.needs_connection()) {
            self.last.connected = Some(mono);
            self.connected = (self.parts.connected)();
            // A connection from before the clock was set back tells no time.
            let ahead = self.parts.host.clock.now().plus_micros(CLOCK_STEP);
            for since in self.connected.values_mut().filter(|since| **since > ahead) {
                *since = Timestamp::from_micros(i64::MIN);
            }
        }
    }

    /// A wall clock that was set says nothing about how long a device was silent.
    fn see_clock_steps(&mut self, now: Timestamp, mono: u64) {
        let (then, mono_then) = self.clocks;
        let passed = i64::try_from(mono.saturating_sub(mono_then)).unwrap_or(i64::MAX);
        let step = now.micros_since(then).saturating_sub(passed);
        if step.abs() >= CLOCK_STEP {
            tracing::warn!(
                seconds = step / Timestamp::SECOND,
                "the server's clock was set: silence is counted anew"
            );
            let (from, to) = if step > 0 { (then.plus_micros(passed), now) } else { (now, now) };
            self.presence.absent(from, to);
            self.last.connected = None;
            if self.is_caught_up {
                self.presence.caught_up(now);
            }
        }
        self.clocks = (now, mono);
    }

    /// Devices that have never been heard.
    fn expect(&mut self) {
        if !self.book.entries.iter().any(|entry| entry.rule.absent_for().is_some()) {
            return;
        }
        let devices = match self.parts.identity.all_devices() {
            Ok(devices) => devices,
            Err(error) => {
                tracing::warn!(
                    error = model::in_one_line(&error),
                    "devices cannot be read; those never heard are not missed yet"
                );
                return;
            }
        };
        for device in devices.iter().filter(|device| device.is_added && device.removal.is_none()) {
            for entry in &mut self.book.entries {
                entry.expect(&self.parts.identity, &device.name, device.created);
            }
        }
    }

    /// Puts other rules in force; states of rules whose text is the same stay.
    async fn replace(&mut self, rules: Vec<Arc<Rule>>) {
        let old = std::mem::take(&mut self.book.entries);
        let mut kept: HashMap<(String, u64), Entry> = old
            .into_iter()
            .map(|entry| ((entry.rule.name().to_owned(), entry.rule.version().0), entry))
            .collect();
        let mut entries = Vec::with_capacity(rules.len());
        for rule in rules {
            match kept.remove(&(rule.name().to_owned(), rule.version().0)) {
                Some(entry) => entries.push(Entry { rule, ..entry }),
                None => entries.push(Entry::new(rule, true)),
            }
        }
        self.book.put(entries);
        let change = put_in_force(&self.book, self.parts.host.clone());
        if self.write("the rules in force", change).await {
            self.parts.wake.wake();
        }
        self.last.expect = None;
        self.show();
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

/// Notes which versions are in force, ends the episodes of others, and forgets their states.
pub(super) fn put_in_force(
    book: &Book,
    host: Host,
) -> impl Fn(&catalog::Transaction<'_>) -> Result<(), catalog::SqlError> + Send + Sync + 'static {
    let in_force: Vec<(String, u64, String, String)> = book
        .entries
        .iter()
        .map(|entry| {
            let rule = &entry.rule;
            let (file, text) = (rule.file().to_owned(), rule.text().to_owned());
            (rule.name().to_owned(), rule.version().0, file, text)
        })
        .collect();
    move |tx| {
        let now = host.clock.now();
        keep::note_versions(tx, &in_force, now)?;
        end_others(tx, &host, &in_force, now)
    }
}

/// Resolves an episode as it was told, whatever is known of its device by now.
fn end(
    tx: &catalog::Transaction<'_>,
    host: &Host,
    id: EpisodeId,
    resolved_at: Timestamp,
    now: Timestamp,
) -> Result<(), catalog::SqlError> {
    if let Some(stored) = store::episodes::one(tx, host, id)? {
        let episode = crate::Episode { resolved_at: Some(resolved_at), ..stored.episode };
        store::transition(tx, host, now, &store::Transition::Resolved(episode))?;
    }
    Ok(())
}

/// Resolves what is firing by a version that is not in force: nobody will say any more that it is over.
fn end_others(
    tx: &catalog::Transaction<'_>,
    host: &Host,
    in_force: &[(String, u64, String, String)],
    now: Timestamp,
) -> Result<(), catalog::SqlError> {
    let is_in_force = |rule: &str, version: u64| {
        in_force.iter().any(|(name, number, ..)| name == rule && *number == version)
    };
    for (id, rule, version, fired_at) in keep::firing_ids(tx)? {
        if is_in_force(&rule, version) {
            continue;
        }
        end(tx, host, id, now.max(fired_at), now)?;
    }
    for (rule, version) in keep::kept_versions(tx)? {
        if !is_in_force(&rule, version) {
            keep::forget(tx, &rule, version)?;
        }
    }
    Ok(())
}
