//! Messages of the journal once more, through today's routes.
//!
//! ```text
//! journal, since … until ─→ decode with today's routes ─→ compare with what is stored ─→ memory ─→ column files
//! ```
//!
//! Runs on a thread of its own, of low priority, one at a time; what comes in meanwhile goes its usual way. What is judged
//! by what came before (clocks, cached repeats, births of edge nodes) is judged as it is when messages come in
//! (`learnt`), from a clean start: data by alias are understood from the first birth of the range on. Not here: the
//! routes. The laws:
//!
//! - What comes out belongs to the moment of its message: it takes the place of a reading whose message was received at the
//!   same time or earlier, never of one that came later.
//! - To do it again changes nothing. After a crash in its midst it is simply asked for again.
//! - What is stored by it has the generation of the record that is appended to the journal behind it: above everything it
//!   was compared with, and below everything that comes after.
//!
//! What it does not do: take readings away that these messages made under other names.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use journal::{Chains, Journal, Record};
use model::{
    ChannelName, Channels, Decoded, DeviceName, Flags, Keep, Lane, Message, Names, Origin, Reading, Sample,
    Timestamp, TopicFilter, TopicName, Value, unrouted,
};

use crate::fold::{Effect, Live};
use crate::latest::Latest;
use crate::learnt::{Bounds, Learnt};
use crate::query::parts;
use crate::schema;
use crate::service::{Inner, Series};
use crate::store::chain;
use crate::table::Wanted;
use crate::tally::Tally;

/// Readings that are compared at once: each comparison reads the column files of their times.
const READINGS_AT_ONCE: usize = 200_000;
/// Most reasons of undecodable messages that are told for a route.
const REASONS_MAX: usize = 20;
/// The topic of the record behind what was stored: for nobody, and so seen by nobody.
const MARK_TOPIC: &str = "$SYS/godwit/reprocessed";

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reprocess {
    /// Messages received at this time or later.
    pub since: Timestamp,
    /// Messages received before this time; default: all that are there when it begins.
    pub until: Option<Timestamp>,
    /// Messages on these topics alone.
    pub filter: Option<TopicFilter>,
    /// Only count.
    pub dry_run: bool,
}

/// Why it does not begin.
#[derive(Debug, thiserror::Error)]
pub enum ReprocessError {
    /// One is under way.
    #[error("a reprocessing is under way: {done} of {all} messages")]
    Busy {
        /// How far it is.
        done: u64,
        /// How far it goes.
        all: u64,
    },
    /// The server is stopping, or there is no journal.
    #[error("the server is stopping")]
    Closed,
    /// No thread for it.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

impl ReprocessError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> model::Kind {
        match self {
            Self::Busy { .. } => model::Kind::Conflict,
            Self::Closed => model::Kind::Unavailable,
            Self::Thread(_) => model::Kind::Broken,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Busy { .. } => Some("wait for it: `godwit reprocess --watch` shows how far it is"),
            Self::Closed | Self::Thread(_) => None,
        }
    }
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReprocessState {
    /// It goes on.
    #[default]
    Running,
    /// Everything is done, and on disk.
    Done,
    /// It broke off: what was done so far stays.
    Failed,
}

/// How a reprocessing stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reprocessing {
    /// Whether it only counts.
    pub dry_run: bool,
    /// Whether it goes on.
    pub state: ReprocessState,
    /// Why it broke off.
    pub error: Option<String>,
    /// The `seq` it began with.
    pub from: u64,
    /// The `seq` it came to.
    pub at: u64,
    /// The `seq` it ends with.
    pub to: u64,
    /// Messages of the range and the filter.
    pub messages: u64,
    /// Messages that no route matches today either.
    pub unrouted: u64,
    /// Records that the journal could not hand out.
    pub lost: u64,
    /// By the filters of the routes, in their order.
    pub routes: Vec<RouteCount>,
}

