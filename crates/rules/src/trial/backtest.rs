//! What a rule would have done with what was recorded.
//!
//! Not here: reading the recording. The laws: no side effects; the clock is that of receipt (of a recording: the row's own
//! time); a report says the range it really had.

use std::collections::{BTreeMap, HashMap};

use model::{DeviceName, Sample, Timestamp};

use crate::episode::{Episode, Transition};
use crate::expr::Counts;
use crate::fold::{Fold, Step};
use crate::key::{Circumstances, Key, Subject};
use crate::rule::{Rule, Version};
use crate::silence::{Presence, Silence};
use crate::template::{Facts, Written};

/// A rule on its way through a recording.
#[derive(Debug)]
pub struct Backtest<'a> {
    rule: &'a Rule,
    subjects: HashMap<DeviceName, Option<Subject>>,
    places: HashMap<Key, usize>,
    tries: Vec<Try>,
    presence: Presence,
    samples: u64,
    out_of_order: u64,
    range: Option<(Timestamp, Timestamp)>,
    counts: Counts,
    told: Vec<Transition>,
}

/// One key on its way.
#[derive(Debug)]
struct Try {
    key: Key,
    /// Those that the rule's texts name, of the first device of the key.
    attributes: BTreeMap<String, String>,
    state: State,
    episodes: Vec<(Episode, Written)>,
}

#[derive(Debug)]
enum State {
    Fold(Fold),
    Silence(Silence),
}

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
    /// Samples that its `from` let pass.
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
}

impl<'a> Backtest<'a> {
    /// Before the first sample.
    #[must_use]
    pub fn new(rule: &'a Rule) -> Self {
        Self {
            rule,
            subjects: HashMap::new(),
            places: HashMap::new(),
            tries: Vec::new(),
            presence: Presence::default(),
            samples: 0,
            out_of_order: 0,
            range: None,
            counts: Counts::default(),
            told: Vec::new(),
        }
    }

    /// Takes in a sample of a topic that the rule's `from` matches; the samples of a key come in order ([`crate::in_order`]).
    /// `known` is asked once for each device.
    pub fn feed(&mut self, sample: &Sample, known: &Circumstances<'_>) {
        self.samples += 1;
        let (first, last) = self.range.unwrap_or((sample.time, sample.time));
        self.range = Some((first.min(sample.time), last.max(sample.time)));
        if !self.subjects.contains_key(&sample.device) {
            let subject = self.rule.subject(&sample.device, known);
            self.subjects.insert(sample.device.clone(), subject);
        }
        let Some(Some(subject)) = self.subjects.get(&sample.device) else { return };
        let place = match self.places.get(&subject.key) {
            Some(place) => *place,
            None => {
                let state = match self.rule.absent_for() {
                    None => State::Fold(Fold::new(self.rule)),
                    Some(_) => State::Silence(Silence::new(sample.time)),
                };
                let written = self.rule.attributes_written().into_iter();
                let attributes =
                    written.filter_map(|name| Some((name.to_owned(), (known.attribute)(name)?))).collect();
                let key = subject.key.clone();
                self.tries.push(Try { key, attributes, state, episodes: Vec::new() });
                self.places.insert(subject.key.clone(), self.tries.len() - 1);
                self.tries.len() - 1
            }
        };
        let of = &mut self.tries[place];
        match &mut of.state {
            State::Fold(fold) => {
                let step = fold.step(self.rule, subject, sample, &mut self.counts, &mut self.told);
                self.out_of_order += u64::from(matches!(step, Step::Late | Step::TooLate));
            }
            State::Silence(silence) => {
                self.presence.caught_up(sample.time);
                if let Some(absent_for) = self.rule.absent_for() {
                    let before = sample.time.plus_micros(-1);
                    self.told.extend(silence.at(absent_for, &self.presence, before));
                }
                self.told.extend(silence.hear(sample.time, sample.time));
            }
        }
        for transition in self.told.drain(..) {
            of.take(self.rule, transition);
        }
    }

    /// The end: the time has come to `now` (by default that of the last sample), and what is due has fired.
    #[must_use]
    pub fn finish(mut self, now: Option<Timestamp>) -> Report {
        let now = now.or(self.range.map(|(_, last)| last)).unwrap_or_default();
        let keys_seen = self.tries.len();
        let mut keys = Vec::new();
        for mut of in self.tries.drain(..) {
            let (told, pending_since) = match &mut of.state {
                State::Fold(fold) => (fold.at(self.rule, now), fold.pending_since()),
                State::Silence(silence) => {
                    let absent_for = self.rule.absent_for();
                    (absent_for.and_then(|span| silence.at(span, &self.presence, now)), None)
                }
            };
            if let Some(transition) = told {
                of.take(self.rule, transition);
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
        }
    }
}

impl Try {
    fn take(&mut self, rule: &Rule, transition: Transition) {
        match transition {
            Transition::Fired(episode) => {
                let written = rule.write(&Facts {
                    key: &self.key,
                    attributes: &self.attributes,
                    values: &episode.values,
                    since: episode.start,
                    learnt: episode.fired_at,
                });
                self.episodes.push((episode, written));
            }
            Transition::Resolved(resolved) => {
                if let Some((episode, _)) = self.episodes.last_mut() {
                    episode.resolved_at = resolved.resolved_at;
                }
            }
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

    /// Notices by day (days since 1970, UTC) and value of the label `label` (empty without it): one for each firing, one for
    /// each end. Grouping and silences make them fewer.
    #[must_use]
    pub fn notices_by_day(&self, label: &str) -> BTreeMap<i64, BTreeMap<String, u64>> {
        let mut days: BTreeMap<i64, BTreeMap<String, u64>> = BTreeMap::new();
        for (_, episode, written) in self.episodes() {
            let of = written.labels.get(label).cloned().unwrap_or_default();
            for time in [Some(episode.fired_at), episode.resolved_at].into_iter().flatten() {
                *days.entry(time.day()).or_default().entry(of.clone()).or_default() += 1;
            }
        }
        days
    }

    /// What this version does otherwise than `old` did: by key, in order. Keys in which nothing differs are left out.
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
