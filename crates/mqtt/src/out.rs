//! Where a packet is written, or only measured: the same code does both, so that a length is never wrong.

use bytes::{BufMut, BytesMut};

use crate::UserProperties;
use crate::error::EncodeError;
use crate::limit::{FIELD_BYTES_MAX, VARINT_MAX};
use crate::packet::PacketType;
use crate::property::PropertyId;
use crate::version::Version;

/// The body of one packet on its way out. Without a buffer it is only measured.
pub(crate) struct Out<'a> {
    dst: Option<&'a mut BytesMut>,
    bytes: usize,
    pub(crate) packet: PacketType,
    pub(crate) version: Version,
}

type Written = Result<(), EncodeError>;

impl<'a> Out<'a> {
    /// Measures.
    pub(crate) fn measure(packet: PacketType, version: Version) -> Self {
        Self { dst: None, bytes: 0, packet, version }
    }

    /// Writes.
    pub(crate) fn write(packet: PacketType, version: Version, dst: &'a mut BytesMut) -> Self {
        Self { dst: Some(dst), bytes: 0, packet, version }
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn raw(&mut self, slice: &[u8]) {
        self.bytes += slice.len();
        if let Some(dst) = &mut self.dst {
            dst.extend_from_slice(slice);
        }
    }

    pub(crate) fn u8(&mut self, number: u8) {
        self.raw(&[number]);
    }

    pub(crate) fn u16(&mut self, number: u16) {
        self.raw(&number.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, number: u32) {
        self.raw(&number.to_be_bytes());
    }

    pub(crate) fn varint(&mut self, number: usize) {
        let (bytes, len) = varint(number);
        self.raw(&bytes[..len]);
    }

    pub(crate) fn binary(&mut self, what: &'static str, field: &[u8]) -> Written {
        match u16::try_from(field.len()) {
            Ok(bytes) => {
                self.u16(bytes);
                self.raw(field);
                Ok(())
            }
            Err(_) => Err(EncodeError::FieldTooLong { packet: self.packet, what, bytes: field.len() }),
        }
    }

    pub(crate) fn text(&mut self, what: &'static str, text: &str) -> Written {
        if text.as_bytes().contains(&0) {
            return Err(self.invalid("a text with the character U+0000"));
        }
        self.binary(what, text.as_bytes())
    }

    pub(crate) fn packet_id(&mut self, id: u16) -> Written {
        if id == 0 {
            return Err(self.invalid("the packet id 0"));
        }
        self.u16(id);
        Ok(())
    }

    /// A section of properties: its length, and what `write` writes.
    pub(crate) fn properties(&mut self, write: impl Fn(&mut Out<'_>) -> Written) -> Written {
        let mut measured = Out::measure(self.packet, self.version);
        write(&mut measured)?;
        self.varint(measured.bytes);
        if self.dst.is_none() {
            self.bytes += measured.bytes;
            return Ok(());
        }
        write(self)
    }

    pub(crate) fn property_u8(&mut self, id: PropertyId, number: u8) {
        self.raw(&[id as u8, number]);
    }

    pub(crate) fn property_u16(&mut self, id: PropertyId, number: u16) {
        self.u8(id as u8);
        self.u16(number);
    }

    pub(crate) fn property_u32(&mut self, id: PropertyId, number: u32) {
        self.u8(id as u8);
        self.u32(number);
    }

    pub(crate) fn property_text(&mut self, id: PropertyId, text: Option<&bytestring::ByteString>) -> Written {
        let Some(text) = text else { return Ok(()) };
        self.u8(id as u8);
        self.text(id.name(), text)
    }

    pub(crate) fn property_binary(&mut self, id: PropertyId, field: Option<&bytes::Bytes>) -> Written {
        let Some(field) = field else { return Ok(()) };
        self.u8(id as u8);
        self.binary(id.name(), field)
    }

    pub(crate) fn user_properties(&mut self, user: &UserProperties) -> Written {
        user.iter().try_for_each(|(name, value)| {
            self.u8(PropertyId::UserProperty as u8);
            self.text("user property name", name)?;
            self.text("user property value", value)
        })
    }

    /// Refuses what MQTT 3.1.1 cannot say, when that is the version.
    pub(crate) fn needs_v5(&self, is_said: bool, what: &'static str) -> Written {
        match self.version {
            Version::V311 if is_said => {
                Err(EncodeError::NotInVersion { version: self.version, packet: self.packet, what })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn refuse_if(&self, is_wrong: bool, what: &'static str) -> Written {
        if is_wrong { Err(self.invalid(what)) } else { Ok(()) }
    }

    #[cold]
    fn invalid(&self, what: &'static str) -> EncodeError {
        EncodeError::Invalid { packet: self.packet, what }
    }
}

/// Writes a whole packet: measures its body, refuses what is too large, then writes. Nothing is written when
/// anything is refused.
pub(crate) fn frame(
    packet: PacketType,
    flags: u8,
    version: Version,
    packet_bytes_max: usize,
    dst: &mut BytesMut,
    body: impl Fn(&mut Out<'_>) -> Written,
) -> Written {
    let mut measured = Out::measure(packet, version);
    body(&mut measured)?;
    let (length, length_bytes) = varint(measured.bytes);
    let bytes = 1 + length_bytes + measured.bytes;
    if measured.bytes > VARINT_MAX || bytes > packet_bytes_max {
        return Err(EncodeError::TooLarge { packet, bytes, bytes_max: packet_bytes_max.min(VARINT_MAX) });
    }
    dst.reserve(bytes);
    dst.put_u8(first_byte(packet, flags));
    dst.extend_from_slice(&length[..length_bytes]);
    body(&mut Out::write(packet, version, dst))
}

/// The first byte of a packet: type and flags (MQTT 5.0, section 2.1.1).
pub(crate) const fn first_byte(packet: PacketType, flags: u8) -> u8 {
    (packet as u8) << 4 | flags
}

/// A Variable Byte Integer and how many of the bytes it takes (MQTT 5.0, section 1.5.5). Numbers above
/// [`VARINT_MAX`] take more than the four bytes; whoever writes one refuses them before.
pub(crate) const fn varint(number: usize) -> ([u8; 4], usize) {
    let mut bytes = [0; 4];
    let mut left = number;
    let mut n = 0;
    while n < 4 {
        bytes[n] = (left & 0x7F) as u8;
        left >>= 7;
        if left == 0 {
            return (bytes, n + 1);
        }
        bytes[n] |= 0x80;
        n += 1;
    }
    (bytes, 4)
}

const _: () = assert!(FIELD_BYTES_MAX == u16::MAX as usize);
