//! What lies between the socket and MQTT: nothing, TLS, WebSocket, or WebSocket over TLS.
//!
//! Not here: sockets (`listener`) and MQTT (`connection`). The laws: no handshake runs where connections are accepted
//! (MQTTnet issue 561, vernemq issue 647); handshakes are bounded in number, and each, with its wait for a turn, has
//! [`Settings::connect_timeout`](crate::Settings::connect_timeout); a handshake that fails is counted and logged with what to do.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::admission::Place;
use crate::connection;
use crate::settings::Auth;
use crate::shared::Shared;
use crate::tally::Refusal;
use crate::websocket;

/// How a listener's connections reach MQTT.
#[derive(Clone)]
pub(crate) struct Transport {
    pub(crate) tls: Option<TlsAcceptor>,
    /// The path of the WebSocket upgrade.
    pub(crate) websocket: Option<Arc<str>>,
}

impl Transport {
    /// The scheme of its URLs.
    pub(crate) fn scheme(&self) -> &'static str {
        match (&self.websocket, &self.tls) {
            (None, None) => "mqtt",
            (None, Some(_)) => "mqtts",
            (Some(_), None) => "ws",
            (Some(_), Some(_)) => "wss",
        }
    }

    /// Serves a connection from its first byte to its end.
    pub(crate) async fn serve(
        self,
        shared: Arc<Shared>,
        stream: TcpStream,
        peer: SocketAddr,
        auth: Auth,
        place: Place,
    ) {
        let Some(tls) = self.tls.clone() else {
            return self.upgrade(shared, stream, peer, auth, place).await;
        };
        match shake_hands(&shared, peer, tls.accept(stream)).await {
            // In one place from now on: a TLS stream is large, and each hand would keep room for it.
            Some(stream) => self.upgrade(shared, Box::new(stream), peer, auth, place).await,
            None => drop(place),
        }
    }

    async fn upgrade<S>(self, shared: Arc<Shared>, stream: S, peer: SocketAddr, auth: Auth, place: Place)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(path) = self.websocket else {
            return connection::serve(shared, stream, peer, auth, place).await;
        };
        let bytes_max = shared.settings.packet_bytes_max;
        let accepted = shake_hands(&shared, peer, Box::pin(websocket::accept(stream, path, bytes_max))).await;
        if let Some(stream) = accepted {
            connection::serve(shared, Box::new(stream), peer, auth, place).await;
        }
    }
}

/// Waits for a turn and for the handshake; `None`: it failed, which is counted and logged.
async fn shake_hands<T, E: std::fmt::Display>(
    shared: &Shared,
    peer: SocketAddr,
    handshake: impl Future<Output = Result<T, E>>,
) -> Option<T> {
    let in_turn = async {
        let _turn = shared.handshakes.acquire().await;
        handshake.await
    };
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(shared.settings.connect_timeout, in_turn) => shaken,
        () = shared.closing.stopping() => return None,
    };
    let error = match shaken {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => {
            shared.tallies.refused(Refusal::Handshake).one();
            error.to_string()
        }
        Err(_) => {
            shared.tallies.refused(Refusal::ConnectTimeout).one();
            format!("no handshake within {:?}", shared.settings.connect_timeout)
        }
    };
    let now_mono = shared.host.clock.mono_micros();
    if let Some(left_out) = shared.logbook.may_write(peer.ip(), "", Refusal::Handshake.name(), now_mono) {
        let why = crate::logbook::shown(&error);
        tracing::warn!(
            left_out,
            "refused {}: {why}. A client must trust `ca.pem` of the data directory, and speak what this port speaks",
            peer.ip()
        );
    }
    None
}
