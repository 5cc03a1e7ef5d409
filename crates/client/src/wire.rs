//! One connection as packets: the byte stream, what was read and not yet taken, what is to be written.
//!
//! Packets are put into a buffer and leave together; nothing here waits but [`Wire::turn`], which may be dropped at
//! any time without losing a byte. What a packet means is no matter of this file.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use mqtt::{DecodeError, Decoder, EncodeError, Packet, Side, Version};
use tokio::io::{AsyncReadExt, AsyncWrite};

use crate::Transport;

/// How much is read at once: some hundred acknowledgements, or a dozen ordinary messages.
const READ_BYTES: usize = 16 * 1024;

/// Room for the first packets in both directions: whoever makes ten thousand connections makes as many of these.
const FIRST_BYTES: usize = 512;

pub(crate) struct Wire {
    stream: Box<dyn Transport>,
    decoder: Decoder,
    version: Version,
    input: BytesMut,
    output: BytesMut,
    /// Bytes that were ever put here, and that ever left.
    put: u64,
    left: u64,
    /// Bytes were handed to the stream that it may still hold (TLS does).
    unflushed: bool,
    has_read: bool,
    /// The largest packet the other side takes.
    packet_bytes_max: usize,
}

impl Wire {
    pub(crate) fn new(stream: Box<dyn Transport>, version: Version, packet_bytes_max: usize) -> Self {
        let mut decoder = Decoder::new(Side::Client, packet_bytes_max);
        decoder.set_version(version);
        Self {
            stream,
            decoder,
            version,
            input: BytesMut::with_capacity(FIRST_BYTES),
            output: BytesMut::with_capacity(FIRST_BYTES),
            put: 0,
            left: 0,
            unflushed: false,
            has_read: false,
            packet_bytes_max: usize::MAX,
        }
    }

    /// From now on packets above `bytes_max` are refused: the other side said so.
    pub(crate) fn bound_packets(&mut self, bytes_max: usize) {
        self.packet_bytes_max = bytes_max;
    }

    /// Adds a packet to what is to be written, and gives its end as a count of all bytes ever put. A packet that is
    /// refused leaves nothing behind.
    pub(crate) fn put(&mut self, packet: &Packet) -> Result<u64, EncodeError> {
        let before = self.output.len();
        mqtt::encode_within(packet, self.version, self.packet_bytes_max, &mut self.output)?;
        self.put += (self.output.len() - before) as u64;
        Ok(self.put)
    }

    /// Bytes that wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.output.len()
    }

    /// Bytes that ever left.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Whether everything put here has left.
    pub(crate) fn is_flushed(&self) -> bool {
        self.output.is_empty() && !self.unflushed
    }

    /// The next packet of what was read; `None` when more must be read first.
    pub(crate) fn next(&mut self) -> Result<Option<Packet>, DecodeError> {
        self.decoder.decode(&mut self.input)
    }

    /// Writes what can be written, and reads when `reading`; returns when a byte moved. `Ok(false)`: the other side
    /// has closed.
    pub(crate) async fn turn(&mut self, reading: bool) -> io::Result<bool> {
        poll_fn(|cx| {
            let mut moved = self.poll_write(cx)?;
            if reading {
                // CONNACK fits the first; what comes behind it comes in crowds.
                self.input.reserve(if self.has_read { READ_BYTES } else { FIRST_BYTES });
                // The future of one read keeps nothing between polls, so it can be made anew each time.
                match pin!(self.stream.read_buf(&mut self.input)).poll(cx) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Ok(false)),
                    Poll::Ready(Ok(_)) => {
                        self.has_read = true;
                        moved = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
            if moved { Poll::Ready(Ok(true)) } else { Poll::Pending }
        })
        .await
    }

    /// The stream, what was read of it, and its decoder. Nothing may wait to be written.
    pub(crate) fn into_parts(self) -> (Box<dyn Transport>, BytesMut, Decoder) {
        (self.stream, self.input, self.decoder)
    }

    /// Says goodbye to the stream; what was put before has left then.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        while !self.is_flushed() {
            self.turn(false).await?;
        }
        poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        while !self.output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.output) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(bytes)) => {
                    self.output.advance(bytes);
                    self.left += bytes as u64;
                    self.unflushed = true;
                    moved = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(moved),
            }
        }
        if self.unflushed && Pin::new(&mut self.stream).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
            moved = true;
        }
        Ok(moved)
    }
}
