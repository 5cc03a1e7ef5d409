//! The episode machine: idle, a run that may fire, an episode that holds.
//!
//! Not here: what makes a verdict (`expr`) and what is remembered for it (`window`). The laws are design's: a run starts at
//! the first sample for which the condition is true; false, or a hole longer than `max_gap`, breaks it; it fires at the
//! first sample that is `for` after its start (with `hold`: at that time itself); it resolves at the first later sample for
//! which `clear` is true and the condition is not; Undefined leaves everything as it is.

use model::Timestamp;

/// When a run becomes an episode and an episode ends: the rule's terms, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Terms {
    pub(crate) for_micros: i64,
    pub(crate) max_gap_micros: Option<i64>,
    pub(crate) hold_micros: Option<i64>,
    /// At least 1.
    pub(crate) streak: u32,
}

/// What one sample says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) holds: Option<bool>,
    pub(crate) clears: bool,
}

impl Verdict {
    /// Whether after such a sample the machine is idle, whatever it was before.
    pub(crate) fn settles(self) -> bool {
        self.holds == Some(false) && self.clears
    }
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Machine {
    #[default]
    Idle,
    /// The condition has held since `start`, last seen at `last`, in `count` samples.
    Run {
        start: Timestamp,
        last: Timestamp,
        count: u32,
    },
    Firing {
        start: Timestamp,
        fired_at: Timestamp,
    },
}

/// What a step did; a sample can fire what was due before it and resolve it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Moves {
    /// Start and time of what fired; whether it fired between samples.
    pub(crate) fired: Option<(Timestamp, Timestamp, bool)>,
    /// Start, firing and end of what resolved.
    pub(crate) resolved: Option<(Timestamp, Timestamp, Timestamp)>,
}

impl Machine {
    /// Takes in the next sample.
    pub(crate) fn step(&mut self, terms: &Terms, time: Timestamp, verdict: Verdict) -> Moves {
        let mut moves = Moves::default();
        if let Some(due) = self.due(terms).filter(|due| *due < time) {
            self.fire(due, true, &mut moves);
        }
        match (*self, verdict.holds) {
            (Self::Firing { start, fired_at }, holds) => {
                if verdict.clears && holds != Some(true) {
                    moves.resolved = Some((start, fired_at, time));
                    *self = Self::Idle;
                }
            }
            (_, None) => {}
            (_, Some(false)) => *self = Self::Idle,
            (Self::Run { start, last, count }, Some(true))
                if terms.max_gap_micros.is_none_or(|gap| time.micros_since(last) <= gap) =>
            {
                *self = Self::Run { start, last: time, count: count.saturating_add(1) };
                self.fire_if_long(terms, time, &mut moves);
            }
            (_, Some(true)) => {
                *self = Self::Run { start: time, last: time, count: 1 };
                self.fire_if_long(terms, time, &mut moves);
            }
        }
        moves
    }

    /// When this fires even if nothing comes: with `hold`, while the value still stands then.
    pub(crate) fn due(&self, terms: &Terms) -> Option<Timestamp> {
        let Self::Run { start, last, count } = *self else { return None };
        let hold = terms.hold_micros?;
        let stands = terms.max_gap_micros.map_or(hold, |gap| gap.min(hold));
        let due = start.plus_micros(terms.for_micros);
        (count >= terms.streak && due <= last.plus_micros(stands)).then_some(due)
    }

    /// The time has come to `now` and nothing came.
    pub(crate) fn at(&mut self, terms: &Terms, now: Timestamp) -> Moves {
        let mut moves = Moves::default();
        if let Some(due) = self.due(terms).filter(|due| *due <= now) {
            self.fire(due, true, &mut moves);
        }
        moves
    }

    fn fire_if_long(&mut self, terms: &Terms, time: Timestamp, moves: &mut Moves) {
        if let Self::Run { start, count, .. } = *self
            && time.micros_since(start) >= terms.for_micros
            && count >= terms.streak
        {
            self.fire(time, false, moves);
        }
    }

