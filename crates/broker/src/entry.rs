//! How a connection came in: what its listener asks for, and what it has shown before its first packet.
//!
//! Not here: whether that lets it in (`connection::handshake` asks `identity`). The law: a certificate that is here is one
//! whose private key the other side has, by this handshake or by the one that this resumes; one that does not get so far is
//! counted and logged.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use host::Turn;
use identity::{Authority, AuthorityError, ClientCertificates};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::{Acceptor, ClientHello};
use tokio_rustls::rustls::{Error, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::settings::Auth;
use crate::shared::Shared;
use crate::tally::Refusal;

/// What those who speak MQTT over TLS may call it (ALPN; the AWS IoT device SDKs say the first).
const MQTT_NAMES: [&[u8]; 2] = [b"x-amzn-mqtt-ca", b"mqtt"];
/// What those who speak WebSocket over TLS may call it.
const HTTP_NAMES: [&[u8]; 1] = [b"http/1.1"];

/// How a connection came in.
pub(crate) struct Entry {
    pub(crate) auth: Auth,
    pub(crate) asked: ClientCertificates,
    /// What the client showed.
    pub(crate) certificate: Option<CertificateDer<'static>>,
    /// The turn of its handshake: held until it is let in, for whoever shows any certificate comes through a handshake.
    pub(crate) turn: Option<Turn>,
}

impl Entry {
    /// Without TLS, or with TLS that somebody else did.
    pub(crate) fn plain(auth: Auth) -> Self {
        Self { auth, asked: ClientCertificates::None, certificate: None, turn: None }
    }
}

/// TLS, as one listener does it.
#[derive(Clone)]
pub(crate) struct Tls {
    asked: ClientCertificates,
    names: &'static [&'static [u8]],
    /// For clients that call the protocol by a name of ours.
    named: Arc<ServerConfig>,
    /// For all others: a name that nobody knows is not answered, and is no reason to refuse.
    unnamed: Arc<ServerConfig>,
}

impl Tls {
    /// TLS for a listener that asks for client certificates like this.
    pub(crate) fn new(
        authority: &Authority,
        asked: ClientCertificates,
        is_websocket: bool,
    ) -> Result<Self, AuthorityError> {
        let names: &'static [&'static [u8]] = if is_websocket { &HTTP_NAMES } else { &MQTT_NAMES };
        let unnamed = authority.device_tls(asked)?;
        let mut named = unnamed.clone();
        named.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
        Ok(Self { asked, names, named: Arc::new(named), unnamed: Arc::new(unnamed) })
    }

    pub(crate) fn asked(&self) -> ClientCertificates {
        self.asked
    }

    fn config(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        // `rustls` ends a handshake when none of the client's names is one of the server's (RFC 7301, section 3.2).
        let is_named = hello.alpn().is_some_and(|mut offered| offered.any(|name| self.names.contains(&name)));
        Arc::clone(if is_named { &self.named } else { &self.unnamed })
    }

    /// The handshake; what the client showed goes into the entry.
    pub(crate) async fn accept<S>(
        &self,
        stream: S,
    ) -> Result<(Box<TlsStream<S>>, Option<CertificateDer<'static>>), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let config = self.config(&hello.client_hello());
        // In one place from now on: a TLS stream is large, and each hand would keep room for it.
        let stream = Box::new(hello.into_stream(config).await?);
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let shown = shown.map(|certificate| certificate.clone().into_owned());
        Ok((stream, shown))
    }
}

/// Why a handshake failed, and what to do.
pub(crate) struct Failure {
    pub(crate) why: String,
    pub(crate) hint: &'static str,
}

impl Failure {
    /// It took so long that others of its address had to wait.
    pub(crate) fn gave_way(shared: &Shared) -> Self {
        let most = shared.settings.handshakes_per_address_max;
        Self {
            why: format!("{most} handshakes of this address are not finished, and others of it wait"),
            hint: "Look for clients there that connect and stay silent, or raise `mqtt.handshakes_per_address_max`",
        }
    }

    /// Counts and logs it.
    pub(crate) fn tell(self, shared: &Shared, peer: SocketAddr, refusal: Refusal) {
        shared.tallies.refused(refusal).one();
        let now_mono = shared.host.clock.mono_micros();
        if let Some(left_out) = shared.logbook.may_write(peer.ip(), "", Refusal::Handshake.name(), now_mono) {
            let Self { why, hint } = self;
            let why = crate::logbook::explained(&why);
            tracing::warn!(left_out, "refused {}: {why}. {hint}", peer.ip());
        }
    }
}

impl From<tokio_tungstenite::tungstenite::Error> for Failure {
    fn from(error: tokio_tungstenite::tungstenite::Error) -> Self {
        Self {
            why: error.to_string(),
            hint: "A client must speak MQTT over WebSocket, at the path of this listener",
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let (why, hint) = match inner {
            Some(Error::NoCertificatesPresented) => (
                "this listener needs a client certificate, and the client shows none".to_owned(),
                "Give it one. Run: godwit device add NAME --out DIR",
            ),
            Some(Error::InvalidCertificate(_)) => (
                format!("the client's certificate is not right: {error}"),
                "Give it a new one. Run: godwit device certificate add NAME --out DIR",
            ),
            _ => (
                error.to_string(),
                "A client must trust `ca.pem` of the data directory, and speak what this port speaks",
            ),
        };
        Self { why, hint }
    }
}
