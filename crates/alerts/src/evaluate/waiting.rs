//! Second looks that wait for their turn.
//!
//! Not here: what one reads (`look`), whose turn it is (`work`). The laws: a key has at most one, wide enough for everything that
//! came late meanwhile; whoever waits longest is next; one that failed lets others pass until it is tried again.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;
use model::Timestamp;
use rules::{Changed, Key};

use super::book::Arrived;

/// A stretch of time that must be looked at again.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) changed: Changed,
    /// When the server received the last sample that came late.
    pub(super) received_at: Timestamp,
    /// The records up to here must have been applied to what is read.
    pub(super) seq: u64,
    /// The first record that made it necessary: read again after a crash.
    pub(super) first_seq: u64,
    pub(super) failures: u32,
    /// Not before this moment of the steady clock, in microseconds.
    pub(super) not_before: u64,
}

/// Those of one rule.
#[derive(Debug, Default)]
pub(super) struct Looks {
    by_key: HashMap<Key, Look>,
    /// Every key above once, in the order in which they came.
    order: VecDeque<Key>,
    /// How many of them were made necessary by which record first.
    firsts: BTreeMap<u64, usize>,
}

impl Looks {
    /// A sample of `key` came late.
    pub(super) fn add(&mut self, key: &Key, arrived: Arrived<'_>) {
        let time = arrived.sample.time;
        if let Some(look) = self.by_key.get_mut(key) {
            look.changed = look.changed.and(time);
            look.received_at = look.received_at.max(arrived.received_at);
            look.seq = look.seq.max(arrived.seq);
            let before = look.first_seq;
            if arrived.seq < before {
                look.first_seq = arrived.seq;
                self.count(arrived.seq);
                self.discount(before);
            }
            return;
        }
        let look = Look {
            changed: Changed::at(time),
            received_at: arrived.received_at,
            seq: arrived.seq,
            first_seq: arrived.seq,
            failures: 0,
            not_before: 0,
        };
        self.put_back(key.clone(), look);
    }

    /// It waits once more, behind the others.
    pub(super) fn put_back(&mut self, key: Key, look: Look) {
        self.order.push_back(key.clone());
        self.count(look.first_seq);
        self.by_key.insert(key, look);
    }

    fn count(&mut self, seq: u64) {
        *self.firsts.entry(seq).or_default() += 1;
    }

    fn discount(&mut self, seq: u64) {
        if let Some(count) = self.firsts.get_mut(&seq) {
            *count -= 1;
            if *count == 0 {
                self.firsts.remove(&seq);
            }
        }
    }

    /// The one that waits longest and may be made at `mono` of the steady clock.
    pub(super) fn next(&mut self, mono: u64) -> Option<(Key, Look)> {
        let may = |key: &Key| self.by_key.get(key).is_some_and(|look| look.not_before <= mono);
        let at = self.order.iter().position(may)?;
        let key = self.order.remove(at)?;
        let look = self.by_key.remove(&key)?;
        self.discount(look.first_seq);
        Some((key, look))
    }

    /// Nobody asks about `key` any more.
    pub(super) fn forget(&mut self, key: &Key) {
        if let Some(look) = self.by_key.remove(key) {
            self.order.retain(|other| other != key);
            self.discount(look.first_seq);
        }
    }

    /// Whether one may be made at `mono`.
    pub(super) fn has_due(&self, mono: u64) -> bool {
        self.by_key.values().any(|look| look.not_before <= mono)
    }

    /// The first record that must be read again should this process end now.
    pub(super) fn first_seq(&self) -> Option<u64> {
        self.firsts.keys().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use model::{DeviceName, Flags, Sample};

    use super::*;

    const SECOND: i64 = Timestamp::SECOND;

    fn late(looks: &mut Looks, device: &str, time_s: i64, seq: u64) {
        let device = DeviceName::parse(device.to_owned()).expect("a name");
        let time = Timestamp::from_micros(time_s * SECOND);
        let sample = Sample { device, time, flags: Flags::empty(), readings: Vec::new() };
        let arrived =
            Arrived { sample: &sample, received_at: Timestamp::from_micros(1), seq, is_again: false };
        looks.add(&key(sample.device.as_str()), arrived);
    }

    fn key(device: &str) -> Key {
        Key::new([("device".to_owned(), device.to_owned())])
    }

    #[test]
    fn a_key_has_one_look_for_everything_and_who_waits_longest_is_next() {
        let mut looks = Looks::default();
        late(&mut looks, "a", 50, 7);
        late(&mut looks, "b", 10, 8);
        late(&mut looks, "a", 20, 9);
        late(&mut looks, "a", 90, 10);
        assert_eq!(looks.first_seq(), Some(7));
        let (first, look) = looks.next(0).expect("one waits");
        assert_eq!(first, key("a"));
        let seconds = |time: Timestamp| time.micros() / SECOND;
        assert_eq!((seconds(look.changed.first), seconds(look.changed.last)), (20, 90));
        assert_eq!((look.first_seq, look.seq), (7, 10));
        assert_eq!(looks.first_seq(), Some(8), "of those that wait still");
        assert_eq!(looks.next(0).expect("one waits").0, key("b"));
        assert_eq!(looks.first_seq(), None);
        assert!(looks.next(0).is_none());
    }

    #[test]
    fn one_that_failed_lets_others_pass_until_it_is_tried_again() {
        let mut looks = Looks::default();
        late(&mut looks, "a", 50, 7);
        let (failed, look) = looks.next(0).expect("one waits");
        looks.put_back(failed, Look { failures: 1, not_before: 1_000, ..look });
        assert!(looks.first_seq().is_some() && !looks.has_due(999));
        late(&mut looks, "b", 10, 8);
        // What comes meanwhile widens it and brings it no nearer.
        late(&mut looks, "a", 20, 9);
        assert_eq!(looks.next(999).expect("the other").0, key("b"));
        assert!(looks.next(999).is_none());
        assert_eq!(looks.first_seq(), Some(7));
        let (again, look) = looks.next(1_000).expect("it is tried again");
        assert_eq!((again, look.failures, look.seq), (key("a"), 1, 9));
    }
}
