//! The packets of a client: what is asked of it as a packet, and what came as a message.

use model::Qos;
use mqtt::{
    Ack, Packet, Publish, PublishProperties, Reason, Subscribe, SubscribeOptions, SubscriptionFilter, Version,
};

use crate::wire::Wire;
use crate::{Outgoing, Received};

/// Filters, and how each is to be served.
pub(crate) type Filters = Vec<(SubscriptionFilter, SubscribeOptions)>;

/// Acknowledges the delivery `id`, if its QoS wants that: QoS 2 is not over with it.
pub(crate) fn acknowledge(wire: &mut Wire, qos: Qos, id: u16) {
    let ack = Ack::new(id, Reason::Success);
    // Two bytes of body are refused by no bound.
    let _ = match qos {
        Qos::AtMostOnce => return,
        Qos::AtLeastOnce => wire.put(&Packet::PubAck(ack)),
        Qos::ExactlyOnce => wire.put(&Packet::PubRec(ack)),
    };
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
