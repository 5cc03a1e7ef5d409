//! What an episode rests on: the samples around it as its rule saw them, judged once more by the text of that version.
//!
//! Not here: who was told (`look_up`), and the fold (`rules`). The laws: what is stored now is what is shown, also when it came
//! later than the verdict; what is handed out is bounded: the first and the last samples, a count of those between, a picture of
//! all; nothing is changed.

mod picture;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use catalog::ReadError;
use hashbrown::HashMap;
use model::{ChannelName, DeviceName, Kind, Sample, Timestamp};
use rules::{Counts, Fold, Key, Limits, Rule, RuleSet, Step, Subject};
use series::{HeldMax, Met, Past, PastOrder, QueryError, Selection, StoredSample};

pub use self::picture::Picture;
use super::look;
use super::told;
use super::trial::joined;
use super::{Evaluation, keep};
use crate::Episode;

/// How many samples are handed out from the start on, and how many up to the end.
pub const GROUNDS_SHOWN: usize = 50;

/// How many samples before the start are handed out.
const BEFORE: usize = 5;

/// Walks at once: each holds a stretch of readings and a thread. Who comes then waits.
pub(super) const WALKS_MAX: usize = 2;

/// The most that is read before the start, so that windows are full.
const BACK_MICROS_MAX: i64 = 30 * Timestamp::DAY;

/// Where windows lack samples, so many times more is read.
const FURTHER: i64 = 8;

/// The longest stretch of time that is read of an episode: of a longer one the end.
const SPAN_MICROS_MAX: i64 = 400 * Timestamp::DAY;

/// A reading that was received so much after it was measured came late.
const LATE_MICROS: i64 = 60 * Timestamp::SECOND;

/// What an episode rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Grounds {
    /// The text of the rule's version; `None` when it is not kept.
    pub text: Option<String>,
    /// Some samples before the start, and the first from there on.
    pub first: Vec<Ground>,
    /// How many samples lie between the two.
    pub left_out: u64,
    /// The last samples up to the end, or up to now.
    pub last: Vec<Ground>,
    /// A channel of the rule over the time of the episode.
    pub picture: Option<Picture>,
}

/// A sample as the rule saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ground {
    /// The readings that the rule looks at.
    pub sample: Sample,
    /// When the last of them was received.
    pub received_at: Timestamp,
    /// What it said.
    pub says: Says,
    /// A hole before it broke the run.
    pub breaks: bool,
    /// Channels of the rule that it lacks.
    pub missing: Vec<ChannelName>,
}

impl Ground {
    /// Whether it came long after it was measured.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.received_at.micros_since(self.sample.time) > LATE_MICROS
    }
}

/// What a sample said to the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// The condition held.
    Met,
    /// It did not, and that ends no episode.
    NotMet,
    /// It ends an episode.
    Clear,
    /// Undefined by what it lacks, or by its data.
    Undefined,
    /// It was heard: that is all that a rule about silence asks. Or the rule's text is not kept.
    Heard,
}

impl Says {
    /// As the API writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "not_met",
            Self::Clear => "clear",
            Self::Undefined => "undefined",
            Self::Heard => "heard",
        }
    }
}

/// Why grounds cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum GroundsError {
    /// The readings cannot be read.
    #[error("the readings cannot be read")]
    Readings(#[from] QueryError),
    /// The texts of rules cannot be read.
    #[error("the catalog cannot be read")]
    Catalog(#[from] ReadError),
}

impl GroundsError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Readings(error) => error.kind(),
            Self::Catalog(error) => error.kind(),
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Readings(error) => error.hint(),
            Self::Catalog(_) => None,
        }
    }
}

