//! CONNACK: the server's answer to CONNECT (section 3.2 of both standards).

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use bytestring::ByteString;
use model::Qos;

use crate::error::{DecodeError, EncodeError};
use crate::fields::Fields;
use crate::out::Out;
use crate::property::{self, Property, PropertyId};
use crate::rule::Rule;
use crate::{Reason, Side, UserProperties, Version};

/// The server's answer to CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server goes on with a session it has kept; never with a refusal.
    pub session_present: bool,
    /// Accepted, or why not. MQTT 3.1.1 has five refusals: [`Reason::connack_v311`].
    pub reason: Reason,
    /// The rest; the defaults in MQTT 3.1.1.
    pub properties: ConnAckProperties,
}

impl ConnAck {
    /// A refusal, without properties.
    #[must_use]
    pub fn refusal(reason: Reason) -> Self {
        Self { session_present: false, reason, properties: ConnAckProperties::default() }
    }
}

/// What a server says of itself at CONNACK (MQTT 5.0, section 3.2.2.3). Absent properties have the value that the
/// standard gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAckProperties {
    /// How long the session outlives the connection, in seconds, when it is not what the client asked for.
    pub session_expiry_s: Option<u32>,
    /// How many QoS 1 and 2 messages the server takes before it acknowledges. Default 65,535.
    pub receive_maximum: NonZeroU16,
    /// The highest QoS the server takes. Default: 2.
    pub qos_max: Qos,
    /// Whether the server keeps retained messages. Default true.
    pub retain_available: bool,
    /// The largest packet the server takes, in bytes, fixed header included. Default: no bound.
    pub packet_bytes_max: Option<NonZeroU32>,
    /// The client id that the server chose for a client that named none.
    pub assigned_client_id: Option<ByteString>,
    /// How many topic aliases the client may use. Default 0.
    pub topic_alias_max: u16,
    /// For a person to read.
    pub reason_string: Option<ByteString>,
    /// Names and values.
    pub user: UserProperties,
    /// Whether `+` and `#` may be subscribed to. Default true.
    pub wildcards_available: bool,
    /// Whether subscriptions may have identifiers. Default true.
    pub subscription_ids_available: bool,
    /// Whether subscriptions may be shared. Default true.
    pub shared_available: bool,
    /// The keep-alive the client must use instead of its own, in seconds.
    pub server_keep_alive_s: Option<u16>,
    /// What to build response topics from.
    pub response_information: Option<ByteString>,
    /// Another server to use.
    pub server_reference: Option<ByteString>,
    /// Method of the extended authentication.
    pub auth_method: Option<ByteString>,
    /// Its data; only with a method.
    pub auth_data: Option<Bytes>,
}

impl Default for ConnAckProperties {
    fn default() -> Self {
        Self {
            session_expiry_s: None,
            receive_maximum: NonZeroU16::MAX,
            qos_max: Qos::ExactlyOnce,
            retain_available: true,
            packet_bytes_max: None,
            assigned_client_id: None,
            topic_alias_max: 0,
            reason_string: None,
            user: Vec::new(),
            wildcards_available: true,
            subscription_ids_available: true,
            shared_available: true,
            server_keep_alive_s: None,
            response_information: None,
            server_reference: None,
            auth_method: None,
            auth_data: None,
        }
    }
}

impl ConnAck {
    pub(crate) fn read(mut fields: Fields<'_>) -> Result<Self, DecodeError> {
        let flags = fields.u8()?;
        if flags & 0xFE != 0 {
            return Err(fields.error(Rule::ConnAckFlagsReserved));
        }
        let code = fields.u8()?;
        // A server of 3.1.1 refuses a CONNECT of MQTT 5 in its own form (MQTT 3.1.1, MQTT-3.1.2-2).
        let is_v311_form = fields.version == Version::V311 || (code == 1 && fields.is_empty());
        let reason = match is_v311_form {
            true => Reason::from_connack_v311(code)
                .ok_or_else(|| fields.error_with(Rule::ReasonNotAllowed, format!("0x{code:02x}")))?,
            false => fields.reason(code)?,
        };
        let session_present = flags == 1;
        if session_present && reason != Reason::Success {
            return Err(fields.error(Rule::SessionPresentOnRefusal));
        }
        let properties =
            if is_v311_form { ConnAckProperties::default() } else { ConnAckProperties::read(&mut fields)? };
        fields.finish()?;
        Ok(Self { session_present, reason, properties })
    }

