//! Episodes: one stretch of time for which an alert held for one key.
//!
//! Not here: how one comes about (`machine`), and who is told (`alerts`). The law: an episode is known by its rule, the
//! rule's version, its key and its start; what was learnt late changes its other times, never its identity.

use model::{ChannelName, Timestamp, Value};

/// An episode that fired. All times are event times (for `absent_for`: the server's).
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// The first sample of the run that fired.
    pub start: Timestamp,
    /// When it fired.
    pub fired_at: Timestamp,
    /// When it resolved; `None` while it holds.
    pub resolved_at: Option<Timestamp>,
    /// The readings that the rule looked at, of the sample at which it fired. Those of the sample at which it resolved, in
    /// [`Transition::Resolved`].
    pub values: Vec<(ChannelName, Value)>,
}

impl Episode {
    /// Whether the two say the same of the same time, whatever the readings were.
    #[must_use]
    pub fn is_same_time(&self, other: &Self) -> bool {
        (self.start, self.fired_at, self.resolved_at) == (other.start, other.fired_at, other.resolved_at)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let ends_before = |a: &Self, b: &Self| a.resolved_at.is_some_and(|end| end < b.start);
        !ends_before(self, other) && !ends_before(other, self)
    }
}

/// What a step of the fold told.
#[derive(Debug, Clone, PartialEq)]
pub enum Transition {
    /// An episode fired.
    Fired(Episode),
    /// The episode that was firing resolved.
    Resolved(Episode),
}

/// What a second look at the same time changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Difference {
    /// There is an episode that was not known.
    Fired(Episode),
    /// An episode that was open has resolved; nothing else about it changed.
    Resolved(Episode),
    /// Its times are others than were known: `was`, and what is so now. The start is the same.
    Changed {
        /// What was known.
        was: Episode,
        /// What is so.
        now: Episode,
    },
    /// The same trouble has another start: a late sample has drawn it out or in. `was` is no more, `now` is new, and they
    /// overlap: whoever was told of the one need not be told again.
    Moved {
        /// What was known.
        was: Episode,
        /// What is so.
        now: Episode,
    },
    /// It never was.
    Vanished(Episode),
}

/// Compares what was known with what is so: both of one rule, version and key, over one stretch of time, in order of
/// start. What is the same is left out.
#[must_use]
pub fn difference(old: &[Episode], new: &[Episode]) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut appeared: Vec<&Episode> =
        new.iter().filter(|now| old.iter().all(|was| was.start != now.start)).collect();
    for was in old {
        if let Some(now) = new.iter().find(|now| now.start == was.start) {
            let resolved = Episode { resolved_at: now.resolved_at, ..was.clone() };
            if was.is_same_time(now) {
                continue;
            }
            differences.push(if was.resolved_at.is_none() && resolved.is_same_time(now) {
                Difference::Resolved(now.clone())
            } else {
                Difference::Changed { was: was.clone(), now: now.clone() }
            });
        } else if let Some(at) = appeared.iter().position(|now| now.overlaps(was)) {
            let now = appeared.remove(at).clone();
            differences.push(Difference::Moved { was: was.clone(), now });
        } else {
            differences.push(Difference::Vanished(was.clone()));
        }
    }
    differences.extend(appeared.into_iter().cloned().map(Difference::Fired));
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn episode(start: i64, fired: i64, resolved: Option<i64>) -> Episode {
        let at = Timestamp::from_micros;
        Episode { start: at(start), fired_at: at(fired), resolved_at: resolved.map(at), values: Vec::new() }
    }

    #[test]
    fn a_second_look_tells_what_changed_and_nothing_else() {
        let a = || episode(1, 5, Some(9));
        let open = || episode(20, 25, None);
        let check = |old: &[Episode], new: &[Episode], expect: &[Difference]| {
            assert_eq!(difference(old, new), expect);
        };
        check(&[a(), open()], &[a(), open()], &[]);
        check(&[], &[a()], &[Difference::Fired(a())]);
        check(&[a()], &[], &[Difference::Vanished(a())]);
        let resolved = || episode(20, 25, Some(30));
        check(&[a(), open()], &[a(), resolved()], &[Difference::Resolved(resolved())]);
        check(&[resolved()], &[open()], &[Difference::Changed { was: resolved(), now: open() }]);
        let earlier = || episode(18, 23, None);
        check(&[open()], &[earlier()], &[Difference::Moved { was: open(), now: earlier() }]);
        check(&[a()], &[open()], &[Difference::Vanished(a()), Difference::Fired(open())]);
        // One that splits in two: one stays, one is new.
        let (first, second) = (|| episode(1, 3, Some(4)), || episode(6, 8, Some(9)));
        check(
            &[a()],
            &[first(), second()],
            &[Difference::Changed { was: a(), now: first() }, Difference::Fired(second())],
        );
    }
}
