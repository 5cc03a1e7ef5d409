//! A second look: the samples of a stretch of time are read back and folded in their order, because one came late, says
//! something else than before, or because the rule is new.
//!
//! Not here: the fold (`rules`), and the readings (`series`). The laws: what is read has everything in it that made the look
//! necessary; what it finds takes the place of what was known between two settled samples, and of nothing else; it is
//! bounded in readings.

use std::sync::Arc;

use hashbrown::HashMap;
use model::{DeviceName, Sample, Timestamp};
use rules::{Changed, Fold, Key, LookBack, Refolded, Rule, Subject};
use series::{QueryError, Selection, Series, StoredSample};

/// Most readings of one look.
const READINGS_MAX: usize = 2_000_000;

/// The least that is read before the change.
const BACK_MICROS_MIN: i64 = 3_600 * Timestamp::SECOND;

/// Each time it was not enough, so many times more.
const FURTHER: i64 = 8;

/// So far back, everything is read.
const BACK_MICROS_MAX: i64 = 400 * Timestamp::DAY;

/// What is looked at.
pub(super) struct Question {
    pub(super) rule: Arc<Rule>,
    pub(super) members: Vec<(DeviceName, Arc<Subject>)>,
    pub(super) changed: Changed,
    /// The state; none while what is stored may be ahead of it by more than is on its way.
    pub(super) live: Option<Fold>,
    /// The newest sample of the state.
    pub(super) newest: Option<Timestamp>,
    pub(super) seq: u64,
}

/// Looks, further and further back until it begins with a settled sample.
pub(super) async fn look(series: &Series, question: &Question) -> Result<Refolded, QueryError> {
    let Question { rule, members, changed, live, newest, seq } = question;
    // Without a state to come back to it goes on to the end of what is stored.
    let to =
        live.as_ref().map(|_| newest.map_or(changed.last, |newest| newest.max(changed.last)).plus_micros(1));
    let mut back = first_back(rule.look_back(), rule.for_micros());
    let subjects: HashMap<&str, &Subject> =
        members.iter().map(|(device, subject)| (device.as_str(), &**subject)).collect();
    loop {
        let from = (back < BACK_MICROS_MAX).then(|| changed.first.plus_micros(-back));
        let selection = Selection {
            from,
            to,
            devices: members.iter().map(|(device, _)| device.to_string()).collect(),
            channels: rule.channels().iter().map(ToString::to_string).collect(),
        };
        let stored = series.samples(&selection, *seq, READINGS_MAX).await?;
        let samples = merged(stored, rule);
        let given = samples
            .iter()
            .filter_map(|sample| subjects.get(sample.device.as_str()).map(|subject| (*subject, sample)));
        match rules::refold(rule, live.as_ref(), from, *changed, given) {
            Ok(refolded) => return Ok(refolded),
            Err(rules::NeedEarlier) => back = back.saturating_mul(FURTHER),
        }
    }
}

/// How far back a look begins.
pub(super) fn first_back(look_back: LookBack, for_micros: i64) -> i64 {
    BACK_MICROS_MIN.max(look_back.micros.saturating_add(for_micros).saturating_mul(2))
}

/// All stored readings of one device with one time are one sample, whatever topics they came over that the rule listens to.
fn merged(stored: Vec<StoredSample>, rule: &Rule) -> Vec<Sample> {
    let mut samples: Vec<Sample> = Vec::with_capacity(stored.len());
    for stored in stored.into_iter().filter(|stored| rule.from().matches(&stored.topic)) {
        match samples.last_mut() {
            Some(last) if last.time == stored.sample.time && last.device == stored.sample.device => {
                last.flags |= stored.sample.flags;
                last.readings.extend(stored.sample.readings);
            }
            _ => samples.push(stored.sample),
        }
    }
    samples
}

/// What is looked at for a key, for messages.
pub(super) fn shown(rule: &Rule, key: &Key) -> String {
    format!("{} {key}", rule.name())
}
