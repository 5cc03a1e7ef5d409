//! What a rule would have done with what was recorded.
//!
//! Not here: reading the recording. The laws: no side effects; the clock is that of receipt (of a recording: the row's own
//! time); a report says the range it really had; memory is bounded: episodes beyond the most that are listed are counted.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::sync::Arc;

use model::{DeviceName, Sample, Timestamp};

use crate::episode::{Episode, Transition};
use crate::expr::Counts;
use crate::fold::{Fold, Step};
use crate::key::{Circumstances, Key, Subject};
use crate::rule::{Rule, Version};
use crate::silence::{AbsentFor, Presence, Silence};
use crate::template::{Facts, Written};

/// A rule on its way through a recording. `R` is `&Rule` or `Arc<Rule>`.
#[derive(Debug)]
pub struct Backtest<R> {
    rule: R,
    /// Notices are counted by the value of this label.
    label: String,
    episodes_max: usize,
    subjects: HashMap<DeviceName, Option<Known>>,
    /// The device of the sample before: most samples are of the same.
    current: Option<(DeviceName, Option<Known>)>,
    places: HashMap<Key, usize>,
    tries: Vec<Try>,
    presence: Presence,
    samples: u64,
    out_of_order: u64,
    range: Option<(Timestamp, Timestamp)>,
    counts: Counts,
    told: Vec<Transition>,
    sum: Sum,
}

/// A device as the rule sees it, and the place of its key.
#[derive(Debug, Clone)]
struct Known {
    subject: Arc<Subject>,
    place: usize,
}

/// One key on its way.
#[derive(Debug)]
struct Try {
    key: Key,
    /// Those that the rule's texts name, of the first device of the key.
    attributes: BTreeMap<String, String>,
    state: State,
    episodes: Vec<(Episode, Written)>,
    /// The labels of an open episode that is only counted.
    unlisted: Option<Box<str>>,
}

#[derive(Debug)]
enum State {
    Fold(Fold),
    Silence(Silence),
}

/// What is counted over all keys.
#[derive(Debug, Default)]
struct Sum {
    listed: usize,
    unlisted: u64,
    notices: Notices,
}

/// Notices by day (days since 1970, UTC) and value of a label, empty without it.
pub type Notices = BTreeMap<i64, BTreeMap<String, u64>>;

/// What came of one key.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyReport {
    /// Whose it is.
    pub key: Key,
    /// Its episodes in the order of their start, with the labels and annotations they would have had.
    pub episodes: Vec<(Episode, Written)>,
    /// The start of a run that had not fired at the end.
    pub pending_since: Option<Timestamp>,
}

/// What a rule would have done.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The rule's name.
    pub rule: String,
    /// The version that was tried.
    pub version: Version,
    /// Samples that its `from` let pass and that had something that it looks at.
    pub samples: u64,
    /// First and last time of them: the range there really was.
    pub range: Option<(Timestamp, Timestamp)>,
    /// Samples that were out of order and changed nothing: the recording was not sorted.
    pub out_of_order: u64,
    /// What data made Undefined.
    pub counts: Counts,
    /// Keys with episodes or open runs, in order.
    pub keys: Vec<KeyReport>,
    /// How many keys had any sample.
    pub keys_seen: usize,
    /// Episodes that are not in `keys`, because there were more than are listed.
    pub episodes_unlisted: u64,
    /// Notices by day and label: one for each firing, one for each end. Grouping and silences make them fewer.
    pub notices: Notices,
}

impl<R: Deref<Target = Rule>> Backtest<R> {
    /// Before the first sample. Notices are counted by the label `severity`, and every episode is listed.
    #[must_use]
    pub fn new(rule: R) -> Self {
        Self {
            rule,
            label: "severity".to_owned(),
            episodes_max: usize::MAX,
            subjects: HashMap::new(),
            current: None,
            places: HashMap::new(),
            tries: Vec::new(),
            presence: Presence::default(),
            samples: 0,
            out_of_order: 0,
            range: None,
            counts: Counts::default(),
            told: Vec::new(),
            sum: Sum::default(),
        }
    }

    /// Counts notices by another label.
    #[must_use]
    pub fn by_label(self, label: &str) -> Self {
        Self { label: label.to_owned(), ..self }
    }

