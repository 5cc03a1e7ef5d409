//! From bytes to packets: takes one packet after the other off the front of a buffer.
//!
//! Only the fixed header (section 2.1 of MQTT 5.0) is judged here; each packet reads its own body. The law: what
//! the first byte or the announced length makes impossible is refused before the rest is waited for.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::DecodeError;
use crate::fields::{Fields, Varint, varint};
use crate::limit::Limits;
use crate::packet::{Packet, PacketType};
use crate::rule::Rule;
use crate::version::{Side, Version};
use crate::{Ack, Auth, ConnAck, Connect, Disconnect, Publish, SubAck, Subscribe, UnsubAck, Unsubscribe};

/// Takes packets off the front of a buffer, for one connection.
///
/// A decoder that has refused something stays refused: after a malformed packet nobody knows where the next one
/// starts.
#[derive(Debug, Clone)]
pub struct Decoder {
    side: Side,
    version: Option<Version>,
    limits: Limits,
    refused: Option<DecodeError>,
}

impl Decoder {
    /// A decoder for one connection, that takes packets of at most `packet_bytes_max` bytes and otherwise has the
    /// default [`Limits`].
    ///
    /// As [`Side::Server`] it learns the version from the CONNECT, which must come first. As [`Side::Client`] it
    /// reads MQTT 5 until [`set_version`](Self::set_version) says otherwise.
    #[must_use]
    pub fn new(side: Side, packet_bytes_max: usize) -> Self {
        Self::with_limits(side, Limits { packet_bytes_max, ..Limits::default() })
    }

    /// As [`new`](Self::new), with every limit chosen.
    #[must_use]
    pub fn with_limits(side: Side, limits: Limits) -> Self {
        let version = match side {
            Side::Server => None,
            Side::Client => Some(Version::V5),
        };
        Self { side, version, limits, refused: None }
    }

    /// On which end of the connection it stands.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// The version of the connection; `None` until a server has read the CONNECT.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Says which version a client has asked for. A server that is told one has seen the CONNECT elsewhere.
    pub fn set_version(&mut self, version: Version) {
        self.version = Some(version);
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Changes the largest packet taken, in bytes: after authentication a server may take more than before.
    pub fn set_packet_bytes_max(&mut self, packet_bytes_max: usize) {
        self.limits.packet_bytes_max = packet_bytes_max;
    }

    /// Takes one packet off the front of `src`; `None`: more bytes are needed, and `src` is unchanged.
    ///
    /// Texts and payloads of the packet share the memory of `src`. No memory is set aside for what is announced:
    /// whoever fills `src` decides how it grows, and never has to hold more than
    /// [`Limits::packet_bytes_max`] bytes for a packet to come out.
    ///
    /// # Errors
    /// [`DecodeError`] says which rule of the standard was broken. The connection is to be closed, after
    /// [`DecodeError::answer`] if there is one; every further call returns the same error.
    pub fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        self.next(src).inspect_err(|error| self.refused = Some(error.clone()))
    }

    fn next(&mut self, src: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
        let Some(&first) = src.first() else { return Ok(None) };
        let packet = self.expect(first)?;
        let (body_bytes, length_bytes, is_minimal) = match varint(&src[1..]) {
            Varint::Value { value, bytes, minimal } => (value, bytes, minimal),
            Varint::Incomplete => return Ok(None),
            Varint::TooLong => return Err(self.error(packet, Rule::LengthMalformed)),
        };
        let packet_bytes = 1 + length_bytes + body_bytes;
        let most = self.limits.packet_bytes_max;
        if packet_bytes > most {
            let detail = Some(format!("{packet_bytes} bytes; the most is {most}").into());
            return Err(DecodeError { detail, ..self.error(packet, Rule::PacketTooLarge) });
        }
        // MQTT 3.1.1 has no rule against padded lengths, and small devices pad them.
        if !is_minimal && self.version == Some(Version::V5) {
            return Err(self.error(packet, Rule::LengthNotMinimal));
        }
        if src.len() < packet_bytes {
            return Ok(None);
        }
        let mut frame = src.split_to(packet_bytes).freeze();
        frame.advance(1 + length_bytes);
        let read = self.body(packet, first & 0x0F, frame)?;
        if let Packet::Connect(connect) = &read {
            if !is_minimal && connect.version == Version::V5 {
                return Err(DecodeError {
                    version: Some(Version::V5),
                    ..self.error(packet, Rule::LengthNotMinimal)
                });
            }
            self.version = Some(connect.version);
        }
        Ok(Some(read))
    }

