//! A client's socket, plain or under TLS, up to the startup message.
//!
//! Not here: the messages themselves (`pgwire`). The laws: nothing that came in the clear is taken for something that
//! came under TLS (no byte is read beyond the request for it); a message above its bound is not buffered.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// Requests before the startup message: one for TLS, one for GSS, in either order, and TLS's own startup.
const REQUESTS_MAX: usize = 4;

/// Longest key in a cancel request (protocol 3.2).
const CANCEL_KEY_BYTES_MAX: usize = 256;

/// The socket of a client; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Socket(Arc<TcpStream>);

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(stream))
    }

    /// Waits until the client has hung up. For ever when it sent something that nobody has read yet.
    pub(crate) async fn gone(&self) {
        if matches!(self.0.peek(&mut [0; 1]).await, Ok(1..)) {
            std::future::pending::<()>().await;
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The last clone that is dropped closes it.
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug)]
enum Way {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

/// What the messages are read from. Reads no more than it is [allowed](Self::allow).
#[derive(Debug)]
pub(crate) struct Io {
    way: Way,
    allowance: usize,
}

impl Io {
    /// Whether it is under TLS.
    pub(crate) fn is_secure(&self) -> bool {
        matches!(self.way, Way::Tls(_))
    }

    /// Lets so many bytes be read from now on: the bound of the next message.
    pub(crate) fn allow(&mut self, bytes: usize) {
        self.allowance = bytes;
    }
}

/// A message was longer than allowed.
#[derive(Debug, thiserror::Error)]
#[error("message is longer than allowed")]
pub(crate) struct TooLong;

macro_rules! way {
    ($self:ident, $way:ident => $poll:expr) => {
        match &mut $self.way {
            Way::Plain(io) => {
                let $way = Pin::new(io);
                $poll
            }
            Way::Tls(io) => {
                let $way = Pin::new(io);
                $poll
            }
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.allowance == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, TooLong)));
        }
        let allowed = self.allowance.min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(allowed));
        let done = way!(self, way => way.poll_read(cx, &mut part));
        let read = part.filled().len();
        buf.advance(read);
        self.allowance -= read;
        done
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        way!(self, way => way.poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        way!(self, way => way.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        way!(self, way => way.poll_shutdown(cx))
    }
}

/// What a client wants.
#[derive(Debug)]
pub(crate) enum Opening {
    /// To log in. The bytes begin its startup message.
    Session(Io, BytesMut),
    /// To end a statement of another connection.
    Cancel {
        /// Whose.
        pid: i32,
        /// The secret of that connection.
        key: Vec<u8>,
    },
}

/// Answers requests for TLS until the client says what it wants.
pub(crate) async fn open(socket: Socket, tls: Option<Arc<ServerConfig>>) -> io::Result<Opening> {
    let mut io = Io { way: Way::Plain(socket.clone()), allowance: usize::MAX };
    for _ in 0..REQUESTS_MAX {
        let mut head = [0; 8];
        io.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let code = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        match code {
            SSL_REQUEST => match &tls {
                Some(tls) if !io.is_secure() => {
                    io.write_all(b"S").await?;
                    io.flush().await?;
                    let stream = TlsAcceptor::from(Arc::clone(tls)).accept(socket.clone()).await?;
                    io.way = Way::Tls(Box::new(stream));
                }
                _ => io.write_all(b"N").await?,
            },
            GSS_REQUEST => io.write_all(b"N").await?,
            CANCEL_REQUEST => {
                let rest = length.checked_sub(12).filter(|key| (4..=CANCEL_KEY_BYTES_MAX).contains(key));
                let rest = rest.ok_or(io::ErrorKind::InvalidData)?;
                let pid = io.read_i32().await?;
                let mut key = vec![0; rest];
                io.read_exact(&mut key).await?;
                // A client that asks under TLS waits for its proper end.
                let _ = io.shutdown().await;
                return Ok(Opening::Cancel { pid, key });
            }
            _ => return Ok(Opening::Session(io, BytesMut::from(&head[..]))),
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}
