//! DISCONNECT and AUTH (MQTT 5.0, sections 3.14 and 3.15; MQTT 3.1.1, section 3.14).

use bytes::Bytes;
use bytestring::ByteString;

use crate::error::{DecodeError, EncodeError};
use crate::fields::Fields;
use crate::out::Out;
use crate::property::{self, Property, PropertyId};
use crate::rule::Rule;
use crate::{Reason, Side, UserProperties, Version};

/// The last packet of a connection. In MQTT 3.1.1 only a client sends it, without a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// Why; [`Success`](Reason::Success) is a normal end.
    pub reason: Reason,
    /// What else is told, if anything is (MQTT 5).
    pub properties: Option<Box<DisconnectProperties>>,
}

impl Disconnect {
    /// An end without properties.
    #[must_use]
    pub fn new(reason: Reason) -> Self {
        Self { reason, properties: None }
    }
}

/// What may come with a DISCONNECT (MQTT 5.0, section 3.14.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DisconnectProperties {
    /// A new time for the session to outlive the connection, in seconds; from clients only.
    pub session_expiry_s: Option<u32>,
    /// For a person to read.
    pub reason_string: Option<ByteString>,
    /// Names and values.
    pub user: UserProperties,
    /// Another server to use.
    pub server_reference: Option<ByteString>,
}

/// One step of an extended authentication (MQTT 5.0, section 4.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Where the exchange stands.
    pub reason: Reason,
    /// Method and data.
    pub properties: Option<Box<AuthProperties>>,
}

/// What comes with an AUTH (MQTT 5.0, section 3.15.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthProperties {
    /// The method, the same through the whole exchange.
    pub method: Option<ByteString>,
    /// What the method says.
    pub data: Option<Bytes>,
    /// For a person to read.
    pub reason_string: Option<ByteString>,
    /// Names and values.
    pub user: UserProperties,
}

impl Disconnect {
    /// Reason and properties may be left out from the end (section 3.14.2.1).
    pub(crate) fn read(mut fields: Fields<'_>) -> Result<Self, DecodeError> {
        let mut disconnect = Self::new(Reason::Success);
        if fields.version == Version::V5 && !fields.is_empty() {
            let code = fields.u8()?;
            disconnect.reason = fields.reason(code)?;
            if !fields.is_empty() {
                disconnect.properties = DisconnectProperties::read(&mut fields)?;
            }
        }
        fields.finish()?;
        Ok(disconnect)
    }

    pub(crate) fn write(&self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        let said =
            self.properties.as_deref().filter(|properties| **properties != DisconnectProperties::default());
        out.needs_v5(said.is_some(), "properties")?;
        out.needs_v5(self.reason != Reason::Success, "a reason")?;
        let is_allowed =
            [Side::Client, Side::Server].iter().any(|&side| self.reason.is_allowed_in(out.packet, side));
        out.refuse_if(!is_allowed, "this reason")?;
        if said.is_some() || self.reason != Reason::Success {
            out.u8(self.reason.code());
        }
        said.map_or(Ok(()), |properties| out.properties(|out| properties.write(out)))
    }
}

impl DisconnectProperties {
    fn read(fields: &mut Fields<'_>) -> Result<Option<Box<Self>>, DecodeError> {
        let sender = fields.sender();
        let mut read = Self::default();
        property::read(fields, |property| {
            match property {
                Property::SessionExpiryInterval(_) if sender == Side::Server => {
                    return Some(Err(Rule::SessionExpiryFromServer));
                }
                Property::SessionExpiryInterval(seconds) => read.session_expiry_s = Some(seconds),
                Property::ReasonString(text) => read.reason_string = Some(text),
                Property::User(name, value) => read.user.push((name, value)),
                Property::ServerReference(text) => read.server_reference = Some(text),
                _ => return None,
            }
            Some(Ok(()))
        })?;
        Ok((read != Self::default()).then(|| Box::new(read)))
    }

    fn write(&self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        if let Some(seconds) = self.session_expiry_s {
            out.property_u32(PropertyId::SessionExpiryInterval, seconds);
        }
        out.property_text(PropertyId::ServerReference, self.server_reference.as_ref())?;
        out.property_text(PropertyId::ReasonString, self.reason_string.as_ref())?;
        out.user_properties(&self.user)
    }
}

impl Auth {
    /// A success without properties may be empty (section 3.15.2.1); otherwise the method must be there.
    pub(crate) fn read(mut fields: Fields<'_>) -> Result<Self, DecodeError> {
        if fields.is_empty() {
            let reason = fields.reason(Reason::Success.code())?;
            return Ok(Self { reason, properties: None });
        }
        let code = fields.u8()?;
        let reason = fields.reason(code)?;
        let properties = AuthProperties::read(&mut fields)?;
        if properties.as_ref().is_none_or(|properties| properties.method.is_none()) {
            return Err(fields.error(Rule::AuthMethodMissing));
        }
        fields.finish()?;
        Ok(Self { reason, properties })
    }

    pub(crate) fn write(&self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        out.needs_v5(true, "anything")?;
        let is_allowed =
            [Side::Client, Side::Server].iter().any(|&side| self.reason.is_allowed_in(out.packet, side));
        out.refuse_if(!is_allowed, "this reason")?;
        let default = AuthProperties::default();
        let properties = self.properties.as_deref().unwrap_or(&default);
        if self.reason == Reason::Success && *properties == default {
            return Ok(());
        }
        out.refuse_if(properties.method.is_none(), "no method")?;
        out.u8(self.reason.code());
        out.properties(|out| properties.write(out))
    }
}

impl AuthProperties {
    fn read(fields: &mut Fields<'_>) -> Result<Option<Box<Self>>, DecodeError> {
        let mut read = Self::default();
        property::read(fields, |property| {
            match property {
                Property::AuthenticationMethod(text) => read.method = Some(text),
                Property::AuthenticationData(data) => read.data = Some(data),
                Property::ReasonString(text) => read.reason_string = Some(text),
                Property::User(name, value) => read.user.push((name, value)),
                _ => return None,
            }
            Some(Ok(()))
        })?;
        Ok((read != Self::default()).then(|| Box::new(read)))
    }

    fn write(&self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        out.property_text(PropertyId::AuthenticationMethod, self.method.as_ref())?;
        out.property_binary(PropertyId::AuthenticationData, self.data.as_ref())?;
        out.property_text(PropertyId::ReasonString, self.reason_string.as_ref())?;
        out.user_properties(&self.user)
    }
}
