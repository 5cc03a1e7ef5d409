//! Publishing again: the message that is appended, under an id by which a second append of it is known.
//!
//! Not here: when it is appended (`deliver`). The laws: the id is the action and the `seq` of the cause, so that a replay after a crash inserts
//! nothing twice; every message carries how often rules have published it on, and nobody outside can lower that number.

use std::sync::Arc;

use bytestring::ByteString;
use model::{Door, Lane, Message, Origin, Properties, TopicName};
use rules::Publish;

use crate::job::Source;

/// How often a message may be published on by rules: chains of three are long, circles have no end.
pub const HOPS_MAX: u32 = 8;

/// The user property that carries the number.
pub const HOPS_PROPERTY: &str = "godwit-hops";

/// How often rules have published this on. Only what Godwit itself published is believed.
pub(crate) fn hops(message: &Message) -> u32 {
    if message.origin.door != Door::Inside {
        return 0;
    }
    let properties = message.properties.as_deref();
    let user = properties.map_or(&[][..], |properties| &properties.user);
    let carried = user.iter().rev().find(|(name, _)| name == HOPS_PROPERTY);
    carried.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

/// The message for a topic; time and lane are set when it is appended.
pub(crate) fn message(
    source: &Source<'_>,
    publish: &Publish,
    topic: String,
    content_type: Option<String>,
    headers: Vec<(String, String)>,
) -> Result<Message, String> {
    let is_reserved = topic.starts_with("$$");
    let topic = if is_reserved { topic[1..].to_owned() } else { topic };
    if topic.starts_with('$') && !is_reserved {
        return Err(format!("topic `{topic}` is reserved"));
    }
    let topic = TopicName::parse(topic).map_err(|error| error.to_string())?;
    let cause = &source.record.message;
    let hops = (HOPS_PROPERTY.to_owned(), (hops(cause) + 1).to_string());
    let property = |(name, value): (String, String)| (ByteString::from(name), ByteString::from(value));
    let properties = Properties {
        content_type: content_type.map(ByteString::from),
        user: headers.into_iter().chain([hops]).map(property).collect(),
        ..Properties::default()
    };
    let origin = Origin { partition: cause.origin.partition, ..Origin::inside(cause.origin.boot) };
    Ok(Message {
        qos: publish.qos,
        lane: Lane::default(),
        properties: Some(Arc::new(properties)),
        message_id: Some(ByteString::from(source.id.as_str())),
        trace_id: cause.trace_id,
        ..Message::new(topic, source.selection.payload().to_vec(), origin)
    })
}
