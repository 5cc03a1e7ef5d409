//! The place of a message among those of its node: next, after a gap, overtaken, or come before.
//!
//! `seq` counts 0 to 255 and begins anew (Sparkplug 3.0, section 6.4.19, "seq"). Not here: what is done about a gap. The
//! law: what fills a gap closes it; what came before opens none.

/// How many messages back an overtaken one is still known.
const WINDOW: u32 = 32;

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the next.
    Next,
    /// So many before it are missing.
    After(u8),
    /// It was missing.
    Filled,
    /// It was there.
    Again,
}

/// What has come of a node's messages since its birth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sequence {
    /// The `seq` that comes next.
    pub(super) next: u8,
    /// Bit n: `next - 1 - n` is missing.
    pub(super) missing: u32,
    /// How many of the bits say something.
    pub(super) known: u32,
    /// Something missing is too far back to be known when it comes.
    pub(super) is_lost: bool,
}

impl Sequence {
    /// After a birth of this `seq`.
    pub(super) fn born(seq: u8) -> Self {
        Self { next: seq.wrapping_add(1), missing: 0, known: 1, is_lost: false }
    }

    /// Where `seq` stands. `is_older`: it was sent no later than the newest that came; without this the loss of many
    /// would look like what came before.
    pub(super) fn place(&self, seq: u8, is_older: bool) -> Place {
        let after = seq.wrapping_sub(self.next);
        let back = u32::from(self.next.wrapping_sub(seq).wrapping_sub(1));
        match after {
            0 => Place::Next,
            _ if !is_older || back >= self.known => Place::After(after),
            _ if self.missing >> back & 1 == 1 => Place::Filled,
            _ => Place::Again,
        }
    }

    /// Takes in a message that stands at `place`.
    pub(super) fn take(&mut self, seq: u8, place: Place) {
        match place {
            Place::Next => self.go_on(0),
            Place::After(missed) => self.go_on(missed),
            Place::Filled => self.missing &= !(1 << self.next.wrapping_sub(seq).wrapping_sub(1)),
            Place::Again => {}
        }
    }

    /// Whether something is missing that may still come, or will not.
    pub(super) fn has_gap(&self) -> bool {
        self.missing != 0 || self.is_lost
    }

    fn go_on(&mut self, missed: u8) {
        let missed = u32::from(missed);
        let shift = missed + 1;
        let old = if shift <= WINDOW { u64::from(self.missing) << shift } else { 0 };
        let new = ((1_u64 << missed.min(62)) - 1) << 1;
        // What leaves the window while it is missing is lost.
        self.is_lost |= (old | new) >> WINDOW != 0 || (shift > WINDOW && self.missing != 0);
        self.missing = (old | new) as u32;
        self.known = (self.known + shift).min(WINDOW);
        self.next = self.next.wrapping_add(shift as u8);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes messages in, each no newer than the newest where it is `old`.
    fn taken(sequence: &mut Sequence, seqs: impl IntoIterator<Item = (u8, bool)>) -> Vec<Place> {
        let take = |(seq, old)| {
            let place = sequence.place(seq, old);
            sequence.take(seq, place);
            place
        };
        seqs.into_iter().map(take).collect()
    }

    #[test]
    fn after_255_comes_0() {
        let mut sequence = Sequence::born(0);
        let places = taken(&mut sequence, (1..=600).map(|n: u32| ((n % 256) as u8, false)));
        assert!(places.iter().all(|place| *place == Place::Next));
        assert!(!sequence.has_gap());
    }

    #[test]
    fn what_was_overtaken_fills_its_gap_and_what_came_before_opens_none() {
        let mut sequence = Sequence::born(254);
        let places = taken(&mut sequence, [(255, false), (1, false), (0, true), (1, true), (2, false)]);
        assert_eq!(places, [Place::Next, Place::After(1), Place::Filled, Place::Again, Place::Next]);
        assert!(!sequence.has_gap());
    }

    #[test]
    fn the_loss_of_many_is_a_gap_however_many() {
        for missed in 1..=255 {
            let mut sequence = Sequence::born(0);
            taken(&mut sequence, (1..=40).map(|seq| (seq, false)));
            let places = taken(&mut sequence, [(41_u8.wrapping_add(missed), false)]);
            assert_eq!(places, [Place::After(missed)]);
            assert!(sequence.has_gap());
            assert_eq!(taken(&mut sequence, [(42_u8.wrapping_add(missed), false)]), [Place::Next]);
        }
    }

    #[test]
    fn what_is_missing_for_long_is_lost() {
        let mut sequence = Sequence::born(0);
        taken(&mut sequence, [(2, false)]);
        taken(&mut sequence, (3..=32).map(|seq| (seq, false)));
        assert!(!sequence.is_lost);
        taken(&mut sequence, (33..=34).map(|seq| (seq, false)));
        assert!(sequence.is_lost && sequence.has_gap());
        assert_eq!(taken(&mut sequence, [(35, false)]), [Place::Next]);
    }

    proptest! {
        #[test]
        fn messages_in_any_near_order_leave_no_gap(shuffled in prop::collection::vec(any::<u16>(), 1..500)) {
            // Each is moved back by at most 16 places.
            let mut order: Vec<(usize, usize)> =
                shuffled.iter().enumerate().map(|(n, late)| (n + usize::from(late % 16), n)).collect();
            order.sort();
            let mut sequence = Sequence::born(0);
            let mut newest = 0;
            for (_, n) in order {
                let seq = ((n + 1) % 256) as u8;
                let place = sequence.place(seq, n < newest);
                prop_assert_ne!(place, Place::Again);
                sequence.take(seq, place);
                newest = newest.max(n);
            }
            prop_assert!(!sequence.has_gap());
        }

        #[test]
        fn any_numbers_are_taken_in(seqs in prop::collection::vec(any::<(u8, bool)>(), 0..300)) {
            let mut sequence = Sequence::born(0);
            for (seq, old) in seqs {
                let place = sequence.place(seq, old);
                sequence.take(seq, place);
                prop_assert!(sequence.known <= WINDOW);
            }
        }
    }
}
