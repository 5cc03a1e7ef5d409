//! PUBLISH: a message on its way (section 3.3 of both standards).

use std::num::NonZeroU16;

use bytes::Bytes;
use model::{Qos, TopicName};

use crate::error::{DecodeError, EncodeError};
use crate::fields::Fields;
use crate::limit::{SUBSCRIPTION_IDS_MAX, VARINT_MAX};
use crate::out::Out;
use crate::property::{self, Property, PropertyId};
use crate::rule::Rule;
use crate::{Side, Version};

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

impl Publish {
    pub(crate) fn read(mut fields: Fields<'_>) -> Result<Self, DecodeError> {
        let Some(qos) = Qos::from_u8(fields.flags >> 1 & 0b11) else {
            return Err(fields.error(Rule::PublishQos));
        };
        let dup = fields.flags & 0b1000 != 0;
        let retain = fields.flags & 0b0001 != 0;
        if dup && qos == Qos::AtMostOnce {
            return Err(fields.error(Rule::DupOnQos0));
        }
        let topic = match fields.text_unchecked_for_nul()? {
            text if text.is_empty() && fields.version == Version::V5 => None,
            text => Some(fields.topic(text)?),
        };
        let packet_id = if qos == Qos::AtMostOnce { 0 } else { fields.packet_id()? };
        let properties = match fields.version {
            Version::V311 => None,
            Version::V5 => PublishProperties::read(&mut fields)?,
        };
        if topic.is_none() && properties.as_ref().is_none_or(|properties| properties.topic_alias.is_none()) {
            return Err(fields.error(Rule::TopicEmpty));
        }
        // An empty payload pins no buffer.
        let payload = if fields.is_empty() { Bytes::new() } else { fields.rest };
        Ok(Self { dup, qos, retain, topic, packet_id, properties, payload })
    }

    /// The lower half of the first byte.
    pub(crate) fn flags(&self) -> u8 {
        publish_flags(self.dup, self.qos, self.retain)
    }

    pub(crate) fn write(&self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        let properties = self.properties.as_deref();
        if let Some(properties) = properties {
            out.needs_v5(*properties != PublishProperties::default(), "properties")?;
        }
        out.refuse_if(self.dup && self.qos == Qos::AtMostOnce, "the DUP flag with QoS 0")?;
        out.refuse_if(
            self.topic.is_none() && properties.is_none_or(|properties| properties.topic_alias.is_none()),
            "neither a topic nor an alias of one",
        )?;
        // A topic name has no U+0000 and fits its two bytes of length: it was parsed.
        out.binary("topic", self.topic.as_ref().map_or(&[], |topic| topic.as_bytes()))?;
        match self.qos {
            Qos::AtMostOnce => out.refuse_if(self.packet_id != 0, "a packet id with QoS 0")?,
            _ => out.packet_id(self.packet_id)?,
        }
        match (out.version, properties) {
            (Version::V311, _) => {}
            (Version::V5, None) => out.varint(0),
            (Version::V5, Some(properties)) => out.properties(|out| properties.write(out))?,
        }
        out.raw(&self.payload);
        Ok(())
    }
}

pub(crate) const fn publish_flags(dup: bool, qos: Qos, retain: bool) -> u8 {
    (dup as u8) << 3 | (qos as u8) << 1 | retain as u8
}

impl PublishProperties {
    fn read(fields: &mut Fields<'_>) -> Result<Option<Box<Self>>, DecodeError> {
        if fields.rest.first() == Some(&0) {
            // By far the most frequent section: empty.
            fields.u8()?;
            return Ok(None);
        }
        let sender = fields.sender();
        let mut read = Self::default();
        property::read(fields, |property| {
            match property {
                Property::TopicAlias(0) => return Some(Err(Rule::TopicAliasZero)),
                Property::TopicAlias(alias) => read.topic_alias = NonZeroU16::new(alias),
                Property::MessageExpiryInterval(seconds) => read.expiry_s = Some(seconds),
                Property::SubscriptionIdentifier(id) => match sender {
                    Side::Client => return Some(Err(Rule::SubscriptionIdFromClient)),
                    Side::Server if read.subscription_ids.len() == SUBSCRIPTION_IDS_MAX => {
                        return Some(Err(Rule::SubscriptionIdsTooMany));
                    }
                    Side::Server => read.subscription_ids.push(id.get()),
                },
                other => return attach(&mut read.attached, other).map(Ok),
            }
            Some(Ok(()))
        })?;
        Ok((read != Self::default()).then(|| Box::new(read)))
    }

    pub(crate) fn write(&self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        if let Some(alias) = self.topic_alias {
            out.property_u16(PropertyId::TopicAlias, alias.get());
        }
        write_message(out, self.expiry_s, Some(&self.attached), &self.subscription_ids)
    }
}

/// Writes the properties that a message has wherever it goes. Subscription identifiers come last: `rumqttc` 0.25
/// counts them too long, and takes what follows them for payload.
pub(crate) fn write_message(
    out: &mut Out<'_>,
    expiry_s: Option<u32>,
    attached: Option<&model::Properties>,
    subscription_ids: &[u32],
) -> Result<(), EncodeError> {
    if let Some(seconds) = expiry_s {
        out.property_u32(PropertyId::MessageExpiryInterval, seconds);
    }
    if let Some(attached) = attached {
        write_attached(out, attached)?;
    }
    for &id in subscription_ids {
        let id = id as usize;
        out.refuse_if(id == 0 || id > VARINT_MAX, "a subscription identifier outside 1 to 268435455")?;
        out.u8(PropertyId::SubscriptionIdentifier as u8);
        out.varint(id);
    }
    Ok(())
}

/// Stores a property that a publisher attaches to a message or a will; `None` for any other.
pub(crate) fn attach(attached: &mut model::Properties, property: Property) -> Option<()> {
    match property {
        Property::PayloadFormatIndicator(is_utf8) => attached.payload_is_utf8 = is_utf8,
        Property::ContentType(text) => attached.content_type = Some(text),
        Property::ResponseTopic(topic) => attached.response_topic = Some(topic),
        Property::CorrelationData(data) => attached.correlation_data = Some(data),
        Property::User(name, value) => attached.user.push((name, value)),
        _ => return None,
    }
    Some(())
}

/// Writes what a publisher attached to a message or a will.
pub(crate) fn write_attached(out: &mut Out<'_>, attached: &model::Properties) -> Result<(), EncodeError> {
    if attached.payload_is_utf8 {
        out.property_u8(PropertyId::PayloadFormatIndicator, 1);
    }
    out.property_text(PropertyId::ContentType, attached.content_type.as_ref())?;
    if let Some(topic) = &attached.response_topic {
        out.u8(PropertyId::ResponseTopic as u8);
        out.binary(PropertyId::ResponseTopic.name(), topic.as_bytes())?;
    }
    out.property_binary(PropertyId::CorrelationData, attached.correlation_data.as_ref())?;
    out.user_properties(&attached.user)
}
