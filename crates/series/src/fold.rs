//! The fold: what one journal record does to what is in memory.
//!
//! First [`Effect::of`] judges the record, which needs no lock and takes the most time; then [`Live::take`] changes
//! memory, which cannot fail. Not here: files (`store`). The law: the same records in the order of `seq` lead to the
//! same readings, whatever was flushed, merged or lost by a crash between them.

use std::sync::Arc;

use journal::Record;
use model::route::Routes;
use model::sparkplug::{EdgeNode, Sparkplug};
use model::{Channels, Decoded, Flags, Keep, Message, Names, Sample, Timestamp};

use crate::foreign::SampleFunction;
use crate::latest::Latest;
use crate::learnt::{Bounds, Learnt};
use crate::rollup::{LiveRollup, RollupDay, Rollups};
use crate::store::LiveFile;
use crate::table::{Puts, Table};
use crate::tally::Tally;

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
    /// What is known of senders.
    pub learnt: Learnt,
    pub position: u64,
    /// Whether what edge nodes said differs from what the newest manifest's file, or the memory set aside for it, says.
    pub is_sparkplug_new: bool,
    /// Nodes to ask for their births, and when what made that necessary was received.
    pub rebirths: Vec<(EdgeNode, Timestamp)>,
    /// Receipt, by the monotonic clock, of the oldest record that is in no manifest.
    pub dirty_since: Option<u64>,
    /// Who wants to know how much each device says.
    pub watch: Option<SampleFunction>,
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
            Effect::Decoded(decoded) => self.take_decoded(message, decoded, channels, channels_per_device),
        }
    }

    fn take_decoded(
        &mut self,
        message: &Message,
        mut decoded: Decoded,
        channels: &Channels,
        channels_per_device: usize,
    ) {
        if let Some(heard) = decoded.sparkplug.take() {
            let told = self.learnt.hear(*heard, &mut self.tally);
            (decoded.samples, decoded.units) = (told.samples, told.units);
            self.is_sparkplug_new = true;
            // A replay asks too; who sends the requests leaves out those that are of the past.
            if self.rebirths.len() < REBIRTHS_MAX {
                self.rebirths.extend(told.rebirth.map(|node| (node, message.received_at)));
            }
        }
        if !decoded.notes.is_empty() {
            self.tally.notes(decoded.notes);
        }
        if decoded.samples.is_empty() {
            self.tally.without_readings += 1;
        }
        for sample in decoded.samples {
            let bounds = Bounds { latest: &self.latest, beside: None, channels, channels_per_device };
            let (repeats, received_at) = (decoded.repeats, message.received_at);
            let judged = self.learnt.judge(sample, repeats, received_at, bounds, &mut self.tally);
            if let (Some(watch), Some(sample)) = (&self.watch, &judged.samples[0]) {
                watch(&sample.device, sample.time, sample.flags.contains(Flags::RECEIPT_TIME));
            }
            for sample in judged.samples.into_iter().flatten() {
                let puts = self.put(message, &sample, channels);
                self.tally.put(puts);
                if !decoded.units.is_empty() {
                    self.latest.say(&sample, &decoded.units);
                }
            }
        }
    }

    /// Puts a sample into memory and among the newest.
    pub(crate) fn put(&mut self, message: &Message, sample: &Sample, channels: &Channels) -> Puts {
        if sample.flags.contains(Flags::OUT_OF_RANGE) {
            self.tally.out_of_range(sample);
        }
        let puts = self.active.put(message, sample, channels);
        let received_ms = message.received_at.micros().div_euclid(1_000);
        for place in self.latest.put(sample, received_ms, channels) {
            self.tally.type_changed(&sample.device, &sample.readings[place].channel);
        }
        puts
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
}