/// What came of the messages of one route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteCount {
    /// The route's filter.
    pub filter: String,
    /// Its messages.
    pub messages: u64,
    /// Readings they make.
    pub readings: u64,
    /// Of these, how many were not there.
    pub new: u64,
    /// Of these, how many took the place of another value.
    pub replaced: u64,
    /// Of these, how many were there already.
    pub repeated: u64,
    /// Of these, how many gave way to a value that came later.
    pub outdated: u64,
    /// Of these, how many are of more channels than their device may have.
    pub beyond: u64,
    /// Messages that cannot be decoded.
    pub undecodable: u64,
    /// Why, with how many and an example.
    pub reasons: Vec<(String, u64, String)>,
}

impl Series {
    /// Runs messages through today's routes. Returns at once; [`Self::reprocessing`] tells how far it is.
    ///
    /// # Errors
    /// [`ReprocessError`]; nothing has begun then.
    pub fn reprocess(&self, what: Reprocess) -> Result<(), ReprocessError> {
        let inner = &self.inner;
        let Some(journal) = inner.journal.clone().filter(|_| !inner.is_stopping()) else {
            return Err(ReprocessError::Closed);
        };
        let mut current = inner.reprocessing.lock();
        if let Some(running) = current.as_ref().filter(|running| running.state == ReprocessState::Running) {
            let (done, all) =
                (running.at.saturating_sub(running.from), running.to.saturating_sub(running.from));
            return Err(ReprocessError::Busy { done, all });
        }
        let from = journal.seq_at(what.since).max(journal.first_seq()).max(1);
        let routes = inner.store.routes().iter();
        let status = Reprocessing {
            dry_run: what.dry_run,
            from,
            at: from,
            to: journal.durable_seq(),
            routes: routes
                .map(|route| RouteCount { filter: route.filter().to_string(), ..RouteCount::default() })
                .collect(),
            ..Reprocessing::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(ReprocessError::Thread)?;
        let series = self.clone();
        let work = Work::new(what, journal, status.clone());
        let thread = std::thread::Builder::new().name("series-reprocess".to_owned());
        let thread = thread.spawn(move || {
            host::lower_priority();
            runtime.block_on(work.run(&series));
        });
        *current = Some(status);
        inner.threads.lock().push(thread.map_err(ReprocessError::Thread)?);
        Ok(())
    }

    /// How the reprocessing that runs, or ran last, stands.
    #[must_use]
    pub fn reprocessing(&self) -> Option<Reprocessing> {
        self.inner.reprocessing.lock().clone()
    }
}

/// A reading on its way back.
struct Again {
    route: usize,
    device: DeviceName,
    channel: ChannelName,
    time: Timestamp,
    value: Value,
    flags: Flags,
    topic: TopicName,
    received_at: Timestamp,
    verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    New,
    Replaced,
    Repeated,
    Outdated,
    Beyond,
}

impl Again {
    fn received_ms(&self) -> i64 {
        self.received_at.micros().div_euclid(1_000)
    }

    fn says(&self, value: Option<f64>, text: Option<&str>) -> bool {
        let own = self.value.number().map(|number| (number + 0.0).to_bits());
        own == value.map(f64::to_bits) && self.value.text().map(|text| &**text) == text
    }
}

/// By device, channel and time: places in the readings at hand.
type Identities = HashMap<String, HashMap<String, HashMap<i64, Vec<usize>>>>;

struct Work {
    what: Reprocess,
    journal: Journal,
    status: Reprocessing,
    names: Names,
    /// What is learnt on this way of senders, and the newest of what they said.
    learnt: Learnt,
    latest: Latest,
    /// What is noticed on this way: it was counted when the messages came.
    noticed: Tally,
    again: Vec<Again>,
    /// Patterns under which messages without a route are counted, and how many of them have one now.
    to_life: BTreeMap<String, u64>,
    /// Whether something was put into memory that no later record stands behind.
    is_unmarked: bool,
}

impl Work {
    fn new(what: Reprocess, journal: Journal, status: Reprocessing) -> Self {
        Self {
            what,
            journal,
            status,
            names: Names::new(),
            learnt: Learnt::default(),
            latest: Latest::default(),
            noticed: Tally::default(),
            again: Vec::new(),
            to_life: BTreeMap::new(),
            is_unmarked: false,
        }
    }

