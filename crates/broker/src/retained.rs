//! The last retained message of each topic, found by filter (MQTT 5.0, section 3.3.1.3).
//!
//! Memory only: the durable copy is [`archive`](crate::archive)'s. Topics are a tree of levels, so that a filter walks
//! only what it can match. The laws: bounded in messages and bytes, and in messages of one device; an older record never replaces a newer one; an
//! empty payload takes the message away; a kept message pins no network buffer.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use model::{DeviceName, Message, TopicName};
use parking_lot::RwLock;

use crate::tally::{Drop, Tallies};
use crate::view::RetainedView;

/// What one topic costs beside its bytes: the node, the message, and what attaches them.
const ENTRY_BYTES: usize = 512;

/// A retained message and its record.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) message: Message,
    pub(crate) seq: u64,
}

impl Kept {
    fn bytes(&self) -> usize {
        bytes_of(&self.message)
    }

    /// The message as an operator sees it.
    pub(crate) fn view(&self) -> RetainedView {
        let message = &self.message;
        RetainedView {
            topic: message.topic.clone(),
            payload: message.payload.clone(),
            qos: message.qos,
            received_at: message.received_at,
            seq: self.seq,
        }
    }

    /// Whether its time is over.
    pub(crate) fn is_expired(&self, now_mono: u64) -> bool {
        self.message.expiry_s.is_some_and(|seconds| {
            self.message.received_mono.saturating_add(u64::from(seconds) * 1_000_000) <= now_mono
        })
    }
}

fn bytes_of(message: &Message) -> usize {
    let attached = message.properties.as_ref().map_or(0, |properties| {
        let user: usize = properties.user.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
        user + properties.correlation_data.as_ref().map_or(0, Bytes::len)
    });
    ENTRY_BYTES + message.topic.len() + message.payload.len() + attached
}

/// How much may be kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) messages_max: usize,
    pub(crate) bytes_max: usize,
    /// Of one device.
    pub(crate) per_device_max: usize,
}

/// All retained messages.
pub(crate) struct Retained {
    tree: RwLock<Tree>,
    bounds: Bounds,
}

#[derive(Default)]
struct Tree {
    root: Node,
    messages: usize,
    bytes: usize,
    /// How many of `messages` are of this device.
    of: HashMap<DeviceName, usize>,
}

#[derive(Default)]
struct Node {
    kept: Option<Arc<Kept>>,
    children: BTreeMap<Box<str>, Node>,
}

