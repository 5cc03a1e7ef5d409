//! What devices were refused: counted per device, with the last of each, for people who look for what is wrong.
//!
//! Not here: the log, and who is not let in at all. The laws: bounded in devices and in bytes; what is beyond is counted in sum.

use bytestring::ByteString;
use hashbrown::HashMap;
use model::{DeviceName, Timestamp};
use parking_lot::Mutex;

use crate::{Action, Identity, Who};

/// Most devices of which refusals are remembered: as many as one machine is meant for. Beyond, only the sum is counted.
pub const REFUSED_DEVICES_MAX: usize = 10_000;

/// Longest topic that is remembered, in characters.
const TOPIC_CHARACTERS_MAX: usize = 128;

/// What one device was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// How often, by action.
    pub counts: RefusedCounts,
    /// The last action that was refused.
    pub action: Action,
    /// Where; cut.
    pub topic: ByteString,
    /// When.
    pub at: Timestamp,
}

/// Refusals by action, in the order of [`Action::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RefusedCounts([u64; Action::ALL.len()]);

impl RefusedCounts {
    /// Those of one action.
    #[must_use]
    pub fn of(&self, action: Action) -> u64 {
        self.0[action as usize]
    }

    /// All of them.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// What devices were refused since the start.
pub(crate) struct RefusedDevices {
    by_device: Mutex<HashMap<DeviceName, Refused>>,
    counters: [metrics::Counter; Action::ALL.len()],
}

impl Default for RefusedDevices {
    fn default() -> Self {
        let counter =
            |action: Action| metrics::counter!("godwit_identity_refusals_total", "action" => action.name());
        Self { by_device: Mutex::default(), counters: Action::ALL.map(counter) }
    }
}

impl Identity {
    /// Remembers that `who` was refused. Doors call it for every refusal but those of deliveries.
    pub fn refused(&self, who: &Who, action: Action, topic: &str) {
        self.parts.refused.counters[action as usize].increment(1);
        let Some(device) = &who.device else { return };
        let at = self.parts.host.clock.now();
        let topic: String = topic.chars().take(TOPIC_CHARACTERS_MAX).collect();
        let mut by_device = self.parts.refused.by_device.lock();
        if by_device.len() >= REFUSED_DEVICES_MAX && !by_device.contains_key(device) {
            return;
        }
        let first = || Refused { counts: RefusedCounts::default(), action, topic: ByteString::new(), at };
        let refused = by_device.entry(device.clone()).or_insert_with(first);
        refused.counts.0[action as usize] += 1;
        (refused.action, refused.topic, refused.at) = (action, topic.into(), at);
    }

    /// What a device was refused since the start.
    #[must_use]
    pub fn refusals(&self, device: &DeviceName) -> Option<Refused> {
        self.parts.refused.by_device.lock().get(device).cloned()
    }

    /// The devices that were refused most, and how many were refused anything.
    #[must_use]
    pub fn most_refused(&self, most: usize) -> (Vec<(DeviceName, Refused)>, usize) {
        let by_device = self.parts.refused.by_device.lock();
        let mut found: Vec<_> =
            by_device.iter().map(|(device, refused)| (device.clone(), refused.clone())).collect();
        let devices = found.len();
        drop(by_device);
        found.sort_by(|one, other| other.1.counts.sum().cmp(&one.1.counts.sum()).then(one.0.cmp(&other.0)));
        found.truncate(most);
        (found, devices)
    }
}
