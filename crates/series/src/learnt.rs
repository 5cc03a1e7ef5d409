//! What is learnt of those who send, message by message, and how what they send is judged by it.
//!
//! ```text
//! decoded ─→ edge nodes (aliases → names) ─→ a repeat of what was cached? ─→ room for its channels? ─→ its clock ─→ in range?
//! ```
//!
//! One way for messages that come in (`fold`) and for those that are taken once more (`reprocess`). Not here: where readings
//! go then. The law: the same messages in the same order, from the same start, are judged the same.

use hashbrown::HashMap;
use model::sparkplug::{Heard, Sparkplug, Told};
use model::{Channels, ClockSeen, DeviceClock, DeviceName, Flags, Reading, Repeats, Sample, Timestamp};

use crate::latest::Latest;
use crate::tally::Tally;

/// Times that tell nothing of a device's clock: of receipt, of history that was kept, of values that were cached.
const CLOCKLESS: Flags = Flags::RECEIPT_TIME.union(Flags::LATE).union(Flags::POSSIBLY_CACHED);

/// What is known of senders.
#[derive(Default)]
pub(crate) struct Learnt {
    clocks: HashMap<DeviceName, DeviceClock>,
    /// How far the clocks of devices are off, in microseconds.
    pub offsets: HashMap<DeviceName, i64>,
    /// The newest time that a device of cached values told since this process started. Of this process alone: what is
    /// judged by it is in memory or on disk already, also when a crash leads to the same records again.
    told: HashMap<DeviceName, i64>,
    /// What edge nodes of Sparkplug said.
    pub sparkplug: Sparkplug,
}

/// What samples are judged by beside what was learnt.
#[derive(Clone, Copy)]
pub(crate) struct Bounds<'a> {
    /// The newest readings of what was judged before.
    pub latest: &'a Latest,
    /// Others that have channels too.
    pub beside: Option<&'a Latest>,
    /// What is known of channels.
    pub channels: &'a Channels,
    /// Most channels of a device.
    pub channels_per_device: usize,
}

/// What is to be stored of a sample.
#[derive(Default)]
pub(crate) struct Judged {
    /// The sample; and what of it is out of range, as a sample of its own.
    pub samples: [Option<Sample>; 2],
    /// Its readings of more channels than a device may have: not stored.
    pub refused: u64,
}

impl Learnt {
    /// What is known after a restart.
    pub(crate) fn resume(sparkplug: Sparkplug) -> Self {
        Self { sparkplug, ..Self::default() }
    }

    /// What an edge node said, as samples and units; and the node, if it is to be asked for its births.
    pub(crate) fn hear(&mut self, heard: Heard, tally: &mut Tally) -> Told {
        let told = self.sparkplug.take(heard);
        for (name, _) in told.noted.iter_names() {
            tally.note(format!("sparkplug_{}", name.to_lowercase()));
        }
        told
    }

    /// Judges a sample that was received at this time; what is noticed is counted in `tally`.
    pub(crate) fn judge(
        &mut self,
        mut sample: Sample,
        repeats: Repeats,
        received_at: Timestamp,
        bounds: Bounds<'_>,
        tally: &mut Tally,
    ) -> Judged {
        if repeats == Repeats::NotNewer && self.is_cached_repeat(&sample, bounds.latest) {
            tally.cached_repeats += 1;
            return Judged::default();
        }
        let refused = bounds.latest.bound(bounds.beside, &mut sample, bounds.channels_per_device);
        if refused > 0 {
            tally.channels_beyond(&sample.device, refused);
            if sample.readings.is_empty() {
                return Judged { refused, ..Judged::default() };
            }
        }
        if !sample.flags.intersects(CLOCKLESS) {
            sample.flags |= self.observe(&sample.device, sample.time, received_at, bounds.latest).flags;
        }
        if !sample.flags.is_empty() {
            tally.flags(&sample.device, sample.flags);
        }
        let beyond = out_of_range(&mut sample, bounds.channels);
        Judged { samples: [Some(sample), beyond], refused }
    }

    /// Whether a sender that repeats what it has cached only repeats: what it says is older than what it said, or as old
    /// and the same.
    fn is_cached_repeat(&mut self, sample: &Sample, latest: &Latest) -> bool {
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
            Some(newest) if time == *newest => latest.holds(sample),
            Some(_) => true,
        }
    }

    fn observe(
        &mut self,
        device: &DeviceName,
        time: Timestamp,
        received_at: Timestamp,
        latest: &Latest,
    ) -> ClockSeen {
        if !self.clocks.contains_key(device.as_str()) {
            let clock = latest.newest(device).map(DeviceClock::resume).unwrap_or_default();
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
fn out_of_range(sample: &mut Sample, channels: &Channels) -> Option<Sample> {
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
