//! MQTT over WebSocket: the byte stream that its binary messages carry (MQTT 5.0, section 6).
//!
//! The laws: the subprotocol is `mqtt` and must be offered (MQTT-6.0.0-3); a text message ends the connection
//! (MQTT-6.0.0-1); packets need not be aligned with messages, nor messages with frames (MQTT-6.0.0-2); what a message may
//! hold is bounded before it is read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

/// The subprotocol.
const PROTOCOL: &str = "mqtt";

const PROTOCOL_HEADER: &str = "sec-websocket-protocol";

/// A message may hold several packets, or a part of one: whoever puts more into one than the largest packet and this
/// sends a stream where messages are meant.
const MESSAGE_BYTES_MORE: usize = 64 * 1024;

/// Bytes of a connection's own buffers: small, for there is one pair per connection. More is set aside while needed.
const BUFFER_BYTES: usize = 2 * 1024;

/// Accepts the upgrade on `path`; a packet has at most `packet_bytes_max` bytes.
pub(crate) async fn accept<S>(
    stream: S,
    path: Arc<str>,
    packet_bytes_max: usize,
) -> Result<WebSocket<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let message_bytes_max = packet_bytes_max + MESSAGE_BYTES_MORE;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * message_bytes_max)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    #[expect(clippy::result_large_err, reason = "the library's own type of a refusal")]
    let judge = move |request: &Request, mut response: Response| {
        if request.uri().path() != &*path {
            return Err(refusal(StatusCode::NOT_FOUND, format!("MQTT is on {path}\n")));
        }
        let offered =
            request.headers().get_all(PROTOCOL_HEADER).iter().filter_map(|value| value.to_str().ok());
        if !offered.flat_map(|list| list.split(',')).any(|name| name.trim() == PROTOCOL) {
            let text = "offer the subprotocol `mqtt`\n".to_owned();
            return Err(refusal(StatusCode::BAD_REQUEST, text));
        }
        response.headers_mut().insert(PROTOCOL_HEADER, HeaderValue::from_static(PROTOCOL));
        Ok(response)
    };
    let inner = tokio_tungstenite::accept_hdr_async_with_config(stream, judge, Some(config)).await?;
    Ok(WebSocket { inner, message: Bytes::new() })
}

fn refusal(status: StatusCode, text: String) -> ErrorResponse {
    let mut refusal = ErrorResponse::new(Some(text));
    *refusal.status_mut() = status;
    refusal
}

/// The byte stream.
pub(crate) struct WebSocket<S> {
    inner: WebSocketStream<S>,
    /// What is left of the last message.
    message: Bytes,
}

fn failed(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.message.is_empty() {
            match ready!(Pin::new(&mut this.inner).poll_next(cx)) {
                None | Some(Ok(Message::Close(_))) => return Poll::Ready(Ok(())),
                Some(Ok(Message::Binary(message))) => this.message = message,
                // The library answers a ping by itself.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Text(_))) => {
                    let text = "a text message; MQTT is binary";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
            }
        }
        let bytes = this.message.len().min(buf.remaining());
        buf.put_slice(&this.message[..bytes]);
        this.message.advance(bytes);
        if this.message.is_empty() {
            // An idle connection holds nothing of what it said last.
            this.message = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let inner = &mut self.get_mut().inner;
        ready!(Pin::new(&mut *inner).poll_ready(cx)).map_err(failed)?;
        let message = Message::Binary(Bytes::copy_from_slice(buf));
        Pin::new(inner).start_send(message).map_err(failed)?;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx).map_err(failed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_close(cx).map_err(failed)
    }
}
