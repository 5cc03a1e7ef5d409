//! Rules tried on the readings that this server keeps: what they would have done, and what another version would.
//!
//! Not here: the fold and the report (`rules`), and the reading of columns (`series`). The laws: nothing is changed and nobody
//! is told; all rules of a trial share one look at the readings, rules whose devices share a state another one; what is known
//! of devices is what is known today; memory and the number of trials are bounded.

mod nothing;
mod pass;
mod receipts;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use catalog::ReadError;
use model::{Kind, Timestamp};
use rules::{Backtest, Difference, Key, Report, Rule, Version};
use series::{HeldMax, HowFar, Met, Past, PastOrder, QueryError, Selection};
use tokio::sync::OwnedSemaphorePermit;

pub(super) use self::pass::joined;
use self::pass::{Fed, Pass};
use super::{Evaluation, keep};

/// Trials that run at once: each holds states, a stretch of readings and a thread.
pub const TRIALS_MAX: usize = 2;

/// Most states of one trial, over its rules and their keys. Some 500 bytes each, without windows.
const KEYS_MAX: usize = 1_000_000;

/// Most episodes of one rule that are listed; more are counted.
const EPISODES_MAX: usize = 10_000;

/// Most episodes of one trial that are listed, over its rules. Some 2 kB each, with what is written of them.
const EPISODES_OF_ALL_MAX: usize = 100_000;

/// What is tried.
#[derive(Debug)]
pub struct Trial {
    /// The rules.
    pub rules: Vec<Rule>,
    /// What they are compared with.
    pub against: Against,
    /// Readings of this time or later.
    pub from: Option<Timestamp>,
    /// Readings before this time.
    pub to: Option<Timestamp>,
    /// The label by which notices are counted.
    pub label: String,
}

/// What rules are compared with.
#[derive(Debug)]
pub enum Against {
    /// The rules of the same names in force.
    InForce,
    /// These.
    Rules(Vec<Rule>),
}

/// What came of a trial.
#[derive(Debug)]
pub struct Tried {
    /// In the order in which the rules were given.
    pub rules: Vec<TriedRule>,
    /// Readings that were looked at.
    pub readings: u64,
    /// The oldest and the newest reading that there is, whatever was asked for.
    pub held: Option<(Timestamp, Timestamp)>,
    /// Names of rules of the other file that are not among those tried.
    pub gone: Vec<String>,
}

/// What came of one rule.
#[derive(Debug)]
pub struct TriedRule {
    /// What it would have done.
    pub report: Report,
    /// What it is compared with; `None` when there is nothing of its name.
    pub compared: Option<Compared>,
    /// Why it saw nothing, and what there is instead.
    pub nothing: Option<String>,
}

/// A rule beside another version of it.
#[derive(Debug)]
pub struct Compared {
    /// The other version.
    pub version: Version,
    /// Whether that one is in force.
    pub is_in_force: bool,
    /// What is different, by key. Of the episodes that are listed.
    pub differences: Vec<(Key, Vec<Difference>)>,
    /// Whether one of the two has episodes that are only counted: of those nothing is said.
    pub is_partial: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// As many run as may.
    #[error("{TRIALS_MAX} backtests are running already")]
    Busy,
    /// There is no time between the two.
    #[error("nothing lies between {from} and {to}")]
    Range {
        /// From.
        from: Timestamp,
        /// To.
        to: Timestamp,
    },
    /// No rule that raises alerts.
    #[error("there is no rule with `alert` in it")]
    NoRules,
    /// Too many states.
    #[error("rules and keys would make more than {KEYS_MAX} states")]
    Keys,
    /// What is stored cannot be read.
    #[error("the readings cannot be read")]
    Readings(#[from] QueryError),
    /// What is known of the server's absences cannot be read.
    #[error("the catalog cannot be read")]
    Catalog(#[from] ReadError),
}

impl TrialError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Busy => Kind::TooMuch,
            Self::Range { .. } | Self::NoRules | Self::Keys => Kind::Invalid,
            Self::Readings(error) => error.kind(),
            Self::Catalog(error) => error.kind(),
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Busy => Some("wait for one of them to end"),
            Self::Range { .. } => Some("`since` is before `until`"),
            Self::NoRules => {
                Some("what acts on messages, with `rule` and `sql`, is tried with `godwit rule test`")
            }
            Self::Keys => Some("try fewer rules at a time"),
            Self::Readings(error) => error.hint(),
            Self::Catalog(_) => None,
        }
    }
}

