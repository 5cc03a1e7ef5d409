//! Clients that begin a handshake and leave it lying.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use broker::{Refusal, Settings};
use identity::{Actor, NewKey};
use model::DeviceName;
use mqtt::{Packet, Reason, Version};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::client::{Client, connect};
use crate::house::{House, Plan};

/// A client that trusts the house; with the certificate of `device`, which is added for it.
async fn device(house: &House, device: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(house.root.as_bytes()).expect("PEM")).expect("a root");
    let name = DeviceName::parse(device).expect("a name");
    let by = Actor::inside();
    let issued = house.identity.add_device_with_certificate(&by, &name, NewKey::Made).await;
    let issued = issued.expect("a certificate");
    let key = issued.private_key.expect("it was made here");
    let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes()).expect("a key");
    let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has both")
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![issued.certificate.der.into()], key);
    Arc::new(config.expect("a certificate and its key"))
}

fn here() -> ServerName<'static> {
    ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST))
}

/// Mutual TLS, CONNECT and CONNACK.
async fn is_let_in(house: &House, config: Arc<ClientConfig>, name: &str) {
    let socket = TcpStream::connect(house.certificates()).await.expect("connected");
    let stream = TlsConnector::from(config).connect(here(), socket).await.expect("a handshake");
    let mut client = Client::on(stream, Version::V5);
    client.send(&Packet::Connect(Box::new(connect(Version::V5, name)))).await;
    match client.receive().await {
        Some(Packet::ConnAck(answer)) => assert_eq!(answer.reason, Reason::Success),
        other => panic!("{other:?}"),
    }
    client.leave().await;
}

#[tokio::test]
async fn a_hundred_stalled_handshakes_hold_up_no_honest_device() {
    const STALLED: usize = 150;
    let settings = Settings { connect_timeout: Duration::from_secs(5), ..Settings::default() };
    let house = House::with(Plan::with(settings)).await;
    let config = device(&house, "pump-1").await;
    let mut hello = Vec::new();
    let mut talker = ClientConnection::new(Arc::clone(&config), here()).expect("a client");
    talker.write_tls(&mut hello).expect("a hello");
    let mut stalled = Vec::new();
    for n in 0..STALLED {
        let mut socket = TcpStream::connect(house.certificates()).await.expect("connected");
        // Nothing at all, the half of a hello, and a whole one whose answer is not answered.
        socket.write_all(&hello[..hello.len() * (n % 3) / 2]).await.expect("sent");
        stalled.push(socket);
    }
    house.until("all are there", |stats| stats.connections == STALLED as u64).await;
    let let_in = tokio::time::timeout(Duration::from_secs(1), is_let_in(&house, config, "pump-1"));
    let_in.await.expect("it does not wait for those who say nothing");
    let stats = house.until("the stalled ones end by themselves", |stats| stats.connections == 0).await;
    assert_eq!(stats.refused(Refusal::ConnectTimeout), STALLED as u64);
}

#[tokio::test]
async fn handshakes_that_dawdle_give_way_to_others_of_their_address() {
    let settings = Settings { handshakes_per_address_max: 4, ..Settings::default() };
    let connect_timeout = settings.connect_timeout;
    let house = House::with(Plan::with(settings)).await;
    let config = device(&house, "pump-1").await;
    let mut stalled = Vec::new();
    for _ in 0..4 {
        stalled.push(TcpStream::connect(house.certificates()).await.expect("connected"));
    }
    house.until("all are there", |stats| stats.connections == 4).await;
    let let_in = tokio::time::timeout(connect_timeout / 2, is_let_in(&house, config, "pump-1"));
    let_in.await.expect("one of those who dawdle gives way");
    let stats = house.until("one gave way", |stats| stats.refused(Refusal::Handshake) == 1).await;
    assert_eq!(stats.refused(Refusal::ConnectTimeout), 0, "the others go on");
}
