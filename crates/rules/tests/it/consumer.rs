//! A small model of what feeds the fold in the server: a store of samples with last write wins, a fold for each key, and a
//! second look when a sample came late.

use std::collections::{BTreeMap, BTreeSet};

use model::{DeviceName, Sample, Timestamp};
use rules::{
    Changed, Circumstances, Counts, Difference, Episode, Fold, Key, Rule, Step, Subject, Transition,
    difference, refold,
};

/// What the outbox would hold: a notice is known by key, start and transition, and is there once.
pub(crate) type Notice = (Key, Timestamp, &'static str);

/// How far back a second look reads first, and then.
const READS_MICROS: [i64; 2] = [3_600 * Timestamp::SECOND, Timestamp::DAY];

#[derive(Clone)]
pub(crate) struct Consumer<'a> {
    rule: &'a Rule,
    known: fn(&DeviceName) -> String,
    subjects: BTreeMap<DeviceName, Subject>,
    store: BTreeMap<(Timestamp, DeviceName), Sample>,
    pub(crate) folds: BTreeMap<Key, Fold>,
    pub(crate) episodes: BTreeMap<Key, BTreeMap<Timestamp, Episode>>,
    pub(crate) notices: BTreeSet<Notice>,
    /// In the order in which they came, each once.
    pub(crate) sequence: Vec<Notice>,
    /// After a crash: the store is ahead of the state.
    pub(crate) is_behind: bool,
    pub(crate) looks: usize,
    pub(crate) too_late: usize,
}

impl<'a> Consumer<'a> {
    pub(crate) fn new(rule: &'a Rule) -> Self {
        Self::with_lines(rule, |_| "1".to_owned())
    }

    /// `line` says the attribute `line` of a device.
    pub(crate) fn with_lines(rule: &'a Rule, line: fn(&DeviceName) -> String) -> Self {
        Self {
            rule,
            known: line,
            subjects: BTreeMap::new(),
            store: BTreeMap::new(),
            folds: BTreeMap::new(),
            episodes: BTreeMap::new(),
            notices: BTreeSet::new(),
            sequence: Vec::new(),
            is_behind: false,
            looks: 0,
            too_late: 0,
        }
    }

    pub(crate) fn all(mut self, samples: impl IntoIterator<Item = Sample>) -> Self {
        samples.into_iter().for_each(|sample| self.deliver(&sample));
        self
    }

    fn subject(&mut self, device: &DeviceName) -> Subject {
        if let Some(subject) = self.subjects.get(device) {
            return subject.clone();
        }
        let attribute = |name: &str| (name == "line").then(|| (self.known)(device));
        let known = Circumstances { group: None, attribute: &attribute };
        let subject = self.rule.subject(device, &known).expect("the key is known");
        self.subjects.insert(device.clone(), subject.clone());
        subject
    }

    pub(crate) fn deliver(&mut self, sample: &Sample) {
        self.remember(sample);
        let subject = self.subject(&sample.device);
        let fold = self.folds.entry(subject.key.clone()).or_insert_with(|| Fold::new(self.rule));
        let mut told = Vec::new();
        let step = fold.step(self.rule, &subject, sample, &mut Counts::default(), &mut told);
        match step {
            Step::Folded => told.into_iter().for_each(|transition| self.take(&subject.key, transition)),
            Step::Late => self.look_again(&subject.key, Changed::at(sample.time)),
            Step::TooLate => self.too_late += 1,
            Step::Unseen | Step::Repeated => assert_eq!(told, []),
        }
    }

    /// Nothing more comes until `now`.
    pub(crate) fn at(mut self, now: Timestamp) -> Self {
        for (key, mut fold) in self.folds.clone() {
            let due = fold.due(self.rule);
            if let Some(transition) = fold.at(self.rule, now) {
                assert!(due.is_some_and(|due| due <= now));
                self.take(&key, transition);
            }
            self.folds.insert(key, fold);
        }
        self
    }

    /// The process dies: folds go back to what was saved, the rest was committed.
    pub(crate) fn crash(&mut self, saved: &BTreeMap<Key, Vec<u8>>) {
        let read = |(key, bytes): (&Key, &Vec<u8>)| {
            (key.clone(), Fold::from_bytes(self.rule, bytes).expect("what was written reads"))
        };
        self.folds = saved.iter().map(read).collect();
        self.is_behind = true;
    }

    pub(crate) fn saved(&self) -> BTreeMap<Key, Vec<u8>> {
        let save = |(key, fold): (&Key, &Fold)| {
            let bytes = fold.to_bytes();
            assert_eq!(
                Fold::from_bytes(self.rule, &bytes).as_ref(),
                Ok(fold),
                "what was written reads as it was"
            );
            (key.clone(), bytes)
        };
        self.folds.iter().map(save).collect()
    }

