//! A byte string is a script: an opcode with the number of the client, and what the step needs.

use bytes::Bytes;
use model::{Qos, TopicFilter, TopicName};
use mqtt::{
    Ack, Connect, ConnectProperties, Disconnect, DisconnectProperties, Packet, Publish, PublishProperties,
    Reason, RetainHandling, Subscribe, SubscribeOptions, SubscriptionFilter, Unsubscribe, Version, Will,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::rc::Rc;
use std::time::Duration;

use crate::house::House;
use crate::peer::{Peer, Sent};

/// Clients of a script.
const PEERS: usize = 3;

/// Steps of a script.
const STEPS_MAX: usize = 64;

/// Packet ids that a script uses: few, so that each has many lives.
const IDS: u16 = 6;

const TOPICS: [&str; 4] = ["a", "a/b", "dt/d/x", "c"];
const FILTERS: [&str; 8] = ["#", "a", "a/#", "+/b", "dt/+/x", "c", "$share/g/a/#", "$share/g/c"];

/// The bytes that are left; zeros when there are none.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn pick(&mut self, of: &[&'static str]) -> &'static str {
        of[usize::from(self.byte()) % of.len()]
    }

    fn id(&mut self) -> u16 {
        u16::from(self.byte()) % IDS + 1
    }

    fn qos(byte: u8) -> Qos {
        match byte % 3 {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        }
    }
}

/// Runs a script and judges what comes of it.
pub fn run(house: &mut House, data: &[u8]) {
    let mut script = Script {
        peers: (0..PEERS).map(|_| Peer::new(format!("p{}", house.next()))).collect(),
        is_held: false,
        rest: Rest(data),
        house,
    };
    let runtime = Rc::clone(&script.house.runtime);
    runtime.block_on(async {
        for _ in 0..STEPS_MAX {
            if script.rest.0.is_empty() {
                break;
            }
            script.step().await;
        }
        script.end().await;
    });
}

struct Script<'a> {
    house: &'a mut House,
    peers: Vec<Peer>,
    is_held: bool,
    rest: Rest<'a>,
}