    async fn run(mut self, series: &Series) {
        // What is before the end has had its usual effect first.
        let mut stopping = series.inner.stopping();
        let outcome = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => Err("the server stopped".to_owned()),
            outcome = self.all(series) => outcome,
        };
        self.status.state = match outcome {
            Ok(()) => ReprocessState::Done,
            Err(error) => {
                tracing::warn!(error, "reprocessing broke off; to ask for it again is harmless");
                self.status.error = Some(error);
                ReprocessState::Failed
            }
        };
        tracing::info!(messages = self.status.messages, state = ?self.status.state, "reprocessing ended");
        *series.inner.reprocessing.lock() = Some(self.status);
    }

    async fn all(&mut self, series: &Series) -> Result<(), String> {
        let inner = &series.inner;
        series.caught_up(self.status.to).await;
        let kinds = inner.store.stats().tally.unrouted_kinds;
        self.to_life = kinds.into_iter().map(|kind| (kind.pattern, 0)).collect();
        let mut reader = self.journal.reader(self.status.from, Chains::Both);
        while reader.position() < self.status.to {
            let Some(batch) = reader.try_next().map_err(|error| chain(&error))? else { break };
            self.status.lost +=
                batch.skipped.iter().map(|skipped| skipped.to - skipped.from + 1).sum::<u64>();
            for record in &batch.records {
                if record.seq <= self.status.to {
                    self.record(inner, record);
                }
            }
            self.status.at = reader.position().min(self.status.to);
            if self.again.len() >= READINGS_AT_ONCE {
                self.settle(series).await?;
            }
            // Others may stop it here, and see how far it is.
            *inner.reprocessing.lock() = Some(self.status.clone());
            tokio::task::yield_now().await;
        }
        self.settle(series).await?;
        if !self.what.dry_run {
            let to_life = std::mem::take(&mut self.to_life);
            if to_life.values().any(|messages| *messages > 0) {
                self.is_unmarked = true;
                inner.store.put_older(inner.store.freezes(), |live, _| {
                    for (pattern, messages) in &to_life {
                        live.tally.came_to_life(pattern, *messages);
                    }
                });
            }
            self.mark(series).await?;
        }
        Ok(())
    }

    /// Decodes a record as it is decoded today.
    fn record(&mut self, inner: &Inner, record: &Record) {
        let message = &record.message;
        let is_outside = message.received_at < self.what.since
            || self.what.until.is_some_and(|until| message.received_at >= until)
            || self.what.filter.as_ref().is_some_and(|filter| !filter.matches(&message.topic));
        if is_outside || message.to.is_some() {
            return;
        }
        self.status.messages += 1;
        let routes = inner.store.routes();
        let found = routes.find(&message.topic);
        let Some((place, route)) =
            found.and_then(|found| routes.iter().enumerate().find(|(_, route)| std::ptr::eq(*route, found)))
        else {
            self.status.unrouted += 1;
            return;
        };
        let counts = &mut self.status.routes[place];
        counts.messages += 1;
        if !self.to_life.is_empty()
            && let Some(messages) = self.to_life.get_mut(&unrouted::pattern(&message.topic))
        {
            *messages += 1;
        }
        if route.keep() != Keep::All {
            return;
        }
        match Effect::of(record, routes, &mut self.names) {
            Effect::Decoded(decoded) => self.decoded(place, message, decoded, inner),
            Effect::Undecodable { reason, error } => {
                counts.undecodable += 1;
                let has_room = counts.reasons.len() < REASONS_MAX;
                match counts.reasons.iter_mut().find(|(known, _, _)| known == reason) {
                    Some((_, count, _)) => *count += 1,
                    None if has_room => {
                        counts.reasons.push((reason.to_owned(), 1, error));
                    }
                    None => {}
                }
            }
            Effect::Invisible | Effect::WithoutReadings | Effect::Unrouted => {}
        }
    }

