//! One PUBLISH for many subscribers: encoded once, completed with a packet id per delivery.
//!
//! Not here: the dup flag, which belongs to a repeat, and topic aliases, which belong to a connection: whoever
//! needs those encodes a [`Publish`](crate::Publish). The law: what a template writes is what [`encode`](crate::encode())
//! would have written.

use bytes::{BufMut, Bytes, BytesMut};
use model::{Properties, Qos, TopicName};

use crate::error::EncodeError;
use crate::limit::VARINT_MAX;
use crate::out::{Out, first_byte, varint};
use crate::packet::PacketType;
use crate::publish::{publish_flags, write_message};
use crate::version::Version;

/// What the deliveries of one message to subscribers of one kind have in common.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// Where it was published.
    pub topic: &'a TopicName,
    /// The QoS of these deliveries.
    pub qos: Qos,
    /// The retain flag of these deliveries.
    pub retain: bool,
    /// Seconds that it has left. MQTT 5 only: left out in MQTT 3.1.1, which has no place for it.
    pub expiry_s: Option<u32>,
    /// Identifiers of the matching subscriptions; left out in MQTT 3.1.1.
    pub subscription_ids: &'a [u32],
    /// What the publisher attached; left out in MQTT 3.1.1.
    pub attached: Option<&'a Properties>,
    /// What it carries.
    pub payload: &'a Bytes,
}

/// Payloads up to this size stand behind their header in one piece of memory: for small messages a second piece, and a
/// count of who shares it, cost more than the copy.
const JOINED_BYTES_MAX: usize = 1024;

/// A PUBLISH that wants a packet id only. Cheap to clone: header and payload are shared.
#[derive(Debug, Clone)]
pub struct PublishTemplate {
    /// Everything before the payload, with zeros in place of the packet id, and behind it a small payload.
    head: Bytes,
    /// Where the payload begins in `head`, if it is there.
    head_bytes: usize,
    /// Where the packet id stands in `head`; `None` with QoS 0.
    packet_id_at: Option<usize>,
    /// A large payload.
    tail: Bytes,
}

impl PublishTemplate {
    /// Encodes what all these deliveries share, for receivers of `version`.
    ///
    /// # Errors
    /// [`EncodeError`] for a text with U+0000 or of more than 65,535 bytes among the attached, a subscription
    /// identifier out of range, or a packet above the protocol's 256 MB.
    pub fn new(delivery: &Delivery<'_>, version: Version) -> Result<Self, EncodeError> {
        let packet = PacketType::Publish;
        let properties = |out: &mut Out<'_>| {
            write_message(out, delivery.expiry_s, delivery.attached, delivery.subscription_ids)
        };
        let variable = |out: &mut Out<'_>| {
            out.binary("topic", delivery.topic.as_bytes())?;
            if delivery.qos != Qos::AtMostOnce {
                out.u16(0);
            }
            if version == Version::V5 { out.properties(properties) } else { Ok(()) }
        };
        let mut measured = Out::measure(packet, version);
        variable(&mut measured)?;
        let body_bytes = measured.bytes() + delivery.payload.len();
        if body_bytes > VARINT_MAX {
            return Err(EncodeError::TooLarge { packet, bytes: body_bytes, bytes_max: VARINT_MAX });
        }
        let (length, length_bytes) = varint(body_bytes);
        let is_joined = delivery.payload.len() <= JOINED_BYTES_MAX;
        let head_bytes = 1 + length_bytes + measured.bytes();
        let joined_bytes = if is_joined { delivery.payload.len() } else { 0 };
        let mut head = BytesMut::with_capacity(head_bytes + joined_bytes);
        head.put_u8(first_byte(packet, publish_flags(false, delivery.qos, delivery.retain)));
        head.extend_from_slice(&length[..length_bytes]);
        let packet_id_at = (delivery.qos != Qos::AtMostOnce).then_some(head.len() + 2 + delivery.topic.len());
        variable(&mut Out::write(packet, version, &mut head))?;
        let tail = if is_joined {
            head.extend_from_slice(delivery.payload);
            Bytes::new()
        } else {
            delivery.payload.clone()
        };
        Ok(Self { head: head.freeze(), head_bytes, packet_id_at, tail })
    }

    /// Length of the packet in bytes: to be held against the receiver's Maximum Packet Size.
    #[must_use]
    pub fn packet_bytes(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Whether a delivery needs a packet id: QoS 1 and 2.
    #[must_use]
    pub fn needs_packet_id(&self) -> bool {
        self.packet_id_at.is_some()
    }

    /// Appends the whole packet to `dst`. `packet_id` is 0 with QoS 0.
    ///
    /// # Panics
    /// When `packet_id` is 0 and the QoS is not, or the other way round: the caller has mixed up deliveries.
    pub fn write(&self, packet_id: u16, dst: &mut BytesMut) {
        dst.reserve(self.packet_bytes());
        self.write_part(packet_id, self.head.len(), dst);
        dst.extend_from_slice(&self.tail);
    }

    /// Appends everything before the payload to `dst`, for whoever writes the shared
    /// [`payload`](Self::payload) from where it is.
    ///
    /// # Panics
    /// As [`write`](Self::write).
    pub fn write_head(&self, packet_id: u16, dst: &mut BytesMut) {
        self.write_part(packet_id, self.head_bytes, dst);
    }

    fn write_part(&self, packet_id: u16, bytes: usize, dst: &mut BytesMut) {
        assert_eq!(
            packet_id != 0,
            self.needs_packet_id(),
            "packet id {packet_id} does not go with the QoS of this delivery"
        );
        match self.packet_id_at {
            None => dst.extend_from_slice(&self.head[..bytes]),
            Some(at) => {
                let start = dst.len();
                dst.extend_from_slice(&self.head[..bytes]);
                dst[start + at..start + at + 2].copy_from_slice(&packet_id.to_be_bytes());
            }
        }
    }

    /// Whether a message of so many bytes is copied when its template is made, so that the template shares nothing with it.
    #[must_use]
    pub fn copies(payload_bytes: usize) -> bool {
        payload_bytes <= JOINED_BYTES_MAX
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        if self.head.len() > self.head_bytes { self.head.slice(self.head_bytes..) } else { self.tail.clone() }
    }
}
