//! From packets to bytes.

use bytes::BytesMut;

use crate::error::EncodeError;
use crate::limit::VARINT_MAX;
use crate::out::{Out, frame};
use crate::packet::Packet;
use crate::version::Version;

/// Appends `packet` to `dst` as `version` writes it.
///
/// Reasons are translated where MQTT 3.1.1 has fewer: CONNACK by [`Reason::connack_v311`](crate::Reason::connack_v311),
/// a failure in SUBACK is 0x80, an answer that is no failure is the plain one, an UNSUBACK has none.
///
/// # Errors
/// [`EncodeError`] when the version cannot say it or the standard does not allow it. Nothing is written then.
pub fn encode(packet: &Packet, version: Version, dst: &mut BytesMut) -> Result<(), EncodeError> {
    // The largest body, the first byte, and the four bytes of the length.
    encode_within(packet, version, VARINT_MAX + 5, dst)
}

/// As [`encode`], for a receiver that takes packets of at most `packet_bytes_max` bytes (MQTT 5.0, section
/// 3.1.2.11.4). What is only for a person to read, the reason string and the user properties of an answer, is
/// left out when the packet would be too large with it (MQTT-3.2.2-19, MQTT-3.4.2-2 and their likes).
///
/// # Errors
/// [`EncodeError`]; [`EncodeError::TooLarge`] when even that is too large. Nothing is written then.
pub fn encode_within(
    packet: &Packet,
    version: Version,
    packet_bytes_max: usize,
    dst: &mut BytesMut,
) -> Result<(), EncodeError> {
    match write(packet, version, packet_bytes_max, dst) {
        Err(error @ EncodeError::TooLarge { .. }) => match without_explanation(packet) {
            Some(shorter) => write(&shorter, version, packet_bytes_max, dst),
            None => Err(error),
        },
        written => written,
    }
}

fn write(packet: &Packet, version: Version, most: usize, dst: &mut BytesMut) -> Result<(), EncodeError> {
    let flags = match packet {
        Packet::Publish(publish) => publish.flags(),
        Packet::PubRel(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) => 0b0010,
        _ => 0,
    };
    frame(packet.packet_type(), flags, version, most, dst, |out| body(packet, out))
}

fn body(packet: &Packet, out: &mut Out<'_>) -> Result<(), EncodeError> {
    match packet {
        Packet::Connect(connect) => connect.write(out),
        Packet::ConnAck(connack) => connack.write(out),
        Packet::Publish(publish) => publish.write(out),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            ack.write(out)
        }
        Packet::Subscribe(subscribe) => subscribe.write(out),
        Packet::SubAck(suback) => suback.write(out),
        Packet::Unsubscribe(unsubscribe) => unsubscribe.write(out),
        Packet::UnsubAck(unsuback) => unsuback.write(out),
        Packet::PingReq | Packet::PingResp => Ok(()),
        Packet::Disconnect(disconnect) => disconnect.write(out),
        Packet::Auth(auth) => auth.write(out),
    }
}

/// The packet without its reason string and user properties; `None` where they are no mere explanation.
fn without_explanation(packet: &Packet) -> Option<Packet> {
    let mut packet = packet.clone();
    match &mut packet {
        Packet::ConnAck(connack) => {
            connack.properties.reason_string = None;
            connack.properties.user = Vec::new();
        }
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            ack.properties = None;
        }
        Packet::SubAck(suback) => suback.properties = None,
        Packet::UnsubAck(unsuback) => unsuback.properties = None,
        Packet::Disconnect(disconnect) => {
            let properties = disconnect.properties.as_mut()?;
            properties.reason_string = None;
            properties.user = Vec::new();
        }
        Packet::Auth(auth) => {
            let properties = auth.properties.as_mut()?;
            properties.reason_string = None;
            properties.user = Vec::new();
        }
        _ => return None,
    }
    Some(packet)
}