    /// What a message means goes the way of those that come in.
    fn decoded(&mut self, route: usize, message: &Message, mut decoded: Decoded, inner: &Inner) {
        if let Some(heard) = decoded.sparkplug.take() {
            // Who is to be asked for births is asked when he is heard now.
            decoded.samples = self.learnt.hear(*heard, &mut self.noticed).samples;
        }
        let (channels, received_at) = (inner.store.channels(), message.received_at);
        let received_ms = received_at.micros().div_euclid(1_000);
        for sample in decoded.samples {
            let judged = inner.store.with_latest(|beside| {
                let bounds = Bounds {
                    latest: &self.latest,
                    beside: Some(beside),
                    channels,
                    channels_per_device: inner.store.settings().channels_per_device,
                };
                self.learnt.judge(sample, decoded.repeats, received_at, bounds, &mut self.noticed)
            });
            let counts = &mut self.status.routes[route];
            counts.readings += judged.refused;
            counts.beyond += judged.refused;
            for sample in judged.samples.into_iter().flatten() {
                self.latest.put(&sample, received_ms, channels);
                counts.readings += sample.readings.len() as u64;
                self.again.extend(sample.readings.into_iter().map(|Reading { channel, value }| Again {
                    route,
                    device: sample.device.clone(),
                    channel,
                    time: sample.time,
                    value,
                    flags: sample.flags,
                    topic: message.topic.clone(),
                    received_at,
                    verdict: Verdict::New,
                }));
            }
        }
    }

    /// Compares the readings at hand with what is stored, and stores those that belong there.
    async fn settle(&mut self, series: &Series) -> Result<(), String> {
        let inner = &series.inner;
        if self.again.is_empty() {
            return Ok(());
        }
        let (identities, wanted) = self.identities(inner.store.channels());
        loop {
            let freezes = inner.store.freezes();
            self.compare(inner, &identities, &wanted)?;
            if self.what.dry_run {
                break;
            }
            let again = &mut self.again;
            let channels_max = inner.store.settings().channels_per_device;
            let put = |live: &mut Live, channels: &Channels| put(again, live, channels, channels_max);
            if inner.store.put_older(freezes, put).is_some() {
                self.is_unmarked = true;
                break;
            }
        }
        for again in self.again.drain(..) {
            let counts = &mut self.status.routes[again.route];
            *match again.verdict {
                Verdict::New => &mut counts.new,
                Verdict::Replaced => &mut counts.replaced,
                Verdict::Repeated => &mut counts.repeated,
                Verdict::Outdated => &mut counts.outdated,
                Verdict::Beyond => &mut counts.beyond,
            } += 1;
        }
        if inner.store.is_full() { self.mark(series).await } else { Ok(()) }
    }

    /// The readings at hand by identity, and what of the stored ones may be among them. Of several that are the same
    /// reading the last stands.
    fn identities(&mut self, channels: &Channels) -> (Identities, Wanted) {
        let mut identities = Identities::new();
        let mut wanted = Wanted {
            devices: Some(Default::default()),
            channels: Some(Default::default()),
            ..Wanted::default()
        };
        for place in 0..self.again.len() {
            let again = &self.again[place];
            let (device, channel, time) =
                (again.device.to_string(), again.channel.to_string(), again.time.micros());
            let appends = channels.find(&again.channel).appends();
            if let Some(devices) = &mut wanted.devices
                && !devices.contains(&device)
            {
                devices.insert(device.clone());
            }
            if let Some(channels) = &mut wanted.channels
                && !channels.contains(&channel)
            {
                channels.insert(channel.clone());
            }
            wanted.from = Some(wanted.from.map_or(time, |from| from.min(time)));
            wanted.to = Some(wanted.to.map_or(time, |to| to.max(time)));
            let places =
                identities.entry(device).or_default().entry(channel).or_default().entry(time).or_default();
            let earlier = std::mem::take(places);
            let (mut kept, mut given_way) = (Vec::new(), Vec::new());
            for other in earlier {
                let value = again.value.number().map(|number| number + 0.0);
                let same = self.again[other].says(value, again.value.text().map(|text| &**text));
                match (same, appends) {
                    (true, _) => given_way.push((other, Verdict::Repeated)),
                    (false, true) => kept.push(other),
                    (false, false) => given_way.push((other, Verdict::Outdated)),
                }
            }
            kept.push(place);
            *places = kept;
            for (other, verdict) in given_way {
                self.again[other].verdict = verdict;
            }
        }
        (identities, wanted)
    }

