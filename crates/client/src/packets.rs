//! The packets of a client: what is asked of it as a packet, and what came as a message.

use model::Qos;
use mqtt::{
    Ack, Packet, Publish, PublishProperties, Reason, Subscribe, SubscribeOptions, SubscriptionFilter, Version,
};

use crate::wire::Wire;
use crate::{Outgoing, Received};

/// Filters, and how each is to be served.
pub(crate) type Filters = Vec<(SubscriptionFilter, SubscribeOptions)>;

/// Acknowledges the delivery `id`, if it wants that.
pub(crate) fn acknowledge(wire: &mut Wire, id: u16) {
    if id != 0 {
        // A PUBACK of two bytes of body is refused by no bound.
        let _ = wire.put(&Packet::PubAck(Ack::new(id, Reason::Success)));
    }
}

pub(crate) fn publish(packet_id: u16, message: Outgoing, version: Version) -> Packet {
    let told = version == Version::V5 && (message.expiry_s.is_some() || !message.attached.is_empty());
    let properties = told.then(|| {
        let Outgoing { expiry_s, attached, .. } = &message;
        Box::new(PublishProperties { expiry_s: *expiry_s, attached: attached.clone(), ..Default::default() })
    });
    Packet::Publish(Publish {
        dup: false,
        qos: message.qos,
        retain: message.retain,
        topic: Some(message.topic),
        packet_id,
        properties,
        payload: message.payload,
    })
}

pub(crate) fn subscribe(packet_id: u16, filters: Filters) -> Packet {
    Packet::Subscribe(Subscribe { packet_id, filters, subscription_id: None, user: Vec::new() })
}

/// What came as a message, and the id to acknowledge (0: none).
pub(crate) fn received(publish: Publish) -> Option<(Received, u16)> {
    if publish.qos == Qos::ExactlyOnce {
        return None;
    }
    let told = publish.properties.map(|told| *told).unwrap_or_default();
    let message = Received {
        topic: publish.topic?,
        payload: publish.payload,
        qos: publish.qos,
        retain: publish.retain,
        dup: publish.dup,
        expiry_s: told.expiry_s,
        attached: told.attached,
    };
    Some((message, publish.packet_id))
}
