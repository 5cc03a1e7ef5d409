//! TLS and WebSocket: the same door behind each, and handshakes that hold up nobody.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use broker::{Refusal, Settings};
use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use model::Qos;
use mqtt::{Decoder, Packet, Reason, Side, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::client::{Client, Stream, connect, publish};
use crate::house::{House, PATIENCE, Plan};

const TLS: usize = 2;
const WEBSOCKET: usize = 3;
const BOTH: usize = 4;

fn address(house: &House, listener: usize) -> SocketAddr {
    house.broker.addresses()[listener]
}

/// A client of TLS 1.2 and 1.3. The provider is named: the whole workspace brings a second one.
fn trusting(roots: RootCertStore) -> ClientConfig {
    let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has both")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

async fn tls(house: &House, listener: usize) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(house.root.as_bytes()).expect("PEM")).expect("a root");
    let config = trusting(roots);
    let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
    let socket = TcpStream::connect(address(house, listener)).await.expect("connected");
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.expect("a handshake")
}

async fn upgrade<S: Stream>(
    stream: S,
    path: &str,
    protocol: Option<&str>,
) -> Result<WebSocketStream<S>, String> {
    let mut request = format!("ws://localhost{path}").into_client_request().expect("a request");
    if let Some(protocol) = protocol {
        let value = HeaderValue::from_str(protocol).expect("a value");
        request.headers_mut().insert("sec-websocket-protocol", value);
    }
    let (stream, _) =
        tokio_tungstenite::client_async(request, stream).await.map_err(|error| error.to_string())?;
    Ok(stream)
}

async fn websocket(house: &House) -> WebSocketStream<TcpStream> {
    let socket = TcpStream::connect(address(house, WEBSOCKET)).await.expect("connected");
    upgrade(socket, "/mqtt", Some("mqtt")).await.expect("upgraded")
}

fn bytes(packets: &[Packet]) -> Bytes {
    let mut out = BytesMut::new();
    for packet in packets {
        mqtt::encode(packet, Version::V5, &mut out).expect("a packet");
    }
    out.freeze()
}

/// Reads binary messages until so many packets are there.
async fn packets<S: Stream>(stream: &mut WebSocketStream<S>, count: usize) -> Vec<Packet> {
    let mut decoder = Decoder::new(Side::Client, 1 << 24);
    let (mut input, mut got) = (BytesMut::new(), Vec::new());
    while got.len() < count {
        match tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time") {
            Some(Ok(Message::Binary(message))) => input.extend_from_slice(&message),
            other => panic!("{other:?}"),
        }
        while let Some(packet) = decoder.decode(&mut input).expect("a packet") {
            got.push(packet);
        }
    }
    got
}

/// A canary: somebody new is served on the plain listener.
async fn is_served(house: &House) {
    let mut canary = Client::open(house.anonymous(), Version::V311, "canary").await;
    canary.publish_durably("canary", 1, "sings").await;
    canary.leave().await;
}

