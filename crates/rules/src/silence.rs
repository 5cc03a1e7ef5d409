//! Silence: a key from which nothing has come for longer than the rule allows, by the server's clock.
//!
//! Not here: the server's clock (it is handed in). The laws: it is about receipt, so no backlog takes an alert back; it does
//! not run until the reader of the journal has caught up and one interval has passed since the start; time in which the
//! server was not there does not count.

use model::Timestamp;
use smallvec::SmallVec;

use crate::episode::{Episode, Transition};

/// The shortest interval that is learnt: one minute.
pub const INTERVAL_MICROS_MIN: i64 = 60 * Timestamp::SECOND;

/// What is taken for the interval of a device that has not shown one: one hour.
pub const INTERVAL_MICROS_UNKNOWN: i64 = 3_600 * Timestamp::SECOND;

/// How many intervals are remembered; the middle one is the interval that is learnt.
const INTERVALS_KEPT: usize = 15;

/// How many must have been seen before one is learnt.
const INTERVALS_MIN: usize = 3;

/// How many absences of the server are remembered.
const ABSENCES_KEPT: usize = 64;

/// The span of `absent_for`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AbsentFor {
    /// `absent_for: 15m`, in microseconds.
    Span(i64),
    /// `absent_for: 3 * interval`: so many times the interval learnt of the device.
    Intervals(f64),
}

/// When the server was there: what silence is measured by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Presence {
    /// From and to, in order.
    absences: Vec<(Timestamp, Timestamp)>,
    /// When the reader of the journal had caught up after the last start.
    caught_up_at: Option<Timestamp>,
}

impl Presence {
    /// The server was not there from `from` to `to`: it was off, or its clock jumped from the one to the other. Nothing runs
    /// until [`Self::caught_up`] is told again.
    pub fn absent(&mut self, from: Timestamp, to: Timestamp) {
        self.caught_up_at = None;
        if to > from {
            self.absences.push((from, to));
            // Two that overlap count once.
            self.absences.sort_unstable();
            let mut joined: Vec<(Timestamp, Timestamp)> = Vec::new();
            for (from, to) in self.absences.drain(..) {
                match joined.last_mut().filter(|last| last.1 >= from) {
                    Some(last) => last.1 = last.1.max(to),
                    None => joined.push((from, to)),
                }
            }
            let beyond = joined.len().saturating_sub(ABSENCES_KEPT);
            self.absences = joined.split_off(beyond);
        }
    }

    /// The reader of the journal has caught up.
    pub fn caught_up(&mut self, now: Timestamp) {
        self.caught_up_at.get_or_insert(now);
    }

    /// From and to of the absences that are remembered, to be kept over a restart.
    #[must_use]
    pub fn absences(&self) -> &[(Timestamp, Timestamp)] {
        &self.absences
    }

    /// The moment when the server has been there for `micros` since `from`.
    fn after(&self, from: Timestamp, micros: i64) -> Timestamp {
        let mut end = from.plus_micros(micros);
        for (gone, back) in &self.absences {
            if *back > from && *gone < end {
                end = end.plus_micros(back.micros_since((*gone).max(from)));
            }
        }
        end
    }
}

/// The silence of one key under one rule. Small, and bounded.
#[derive(Debug, Clone, PartialEq)]
pub struct Silence {
    /// The last receipt, or when the device was made known.
    heard: Timestamp,
    fired_at: Option<Timestamp>,
    /// The newest event time, and the steps between event times, in milliseconds, newest last.
    newest: Option<Timestamp>,
    steps: SmallVec<[u32; INTERVALS_KEPT]>,
}

impl Silence {
    /// A key that was made known at `created` and has not been heard.
    #[must_use]
    pub fn new(created: Timestamp) -> Self {
        Self { heard: created, fired_at: None, newest: None, steps: SmallVec::new() }
    }

    /// Something was received at `received_at`, measured at `time`. An episode that was open resolves.
    pub fn hear(&mut self, received_at: Timestamp, time: Timestamp) -> Option<Transition> {
        self.learn(time);
        let start = std::mem::replace(&mut self.heard, received_at);
        let fired_at = self.fired_at.take()?;
        let resolved_at = Some(received_at.max(fired_at));
        Some(Transition::Resolved(Episode { start, fired_at, resolved_at, values: Vec::new() }))
    }

