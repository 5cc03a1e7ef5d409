//! Bridges: connections by which another broker hands its messages on.
//!
//! A bridge of Mosquitto hands on what its broker retains with the retain flag set, on every connect: without a time in
//! them, 500 retained messages would be 500 fresh readings whenever the network hiccups. An honest device that publishes
//! its state with the retain flag each minute looks the same, message by message; so this rule holds for bridges alone.
//! The laws:
//!
//! - **A repeat is what we have already**: byte for byte the retained message of its topic, the first time on a connection
//!   that the topic comes; or, while the bridge still says what it has to say on connecting, what it said last of the
//!   topic. (With a session Mosquitto 2.0 queues what was missed, and all that is retained once per attempt to connect.)
//!   A repeat is acknowledged after what it repeats is durable, counted, and neither stored nor delivered again.
//! - A bridge is known by its own word: its will or a publish on `$SYS/broker/connection/<name>/state`, or the protocol
//!   level 0x84 that it tried first and that we refused.
//! - Both memories are bounded; what does not fit is taken as news, never as a repeat.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::net::IpAddr;

use bytestring::ByteString;
use hashbrown::{DefaultHashBuilder, HashMap};
use model::Properties;
use parking_lot::Mutex;

use crate::retained::Kept;

/// After so long a silence a bridge has said all that it had to say on connecting: it says it as fast as it is
/// acknowledged.
const SILENCE_MICROS: u64 = 1_000_000;

/// A busy bridge is never silent: so long after its first message all that comes is taken as live.
const OPENING_MICROS_MAX: u64 = 30_000_000;

/// Refused bridges remembered: a site has a handful.
const REFUSED_MAX: usize = 1_024;

/// Whether `topic` is where a bridge of Mosquitto says whether it is up.
pub(crate) fn is_state(topic: &str) -> bool {
    topic
        .strip_prefix("$SYS/broker/connection/")
        .and_then(|rest| rest.strip_suffix("/state"))
        .is_some_and(|name| !name.is_empty())
}

/// Who tried the protocol level of a bridge: address and client id, the oldest first.
#[derive(Default)]
pub(crate) struct Refused(Mutex<VecDeque<(IpAddr, ByteString)>>);

impl Refused {
    /// Remembers one.
    pub(crate) fn add(&self, address: IpAddr, client_id: &str) {
        let mut refused = self.0.lock();
        if refused.iter().any(|known| known.0 == address && known.1 == client_id) {
            return;
        }
        if refused.len() == REFUSED_MAX {
            refused.pop_front();
        }
        refused.push_back((address, client_id.into()));
    }

    /// Whether it is one.
    pub(crate) fn has(&self, address: IpAddr, client_id: &str) -> bool {
        self.0.lock().iter().any(|known| known.0 == address && known.1 == client_id)
    }
}

/// How a publish compares with the retained message of its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// There is none.
    Nothing,
    /// It is the same.
    Same,
    /// It is another.
    Other,
}

impl Held {
    /// Compares. What expires is never the same: it would be made to last longer.
    pub(crate) fn of(
        kept: Option<&Kept>,
        payload: &[u8],
        attached: Option<&Properties>,
        expiry_s: Option<u32>,
    ) -> Self {
        let Some(Kept { message, .. }) = kept else { return Self::Nothing };
        let is_same = expiry_s.is_none()
            && message.expiry_s.is_none()
            && message.payload == payload
            && message.properties.as_deref() == attached;
        if is_same { Self::Same } else { Self::Other }
    }
}

/// What a bridge has said on one connection.
pub(crate) struct Bridge {
    /// Per topic the last payload; hashes of both.
    said: HashMap<u64, u64>,
    hasher: DefaultHashBuilder,
    topics_max: usize,
    /// By the monotonic clock: when it first said something, and when it was last heard or answered.
    heard_mono: Option<(u64, u64)>,
    /// It still says what it has to say on connecting, as far as we can tell.
    is_opening: bool,
}

impl Bridge {
    /// Nothing was said yet. `topics_max` bounds its memory.
    pub(crate) fn new(topics_max: usize) -> Self {
        Self {
            said: HashMap::new(),
            hasher: DefaultHashBuilder::default(),
            topics_max,
            heard_mono: None,
            is_opening: true,
        }
    }