    /// Lists so many episodes; more are counted.
    #[must_use]
    pub fn listing(self, episodes_max: usize) -> Self {
        Self { episodes_max, ..self }
    }

    /// The server was not there then: silence did not count. To be told before the first sample.
    pub fn absent(&mut self, from: Timestamp, to: Timestamp) {
        self.presence.absent(from, to);
    }

    /// The rule that is tried.
    #[must_use]
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// How many keys it knows: what its memory goes by.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.tries.len()
    }

    /// Whether it has met the device: what is known of it is not asked for again.
    #[must_use]
    pub fn has_met(&self, device: &DeviceName) -> bool {
        self.current.as_ref().is_some_and(|(current, _)| current == device)
            || self.subjects.contains_key(device)
    }

    /// Takes in a sample of a topic that the rule's `from` matches, received at `received_at`; the samples of a key come in
    /// order ([`crate::in_order`]). `known` is asked once for each device.
    pub fn feed(&mut self, sample: &Sample, received_at: Timestamp, known: &Circumstances<'_>) {
        if !self.rule.sees(sample) {
            return;
        }
        self.samples += 1;
        let (first, last) = self.range.unwrap_or((sample.time, sample.time));
        self.range = Some((first.min(sample.time), last.max(sample.time)));
        let is_current = self.current.as_ref().is_some_and(|(device, _)| *device == sample.device);
        if !is_current {
            let found = match self.subjects.get(&sample.device) {
                Some(found) => found.clone(),
                None => self.meet(&sample.device, received_at, known),
            };
            self.current = Some((sample.device.clone(), found));
        }
        let Some((_, Some(Known { subject, place }))) = &self.current else { return };
        let of = &mut self.tries[*place];
        match &mut of.state {
            State::Fold(fold) => {
                let step = fold.step(&self.rule, subject, sample, &mut self.counts, &mut self.told);
                self.out_of_order += u64::from(matches!(step, Step::Late | Step::TooLate));
            }
            // As in the server: silence goes by the newest receipt.
            State::Silence(silence) if received_at < silence.heard() => {}
            State::Silence(silence) => {
                self.presence.caught_up(received_at);
                if let Some(absent_for) = absent_for(&self.rule) {
                    let before = received_at.plus_micros(-1);
                    self.told.extend(silence.at(absent_for, &self.presence, before));
                }
                self.told.extend(silence.hear(received_at, sample.time));
            }
        }
        for transition in self.told.drain(..) {
            of.take(&self.rule, transition, (&self.label, self.episodes_max), &mut self.sum);
        }
    }

    /// A device is seen for the first time.
    fn meet(
        &mut self,
        device: &DeviceName,
        received_at: Timestamp,
        known: &Circumstances<'_>,
    ) -> Option<Known> {
        let found = self.rule.subject(device, known).map(|subject| {
            let place = match self.places.get(&subject.key) {
                Some(place) => *place,
                None => self.begin(&subject.key, received_at, known),
            };
            Known { subject: Arc::new(subject), place }
        });
        self.subjects.insert(device.clone(), found.clone());
        found
    }

    fn begin(&mut self, key: &Key, received_at: Timestamp, known: &Circumstances<'_>) -> usize {
        let state = match self.rule.absent_for() {
            None => State::Fold(Fold::new(&self.rule)),
            Some(_) => State::Silence(Silence::new(received_at)),
        };
        let written = self.rule.attributes_written().into_iter();
        let attributes =
            written.filter_map(|name| Some((name.to_owned(), (known.attribute)(name)?))).collect();
        self.tries.push(Try { key: key.clone(), attributes, state, episodes: Vec::new(), unlisted: None });
        self.places.insert(key.clone(), self.tries.len() - 1);
        self.tries.len() - 1
    }

    /// The end: the time has come to `now` (by default that of the last sample), and what is due has fired.
    #[must_use]
    pub fn finish(mut self, now: Option<Timestamp>) -> Report {
        let now = now.or(self.range.map(|(_, last)| last)).unwrap_or_default();
        let keys_seen = self.tries.len();
        let mut keys = Vec::new();
        for mut of in self.tries.drain(..) {
            let (told, pending_since) = match &mut of.state {
                State::Fold(fold) => (fold.at(&self.rule, now), fold.pending_since()),
                State::Silence(silence) => {
                    (absent_for(&self.rule).and_then(|span| silence.at(span, &self.presence, now)), None)
                }
            };
            if let Some(transition) = told {
                of.take(&self.rule, transition, (&self.label, self.episodes_max), &mut self.sum);
            }
            let Try { key, episodes, .. } = of;
            if !episodes.is_empty() || pending_since.is_some() {
                keys.push(KeyReport { key, episodes, pending_since });
            }
        }
        keys.sort_by(|a, b| a.key.cmp(&b.key));
        Report {
            rule: self.rule.name().to_owned(),
            version: self.rule.version(),
            samples: self.samples,
            range: self.range,
            out_of_order: self.out_of_order,
            counts: self.counts,
            keys,
            keys_seen,
            episodes_unlisted: self.sum.unlisted,
            notices: self.sum.notices,
        }
    }
}

