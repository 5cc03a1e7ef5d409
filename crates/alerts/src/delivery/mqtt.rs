//! Notices as messages on a topic: appended to the journal, delivered as every other message.
//!
//! Not here: subscribers. The law: a notice is `sent` when the journal has it.

use std::sync::Arc;

use host::Host;
use journal::Journal;
use model::{Lane, Message, Origin, Qos, TopicName};

use super::webhook::document;
use super::{Failure, Letter};

pub(crate) async fn send(
    letter: &Letter<'_>,
    topic: &TopicName,
    journal: &Journal,
    host: &Host,
) -> Result<(), Failure> {
    let message = Message {
        qos: Qos::AtLeastOnce,
        lane: Lane::Alarm,
        received_at: host.clock.now(),
        received_mono: host.clock.mono_micros(),
        // The same notice again is neither stored nor delivered again.
        message_id: Some(letter.id.to_string().into()),
        ..Message::new(topic.clone(), document(letter).to_string(), Arc::new(Origin::inside(host.boot)))
    };
    journal.append(vec![message]).await.map(|_| ()).map_err(|error| Failure::again(error.to_string()))
}
