//! The twenty-seven properties of MQTT 5 (section 2.2.2.2): numbers, names, and the type of each value.
//!
//! Which packet carries which property is told by that packet's `match`; what it does not name it refuses.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use bytestring::ByteString;
use model::TopicName;

use crate::error::DecodeError;
use crate::fields::Fields;
use crate::rule::Rule;

macro_rules! properties {
    ($($name:ident = $id:literal, $text:literal;)*) => {
        /// The number of a property on the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum PropertyId {
            $($name = $id,)*
        }

        impl PropertyId {
            fn from_number(number: usize) -> Option<Self> {
                match number {
                    $($id => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The standard's name.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

properties! {
    PayloadFormatIndicator = 0x01, "Payload Format Indicator";
    MessageExpiryInterval = 0x02, "Message Expiry Interval";
    ContentType = 0x03, "Content Type";
    ResponseTopic = 0x08, "Response Topic";
    CorrelationData = 0x09, "Correlation Data";
    SubscriptionIdentifier = 0x0B, "Subscription Identifier";
    SessionExpiryInterval = 0x11, "Session Expiry Interval";
    AssignedClientIdentifier = 0x12, "Assigned Client Identifier";
    ServerKeepAlive = 0x13, "Server Keep Alive";
    AuthenticationMethod = 0x15, "Authentication Method";
    AuthenticationData = 0x16, "Authentication Data";
    RequestProblemInformation = 0x17, "Request Problem Information";
    WillDelayInterval = 0x18, "Will Delay Interval";
    RequestResponseInformation = 0x19, "Request Response Information";
    ResponseInformation = 0x1A, "Response Information";
    ServerReference = 0x1C, "Server Reference";
    ReasonString = 0x1F, "Reason String";
    ReceiveMaximum = 0x21, "Receive Maximum";
    TopicAliasMaximum = 0x22, "Topic Alias Maximum";
    TopicAlias = 0x23, "Topic Alias";
    MaximumQos = 0x24, "Maximum QoS";
    RetainAvailable = 0x25, "Retain Available";
    UserProperty = 0x26, "User Property";
    MaximumPacketSize = 0x27, "Maximum Packet Size";
    WildcardSubscriptionAvailable = 0x28, "Wildcard Subscription Available";
    SubscriptionIdentifierAvailable = 0x29, "Subscription Identifier Available";
    SharedSubscriptionAvailable = 0x2A, "Shared Subscription Available";
}

/// One property with its checked value.
#[derive(Debug)]
pub(crate) enum Property {
    PayloadFormatIndicator(bool),
    MessageExpiryInterval(u32),
    ContentType(ByteString),
    ResponseTopic(TopicName),
    CorrelationData(Bytes),
    SubscriptionIdentifier(NonZeroU32),
    SessionExpiryInterval(u32),
    AssignedClientIdentifier(ByteString),
    ServerKeepAlive(u16),
    AuthenticationMethod(ByteString),
    AuthenticationData(Bytes),
    RequestProblemInformation(bool),
    WillDelayInterval(u32),
    RequestResponseInformation(bool),
    ResponseInformation(ByteString),
    ServerReference(ByteString),
    ReasonString(ByteString),
    ReceiveMaximum(NonZeroU16),
    TopicAliasMaximum(u16),
    /// 0 is refused by the one packet that may carry it.
    TopicAlias(u16),
    /// `false` is QoS 0, `true` QoS 1: the only two that the property can say.
    MaximumQos(bool),
    RetainAvailable(bool),
    User(ByteString, ByteString),
    MaximumPacketSize(NonZeroU32),
    WildcardSubscriptionAvailable(bool),
    SubscriptionIdentifierAvailable(bool),
    SharedSubscriptionAvailable(bool),
}

/// Reads a section of properties and hands each to `take`, which stores it, answers `None` for one that this
/// packet cannot carry, and may refuse one by a rule.
///
/// A property that occurs twice is refused here, but for user properties, which are counted instead, and
/// subscription identifiers, about which only the packet knows.
pub(crate) fn read(
    fields: &mut Fields<'_>,
    mut take: impl FnMut(Property) -> Option<Result<(), Rule>>,
) -> Result<(), DecodeError> {
    let mut section = fields.property_section()?;
    let mut seen = 0_u64;
    let mut users = 0;
    while !section.is_empty() {
        let number = section.varint()?;
        let Some(id) = PropertyId::from_number(number) else {
            return Err(section.error_with(Rule::PropertyUnknown, format!("0x{number:02x}")));
        };
        match id {
            PropertyId::SubscriptionIdentifier => {}
            PropertyId::UserProperty => {
                users += 1;
                if users > section.limits.user_properties_max {
                    let most = section.limits.user_properties_max;
                    return Err(
                        section.error_with(Rule::UserPropertiesTooMany, format!("the most is {most}"))
                    );
                }
            }
            _ if seen & (1 << id as u64) != 0 => return Err(about(&section, Rule::PropertyTwice, id)),
            _ => seen |= 1 << id as u64,
        }
        let property = value(id, &mut section)?;
        match take(property) {
            Some(Ok(())) => {}
            Some(Err(rule)) => return Err(about(&section, rule, id)),
            None => return Err(about(&section, Rule::PropertyNotAllowed, id)),
        }
    }
    Ok(())
}

fn value(id: PropertyId, fields: &mut Fields<'_>) -> Result<Property, DecodeError> {
    Ok(match id {
        PropertyId::PayloadFormatIndicator => Property::PayloadFormatIndicator(boolean(id, fields)?),
        PropertyId::MessageExpiryInterval => Property::MessageExpiryInterval(fields.u32()?),
        PropertyId::ContentType => Property::ContentType(fields.text()?),
        PropertyId::ResponseTopic => Property::ResponseTopic(response_topic(fields)?),
        PropertyId::CorrelationData => Property::CorrelationData(fields.binary()?),
        PropertyId::SubscriptionIdentifier => {
            // At most 28 bits.
            let number = fields.varint()? as u32;
            Property::SubscriptionIdentifier(not_zero(id, fields, NonZeroU32::new(number))?)
        }
        PropertyId::SessionExpiryInterval => Property::SessionExpiryInterval(fields.u32()?),
        PropertyId::AssignedClientIdentifier => Property::AssignedClientIdentifier(fields.text()?),
        PropertyId::ServerKeepAlive => Property::ServerKeepAlive(fields.u16()?),
        PropertyId::AuthenticationMethod => Property::AuthenticationMethod(fields.text()?),
        PropertyId::AuthenticationData => Property::AuthenticationData(fields.binary()?),
        PropertyId::RequestProblemInformation => Property::RequestProblemInformation(boolean(id, fields)?),
        PropertyId::WillDelayInterval => Property::WillDelayInterval(fields.u32()?),
        PropertyId::RequestResponseInformation => Property::RequestResponseInformation(boolean(id, fields)?),
        PropertyId::ResponseInformation => Property::ResponseInformation(fields.text()?),
        PropertyId::ServerReference => Property::ServerReference(fields.text()?),
        PropertyId::ReasonString => Property::ReasonString(fields.text()?),
        PropertyId::ReceiveMaximum => {
            let number = fields.u16()?;
            Property::ReceiveMaximum(not_zero(id, fields, NonZeroU16::new(number))?)
        }
        PropertyId::TopicAliasMaximum => Property::TopicAliasMaximum(fields.u16()?),
        PropertyId::TopicAlias => Property::TopicAlias(fields.u16()?),
        PropertyId::MaximumQos => Property::MaximumQos(boolean(id, fields)?),
        PropertyId::RetainAvailable => Property::RetainAvailable(boolean(id, fields)?),
        PropertyId::UserProperty => Property::User(fields.text()?, fields.text()?),
        PropertyId::MaximumPacketSize => {
            let number = fields.u32()?;
            Property::MaximumPacketSize(not_zero(id, fields, NonZeroU32::new(number))?)
        }
        PropertyId::WildcardSubscriptionAvailable => {
            Property::WildcardSubscriptionAvailable(boolean(id, fields)?)
        }
        PropertyId::SubscriptionIdentifierAvailable => {
            Property::SubscriptionIdentifierAvailable(boolean(id, fields)?)
        }
        PropertyId::SharedSubscriptionAvailable => {
            Property::SharedSubscriptionAvailable(boolean(id, fields)?)
        }
    })
}

fn boolean(id: PropertyId, fields: &mut Fields<'_>) -> Result<bool, DecodeError> {
    match fields.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(about(fields, Rule::PropertyNotBoolean, id)),
    }
}

fn not_zero<T>(id: PropertyId, fields: &Fields<'_>, number: Option<T>) -> Result<T, DecodeError> {
    number.ok_or_else(|| about(fields, Rule::PropertyZero, id))
}

/// Section 3.3.2.3.5 says of it what section 4.7 says of every topic name.
fn response_topic(fields: &mut Fields<'_>) -> Result<TopicName, DecodeError> {
    let text = fields.text()?;
    fields.topic(text)
}

fn about(fields: &Fields<'_>, rule: Rule, id: PropertyId) -> DecodeError {
    fields.error_with(rule, format!("`{}`", id.name()))
}
