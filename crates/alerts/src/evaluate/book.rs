//! The rules in force, and the state of each for each key.
//!
//! Not here: where samples come from (`work`), and second looks (`look`). The laws: a topic is matched against the rules
//! once, not once a message; what is remembered is bounded, and what finds no room is counted.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use identity::{DeviceState, Identity};
use model::{DeviceName, Flags, Sample, Timestamp, TopicName};
use rules::{Counts, Fold, Key, Presence, Rule, Silence, Step, Subject, Transition};

use super::told::{self, Learnt};
use super::waiting::{Look, Looks};

/// Most topics whose rules are remembered; then it is begun anew.
const TOPICS_MAX: usize = 100_000;

/// Most keys of one rule. With 200 bytes each: 200 MB.
pub(super) const KEYS_MAX: usize = 1_000_000;

/// What a rule says of a key.
pub(super) struct Said {
    /// The place of the rule in the book.
    pub(super) rule: usize,
    pub(super) key: Key,
    pub(super) transition: Transition,
    pub(super) learnt: Learnt,
    /// Not late any more: it still holds at a fresh sample.
    pub(super) is_fresh_again: bool,
}

/// A state, and what is not stored yet.
pub(super) struct Standing<T> {
    pub(super) state: T,
    pub(super) is_dirty: bool,
    /// The episode that is firing and was late when it was learnt: a fresh sample makes it urgent.
    pub(super) late: Option<Box<rules::Episode>>,
    /// The state was made of what is stored: everything up to this `seq` is in it, though it is read only now.
    pub(super) included: u64,
}

impl<T> Standing<T> {
    pub(super) fn new(state: T) -> Self {
        Self { state, is_dirty: true, late: None, included: 0 }
    }
}

/// One rule and its states.
pub(super) struct Entry {
    pub(super) rule: Arc<Rule>,
    /// Whether it came into force with states to be found in what is stored: its keys look back at their first sample.
    pub(super) is_new: bool,
    pub(super) subjects: HashMap<DeviceName, Option<Arc<Subject>>>,
    pub(super) folds: HashMap<Key, Standing<Fold>>,
    pub(super) silences: HashMap<Key, Standing<Silence>>,
    pub(super) looks: Looks,
    /// Keys whose stored states are to go.
    pub(super) forgotten: Vec<Key>,
    pub(super) counts: Counts,
    pub(super) tally: Tally,
}

/// What became of the samples of a rule since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Samples that the rule looked at.
    pub samples: u64,
    /// Those that came after newer ones of their key, or said something else of the same time.
    pub late: u64,
    /// Those that were further behind than `lateness`.
    pub too_late: u64,
    /// Stretches of time that were looked at again.
    pub looks: u64,
    /// Those that could not be read.
    pub looks_failed: u64,
    /// Samples of keys beyond the most that are kept.
    pub keys_refused: u64,
}

/// A sample on its way through the rules.
#[derive(Clone, Copy)]
pub(super) struct Arrived<'a> {
    pub(super) sample: &'a Sample,
    pub(super) received_at: Timestamp,
    pub(super) seq: u64,
    /// It was durable before this start: it may have been judged before a crash.
    pub(super) is_again: bool,
}

/// Samples that are not at hand, but in what is stored.
pub(super) struct Stored {
    pub(super) device: DeviceName,
    /// None of them is older than the first or newer than the second.
    pub(super) times: [Timestamp; 2],
    pub(super) received_at: Timestamp,
    pub(super) seq: u64,
    /// It was durable before this start.
    pub(super) is_again: bool,
}

/// What is known when the time has come to look at what did not come.
#[derive(Clone, Copy)]
pub(super) struct Clock<'a> {
    pub(super) presence: &'a Presence,
    /// Since when.
    pub(super) connected: &'a HashMap<DeviceName, Timestamp>,
    /// Everything that was durable by then has been judged.
    pub(super) read_until: Timestamp,
    /// What the server's clock shows.
    pub(super) now: Timestamp,
}

/// The rules in force.
pub(super) struct Book {
    pub(super) entries: Vec<Entry>,
    by_topic: HashMap<Box<str>, Arc<[usize]>>,
    /// In microseconds.
    urgent_within: i64,
    /// What was known of devices when it was last seen which of them were removed.
    swept: Option<u64>,
    /// The rule that looked again last.
    turn: usize,
}

