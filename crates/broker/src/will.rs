//! What a client wants said when it goes without a word (MQTT 5.0, section 3.1.2.5).
//!
//! A will is a publish like any other: reserved topics, permissions, routes and the journal judge it when it is
//! published, by what its client may do then. Not here: when that is (`sessions`).

use std::sync::Arc;

use identity::{Action, Who};
use model::reserved::{self, PublishVerdict};
use model::{Keep, Message, Origin, Qos, Route};

use crate::fanout::{self, Touched};
use crate::shared::Shared;
use crate::tally::Drop;

/// A will and who left it.
#[derive(Debug)]
pub(crate) struct Will {
    pub(crate) will: mqtt::Will,
    pub(crate) who: Who,
    pub(crate) origin: Arc<Origin>,
}

impl Will {
    /// Publishes it, or counts why not.
    pub(crate) fn publish(self, shared: &Arc<Shared>) {
        let Self { will, who, origin } = self;
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
        match reserved::publish(&will.topic) {
            PublishVerdict::Ordinary => {}
            PublishVerdict::Drop => return drop(Drop::Reserved, "`$SYS/` is never delivered"),
            PublishVerdict::Refuse(why) => return drop(Drop::TopicNotAccepted, why),
        }
        let permissions = shared.identity.permissions(&who, &origin.client_id);
        let mut actions = [Action::Publish].into_iter().chain(will.retain.then_some(Action::RetainPublish));
        let refused = actions.find_map(|action| match permissions.may(action, &will.topic) {
            identity::Decision::Permitted => None,
            identity::Decision::Refused(reason) => Some(reason),
        });
        if let Some(reason) = refused {
            return drop(Drop::WillNotPermitted, reason.hint());
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
        if keep == Keep::None {
            return;
        }
        // Wills come in crowds when a network breaks: each waits for room on its own, nobody waits for it.
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            if let Err(error) = shared.journal.append(vec![message]).await {
                shared.tallies.dropped(Drop::NotJournalled).one();
                tracing::warn!(%error, "will not published");
            }
        });
    }
}
