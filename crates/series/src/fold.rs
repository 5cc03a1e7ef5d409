//! The fold: what one journal record does to what is in memory.
//!
//! First [`Effect::of`] judges the record, which needs no lock and takes the most time; then [`Live::take`] changes
//! memory, which cannot fail. Not here: files (`store`). The law: the same records in the order of `seq` lead to the
//! same readings, whatever was flushed, merged or lost by a crash between them.

use std::sync::Arc;

use hashbrown::HashMap;
use journal::Record;
use model::route::Routes;
use model::sparkplug::{EdgeNode, Heard, Sparkplug};
use model::{
    Channels, ClockSeen, Decoded, DeviceClock, DeviceName, Flags, Keep, Names, Reading, Repeats, Sample,
    Timestamp,
};

use crate::latest::Latest;
use crate::rollup::{LiveRollup, RollupDay, Rollups};
use crate::store::LiveFile;
use crate::table::Table;
use crate::tally::Tally;

/// Times that tell nothing of a device's clock: of receipt, of history that was kept, of values that were cached.
const CLOCKLESS: Flags = Flags::RECEIPT_TIME.union(Flags::LATE).union(Flags::POSSIBLY_CACHED);

/// Most nodes that wait to be asked for their births: one that finds no room asks again within a minute or more.
const REBIRTHS_MAX: usize = 1_000;

/// What a record leads to, found before any lock is taken.
pub(crate) enum Effect {
    /// For one connection alone.
    Invisible,
    Decoded(Decoded),
    WithoutReadings,
    Undecodable {
        reason: &'static str,
        error: String,
    },
    Unrouted,
}

impl Effect {
    /// Judges a record by today's routes.
    pub(crate) fn of(record: &Record, routes: &Routes, names: &mut Names) -> Self {
        let message = &record.message;
        if message.to.is_some() {
            return Self::Invisible;
        }
        let Some(route) = routes.find(&message.topic) else { return Self::Unrouted };
        if route.keep() != Keep::All {
            return Self::WithoutReadings;
        }
        match route.decode(message, names) {
            Ok(decoded) => Self::Decoded(decoded),
            Err(error) => Self::Undecodable { reason: error.slug(), error: error.to_string() },
        }
    }
}

/// Memory that is being written to files: nobody changes it any more.
pub(crate) struct Frozen {
    pub table: Arc<Table>,
    /// What its files and the manifest after it will say.
    pub seq_from: u64,
    pub seq_to: u64,
    pub tally: Tally,
    /// What was known of edge nodes then; `None` when the manifest's file says the same.
    pub sparkplug: Option<Sparkplug>,
}

/// What a scan sees and `apply` changes.
pub(crate) struct Live {
    /// What was applied since the last flush.
    pub active: Table,
    pub frozen: Option<Arc<Frozen>>,
    pub files: Arc<Vec<LiveFile>>,
    pub rollups: Rollups,
    pub latest: Latest,
    pub tally: Tally,
    pub clocks: HashMap<DeviceName, DeviceClock>,
    pub offsets: HashMap<DeviceName, i64>,
    /// The newest time that a device of cached values told since this process started. Of this process alone: what is
    /// judged by it is in memory or on disk already, also when a crash leads to the same records again.
    pub told: HashMap<DeviceName, i64>,
    pub position: u64,
    /// What edge nodes of Sparkplug said.
    pub sparkplug: Sparkplug,
    /// Whether it differs from what the newest manifest's file, or the memory set aside for it, says.
    pub is_sparkplug_new: bool,
    /// Nodes to ask for their births, and when what made that necessary was received.
    pub rebirths: Vec<(EdgeNode, Timestamp)>,
    /// Receipt, by the monotonic clock, of the oldest record that is in no manifest.
    pub dirty_since: Option<u64>,
}

impl Live {
    /// Takes in a record and what it leads to.
    pub(crate) fn take(
        &mut self,
        record: &Record,
        effect: Effect,
        channels: &Channels,
        channels_per_device: usize,
    ) {
        let message = &record.message;
        if !matches!(effect, Effect::Invisible) {
            self.tally.messages += 1;
        }
        match effect {
            Effect::Invisible => {}
            Effect::WithoutReadings => self.tally.without_readings += 1,
            Effect::Unrouted => self.tally.unrouted(record.seq, message),
            Effect::Undecodable { reason, error } => {
                self.tally.undecodable(record.seq, message, reason, error);
            }
            Effect::Decoded(mut decoded) => {
                if let Some(heard) = decoded.sparkplug.take() {
                    decoded.samples = self.hear(*heard, message.received_at);
                }
                if !decoded.notes.is_empty() {
                    self.tally.notes(decoded.notes);
                }
                if decoded.samples.is_empty() {
                    self.tally.without_readings += 1;
                }
                let received_ms = message.received_at.micros().div_euclid(1_000);
                for mut sample in decoded.samples {
                    if decoded.repeats == Repeats::NotNewer && self.is_cached_repeat(&sample) {
                        self.tally.cached_repeats += 1;
                        continue;
                    }
                    let refused = self.latest.bound(&mut sample, channels_per_device);
                    if refused > 0 {
                        self.tally.channels_beyond(&sample.device, refused);
                        if sample.readings.is_empty() {
                            continue;
                        }
                    }
                    if !sample.flags.intersects(CLOCKLESS) {
                        let seen = self.observe(&sample.device, sample.time, message.received_at);
                        sample.flags |= seen.flags;
                    }
                    if !sample.flags.is_empty() {
                        self.tally.flags(&sample.device, sample.flags);
                    }
                    let beyond = out_of_range(&mut sample, channels);
                    for sample in [Some(sample), beyond].into_iter().flatten() {
                        if sample.flags.contains(Flags::OUT_OF_RANGE) {
                            self.tally.out_of_range(&sample);
                        }
                        self.tally.put(self.active.put(message, &sample, channels));
                        for place in self.latest.put(&sample, received_ms, channels) {
                            self.tally.type_changed(&sample.device, &sample.readings[place].channel);
                        }
                    }
                }
            }
        }
    }