    /// When it fires if nothing comes; `None` while it is firing, or while the reader has not caught up.
    #[must_use]
    pub fn due(&self, absent_for: AbsentFor, presence: &Presence) -> Option<Timestamp> {
        let caught_up_at = presence.caught_up_at?;
        if self.fired_at.is_some() {
            return None;
        }
        let learnt = self.interval_micros();
        let span = match absent_for {
            AbsentFor::Span(micros) => micros,
            AbsentFor::Intervals(times) => scaled(learnt.unwrap_or(INTERVAL_MICROS_UNKNOWN), times),
        };
        // A restart gives every device the time to speak once. Who has not shown an interval gets all the time there is.
        let grace = caught_up_at.plus_micros(learnt.unwrap_or(span).min(span));
        Some(presence.after(self.heard, span).max(grace))
    }

    /// The server's clock shows `now`. Where the last receipt lies ahead of that, the clock was set back: silence counts from now
    /// on. Whether anything has changed.
    pub fn set_back(&mut self, now: Timestamp) -> bool {
        let is_ahead = self.fired_at.is_none() && self.heard > now;
        if is_ahead {
            self.heard = now;
        }
        is_ahead
    }

    /// Everything that was received by `now` has been heard.
    pub fn at(&mut self, absent_for: AbsentFor, presence: &Presence, now: Timestamp) -> Option<Transition> {
        let due = self.due(absent_for, presence).filter(|due| *due <= now)?;
        self.fired_at = Some(due);
        let (start, fired_at) = (self.heard, due);
        Some(Transition::Fired(Episode { start, fired_at, resolved_at: None, values: Vec::new() }))
    }

    /// As [`Self::at`], for silence that counts only while the device is connected: since `connected`, or not at all. It begins
    /// when the device connected, or was last heard since, and ends when it is heard or is gone. Who has never shown how it
    /// speaks (what only listens, say) owes nothing.
    pub fn while_connected(
        &mut self,
        absent_for: AbsentFor,
        presence: &Presence,
        connected: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Transition> {
        match (self.fired_at, connected) {
            (Some(fired_at), None) => {
                // After a start all are gone for a moment.
                let grace = self.interval_micros().unwrap_or(INTERVAL_MICROS_MIN);
                if now < presence.caught_up_at?.plus_micros(grace) {
                    return None;
                }
                self.fired_at = None;
                let resolved_at = Some(now.max(fired_at));
                Some(Transition::Resolved(Episode {
                    start: self.heard,
                    fired_at,
                    resolved_at,
                    values: Vec::new(),
                }))
            }
            (None, Some(connected)) => {
                match absent_for {
                    AbsentFor::Intervals(_) => self.interval_micros().map(drop)?,
                    AbsentFor::Span(_) => self.newest.map(drop)?,
                }
                // An episode is known by its start: the next connection's is another one.
                let heard = self.heard;
                self.heard = heard.max(connected);
                let told = self.at(absent_for, presence, now);
                if told.is_none() {
                    self.heard = heard;
                }
                told
            }
            _ => None,
        }
    }

    /// The last receipt.
    #[must_use]
    pub fn heard(&self) -> Timestamp {
        self.heard
    }

    /// When the episode that is open fired.
    #[must_use]
    pub fn fired_at(&self) -> Option<Timestamp> {
        self.fired_at
    }

    /// The interval learnt from event times, at least a minute; `None` before there were enough.
    #[must_use]
    pub fn interval_micros(&self) -> Option<i64> {
        if self.steps.len() < INTERVALS_MIN {
            return None;
        }
        let mut steps = self.steps.clone();
        steps.sort_unstable();
        Some((i64::from(steps[steps.len() / 2]) * 1_000).max(INTERVAL_MICROS_MIN))
    }

    /// Bytes that hold it, for storage. At most 120.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![STATE_VERSION];
        let optional = |time: Option<Timestamp>| time.map_or(i64::MIN, Timestamp::micros);
        for micros in [self.heard.micros(), optional(self.fired_at), optional(self.newest)] {
            bytes.extend(micros.to_le_bytes());
        }
        bytes.extend(self.steps.iter().flat_map(|step| step.to_le_bytes()));
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (times, steps) = rest.split_at_checked(24)?;
        if *version != STATE_VERSION || steps.len() % 4 != 0 || steps.len() / 4 > INTERVALS_KEPT {
            return None;
        }
        let time = |at: usize| Some(i64::from_le_bytes(times.get(at..at + 8)?.try_into().ok()?));
        let optional = |micros: i64| (micros != i64::MIN).then_some(Timestamp::from_micros(micros));
        Some(Self {
            heard: Timestamp::from_micros(time(0)?),
            fired_at: optional(time(8)?),
            newest: optional(time(16)?),
            steps: steps.chunks_exact(4).map(|s| u32::from_le_bytes([s[0], s[1], s[2], s[3]])).collect(),
        })
    }

