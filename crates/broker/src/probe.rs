//! The inside of the door for its benchmarks: matching, delivery and judgement without a socket.
//!
//! Not an interface: hidden from the documents, used by `benches/` alone, and free to change.

use std::sync::Arc;

use bytes::Bytes;
use identity::{Action, Permissions, Who};
use model::{Lane, Message, Origin, Qos, Routes, Timestamp, TopicName};
use mqtt::{Connect, ConnectProperties, Version};
use parking_lot::RwLock;

use crate::fanout::{self, Subscriber, Subscriptions, Touched};
use crate::link::Link;
use crate::outbox::Bounds;
use crate::owner::Owner;
use crate::session::{Filter, Limits, Session};
use crate::tally::Tallies;
use crate::trie::Trie;

/// Subscriptions and sessions whose connections only take.
pub struct Probe {
    subscriptions: Subscriptions,
    held: Vec<(Arc<Session>, Arc<Link>)>,
    tallies: Tallies,
    permissions: Permissions,
}

const BOUNDS: Bounds = Bounds { messages_max: 1_000, bytes_max: 1 << 20, left_max: 1_000 };

impl Probe {
    /// Nobody subscribes. `permissions`: of whoever subscribes.
    #[must_use]
    pub fn new(permissions: Permissions) -> Self {
        Self {
            subscriptions: RwLock::new(Trie::default()),
            held: Vec::new(),
            tallies: Tallies::new(),
            permissions,
        }
    }

    /// One more session, with one subscription.
    pub fn subscribe(&mut self, filter: &str) {
        let key = self.held.len() as u64;
        let connect = Connect {
            version: Version::V311,
            clean_start: true,
            keep_alive_s: 0,
            client_id: key.to_string().into(),
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties::default(),
        };
        let peer = (std::net::Ipv4Addr::LOCALHOST, 1).into();
        let now = Timestamp::from_micros(0);
        let link = Arc::new(Link::new(key, peer, &connect, connect.client_id.clone(), now, 100));
        let client_id = connect.client_id.clone();
        let permissions = self.permissions.clone();
        let who = Who::anonymous();
        let owner = Owner::of(&who);
        let session = Session::new(key, client_id, owner, who, Version::V311, permissions, 0, 0, false);
        let session = Arc::new(session);
        session.state().link = Some(Arc::clone(&link));
        let filter_of = Filter {
            qos_max: Qos::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            id: 0,
            since: 0,
        };
        let subscriber = Subscriber::new(Arc::clone(&session), filter_of);
        self.subscriptions.write().insert(filter, key, subscriber);
        self.held.push((session, link));
    }

    /// How many subscriptions match.
    #[must_use]
    pub fn matches(&self, topic: &str) -> usize {
        let mut matches = 0;
        self.subscriptions.read().matches(topic, |_, _| matches += 1);
        matches
    }

    /// A QoS 0 message with a payload of so many bytes.
    #[must_use]
    pub fn message(topic: &str, bytes: usize) -> Message {
        Message {
            topic: TopicName::parse(topic.to_owned()).expect("a topic"),
            payload: Bytes::from(vec![b'x'; bytes]),
            qos: Qos::AtMostOnce,
            retain: false,
            dup: false,
            lane: Lane::Telemetry,
            packet_id: 0,
            expiry_s: None,
            received_at: Timestamp::from_micros(0),
            received_mono: 0,
            properties: None,
            message_id: None,
            trace_id: None,
            to: None,
            origin: Arc::new(Origin::inside(1)),
        }
    }

    /// Delivers `message` to everybody, who takes it at once. Returns the bytes written.
    pub fn deliver(&self, message: &Message) -> usize {
        let limits = Limits {
            bounds: &BOUNDS,
            queues_bytes_max: usize::MAX,
            left_total_max: 0,
            tallies: &self.tallies,
        };
        fanout::deliver(&self.subscriptions, message, 0, 0, &limits, &mut Touched::default());
        let mut out = bytes::BytesMut::with_capacity(64 * 1024);
        let mut written = 0;
        for (session, link) in &self.held {
            session.take(link, 0, usize::MAX, &limits, &mut out);
            written += out.len();
            out.clear();
        }
        written
    }

    /// Asks rights and route of a topic, as the door does when it is not the last one.
    #[must_use]
    pub fn judge(&self, routes: &Routes, topic: &str) -> bool {
        let may = self.permissions.may(Action::Publish, topic).is_permitted();
        may && routes.find(topic).is_some()
    }
}