#[tokio::test]
async fn tls_carries_what_tcp_carries() {
    let house = House::open().await;
    let stream = tls(&house, TLS).await;
    let mut client = Client::on(stream, Version::V5);
    client.send(&Packet::Connect(Box::new(connect(Version::V5, "secure")))).await;
    assert!(
        matches!(client.receive().await, Some(Packet::ConnAck(answer)) if answer.reason == Reason::Success)
    );
    client.subscribe("a", Qos::AtLeastOnce).await;
    // Many records of TLS, and more than one buffer, in both directions.
    let large = vec![b'x'; 200_000];
    for id in 1..=20 {
        client.publish(publish("a", id, large.clone())).await;
        let (mut is_acked, mut is_here) = (false, false);
        while !(is_acked && is_here) {
            match client.receive().await {
                Some(Packet::PubAck(_)) => is_acked = true,
                Some(Packet::Publish(got)) => {
                    assert_eq!(got.payload, large);
                    client.acknowledge(got.packet_id).await;
                    is_here = true;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    client.leave().await;
}

#[tokio::test]
async fn a_certificate_of_ours_names_this_machine_and_strangers_are_told_apart() {
    let house = House::open().await;
    // A client that speaks plain MQTT to the TLS port.
    let mut plain = Client::socket(address(&house, TLS), Version::V311).await;
    plain.send(&Packet::Connect(Box::new(connect(Version::V311, "plain")))).await;
    house.until("counted", |stats| stats.refused(Refusal::Handshake) == 1).await;
    // One that does not trust us.
    let config = trusting(RootCertStore::empty());
    let socket = TcpStream::connect(address(&house, TLS)).await.expect("connected");
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").expect("a name");
    assert!(connector.connect(name, socket).await.is_err());
    house.until("counted", |stats| stats.refused(Refusal::Handshake) == 2 && stats.connections == 0).await;
    is_served(&house).await;
}

/// MQTTnet issue 561, gnatmq issue 36, vernemq issue 647: a stalled handshake holds up nobody, and ends.
#[tokio::test]
async fn stalled_handshakes_hold_up_nobody_and_end() {
    let settings = Settings {
        handshakes_per_address_max: 2,
        connect_timeout: Duration::from_millis(300),
        ..Settings::default()
    };
    let house = House::with(Plan::with(settings)).await;
    let mut stalled = Vec::new();
    for listener in [TLS, TLS, WEBSOCKET, BOTH, TLS, WEBSOCKET] {
        stalled.push(TcpStream::connect(address(&house, listener)).await.expect("connected"));
    }
    // The plain listener does not even notice.
    is_served(&house).await;
    let stats = house.until("ended", |stats| stats.connections == 0).await;
    assert_eq!(stats.refused(Refusal::ConnectTimeout) + stats.refused(Refusal::Handshake), 6);
    let mut client = Client::on(tls(&house, TLS).await, Version::V5);
    client.send(&Packet::Connect(Box::new(connect(Version::V5, "after")))).await;
    assert!(matches!(client.receive().await, Some(Packet::ConnAck(_))));
}

#[tokio::test]
async fn mqtt5_6_0_0_2_packets_and_messages_need_not_be_aligned() {
    let house = House::open().await;
    let mut stream = websocket(&house).await;
    let hello = bytes(&[
        Packet::Connect(Box::new(connect(Version::V5, "browser"))),
        Packet::Publish(publish("a", 1, "one")),
        Packet::Publish(publish("a", 2, "two")),
    ]);
    // Byte by byte, then three packets in one message; with a ping of the WebSocket in between.
    for byte in &hello {
        stream.send(Message::Binary(Bytes::copy_from_slice(&[*byte]))).await.expect("sent");
    }
    stream.send(Message::Ping(Bytes::new())).await.expect("sent");
    let got = tokio::time::timeout(PATIENCE, async {
        let (mut input, mut got, mut pongs) = (BytesMut::new(), Vec::new(), 0);
        let mut decoder = Decoder::new(Side::Client, 1 << 20);
        while got.len() < 3 || pongs == 0 {
            match stream.next().await {
                Some(Ok(Message::Binary(message))) => input.extend_from_slice(&message),
                Some(Ok(Message::Pong(_))) => pongs += 1,
                other => panic!("{other:?}"),
            }
            while let Some(packet) = decoder.decode(&mut input).expect("a packet") {
                got.push(packet);
            }
        }
        got
    });
    assert!(matches!(
        got.await.expect("in time")[..],
        [Packet::ConnAck(_), Packet::PubAck(_), Packet::PubAck(_)]
    ));
    let together = bytes(&[
        Packet::Publish(publish("a", 3, "three")),
        Packet::PingReq,
        Packet::Publish(publish("a", 4, vec![b'x'; 100_000])),
    ]);
    stream.send(Message::Binary(together)).await.expect("sent");
    assert_eq!(packets(&mut stream, 3).await.len(), 3);
    assert_eq!(house.journal.durable_seq(), 4);
}

#[tokio::test]
async fn mqtt5_6_0_0_1_a_text_message_ends_the_connection() {
    let house = House::open().await;
    let mut stream = websocket(&house).await;
    stream
        .send(Message::Binary(bytes(&[Packet::Connect(Box::new(connect(Version::V5, "b")))])))
        .await
        .expect("sent");
    packets(&mut stream, 1).await;
    stream.send(Message::text("hello")).await.expect("sent");
    house.until("ended", |stats| stats.connections == 0).await;
    is_served(&house).await;
}

#[tokio::test]
async fn mqtt5_6_0_0_3_and_4_the_subprotocol_is_offered_and_answered() {
    let house = House::open().await;
    let at = address(&house, WEBSOCKET);
    let socket = async || TcpStream::connect(at).await.expect("connected");
    for (path, protocol) in [("/mqtt", None), ("/mqtt", Some("chat")), ("/other", Some("mqtt"))] {
        let refused = upgrade(socket().await, path, protocol).await.err();
        assert!(refused.is_some(), "{path} {protocol:?}");
    }
    house.until("counted", |stats| stats.refused(Refusal::Handshake) == 3).await;
    upgrade(socket().await, "/mqtt", Some("chat, mqtt")).await.expect("one of several");
    // The answer names it.
    let mut raw = socket().await;
    raw.write_all(
        b"GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
    )
    .await
    .expect("sent");
    let mut answer = vec![0; 1_000];
    let read = raw.read(&mut answer).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..read]).to_lowercase();
    assert!(answer.contains("101") && answer.contains("sec-websocket-protocol: mqtt"), "{answer}");
    // RFC 6455, section 5.1: a frame that is not masked ends the connection.
    raw.write_all(b"\x82\x02\xc0\x00").await.expect("sent");
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, raw.read_to_end(&mut rest)).await.expect("it ends");
    is_served(&house).await;
}

#[tokio::test]
async fn a_message_beyond_the_bound_ends_the_connection_before_it_is_there() {
    let settings = Settings { packet_bytes_max: 4_096, ..Settings::default() };
    let house = House::with(Plan::with(settings)).await;
    let mut stream = websocket(&house).await;
    let hello = bytes(&[Packet::Connect(Box::new(connect(Version::V5, "b")))]);
    stream.send(Message::Binary(hello)).await.expect("sent");
    packets(&mut stream, 1).await;
    let _ = stream.send(Message::Binary(vec![0xc0; 1 << 20].into())).await;
    house.until("ended", |stats| stats.connections == 0).await;
    assert!(house.broker.stats().received_bytes < 100_000);
    is_served(&house).await;
}

#[tokio::test]
async fn websocket_over_tls_is_served_too() {
    let house = House::open().await;
    let mut stream = upgrade(tls(&house, BOTH).await, "/secure", Some("mqtt")).await.expect("upgraded");
    let hello = [Packet::Connect(Box::new(connect(Version::V5, "b"))), Packet::Publish(publish("a", 1, "x"))];
    stream.send(Message::Binary(bytes(&hello))).await.expect("sent");
    assert!(matches!(packets(&mut stream, 2).await[..], [Packet::ConnAck(_), Packet::PubAck(_)]));
    stream.close(None).await.expect("closed");
    house.until("ended", |stats| stats.connections == 0).await;
    let schemes: Vec<_> =
        house.broker.urls().iter().map(|url| url.split(':').next().map(str::to_owned)).collect();
    assert_eq!(
        schemes,
        ["mqtt", "mqtt", "mqtts", "ws", "wss", "mqtts"].map(|scheme| Some(scheme.to_owned()))
    );
}