    /// A backlog in order teaches the same as live delivery; what comes out of order teaches nothing.
    fn learn(&mut self, time: Timestamp) {
        let before = self.newest.replace(self.newest.map_or(time, |newest| newest.max(time)));
        let Some(step) = before.map(|before| time.micros_since(before)).filter(|step| *step > 0) else {
            return;
        };
        if self.steps.len() == INTERVALS_KEPT {
            self.steps.remove(0);
        }
        self.steps.push(u32::try_from(step / 1_000).unwrap_or(u32::MAX));
    }
}

/// The first byte of a stored silence.
const STATE_VERSION: u8 = 1;

fn scaled(micros: i64, times: f64) -> i64 {
    (micros as f64 * times) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60 * Timestamp::SECOND;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_micros(minutes * MINUTE)
    }

    fn there_since(minutes: i64) -> Presence {
        let mut presence = Presence::default();
        presence.caught_up(at(minutes));
        presence
    }

    /// Heard every `step` minutes, ten times, last at 100.
    fn regular(step: i64) -> Silence {
        let mut silence = Silence::new(at(0));
        for n in (0..10).rev() {
            assert_eq!(silence.hear(at(100 - n * step), at(100 - n * step)), None);
        }
        silence
    }

    #[test]
    fn silence_fires_after_its_span_and_resolves_at_the_next_receipt() {
        let mut silence = regular(5);
        let absent = AbsentFor::Intervals(3.0);
        let presence = there_since(0);
        assert_eq!(silence.due(absent, &presence), Some(at(115)));
        assert_eq!(silence.at(absent, &presence, at(114)), None);
        let fired = Episode { start: at(100), fired_at: at(115), resolved_at: None, values: Vec::new() };
        assert_eq!(silence.at(absent, &presence, at(130)), Some(Transition::Fired(fired.clone())));
        assert_eq!(silence.at(absent, &presence, at(131)), None);
        // What is received is old: the device is back all the same, and the alert was true.
        let resolved = Episode { resolved_at: Some(at(140)), ..fired };
        assert_eq!(silence.hear(at(140), at(101)), Some(Transition::Resolved(resolved)));
    }

    #[test]
    fn an_interval_is_the_middle_one_and_never_under_a_minute() {
        assert_eq!(regular(5).interval_micros(), Some(5 * MINUTE));
        let mut quick = Silence::new(at(0));
        for second in 0..20 {
            quick.hear(at(0), Timestamp::from_micros(second * Timestamp::SECOND));
        }
        assert_eq!(quick.interval_micros(), Some(MINUTE));
        // One outage changes nothing.
        let mut silence = regular(5);
        silence.hear(at(1000), at(1000));
        assert_eq!(silence.interval_micros(), Some(5 * MINUTE));
        assert_eq!(Silence::new(at(0)).interval_micros(), None);
    }

    #[test]
    fn a_server_that_was_away_raises_no_storm() {
        let silence = regular(5);
        let absent = AbsentFor::Span(15 * MINUTE);
        let mut presence = there_since(0);
        // Off from 104 to 164: eleven of the fifteen minutes are left, and one interval after catching up.
        presence.absent(at(104), at(164));
        assert_eq!(silence.due(absent, &presence), None);
        presence.caught_up(at(165));
        assert_eq!(silence.due(absent, &presence), Some(at(175)));
        // Off again before that.
        presence.absent(at(170), at(200));
        presence.caught_up(at(202));
        assert_eq!(silence.due(absent, &presence), Some(at(207)));
        // An absence before the last receipt is nothing to it.
        let mut early = there_since(0);
        early.absent(at(10), at(90));
        early.caught_up(at(91));
        assert_eq!(silence.due(absent, &early), Some(at(115)));
    }

    #[test]
    fn a_clock_that_is_set_back_delays_nothing_by_what_it_was_ahead() {
        let mut silence = regular(5);
        let (absent, presence) = (AbsentFor::Intervals(3.0), there_since(0));
        // Heard at 100 by the old clock; by the new one it is 40.
        assert!(silence.set_back(at(40)));
        assert!(!silence.set_back(at(41)), "it counts from then on, not from every look anew");
        assert_eq!(silence.at(absent, &presence, at(41)), None);
        assert_eq!(silence.due(absent, &presence), Some(at(55)));
    }

    #[test]
    fn a_device_that_was_never_heard_counts_from_creation() {
        let silence = Silence::new(at(10));
        assert_eq!(silence.due(AbsentFor::Span(15 * MINUTE), &there_since(0)), Some(at(25)));
        assert_eq!(silence.due(AbsentFor::Intervals(3.0), &there_since(0)), Some(at(190)));
    }

    #[test]
    fn silence_while_connected_begins_with_the_connection_and_ends_with_it() {
        let (absent, presence) = (AbsentFor::Intervals(3.0), there_since(0));
        let mut silence = regular(5);
        assert_eq!(
            silence.while_connected(absent, &presence, None, at(200)),
            None,
            "who is away is not hung"
        );
        assert_eq!(silence.while_connected(absent, &presence, Some(at(190)), at(204)), None);
        assert_eq!(silence.heard(), at(100), "a connection is nothing that was heard");
        let fired = Episode { start: at(190), fired_at: at(205), resolved_at: None, values: Vec::new() };
        let told = silence.while_connected(absent, &presence, Some(at(190)), at(206));
        assert_eq!(told, Some(Transition::Fired(fired.clone())));
        assert_eq!(silence.while_connected(absent, &presence, Some(at(190)), at(207)), None, "once");
        // Gone: whether it hangs nobody can say any more. Back, and silent again: another episode.
        let over = Episode { resolved_at: Some(at(210)), ..fired };
        assert_eq!(
            silence.while_connected(absent, &presence, None, at(210)),
            Some(Transition::Resolved(over))
        );
        assert_eq!(silence.while_connected(absent, &presence, Some(at(220)), at(234)), None);
        let fired = Episode { start: at(220), fired_at: at(235), resolved_at: None, values: Vec::new() };
        let told = silence.while_connected(absent, &presence, Some(at(220)), at(235));
        assert_eq!(told, Some(Transition::Fired(fired.clone())));
        // It speaks: that ends it too.
        let over = Episode { resolved_at: Some(at(240)), ..fired };
        assert_eq!(silence.hear(at(240), at(240)), Some(Transition::Resolved(over)));
    }

    #[test]
    fn who_only_listens_owes_nothing_and_a_restart_ends_no_silence() {
        let (absent, presence) = (AbsentFor::Intervals(3.0), there_since(0));
        let mut listener = Silence::new(at(0));
        assert_eq!(listener.while_connected(absent, &presence, Some(at(0)), at(10_000)), None);
        let span = AbsentFor::Span(MINUTE);
        assert_eq!(listener.while_connected(span, &presence, Some(at(0)), at(10_000)), None);
        let mut silence = regular(5);
        silence.while_connected(absent, &presence, Some(at(90)), at(116)).expect("it fires");
        let restarted = there_since(120);
        assert_eq!(silence.while_connected(absent, &restarted, None, at(124)), None, "it may come back");
        assert!(silence.while_connected(absent, &restarted, None, at(125)).is_some());
    }

    #[test]
    fn silence_is_kept_in_few_bytes() {
        let mut silence = regular(5);
        silence.at(AbsentFor::Span(MINUTE), &there_since(0), at(500));
        let bytes = silence.to_bytes();
        assert!(bytes.len() <= 120);
        assert_eq!(Silence::from_bytes(&bytes), Some(silence));
        assert_eq!(Silence::from_bytes(&bytes[..9]), None);
        assert_eq!(Silence::from_bytes(&[]), None);
    }
}
