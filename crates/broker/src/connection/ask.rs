//! Questions that a client publishes and that are answered to this connection alone.
//!
//! Not here: the answers (`identity::answer`). The laws: neither question nor answer touches the journal, a private key
//! may be in it; one question of a connection is answered at a time, so that a client that asks without end costs what one
//! question costs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use model::{Message, Qos, TopicName};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::fanout::{self, Touched};
use crate::tally::Refusal;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Has a question answered, and the answer sent at QoS 0 if this client subscribes to it.
    pub(super) fn ask(&mut self, topic: TopicName, payload: Bytes) {
        if self.is_asking.swap(true, Ordering::AcqRel) {
            self.shared().tallies.refused(Refusal::Question).one();
            self.log_refusal(Refusal::Question, || {
                ("another question while one is being answered".to_owned(), "Wait for the answer".to_owned())
            });
            return;
        }
        let (shared, who) = (Arc::clone(self.shared()), self.who.clone());
        let (origin, is_asking) = (Arc::clone(&self.origin), Arc::clone(&self.is_asking));
        tokio::spawn(async move {
            let reply = shared.identity.answer(&who, &topic, &payload).await;
            is_asking.store(false, Ordering::Release);
            let Ok(topic) = TopicName::parse(reply.topic) else { return };
            let now_mono = shared.host.clock.mono_micros();
            let message = Message {
                qos: Qos::AtMostOnce,
                received_at: shared.host.clock.now(),
                received_mono: now_mono,
                to: Some(origin.connection),
                ..Message::new(topic, Bytes::from(reply.payload), origin)
            };
            let mut touched = Touched::default();
            let limits = shared.limits();
            fanout::deliver(&shared.subscriptions, &message, 0, now_mono, &limits, &mut touched);
        });
    }
}
