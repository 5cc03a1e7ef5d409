//! PUBACK, PUBREC, PUBREL and PUBCOMP: four packets of one shape (MQTT 5.0, sections 3.4 to 3.7).

use bytes::BytesMut;
use bytestring::ByteString;

use crate::error::{DecodeError, EncodeError};
use crate::fields::Fields;
use crate::out::{Out, first_byte};
use crate::property::{self, Property, PropertyId};
use crate::{PacketType, Reason, Side, UserProperties, Version};

/// The answer to one packet of a message's way. In MQTT 3.1.1 the reason is always
/// [`Success`](Reason::Success): that version cannot say anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The packet id it answers; never 0.
    pub packet_id: u16,
    /// What became of it.
    pub reason: Reason,
    /// What else is told, if anything is (MQTT 5).
    pub properties: Option<Box<AckProperties>>,
}

impl Ack {
    /// An answer without properties.
    #[must_use]
    pub fn new(packet_id: u16, reason: Reason) -> Self {
        Self { packet_id, reason, properties: None }
    }
}

/// What an answer may tell beside its reason; also of SUBACK and UNSUBACK (MQTT 5.0, section 3.4.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AckProperties {
    /// For a person to read, not for a program to parse.
    pub reason_string: Option<ByteString>,
    /// Names and values.
    pub user: UserProperties,
}

/// Which of the four answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AckType {
    /// Answer to a PUBLISH of QoS 1.
    PubAck,
    /// Answer to a PUBLISH of QoS 2.
    PubRec,
    /// Answer to a PUBREC.
    PubRel,
    /// Answer to a PUBREL.
    PubComp,
}

impl AckType {
    /// The packet's type.
    #[must_use]
    pub const fn packet_type(self) -> PacketType {
        match self {
            Self::PubAck => PacketType::PubAck,
            Self::PubRec => PacketType::PubRec,
            Self::PubRel => PacketType::PubRel,
            Self::PubComp => PacketType::PubComp,
        }
    }
}

/// Appends an answer without properties: four or five bytes, with no detour. This stands on the path of every
/// QoS 1 message.
///
/// MQTT 3.1.1 has no reason here: whatever is no failure is written as the plain answer.
///
/// # Errors
/// [`EncodeError::Invalid`] for the packet id 0 or a reason that this packet cannot carry,
/// [`EncodeError::NotInVersion`] for a failure in MQTT 3.1.1. Nothing is written then.
pub fn encode_ack(
    ack: AckType,
    packet_id: u16,
    reason: Reason,
    version: Version,
    dst: &mut BytesMut,
) -> Result<(), EncodeError> {
    let packet = ack.packet_type();
    let out = Out::measure(packet, version);
    out.refuse_if(packet_id == 0, "the packet id 0")?;
    let first = first_byte(packet, flags(packet));
    let [high, low] = packet_id.to_be_bytes();
    if reason == Reason::Success {
        dst.extend_from_slice(&[first, 2, high, low]);
        return Ok(());
    }
    check(&out, reason)?;
    match version {
        Version::V311 => dst.extend_from_slice(&[first, 2, high, low]),
        Version::V5 => dst.extend_from_slice(&[first, 3, high, low, reason.code()]),
    }
    Ok(())
}

/// The reserved flags of the first byte: PUBREL has 2, the others 0 (MQTT 5.0, section 2.1.3).
const fn flags(packet: PacketType) -> u8 {
    match packet {
        PacketType::PubRel => 0b0010,
        _ => 0,
    }
}

fn check(out: &Out<'_>, reason: Reason) -> Result<(), EncodeError> {
    // What an answer may say does not depend on who sends it.
    out.refuse_if(!reason.is_allowed_in(out.packet, Side::Server), "this reason")?;
    out.needs_v5(reason.is_failure(), "a failure")
}

impl Ack {
    /// Reason and properties may be left out from the end (section 3.4.2.1).
    pub(crate) fn read(mut fields: Fields<'_>) -> Result<Self, DecodeError> {
        let mut ack = Self::new(fields.packet_id()?, Reason::Success);
        if fields.version == Version::V5 && !fields.is_empty() {
            let code = fields.u8()?;
            ack.reason = fields.reason(code)?;
            if !fields.is_empty() {
                ack.properties = AckProperties::read(&mut fields)?;
            }
        }
        fields.finish()?;
        Ok(ack)
    }

    pub(crate) fn write(&self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        check(out, self.reason)?;
        let properties = AckProperties::said(self.properties.as_deref(), out)?;
        out.packet_id(self.packet_id)?;
        if out.version == Version::V311 {
            return Ok(());
        }
        if properties.is_some() || self.reason != Reason::Success {
            out.u8(self.reason.code());
        }
        properties.map_or(Ok(()), |properties| out.properties(|out| properties.write(out)))
    }
}

impl AckProperties {
    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Option<Box<Self>>, DecodeError> {
        let mut read = Self::default();
        property::read(fields, |property| {
            match property {
                Property::ReasonString(text) => read.reason_string = Some(text),
                Property::User(name, value) => read.user.push((name, value)),
                _ => return None,
            }
            Some(Ok(()))
        })?;
        Ok((read != Self::default()).then(|| Box::new(read)))
    }

    /// The properties, if they say anything; refused where the version has none.
    pub(crate) fn said<'a>(
        properties: Option<&'a Self>,
        out: &Out<'_>,
    ) -> Result<Option<&'a Self>, EncodeError> {
        let said = properties.filter(|properties| **properties != Self::default());
        out.needs_v5(said.is_some(), "properties")?;
        Ok(said)
    }

    pub(crate) fn write(&self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        out.property_text(PropertyId::ReasonString, self.reason_string.as_ref())?;
        out.user_properties(&self.user)
    }
}
