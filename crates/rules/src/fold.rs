//! The state of one rule for one key, and the step that takes in the next sample.
//!
//! Not here: which samples come, and from where. The laws: samples come in (time, device) order, and what does not is told
//! and changes nothing: whoever feeds the fold looks again with [`refold`](crate::refold()). The state after a sample is a
//! function of the samples up to it.

use std::hash::{Hash, Hasher};

use model::{ChannelName, DeviceName, Sample, Timestamp, Value};
use smallvec::SmallVec;

use crate::episode::{Episode, Transition};
use crate::expr::{Counts, Frame};
use crate::key::Subject;
use crate::machine::{Machine, Moves, Verdict};
use crate::rule::{Plan, Rule};
use crate::value::Scalar;
use crate::window::{Last, Window};

/// The state of one rule for one key. Small: without windows under 200 bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    pub(crate) machine: Machine,
    /// Time of the newest sample, and what it said: a repeat of it is known.
    pub(crate) newest: Option<(Timestamp, u64)>,
    /// Whose the newest sample was, where devices share a key.
    pub(crate) device: Option<Box<DeviceName>>,
    /// What stands, where `hold` is given: it can fire when nothing comes.
    pub(crate) standing: Option<Box<[Option<Value>]>>,
    pub(crate) windows: Box<[Window]>,
    pub(crate) lasts: Box<[Last]>,
}

/// What became of a sample that was handed to [`Fold::step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is in the state now.
    Folded,
    /// It has nothing that the rule looks at.
    Unseen,
    /// It is the newest sample once more, and changes nothing.
    Repeated,
    /// It belongs before the newest sample, or says something else of the same time: the state is as it was. Look again
    /// with [`refold`](crate::refold()), from a settled sample before it.
    Late,
    /// It is further behind than the rule's `lateness`: the state is as it was, and stays so.
    TooLate,
}

/// What a sample showed of itself, beside what it did.
pub(crate) struct Seen {
    pub(crate) step: Step,
    /// After this sample the machine is idle, whatever it was before.
    pub(crate) settles: bool,
    /// What it said, when it was judged.
    pub(crate) verdict: Option<Verdict>,
}

impl Fold {
    /// The state before the first sample.
    ///
    /// # Panics
    /// For a rule of `absent_for`: that is [`Silence`](crate::Silence).
    #[must_use]
    pub fn new(rule: &Rule) -> Self {
        let plan = plan_of(rule);
        let windows = plan.slots.windows.iter().map(|window| Window::new(window.extent)).collect();
        let last = |last: &crate::expr::LastPlan| Last { span_micros: last.span_micros, newest: None };
        let lasts = plan.slots.lasts.iter().map(last).collect();
        Self { machine: Machine::Idle, newest: None, device: None, standing: None, windows, lasts }
    }