    /// It published something, or was answered, at `mono` microseconds: the wait for an answer is no silence.
    pub(crate) fn hears(&mut self, mono: u64) {
        let (first, last) = self.heard_mono.unwrap_or((mono, mono));
        let is_silent = mono.saturating_sub(last) >= SILENCE_MICROS;
        self.is_opening &= !is_silent && mono.saturating_sub(first) < OPENING_MICROS_MAX;
        self.heard_mono = Some((first, mono));
    }

    /// Whether a retained publish is no news, but what its broker says on every connect.
    pub(crate) fn is_repeat(&mut self, topic: &str, payload: &[u8], held: Held) -> bool {
        let topic = self.hasher.hash_one(topic);
        let content = self.hasher.hash_one(payload);
        let is_full = self.said.len() >= self.topics_max;
        match self.said.get_mut(&topic) {
            Some(last) => std::mem::replace(last, content) == content && self.is_opening,
            None if is_full => false,
            None => {
                self.said.insert(topic, content);
                held == Held::Same
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_is_known_by_where_it_says_whether_it_is_up() {
        assert!(is_state("$SYS/broker/connection/host.to-godwit/state"));
        assert!(is_state("$SYS/broker/connection/a/b/state"), "names may have slashes");
        for other in ["$SYS/broker/connection//state", "$SYS/broker/connection/state", "$SYS/broker/uptime"] {
            assert!(!is_state(other), "{other}");
        }
        let refused = Refused::default();
        let [a, b]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        refused.add(a, "bridge");
        assert!(refused.has(a, "bridge") && !refused.has(b, "bridge") && !refused.has(a, "other"));
        for n in 0..2 * REFUSED_MAX {
            refused.add(b, &n.to_string());
        }
        assert_eq!(refused.0.lock().len(), REFUSED_MAX);
    }

    #[test]
    fn what_is_said_again_while_a_bridge_opens_is_no_news() {
        let mut bridge = Bridge::new(10);
        bridge.hears(5_000_000);
        assert!(bridge.is_repeat("a", b"on", Held::Same), "the retained message");
        assert!(bridge.is_repeat("a", b"on", Held::Same), "once more: it had two attempts");
        assert!(!bridge.is_repeat("new", b"1", Held::Nothing), "never heard");
        assert!(bridge.is_repeat("new", b"1", Held::Same));
        assert!(!bridge.is_repeat("b", b"2", Held::Other), "changed while it was away");
        assert!(!bridge.is_repeat("b", b"3", Held::Other), "and again");
        bridge.hears(5_900_000);
        assert!(
            bridge.is_repeat("b", b"3", Held::Other),
            "what its broker retains, before we have applied the change"
        );
    }

    #[test]
    fn after_a_silence_what_is_said_again_is_news() {
        let mut bridge = Bridge::new(10);
        bridge.hears(5_000_000);
        assert!(bridge.is_repeat("a", b"on", Held::Same));
        bridge.hears(5_900_000);
        bridge.hears(6_900_000);
        assert!(!bridge.is_repeat("a", b"on", Held::Same), "a device says the same again");
        assert!(bridge.is_repeat("c", b"2", Held::Same), "a retained message that was long under way");
    }

    #[test]
    fn a_bridge_that_is_never_silent_has_an_end_of_its_opening() {
        let mut bridge = Bridge::new(10);
        (0..60).for_each(|half| bridge.hears(1 + half * SILENCE_MICROS / 2));
        assert!(bridge.is_repeat("a", b"on", Held::Same));
        assert!(bridge.is_repeat("a", b"on", Held::Same));
        bridge.hears(1 + OPENING_MICROS_MAX);
        assert!(!bridge.is_repeat("a", b"on", Held::Same));
    }

    #[test]
    fn what_does_not_fit_its_memory_is_news() {
        let mut bridge = Bridge::new(2);
        assert!(bridge.is_repeat("a", b"", Held::Same));
        assert!(bridge.is_repeat("b", b"", Held::Same));
        assert!(!bridge.is_repeat("c", b"", Held::Same));
    }
}