    pub(crate) fn write(&self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        out.refuse_if(!self.reason.is_allowed_in(out.packet, Side::Server), "this reason")?;
        out.refuse_if(
            self.session_present && self.reason != Reason::Success,
            "a session present on refusal",
        )?;
        out.u8(u8::from(self.session_present));
        match (out.version, self.reason.connack_v311()) {
            (Version::V5, _) => {
                out.u8(self.reason.code());
                out.properties(|out| self.properties.write(out))
            }
            (Version::V311, Some(code)) => {
                out.needs_v5(self.properties != ConnAckProperties::default(), "properties")?;
                out.u8(code);
                Ok(())
            }
            (Version::V311, None) => out.needs_v5(true, "this reason"),
        }
    }
}

impl ConnAckProperties {
    fn read(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let mut read = Self::default();
        property::read(fields, |property| {
            match property {
                Property::SessionExpiryInterval(seconds) => read.session_expiry_s = Some(seconds),
                Property::ReceiveMaximum(most) => read.receive_maximum = most,
                Property::MaximumQos(is_one) => {
                    read.qos_max = if is_one { Qos::AtLeastOnce } else { Qos::AtMostOnce };
                }
                Property::RetainAvailable(available) => read.retain_available = available,
                Property::MaximumPacketSize(bytes) => read.packet_bytes_max = Some(bytes),
                Property::AssignedClientIdentifier(text) => read.assigned_client_id = Some(text),
                Property::TopicAliasMaximum(most) => read.topic_alias_max = most,
                Property::ReasonString(text) => read.reason_string = Some(text),
                Property::User(name, value) => read.user.push((name, value)),
                Property::WildcardSubscriptionAvailable(available) => read.wildcards_available = available,
                Property::SubscriptionIdentifierAvailable(available) => {
                    read.subscription_ids_available = available;
                }
                Property::SharedSubscriptionAvailable(available) => read.shared_available = available,
                Property::ServerKeepAlive(seconds) => read.server_keep_alive_s = Some(seconds),
                Property::ResponseInformation(text) => read.response_information = Some(text),
                Property::ServerReference(text) => read.server_reference = Some(text),
                Property::AuthenticationMethod(text) => read.auth_method = Some(text),
                Property::AuthenticationData(data) => read.auth_data = Some(data),
                _ => return None,
            }
            Some(Ok(()))
        })?;
        if read.auth_data.is_some() && read.auth_method.is_none() {
            return Err(fields.error(Rule::AuthMethodMissing));
        }
        Ok(read)
    }

    fn write(&self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        out.refuse_if(
            self.auth_data.is_some() && self.auth_method.is_none(),
            "authentication data without its method",
        )?;
        if let Some(seconds) = self.session_expiry_s {
            out.property_u32(PropertyId::SessionExpiryInterval, seconds);
        }
        if self.receive_maximum != NonZeroU16::MAX {
            out.property_u16(PropertyId::ReceiveMaximum, self.receive_maximum.get());
        }
        if self.qos_max != Qos::ExactlyOnce {
            out.property_u8(PropertyId::MaximumQos, self.qos_max as u8);
        }
        if let Some(bytes) = self.packet_bytes_max {
            out.property_u32(PropertyId::MaximumPacketSize, bytes.get());
        }
        if self.topic_alias_max != 0 {
            out.property_u16(PropertyId::TopicAliasMaximum, self.topic_alias_max);
        }
        if let Some(seconds) = self.server_keep_alive_s {
            out.property_u16(PropertyId::ServerKeepAlive, seconds);
        }
        // All of these are true unless the server says otherwise.
        for (available, id) in [
            (self.retain_available, PropertyId::RetainAvailable),
            (self.wildcards_available, PropertyId::WildcardSubscriptionAvailable),
            (self.subscription_ids_available, PropertyId::SubscriptionIdentifierAvailable),
            (self.shared_available, PropertyId::SharedSubscriptionAvailable),
        ] {
            if !available {
                out.property_u8(id, 0);
            }
        }
        out.property_text(PropertyId::AssignedClientIdentifier, self.assigned_client_id.as_ref())?;
        out.property_text(PropertyId::ResponseInformation, self.response_information.as_ref())?;
        out.property_text(PropertyId::ServerReference, self.server_reference.as_ref())?;
        out.property_text(PropertyId::AuthenticationMethod, self.auth_method.as_ref())?;
        out.property_binary(PropertyId::AuthenticationData, self.auth_data.as_ref())?;
        out.property_text(PropertyId::ReasonString, self.reason_string.as_ref())?;
        out.user_properties(&self.user)
    }
}
