//! One client of a script, and what it knows by the standard: what it has sent and not seen acknowledged, what it has
//! received. It judges whatever the server says.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use model::Qos;
use mqtt::{Ack, ConnAck, Decoder, Packet, Publish, Reason, Side, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// How long whoever keeps to the protocol may wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long an answer is waited for while the disk stands still: it may have to.
const GLANCE: Duration = Duration::from_millis(3);

/// A message sent with QoS 2, until its PUBCOMP.
#[derive(Clone)]
pub struct Sent {
    pub publish: Publish,
    /// PUBREC came.
    pub is_received: bool,
}

/// A client.
pub struct Peer {
    pub client_id: String,
    pub version: Version,
    stream: Option<DuplexStream>,
    decoder: Decoder,
    input: BytesMut,
    /// QoS 2, by packet id.
    pub sent: HashMap<u16, Sent>,
    /// QoS 1, by packet id, on this connection.
    pub busy: HashSet<u16>,
    /// Packet ids of publishes that were sent while no sync returned.
    unsynced: HashSet<u16>,
    /// QoS 2 messages received and not released, by packet id.
    held: HashMap<u16, Bytes>,
    /// Every QoS 2 message this session has received.
    received: HashSet<Bytes>,
    /// Whether it acknowledges by itself.
    pub acknowledges: bool,
    /// It has sent what no client sends: nothing it gets proves anything.
    pub is_wild: bool,
}

impl Peer {
    pub fn new(client_id: String) -> Self {
        Self {
            client_id,
            version: Version::V5,
            stream: None,
            decoder: Decoder::new(Side::Client, 1 << 20),
            input: BytesMut::new(),
            sent: HashMap::new(),
            busy: HashSet::new(),
            unsynced: HashSet::new(),
            held: HashMap::new(),
            received: HashSet::new(),
            acknowledges: true,
            is_wild: false,
        }
    }

    pub fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    /// A new connection that has said nothing yet. The older one is left to the server: it takes it over, or finds it gone.
    pub fn connect_by(&mut self, stream: DuplexStream, version: Version) {
        self.stream = Some(stream);
        self.version = version;
        self.decoder = Decoder::new(Side::Client, 1 << 20);
        self.decoder.set_version(version);
        self.input.clear();
        self.unsynced.clear();
        self.busy.clear();
    }

    /// Goes without a word.
    pub fn vanish(&mut self) {
        self.stream = None;
    }

    /// Forgets what belonged to a session that is no more.
    fn begin_session(&mut self) {
        self.sent.clear();
        self.held.clear();
        self.received.clear();
    }

    /// The server has no session of it (`present`: it has).
    pub fn admitted(&mut self, answer: &ConnAck) {
        if !answer.session_present {
            self.begin_session();
        }
    }

    /// A publish leaves while no sync returns: it may not be acknowledged until one does.
    pub fn mark_unsynced(&mut self, packet_id: u16) {
        self.unsynced.insert(packet_id);
    }

    /// Syncs return again.
    pub fn synced(&mut self) {
        self.unsynced.clear();
    }

    pub async fn send(&mut self, packet: &Packet) {
        let mut out = BytesMut::new();
        mqtt::encode(packet, self.version, &mut out).expect("a packet");
        self.send_bytes(&out).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let Some(stream) = &mut self.stream else { return };
        let sent = tokio::time::timeout(PATIENCE, stream.write_all(bytes)).await;
        // A server that reads no further while its disk stands still is within its rights.
        if !matches!(sent, Ok(Ok(()))) {
            self.stream = None;
        }
    }

    /// The answer to a CONNECT.
    pub async fn answer(&mut self) -> Option<ConnAck> {
        match self.next(PATIENCE).await {
            Some(Packet::ConnAck(answer)) => Some(*answer),
            None => None,
            Some(other) => panic!("{other:?} to a CONNECT"),
        }
    }

    /// Takes what is there, up to the answer to a ping. `is_held`: no sync returns, and the answer may have to wait.
    pub async fn listen(&mut self, is_held: bool) {
        if self.stream.is_none() {
            return;
        }
        self.send(&Packet::PingReq).await;
        let wait = if is_held || self.is_wild { GLANCE } else { PATIENCE };
        while let Some(packet) = self.next(wait).await {
            if packet == Packet::PingResp {
                return;
            }
            self.judge(packet).await;
        }
    }

    /// After a goodbye: takes what still comes. `true`: the server has closed.
    pub async fn answer_or_end(&mut self) -> bool {
        let wait = if self.is_wild { GLANCE } else { PATIENCE };
        match self.next(wait).await {
            Some(packet) => {
                self.judge(packet).await;
                false
            }
            None => true,
        }
    }

    /// The next packet; `None` when the server has closed, or says nothing for so long.
    async fn next(&mut self, wait: Duration) -> Option<Packet> {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.input).expect("the server speaks well") {
                return Some(packet);
            }
            let stream = self.stream.as_mut()?;
            match tokio::time::timeout(wait, stream.read_buf(&mut self.input)).await {
                Err(_) if wait == GLANCE => return None,
                Err(_) => panic!("no answer in time"),
                Ok(Ok(0) | Err(_)) => self.stream = None,
                Ok(Ok(_)) => {}
            }
        }
    }

    /// Judges what the server says, and answers it if that is this client's way.
    async fn judge(&mut self, packet: Packet) {
        match packet {
            Packet::Publish(publish) => self.take(publish).await,
            Packet::PubAck(ack) => {
                self.acknowledged(&ack);
                self.busy.remove(&ack.packet_id);
            }
            Packet::PubRec(ack) => {
                self.acknowledged(&ack);
                if ack.reason.is_failure() {
                    self.sent.remove(&ack.packet_id);
                } else if let Some(sent) = self.sent.get_mut(&ack.packet_id) {
                    sent.is_received = true;
                }
                if self.acknowledges && !ack.reason.is_failure() {
                    self.send(&Packet::PubRel(Ack::new(ack.packet_id, Reason::Success))).await;
                }
            }
            Packet::PubRel(ack) => {
                self.held.remove(&ack.packet_id);
                if self.acknowledges {
                    self.send(&Packet::PubComp(Ack::new(ack.packet_id, Reason::Success))).await;
                }
            }
            Packet::PubComp(ack) => {
                self.sent.remove(&ack.packet_id);
            }
            Packet::Disconnect(_) => self.stream = None,
            Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {}
            other => panic!("{other:?} from a server"),
        }
    }

    fn acknowledged(&mut self, ack: &Ack) {
        let is_early = !ack.reason.is_failure() && self.unsynced.contains(&ack.packet_id);
        assert!(!is_early || self.is_wild, "{} was acknowledged and no sync has returned", ack.packet_id);
    }

    async fn take(&mut self, publish: Publish) {
        match publish.qos {
            Qos::AtMostOnce => return,
            Qos::AtLeastOnce if self.acknowledges => {
                return self.send(&Packet::PubAck(Ack::new(publish.packet_id, Reason::Success))).await;
            }
            Qos::AtLeastOnce => return,
            Qos::ExactlyOnce => {}
        }
        match self.held.get(&publish.packet_id) {
            Some(held) => assert!(
                *held == publish.payload || self.is_wild,
                "packet id {} is in use for another message",
                publish.packet_id
            ),
            None => {
                self.held.insert(publish.packet_id, publish.payload.clone());
                // A retained one comes again to whoever subscribes again.
                let is_new = publish.retain || self.received.insert(publish.payload.clone());
                assert!(is_new || self.is_wild, "a QoS 2 message twice: {:?}", publish.payload);
            }
        }
        if self.acknowledges {
            self.send(&Packet::PubRec(Ack::new(publish.packet_id, Reason::Success))).await;
        }
    }

    /// It refuses a QoS 2 message: the id is free without PUBREL.
    pub fn refuses(&mut self, packet_id: u16) {
        self.held.remove(&packet_id);
    }
}
