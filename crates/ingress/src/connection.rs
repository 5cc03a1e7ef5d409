//! One connection of a device: its stream, its place among the bounded number, and its patience.
//!
//! Not here: HTTP. The laws: a connection on which nothing comes for [`IDLE_MAX`] ends; so does one whose request is not whole,
//! or whose answer is not taken, [`REQUEST_MAX`] after it began, however often a byte passes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Longest silence of a connection between requests.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Longest time from a request's first byte to its answer's last: 256 KiB over a radio link of 100 kbit/s, and a disk that syncs.
const REQUEST_MAX: Duration = Duration::from_secs(30);

/// A connection.
pub(crate) struct Connection<S> {
    stream: S,
    /// When its patience is over.
    end: Pin<Box<Sleep>>,
    /// A request has begun and is not answered.
    is_asking: bool,
    /// Something of an answer was written and not flushed.
    is_answering: bool,
    _place: host::Place,
}

impl<S> Connection<S> {
    pub(crate) fn new(stream: S, place: host::Place) -> Self {
        let end = Box::pin(tokio::time::sleep(IDLE_MAX));
        Self { stream, end, is_asking: false, is_answering: false, _place: place }
    }

    fn wait(&mut self, for_at_most: Duration) {
        self.end.as_mut().set(tokio::time::sleep(for_at_most));
    }

    /// Nothing can be done now: ready when its patience is over.
    fn poll_patience<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                if !std::mem::replace(&mut self.is_asking, true) {
                    self.wait(REQUEST_MAX);
                }
                // Looked at even though there was something: a client that always has one byte more is no busy one.
                match self.poll_patience(cx) {
                    Poll::Pending => Poll::Ready(Ok(())),
                    over @ Poll::Ready(_) => over,
                }
            }
            Poll::Ready(read) => Poll::Ready(read),
            Poll::Pending => self.poll_patience(cx),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Pending => self.poll_patience(cx),
            written => {
                self.is_answering = true;
                written
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => self.poll_patience(cx),
            Poll::Ready(Ok(())) => {
                // What was asked is answered, and the client has it: the next request may be a while.
                if std::mem::take(&mut self.is_answering) {
                    self.is_asking = false;
                    self.wait(IDLE_MAX);
                }
                Poll::Ready(Ok(()))
            }
            failed => failed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Pending => self.poll_patience(cx),
            done => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::Instant;

    use super::*;

    fn connection() -> (Connection<DuplexStream>, DuplexStream) {
        let place = host::Places::new(1, 1).take(Ipv4Addr::LOCALHOST.into()).expect("a place");
        let (ours, theirs) = tokio::io::duplex(16);
        (Connection::new(ours, place), theirs)
    }

    /// Reads until the connection ends, and says after how long.
    async fn ends_after(connection: &mut Connection<DuplexStream>) -> Duration {
        let began = now();
        let mut bytes = Vec::new();
        let error = connection.read_to_end(&mut bytes).await.expect_err("it does not end by itself");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        began.elapsed()
    }

    #[allow(clippy::disallowed_methods, reason = "the paused clock of the test")]
    fn now() -> Instant {
        Instant::now()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_dribbles_ends_however_often_a_byte_comes() {
        let (mut held, mut theirs) = connection();
        let dribbling = tokio::spawn(async move {
            while theirs.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        });
        assert_eq!(ends_after(&mut held).await, REQUEST_MAX);
        drop(held);
        dribbling.await.expect("it has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_ends_and_one_that_is_used_does_not() {
        let (mut held, mut theirs) = connection();
        for _ in 0..10 {
            theirs.write_all(b"ask").await.expect("sent");
            held.read_exact(&mut [0; 3]).await.expect("read");
            // A flush of nothing is no answer.
            held.flush().await.expect("flushed");
            tokio::time::sleep(REQUEST_MAX / 2).await;
            held.write_all(b"say").await.expect("written");
            held.flush().await.expect("flushed");
            theirs.read_exact(&mut [0; 3]).await.expect("read");
            tokio::time::sleep(IDLE_MAX - Duration::from_millis(1)).await;
        }
        assert_eq!(ends_after(&mut held).await, Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_ends_the_connection() {
        let (mut held, mut theirs) = connection();
        theirs.write_all(b"ask").await.expect("sent");
        held.read_exact(&mut [0; 3]).await.expect("read");
        let began = now();
        let error = held.write_all(&[0; 100]).await.expect_err("there is no room");
        assert_eq!((error.kind(), began.elapsed()), (io::ErrorKind::TimedOut, REQUEST_MAX));
    }
}
