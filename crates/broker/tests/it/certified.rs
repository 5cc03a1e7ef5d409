//! Clients that show a certificate.

use std::net::Ipv4Addr;
use std::sync::Arc;

use identity::{Actor, Issued, NewKey};
use model::DeviceName;
use mqtt::{Connect, Packet, Reason};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::client::Client;
use crate::house::House;

/// A client that trusts the house, with a certificate of `device`, which is added if it has none.
pub(crate) async fn device(house: &House, device: &str) -> Arc<ClientConfig> {
    let name = DeviceName::parse(device).expect("a name");
    let by = Actor::inside();
    let issued = house.identity.add_device_with_certificate(&by, &name, NewKey::Made).await;
    showing(house, &issued.expect("a certificate"))
}

/// A client that trusts the house and shows this certificate.
pub(crate) fn showing(house: &House, issued: &Issued) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(house.root.as_bytes()).expect("PEM")).expect("a root");
    let key = issued.private_key.as_ref().expect("it was made here");
    let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes()).expect("a key");
    let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has both")
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![issued.certificate.der.clone().into()], key);
    Arc::new(config.expect("a certificate and its key"))
}

/// The name of the house.
pub(crate) fn here() -> ServerName<'static> {
    ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST))
}

/// Mutual TLS, CONNECT and CONNACK. The flag tells whether an older session goes on.
pub(crate) async fn with_certificate(
    house: &House,
    config: Arc<ClientConfig>,
    connect: Connect,
) -> (Client, bool) {
    let socket = TcpStream::connect(house.certificates()).await.expect("connected");
    let stream = TlsConnector::from(config).connect(here(), socket).await.expect("a handshake");
    let mut client = Client::on(stream, connect.version);
    client.send(&Packet::Connect(Box::new(connect))).await;
    match client.receive().await {
        Some(Packet::ConnAck(answer)) => {
            assert_eq!(answer.reason, Reason::Success);
            (client, answer.session_present)
        }
        other => panic!("{other:?}"),
    }
}
