//! The rules that one packet alone can break: what each says, its number in both standards, and the reason code
//! to answer with.
//!
//! Not here: rules between packets (an id in use, an alias above the maximum, more in flight than agreed); the
//! broker and the client keep those. The law: whatever the decoder refuses, it refuses by a rule of this table,
//! and a test provokes every rule.

use crate::{Reason, Version};

macro_rules! rules {
    ($($name:ident: $reason:ident, $v311:literal, $v5:literal, $says:literal;)*) => {
        /// A rule that one packet alone can break.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule {
            $(#[doc = concat!("Refused: ", $says, ".")] $name,)*
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What is wrong, in plain words.
            #[must_use]
            pub const fn says(self) -> &'static str {
                match self { $(Self::$name => $says,)* }
            }

            /// The reason code of MQTT 5 to answer with; [`Reason::connack_v311`] makes the return code of it.
            #[must_use]
            pub const fn reason(self) -> Reason {
                match self { $(Self::$name => Reason::$reason,)* }
            }

            /// Where the standard of that version says so: the number of the statement, or else the section.
            /// `godwit` where the bound is ours.
            #[must_use]
            pub const fn source(self, version: Version) -> &'static str {
                match (self, version) {
                    $((Self::$name, Version::V311) => $v311, (Self::$name, Version::V5) => $v5,)*
                }
            }
        }
    };
}

