//! What lies between the socket and MQTT: nothing, TLS, WebSocket, or WebSocket over TLS.
//!
//! Not here: sockets (`listener`) and MQTT (`connection`). The laws: no handshake runs where connections are accepted
//! (MQTTnet issue 561, vernemq issue 647); handshakes are bounded in number for each address, and wait for none of another
//! address, whose client may be silent for as long as it likes; each, with its wait for a turn, has
//! [`Settings::connect_timeout`](crate::Settings::connect_timeout); a handshake that fails is counted and logged with what to do.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use host::Turn;

use crate::admission::Place;
use crate::connection;
use crate::entry::{Entry, Failure, Tls};
use crate::settings::Auth;
use crate::shared::Shared;
use crate::tally::Refusal;
use crate::websocket;

/// How a listener's connections reach MQTT.
#[derive(Clone)]
pub(crate) struct Transport {
    pub(crate) tls: Option<Tls>,
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
            return self.upgrade(shared, stream, peer, Entry::plain(auth), place).await;
        };
        match Box::pin(shake_hands(&shared, peer, None, tls.accept(stream))).await {
            Some(((stream, certificate), turn)) => {
                let entry = Entry { auth, asked: tls.asked(), certificate, turn: Some(turn) };
                self.upgrade(shared, stream, peer, entry, place).await;
            }
            None => drop(place),
        }
    }

    async fn upgrade<S>(
        self,
        shared: Arc<Shared>,
        stream: S,
        peer: SocketAddr,
        mut entry: Entry,
        place: Place,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(path) = self.websocket else {
            return connection::serve(shared, stream, peer, entry, place).await;
        };
        let bytes_max = shared.settings.packet_bytes_max;
        let upgrade = Box::pin(websocket::accept(stream, path, bytes_max));
        if let Some((stream, turn)) = shake_hands(&shared, peer, entry.turn.take(), upgrade).await {
            entry.turn = Some(turn);
            connection::serve(shared, Box::new(stream), peer, entry, place).await;
        }
    }
}

/// Waits for a turn, if there is none yet, and for the handshake; `None`: it failed, which is counted and logged.
async fn shake_hands<T, E: Into<Failure>>(
    shared: &Shared,
    peer: SocketAddr,
    turn: Option<Turn>,
    handshake: impl Future<Output = Result<T, E>>,
) -> Option<(T, Turn)> {
    let in_turn = async {
        let turn = match turn {
            Some(turn) => turn,
            None => shared.handshakes.take(peer.ip()).await,
        };
        let shaken = tokio::select! {
            shaken = handshake => shaken.map_err(Into::into),
            () = turn.over() => Err(Failure::gave_way(shared)),
        };
        shaken.map(|shaken| (shaken, turn))
    };
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(shared.settings.connect_timeout, in_turn) => shaken,
        () = shared.closing.stopping() => return None,
    };
    let (refusal, failure) = match shaken {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => (Refusal::Handshake, error),
        Err(_) => {
            let why = format!("no handshake within {:?}", shared.settings.connect_timeout);
            let hint = "A client must speak what this port speaks";
            (Refusal::ConnectTimeout, Failure { why, hint })
        }
    };
    failure.tell(shared, peer, refusal);
    None
}
