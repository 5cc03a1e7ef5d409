//! A set of buckets: which hours of which channels.
//!
//! Hours, since each finer bucket is within one. Not here: why they are in the set. The law: it holds at most
//! [`BUCKETS_MAX`]; one that would hold more says so, and stands for all buckets then.

use std::collections::BTreeSet;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use hashbrown::HashMap;

use super::bucket::HOUR;
use crate::rows::Key;

/// Most hours of channels in a set: some 100 MB. A day with more touched hours is folded as a whole.
pub(crate) const BUCKETS_MAX: usize = 1_000_000;

/// Hours of channels, with how many rows fell in each.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    devices: HashMap<String, HashMap<String, Vec<(i64, u64)>>>,
    count: usize,
}

impl Buckets {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether it holds as much as it may.
    pub(crate) fn is_full(&self) -> bool {
        self.count >= BUCKETS_MAX
    }

    /// The devices in it.
    pub(crate) fn devices(&self) -> BTreeSet<String> {
        self.devices.keys().cloned().collect()
    }

    /// Adds the hour of `time`.
    pub(crate) fn insert(&mut self, device: &str, channel: &str, time: i64) {
        let hour = time.div_euclid(HOUR);
        let hours = self.devices.entry_ref(device).or_default().entry_ref(channel).or_default();
        match hours.iter_mut().rev().find(|(known, _)| *known == hour) {
            Some((_, rows)) => *rows += 1,
            None if self.count < BUCKETS_MAX => {
                hours.push((hour, 1));
                self.count += 1;
            }
            None => {}
        }
    }

    /// Adds the hours of a batch's rows. Its first columns are device, channel and time.
    pub(crate) fn insert_batch(&mut self, batch: &RecordBatch) {
        self.insert_some(batch, |_, _, _, _| true);
    }

    /// Adds the hours of a batch's rows that are frozen: by their fourth column, or by `ranges`.
    pub(crate) fn insert_frozen(&mut self, batch: &RecordBatch, ranges: &[(Key, Key)]) {
        let frozen = batch.column(3).as_boolean();
        self.insert_some(batch, |row, device, channel, time| {
            frozen.value(row) || is_frozen(ranges, device, channel, time)
        });
    }

    fn insert_some(&mut self, batch: &RecordBatch, of: impl Fn(usize, &str, &str, i64) -> bool) {
        let device = batch.column(0).as_string_view();
        let channel = batch.column(1).as_string_view();
        let time = batch.column(2).as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let (device, channel, time) = (device.value(row), channel.value(row), time.value(row));
            if of(row, device, channel, time) {
                self.insert(device, channel, time);
            }
        }
    }

    /// Whether the hour of `time` is in it.
    pub(crate) fn contains(&self, device: &str, channel: &str, time: i64) -> bool {
        let hour = time.div_euclid(HOUR);
        let hours = self.devices.get(device).and_then(|channels| channels.get(channel));
        hours.is_some_and(|hours| hours.iter().any(|(known, _)| *known == hour))
    }

    /// Takes out what `other` has too; how many rows fell there.
    pub(crate) fn remove_all(&mut self, other: &Self) -> u64 {
        let mut removed = 0;
        for (device, channels) in &mut self.devices {
            for (channel, hours) in channels {
                hours.retain(|(hour, rows)| {
                    let stays = !other.contains(device, channel, hour.saturating_mul(HOUR));
                    if !stays {
                        removed += rows;
                        self.count -= 1;
                    }
                    stays
                });
            }
        }
        removed
    }
}

/// Whether some of the readings of the hour of `time` may have been in files with keys from the first to the last.
pub(crate) fn is_frozen(ranges: &[(Key, Key)], device: &str, channel: &str, time: i64) -> bool {
    let start = time.div_euclid(HOUR).saturating_mul(HOUR);
    let end = start.saturating_add(HOUR - 1);
    ranges.iter().any(|(first, last)| {
        (first.device.as_str(), first.channel.as_str(), first.time) <= (device, channel, end)
            && (device, channel, start) <= (last.device.as_str(), last.channel.as_str(), last.time)
    })
}