rules! {
    // Fixed header and order.
    PacketTypeReserved: MalformedPacket, "section 2.2.1", "section 2.1.2", "the packet type is reserved";
    FlagsReserved: MalformedPacket, "MQTT-2.2.2-2", "MQTT-2.1.3-1", "the reserved flags of the first byte are not as the standard sets them";
    LengthMalformed: MalformedPacket, "section 2.2.3", "section 1.5.5", "a length takes more than four bytes";
    LengthNotMinimal: MalformedPacket, "section 2.2.3", "MQTT-1.5.5-1", "a length takes more bytes than it needs";
    PacketTooLarge: PacketTooLarge, "section 2.2.3", "MQTT-3.2.2-15", "the packet is larger than accepted";
    WrongSide: ProtocolError, "section 2.2.1", "section 2.1.2", "only the other side may send this packet";
    ConnectMissing: ProtocolError, "MQTT-3.1.0-1", "MQTT-3.1.0-1", "the first packet must be a CONNECT";
    ConnectTwice: ProtocolError, "MQTT-3.1.0-2", "MQTT-3.1.0-2", "a second CONNECT on one connection";
    // Fields of every packet.
    Short: MalformedPacket, "section 2.2.3", "section 2.1.4", "the packet ends in the middle of a field";
    Trailing: MalformedPacket, "section 2.2.3", "section 2.1.4", "bytes follow the last field";
    TextNotUtf8: MalformedPacket, "MQTT-1.5.3-1", "MQTT-1.5.4-1", "a text is not well-formed UTF-8";
    TextNul: MalformedPacket, "MQTT-1.5.3-2", "MQTT-1.5.4-2", "a text has the character U+0000";
    PacketIdZero: ProtocolError, "MQTT-2.3.1-1", "MQTT-2.2.1-3", "the packet id is 0";
    ReasonNotAllowed: ProtocolError, "section 3", "section 2.4", "this packet cannot carry this reason code";
    // Properties.
    PropertyUnknown: MalformedPacket, "section 3", "section 2.2.2.2", "the property does not exist";
    PropertyNotAllowed: MalformedPacket, "section 3", "section 2.2.2.2", "this packet cannot carry this property";
    PropertyTwice: ProtocolError, "section 3", "section 2.2.2.2", "the property may occur once only";
    PropertyOverrun: MalformedPacket, "section 3", "section 2.2.2.1", "the properties are longer than the packet";
    PropertyNotBoolean: ProtocolError, "section 3", "section 2.2.2.2", "the property must be 0 or 1";
    PropertyZero: ProtocolError, "section 3", "section 2.2.2.2", "the property must not be 0";
    UserPropertiesTooMany: QuotaExceeded, "godwit", "godwit", "more user properties than accepted";
    AuthMethodMissing: ProtocolError, "section 3", "section 3.1.2.11.10", "authentication data or an AUTH without its method";
    // CONNECT.
    ProtocolName: UnsupportedProtocolVersion, "MQTT-3.1.2-1", "MQTT-3.1.2-1", "the protocol name is not `MQTT`";
    ProtocolLevel: UnsupportedProtocolVersion, "MQTT-3.1.2-2", "MQTT-3.1.2-2", "the protocol level is neither 4 nor 5";
    ConnectFlagReserved: MalformedPacket, "MQTT-3.1.2-3", "MQTT-3.1.2-3", "the reserved connect flag is set";
    WillQosWithoutWill: MalformedPacket, "MQTT-3.1.2-13", "MQTT-3.1.2-11", "a will QoS without a will";
    WillQos: MalformedPacket, "MQTT-3.1.2-14", "MQTT-3.1.2-12", "the will QoS is 3";
    WillRetainWithoutWill: MalformedPacket, "MQTT-3.1.2-15", "MQTT-3.1.2-13", "a will retain flag without a will";
    PasswordWithoutUserName: MalformedPacket, "MQTT-3.1.2-22", "section 3.1.2.9", "a password without a user name";
    ClientIdEmpty: ClientIdentifierNotValid, "MQTT-3.1.3-8", "section 3.1.3.1", "an empty client id must come with a clean session";
    // CONNACK.
    ConnAckFlagsReserved: MalformedPacket, "section 3.2.2.1", "MQTT-3.2.2-1", "a reserved flag is set";
    SessionPresentOnRefusal: ProtocolError, "MQTT-3.2.2-4", "MQTT-3.2.2-6", "a refusal with a session present";
    // PUBLISH, and topics elsewhere.
    PublishQos: MalformedPacket, "MQTT-3.3.1-4", "MQTT-3.3.1-4", "the QoS is 3";
    DupOnQos0: MalformedPacket, "MQTT-3.3.1-2", "MQTT-3.3.1-2", "the DUP flag with QoS 0";
    TopicWildcard: TopicNameInvalid, "MQTT-3.3.2-2", "MQTT-3.3.2-2", "a topic with a wildcard";
    TopicEmpty: ProtocolError, "MQTT-4.7.3-1", "section 3.3.2.1", "an empty topic and no topic alias";
    TopicTooDeep: TopicNameInvalid, "godwit", "godwit", "the topic has more levels than accepted";
    TopicAliasZero: TopicAliasInvalid, "section 3", "MQTT-3.3.2-8", "the topic alias is 0";
    SubscriptionIdFromClient: ProtocolError, "section 3", "MQTT-3.3.4-6", "a client's PUBLISH with a subscription identifier";
    SubscriptionIdsTooMany: QuotaExceeded, "godwit", "godwit", "more subscription identifiers than accepted";
    // SUBSCRIBE and UNSUBSCRIBE.
    FiltersMissing: ProtocolError, "MQTT-3.8.3-3", "MQTT-3.8.3-2", "no filter";
    FiltersTooMany: QuotaExceeded, "godwit", "godwit", "more filters than accepted";
    FilterMalformed: TopicFilterInvalid, "MQTT-4.7.1-2", "MQTT-4.7.1-1", "a malformed filter";
    FilterEmpty: TopicFilterInvalid, "MQTT-4.7.3-1", "MQTT-4.7.3-1", "an empty filter";
    FilterTooDeep: TopicFilterInvalid, "godwit", "godwit", "the filter has more levels than accepted";
    SharedFilterMalformed: TopicFilterInvalid, "section 4.7", "MQTT-4.8.2-1", "a malformed shared subscription";
    SubscribeOptionsReserved: MalformedPacket, "MQTT-3.8.3-4", "MQTT-3.8.3-5", "a reserved bit of the subscription options is set";
    SubscribeQos: ProtocolError, "MQTT-3.8.3-4", "section 3.8.3.1", "the QoS of a subscription is 3";
    RetainHandlingUnknown: ProtocolError, "section 3.8.3", "section 3.8.3.1", "the retain handling is 3";
    NoLocalOnShared: ProtocolError, "section 3.8.3", "MQTT-3.8.3-4", "no-local on a shared subscription";
    // Answers, DISCONNECT and AUTH.
    ReasonsMissing: ProtocolError, "section 3.9.3", "section 3.9.3", "an answer without a code";
    SessionExpiryFromServer: ProtocolError, "section 3.14", "MQTT-3.14.2-2", "a server's DISCONNECT with a session expiry";
}
