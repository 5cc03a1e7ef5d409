//! One look at the readings: each sample to the rules that listen to its topic.
//!
//! Not here: where samples come from, and what came of the rules (`trial`). The laws: a topic is matched against the rules once;
//! what is known of a device is asked for once; what a rule sees of one device and time is one sample, whatever topics of its
//! `from` it came over.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytestring::ByteString;
use hashbrown::HashMap;
use identity::Identity;
use model::{Flags, Sample, Timestamp, TopicName};
use rules::{Backtest, Circumstances, Rule};
use series::{PastOrder, StoredSample};

use super::Tries;
use super::receipts::Receipts;
use crate::evaluate::told::with_circumstances;

/// Most topics whose rules are remembered; then it is begun anew.
const TOPICS_MAX: usize = 100_000;

/// Most patterns of topics that are remembered for those whose rule saw nothing.
const PATTERNS_MAX: usize = 1_000;

/// A rule, and what it is fed.
pub(super) struct Fed {
    backtest: Backtest<Arc<Rule>>,
    /// Of silence, where a device's day comes as a whole. Where devices share a key it goes by the time of readings.
    receipts: Option<Receipts>,
}

impl Fed {
    pub(super) fn new(backtest: Backtest<Arc<Rule>>, order: PastOrder) -> Self {
        let is_silence = backtest.rule().absent_for().is_some();
        let receipts = (is_silence && order == PastOrder::Devices).then(Receipts::default);
        Self { backtest, receipts }
    }

    fn take(&mut self, identity: &Identity, sample: &Sample, received_at: Timestamp) {
        let Self { backtest, receipts } = self;
        match receipts {
            None => feed(backtest, identity, sample, received_at),
            Some(receipts) => {
                receipts.take(&sample.device, (received_at, sample.time), &mut |device, receipt| {
                    feed(backtest, identity, &heard(device, receipt.1), receipt.0);
                });
            }
        }
    }

    fn end(self, identity: &Identity) -> Backtest<Arc<Rule>> {
        let Self { mut backtest, receipts } = self;
        if let Some(receipts) = receipts {
            receipts.end(&mut |device, receipt| {
                feed(&mut backtest, identity, &heard(device, receipt.1), receipt.0);
            });
        }
        backtest
    }
}

fn feed(backtest: &mut Backtest<Arc<Rule>>, identity: &Identity, sample: &Sample, received_at: Timestamp) {
    if backtest.has_met(&sample.device) {
        return backtest.feed(sample, received_at, &Circumstances::UNKNOWN);
    }
    with_circumstances(identity, &sample.device, |known| backtest.feed(sample, received_at, known));
}

/// Silence asks nothing but when.
fn heard(device: &model::DeviceName, time: Timestamp) -> Sample {
    Sample { device: device.clone(), time, flags: Flags::empty(), readings: Vec::new() }
}

/// One look.
pub(super) struct Pass {
    identity: Identity,
    tries: Vec<Fed>,
    by_topic: HashMap<ByteString, Arc<[usize]>>,
    /// The topic of the sample before.
    last: Option<(ByteString, Arc<[usize]>)>,
    /// Topics that readings came over, with `+` for the device.
    patterns: BTreeSet<String>,
    readings: u64,
}

impl Pass {
    pub(super) fn new(identity: Identity, tries: Vec<Fed>, patterns: BTreeSet<String>) -> Self {
        Self { identity, tries, by_topic: HashMap::new(), last: None, patterns, readings: 0 }
    }

    /// How many states there are.
    pub(super) fn keys(&self) -> usize {
        self.tries.iter().map(|of| of.backtest.keys()).sum()
    }

    /// How many readings it has seen.
    pub(super) fn readings(&self) -> u64 {
        self.readings
    }

    /// All have come.
    pub(super) fn end(self) -> (Tries, BTreeSet<String>) {
        let Self { identity, tries, patterns, .. } = self;
        (tries.into_iter().map(|of| of.end(&identity)).collect(), patterns)
    }

    /// Takes the samples of one device and time, one for each topic.
    pub(super) fn take(&mut self, samples: &[StoredSample]) {
        self.readings += samples.iter().map(|stored| stored.sample.readings.len() as u64).sum::<u64>();
        if let [one] = samples {
            let places = self.places(one);
            for place in &*places {
                self.tries[*place].take(&self.identity, &one.sample, one.received_at);
            }
            return;
        }
        let places: Vec<Arc<[usize]>> = samples.iter().map(|one| self.places(one)).collect();
        for (place, of) in self.tries.iter_mut().enumerate() {
            let heard = samples.iter().zip(&places).filter(|(_, places)| places.contains(&place));
            if let Some((sample, received_at)) = joined(heard.map(|(stored, _)| stored)) {
                of.take(&self.identity, &sample, received_at);
            }
        }
    }

    /// The rules that listen to the topic.
    fn places(&mut self, stored: &StoredSample) -> Arc<[usize]> {
        if let Some((topic, places)) = &self.last
            && *topic == stored.topic
        {
            return Arc::clone(places);
        }
        let places = match self.by_topic.get(&stored.topic) {
            Some(places) => Arc::clone(places),
            None => self.meet(stored),
        };
        self.last = Some((stored.topic.clone(), Arc::clone(&places)));
        places
    }

    #[cold]
    fn meet(&mut self, stored: &StoredSample) -> Arc<[usize]> {
        if self.by_topic.len() >= TOPICS_MAX {
            self.by_topic.clear();
        }
        // What is stored came over a valid topic.
        let topic = TopicName::parse(stored.topic.clone()).ok();
        let listens = |of: &Fed| topic.as_ref().is_some_and(|topic| of.backtest.rule().from().matches(topic));
        let places: Arc<[usize]> =
            self.tries.iter().enumerate().filter(|(_, of)| listens(of)).map(|(place, _)| place).collect();
        self.by_topic.insert(stored.topic.clone(), Arc::clone(&places));
        if self.patterns.len() < PATTERNS_MAX {
            let device = stored.sample.device.as_str();
            let levels: Vec<&str> =
                stored.topic.split('/').map(|level| if level == device { "+" } else { level }).collect();
            self.patterns.insert(levels.join("/"));
        }
        places
    }
}

/// All readings of one device and time are one sample, whatever topics they came over that the rule listens to.
pub(in crate::evaluate) fn joined<'a>(
    mut of: impl Iterator<Item = &'a StoredSample>,
) -> Option<(Sample, Timestamp)> {
    let first = of.next()?;
    let (mut sample, mut received_at) = (first.sample.clone(), first.received_at);
    for stored in of {
        sample.flags |= stored.sample.flags;
        sample.readings.extend(stored.sample.readings.iter().cloned());
        received_at = received_at.max(stored.received_at);
    }
    Some((sample, received_at))
}