    /// Whether a sender that repeats what it has cached only repeats: what it says is older than what it said, or as old
    /// and the same.
    fn is_cached_repeat(&mut self, sample: &Sample) -> bool {
        if sample.flags.contains(Flags::RECEIPT_TIME) {
            return false;
        }
        let time = sample.time.micros();
        match self.told.get_mut(sample.device.as_str()) {
            None => {
                self.told.insert(sample.device.clone(), time);
                false
            }
            Some(newest) if time > *newest => {
                *newest = time;
                false
            }
            // Of the same moment there may be more to say: a lamp that was switched since it was heard.
            Some(newest) if time == *newest => self.latest.holds(sample),
            Some(_) => true,
        }
    }

    /// What is set aside to be written has a manifest after the one that stands: it must not undo what was counted.
    pub(crate) fn count_in_frozen(&mut self, count: impl Fn(&mut Tally)) {
        if let Some(frozen) = &self.frozen {
            let mut tally = frozen.tally.clone();
            count(&mut tally);
            self.frozen = Some(Arc::new(Frozen {
                table: Arc::clone(&frozen.table),
                seq_from: frozen.seq_from,
                seq_to: frozen.seq_to,
                tally,
                sparkplug: frozen.sparkplug.clone(),
            }));
        }
    }

    /// Takes over what the manifest says of rollups whose files stayed the same.
    pub(crate) fn follow(&mut self, days: &[RollupDay]) {
        let rollups = days.iter().map(|day| {
            let known = self.rollups.get(&day.day);
            let live = match known {
                Some(known) if known.day == *day => Arc::clone(known),
                known => {
                    let readers = known.map(|known| known.readers.clone()).unwrap_or_default();
                    Arc::new(LiveRollup { day: day.clone(), readers })
                }
            };
            (day.day, live)
        });
        self.rollups = Arc::new(rollups.collect());
    }

    /// What an edge node said, as samples.
    fn hear(&mut self, heard: Heard, received_at: Timestamp) -> Vec<Sample> {
        let told = self.sparkplug.take(heard);
        self.is_sparkplug_new = true;
        for (name, _) in told.noted.iter_names() {
            self.tally.note(format!("sparkplug_{}", name.to_lowercase()));
        }
        // A replay asks too; who sends the requests leaves out those that are of the past.
        if self.rebirths.len() < REBIRTHS_MAX {
            self.rebirths.extend(told.rebirth.map(|node| (node, received_at)));
        }
        told.samples
    }

    fn observe(&mut self, device: &DeviceName, time: Timestamp, received_at: Timestamp) -> ClockSeen {
        if !self.clocks.contains_key(device.as_str()) {
            let clock = self.latest.newest(device).map(DeviceClock::resume).unwrap_or_default();
            self.clocks.insert(device.clone(), clock);
        }
        let clock = self.clocks.get_mut(device.as_str()).expect("there or just made");
        let seen = clock.observe(time, received_at);
        if let Some(offset) = seen.offset_micros {
            match self.offsets.get_mut(device.as_str()) {
                Some(known) => *known = offset,
                None => {
                    self.offsets.insert(device.clone(), offset);
                }
            }
        }
        seen
    }
}

/// Takes the readings out that cannot be true by their channel's bounds: a sample of their own, flagged. They are
/// stored like others, since only a person can tell which of the two is wrong.
pub(crate) fn out_of_range(sample: &mut Sample, channels: &Channels) -> Option<Sample> {
    if !channels.has_bounds() {
        return None;
    }
    let is_beyond = |reading: &Reading| {
        reading.value.number().is_some_and(|value| !channels.find(&reading.channel).allows(value))
    };
    if !sample.readings.iter().any(is_beyond) {
        return None;
    }
    let (beyond, within) = std::mem::take(&mut sample.readings).into_iter().partition(is_beyond);
    sample.readings = within;
    Some(Sample {
        device: sample.device.clone(),
        time: sample.time,
        flags: sample.flags | Flags::OUT_OF_RANGE,
        readings: beyond,
    })
}
