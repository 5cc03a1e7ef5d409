//! In which order the rows of a recording are sent.

use std::io::{self, Read};

use super::rows::{Item, Rows};

/// Most rows that are shuffled: they are all held in memory.
pub(super) const SHUFFLED_ROWS_MAX: usize = 5_000_000;

/// Rows as they are to be sent.
pub(super) enum Order<R> {
    /// In the file's order, read as they are needed.
    File(Rows<R>),
    /// Otherwise, from memory.
    Shuffled(std::vec::IntoIter<Item>),
}

impl<R: Read> Order<R> {
    /// Reads all rows and puts them in the order that `seed` draws; the same seed draws the same order.
    pub(super) fn shuffled(rows: Rows<R>, seed: u64) -> io::Result<Self> {
        let mut all = Vec::new();
        for row in rows {
            if all.len() == SHUFFLED_ROWS_MAX {
                let text =
                    format!("--shuffle takes at most {SHUFFLED_ROWS_MAX} rows: they are held in memory");
                return Err(io::Error::other(text));
            }
            all.push(Ok(row?));
        }
        shuffle(&mut all, seed);
        Ok(Self::Shuffled(all.into_iter()))
    }
}

impl<R: Read> Iterator for Order<R> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        match self {
            Self::File(rows) => rows.next(),
            Self::Shuffled(rows) => rows.next(),
        }
    }
}

/// Fisher and Yates, the dice by SplitMix64: an interrupted replay must find the order again, in any version.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for last in (1..items.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut dice = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        dice = (dice ^ (dice >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        dice ^= dice >> 31;
        // At most `last`, which is an index.
        items.swap(last, (dice % (last as u64 + 1)) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_a_seed_never_changes_and_loses_nothing() {
        let order = |seed| {
            let mut items: Vec<u32> = (0..10).collect();
            shuffle(&mut items, seed);
            items
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        assert_eq!(order(1), [4, 2, 8, 1, 9, 3, 0, 6, 7, 5], "an interrupted replay finds its order again");
        let mut sorted = order(3);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
    }
}
