//! SUBACK and UNSUBACK: what became of each filter (sections 3.9 and 3.11 of both standards).

use crate::error::{DecodeError, EncodeError};
use crate::fields::Fields;
use crate::out::Out;
use crate::rule::Rule;
use crate::{AckProperties, Reason, Side, Version};

/// What became of each filter of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// The packet id of the SUBSCRIBE; never 0.
    pub packet_id: u16,
    /// One per filter, in their order. On the wire of MQTT 3.1.1 every failure is 0x80.
    pub reasons: Vec<Reason>,
    /// What else is told, if anything is (MQTT 5).
    pub properties: Option<Box<AckProperties>>,
}

/// What became of each filter of an UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck {
    /// The packet id of the UNSUBSCRIBE; never 0.
    pub packet_id: u16,
    /// One per filter, in their order. MQTT 3.1.1 does not tell: not written, and read as empty.
    pub reasons: Vec<Reason>,
    /// What else is told, if anything is (MQTT 5).
    pub properties: Option<Box<AckProperties>>,
}

impl SubAck {
    pub(crate) fn read(mut fields: Fields<'_>) -> Result<Self, DecodeError> {
        let packet_id = fields.packet_id()?;
        let properties = match fields.version {
            Version::V311 => None,
            Version::V5 => AckProperties::read(&mut fields)?,
        };
        let reasons = read_reasons(fields)?;
        Ok(Self { packet_id, reasons, properties })
    }

    pub(crate) fn write(&self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        let properties = AckProperties::said(self.properties.as_deref(), out)?;
        out.packet_id(self.packet_id)?;
        if out.version == Version::V5 {
            out.properties(|out| properties.map_or(Ok(()), |properties| properties.write(out)))?;
        }
        out.refuse_if(self.reasons.is_empty(), "no code")?;
        for reason in &self.reasons {
            out.refuse_if(!reason.is_allowed_in(out.packet, Side::Server), "this reason")?;
            out.u8(match out.version {
                Version::V311 if reason.is_failure() => Reason::Unspecified.code(),
                _ => reason.code(),
            });
        }
        Ok(())
    }
}

impl UnsubAck {
    pub(crate) fn read(mut fields: Fields<'_>) -> Result<Self, DecodeError> {
        let packet_id = fields.packet_id()?;
        if fields.version == Version::V311 {
            fields.finish()?;
            return Ok(Self { packet_id, reasons: Vec::new(), properties: None });
        }
        let properties = AckProperties::read(&mut fields)?;
        let reasons = read_reasons(fields)?;
        Ok(Self { packet_id, reasons, properties })
    }

    pub(crate) fn write(&self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        let properties = AckProperties::said(self.properties.as_deref(), out)?;
        out.packet_id(self.packet_id)?;
        if out.version == Version::V311 {
            return Ok(());
        }
        out.properties(|out| properties.map_or(Ok(()), |properties| properties.write(out)))?;
        out.refuse_if(self.reasons.is_empty(), "no code")?;
        for reason in &self.reasons {
            out.refuse_if(!reason.is_allowed_in(out.packet, Side::Server), "this reason")?;
            out.u8(reason.code());
        }
        Ok(())
    }
}

/// Reads codes to the end of the packet: as many as there may be filters.
fn read_reasons(mut fields: Fields<'_>) -> Result<Vec<Reason>, DecodeError> {
    if fields.is_empty() {
        return Err(fields.error(Rule::ReasonsMissing));
    }
    if fields.rest.len() > fields.limits.filters_max {
        let most = fields.limits.filters_max;
        return Err(fields.error_with(Rule::FiltersTooMany, format!("the most is {most}")));
    }
    let codes = std::mem::take(&mut fields.rest);
    codes
        .iter()
        .map(|&code| match (fields.version, code) {
            (Version::V311, 0x81..) => {
                Err(fields.error_with(Rule::ReasonNotAllowed, format!("0x{code:02x}")))
            }
            _ => fields.reason(code),
        })
        .collect()
}