impl Evaluation {
    /// What `episode` rests on.
    ///
    /// # Errors
    /// [`GroundsError`].
    pub async fn grounds(&self, episode: &Episode) -> Result<Grounds, GroundsError> {
        let text = self.text_of(episode).await?;
        let rule = self.rule_of(episode, text.as_deref());
        let rule = rule.as_deref();
        let end = episode.resolved_at.unwrap_or_else(|| self.parts.host.clock.now());
        let start = episode.started_at.max(end.plus_micros(-SPAN_MICROS_MAX));
        let subjects = self.members_of(episode, rule);
        if subjects.is_empty() {
            // Nobody is of this key any more; to ask for nobody's readings would be to ask for everybody's.
            return Ok(Grounds { text, first: Vec::new(), left_out: 0, last: Vec::new(), picture: None });
        }
        let channels = rule.map(Rule::channels).unwrap_or_default();
        let look_back = rule.map(Rule::look_back).unwrap_or_default();
        let for_micros = rule.map_or(0, Rule::for_micros);
        let mut back = look::first_back(look_back, for_micros).min(BACK_MICROS_MAX);
        if look_back.is_unbounded {
            back = BACK_MICROS_MAX;
        }
        // Given back when nothing reads any more, whoever has gone away.
        let place = Arc::new(Arc::clone(&self.walks).acquire_owned().await.ok());
        let walk = async |back: i64, to: Timestamp| {
            let selection = Selection {
                from: Some(start.plus_micros(-back)),
                to: Some(to),
                devices: subjects.keys().map(ToString::to_string).collect(),
                channels: channels.iter().map(ToString::to_string).collect(),
            };
            let past = Past {
                selection,
                order: PastOrder::Times,
                receipts: true,
                valued: None,
                held_max: HeldMax::default(),
            };
            let walk = Walk {
                fold: rule.filter(|rule| rule.absent_for().is_none()).map(Fold::new),
                rule: self.rule_of(episode, text.as_deref()),
                subjects: subjects.clone(),
                start,
                before: VecDeque::new(),
                before_seen: 0,
                first: Vec::new(),
                last: VecDeque::new(),
                left_out: 0,
                picture: channels.first().map(|channel| Picture::new(channel, start, episode.fired_at, end)),
            };
            let take = |walk: &mut Walk, met: Met<'_>| {
                if let Met::Samples(samples) = met {
                    walk.take(samples);
                }
                ControlFlow::Continue(())
            };
            let state = (walk, Arc::clone(&place));
            let take = move |(walk, _): &mut (Walk, _), met: Met<'_>| take(walk, met);
            Ok::<_, QueryError>(self.parts.series.past(past, state, take).await?.0)
        };
        // What fills the windows lies before the start: the episode itself, which may be long, is read once.
        while back < BACK_MICROS_MAX && look_back.samples > 0 {
            if walk(back, start).await?.before_seen >= look_back.samples {
                break;
            }
            back = back.saturating_mul(FURTHER).min(BACK_MICROS_MAX);
        }
        let walk = walk(back, end.plus_micros(1)).await?;
        let mut first: Vec<Ground> = walk.before.into();
        first.extend(walk.first);
        let picture = walk.picture.filter(|picture| !picture.is_empty());
        let last = walk.last.into();
        Ok(Grounds { text, first, left_out: walk.left_out, last, picture })
    }

    /// The text of the version.
    async fn text_of(&self, episode: &Episode) -> Result<Option<String>, ReadError> {
        let (rule, version) = (episode.rule.clone(), rules::Version(episode.version).to_string());
        let versions = self
            .parts
            .catalog
            .read_async(move |connection| Ok::<_, ReadError>(keep::versions(connection, &rule)?));
        let found = versions.await?.into_iter().find(|of| of.version == version);
        Ok(found.map(|of| of.text))
    }

    /// The rule of that version: the one in force, or made of its text once more.
    fn rule_of(&self, episode: &Episode, text: Option<&str>) -> Option<Arc<Rule>> {
        let is_it = |rule: &Rule| rule.name() == episode.rule && rule.version().0 == episode.version;
        if let Some(rule) = self.in_force.lock().iter().find(|rule| is_it(rule)) {
            return Some(Arc::clone(rule));
        }
        let file = format!("groups: [{{name: kept, rules: [{}]}}]", text?);
        // It was right for the fleet there was.
        let limits = Limits { devices: 1, ..Limits::default() };
        let loaded = RuleSet::load([("kept", file.as_str())], &limits).ok()?;
        loaded.alerts.into_iter().find(is_it).map(Arc::new)
    }

    /// The devices of its key, as the rule sees them.
    fn members_of(
        &self,
        episode: &Episode,
        rule: Option<&Rule>,
    ) -> HashMap<DeviceName, Option<Arc<Subject>>> {
        let identity = &self.parts.identity;
        if let Some(device) = episode.key.get("device").and_then(|name| DeviceName::parse(name.clone()).ok())
        {
            let subject = rule.and_then(|rule| told::subject(identity, rule, &device));
            return HashMap::from_iter([(device, subject.map(Arc::new))]);
        }
        let Some(rule) = rule else { return HashMap::new() };
        let is_its = |key: &Key| told::parts(key) == episode.key;
        let members = identity.known_devices().into_iter().filter_map(|device| {
            let subject = told::subject(identity, rule, &device).filter(|subject| is_its(&subject.key))?;
            Some((device, Some(Arc::new(subject))))
        });
        members.collect()
    }
}

