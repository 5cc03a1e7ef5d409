//! Names that were met before, so that a reading costs no allocation for its channel.
//!
//! A cache, not a register: it forgets whenever two names meet in one slot, and a forgotten name is only made
//! again. The law it keeps: it never grows. One [`Names`] belongs to one task; nothing is shared.

use crate::{ChannelName, DeviceName, NameError};

/// Slots for channels: more than the channels of any one kind of fleet, and small enough for a core's cache.
const CHANNEL_SLOTS: usize = 1024;
/// Slots for devices: a message of a device that is met again soon costs no allocation for its name.
const DEVICE_SLOTS: usize = 4096;

/// The names a decoder has met lately: about 160 KiB, so one per worker, never one per connection. Give the same
/// one to every call.
#[derive(Debug)]
pub struct Names {
    channels: Slots<ChannelName>,
    devices: Slots<DeviceName>,
    /// Where the decoder joins nested names; kept here so that it is set aside once.
    pub(crate) path: String,
}

impl Default for Names {
    fn default() -> Self {
        Self { channels: Slots::new(CHANNEL_SLOTS), devices: Slots::new(DEVICE_SLOTS), path: String::new() }
    }
}

impl Names {
    /// Names that were not met yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The channel called `text`.
    ///
    /// # Errors
    /// As [`ChannelName::parse`].
    pub fn channel(&mut self, text: &str) -> Result<ChannelName, NameError> {
        let slot = self.channels.slot(text);
        match slot {
            Some(known) if known.as_str() == text => Ok(known.clone()),
            _ => {
                let made = ChannelName::parse(text)?;
                *slot = Some(made.clone());
                Ok(made)
            }
        }
    }

    /// The device that a topic or payload calls `text`, made valid as [`DeviceName::sanitize`] does.
    pub fn device(&mut self, text: &str) -> Option<DeviceName> {
        let slot = self.devices.slot(text);
        match slot {
            Some(known) if known.as_str() == text => Some(known.clone()),
            _ => {
                let made = DeviceName::sanitize(text)?;
                // A name that had to be changed sits in a slot where nobody looks for it: leave it out.
                if made.as_str() == text {
                    *slot = Some(made.clone());
                }
                Some(made)
            }
        }
    }
}

/// One slot per hash, the last name in it.
#[derive(Debug)]
struct Slots<T>(Box<[Option<T>]>);

impl<T> Slots<T> {
    fn new(slots: usize) -> Self {
        Self((0..slots).map(|_| None).collect())
    }

    fn slot(&mut self, text: &str) -> &mut Option<T> {
        let at = hash(text) as usize & (self.0.len() - 1);
        &mut self.0[at]
    }
}

/// A hash over eight bytes at a time. Whoever finds names that collide gains only that they are made anew.
fn hash(text: &str) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let hash = words.iter().fold(text.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let last = rest.iter().fold(0, |last, byte| last << 8 | u64::from(*byte));
    mix(hash, last) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_met_again_is_the_same_and_costs_no_memory() {
        let mut names = Names::new();
        let first = names.channel("temperature").expect("a name");
        let again = names.channel("temperature").expect("a name");
        assert_eq!(first.as_str().as_ptr(), again.as_str().as_ptr());
        assert!(names.channel("").is_err());
        assert_eq!(names.device("room 3").as_deref(), Some("room_3"));
        assert_eq!(names.device("room_3").as_deref(), Some("room_3"));
    }

    #[test]
    fn more_names_than_slots_are_all_right() {
        let mut names = Names::new();
        for _ in 0..2 {
            for n in 0..10_000 {
                assert_eq!(names.channel(&format!("c{n}")).as_deref(), Ok(format!("c{n}").as_str()));
                assert_eq!(names.device(&format!("d{n}")).as_deref(), Some(format!("d{n}").as_str()));
            }
        }
    }
}
