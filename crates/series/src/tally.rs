//! What happened to messages on their way to readings, counted with a sample of each kind.
//!
//! Kept in the manifest beside the position, so that a restart neither forgets nor counts twice. Every list is
//! bounded; what finds no room is counted without a name. Not here: the readings. The law: no message is dropped
//! without being counted here.

use std::collections::BTreeMap;

use model::{Flags, Message, Notes, Sample, Timestamp, unrouted};
use serde::{Deserialize, Serialize};

use crate::table::Puts;

/// Most kinds of undecodable messages: a reason and a topic pattern each.
const UNDECODABLE_MAX: usize = 256;
/// Most topic patterns without a route.
const UNROUTED_MAX: usize = 256;
/// Most devices listed by name for one trouble.
const DEVICES_MAX: usize = 1_000;
/// Most channels listed by name for one trouble.
const CHANNELS_MAX: usize = 1_000;
/// Most channels listed by name of one device whose types change.
const TYPE_CHANGES_MAX: usize = 20;
/// Characters of a payload that are kept as a sample.
const SAMPLE_CHARS: usize = 200;

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Messages read from the journal, those for one connection alone left out.
    pub messages: u64,
    /// Readings that were decoded.
    pub readings: u64,
    /// Of these, how many were there already. Those whose original is in a column file are found when files are
    /// merged.
    pub repeated: u64,
    /// Of these, how many replaced another value.
    pub replaced: u64,
    /// Messages that a route sends nowhere (`keep = "journal"` or `"none"`), or that carry no reading.
    pub without_readings: u64,
    /// Messages that could not be decoded.
    pub undecodable: u64,
    /// Messages that no route matches.
    pub unrouted: u64,
    /// Records that the journal could not hand out: damaged or missing.
    pub lost: u64,
    /// Readings that were dropped by age or by the disk budget.
    pub dropped: u64,
    /// Readings for hours whose raw readings are dropped: stored, but in no rollup.
    pub late_to_frozen: u64,
    /// Undecodable messages by reason and topic pattern.
    pub undecodable_kinds: Vec<UndecodableKind>,
    /// Unrouted messages by topic pattern.
    pub unrouted_kinds: Vec<UnroutedKind>,
    /// Samples without identity (a retry of one may be a second reading), by device.
    pub no_identity: BTreeMap<String, u64>,
    /// Backward steps of the clock, by device.
    pub clock_steps: BTreeMap<String, u64>,
    /// Messages whose device time could not be believed, by device.
    pub implausible_times: BTreeMap<String, u64>,
    /// Readings below their channel's `min` or above its `max` (stored and flagged), by channel.
    pub out_of_range: BTreeMap<String, u64>,
    /// Samples that said again what their sender had cached: they are no readings.
    pub cached_repeats: u64,
    /// Readings of channels beyond `channels_per_device`, not stored, by device.
    pub channels_beyond: BTreeMap<String, u64>,
    /// Readings that were a text where a number was, or the other way round (stored), by device and channel.
    pub type_changed: BTreeMap<String, BTreeMap<String, u64>>,
    /// What else an operator should know, in messages: by note.
    pub notes: BTreeMap<String, u64>,
}

/// Undecodable messages of one reason on topics of one pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndecodableKind {
    /// The code of the reason.
    pub reason: String,
    /// The topics, with `+` for what looks like a name.
    pub pattern: String,
    /// How many.
    pub count: u64,
    /// The newest of them.
    pub sample: MessageSample,
    /// Why it cannot be decoded.
    pub error: String,
}

/// Messages without a route, on topics of one pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnroutedKind {
    /// The topics, with `+` for what looks like a name.
    pub pattern: String,
    /// How many.
    pub count: u64,
    /// The newest of them.
    pub sample: MessageSample,
    /// A route for `godwit.toml` that would decode it.
    pub suggestion: String,
}

/// A message, to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageSample {
    /// Its place in the journal.
    pub seq: u64,
    /// Its topic.
    pub topic: String,
    /// The start of its payload, as text.
    pub payload: String,
    /// When it was received, in microseconds since 1970.
    pub received_at: i64,
}

impl MessageSample {
    fn of(seq: u64, message: &Message) -> Self {
        // Four bytes a character are enough for the start.
        let start = &message.payload[..message.payload.len().min(SAMPLE_CHARS * 4)];
        Self {
            seq,
            topic: message.topic.to_string(),
            payload: String::from_utf8_lossy(start).chars().take(SAMPLE_CHARS).collect(),
            received_at: message.received_at.micros(),
        }
    }

    /// When it was received.
    #[must_use]
    pub fn received_at(&self) -> Timestamp {
        Timestamp::from_micros(self.received_at)
    }
}

