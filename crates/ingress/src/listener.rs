//! The socket: handshakes beside each other, and connections that are good for requests.
//!
//! Not here: requests (`publish`). The laws: no handshake runs where connections are accepted, and none waits for one of
//! another address, so that one that stalls holds up nobody; handshakes and connections are bounded in number for each
//! address, connections also in all, and a handshake in time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use host::Turns;
use identity::{Authority, AuthorityError, ClientCertificates};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::rustls::{Error, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::connection::Connection;
use crate::{Parts, publish};

/// Most connections at one time. Devices that speak HTTP come, publish and go.
const CONNECTIONS_MAX: usize = 10_000;
/// … of one address: a site behind one router, and a tenth of all places for a stranger.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 1_000;
/// Connections whose handshake is over and that wait to be served.
const READY_MAX: usize = 64;
/// Most handshakes of one address at one time; others of it wait for their turn, and end those that dawdle.
const HANDSHAKES_PER_ADDRESS_MAX: usize = 256;
/// How long a handshake may take, its wait for a turn included.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// How long accepting pauses when the machine has nothing to accept with.
const PAUSE: Duration = Duration::from_millis(100);
/// What clients may call the protocol (ALPN); other names are not answered.
const NAMES: [&[u8]; 2] = [b"x-amzn-http-ca", b"http/1.1"];

/// Why the door does not open.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be had.
    #[error("cannot listen for HTTPS on `{bind}`")]
    Bind {
        /// The address.
        bind: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TLS cannot be had.
    #[error("listener `{bind}` cannot have TLS")]
    Tls {
        /// The address.
        bind: SocketAddr,
        /// Why.
        #[source]
        source: Box<AuthorityError>,
    },
}

impl BindError {
    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Some("stop the program that listens there (`ss -ltnp`), or choose another port with `bind`")
            }
            Self::Bind { .. } => Some("name an address of this machine with `bind`"),
            Self::Tls { source, .. } => source.hint(),
        }
    }
}

/// An address that is taken, before anything is served on it.
pub struct Https {
    socket: TcpListener,
    address: SocketAddr,
    tls: Tls,
}

#[derive(Clone)]
struct Tls {
    named: Arc<ServerConfig>,
    unnamed: Arc<ServerConfig>,
}

/// A connection whose handshake is over.
type Stream = Connection<Box<TlsStream<TcpStream>>>;

/// Who is at the other end: where, and by which certificate.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) certificate: Option<CertificateDer<'static>>,
}

impl Https {
    /// Takes the address.
    ///
    /// # Errors
    /// [`BindError`] names it.
    pub async fn bind(bind: SocketAddr, authority: &Authority) -> Result<Self, BindError> {
        let unnamed = authority
            .device_tls(ClientCertificates::Required)
            .map_err(|source| BindError::Tls { bind, source: Box::new(source) })?;
        let mut named = unnamed.clone();
        named.alpn_protocols = NAMES.iter().map(|name| name.to_vec()).collect();
        let failed = |source| BindError::Bind { bind, source };
        let socket = TcpListener::bind(bind).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        tracing::info!(%address, "HTTPS listener for devices open");
        Ok(Self { socket, address, tls: Tls { named: Arc::new(named), unnamed: Arc::new(unnamed) } })
    }

    /// The address taken: the port is known even when 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the shutdown is said, then lets the requests under way end.
    pub async fn serve(self, parts: Parts) {
        let (shaken, ready) = mpsc::channel(READY_MAX);
        let address = self.address;
        let shutdown = parts.shutdown.clone();
        let accepting = tokio::spawn(accept(self.socket, self.tls, shaken));
        let service = publish::router(parts).into_make_service_with_connect_info::<Peer>();
        let stopping = async move { shutdown.stopping().await };
        let served = axum::serve(Ready { ready, address }, service).with_graceful_shutdown(stopping).await;
        accepting.abort();
        if let Err(error) = served {
            tracing::error!(%error, "the HTTPS door ended");
        }
    }
}

/// Accepts for ever; each handshake in a task of its own.
async fn accept(socket: TcpListener, tls: Tls, shaken: mpsc::Sender<(Stream, Peer)>) {
    let places = host::Places::new(CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX);
    let turns = Turns::new(HANDSHAKES_PER_ADDRESS_MAX, HANDSHAKE_WAIT / 2);
    let refused = metrics::counter!("godwit_ingress_connections_refused_total");
    loop {
        let (stream, address) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "no connection accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = places.take(address.ip()) else {
            refused.increment(1);
            tracing::debug!(%address, "no place for a connection");
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (tls, turns, shaken, refused) = (tls.clone(), turns.clone(), shaken.clone(), refused.clone());
        tokio::spawn(async move {
            let in_turn = async {
                let turn = turns.take(address.ip()).await;
                tokio::select! {
                    shaken = shake_hands(&tls, stream) => shaken,
                    () = turn.over() => Err(io::ErrorKind::TimedOut.into()),
                }
            };
            match tokio::time::timeout(HANDSHAKE_WAIT, in_turn).await {
                Ok(Ok(stream)) => {
                    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                    let certificate = shown.map(|certificate| certificate.clone().into_owned());
                    // A server that stops takes nobody any more.
                    let _ =
                        shaken.send((Connection::new(stream, place), Peer { address, certificate })).await;
                }
                Ok(Err(error)) => {
                    refused.increment(1);
                    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
                    if matches!(inner, Some(Error::NoCertificatesPresented)) {
                        tracing::info!(%address, "refused: HTTPS needs a client certificate. Run: godwit device add NAME --out DIR");
                    } else {
                        tracing::debug!(%address, %error, "no TLS");
                    }
                }
                Err(_) => refused.increment(1),
            }
        });
    }
}

async fn shake_hands(tls: &Tls, stream: TcpStream) -> io::Result<Box<TlsStream<TcpStream>>> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let is_named =
        hello.client_hello().alpn().is_some_and(|mut offered| offered.any(|name| NAMES.contains(&name)));
    let config = Arc::clone(if is_named { &tls.named } else { &tls.unnamed });
    Ok(Box::new(hello.into_stream(config).await?))
}

/// Connections whose handshake is over.
struct Ready {
    ready: mpsc::Receiver<(Stream, Peer)>,
    address: SocketAddr,
}

impl axum::serve::Listener for Ready {
    type Io = Stream;
    type Addr = Peer;

    async fn accept(&mut self) -> (Stream, Peer) {
        match self.ready.recv().await {
            Some(ready) => ready,
            // Nobody accepts any more: the end is said by the shutdown.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { address: self.address, certificate: None })
    }
}

impl Connected<IncomingStream<'_, Ready>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Ready>) -> Self {
        stream.remote_addr().clone()
    }
}