    /// Judges the first byte: type, flags, who may send it, and whether it may come now.
    fn expect(&self, first: u8) -> Result<PacketType, DecodeError> {
        let packet = match PacketType::from_u8(first >> 4) {
            Some(PacketType::Auth) if self.version == Some(Version::V311) => None,
            packet => packet,
        };
        let Some(packet) = packet else {
            return Err(DecodeError {
                packet: None,
                rule: Rule::PacketTypeReserved,
                version: self.version,
                detail: Some(format!("{}", first >> 4).into()),
                bridge: None,
            });
        };
        let flags = match packet {
            PacketType::Publish => first & 0x0F,
            PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => 0b0010,
            _ => 0,
        };
        let is_from_server = matches!(
            packet,
            PacketType::ConnAck | PacketType::SubAck | PacketType::UnsubAck | PacketType::PingResp
        );
        let is_from_client = matches!(
            packet,
            PacketType::Connect | PacketType::Subscribe | PacketType::Unsubscribe | PacketType::PingReq
        ) || (packet == PacketType::Disconnect && self.version == Some(Version::V311));
        let is_wrong_side = match self.side {
            Side::Server => is_from_server,
            Side::Client => is_from_client,
        };
        let is_connect = packet == PacketType::Connect;
        match self.version {
            None if !is_connect => Err(self.error(packet, Rule::ConnectMissing)),
            _ if is_wrong_side => Err(self.error(packet, Rule::WrongSide)),
            Some(_) if is_connect => Err(self.error(packet, Rule::ConnectTwice)),
            _ if first & 0x0F != flags => Err(self.error(packet, Rule::FlagsReserved)),
            _ => Ok(packet),
        }
    }

    fn body(&self, packet: PacketType, flags: u8, rest: Bytes) -> Result<Packet, DecodeError> {
        // A CONNECT learns its version before it needs it.
        let version = self.version.unwrap_or(Version::V5);
        let fields = Fields { rest, packet, flags, version, side: self.side, limits: &self.limits };
        Ok(match packet {
            PacketType::Publish => Packet::Publish(Publish::read(fields)?),
            PacketType::PubAck => Packet::PubAck(Ack::read(fields)?),
            PacketType::PubRec => Packet::PubRec(Ack::read(fields)?),
            PacketType::PubRel => Packet::PubRel(Ack::read(fields)?),
            PacketType::PubComp => Packet::PubComp(Ack::read(fields)?),
            PacketType::PingReq => {
                fields.finish()?;
                Packet::PingReq
            }
            PacketType::PingResp => {
                fields.finish()?;
                Packet::PingResp
            }
            PacketType::Subscribe => Packet::Subscribe(Subscribe::read(fields)?),
            PacketType::SubAck => Packet::SubAck(SubAck::read(fields)?),
            PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::read(fields)?),
            PacketType::UnsubAck => Packet::UnsubAck(UnsubAck::read(fields)?),
            PacketType::Connect => Packet::Connect(Box::new(Connect::read(fields)?)),
            PacketType::ConnAck => Packet::ConnAck(Box::new(ConnAck::read(fields)?)),
            PacketType::Disconnect => Packet::Disconnect(Disconnect::read(fields)?),
            PacketType::Auth => Packet::Auth(Auth::read(fields)?),
        })
    }

    #[cold]
    fn error(&self, packet: PacketType, rule: Rule) -> DecodeError {
        DecodeError { packet: Some(packet), rule, version: self.version, detail: None, bridge: None }
    }
}
