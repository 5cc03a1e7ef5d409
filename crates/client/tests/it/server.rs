//! A server of one test: it speaks through the codec, and does exactly what the test tells it.

use std::future::Future;
use std::time::Duration;

use bytes::BytesMut;
use client::{Client, Endpoint, Machine, Messages, Options};
use mqtt::{
    Ack, ConnAck, ConnAckProperties, Connect, Decoder, Packet, Publish, Reason, Side, SubAck, Version,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a test waits for at most; nothing takes so long but a failure.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}

pub(crate) struct Server {
    listener: TcpListener,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port") }
    }

    pub(crate) fn address(&self) -> String {
        self.listener.local_addr().expect("bound").to_string()
    }

    pub(crate) fn options(&self) -> Options {
        Options { client_id: "tester".into(), ..Options::new(Endpoint::new(self.address())) }
    }

    /// The next connection, its CONNECT read.
    pub(crate) async fn accept(&self, version: Version) -> (Peer, Connect) {
        let (stream, _) = within("a connection", self.listener.accept()).await.expect("accepted");
        let decoder = Decoder::new(Side::Server, 1 << 20);
        let mut peer = Peer { stream, decoder, input: BytesMut::new(), version };
        match peer.packet().await {
            Some(Packet::Connect(connect)) => {
                assert_eq!(connect.version, version);
                (peer, *connect)
            }
            other => panic!("expected CONNECT, not {other:?}"),
        }
    }

    /// The next connection, accepted with `answer`.
    pub(crate) async fn welcome(&self, version: Version, answer: ConnAck) -> Peer {
        let (mut peer, _) = self.accept(version).await;
        peer.send(Packet::ConnAck(Box::new(answer))).await;
        peer
    }

    /// A client of this server, and the server's end of it.
    pub(crate) async fn client(&self, options: Options) -> (Client, Messages, Peer) {
        let version = options.version;
        let (client, peer) =
            tokio::join!(Client::connect(options, Machine::system()), self.welcome(version, accepted(false)));
        let (client, messages) = client.expect("connected");
        (client, messages, peer)
    }
}

pub(crate) fn accepted(session_present: bool) -> ConnAck {
    ConnAck { session_present, reason: Reason::Success, properties: ConnAckProperties::default() }
}

pub(crate) struct Peer {
    stream: TcpStream,
    decoder: Decoder,
    input: BytesMut,
    version: Version,
}

impl Peer {
    /// The next packet; `None` when the client has closed.
    pub(crate) async fn packet(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.input).expect("well formed") {
                return Some(packet);
            }
            if within("a packet", self.stream.read_buf(&mut self.input)).await.ok()? == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        mqtt::encode(&packet, self.version, &mut bytes).expect("encoded");
        self.stream.write_all(&bytes).await.expect("written");
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("written");
    }

    pub(crate) async fn publish(&mut self) -> Publish {
        match self.packet().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("expected PUBLISH, not {other:?}"),
        }
    }

    pub(crate) async fn puback(&mut self, id: u16, reason: Reason) {
        self.send(Packet::PubAck(Ack::new(id, reason))).await;
    }

    /// Takes a SUBSCRIBE and grants what it asks for.
    pub(crate) async fn grant(&mut self) -> mqtt::Subscribe {
        let Some(Packet::Subscribe(asked)) = self.packet().await else { panic!("expected SUBSCRIBE") };
        let reasons = asked
            .filters
            .iter()
            .map(|(_, how)| Reason::from_u8(how.qos_max as u8).expect("a QoS is a reason"))
            .collect();
        self.send(Packet::SubAck(SubAck { packet_id: asked.packet_id, reasons, properties: None })).await;
        asked
    }

    /// Waits until the client has said DISCONNECT and closed.
    pub(crate) async fn sees_a_clean_end(&mut self) {
        assert!(
            matches!(self.packet().await, Some(Packet::Disconnect(goodbye)) if goodbye.reason == Reason::Success)
        );
        assert!(self.packet().await.is_none());
    }
}