/// On its way through the samples.
struct Walk {
    rule: Option<Arc<Rule>>,
    fold: Option<Fold>,
    subjects: HashMap<DeviceName, Option<Arc<Subject>>>,
    start: Timestamp,
    before: VecDeque<Ground>,
    before_seen: usize,
    first: Vec<Ground>,
    last: VecDeque<Ground>,
    left_out: u64,
    picture: Option<Picture>,
}

impl Walk {
    fn take(&mut self, samples: &[StoredSample]) {
        let heard = |stored: &&StoredSample| {
            let from = self.rule.as_deref().map(Rule::from);
            from.is_none_or(|from| from.matches(&stored.topic))
        };
        let Some((sample, received_at)) = joined(samples.iter().filter(heard)) else { return };
        let Some(ground) = self.ground(sample, received_at) else { return };
        if let Some(picture) = &mut self.picture {
            picture.put(&ground.sample);
        }
        if ground.sample.time < self.start {
            self.before_seen += 1;
            self.before.push_back(ground);
            if self.before.len() > BEFORE {
                self.before.pop_front();
            }
        } else if self.first.len() < GROUNDS_SHOWN {
            self.first.push(ground);
        } else {
            self.last.push_back(ground);
            if self.last.len() > GROUNDS_SHOWN {
                self.last.pop_front();
                self.left_out += 1;
            }
        }
    }

    /// `None`: the rule does not see it.
    fn ground(&mut self, sample: Sample, received_at: Timestamp) -> Option<Ground> {
        let heard =
            |sample| Ground { sample, received_at, says: Says::Heard, breaks: false, missing: Vec::new() };
        let (Some(fold), Some(rule)) = (&mut self.fold, &self.rule) else { return Some(heard(sample)) };
        let Some(Some(subject)) = self.subjects.get(&sample.device) else { return Some(heard(sample)) };
        let judged = fold.judged(rule, subject, &sample, &mut Counts::default(), &mut Vec::new());
        if judged.step != Step::Folded {
            return None;
        }
        let says = match (judged.clears, judged.holds) {
            (_, Some(true)) => Says::Met,
            (true, _) => Says::Clear,
            (false, Some(false)) => Says::NotMet,
            (false, None) => Says::Undefined,
        };
        let has = |channel: &&ChannelName| sample.readings.iter().any(|reading| reading.channel == **channel);
        let missing = rule.channels().iter().filter(|channel| !has(channel)).cloned().collect();
        Some(Ground { received_at, says, breaks: judged.breaks, missing, sample })
    }
}
