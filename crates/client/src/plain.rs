//! A bare connection for a load generator: the stream, and the packets in it.
//!
//! No task, no window, no second attempt, no keep-alive: whoever measures a server wants as little as possible of
//! the client in the figures. Everybody else takes a [`Client`](crate::Client).

use bytes::BytesMut;
use mqtt::{DecodeError, Decoder, Packet};

use crate::handshake::attempt;
use crate::{ConnectError, Options, Transport};

/// A connection that the server has accepted, and nothing around it.
pub struct Plain {
    /// The stream, past CONNACK.
    pub stream: Box<dyn Transport>,
    /// What was read behind CONNACK, and what will be read: [`Plain::next_packet`] takes from its front.
    pub input: BytesMut,
    /// How many unacknowledged messages the server takes.
    pub receive_maximum: usize,
    decoder: Decoder,
}

impl Plain {
    /// Connects once.
    ///
    /// # Errors
    /// As [`Client::connect`](crate::Client::connect).
    pub async fn connect(options: &Options) -> Result<Self, ConnectError> {
        let accepted = attempt(options, options.clean_start, options.attempt).await?;
        let receive_maximum = accepted.receive_maximum;
        let (stream, input, decoder) = accepted.wire.into_parts();
        Ok(Self { stream, input, receive_maximum, decoder })
    }

    /// The next packet of what was read; `None`: more must be read first.
    ///
    /// # Errors
    /// [`DecodeError`] when the server sent garbage.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, DecodeError> {
        self.decoder.decode(&mut self.input)
    }
}
