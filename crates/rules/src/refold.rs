//! A second look at a stretch of time, when a sample came late or says something else than before.
//!
//! Not here: where the samples are read (`series`), and what becomes of the differences (`alerts`). The law: a second look
//! tells what the fold would have told had everything come in order. It begins after a settled sample before the change,
//! and ends at a settled one after it: a sample is settled when after it the rule is idle, whatever came before, and no
//! window reaches over it.

use std::borrow::Cow;

use model::{Sample, Timestamp};

use crate::episode::{Episode, Transition};
use crate::expr::Counts;
use crate::fold::{Fold, Step};
use crate::key::Subject;
use crate::rule::Rule;

/// The times of the samples that came late or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// The earliest.
    pub first: Timestamp,
    /// The latest.
    pub last: Timestamp,
}

impl Changed {
    /// One sample.
    #[must_use]
    pub fn at(time: Timestamp) -> Self {
        Self { first: time, last: time }
    }

    /// With one more.
    #[must_use]
    pub fn and(self, time: Timestamp) -> Self {
        Self { first: self.first.min(time), last: self.last.max(time) }
    }
}

/// What a second look told.
#[derive(Debug, Clone, PartialEq)]
pub struct Refolded {
    /// The settled sample it begins after; `None`: it begins with the first sample there is.
    pub after: Option<Timestamp>,
    /// The settled sample it ended at; `None`: it went on to the end of the samples.
    pub until: Option<Timestamp>,
    /// The episodes that start in between. They take the place of those that were known.
    pub episodes: Vec<Episode>,
    /// The state at the end of the samples, when it went on to there: it takes the place of the state as it was. When the
    /// look ended before, the state as it was is still true.
    pub end: Option<Fold>,
}

impl Refolded {
    /// Whether an episode with such a start is one that this look judges anew.
    #[must_use]
    pub fn judges(&self, start: Timestamp) -> bool {
        self.after.is_none_or(|after| start > after) && self.until.is_none_or(|until| start < until)
    }
}

/// The samples begin too late: there is no settled one before the change. Read from further back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no settled sample before the change: read from further back")]
pub struct NeedEarlier;

/// Looks again at the samples of one key, in (time, device) order, as `series` gives them: those of one time and device that
/// came over several topics follow each other, and are one sample.
///
/// `live`: the state as it is; `None`: the look goes on to the end of the samples and makes a new state, which is right
/// whenever the samples may be ahead of the state by more than what is on its way (after a restart, until the reader is where
/// the store was; a state that was lost). `read_from`: all samples of the key since then are given; `None`: all there are. They
/// go on to the newest sample of the state, or beyond.
///
/// # Errors
/// [`NeedEarlier`] when no sample between `read_from` and the change is settled.
pub fn refold<'a>(
    rule: &Rule,
    live: Option<&Fold>,
    read_from: Option<Timestamp>,
    changed: Changed,
    samples: impl IntoIterator<Item = (&'a Subject, &'a Sample)>,
) -> Result<Refolded, NeedEarlier> {
    let mut fold = Fold::new(rule);
    let (mut after, mut is_sound) = (None, read_from.is_none());
    let mut told = Vec::new();
    // What data makes Undefined was counted when it came first.
    let mut counts = Counts::default();
    let mut samples = samples.into_iter().peekable();
    while let Some((subject, sample)) = samples.next() {
        let mut sample = Cow::Borrowed(sample);
        while let Some((_, more)) = samples.next_if(|(_, next)| is_same(&sample, next)) {
            join(sample.to_mut(), more);
        }
        if sample.time >= changed.first && !is_sound {
            return Err(NeedEarlier);
        }
        let seen = fold.take(rule, subject, &sample, &mut counts, &mut told);
        if !seen.settles || seen.step != Step::Folded {
            continue;
        }
        if sample.time < changed.first {
            if is_sound || read_from.is_none_or(|from| fold.reach() >= from.micros()) {
                (after, is_sound) = (Some(sample.time), true);
                told.clear();
            }
        } else if sample.time > changed.last
            && fold.reach() > changed.last.micros()
            // A settled sample that the state has not seen yet says nothing about the state.
            && live.and_then(Fold::newest).is_some_and(|newest| sample.time < newest)
        {
            let until = Some(sample.time);
            return Ok(Refolded { after, until, episodes: episodes(told), end: None });
        }
    }
    if !is_sound {
        return Err(NeedEarlier);
    }
    Ok(Refolded { after, until: None, episodes: episodes(told), end: Some(fold) })
}

fn is_same(a: &Sample, b: &Sample) -> bool {
    a.time == b.time && a.device == b.device
}

/// Adds the readings of `more`, which take the place of those with the same channel.
fn join(sample: &mut Sample, more: &Sample) {
    for reading in &more.readings {
        match sample.readings.iter_mut().find(|known| known.channel == reading.channel) {
            Some(known) => known.value = reading.value.clone(),
            None => sample.readings.push(reading.clone()),
        }
    }
}

/// The episodes that transitions tell of: one that resolves has fired before.
pub(crate) fn episodes(transitions: impl IntoIterator<Item = Transition>) -> Vec<Episode> {
    let mut episodes: Vec<Episode> = Vec::new();
    for transition in transitions {
        match transition {
            Transition::Fired(episode) => episodes.push(episode),
            Transition::Resolved(resolved) => {
                if let Some(episode) = episodes.last_mut().filter(|episode| episode.start == resolved.start) {
                    episode.resolved_at = resolved.resolved_at;
                }
            }
        }
    }
    episodes
}