impl Entry {
    pub(super) fn new(rule: Arc<Rule>, is_new: bool) -> Self {
        Self {
            rule,
            is_new,
            subjects: HashMap::new(),
            folds: HashMap::new(),
            silences: HashMap::new(),
            looks: Looks::default(),
            forgotten: Vec::new(),
            counts: Counts::default(),
            tally: Tally::default(),
        }
    }

    /// The device as the rule sees it; kept until what is known of devices changes. Not for one that was removed: that somebody speaks
    /// of it again changes nothing that is counted.
    pub(super) fn subject(&mut self, identity: &Identity, device: &DeviceName) -> Option<Arc<Subject>> {
        if let Some(known) = self.subjects.get(device) {
            return known.clone();
        }
        if identity.state(device) == Some(DeviceState::Removed) {
            return None;
        }
        let subject = told::subject(identity, &self.rule, device).map(Arc::new);
        self.subjects.insert(device.clone(), subject.clone());
        subject
    }

    /// Takes in a sample; what it says is added to `said`, under the place `at` of this rule.
    fn take(
        &mut self,
        at: usize,
        identity: &Identity,
        arrived: Arrived<'_>,
        urgent_within: i64,
        said: &mut Vec<Said>,
    ) {
        let sample = arrived.sample;
        if !self.rule.sees(sample) {
            return;
        }
        self.tally.samples += 1;
        let Some(subject) = self.subject(identity, &sample.device) else { return };
        let key = &subject.key;
        if self.rule.absent_for().is_some() {
            self.hear(at, key, arrived, said);
            return;
        }
        let is_known = self.folds.contains_key(key);
        if !is_known && self.folds.len() >= KEYS_MAX {
            self.tally.keys_refused += 1;
            return;
        }
        let standing = self.folds.entry(key.clone()).or_insert_with(|| Standing::new(Fold::new(&self.rule)));
        if !is_known && self.is_new {
            self.looks.add(key, arrived);
            return;
        }
        if arrived.seq <= standing.included {
            return;
        }
        let mut transitions = Vec::new();
        let step = standing.state.step(&self.rule, &subject, sample, &mut self.counts, &mut transitions);
        match step {
            Step::Folded => standing.is_dirty = true,
            Step::Late => {
                self.tally.late += 1;
                self.looks.add(key, arrived);
            }
            Step::TooLate => self.tally.too_late += 1,
            Step::Unseen | Step::Repeated => {}
        }
        let learnt = Learnt { at: arrived.received_at, newest: sample.time };
        for transition in transitions {
            standing.note(&transition, learnt.is_stale(urgent_within));
            said.push(Said { rule: at, key: key.clone(), transition, learnt, is_fresh_again: false });
        }
        if step == Step::Folded && standing.late.is_some() && !learnt.is_stale(urgent_within) {
            said.extend(standing.fresh_again().map(|episode| Said {
                rule: at,
                key: key.clone(),
                transition: Transition::Fired(episode),
                learnt,
                is_fresh_again: true,
            }));
        }
    }

    /// Looks at samples that are stored. Whether one is there that the rule sees, the look will say.
    fn look_up(&mut self, at: usize, identity: &Identity, stored: &Stored, said: &mut Vec<Said>) {
        let Some(subject) = self.subject(identity, &stored.device) else { return };
        let key = &subject.key;
        let (received_at, seq, is_again) = (stored.received_at, stored.seq, stored.is_again);
        let samples = stored.times.map(|time| Sample {
            device: stored.device.clone(),
            time,
            flags: Flags::empty(),
            readings: Vec::new(),
        });
        let [first, last] = samples.each_ref().map(|sample| Arrived { sample, received_at, seq, is_again });
        if self.rule.absent_for().is_some() {
            self.hear(at, key, last, said);
            return;
        }
        if !self.folds.contains_key(key) {
            if self.folds.len() >= KEYS_MAX {
                self.tally.keys_refused += 1;
                return;
            }
            self.folds.insert(key.clone(), Standing::new(Fold::new(&self.rule)));
        }
        self.looks.add(key, first);
        self.looks.add(key, last);
    }