impl Evaluation {
    /// Tries rules on what is stored; `tell` hears how far it is, and may break it off: then there is no answer worth reading.
    /// Dropped, it stops. Waits for nothing that comes meanwhile.
    ///
    /// # Errors
    /// [`TrialError`].
    pub async fn try_rules(
        &self,
        trial: Trial,
        tell: impl FnMut(HowFar) -> ControlFlow<()> + Send + 'static,
    ) -> Result<Tried, TrialError> {
        let place = Arc::clone(&self.trials).try_acquire_owned().map_err(|_| TrialError::Busy)?;
        let Trial { rules, against, from, to, label } = trial;
        if let (Some(from), Some(to)) = (from, to)
            && to <= from
        {
            return Err(TrialError::Range { from, to });
        }
        if rules.is_empty() {
            return Err(TrialError::NoRules);
        }
        let rules: Vec<Arc<Rule>> = rules.into_iter().map(Arc::new).collect();
        let is_in_force = matches!(against, Against::InForce);
        let others: Vec<Arc<Rule>> = match against {
            Against::InForce => self.in_force.lock().clone(),
            Against::Rules(others) => others.into_iter().map(Arc::new).collect(),
        };
        let other = |rule: &Rule| others.iter().find(|other| other.name() == rule.name());
        let marks =
            self.parts.catalog.read_async(|connection| Ok::<_, ReadError>(keep::marks(connection)?)).await?;
        let changed = |rule: &&Arc<Rule>| other(rule).is_some_and(|other| other.version() != rule.version());
        let compared: Vec<&Arc<Rule>> = rules.iter().filter(changed).filter_map(|rule| other(rule)).collect();
        let listed = EPISODES_MAX.min(EPISODES_OF_ALL_MAX / (rules.len() + compared.len())).max(1);
        let begin = |rule: &Arc<Rule>| {
            let mut backtest = Backtest::new(Arc::clone(rule)).by_label(&label).listing(listed);
            marks.absences.iter().for_each(|(from, to)| backtest.absent(*from, *to));
            backtest
        };
        let selection = Selection { from, to, ..Selection::default() };
        let mut trying = Trying::new(self, selection.clone(), tell, place);
        trying.run(rules.iter().chain(compared).map(begin).collect()).await?;
        let now = self.parts.host.clock.now();
        let end = to.map_or(now, |to| to.min(now));
        let Trying { done, readings, patterns, .. } = trying;
        let mut reports: Vec<Report> = done.into_iter().map(|backtest| backtest.finish(Some(end))).collect();
        let olds = reports.split_off(rules.len());
        let tried = reports.into_iter().zip(&rules).map(|(report, rule)| {
            let old = olds.iter().find(|old| old.rule == report.rule);
            let compared = other(rule).map(|other| Compared {
                version: other.version(),
                is_in_force,
                differences: old.map(|old| report.difference_to(old)).unwrap_or_default(),
                // What has the same text was not run twice: it is the same.
                is_partial: old.is_some_and(|old| !(report.lists_all() && old.lists_all())),
            });
            let nothing =
                (report.samples == 0).then(|| nothing::why(&self.parts.series, rule, &selection, &patterns));
            TriedRule { report, compared, nothing }
        });
        let rules_tried: Vec<TriedRule> = tried.collect();
        let is_tried = |other: &&Arc<Rule>| rules.iter().any(|rule| rule.name() == other.name());
        let gone = others.iter().filter(|other| !is_in_force && !is_tried(other));
        Ok(Tried {
            rules: rules_tried,
            readings,
            held: self.parts.series.extent(&Selection::default()),
            gone: gone.map(|other| other.name().to_owned()).collect(),
        })
    }
}

