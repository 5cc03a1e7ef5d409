//! The stream of messages that a client's subscriptions bring.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use model::{Properties, Qos, TopicName};
use tokio::sync::mpsc;

use crate::EndError;

/// A message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Where it was published.
    pub topic: TopicName,
    /// What it carries: shares the buffer it was read into; who keeps it for long copies it.
    pub payload: Bytes,
    /// How sure this delivery is.
    pub qos: Qos,
    /// Whether the server had kept it.
    pub retain: bool,
    /// Whether the server may have delivered it before.
    pub dup: bool,
    /// Seconds it may still live, when it must not live for ever.
    pub expiry_s: Option<u32>,
    /// What its publisher attached.
    pub attached: Properties,
}

/// The messages of a client's subscriptions, in the order in which they came.
///
/// A QoS 1 message is acknowledged to the server when it is put here; a QoS 2 message comes here once. Up to
/// [`Options::deliveries`](crate::Options::deliveries) wait; a reader that falls behind further stops the reading
/// of the socket, acknowledgements of its own publishes included.
#[derive(Debug)]
pub struct Messages {
    pub(crate) queue: mpsc::Receiver<Received>,
    pub(crate) ended: Arc<OnceLock<EndError>>,
}

impl Messages {
    /// Waits for the next message; `None` when the client was closed and all were read.
    ///
    /// # Errors
    /// [`EndError`] when the client ended otherwise.
    pub async fn next(&mut self) -> Result<Option<Received>, EndError> {
        match self.queue.recv().await {
            Some(message) => Ok(Some(message)),
            None => match self.ended.get() {
                None | Some(EndError::Closed) => Ok(None),
                Some(end) => Err(end.clone()),
            },
        }
    }
}