    fn hear(&mut self, at: usize, key: &Key, arrived: Arrived<'_>, said: &mut Vec<Said>) {
        if !self.silences.contains_key(key) && self.silences.len() >= KEYS_MAX {
            self.tally.keys_refused += 1;
            return;
        }
        let standing = self
            .silences
            .entry(key.clone())
            .or_insert_with(|| Standing::new(Silence::new(arrived.received_at)));
        standing.is_dirty = true;
        // What was received before is heard again after a crash: silence goes by the newest receipt. What comes now is heard
        // though the server's clock was set back since.
        if arrived.is_again && arrived.received_at <= standing.state.heard() {
            return;
        }
        if let Some(transition) = standing.state.hear(arrived.received_at, arrived.sample.time) {
            let learnt = Learnt { at: arrived.received_at, newest: arrived.received_at };
            said.push(Said { rule: at, key: key.clone(), transition, learnt, is_fresh_again: false });
        }
    }

    /// What fires because nothing comes, now that everything that came was read.
    pub(super) fn tick(&mut self, at: usize, clock: Clock<'_>, said: &mut Vec<Said>) {
        let Clock { presence, connected, read_until, now } = clock;
        let learnt = Learnt { at: now, newest: now };
        let mut say = |key: &Key, transition: Transition| {
            said.push(Said { rule: at, key: key.clone(), transition, learnt, is_fresh_again: false });
        };
        if let Some(absent_for) = self.rule.absent_for() {
            for (key, standing) in &mut self.silences {
                let silence = &mut standing.state;
                standing.is_dirty |= silence.set_back(now);
                let told = if self.rule.needs_connection() {
                    let since = key.part("device").and_then(|device| connected.get(device)).copied();
                    silence.while_connected(absent_for, presence, since, read_until)
                } else {
                    silence.at(absent_for, presence, read_until)
                };
                if let Some(transition) = told {
                    standing.is_dirty = true;
                    say(key, transition);
                }
            }
        } else if self.rule.has_hold() {
            for (key, standing) in &mut self.folds {
                if let Some(transition) = standing.state.at(&self.rule, read_until) {
                    standing.is_dirty = true;
                    say(key, transition);
                }
            }
        }
    }

    fn forget_removed(&mut self, identity: &Identity) -> Vec<Key> {
        let keys = self.folds.keys().chain(self.silences.keys());
        let gone: Vec<Key> = keys.filter(|key| is_gone(identity, key)).cloned().collect();
        for key in &gone {
            self.folds.remove(key);
            self.silences.remove(key);
            self.looks.forget(key);
        }
        self.forgotten.extend_from_slice(&gone);
        gone
    }

    /// Devices that have not been heard are silent since they were made known, where the rule is about everything of a device.
    pub(super) fn expect(&mut self, identity: &Identity, device: &DeviceName, created: Timestamp) {
        let counts_from_creation = self.rule.absent_for().is_some() && !self.rule.needs_connection();
        if !counts_from_creation || !hears_all_of(self.rule.from().as_str(), device) {
            return;
        }
        let Some(subject) = self.subject(identity, device) else { return };
        if self.silences.len() < KEYS_MAX {
            let silence = || Standing::new(Silence::new(created));
            self.silences.entry(subject.key.clone()).or_insert_with(silence);
        }
    }

    /// All devices of a key, as this rule sees them.
    pub(super) fn members(&mut self, identity: &Identity, key: &Key) -> Vec<(DeviceName, Arc<Subject>)> {
        let devices = match key.part("device") {
            Some(name) => DeviceName::parse(name).ok().into_iter().collect(),
            None => {
                let spoken: HashSet<DeviceName> = self.subjects.keys().cloned().collect();
                spoken.into_iter().chain(identity.known_devices()).collect::<HashSet<_>>()
            }
        };
        let of_key = |device: DeviceName| {
            let subject = self.subject(identity, &device).filter(|subject| subject.key == *key)?;
            Some((device, subject))
        };
        devices.into_iter().filter_map(of_key).collect()
    }
}

impl<T> Standing<T> {
    /// Remembers what is late and open, so that a fresh sample can make it urgent.
    pub(super) fn note(&mut self, transition: &Transition, is_stale: bool) {
        self.late = match transition {
            Transition::Fired(episode) if is_stale => Some(Box::new(episode.clone())),
            _ => None,
        };
    }
}

impl Standing<Fold> {
    /// The late episode, if it is still the one that holds.
    fn fresh_again(&mut self) -> Option<rules::Episode> {
        let late = self.late.take()?;
        let holds = self.state.firing() == Some((late.start, late.fired_at));
        holds.then_some(*late)
    }
}

