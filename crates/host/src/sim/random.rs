//! Dice whose throws follow from a seed. Never fit for keys outside of tests.

use parking_lot::Mutex;

use crate::Random;

/// Dice from a seed: the same seed gives the same throws.
pub struct SimRandom(Mutex<u64>);

impl SimRandom {
    /// The dice of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// A throw from 0 to `bound` - 1; 0 for a bound of 0.
    pub fn below(&self, bound: u64) -> u64 {
        // The slight preference for small throws is of no matter here.
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): small, and every seed is a good one.
    fn next(&self) -> u64 {
        let mut state = self.0.lock();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Random for SimRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let throw = self.next().to_le_bytes();
            chunk.copy_from_slice(&throw[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_row_of_throws() {
        let row = |seed| {
            let dice = SimRandom::new(seed);
            [dice.number(), dice.number(), dice.below(6)]
        };
        assert_eq!(row(1), row(1));
        assert_ne!(row(1), row(2));
    }
}