    /// Judges the readings at hand by what is stored.
    fn compare(&mut self, inner: &Inner, identities: &Identities, wanted: &Wanted) -> Result<(), String> {
        let standing = identities.values().flat_map(HashMap::values).flat_map(HashMap::values).flatten();
        for place in standing {
            self.again[*place].verdict = Verdict::New;
        }
        let channels = inner.store.channels();
        let again = &mut self.again;
        let parts = parts(inner.store.snapshot(wanted), wanted);
        let read = inner.engine.read_in_order(parts, channels, |batch| {
            judge(again, batch, identities, channels);
            Ok(())
        });
        read.map_err(|error| chain(&error))
    }

    /// Appends the record behind which the readings stand, and waits until they are on disk.
    async fn mark(&mut self, series: &Series) -> Result<(), String> {
        if !std::mem::take(&mut self.is_unmarked) {
            return Ok(());
        }
        let host = series.inner.store.host();
        let (now, mono) = (host.clock.now(), host.clock.mono_micros());
        let outcomes = self.journal.append(vec![mark(now, mono, host.boot)]).await;
        let outcomes = outcomes.map_err(|error| chain(&error))?;
        let seq = outcomes.first().map_or(0, |outcome| outcome.seq());
        series.caught_up(seq).await;
        while series.inner.store.durable() < seq {
            series.flush().await;
        }
        Ok(())
    }
}

/// Judges readings by the rows of a batch of what is stored.
fn judge(again: &mut [Again], batch: &RecordBatch, identities: &Identities, channels: &Channels) {
    let device = batch.column(schema::DEVICE).as_string_view();
    let channel = batch.column(schema::CHANNEL).as_string_view();
    let time = batch.column(schema::TIME).as_primitive::<TimestampMicrosecondType>();
    let value = batch.column(schema::VALUE).as_primitive::<Float64Type>();
    let text = batch.column(schema::TEXT).as_string_view();
    let received = batch.column(schema::RECEIVED_AT).as_primitive::<TimestampMicrosecondType>();
    for row in 0..batch.num_rows() {
        let places = identities
            .get(device.value(row))
            .and_then(|channels| channels.get(channel.value(row)))
            .and_then(|times| times.get(&time.value(row)));
        for place in places.into_iter().flatten() {
            let again = &mut again[*place];
            let value = value.is_valid(row).then(|| value.value(row));
            let text = text.is_valid(row).then(|| text.value(row));
            if again.says(value, text) {
                again.verdict = Verdict::Repeated;
            } else if !channels.find(&again.channel).appends() {
                let is_later = received.value(row).div_euclid(1_000) > again.received_ms();
                again.verdict = if is_later { Verdict::Outdated } else { Verdict::Replaced };
            }
        }
    }
}

/// Puts what belongs there into memory, but for what was overtaken since it was judged.
fn put(again: &mut [Again], live: &mut Live, channels: &Channels, channels_max: usize) {
    for again in again {
        if !matches!(again.verdict, Verdict::New | Verdict::Replaced) {
            continue;
        }
        let received = live.active.received(&again.device, &again.channel, again.time.micros());
        let is_overtaken = received.is_some_and(|received| received > again.received_ms());
        if is_overtaken && !channels.find(&again.channel).appends() {
            again.verdict = Verdict::Outdated;
            continue;
        }
        let reading = Reading { channel: again.channel.clone(), value: again.value.clone() };
        let mut sample = Sample {
            device: again.device.clone(),
            time: again.time,
            flags: again.flags,
            readings: vec![reading],
        };
        // Others may have come to be known since it was judged.
        if live.latest.bound(None, &mut sample, channels_max) > 0 {
            again.verdict = Verdict::Beyond;
            continue;
        }
        let message = Message { topic: again.topic.clone(), ..mark(again.received_at, 0, 0) };
        // What it takes the place of is known from the comparison.
        live.put(&message, &sample, channels);
        live.tally.readings += 1;
        live.tally.replaced += u64::from(again.verdict == Verdict::Replaced);
    }
}

/// A message of our own, for a connection that there never is.
fn mark(received_at: Timestamp, received_mono: u64, boot: u32) -> Message {
    let topic = TopicName::parse(MARK_TOPIC).expect("a topic");
    Message {
        lane: Lane::Bulk,
        received_at,
        received_mono,
        to: Some(u64::MAX),
        ..Message::new(topic, bytes::Bytes::new(), Origin::inside(boot))
    }
}
