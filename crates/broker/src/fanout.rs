//! From one message to every session that subscribes to it.
//!
//! Not here: when that is allowed (the callers: at once for QoS 0, after durability for the rest). The laws:
//!
//! - A session whose subscriptions overlap gets one copy, at the highest QoS, with every subscription identifier
//!   (MQTT 5.0, section 3.3.4).
//! - A group of a shared subscription gets one copy, whatever its members subscribe to besides.
//! - The trie is locked for the walk only; sessions are locked one at a time, each for one push.
//! - Connections are woken once per caller's batch, so that many messages leave in one write.

use std::sync::Arc;

use model::{Message, Qos};
use mqtt::limit::SUBSCRIPTION_IDS_MAX;
use parking_lot::RwLock;
use smallvec::SmallVec;

use crate::group::Group;
use crate::link::Link;
use crate::prepared::Variants;
use crate::session::{Filter, Limits, Session, Terms};
use crate::trie::{Key, Trie};

/// Who subscribes to a filter, as the trie holds it.
#[derive(Clone)]
pub(crate) enum Subscriber {
    /// A session.
    Session(Subscription),
    /// A group of sessions, of which one gets each message.
    Group(Arc<Group>),
}

/// The subscription of a session.
#[derive(Clone)]
pub(crate) struct Subscription {
    pub(crate) session: Arc<Session>,
    pub(crate) qos_max: Qos,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    /// Its identifier, or 0.
    pub(crate) id: u32,
}

impl Subscriber {
    pub(crate) fn new(session: Arc<Session>, filter: Filter) -> Self {
        let Filter { qos_max, no_local, retain_as_published, id, .. } = filter;
        Self::Session(Subscription { session, qos_max, no_local, retain_as_published, id })
    }
}

/// All subscriptions, shared by those who publish.
pub(crate) type Subscriptions = RwLock<Trie<Subscriber>>;

/// Connections that have something to send and were not woken yet.
#[derive(Default)]
pub(crate) struct Touched(Vec<Arc<Link>>);

impl Touched {
    /// Wakes them.
    pub(crate) fn wake(&mut self) {
        for link in self.0.drain(..) {
            link.signal.wake();
        }
    }
}

impl Drop for Touched {
    /// A caller that panicked between delivering and waking must not leave a connection asleep.
    fn drop(&mut self) {
        self.wake();
    }
}

/// Delivers `message` to all who subscribe to it. `seq` is its record, or 0 when it is delivered before it is durable.
pub(crate) fn deliver(
    subscriptions: &Subscriptions,
    message: &Message,
    seq: u64,
    now_mono: u64,
    limits: &Limits<'_>,
    touched: &mut Touched,
) {
    let mut matches: SmallVec<[(Key, Subscriber); 8]> = SmallVec::new();
    subscriptions.read().matches(&message.topic, |key, subscriber| {
        // MQTT 5.0, section 3.8.3.1: No Local goes by the client id, whatever connection it has; here each owner has his own.
        let is_own = matches!(subscriber, Subscriber::Session(own)
            if own.no_local
                && message.origin.client_id == own.session.client_id
                && own.session.owner.sent(&message.origin));
        if !is_own {
            matches.push((key, subscriber.clone()));
        }
    });
    if matches.is_empty() {
        return;
    }
    if matches.len() > 1 {
        matches.sort_unstable_by_key(|(key, _)| *key);
    }
    let mut variants = Variants::new(message, seq, now_mono);
    for of_one in matches.chunk_by(|(a, _), (b, _)| a == b) {
        let first = match &of_one[0].1 {
            Subscriber::Session(first) => first,
            Subscriber::Group(group) => {
                if message.to.is_none() {
                    touched.0.extend(group.deliver(&mut variants, limits));
                }
                continue;
            }
        };
        let owns = || {
            of_one.iter().filter_map(|(_, subscriber)| match subscriber {
                Subscriber::Session(own) => Some(own),
                Subscriber::Group(_) => None,
            })
        };
        let ids: SmallVec<[u32; 4]> =
            owns().map(|own| own.id).filter(|&id| id != 0).take(SUBSCRIPTION_IDS_MAX).collect();
        let terms = Terms {
            qos_max: owns().map(|own| own.qos_max).max().unwrap_or_default(),
            retain_as_published: owns().any(|own| own.retain_as_published),
            ids: &ids,
        };
        touched.0.extend(first.session.deliver(&mut variants, &terms, message.to, limits));
    }
}