impl Retained {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { tree: RwLock::default(), bounds }
    }

    /// Whether `message` would exceed the bounds. A look from the door, so that the sender can be told.
    pub(crate) fn is_full_for(&self, message: &Message) -> bool {
        let tree = self.tree.read();
        let (bytes, owner) = (bytes_of(message), device_of(message));
        let of_owner = owner.and_then(|owner| tree.of.get(owner)).copied().unwrap_or(0);
        let fits = self.bounds.fits(tree.messages + 1, tree.bytes + bytes);
        if message.payload.is_empty() || (fits && of_owner < self.bounds.per_device_max) {
            return false;
        }
        let older = tree.root.find(&message.topic);
        let (messages, older_bytes) =
            older.map_or((tree.messages + 1, 0), |kept| (tree.messages, kept.bytes()));
        let is_own = owner.is_some() && older.is_some_and(|kept| device_of(&kept.message) == owner);
        !self.bounds.fits(messages, tree.bytes + bytes - older_bytes)
            || (!is_own && of_owner >= self.bounds.per_device_max)
    }

    /// Takes the effect of a record whose retain flag is set. `false`: it exceeds the bounds and was not kept.
    pub(crate) fn apply(&self, message: &Message, seq: u64, tallies: &Tallies) -> bool {
        let mut tree = self.tree.write();
        if tree.root.find(&message.topic).is_some_and(|kept| kept.seq >= seq) {
            return true;
        }
        let levels: Vec<&str> = message.topic.split('/').collect();
        let older = tree.root.take(&levels);
        if let Some(older) = &older {
            tree.forget(older, tallies);
        }
        if message.payload.is_empty() {
            return true;
        }
        let (bytes, owner) = (bytes_of(message), device_of(message));
        let of_owner = owner.and_then(|owner| tree.of.get(owner)).copied().unwrap_or(0);
        let fits = self.bounds.fits(tree.messages + 1, tree.bytes + bytes);
        if !fits || of_owner >= self.bounds.per_device_max {
            // The older one is gone all the same: it is not the last one any more.
            tallies.dropped(Drop::NotRetained).one();
            return false;
        }
        tree.messages += 1;
        tree.bytes += bytes;
        if let Some(owner) = owner {
            *tree.of.entry(owner.clone()).or_default() += 1;
        }
        tallies.retained_messages.up(1);
        tallies.retained_bytes.up(bytes as u64);
        tree.root.put(&levels, Arc::new(Kept { message: unpinned(message), seq }));
        true
    }

    /// The message of a topic.
    pub(crate) fn find(&self, topic: &str) -> Option<Arc<Kept>> {
        self.tree.read().root.find(topic).cloned()
    }

    /// The messages that a new subscription to `filter` is to be sent, in the order of their topics.
    pub(crate) fn matches(&self, filter: &str, now_mono: u64) -> Vec<Arc<Kept>> {
        let mut found = Vec::new();
        let levels: Vec<&str> = filter.split('/').collect();
        self.tree.read().root.matches(&levels, true, &mut |kept| {
            if !kept.is_expired(now_mono) {
                found.push(Arc::clone(kept));
            }
        });
        found
    }

    /// Takes away what is over its time, and returns its topics.
    pub(crate) fn expire(&self, now_mono: u64, tallies: &Tallies) -> Vec<TopicName> {
        let mut over = Vec::new();
        // Readers look first: mostly there is nothing.
        self.tree.read().root.matches(&["#"], false, &mut |kept| {
            if kept.is_expired(now_mono) {
                over.push((kept.message.topic.clone(), kept.seq));
            }
        });
        let mut tree = self.tree.write();
        over.retain(|(topic, seq)| {
            let is_same = tree.root.find(topic).is_some_and(|kept| kept.seq == *seq);
            if is_same && let Some(gone) = tree.root.take(&topic.split('/').collect::<Vec<_>>()) {
                tree.forget(&gone, tallies);
            }
            is_same
        });
        over.into_iter().map(|(topic, _)| topic).collect()
    }
}

impl Tree {
    /// A message was taken out of the tree.
    fn forget(&mut self, gone: &Kept, tallies: &Tallies) {
        self.messages -= 1;
        self.bytes -= gone.bytes();
        tallies.retained_messages.down(1);
        tallies.retained_bytes.down(gone.bytes() as u64);
        if let Some(owner) = device_of(&gone.message)
            && let Entry::Occupied(mut of_owner) = self.of.entry(owner.clone())
        {
            *of_owner.get_mut() -= 1;
            if *of_owner.get() == 0 {
                of_owner.remove();
            }
        }
    }
}

/// The device that sent it: people and their programs are bounded all together.
fn device_of(message: &Message) -> Option<&DeviceName> {
    message.origin.device.as_ref()
}

impl Bounds {
    fn fits(&self, messages: usize, bytes: usize) -> bool {
        messages <= self.messages_max && bytes <= self.bytes_max
    }
}

impl Node {
    fn find(&self, topic: &str) -> Option<&Arc<Kept>> {
        topic.split('/').try_fold(self, |node, level| node.children.get(level))?.kept.as_ref()
    }

    fn put(&mut self, levels: &[&str], kept: Arc<Kept>) {
        let mut node = self;
        for &level in levels {
            node = node.children.entry(level.into()).or_default();
        }
        node.kept = Some(kept);
    }

    /// Takes the message of a topic away, and the nodes that nobody needs then. Topics have at most 128 levels.
    fn take(&mut self, levels: &[&str]) -> Option<Arc<Kept>> {
        let Some((&level, rest)) = levels.split_first() else { return self.kept.take() };
        let child = self.children.get_mut(level)?;
        let taken = child.take(rest);
        if child.kept.is_none() && child.children.is_empty() {
            self.children.remove(level);
        }
        taken
    }