    /// The time of the newest sample in the state.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        self.newest.map(|(time, _)| time)
    }

    /// The start of a run that has not fired.
    #[must_use]
    pub fn pending_since(&self) -> Option<Timestamp> {
        match self.machine {
            Machine::Run { start, .. } => Some(start),
            _ => None,
        }
    }

    /// Start and firing of the episode that holds.
    #[must_use]
    pub fn firing(&self) -> Option<(Timestamp, Timestamp)> {
        match self.machine {
            Machine::Firing { start, fired_at } => Some((start, fired_at)),
            _ => None,
        }
    }

    /// Takes in `sample`, whose readings came over topics that the rule's `from` matches, and adds what it told to
    /// `transitions` (at most two: what was due before it fired, and it resolved that).
    pub fn step(
        &mut self,
        rule: &Rule,
        subject: &Subject,
        sample: &Sample,
        counts: &mut Counts,
        transitions: &mut Vec<Transition>,
    ) -> Step {
        self.take(rule, subject, sample, counts, transitions).step
    }

    /// When it fires even if nothing comes (`hold`): call [`Self::at`] then.
    #[must_use]
    pub fn due(&self, rule: &Rule) -> Option<Timestamp> {
        self.machine.due(&plan_of(rule).terms)
    }

    /// The time has come to `now` and nothing came: what is due fires, at the time it was due.
    pub fn at(&mut self, rule: &Rule, now: Timestamp) -> Option<Transition> {
        let plan = plan_of(rule);
        let moves = self.machine.at(&plan.terms, now);
        let (start, fired_at, _) = moves.fired?;
        Some(Transition::Fired(self.stood(plan, start, fired_at)))
    }

    pub(crate) fn take(
        &mut self,
        rule: &Rule,
        subject: &Subject,
        sample: &Sample,
        counts: &mut Counts,
        transitions: &mut Vec<Transition>,
    ) -> Seen {
        let plan = plan_of(rule);
        let passed = |step| Seen { step, settles: false, verdict: None };
        let values = readings(plan, sample);
        if values.iter().all(Option::is_none) {
            return passed(Step::Unseen);
        }
        let print = print(&values);
        let merges = rule.merges_devices();
        if let Some(step) = self.place(rule, sample, print, merges) {
            return passed(step);
        }
        let verdict = self.judge(plan, subject, sample.time, &values, counts);
        let moves = self.machine.step(&plan.terms, sample.time, verdict);
        self.tell(plan, moves, &values, transitions);
        if plan.terms.hold_micros.is_some() && verdict.holds.is_some() {
            self.standing =
                (verdict.holds == Some(true)).then(|| values.iter().map(|v| v.cloned()).collect());
        }
        self.newest = Some((sample.time, print));
        if merges && self.device.as_deref() != Some(&sample.device) {
            self.device = Some(Box::new(sample.device.clone()));
        }
        Seen { step: Step::Folded, settles: verdict.settles(), verdict: Some(verdict) }
    }

    /// From when on a sample that changes would change the windows and last values of this state.
    pub(crate) fn reach(&self) -> i64 {
        let micros = self.newest.map_or(i64::MIN, |(time, _)| time.micros());
        let windows = self.windows.iter().map(|window| window.reach(micros));
        let lasts = self.lasts.iter().map(|last| last.reach(micros));
        windows.chain(lasts).min().unwrap_or(i64::MAX)
    }

    /// What becomes of a sample that is not next; `None` when it is.
    fn place(&self, rule: &Rule, sample: &Sample, print: u64, merges: bool) -> Option<Step> {
        let (newest, newest_print) = self.newest?;
        let order = sample.time.cmp(&newest).then_with(|| match &self.device {
            Some(device) if merges => sample.device.cmp(device),
            _ => std::cmp::Ordering::Equal,
        });
        match order {
            std::cmp::Ordering::Greater => None,
            std::cmp::Ordering::Equal if print == newest_print => Some(Step::Repeated),
            _ if rule.is_too_late(sample.time, newest) => Some(Step::TooLate),
            _ => Some(Step::Late),
        }
    }

    fn judge(
        &mut self,
        plan: &Plan,
        subject: &Subject,
        time: Timestamp,
        values: &[Option<&Value>],
        counts: &mut Counts,
    ) -> Verdict {
        let micros = time.micros();
        let channels: SmallVec<[Scalar; 4]> =
            values.iter().map(|value| value.map_or(Scalar::Undefined, Scalar::of)).collect();
        let mut frame =
            Frame { channels: &channels, attributes: &subject.attributes, windows: &[], lasts: &[], micros };
        for (window, of) in self.windows.iter_mut().zip(&plan.slots.windows) {
            let value = of.argument.value(&frame, counts);
            let number = match value.number() {
                Some(number) => Some(number),
                None if !value.is_defined() => None,
                None if of.takes_texts => Some(0.0),
                None => {
                    counts.wrong_kind += 1;
                    None
                }
            };
            window.push(micros, number);
        }
        for (last, of) in self.lasts.iter_mut().zip(&plan.slots.lasts) {
            if let Some(value) = values[of.channel] {
                last.newest = Some((micros, value.clone()));
            }
            last.forget(micros);
        }
        (frame.windows, frame.lasts) = (&self.windows, &self.lasts);
        let holds = plan.expr.truth(&frame, counts);
        let clears = match &plan.clear {
            None => holds == Some(false),
            Some(clear) => clear.truth(&frame, counts) == Some(true),
        };
        Verdict { holds, clears }
    }

    fn tell(&self, plan: &Plan, moves: Moves, values: &[Option<&Value>], transitions: &mut Vec<Transition>) {
        if let Some((start, fired_at, is_between)) = moves.fired {
            let episode = if is_between {
                self.stood(plan, start, fired_at)
            } else {
                Episode { start, fired_at, resolved_at: None, values: named(plan, values.iter().copied()) }
            };
            transitions.push(Transition::Fired(episode));
        }
        if let Some((start, fired_at, resolved_at)) = moves.resolved {
            let values = named(plan, values.iter().copied());
            let resolved_at = Some(resolved_at);
            transitions.push(Transition::Resolved(Episode { start, fired_at, resolved_at, values }));
        }
    }

    /// The episode that fired between samples, with the readings that stood.
    fn stood(&self, plan: &Plan, start: Timestamp, fired_at: Timestamp) -> Episode {
        let standing = self.standing.as_deref().unwrap_or_default();
        let values = named(plan, standing.iter().map(Option::as_ref));
        Episode { start, fired_at, resolved_at: None, values }
    }
}

