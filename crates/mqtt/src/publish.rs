//! PUBLISH: a message on its way (section 3.3 of both standards).

use std::num::NonZeroU16;

use bytes::Bytes;
use model::{Qos, TopicName};

/// A message on its way, in either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// It may have been sent before. Never with QoS 0.
    pub dup: bool,
    /// How sure the sender wants to be.
    pub qos: Qos,
    /// To the server: keep it for later subscribers. To a client: it was kept.
    pub retain: bool,
    /// Where; `None`: the topic that the alias in the properties stands for (MQTT 5).
    pub topic: Option<TopicName>,
    /// The sender's id for it; 0 with QoS 0, never 0 otherwise.
    pub packet_id: u16,
    /// What is attached to it, if anything is (MQTT 5).
    pub properties: Option<Box<PublishProperties>>,
    /// What it carries: a part of the buffer it was read into.
    pub payload: Bytes,
}

/// What may come with a PUBLISH (MQTT 5.0, section 3.3.2.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishProperties {
    /// A number that stands for the topic on this connection.
    pub topic_alias: Option<NonZeroU16>,
    /// Seconds from now when it must no longer be delivered.
    pub expiry_s: Option<u32>,
    /// Identifiers of the receiver's subscriptions that match; from servers only, 1 to 268,435,455 each.
    pub subscription_ids: Vec<u32>,
    /// What the publisher attached, to be passed on unchanged.
    pub attached: model::Properties,
}
