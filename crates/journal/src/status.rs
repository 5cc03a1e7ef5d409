//! What `doctor` and the metrics ask the journal.

use crate::chain::Chain;
use crate::{Hold, SkipReason};

/// Most entries of the damage list; older ones are forgotten first.
pub(crate) const DAMAGE_ENTRIES_MAX: usize = 1_024;

/// Records of one chain that are lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The chain.
    pub chain: Chain,
    /// Number of the segment file in its chain.
    pub segment: u64,
    /// The first `seq` that is lost. Records of the other chain with a `seq` in the range are not lost by this.
    pub from: u64,
    /// The last `seq` that is lost.
    pub to: u64,
    /// What happened.
    pub reason: SkipReason,
}

/// Where a consumer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerStatus {
    /// Its name.
    pub name: String,
    /// How it holds retention.
    pub hold: Hold,
    /// The effect of every record up to this `seq` is stored; 0 before the first report.
    pub position: u64,
    /// Records that are durable and have not yet had their effect.
    pub lag_records: u64,
    /// Age of the oldest of them in microseconds since its receipt, to the precision of a segment's index; 0 when
    /// there is none.
    pub lag_micros: u64,
    /// The same of the oldest record whose effect is not stored: what the consumer holds in the journal.
    pub held_micros: u64,
}

/// How long syncs took. Bucket `n` counts those of at most 2^n × 64 microseconds (the last one: all longer).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncLatency {
    /// Syncs per bucket.
    pub buckets: [u64; SyncLatency::BUCKETS],
    /// How many syncs.
    pub count: u64,
    /// Their durations together, in microseconds.
    pub sum_micros: u64,
    /// The longest, in microseconds.
    pub max_micros: u64,
}

impl SyncLatency {
    /// Number of buckets: the last bound but one is 64 µs × 2^14, a second.
    pub const BUCKETS: usize = 16;

    /// The upper bound of bucket `n` in microseconds; `None` for the last one, which has none.
    #[must_use]
    pub fn bound_micros(n: usize) -> Option<u64> {
        (n + 1 < Self::BUCKETS).then(|| 64 << n)
    }

    /// The upper bound of the bucket in which the given part (0.5, 0.99) of the syncs ends, in microseconds.
    #[must_use]
    pub fn quantile_micros(&self, part: f64) -> u64 {
        let wanted = (self.count as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (n, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Self::bound_micros(n).map_or(self.max_micros, |bound| bound.min(self.max_micros));
            }
        }
        self.max_micros
    }

    pub(crate) fn record(&mut self, micros: u64) {
        let bucket = (0..Self::BUCKETS - 1).find(|&n| micros <= 64 << n).unwrap_or(Self::BUCKETS - 1);
        self.buckets[bucket] += 1;
        self.count += 1;
        self.sum_micros = self.sum_micros.saturating_add(micros);
        self.max_micros = self.max_micros.max(micros);
    }
}

/// How the journal is.
#[derive(Debug, Clone)]
pub struct Status {
    /// The lowest `seq` that may still be there.
    pub first_seq: u64,
    /// Every record up to this `seq` is durable; 0 when there is none.
    pub durable_seq: u64,
    /// Bytes of all segment files.
    pub bytes: u64,
    /// The bound on them. Appends are refused at 90 % of it.
    pub bytes_max: u64,
    /// Segment files per chain: urgent, regular.
    pub segments: [usize; 2],
    /// Bytes waiting for the writer.
    pub queue_bytes: usize,
    /// Messages waiting for the writer.
    pub queue_messages: usize,
    /// Why nothing more is written, if so.
    pub poisoned: Option<String>,
    /// The last append was refused because the journal or the volume is full.
    pub full: bool,
    /// Records known to be lost, oldest first.
    pub damage: Vec<Damage>,
    /// The consumers, by name.
    pub consumers: Vec<ConsumerStatus>,
    /// How long syncs took.
    pub sync: SyncLatency,
    /// Message ids remembered.
    pub ids: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_counted_in_the_bucket_that_holds_it() {
        let mut latency = SyncLatency::default();
        for micros in [0, 64, 65, 128, 129, 2_000_000] {
            latency.record(micros);
        }
        assert_eq!(latency.buckets[..3], [2, 2, 1]);
        assert_eq!(latency.buckets[SyncLatency::BUCKETS - 1], 1);
        assert_eq!((latency.quantile_micros(0.5), latency.quantile_micros(1.0)), (128, 2_000_000));
    }
}