fn plan_of(rule: &Rule) -> &Plan {
    rule.plan().expect("a rule of `absent_for` is fed to `Silence`")
}

type Readings<'a> = SmallVec<[Option<&'a Value>; 4]>;

/// The sample's readings by slot.
fn readings<'a>(plan: &Plan, sample: &'a Sample) -> Readings<'a> {
    let of = |channel: &ChannelName| {
        sample.readings.iter().find(|reading| reading.channel == *channel).map(|reading| &reading.value)
    };
    plan.slots.channels.iter().map(of).collect()
}

fn named<'a>(plan: &Plan, values: impl Iterator<Item = Option<&'a Value>>) -> Vec<(ChannelName, Value)> {
    let channels = plan.slots.channels.iter().zip(values);
    channels.filter_map(|(channel, value)| Some((channel.clone(), value?.clone()))).collect()
}

/// What a sample says, as one number: by it a repeat is known.
fn print(values: &[Option<&Value>]) -> u64 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    for value in values {
        match value {
            None => 0_u8.hash(&mut hasher),
            Some(Value::Number(number)) => (1_u8, number.to_bits()).hash(&mut hasher),
            Some(Value::Text(text) | Value::BigInteger(_, text)) => {
                (2_u8, text.as_bytes()).hash(&mut hasher);
            }
        }
    }
    hasher.0
}

/// The same on every machine and in every version: it is part of the state that is kept. Whole words at a time.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

    fn write_u64(&mut self, word: u64) {
        // The shift brings what multiplication moved up back down: nearby numbers differ everywhere.
        self.0 = (self.0 ^ word).wrapping_mul(0x0100_0000_01b3);
        self.0 ^= self.0 >> 29;
    }

    fn write_usize(&mut self, size: usize) {
        self.write_u64(size as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, RuleSet};

    #[test]
    fn the_state_of_a_rule_without_windows_is_small() {
        let text = "groups:\n- name: a\n  rules:\n  - {alert: A, from: '#', expr: a > 1, for: 5m}\n";
        let rules = RuleSet::load([("a", text)], &Limits::default()).expect("right");
        // No window, no last value, no device: nothing is kept outside the struct.
        assert!(size_of::<Fold>() <= 200, "{} bytes", size_of::<Fold>());
        let mut fold = Fold::new(&rules.alerts[0]);
        fold.machine = Machine::Run {
            start: Timestamp::from_micros(1),
            last: Timestamp::from_micros(i64::MAX),
            count: 9,
        };
        fold.newest = Some((Timestamp::from_micros(i64::MAX), u64::MAX));
        assert!(fold.to_bytes().len() <= 48, "{} bytes", fold.to_bytes().len());
    }
}