    /// `hides_reserved` at the root: a leading wildcard does not match `$` (MQTT 5.0, section 4.7.2).
    fn matches(&self, levels: &[&str], hides_reserved: bool, visit: &mut impl FnMut(&Arc<Kept>)) {
        let Some((&level, rest)) = levels.split_first() else {
            self.kept.iter().for_each(visit);
            return;
        };
        let is_shown = |name: &str| !(hides_reserved && name.starts_with('$'));
        match level {
            "#" => {
                self.kept.iter().for_each(&mut *visit);
                for (_, child) in self.children.iter().filter(|(name, _)| is_shown(name)) {
                    child.matches(levels, false, visit);
                }
            }
            "+" => {
                for (_, child) in self.children.iter().filter(|(name, _)| is_shown(name)) {
                    child.matches(rest, false, visit);
                }
            }
            _ => {
                if let Some(child) = self.children.get(level) {
                    child.matches(rest, false, visit);
                }
            }
        }
    }
}

/// A copy that shares no memory with the buffer that the message was read into.
fn unpinned(message: &Message) -> Message {
    let text = |text: &ByteString| ByteString::from(&**text);
    let properties = message.properties.as_ref().map(|properties| {
        Arc::new(model::Properties {
            payload_is_utf8: properties.payload_is_utf8,
            content_type: properties.content_type.as_ref().map(text),
            response_topic: properties.response_topic.as_ref().map(own),
            correlation_data: properties.correlation_data.as_ref().map(|data| Bytes::copy_from_slice(data)),
            user: properties.user.iter().map(|(name, value)| (text(name), text(value))).collect(),
        })
    });
    Message {
        topic: own(&message.topic),
        payload: Bytes::copy_from_slice(&message.payload),
        properties,
        message_id: None,
        retain: true,
        to: None,
        ..message.clone()
    }
}

