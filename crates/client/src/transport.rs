//! The byte stream under a connection: TCP, TLS over it, a pipe in a test.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::ConnectError;

/// Any byte stream that MQTT can be spoken over.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// Opens a TCP connection to `HOST:PORT`; every address the name stands for is tried.
pub(crate) async fn tcp(address: &str) -> Result<TcpStream, ConnectError> {
    let well_formed = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
    if !well_formed {
        return Err(ConnectError::Address { address: address.to_owned() });
    }
    let stream = TcpStream::connect(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::ConnectionRefused => ConnectError::Refused { address: address.to_owned() },
        _ => ConnectError::Unreachable { address: address.to_owned(), source },
    })?;
    // Batching is our own work: what is written is meant to leave. A socket that cannot be told is only slower.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    Ok(stream)
}