impl Book {
    pub(super) fn new(urgent_within: Duration) -> Self {
        let mut book =
            Self { entries: Vec::new(), by_topic: HashMap::new(), urgent_within: 0, swept: None, turn: 0 };
        book.set_urgent_within(urgent_within);
        book
    }

    pub(super) fn set_urgent_within(&mut self, urgent_within: Duration) {
        self.urgent_within = i64::try_from(urgent_within.as_micros()).unwrap_or(i64::MAX);
    }

    /// Behind the newest sample's age of which an episode is late, in microseconds.
    pub(super) fn urgent_within(&self) -> i64 {
        self.urgent_within
    }

    /// Puts other rules in force.
    pub(super) fn put(&mut self, entries: Vec<Entry>) {
        self.entries = entries;
        self.by_topic.clear();
        self.swept = None;
    }

    /// Forgets the keys of devices that were removed: with the rule of each. One that was removed and is there again since the last
    /// time is not found.
    pub(super) fn forget_removed(&mut self, identity: &Identity) -> Vec<(Arc<Rule>, Key)> {
        let revision = identity.revision();
        if self.swept.replace(revision) == Some(revision) {
            return Vec::new();
        }
        let gone = |entry: &mut Entry| {
            let rule = Arc::clone(&entry.rule);
            entry.forget_removed(identity).into_iter().map(move |key| (Arc::clone(&rule), key))
        };
        self.entries.iter_mut().flat_map(gone).collect()
    }

    /// Forgets what was known of devices, for it changed.
    pub(super) fn forget_subjects(&mut self) {
        for entry in &mut self.entries {
            entry.subjects.clear();
        }
    }

    /// The rules that listen to a topic, by their places.
    pub(super) fn of(&mut self, topic: &TopicName) -> Arc<[usize]> {
        if let Some(known) = self.by_topic.get(topic.as_str()) {
            return Arc::clone(known);
        }
        if self.by_topic.len() >= TOPICS_MAX {
            self.by_topic.clear();
        }
        let listens = |(at, entry): (usize, &Entry)| entry.rule.from().matches(topic).then_some(at);
        let places: Arc<[usize]> = self.entries.iter().enumerate().filter_map(listens).collect();
        // A copy: a topic may hold on to the buffer it came in.
        self.by_topic.insert(topic.as_str().into(), Arc::clone(&places));
        places
    }

    /// Hands a sample to the rules at `places`.
    pub(super) fn take(
        &mut self,
        places: &[usize],
        identity: &Identity,
        arrived: Arrived<'_>,
        said: &mut Vec<Said>,
    ) {
        for at in places {
            self.entries[*at].take(*at, identity, arrived, self.urgent_within, said);
        }
    }

    /// Has the rules at `places` look at samples that are stored.
    pub(super) fn look_up(
        &mut self,
        places: &[usize],
        identity: &Identity,
        stored: &Stored,
        said: &mut Vec<Said>,
    ) {
        for at in places {
            self.entries[*at].look_up(*at, identity, stored, said);
        }
    }

    /// Whether a second look may be made at `mono` of the steady clock.
    pub(super) fn has_due_look(&self, mono: u64) -> bool {
        self.entries.iter().any(|entry| entry.looks.has_due(mono))
    }

    /// The next second look, with the place of its rule: the rules take turns.
    pub(super) fn next_look(&mut self, mono: u64) -> Option<(usize, Key, Look)> {
        let count = self.entries.len();
        for step in 1..=count {
            let at = (self.turn + step) % count;
            if let Some((key, look)) = self.entries[at].looks.next(mono) {
                self.turn = at;
                return Some((at, key, look));
            }
        }
        None
    }

    /// Everything before this record has had its second look, or needs none.
    pub(super) fn looked_before(&self) -> Option<u64> {
        self.entries.iter().filter_map(|entry| entry.looks.first_seq()).min()
    }
}

/// Whether it is the key of a device that was removed.
fn is_gone(identity: &Identity, key: &Key) -> bool {
    let device = key.part("device").and_then(|name| DeviceName::parse(name).ok());
    device.is_some_and(|device| identity.state(&device) == Some(DeviceState::Removed))
}

/// Whether a filter takes everything that the device says by the default route: `#`, `dt/+/#`, `dt/{device}/#`.
fn hears_all_of(filter: &str, device: &DeviceName) -> bool {
    filter == "#" || filter == "dt/#" || filter == "dt/+/#" || filter == format!("dt/{device}/#")
}
