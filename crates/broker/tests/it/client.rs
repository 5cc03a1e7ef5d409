//! A client by hand: says what the test says, and nothing by itself.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use model::{Properties, Qos, TopicName};
use mqtt::{
    Ack, ConnAck, Connect, ConnectProperties, Decoder, Disconnect, Packet, Publish, PublishProperties,
    Reason, Side, SubAck, Subscribe, SubscribeOptions, SubscriptionFilter, Version, Will,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::house::PATIENCE;

/// A client by hand.
pub(crate) struct Client {
    pub(crate) stream: Box<dyn Stream>,
    pub(crate) version: Version,
    decoder: Decoder,
    input: BytesMut,
}

/// What a client is connected by.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What a CONNECT asks for, if nothing else is said: a clean session without a will.
pub(crate) fn connect(version: Version, client_id: &str) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 60,
        client_id: client_id.into(),
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    }
}

/// A session that outlives its connection.
pub(crate) fn persistent(version: Version, client_id: &str) -> Connect {
    let mut connect = connect(version, client_id);
    connect.clean_start = false;
    if version == Version::V5 {
        connect.properties.session_expiry_s = 3_600;
    }
    connect
}

pub(crate) fn will(topic: &str, payload: &'static str) -> Will {
    Will {
        topic: TopicName::parse(topic.to_owned()).expect("a topic"),
        payload: Bytes::from_static(payload.as_bytes()),
        qos: Qos::AtLeastOnce,
        retain: false,
        delay_s: 0,
        expiry_s: None,
        attached: Properties::default(),
    }
}

pub(crate) fn publish(topic: &str, packet_id: u16, payload: impl Into<Bytes>) -> Publish {
    Publish {
        dup: false,
        qos: if packet_id == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce },
        retain: false,
        topic: Some(TopicName::parse(topic.to_owned()).expect("a topic")),
        packet_id,
        properties: None,
        payload: payload.into(),
    }
}

/// A publish with user properties.
pub(crate) fn with_user(mut publish: Publish, name: &'static str, value: &str) -> Publish {
    let attached = Properties { user: vec![(name.into(), value.into())], ..Properties::default() };
    publish.properties = Some(Box::new(PublishProperties { attached, ..PublishProperties::default() }));
    publish
}

/// The packet without the text of an answer.
fn unexplained(mut packet: Packet) -> Packet {
    if let Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) =
        &mut packet
    {
        ack.properties = None;
    }
    packet
}

impl Client {
    /// Connects a socket and says nothing.
    pub(crate) async fn socket(address: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        Self::on(stream, version)
    }

    /// Says nothing yet on a stream that the test made.
    pub(crate) fn on(stream: impl Stream + 'static, version: Version) -> Self {
        let mut decoder = Decoder::new(Side::Client, 1 << 24);
        decoder.set_version(version);
        Self { stream: Box::new(stream), version, decoder, input: BytesMut::new() }
    }

    /// Connects with what `connect` asks for.
    pub(crate) async fn ask(address: SocketAddr, connect: Connect) -> (Self, Option<ConnAck>) {
        let mut client = Self::socket(address, connect.version).await;
        client.send(&Packet::Connect(Box::new(connect))).await;
        let answer = client.receive().await.map(|packet| match packet {
            Packet::ConnAck(answer) => *answer,
            other => panic!("{other:?} to a CONNECT"),
        });
        (client, answer)
    }

