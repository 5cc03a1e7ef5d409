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
use crate::entry::{Entry, Tls};
use crate::settings::{Auth, ListenerSettings};
use crate::shared::Shared;
use crate::tally::Tallies;
use crate::transport::Transport;
use crate::{Refusal, StartError};

/// How long accepting pauses when the machine has nothing to accept with. Connections that end give descriptors back
/// within this time on any busy machine; on an idle one a tenth of a second is no wait.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that is bound, and how it learns who speaks.
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    auth: Auth,
    transport: Transport,
}

impl Listener {
    /// Binds the socket of `settings`; `tls` is what a listener with TLS shows.
    ///
    /// # Errors
    /// [`StartError`] names the address and what stands in the way.
    pub(crate) async fn bind(
        settings: &ListenerSettings,
        tls: Option<&identity::Authority>,
    ) -> Result<Self, StartError> {
        let bind = settings.bind;
        let auth = settings.auth()?;
        let asked = settings.client_certificates()?;
        let websocket: Option<Arc<str>> = settings.websocket_path()?.map(Into::into);
        let with = || {
            let tls = tls.ok_or(StartError::NoCertificate { bind })?;
            Tls::new(tls, asked, websocket.is_some())
                .map_err(|source| StartError::Tls { bind, source: Box::new(source) })
        };
        let transport = Transport { tls: settings.tls.then(with).transpose()?, websocket };
        let failed = |source| StartError::Bind { bind, source };
        let socket = TcpListener::bind(bind).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        if !address.ip().is_loopback() && transport.tls.is_none() {
            tracing::warn!(
                %address,
                "plain listener on a network address: passwords and readings pass unencrypted. Use TLS, or bind to 127.0.0.1"
            );
        }
        tracing::info!(%address, ?auth, client_certificates = ?asked, transport = transport.scheme(), "MQTT listener open");
        Ok(Self { socket, address, auth, transport })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens and what it speaks there.
    pub(crate) fn url(&self) -> String {
        let path = self.transport.websocket.as_deref().unwrap_or_default();
        format!("{}://{}{path}", self.transport.scheme(), self.address)
    }

    /// Accepts connections until the door stops.
    pub(crate) async fn run(self, shared: Arc<Shared>) {
        let auth = self.auth;
        let serve = |stream: TcpStream, peer: SocketAddr| match Place::take(&shared, peer.ip()) {
            Ok(place) => {
                // Acknowledgements are small and somebody waits for each.
                let _ = stream.set_nodelay(true);
                let transport = self.transport.clone();
                match (&transport.tls, &transport.websocket) {
                    // By far the most, and without a handshake's state to carry along.
                    (None, None) => tokio::spawn(connection::serve(
                        Arc::clone(&shared),
                        stream,
                        peer,
                        Entry::plain(auth),
                        place,
                    )),
                    _ => tokio::spawn(transport.serve(Arc::clone(&shared), stream, peer, auth, place)),
                };
            }
            Err(why) => refuse(&shared, peer, why),
        };
        let pace = || {
            let now_mono = shared.host.clock.mono_micros();
            let wait = shared.admission.pace(now_mono)?;
            let nobody = std::net::Ipv4Addr::UNSPECIFIED.into();
            if let Some(left_out) = shared.logbook.may_write(nobody, "", "connect_rate", now_mono) {
                let most = shared.settings.connects_per_second_max;
                tracing::warn!(
                    left_out,
                    "more than {most} connections a second: the others wait. Raise `mqtt.connects_per_second_max` if the machine can take more"
                );
            }
            Some(wait)
        };
        tokio::select! {
            () = accept(|| self.socket.accept(), serve, pace, &shared.tallies) => {}
            () = shared.closing.stopping() => {}
        }
    }
}

/// Counts and logs a connection for which there is no place.
pub(crate) fn refuse(shared: &Shared, peer: SocketAddr, why: Refusal) {
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

/// Accepts for ever: `next` gives a connection, `serve` takes it, `pace` says how long the next is to wait.
async fn accept<N, F, C>(
    mut next: N,
    mut serve: impl FnMut(C, SocketAddr),
    pace: impl Fn() -> Option<Duration>,
    tallies: &Tallies,
) where
    N: FnMut() -> F,
    F: Future<Output = io::Result<(C, SocketAddr)>>,
{
    let mut is_short = false;
    loop {
        match next().await {
            Ok((stream, peer)) => {
                if std::mem::take(&mut is_short) {
                    tracing::info!("connections are accepted again");
                }
                tallies.accepted.one();
                serve(stream, peer);
                if let Some(wait) = pace() {
                    tallies.accept_slowed.one();
                    tokio::time::sleep(wait).await;
                }
            }
            // The client went away between its knock and our answer.
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                tallies.accept_paused.one();
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::net::Ipv4Addr;

    use super::*;

    /// mosquitto issue 948, nanomq issue 168, thingsboard issue 513.
    #[tokio::test(start_paused = true)]
    async fn without_file_descriptors_accepting_pauses_and_then_goes_on() {
        // Every failure costs a pause: a loop that spins would have failed a thousand times before the first is over.
        const EMFILE: i32 = 24;
        let tallies = Tallies::new();
        let asked = RefCell::new(0);
        let served = RefCell::new(0);
        let next = || {
            *asked.borrow_mut() += 1;
            let n = *asked.borrow();
            async move {
                match n {
                    ..=5 => Err(io::Error::from_raw_os_error(EMFILE)),
                    6 => Err(io::ErrorKind::ConnectionAborted.into()),
                    7 => Ok(((), (Ipv4Addr::LOCALHOST, 1).into())),
                    _ => std::future::pending().await,
                }
            }
        };
        let accepting = accept(next, |(), _| *served.borrow_mut() += 1, || None, &tallies);
        // The clock stands still but for timers: five pauses are over after five and before six.
        assert!(tokio::time::timeout(5 * PAUSE + PAUSE / 2, accepting).await.is_err(), "it goes on for ever");
        assert_eq!((*asked.borrow(), *served.borrow()), (8, 1));
        assert_eq!((tallies.accept_paused.get(), tallies.accepted.get()), (5, 1));
    }
}