    fn remember(&mut self, sample: &Sample) {
        let stored = self
            .store
            .entry((sample.time, sample.device.clone()))
            .or_insert_with(|| Sample { readings: Vec::new(), ..sample.clone() });
        for reading in &sample.readings {
            match stored.readings.iter_mut().find(|known| known.channel == reading.channel) {
                Some(known) => known.value = reading.value.clone(),
                None => stored.readings.push(reading.clone()),
            }
        }
    }

    fn look_again(&mut self, key: &Key, changed: Changed) {
        self.looks += 1;
        let reads = READS_MICROS.iter().map(|back| Some(changed.first.plus_micros(-back)));
        let refolded = reads
            .chain([None])
            .find_map(|from| {
                let first = self.store.keys().next().map_or("a", |(_, device)| device);
                let first = DeviceName::parse(first.to_owned()).expect("a name");
                let start = (from.unwrap_or(Timestamp::from_micros(i64::MIN)).plus_micros(-1), first);
                let samples = self
                    .store
                    .range(start..)
                    .filter(|((time, _), _)| from.is_none_or(|from| *time >= from))
                    .map(|((_, device), sample)| (&self.subjects[device], sample))
                    .filter(|(subject, _)| subject.key == *key);
                refold(self.rule, self.folds.get(key).filter(|_| !self.is_behind), from, changed, samples)
                    .ok()
            })
            .expect("all there is suffices");
        let known = self.episodes.entry(key.clone()).or_default();
        let old: Vec<Episode> = known.values().filter(|e| refolded.judges(e.start)).cloned().collect();
        let differences = difference(&old, &refolded.episodes);
        for change in differences {
            let ended = match &change {
                Difference::Fired(now) | Difference::Resolved(now) => now.resolved_at.map(|_| now.start),
                Difference::Changed { was, now } | Difference::Moved { was, now } => {
                    now.resolved_at.filter(|_| was.resolved_at.is_none()).map(|_| now.start)
                }
                Difference::Vanished(_) => None,
            };
            match change {
                Difference::Fired(episode) => {
                    known.insert(episode.start, episode.clone());
                    notify(&mut self.notices, &mut self.sequence, (key.clone(), episode.start, "fired"));
                }
                Difference::Resolved(now) | Difference::Changed { now, .. } => {
                    known.insert(now.start, now);
                }
                Difference::Moved { was, now } => {
                    known.remove(&was.start);
                    known.insert(now.start, now);
                }
                Difference::Vanished(was) => {
                    known.remove(&was.start);
                }
            }
            if let Some(start) = ended {
                notify(&mut self.notices, &mut self.sequence, (key.clone(), start, "resolved"));
            }
        }
        let same = old_and_new(known.values().filter(|e| refolded.judges(e.start)), refolded.episodes.iter());
        assert!(same, "the differences lead from what was known to what is so");
        if let Some(end) = refolded.end {
            self.folds.insert(key.clone(), end);
        }
    }

    fn take(&mut self, key: &Key, transition: Transition) {
        let known = self.episodes.entry(key.clone()).or_default();
        let (episode, what) = match transition {
            Transition::Fired(episode) => (episode, "fired"),
            Transition::Resolved(episode) => (episode, "resolved"),
        };
        notify(&mut self.notices, &mut self.sequence, (key.clone(), episode.start, what));
        // A firing that comes again after a crash takes nothing back.
        known
            .entry(episode.start)
            .and_modify(|known| known.resolved_at = known.resolved_at.or(episode.resolved_at))
            .or_insert(episode);
    }

    /// Start, firing and end of every episode.
    pub(crate) fn times(&self) -> Vec<(Key, Timestamp, Timestamp, Option<Timestamp>)> {
        let of_key = |(key, episodes): (&Key, &BTreeMap<Timestamp, Episode>)| {
            let times = |e: &Episode| (key.clone(), e.start, e.fired_at, e.resolved_at);
            episodes.values().map(times).collect::<Vec<_>>()
        };
        self.episodes.iter().flat_map(of_key).collect()
    }
}

fn notify(notices: &mut BTreeSet<Notice>, sequence: &mut Vec<Notice>, notice: Notice) {
    if notices.insert(notice.clone()) {
        sequence.push(notice);
    }
}

fn old_and_new<'a>(old: impl Iterator<Item = &'a Episode>, new: impl Iterator<Item = &'a Episode>) -> bool {
    let (old, new): (Vec<&Episode>, Vec<&Episode>) = (old.collect(), new.collect());
    old.len() == new.len() && old.iter().zip(new).all(|(a, b)| a.is_same_time(b))
}
