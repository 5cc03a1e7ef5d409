//! Sockets that wait for connections.
//!
//! Not here: what is said on a connection. The laws: a machine without file descriptors is waited for, not asked again
//! at once (mosquitto issue 948: an accept loop that spins serves nobody); a connection beyond the bounds is closed
//! before anything is read from it; one connection's fault is its own.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::admission::Place;
use crate::connection;
use crate::settings::{Auth, ListenerSettings};
use crate::shared::Shared;
use crate::{Refusal, StartError};

/// How long accepting pauses when the machine has nothing to accept with. Connections that end give descriptors back
/// within this time on any busy machine; on an idle one a tenth of a second is no wait.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that is bound, and how it learns who speaks.
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    auth: Auth,
}

impl Listener {
    /// Binds the socket of `settings`.
    ///
    /// # Errors
    /// [`StartError`] names the address and what stands in the way.
    pub(crate) async fn bind(settings: &ListenerSettings) -> Result<Self, StartError> {
        let bind = settings.bind;
        let auth = settings.auth()?;
        let failed = |source| StartError::Bind { bind, source };
        let socket = TcpListener::bind(bind).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        if !address.ip().is_loopback() {
            tracing::warn!(
                %address,
                "plain listener on a network address: passwords and readings pass unencrypted. Use TLS, or bind to 127.0.0.1"
            );
        }
        tracing::info!(%address, ?auth, "MQTT listener open");
        Ok(Self { socket, address, auth })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections until the door stops.
    pub(crate) async fn run(self, shared: Arc<Shared>) {
        let auth = self.auth;
        let serve = |stream: TcpStream, peer: SocketAddr| match Place::take(&shared, peer.ip()) {
            Ok(place) => {
                // Acknowledgements are small and somebody waits for each.
                let _ = stream.set_nodelay(true);
                tokio::spawn(connection::serve(Arc::clone(&shared), stream, peer, auth, place));
            }
            Err(why) => refuse(&shared, peer, why),
        };
        tokio::select! {
            () = accept(|| self.socket.accept(), serve, &shared) => {}
            () = shared.closing.stopping() => {}
        }
    }
}

fn refuse(shared: &Shared, peer: SocketAddr, why: Refusal) {
    shared.tallies.refused(why).one();
    let now_mono = shared.host.clock.mono_micros();
    if let Some(left_out) = shared.logbook.may_write(peer.ip(), "", why.name(), now_mono) {
        let (bound, setting) = match why {
            Refusal::AddressFull => {
                (shared.settings.connections_per_address_max, "connections_per_address_max")
            }
            _ => (shared.settings.connections_max, "connections_max"),
        };
        tracing::warn!(
            left_out,
            "refused {}: {bound} connections are open. Raise `mqtt.{setting}` or look for clients that reconnect without closing",
            peer.ip()
        );
    }
}

/// Accepts for ever: `next` gives a connection, `serve` takes it.
async fn accept<N, F>(mut next: N, mut serve: impl FnMut(TcpStream, SocketAddr), shared: &Shared)
where
    N: FnMut() -> F,
    F: Future<Output = io::Result<(TcpStream, SocketAddr)>>,
{
    let mut is_short = false;
    loop {
        match next().await {
            Ok((stream, peer)) => {
                if std::mem::take(&mut is_short) {
                    tracing::info!("connections are accepted again");
                }
                shared.tallies.accepted.one();
                serve(stream, peer);
            }
            // The client went away between its knock and our answer.
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                shared.tallies.accept_paused.one();
                if !std::mem::replace(&mut is_short, true) {
                    tracing::error!(
                        %error,
                        "connections cannot be accepted; trying again. Raise the limit of open files (`ulimit -n`, `LimitNOFILE=`)"
                    );
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