    fn fire(&mut self, fired_at: Timestamp, is_between: bool, moves: &mut Moves) {
        if let Self::Run { start, .. } = *self {
            *self = Self::Firing { start, fired_at };
            moves.fired = Some((start, fired_at, is_between));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { for_micros: 10, max_gap_micros: None, hold_micros: None, streak: 1 };

    /// Steps through `t` (true), `f` (false), `u` (Undefined), `c` (false, but not clear), `b` (true and clear), `x`
    /// (Undefined and clear), each with its time, and tells what happened.
    fn run(terms: &Terms, samples: &[(char, i64)]) -> String {
        let mut machine = Machine::default();
        let mut told = String::new();
        for (says, time) in samples {
            let holds = match says {
                't' | 'b' => Some(true),
                'f' | 'c' => Some(false),
                _ => None,
            };
            let verdict = Verdict { holds, clears: matches!(says, 'f' | 'b' | 'x') };
            let moves = machine.step(terms, Timestamp::from_micros(*time), verdict);
            if let Some((start, at, _)) = moves.fired {
                told += &format!("{}/{} ", start.micros(), at.micros());
            }
            if let Some((_, _, end)) = moves.resolved {
                told += &format!("end {} ", end.micros());
            }
        }
        told.trim_end().to_owned()
    }

    #[test]
    fn runs_fire_and_resolve_as_design_says() {
        let check = |terms: Terms, samples: &[(char, i64)], expect: &str| {
            assert_eq!(run(&terms, samples), expect, "{samples:?}");
        };
        check(TERMS, &[('t', 0), ('t', 9), ('t', 11), ('f', 12)], "0/11 end 12");
        check(TERMS, &[('t', 0), ('f', 5), ('t', 8), ('t', 12)], "");
        // Undefined leaves the run as it is, and neither fires nor resolves.
        check(TERMS, &[('t', 0), ('u', 11), ('t', 12), ('u', 13), ('f', 14)], "0/12 end 14");
        // A hole breaks a run, and does not resolve an episode.
        let gap = Terms { max_gap_micros: Some(3), ..TERMS };
        check(gap, &[('t', 0), ('t', 4), ('t', 7), ('t', 10), ('t', 12), ('t', 14)], "4/14");
        check(
            gap,
            &[('t', 0), ('t', 3), ('t', 6), ('t', 9), ('t', 10), ('t', 99), ('f', 100)],
            "0/10 end 100",
        );
        // What is false but not clear keeps it firing; what is both keeps it firing; Undefined can be clear.
        check(TERMS, &[('t', 0), ('t', 10), ('c', 11), ('b', 12), ('f', 13)], "0/10 end 13");
        check(TERMS, &[('t', 0), ('t', 10), ('x', 11)], "0/10 end 11");
        let at_once = Terms { for_micros: 0, ..TERMS };
        check(at_once, &[('t', 3), ('f', 4), ('t', 5)], "3/3 end 4 5/5");
        let streak = Terms { streak: 3, ..at_once };
        check(streak, &[('t', 0), ('t', 1), ('u', 2), ('t', 3), ('f', 4), ('t', 5)], "0/3 end 4");
    }

    #[test]
    fn with_hold_a_value_stands_until_the_next() {
        let hold = Terms { hold_micros: Some(100), ..TERMS };
        let check = |terms: Terms, samples: &[(char, i64)], expect: &str| {
            assert_eq!(run(&terms, samples), expect, "{samples:?}");
        };
        check(hold, &[('t', 0), ('f', 50)], "0/10 end 50");
        check(hold, &[('t', 0), ('f', 10)], "");
        check(hold, &[('t', 0), ('t', 10), ('f', 11)], "0/10 end 11");
        // It does not stand longer than `hold`, nor over a hole that would break the run.
        let brief = Terms { hold_micros: Some(5), ..TERMS };
        check(brief, &[('t', 0), ('f', 50)], "");
        check(brief, &[('t', 0), ('t', 6), ('f', 50)], "0/10 end 50");
        check(Terms { max_gap_micros: Some(5), ..hold }, &[('t', 0), ('f', 50)], "");
        let mut machine = Machine::default();
        machine.step(&hold, Timestamp::from_micros(0), Verdict { holds: Some(true), clears: false });
        assert_eq!(machine.due(&hold), Some(Timestamp::from_micros(10)));
        assert_eq!(machine.at(&hold, Timestamp::from_micros(9)), Moves::default());
        assert!(machine.at(&hold, Timestamp::from_micros(10)).fired.is_some());
        assert_eq!(machine.due(&hold), None);
    }
}