impl Try {
    fn take(&mut self, rule: &Rule, transition: Transition, (label, most): (&str, usize), sum: &mut Sum) {
        match transition {
            Transition::Fired(episode) => {
                let written = rule.write(&Facts {
                    key: &self.key,
                    attributes: &self.attributes,
                    values: &episode.values,
                    since: episode.start,
                    learnt: episode.fired_at,
                });
                let of = written.labels.get(label).map_or("", String::as_str);
                sum.notice(episode.fired_at, of);
                if sum.listed < most {
                    sum.listed += 1;
                    self.episodes.push((episode, written));
                } else {
                    sum.unlisted += 1;
                    self.unlisted = Some(of.into());
                }
            }
            Transition::Resolved(resolved) => {
                let end = resolved.resolved_at.unwrap_or(resolved.fired_at);
                if let Some(of) = self.unlisted.take() {
                    sum.notice(end, &of);
                } else if let Some((episode, written)) = self.episodes.last_mut() {
                    episode.resolved_at = Some(end);
                    sum.notice(end, written.labels.get(label).map_or("", String::as_str));
                }
            }
        }
    }
}

impl Sum {
    fn notice(&mut self, time: Timestamp, of: &str) {
        let day = self.notices.entry(time.day()).or_default();
        match day.get_mut(of) {
            Some(count) => *count += 1,
            None => drop(day.insert(of.to_owned(), 1)),
        }
    }
}

impl Report {
    /// All episodes of all keys.
    pub fn episodes(&self) -> impl Iterator<Item = (&Key, &Episode, &Written)> {
        self.keys
            .iter()
            .flat_map(|of| of.episodes.iter().map(move |(episode, written)| (&of.key, episode, written)))
    }

    /// Whether each of its episodes is listed, not only counted.
    #[must_use]
    pub fn lists_all(&self) -> bool {
        self.episodes_unlisted == 0
    }

    /// What this version does otherwise than `old` did: by key, in order. Keys in which nothing differs are left out.
    ///
    /// Of the episodes that are listed: what is only counted of either ([`Self::lists_all`]) is not compared.
    #[must_use]
    pub fn difference_to(&self, old: &Self) -> Vec<(Key, Vec<crate::Difference>)> {
        let bare = |report: &Self| -> BTreeMap<Key, Vec<Episode>> {
            let of = |key: &KeyReport| {
                (key.key.clone(), key.episodes.iter().map(|(episode, _)| episode.clone()).collect())
            };
            report.keys.iter().map(of).collect()
        };
        let (old, new) = (bare(old), bare(self));
        let keys: std::collections::BTreeSet<&Key> = old.keys().chain(new.keys()).collect();
        let none = Vec::new();
        keys.into_iter()
            .map(|key| {
                let (old, new) = (old.get(key).unwrap_or(&none), new.get(key).unwrap_or(&none));
                (key.clone(), crate::difference(old, new))
            })
            .filter(|(_, differences)| !differences.is_empty())
            .collect()
    }
}

/// The silence that the past can tell of: who was connected when is not recorded.
fn absent_for(rule: &Rule) -> Option<AbsentFor> {
    rule.absent_for().filter(|_| !rule.needs_connection())
}