impl Tally {
    /// Readings that are stored: seen and neither there already nor in place of another.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.readings.saturating_sub(self.repeated).saturating_sub(self.replaced)
    }

    /// Counts readings.
    pub(crate) fn put(&mut self, puts: Puts) {
        self.readings += puts.seen;
        self.repeated += puts.repeated;
        self.replaced += puts.replaced;
    }

    /// Counts a message that cannot be decoded.
    pub(crate) fn undecodable(&mut self, seq: u64, message: &Message, reason: &str, error: String) {
        self.undecodable += 1;
        let pattern = unrouted::pattern(&message.topic);
        let sample = MessageSample::of(seq, message);
        let kinds = &mut self.undecodable_kinds;
        let has_room = kinds.len() < UNDECODABLE_MAX;
        match kinds.iter_mut().find(|kind| kind.reason == reason && kind.pattern == pattern) {
            Some(kind) => {
                kind.count += 1;
                (kind.sample, kind.error) = (sample, error);
            }
            None if has_room => {
                kinds.push(UndecodableKind { reason: reason.to_owned(), pattern, count: 1, sample, error });
            }
            None => {}
        }
    }

    /// Counts a message without a route.
    pub(crate) fn unrouted(&mut self, seq: u64, message: &Message) {
        self.unrouted += 1;
        let pattern = unrouted::pattern(&message.topic);
        let kinds = &mut self.unrouted_kinds;
        let has_room = kinds.len() < UNROUTED_MAX;
        match kinds.iter_mut().find(|kind| kind.pattern == pattern) {
            Some(kind) => {
                kind.count += 1;
                // The newest sample is worth a copy now and then, not per message.
                if kind.count.is_power_of_two() {
                    kind.sample = MessageSample::of(seq, message);
                }
            }
            None if has_room => {
                let suggestion = unrouted::suggest(&message.topic, &message.payload).toml;
                kinds.push(UnroutedKind {
                    pattern,
                    count: 1,
                    sample: MessageSample::of(seq, message),
                    suggestion,
                });
            }
            None => {}
        }
    }

    /// Messages that had no route when they came have one now, and their readings are stored.
    pub(crate) fn came_to_life(&mut self, pattern: &str, messages: u64) {
        let Some(place) = self.unrouted_kinds.iter().position(|kind| kind.pattern == pattern) else { return };
        let kind = &mut self.unrouted_kinds[place];
        let messages = messages.min(kind.count);
        kind.count -= messages;
        self.unrouted = self.unrouted.saturating_sub(messages);
        if kind.count == 0 {
            self.unrouted_kinds.remove(place);
        }
    }

    /// Counts what is unusual about a sample.
    pub(crate) fn flags(&mut self, device: &str, flags: Flags) {
        let lists = [
            (Flags::NO_IDENTITY, &mut self.no_identity),
            (Flags::CLOCK_STEP, &mut self.clock_steps),
            (Flags::IMPLAUSIBLE_TIME, &mut self.implausible_times),
        ];
        for (flag, devices) in lists {
            if !flags.contains(flag) {
                continue;
            }
            let has_room = devices.len() < DEVICES_MAX;
            match devices.get_mut(device) {
                Some(count) => *count += 1,
                None if has_room => {
                    devices.insert(device.to_owned(), 1);
                }
                None => {}
            }
        }
    }

    /// Counts readings that cannot be true by their channels' bounds.
    pub(crate) fn out_of_range(&mut self, sample: &Sample) {
        for reading in &sample.readings {
            let has_room = self.out_of_range.len() < CHANNELS_MAX;
            match self.out_of_range.get_mut(reading.channel.as_str()) {
                Some(count) => *count += 1,
                None if has_room => {
                    self.out_of_range.insert(reading.channel.to_string(), 1);
                }
                None => {}
            }
        }
    }

    /// Counts readings of channels that a device has too many of.
    pub(crate) fn channels_beyond(&mut self, device: &str, readings: u64) {
        let has_room = self.channels_beyond.len() < DEVICES_MAX;
        match self.channels_beyond.get_mut(device) {
            Some(count) => *count += readings,
            None if has_room => {
                self.channels_beyond.insert(device.to_owned(), readings);
                tracing::warn!(device, "device has more channels than `series.channels_per_device`");
            }
            None => {}
        }
    }

    /// Counts a reading of another type than the one before it.
    pub(crate) fn type_changed(&mut self, device: &str, channel: &str) {
        if !self.type_changed.contains_key(device) {
            if self.type_changed.len() >= DEVICES_MAX {
                return;
            }
            self.type_changed.insert(device.to_owned(), BTreeMap::new());
        }
        let channels = self.type_changed.get_mut(device).expect("there or just made");
        let has_room = channels.len() < TYPE_CHANGES_MAX;
        match channels.get_mut(channel) {
            Some(count) => *count += 1,
            None if has_room => drop(channels.insert(channel.to_owned(), 1)),
            None => {}
        }
    }

    /// Counts what the decoder noted.
    pub(crate) fn notes(&mut self, notes: Notes) {
        for (name, _) in notes.iter_names() {
            self.note(name.to_lowercase());
        }
    }

    /// Counts a message of which an operator should know this; the caller has few names.
    pub(crate) fn note(&mut self, name: String) {
        *self.notes.entry(name).or_default() += 1;
    }
}