type Tries = Vec<Backtest<Arc<Rule>>>;

/// A trial on its way.
struct Trying<'a, T> {
    evaluation: &'a Evaluation,
    selection: Selection,
    tell: Option<T>,
    /// Given back when nothing reads any more, whoever has gone away.
    place: Arc<OwnedSemaphorePermit>,
    done: Tries,
    readings: u64,
    /// Topics that readings came over, with `+` for the device.
    patterns: BTreeSet<String>,
}

impl<'a, T: FnMut(HowFar) -> ControlFlow<()> + Send + 'static> Trying<'a, T> {
    fn new(evaluation: &'a Evaluation, selection: Selection, tell: T, place: OwnedSemaphorePermit) -> Self {
        let (done, patterns, place) = (Tries::new(), BTreeSet::new(), Arc::new(place));
        Self { evaluation, selection, tell: Some(tell), place, done, readings: 0, patterns }
    }

    /// Feeds all of them; they come back in their order.
    async fn run(&mut self, tries: Tries) -> Result<(), TrialError> {
        let places = tries.len();
        let (shared, own): (Vec<_>, Vec<_>) =
            tries.into_iter().enumerate().partition(|(_, of)| of.rule().merges_devices());
        let passes: Vec<_> = [(own, PastOrder::Devices), (shared, PastOrder::Times)]
            .into_iter()
            .filter(|(tries, _)| !tries.is_empty())
            .collect();
        let many = passes.len();
        let mut done: Vec<Option<Backtest<Arc<Rule>>>> = (0..places).map(|_| None).collect();
        for (nth, (tries, order)) in passes.into_iter().enumerate() {
            let (at, tries): (Vec<usize>, Tries) = tries.into_iter().unzip();
            for (at, of) in at.into_iter().zip(self.pass(tries, order, (nth, many)).await?) {
                done[at] = Some(of);
            }
        }
        self.done = done.into_iter().flatten().collect();
        Ok(())
    }

    async fn pass(
        &mut self,
        tries: Tries,
        order: PastOrder,
        (nth, many): (usize, usize),
    ) -> Result<Tries, TrialError> {
        let receipts = tries.iter().any(|of| of.rule().absent_for().is_some());
        let channels: BTreeSet<String> =
            tries.iter().flat_map(|of| of.rule().channels()).map(ToString::to_string).collect();
        // Whoever is silent says nothing at all: of other channels it matters that they came, not what they said.
        let selected = if receipts { Vec::new() } else { channels.iter().cloned().collect() };
        let past = Past {
            selection: Selection { channels: selected, ..self.selection.clone() },
            order,
            receipts,
            valued: Some(channels),
            held_max: HeldMax::default(),
        };
        let tell = self.tell.take().expect("it is put back");
        let before = self.readings;
        let patterns = std::mem::take(&mut self.patterns);
        let tries = tries.into_iter().map(|of| Fed::new(of, order)).collect();
        let pass = Pass::new(self.evaluation.parts.identity.clone(), tries, patterns);
        let state = (pass, tell, Arc::clone(&self.place));
        let taken = self.evaluation.parts.series.past(past, state, move |(pass, tell, _), met| match met {
            Met::Samples(samples) => {
                pass.take(samples);
                ControlFlow::Continue(())
            }
            Met::HowFar(how_far) => {
                if pass.keys() > KEYS_MAX {
                    return ControlFlow::Break(());
                }
                tell(HowFar {
                    days_done: how_far.days_done + nth * how_far.days,
                    days: how_far.days * many,
                    readings: before + how_far.readings,
                    ..how_far
                })
            }
        });
        let (pass, tell, _) = taken.await?;
        self.tell = Some(tell);
        if pass.keys() > KEYS_MAX {
            return Err(TrialError::Keys);
        }
        self.readings += pass.readings();
        let (tries, patterns) = pass.end();
        self.patterns = patterns;
        Ok(tries)
    }
}
