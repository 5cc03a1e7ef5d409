//! What one sample said to a rule: for whoever explains an episode.
//!
//! Not here: what becomes of it (`machine`). The law: it is the same step that the server takes.

use model::Sample;

use crate::episode::Transition;
use crate::expr::Counts;
use crate::fold::{Fold, Step};
use crate::key::Subject;
use crate::machine::Machine;
use crate::rule::Rule;

/// What a sample said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// What became of it. Anything but [`Step::Folded`]: it was not judged.
    pub step: Step,
    /// Whether the condition held; `None`: Undefined.
    pub holds: Option<bool>,
    /// Whether it ends an episode.
    pub clears: bool,
    /// The condition held, and the hole before it was longer than `max_gap`: the run before is broken.
    pub breaks: bool,
}

impl Fold {
    /// As [`Self::step`], and says what the sample said.
    pub fn judged(
        &mut self,
        rule: &Rule,
        subject: &Subject,
        sample: &Sample,
        counts: &mut Counts,
        transitions: &mut Vec<Transition>,
    ) -> Judged {
        let last = match self.machine {
            Machine::Run { last, .. } => Some(last),
            _ => None,
        };
        let seen = self.take(rule, subject, sample, counts, transitions);
        let Some(verdict) = seen.verdict else {
            return Judged { step: seen.step, holds: None, clears: false, breaks: false };
        };
        let gap = rule.plan().and_then(|plan| plan.terms.max_gap_micros);
        let breaks = last.zip(gap).is_some_and(|(last, gap)| sample.time.micros_since(last) > gap);
        Judged {
            step: seen.step,
            holds: verdict.holds,
            clears: verdict.clears && verdict.holds != Some(true),
            breaks: breaks && verdict.holds == Some(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{ChannelName, DeviceName, Flags, Reading, Timestamp, Value};

    use super::*;
    use crate::{Circumstances, Limits, RuleSet};

    #[test]
    fn a_sample_says_whether_it_is_met_clears_or_breaks_a_run() {
        let text = "groups:\n- name: a\n  rules:\n  - {alert: A, from: '#', expr: x > 10, clear: x < 5, for: 5m, max_gap: 2m}\n";
        let rules = RuleSet::load([("a", text)], &Limits::default()).expect("right");
        let (rule, device) = (&rules.alerts[0], DeviceName::parse("a").expect("a name"));
        let subject = rule.subject(&device, &Circumstances::UNKNOWN).expect("a key");
        let mut fold = Fold::new(rule);
        let mut judge = |minute: i64, channel: &str, x: f64| {
            let channel = ChannelName::parse(channel).expect("a name");
            let sample = Sample {
                device: device.clone(),
                time: Timestamp::from_micros(minute * 60 * Timestamp::SECOND),
                flags: Flags::empty(),
                readings: vec![Reading { channel, value: Value::Number(x) }],
            };
            let judged = fold.judged(rule, &subject, &sample, &mut Counts::default(), &mut Vec::new());
            (judged.step, judged.holds, judged.clears, judged.breaks)
        };
        assert_eq!(judge(1, "x", 11.0), (Step::Folded, Some(true), false, false));
        assert_eq!(judge(2, "x", 12.0), (Step::Folded, Some(true), false, false));
        assert_eq!(judge(9, "x", 12.0), (Step::Folded, Some(true), false, true));
        assert_eq!(judge(10, "x", 7.0), (Step::Folded, Some(false), false, false));
        assert_eq!(judge(11, "x", 4.0), (Step::Folded, Some(false), true, false));
        assert_eq!(judge(12, "y", 4.0), (Step::Unseen, None, false, false));
        assert_eq!(judge(11, "x", 4.0), (Step::Repeated, None, false, false));
    }
}