impl Script<'_> {
    async fn step(&mut self) {
        let op = self.rest.byte();
        let who = usize::from(op >> 4) % PEERS;
        match op & 0x0f {
            0 | 1 => self.connect(who).await,
            2..=4 => self.publish(who).await,
            5 => self.subscribe(who).await,
            6 => self.unsubscribe(who).await,
            7 => self.acknowledge(who).await,
            8 | 9 => {
                let is_held = self.is_held;
                self.peers[who].listen(is_held).await;
            }
            10 => self.raw(who).await,
            11 => self.peers[who].vanish(),
            12 => self.disconnect(who).await,
            13 => {
                let seconds = u64::from(self.rest.byte());
                self.house.clock.advance(Duration::from_secs(seconds));
            }
            14 => {
                self.house.disk.hold_syncs();
                self.is_held = true;
            }
            _ => {
                self.release().await;
                self.peers[who].acknowledges = !self.peers[who].acknowledges;
            }
        }
    }

    async fn release(&mut self) {
        self.house.disk.release_syncs();
        self.is_held = false;
        self.peers.iter_mut().for_each(Peer::synced);
    }

    /// Another connection to the door.
    fn dial(&self) -> tokio::io::DuplexStream {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let broker = self.house.broker.clone();
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        tokio::spawn(async move { broker.serve(there, peer, broker::Auth::Anonymous).await });
        here
    }

    async fn connect(&mut self, who: usize) {
        // The answer to a CONNECT may have to wait for what the session's last connection brought.
        self.release().await;
        let how = self.rest.byte();
        let version = if how & 1 == 0 { Version::V5 } else { Version::V311 };
        let properties = match version {
            Version::V311 => ConnectProperties::default(),
            Version::V5 => ConnectProperties {
                session_expiry_s: [0, 1, 3_600, u32::MAX][usize::from(how >> 2 & 3)],
                receive_maximum: NonZeroU16::new([1, 2, 65_535, 3][usize::from(how >> 4 & 3)])
                    .expect("above 0"),
                packet_bytes_max: if how & 0x40 == 0 { None } else { NonZeroU32::new(64) },
                ..ConnectProperties::default()
            },
        };
        let will = (how & 0x80 != 0).then(|| {
            let flags = self.rest.byte();
            Will {
                topic: topic(self.rest.pick(&TOPICS)),
                payload: payload(self.house.next()),
                qos: Rest::qos(flags),
                retain: flags & 0x10 != 0,
                delay_s: if version == Version::V5 { u32::from(flags >> 6) } else { 0 },
                expiry_s: None,
                attached: Default::default(),
            }
        });
        let connect = Connect {
            version,
            clean_start: how & 2 != 0,
            keep_alive_s: 0,
            client_id: self.peers[who].client_id.as_str().into(),
            will,
            username: None,
            password: None,
            properties,
        };
        self.open(who, connect).await;
    }

    async fn open(&mut self, who: usize, connect: Connect) {
        let stream = self.dial();
        let peer = &mut self.peers[who];
        peer.connect_by(stream, connect.version);
        peer.send(&Packet::Connect(Box::new(connect))).await;
        let answer = peer.answer().await.expect("an answer to a CONNECT");
        assert_eq!(answer.reason, Reason::Success);
        peer.admitted(&answer);
    }

    async fn publish(&mut self, who: usize) {
        let how = self.rest.byte();
        let qos = Rest::qos(how);
        let id = self.rest.id();
        let serial = self.house.next();
        let topic = topic(self.rest.pick(&TOPICS));
        let peer = &mut self.peers[who];
        if !peer.is_connected() {
            return;
        }
        // Ids of QoS 1 are others than those of QoS 2: one is not in use for two.
        let packet_id = match qos {
            Qos::AtMostOnce => 0,
            Qos::AtLeastOnce => id + 100,
            Qos::ExactlyOnce => id,
        };
        if qos == Qos::AtLeastOnce && !peer.busy.insert(packet_id) {
            return;
        }
        if let Some(sent) = peer.sent.get(&packet_id).cloned().filter(|_| qos == Qos::ExactlyOnce) {
            let again = match sent.is_received {
                true => Packet::PubRel(Ack::new(id, Reason::Success)),
                false => {
                    let properties = sent.publish.properties.filter(|_| peer.version == Version::V5);
                    Packet::Publish(Publish { dup: true, properties, ..sent.publish })
                }
            };
            return peer.send(&again).await;
        }
        let is_v5 = peer.version == Version::V5;
        let properties = (is_v5 && how & 0x20 != 0).then(|| {
            Box::new(PublishProperties {
                expiry_s: Some(u32::from(how >> 6)),
                topic_alias: NonZeroU16::new(u16::from(how >> 7)),
                ..PublishProperties::default()
            })
        });
        let publish = Publish {
            dup: false,
            qos,
            retain: how & 0x10 != 0,
            topic: Some(topic),
            packet_id,
            properties,
            payload: payload(serial),
        };
        if qos == Qos::ExactlyOnce {
            peer.sent.insert(packet_id, Sent { publish: publish.clone(), is_received: false });
        }
        if self.is_held && packet_id != 0 {
            peer.mark_unsynced(packet_id);
        }
        peer.send(&Packet::Publish(publish)).await;
    }

    async fn subscribe(&mut self, who: usize) {
        let how = self.rest.byte();
        let text = self.rest.pick(&FILTERS);
        let peer = &mut self.peers[who];
        let is_shared = text.starts_with("$share");
        let is_v5 = peer.version == Version::V5;
        let retain_handling = match how >> 4 & 3 {
            _ if !is_v5 => RetainHandling::Always,
            0 | 3 => RetainHandling::Always,
            1 => RetainHandling::IfNew,
            _ => RetainHandling::Never,
        };
        let options = SubscribeOptions {
            qos_max: Rest::qos(how & 3),
            no_local: is_v5 && how & 4 != 0 && !is_shared,
            retain_as_published: is_v5 && how & 8 != 0,
            retain_handling,
        };
        // A message that a shared subscription and another one match comes twice, rightly.
        peer.is_wild |= is_shared;
        let subscribe = Subscribe {
            packet_id: 300,
            filters: vec![(filter(text), options)],
            subscription_id: if is_v5 { NonZeroU32::new(u32::from(how >> 6)) } else { None },
            user: Vec::new(),
        };
        peer.send(&Packet::Subscribe(subscribe)).await;
    }

    async fn unsubscribe(&mut self, who: usize) {
        let filters = vec![filter(self.rest.pick(&FILTERS))];
        let unsubscribe = Unsubscribe { packet_id: 301, filters, user: Vec::new() };
        self.peers[who].send(&Packet::Unsubscribe(unsubscribe)).await;
    }

    /// An acknowledgement that nobody may have asked for.
    async fn acknowledge(&mut self, who: usize) {
        let (how, id) = (self.rest.byte(), self.rest.id());
        let peer = &mut self.peers[who];
        let is_refusal = peer.version == Version::V5 && how & 0x10 != 0;
        let reason = if is_refusal { Reason::Unspecified } else { Reason::Success };
        let packet = match how & 3 {
            0 => Packet::PubAck(Ack::new(id, reason)),
            1 => {
                if is_refusal {
                    peer.refuses(id);
                }
                Packet::PubRec(Ack::new(id, reason))
            }
            2 => {
                // Its own message is over, whether or not PUBREC came.
                let is_right = peer.sent.remove(&id).is_none_or(|sent| sent.is_received);
                peer.is_wild |= !is_right;
                Packet::PubRel(Ack::new(id, Reason::Success))
            }
            _ => Packet::PubComp(Ack::new(id, Reason::Success)),
        };
        peer.send(&packet).await;
    }

    async fn raw(&mut self, who: usize) {
        let most = usize::from(self.rest.byte()).min(self.rest.0.len());
        let (bytes, rest) = self.rest.0.split_at(most);
        self.rest.0 = rest;
        let peer = &mut self.peers[who];
        if peer.is_connected() {
            peer.is_wild = true;
            peer.send_bytes(bytes).await;
        }
    }

    async fn disconnect(&mut self, who: usize) {
        let how = self.rest.byte();
        let peer = &mut self.peers[who];
        let mut disconnect = Disconnect::new(Reason::Success);
        if peer.version == Version::V5 {
            if how & 1 != 0 {
                disconnect = Disconnect::new(Reason::DisconnectWithWill);
            }
            if how & 2 != 0 {
                let session_expiry_s = Some(u32::from(how >> 2));
                let properties = DisconnectProperties { session_expiry_s, ..DisconnectProperties::default() };
                disconnect.properties = Some(Box::new(properties));
            }
        }
        peer.send(&Packet::Disconnect(disconnect)).await;
        peer.vanish();
    }

    /// Everybody is answered, says goodbye and leaves nothing behind.
    async fn end(&mut self) {
        self.release().await;
        for peer in &mut self.peers {
            peer.acknowledges = true;
            peer.listen(false).await;
        }
        for who in 0..PEERS {
            let mut connect = Connect {
                version: Version::V5,
                clean_start: true,
                keep_alive_s: 0,
                client_id: self.peers[who].client_id.as_str().into(),
                will: None,
                username: None,
                password: None,
                properties: ConnectProperties::default(),
            };
            connect.properties.session_expiry_s = 0;
            self.open(who, connect).await;
            if who == 0 {
                self.clear_retained().await;
            }
            let peer = &mut self.peers[who];
            peer.send(&Packet::Disconnect(Disconnect::new(Reason::Success))).await;
            while peer.is_connected() {
                let is_over = peer.answer_or_end().await;
                if is_over {
                    break;
                }
            }
        }
        let mut looks = 0;
        loop {
            let stats = self.house.broker.stats();
            let left = (stats.connections, stats.subscriptions, stats.queued_messages, stats.inflight);
            // A client id that raw bytes chose may have a session that lasts.
            let is_wild = self.peers.iter().any(|peer| peer.is_wild);
            if left == (0, 0, 0, 0) || is_wild && stats.connections == 0 {
                return;
            }
            looks += 1;
            assert!(looks < 20_000, "left behind: {left:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn clear_retained(&mut self) {
        let all = TopicFilter::parse("#".to_owned()).expect("a filter");
        let kept: Vec<_> = self.house.broker.retained(&all).into_iter().map(|kept| kept.topic).collect();
        for kept in kept {
            let publish = Publish {
                dup: false,
                qos: Qos::AtMostOnce,
                retain: true,
                topic: Some(kept),
                packet_id: 0,
                properties: None,
                payload: Bytes::new(),
            };
            self.peers[0].send(&Packet::Publish(publish)).await;
        }
    }
}

fn topic(text: &str) -> TopicName {
    TopicName::parse(text.to_owned()).expect("a topic")
}

fn filter(text: &str) -> SubscriptionFilter {
    SubscriptionFilter::parse(text.to_owned()).expect("a filter")
}

fn payload(serial: u64) -> Bytes {
    Bytes::from(serial.to_be_bytes().to_vec())
}
