//! Publishing: one call per message, many on their way.
//!
//! `publish(..).await` waits for room in the window only; the [`Ticket`] it gives resolves when the server has
//! acknowledged. Whoever wants one message after the other awaits both.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use model::{Properties, Qos, TopicName};
use mqtt::Reason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::task::Order;
use crate::{EndError, PublishError};

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where.
    pub topic: TopicName,
    /// What.
    pub payload: Bytes,
    /// How sure: at most once, at least once, exactly once.
    pub qos: Qos,
    /// Whether it is kept for later subscribers.
    pub retain: bool,
    /// Seconds from now when it must no longer be delivered (MQTT 5; left out in 3.1.1).
    pub expiry_s: Option<u32>,
    /// What is attached (MQTT 5; left out in 3.1.1).
    pub attached: Properties,
}

impl Outgoing {
    /// A message of QoS 1 with nothing attached.
    #[must_use]
    pub fn new(topic: TopicName, payload: impl Into<Bytes>) -> Self {
        Self {
            topic,
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            expiry_s: None,
            attached: Properties::default(),
        }
    }
}

/// What the server answered, or for QoS 0 that the message left this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// Its reason: success, or that nobody subscribes.
    pub reason: Reason,
    /// Microseconds from the first sending to the answer.
    pub waited_micros: u64,
}

/// Where a ticket's answer is sent, with the place in the window that it holds.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) answer: oneshot::Sender<Result<Acknowledged, PublishError>>,
    /// Given back when this is dropped.
    pub(crate) _place: OwnedSemaphorePermit,
}

/// Publishes. Cheap to clone; clones share the window.
#[derive(Debug, Clone)]
pub struct Publisher {
    pub(crate) orders: mpsc::UnboundedSender<Order>,
    pub(crate) window: Arc<Semaphore>,
    pub(crate) ended: Arc<OnceLock<EndError>>,
}

impl Publisher {
    /// Hands `message` over once there is room in the window, and gives a ticket for its acknowledgement. Messages
    /// leave in the order of the calls.
    ///
    /// # Errors
    /// [`PublishError::Ended`] when the client has ended.
    pub async fn publish(&self, message: Outgoing) -> Result<Ticket, PublishError> {
        let Ok(place) = Arc::clone(&self.window).acquire_owned().await else {
            return Err(ended(&self.ended).into());
        };
        let (answer, ticket) = oneshot::channel();
        let order = Order::Publish { message, reply: Reply { answer, _place: place } };
        self.orders.send(order).map_err(|_| ended(&self.ended))?;
        Ok(Ticket { answer: ticket, ended: Arc::clone(&self.ended) })
    }
}

/// A promise of the answer to one message. Dropping it changes nothing about the message.
#[derive(Debug)]
#[must_use = "a message is durable only when its ticket has resolved"]
pub struct Ticket {
    answer: oneshot::Receiver<Result<Acknowledged, PublishError>>,
    ended: Arc<OnceLock<EndError>>,
}

impl Future for Ticket {
    type Output = Result<Acknowledged, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.answer).poll(cx)) {
            Ok(answer) => answer,
            Err(_) => Err(ended(&self.ended).into()),
        })
    }
}

/// Why the client ended, for those who find it gone.
pub(crate) fn ended(why: &OnceLock<EndError>) -> EndError {
    why.get().cloned().unwrap_or(EndError::Closed)
}
