//! What a client wants said when it goes without a word (MQTT 5.0, section 3.1.2.5).
//!
//! A will is a publish like any other: reserved topics, permissions, routes and the journal judge it when it is
//! published, by what its client may do then; one of a client whose proof is worth nothing any more is not published, after a
//! restart neither. It is durable before its client hears that it is connected, so that the end of the server without a word
//! ends nobody's will. Not here: when it is published (`sessions`).

use std::sync::Arc;

use identity::policy::Circumstances;
use identity::{Action, Who};
use model::reserved::{self, PublishVerdict};
use model::{Keep, Message, Origin, Qos, Route};

use crate::fanout::{self, Touched};
use crate::shared::Shared;
use crate::store;
use crate::tally::Drop;

/// A will and who left it.
#[derive(Debug)]
pub(crate) struct Will {
    pub(crate) will: mqtt::Will,
    pub(crate) who: Who,
    pub(crate) origin: Arc<Origin>,
    /// How its client was connected: policies may look at it.
    pub(crate) circumstances: Circumstances,
    /// Its row in the catalog.
    pub(crate) row: u64,
}

/// What became of a will is put on its row: it is over, or due at a moment of the monotonic clock.
pub(crate) fn settle(shared: &Arc<Shared>, row: u64, due_mono: Option<u64>) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let due = due_mono.map(|due| shared.moment(due));
        if let Err(error) = store::settle_will(&shared, row, due).await {
            tracing::warn!(%error, "what became of a will is not known after a restart");
        }
    });
}

impl Will {
    /// Publishes it, or counts why not. Its row goes when it is durable: after a crash in between it is published again.
    pub(crate) fn publish(self, shared: &Arc<Shared>) {
        let row = self.row;
        match self.message(shared) {
            None => settle(shared, row, None),
            // Wills come in crowds when a network breaks: each waits for room on its own, nobody waits for it.
            Some(message) => {
                let shared = Arc::clone(shared);
                tokio::spawn(async move {
                    if let Err(error) = shared.journal.append(vec![message]).await {
                        shared.tallies.dropped(Drop::NotJournalled).one();
                        tracing::warn!(%error, "will not published");
                    }
                    settle(&shared, row, None);
                });
            }
        }
    }

    /// The message for the journal, if it is to go there; what is delivered at once is.
    fn message(self, shared: &Arc<Shared>) -> Option<Message> {
        let Self { will, who, origin, circumstances, row: _ } = self;
        let drop = |reason: Drop, why: &str| {
            let before = shared.tallies.dropped(reason).one();
            if before < 10 || before.is_multiple_of(1_000) {
                tracing::warn!(
                    client_id = ?origin.client_id,
                    topic = ?will.topic.as_str(),
                    why,
                    "will not published"
                );
            }
        };
        if !shared.settings.fits(&will.topic) {
            drop(Drop::TopicNotAccepted, &shared.settings.misfit().0);
            return None;
        }
        match reserved::publish(&will.topic) {
            PublishVerdict::Ordinary => {}
            PublishVerdict::Drop => {
                drop(Drop::Reserved, "`$SYS/` is never delivered");
                return None;
            }
            PublishVerdict::Question => {
                drop(Drop::TopicNotAccepted, "a question is put by who is there to hear the answer");
                return None;
            }
            PublishVerdict::Refuse(why) => {
                drop(Drop::TopicNotAccepted, why);
                return None;
            }
        }
        if !shared.identity.stands(&who) {
            shared.identity.notice_no_will(&who, &will.topic);
            drop(Drop::WillNotPermitted, "what its client proved is not accepted any more");
            return None;
        }
        let permissions = shared.identity.permissions_of(&who, &circumstances);
        let mut actions = [Action::Publish].into_iter().chain(will.retain.then_some(Action::RetainPublish));
        let refused = actions.find_map(|action| match permissions.may(action, &will.topic) {
            identity::Decision::Permitted => None,
            identity::Decision::Refused(reason) => Some((action, reason)),
        });
        if let Some((action, reason)) = refused {
            shared.identity.refused(&who, action, &will.topic);
            drop(Drop::WillNotPermitted, &permissions.advice(reason, action, &will.topic));
            return None;
        }
        let route = shared.routes.find(&will.topic);
        let message = Message {
            payload: will.payload,
            qos: will.qos,
            retain: will.retain,
            dup: false,
            lane: route.map_or_else(Default::default, Route::lane),
            packet_id: 0,
            expiry_s: will.expiry_s,
            received_at: shared.host.clock.now(),
            received_mono: shared.host.clock.mono_micros(),
            properties: (!will.attached.is_empty()).then(|| Arc::new(will.attached)),
            message_id: None,
            trace_id: None,
            to: None,
            origin,
            topic: will.topic,
        };
        let keep = route.map_or_else(Default::default, Route::keep);
        if message.qos == Qos::AtMostOnce || keep == Keep::None {
            let now_mono = message.received_mono;
            fanout::deliver(
                &shared.subscriptions,
                &message,
                0,
                now_mono,
                &shared.limits(),
                &mut Touched::default(),
            );
        }
        (keep != Keep::None).then_some(message)
    }
}