/// A topic in memory of its own.
pub(crate) fn own(topic: &TopicName) -> TopicName {
    TopicName::parse(ByteString::from(topic.as_str())).expect("a topic is a topic")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::{Qos, TopicFilter};
    use proptest::prelude::*;

    use super::*;
    use crate::prepared::tests::message;

    const BOUNDS: Bounds = Bounds { messages_max: 3, bytes_max: 10_000, per_device_max: 2 };

    fn retain(topic: &str, payload: &[u8]) -> Message {
        Message { payload: Bytes::copy_from_slice(payload), retain: true, ..message(topic, Qos::AtLeastOnce) }
    }

    fn topics(retained: &Retained, filter: &str) -> Vec<String> {
        retained.matches(filter, 0).iter().map(|kept| kept.message.topic.to_string()).collect()
    }

    #[test]
    fn an_empty_payload_takes_the_message_away_and_an_older_record_changes_nothing() {
        let tallies = Tallies::new();
        let retained = Retained::new(BOUNDS);
        assert!(retained.apply(&retain("a/b", b"new"), 5, &tallies));
        assert!(retained.apply(&retain("a/b", b"old"), 4, &tallies));
        assert_eq!(retained.matches("a/b", 0)[0].message.payload, b"new"[..]);
        assert!(retained.apply(&retain("a/b", b""), 6, &tallies));
        assert_eq!(topics(&retained, "#"), [""; 0]);
        assert_eq!((tallies.retained_messages.get(), tallies.retained_bytes.get()), (0, 0));
        assert!(retained.tree.read().root.children.is_empty(), "nothing stays behind");
    }

    #[test]
    fn what_exceeds_the_bounds_is_counted_and_told_at_the_door() {
        let tallies = Tallies::new();
        let retained = Retained::new(BOUNDS);
        for (seq, topic) in ["a", "b", "c"].iter().enumerate() {
            assert!(retained.apply(&retain(topic, b"x"), seq as u64 + 1, &tallies));
        }
        assert!(retained.is_full_for(&retain("d", b"x")));
        assert!(!retained.is_full_for(&retain("a", b"y")), "another in place of one that is there");
        assert!(retained.is_full_for(&retain("a", &[0; 10_000])));
        assert!(!retained.is_full_for(&retain("d", b"")), "to take away needs no room");
        assert!(!retained.apply(&retain("d", b"x"), 9, &tallies));
        assert_eq!(tallies.dropped(Drop::NotRetained).get(), 1);
        assert_eq!(topics(&retained, "#"), ["a", "b", "c"]);
    }

    #[test]
    fn one_device_cannot_take_all_places_and_gives_back_what_it_took() {
        let tallies = Tallies::new();
        let retained = Retained::new(BOUNDS);
        let of = |device: &str, topic: &str| {
            let device = model::DeviceName::parse(device).expect("a name");
            let origin = model::Origin { device: Some(device), ..model::Origin::inside(1) };
            Message { origin: Arc::new(origin), ..retain(topic, b"x") }
        };
        for (seq, topic) in ["a", "b"].iter().enumerate() {
            assert!(retained.apply(&of("pump-1", topic), seq as u64 + 1, &tallies));
        }
        assert!(retained.is_full_for(&of("pump-1", "c")));
        assert!(!retained.apply(&of("pump-1", "c"), 3, &tallies));
        assert!(!retained.is_full_for(&of("pump-1", "a")), "another in place of its own");
        assert!(retained.apply(&of("pump-1", "a"), 4, &tallies));
        assert!(!retained.is_full_for(&of("pump-2", "c")) && !retained.is_full_for(&retain("c", b"x")));
        // What somebody else puts in its place is his.
        assert!(retained.apply(&of("pump-2", "a"), 5, &tallies));
        assert!(retained.apply(&of("pump-1", "c"), 6, &tallies));
        for (seq, topic) in ["a", "b", "c"].iter().enumerate() {
            retained.apply(&retain(topic, b""), seq as u64 + 7, &tallies);
        }
        assert!(retained.tree.read().of.is_empty(), "nothing stays behind");
    }

    #[test]
    fn what_is_over_its_time_is_not_sent_and_goes() {
        let tallies = Tallies::new();
        let retained = Retained::new(BOUNDS);
        retained.apply(&Message { expiry_s: Some(2), ..retain("a", b"x") }, 1, &tallies);
        retained.apply(&retain("b", b"x"), 2, &tallies);
        assert_eq!(retained.matches("+", 1_999_999).len(), 2);
        assert_eq!(retained.matches("+", 2_000_000).len(), 1);
        let gone = retained.expire(2_000_000, &tallies);
        assert_eq!(gone.iter().map(TopicName::as_str).collect::<Vec<_>>(), ["a"]);
        assert_eq!(tallies.retained_messages.get(), 1);
    }

    proptest! {
        #[test]
        fn a_filter_finds_what_it_matches(
            kept in prop::collection::vec("(\\$?[ab]?)(/[ab]?){0,3}", 1..20),
            filter in "([ab+]?)(/[ab+]?){0,3}(/#)?",
        ) {
            let tallies = Tallies::new();
            let retained = Retained::new(Bounds { messages_max: 100, bytes_max: 1_000_000, ..BOUNDS });
            let mut model = BTreeMap::new();
            for (seq, topic) in kept.iter().filter(|topic| !topic.is_empty()).enumerate() {
                retained.apply(&retain(topic, b"x"), seq as u64 + 1, &tallies);
                model.insert(topic.clone(), seq as u64 + 1);
            }
            let Ok(parsed) = TopicFilter::parse(filter.clone()) else { return Ok(()) };
            let mut found: Vec<_> = retained
                .matches(&filter, 0)
                .iter()
                .map(|kept| (kept.message.topic.to_string(), kept.seq))
                .collect();
            found.sort();
            let expect: Vec<_> = model.into_iter().filter(|(topic, _)| parsed.matches(topic)).collect();
            prop_assert_eq!(found, expect);
        }
    }
}
