//! The metrics that a birth told: name, alias, type, and the newest time that came of each.
//!
//! Sorted lists, for a table is read with every message and made anew with a birth only. Not here: whose they are.

use crate::{ChannelName, Timestamp};

/// One metric of a node or device.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    pub(super) channel: ChannelName,
    pub(super) alias: Option<u64>,
    pub(super) datatype: Option<u32>,
    /// Whether the route ignores it.
    pub(super) is_ignored: bool,
    /// The newest time of its readings.
    pub(super) newest: Option<Timestamp>,
}

/// All metrics of a node or device.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Table {
    /// By name.
    metrics: Vec<Known>,
    /// By alias: the place in `metrics`.
    aliases: Vec<(u64, u32)>,
}

impl Table {
    /// A table of these metrics; of those with one name the last counts, of those with one alias any.
    pub(super) fn new(mut metrics: Vec<Known>) -> Self {
        // Sorting is stable: turned around, the last of one name stands first, and stays.
        metrics.reverse();
        metrics.sort_by(|a, b| a.channel.cmp(&b.channel));
        metrics.dedup_by(|later, first| later.channel == first.channel);
        let places = (0..).zip(&metrics).filter_map(|(place, known)| Some((known.alias?, place)));
        let mut aliases: Vec<(u64, u32)> = places.collect();
        aliases.sort_unstable();
        aliases.dedup_by_key(|(alias, _)| *alias);
        Self { metrics, aliases }
    }

    /// How many metrics.
    pub(super) fn len(&self) -> usize {
        self.metrics.len()
    }

    /// All metrics, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Known> {
        self.metrics.iter()
    }

    /// The metric of this name.
    pub(super) fn named(&self, channel: &ChannelName) -> Option<usize> {
        self.metrics.binary_search_by(|known| known.channel.cmp(channel)).ok()
    }

    /// The metric with this alias.
    pub(super) fn aliased(&self, alias: u64) -> Option<usize> {
        let at = self.aliases.binary_search_by_key(&alias, |(alias, _)| *alias).ok()?;
        Some(self.aliases[at].1 as usize)
    }

    /// The metric at a place that [`Self::named`] or [`Self::aliased`] gave.
    pub(super) fn at(&self, place: usize) -> &Known {
        &self.metrics[place]
    }

    /// A reading of this time came of the metric at `place`.
    pub(super) fn saw(&mut self, place: usize, time: Timestamp) {
        let newest = &mut self.metrics[place].newest;
        *newest = (*newest).max(Some(time));
    }
}
