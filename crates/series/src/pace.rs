//! The usual time between two readings of a channel, learnt from their own times.
//!
//! The median of the last [`GAPS`] gaps between newest readings: an outage or a burst is outvoted. Learnt as the newest
//! reading moves on, in the order of `seq`; what is late teaches nothing. Not kept over a restart, where the readings
//! that are read at start teach again. Not here: silence. The law: never under a second, and bounded memory.

/// Gaps that are remembered.
const GAPS: usize = 7;

/// The least interval, in microseconds.
const LEAST: i64 = 1_000_000;

/// The last gaps, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    gaps: [u32; GAPS],
    learnt: u8,
    next: u8,
}

impl Pace {
    /// The newest reading is so many microseconds newer than the one before.
    pub(crate) fn learn(&mut self, micros: i64) {
        // A gap of more than 49 days is as long as that.
        let gap = u32::try_from(micros / 1_000).unwrap_or(u32::MAX);
        self.gaps[usize::from(self.next)] = gap;
        self.next = (self.next + 1) % GAPS as u8;
        self.learnt = (self.learnt + 1).min(GAPS as u8);
    }

    /// The usual gap in microseconds; `None` before there were two.
    pub(crate) fn usual(&self) -> Option<i64> {
        let mut gaps = self.gaps;
        let gaps = &mut gaps[..usize::from(self.learnt)];
        if gaps.len() < 2 {
            return None;
        }
        let middle = (gaps.len() - 1) / 2;
        let (_, median, _) = gaps.select_nth_unstable(middle);
        Some((i64::from(*median) * 1_000).max(LEAST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_does_not_change_the_usual_pace() {
        let mut pace = Pace::default();
        pace.learn(60_000_000);
        assert_eq!(pace.usual(), None);
        for gap in [61_000_000, 86_400_000_000, 59_000_000, 60_000_000] {
            pace.learn(gap);
        }
        assert_eq!(pace.usual(), Some(60_000_000));
        (0..20).for_each(|_| pace.learn(10));
        assert_eq!(pace.usual(), Some(1_000_000), "never under a second");
        (0..20).for_each(|_| pace.learn(i64::MAX));
        assert_eq!(pace.usual(), Some(i64::from(u32::MAX) * 1_000));
    }
}
