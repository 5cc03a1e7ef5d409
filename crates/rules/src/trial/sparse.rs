//! How often channels are reported: `for` on what reports on change, without `hold`, never fires.
//!
//! Not here: what is done about it (a warning). The law: intervals are of one channel of one device.

use std::collections::HashMap;

use model::{ChannelName, DeviceName, Sample, Timestamp};

use crate::rule::Rule;

/// One in so many intervals longer than `for` is worth a warning.
const SHARE: u64 = 10;

/// Intervals of the channels that one rule looks at.
#[derive(Debug)]
pub struct Intervals<'a> {
    rule: &'a Rule,
    newest: HashMap<DeviceName, Vec<Option<Timestamp>>>,
    /// By channel: all, and those longer than `for`.
    counts: Vec<(u64, u64)>,
}

/// A channel that reports more seldom than its rule assumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sparse {
    /// The channel.
    pub channel: ChannelName,
    /// How many intervals were seen.
    pub intervals: u64,
    /// How many of them are longer than `for`.
    pub longer: u64,
}

impl<'a> Intervals<'a> {
    /// Of the channels of `rule`.
    #[must_use]
    pub fn new(rule: &'a Rule) -> Self {
        Self { rule, newest: HashMap::new(), counts: vec![(0, 0); rule.channels().len()] }
    }

    /// Takes in a sample that the rule's `from` lets pass; a device's samples come in order.
    pub fn feed(&mut self, sample: &Sample) {
        let channels = self.rule.channels();
        if !self.newest.contains_key(&sample.device) {
            self.newest.insert(sample.device.clone(), vec![None; channels.len()]);
        }
        let Some(newest) = self.newest.get_mut(&sample.device) else { return };
        for (slot, channel) in channels.iter().enumerate() {
            if sample.readings.iter().all(|reading| reading.channel != *channel) {
                continue;
            }
            if let Some(before) = newest[slot].replace(sample.time) {
                let interval = sample.time.micros_since(before);
                self.counts[slot].0 += 1;
                self.counts[slot].1 += u64::from(interval > self.rule.for_micros());
            }
        }
    }

    /// The channels of which at least a tenth of the intervals are longer than `for`, when the rule has `for` and no `hold`.
    #[must_use]
    pub fn sparse(&self) -> Vec<Sparse> {
        if self.rule.for_micros() == 0 || self.rule.has_hold() {
            return Vec::new();
        }
        let counted = self.rule.channels().iter().zip(&self.counts);
        counted
            .filter(|(_, (all, longer))| *all > 0 && longer * SHARE >= *all)
            .map(|(channel, (intervals, longer))| Sparse {
                channel: channel.clone(),
                intervals: *intervals,
                longer: *longer,
            })
            .collect()
    }
}
