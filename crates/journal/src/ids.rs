//! The message-id window: by it a repeat of a message is known.
//!
//! Per device (or topic, where no device is known to have sent it) the last ids, each with a digest of topic and payload.
//! Bounded per device, over all devices and by age. Only digests are kept: a repeat is taken for one only
//! when topic and payload agree in 128 bits of SHA-256, so that nobody can make the journal drop a message.

use std::collections::{HashMap, VecDeque};

use aws_lc_rs::digest::{Context, SHA256, digest};
use bytestring::ByteString;
use model::Message;

use crate::Settings;

/// A digest of topic and payload.
pub(crate) type ContentDigest = [u8; 16];

/// A message id that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Digest of the id.
    pub(crate) id: u64,
    /// Digest of topic and payload.
    pub(crate) content: ContentDigest,
    /// The `seq` of the message.
    pub(crate) seq: u64,
    /// When it was received.
    pub(crate) time: i64,
}

/// What the window says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The id is new.
    New,
    /// The same message came before.
    Repeat(u64),
    /// The id came before with another topic or payload.
    Reused,
}

/// The window.
pub(crate) struct Ids {
    devices: HashMap<ByteString, VecDeque<Seen>>,
    /// Every insertion, oldest first; some are no longer in `devices`.
    order: VecDeque<(ByteString, u64)>,
    live: usize,
    per_device_max: usize,
    total_max: usize,
    keep_micros: i64,
}

/// What a message is known by: its owner, the digest of its id, the digest of its content.
pub(crate) struct Fingerprint {
    owner: ByteString,
    seen: Seen,
}

impl Fingerprint {
    /// The fingerprint of a message that has an id.
    pub(crate) fn of(message: &Message) -> Option<Self> {
        let id = message.message_id.as_ref()?;
        let origin = &message.origin;
        let owner = match &origin.device {
            Some(device) => ByteString::from(device.as_str()),
            None => topic_owner(&message.topic),
        };
        let mut content = Context::new(&SHA256);
        content.update(&(message.topic.len() as u64).to_le_bytes());
        content.update(message.topic.as_bytes());
        content.update(&message.payload);
        let mut seen = Seen {
            id: u64::from_le_bytes(
                digest(&SHA256, id.as_bytes()).as_ref()[..8].try_into().expect("eight bytes"),
            ),
            content: [0; 16],
            seq: 0,
            time: message.received_at.micros(),
        };
        seen.content.copy_from_slice(&content.finish().as_ref()[..16]);
        Some(Self { owner, seen })
    }
}

/// The owner of ids that no device sent: the topic, whoever publishes there. Not the client id: a program that
/// tries again may come back under another one. A digest, so that long topics take no more room than short ones.
fn topic_owner(topic: &str) -> ByteString {
    let digest = digest(&SHA256, topic.as_bytes());
    let half = u128::from_be_bytes(digest.as_ref()[..16].try_into().expect("sixteen bytes"));
    ByteString::from(format!("topic {half:032x}"))
}

impl Ids {
    /// An empty window.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            devices: HashMap::new(),
            order: VecDeque::new(),
            live: 0,
            per_device_max: settings.ids_per_device.max(1),
            total_max: settings.ids_max.max(1),
            keep_micros: i64::try_from(settings.ids_keep.as_micros()).unwrap_or(i64::MAX),
        }
    }

    /// How many ids it holds.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Judges a message without remembering it.
    pub(crate) fn judge(&self, print: &Fingerprint) -> Verdict {
        let Some(seen) = self.devices.get(&print.owner) else { return Verdict::New };
        let oldest = print.seen.time.saturating_sub(self.keep_micros);
        let mut reused = false;
        // Newest first: a repeat follows soon.
        for old in seen.iter().rev().filter(|old| old.id == print.seen.id && old.time >= oldest) {
            if old.content == print.seen.content {
                return Verdict::Repeat(old.seq);
            }
            reused = true;
        }
        if reused { Verdict::Reused } else { Verdict::New }
    }

    /// Remembers a message under its `seq`.
    pub(crate) fn remember(&mut self, print: Fingerprint, seq: u64) {
        self.insert(print.owner, Seen { seq, ..print.seen });
    }

    pub(crate) fn insert(&mut self, owner: ByteString, seen: Seen) {
        let ring = self.devices.entry(owner.clone()).or_default();
        ring.push_back(seen);
        self.live += 1;
        if ring.len() > self.per_device_max {
            ring.pop_front();
            self.live -= 1;
        }
        self.order.push_back((owner, seen.seq));
        while self.live > self.total_max {
            self.forget_oldest();
        }
        let oldest = seen.time.saturating_sub(self.keep_micros);
        while self.oldest_time().is_some_and(|time| time < oldest) {
            self.forget_oldest();
        }
        if self.order.len() > 2 * self.live + 1_024 {
            let devices = &self.devices;
            self.order.retain(|(owner, seq)| {
                devices.get(owner).and_then(VecDeque::front).is_some_and(|front| front.seq <= *seq)
            });
        }
    }

    fn oldest_time(&mut self) -> Option<i64> {
        loop {
            let (owner, seq) = self.order.front()?;
            match self.devices.get(owner).and_then(VecDeque::front) {
                Some(front) if front.seq == *seq => return Some(front.time),
                _ => self.order.pop_front(),
            };
        }
    }

    fn forget_oldest(&mut self) {
        let Some((owner, seq)) = self.order.pop_front() else { return };
        if let Some(ring) = self.devices.get_mut(&owner)
            && ring.front().is_some_and(|front| front.seq == seq)
        {
            ring.pop_front();
            self.live -= 1;
            if ring.is_empty() {
                self.devices.remove(&owner);
            }
        }
    }

    /// Forgets what was remembered under `first` and later seqs: they never became durable.
    pub(crate) fn forget_from(&mut self, first: u64) {
        while let Some((owner, seq)) = self.order.back().filter(|(_, seq)| *seq >= first) {
            if let Some(ring) = self.devices.get_mut(owner)
                && ring.back().is_some_and(|back| back.seq == *seq)
            {
                ring.pop_back();
                self.live -= 1;
                if ring.is_empty() {
                    self.devices.remove(owner);
                }
            }
            self.order.pop_back();
        }
    }

    /// Everything in it, oldest first: inserted in this order into an empty window it makes the same one.
    pub(crate) fn entries(&self) -> Vec<(&ByteString, Seen)> {
        let mut entries: Vec<_> = self
            .devices
            .iter()
            .flat_map(|(owner, ring)| ring.iter().map(move |seen| (owner, *seen)))
            .collect();
        entries.sort_unstable_by_key(|(_, seen)| seen.seq);
        entries
    }
}