    /// Connects with what `connect` asks for, and is let in. The flag tells whether an older session goes on.
    pub(crate) async fn with(address: SocketAddr, connect: Connect) -> (Self, bool) {
        let (client, answer) = Self::ask(address, connect).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.reason, Reason::Success);
        (client, answer.session_present)
    }

    /// Connects with a clean session, and is let in.
    pub(crate) async fn open(address: SocketAddr, version: Version, client_id: &str) -> Self {
        Self::with(address, connect(version, client_id)).await.0
    }

    pub(crate) async fn send(&mut self, packet: &Packet) {
        self.send_all(std::slice::from_ref(packet)).await;
    }

    /// Sends packets in one write.
    pub(crate) async fn send_all(&mut self, packets: &[Packet]) {
        let mut out = BytesMut::new();
        for packet in packets {
            mqtt::encode(packet, self.version, &mut out).expect("a packet");
        }
        self.send_bytes(&out).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        // A server that has closed already is seen when its answer is read.
        let _ = tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("it is read");
    }

    /// The next packet; `None` when the server has closed.
    pub(crate) async fn receive(&mut self) -> Option<Packet> {
        tokio::time::timeout(PATIENCE, self.receive_for_ever()).await.expect("an answer in time")
    }

    async fn receive_for_ever(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.input).expect("a packet") {
                return Some(packet);
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The bytes of the next packet, as they came; `None` when the server has closed.
    pub(crate) async fn frame(&mut self) -> Option<Vec<u8>> {
        let read = async {
            loop {
                // The type, a length of one to four bytes, and as many bytes as it says.
                let ends = self.input.iter().skip(1).take(4).position(|byte| byte & 0x80 == 0);
                if let Some(more) = ends {
                    let length = self.input[1..=more + 1].iter().rev();
                    let body = length.fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
                    let whole = 2 + more + body;
                    if self.input.len() >= whole {
                        return Some(self.input.split_to(whole).to_vec());
                    }
                }
                match self.stream.read_buf(&mut self.input).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("an answer in time")
    }

    /// The next packet is this one. What is for people to read is looked at by the tests of explanations alone.
    pub(crate) async fn expect(&mut self, packet: Packet) {
        assert_eq!(self.receive().await.map(unexplained), Some(packet));
    }

    pub(crate) async fn expect_puback(&mut self, packet_id: u16, reason: Reason) {
        self.expect(Packet::PubAck(Ack::new(packet_id, reason))).await;
    }

    /// The next packet is a PUBLISH.
    pub(crate) async fn message(&mut self) -> Publish {
        match self.receive().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("{other:?}, not a message"),
        }
    }

    /// The next packet is a PUBLISH, and is acknowledged.
    pub(crate) async fn take(&mut self) -> Publish {
        let publish = self.message().await;
        if publish.packet_id != 0 {
            self.acknowledge(publish.packet_id).await;
        }
        publish
    }

    pub(crate) async fn acknowledge(&mut self, packet_id: u16) {
        self.send(&Packet::PubAck(Ack::new(packet_id, Reason::Success))).await;
    }

    /// The server closes, in MQTT 5 with this reason.
    pub(crate) async fn expect_end(&mut self, reason: Reason) {
        if self.version == Version::V5 {
            match self.receive().await {
                Some(Packet::Disconnect(disconnect)) => assert_eq!(disconnect.reason, reason),
                other => panic!("{other:?}, not a DISCONNECT of {reason}"),
            }
        }
        assert_eq!(self.receive().await, None);
    }

    pub(crate) async fn publish(&mut self, publish: Publish) {
        self.send(&Packet::Publish(publish)).await;
    }

    /// Publishes at QoS 1 and waits for the acknowledgement.
    pub(crate) async fn publish_durably(&mut self, topic: &str, packet_id: u16, payload: impl Into<Bytes>) {
        self.publish(publish(topic, packet_id, payload)).await;
        self.expect_puback(packet_id, Reason::Success).await;
    }

    pub(crate) async fn subscribe(&mut self, filter: &str, qos: Qos) {
        let options = SubscribeOptions { qos_max: qos, ..SubscribeOptions::default() };
        let reasons = self.subscribe_with(filter, options, None).await;
        assert_eq!(reasons, [Reason::granted(qos)], "{filter}");
    }

    pub(crate) async fn subscribe_with(
        &mut self,
        filter: &str,
        options: SubscribeOptions,
        id: Option<u32>,
    ) -> Vec<Reason> {
        let subscribe = Subscribe {
            packet_id: 77,
            filters: vec![(SubscriptionFilter::parse(filter.to_owned()).expect("a filter"), options)],
            subscription_id: id.and_then(std::num::NonZeroU32::new),
            user: Vec::new(),
        };
        self.send(&Packet::Subscribe(subscribe)).await;
        match self.receive().await {
            Some(Packet::SubAck(SubAck { packet_id: 77, reasons, .. })) => reasons,
            other => panic!("{other:?} to a SUBSCRIBE"),
        }
    }

    /// Nothing that was sent before is on its way here: the server has answered a ping, and all it had to say came first.
    pub(crate) async fn expect_nothing(&mut self) {
        self.send(&Packet::PingReq).await;
        self.expect(Packet::PingResp).await;
    }

    /// Says goodbye and waits for the end.
    pub(crate) async fn leave(mut self) {
        self.send(&Packet::Disconnect(Disconnect::new(Reason::Success))).await;
        assert_eq!(self.receive().await, None);
    }

    /// Goes without a word.
    pub(crate) async fn vanish(mut self) {
        let _ = self.stream.shutdown().await;
        assert!(matches!(self.receive().await, None | Some(_)));
    }
}
