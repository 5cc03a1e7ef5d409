//! Reason codes of MQTT 5 (section 2.4), which packet may carry which, and what MQTT 3.1.1 says instead.
//!
//! The house speaks MQTT 5's reasons throughout; the return codes of 3.1.1 exist at the wire only.

use std::fmt;

use crate::{PacketType, Side};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why something was done or refused (MQTT 5.0, section 2.4). From 0x80 on it is a failure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[doc = $doc])* $name = $code,)*
        }

        impl Reason {
            /// Every reason, in the order of its code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The reason for its code; `None` for a code that the standard does not define.
            #[must_use]
            pub const fn from_u8(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The standard's name in lower case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// Done; also Normal disconnection and Granted QoS 0.
    Success = 0x00, "success";
    /// Subscribed at QoS 1 at most.
    GrantedQos1 = 0x01, "granted QoS 1";
    /// Subscribed at QoS 2 at most.
    GrantedQos2 = 0x02, "granted QoS 2";
    /// The client leaves and wants its will published.
    DisconnectWithWill = 0x04, "disconnect with will message";
    /// Accepted, and nobody subscribes to it.
    NoMatchingSubscribers = 0x10, "no matching subscribers";
    /// Nothing to unsubscribe.
    NoSubscriptionExisted = 0x11, "no subscription existed";
    /// One more step of authentication.
    ContinueAuthentication = 0x18, "continue authentication";
    /// Authenticate anew.
    ReAuthenticate = 0x19, "re-authenticate";
    /// No reason is told, or none fits.
    Unspecified = 0x80, "unspecified error";
    /// The bytes are no packet.
    MalformedPacket = 0x81, "malformed packet";
    /// The packet is well formed and not allowed here.
    ProtocolError = 0x82, "protocol error";
    /// Valid, and not accepted by this receiver.
    ImplementationSpecific = 0x83, "implementation specific error";
    /// A version that is not spoken.
    UnsupportedProtocolVersion = 0x84, "unsupported protocol version";
    /// The client id is valid and not allowed.
    ClientIdentifierNotValid = 0x85, "client identifier not valid";
    /// Who speaks was not proved.
    BadUserNameOrPassword = 0x86, "bad user name or password";
    /// Known, and not permitted.
    NotAuthorized = 0x87, "not authorised";
    /// The server does not serve now.
    ServerUnavailable = 0x88, "server unavailable";
    /// The server has too much to do; later.
    ServerBusy = 0x89, "server busy";
    /// Banned by an operator.
    Banned = 0x8A, "banned";
    /// The server stops.
    ServerShuttingDown = 0x8B, "server shutting down";
    /// The method of authentication is not spoken, or is not the one agreed.
    BadAuthenticationMethod = 0x8C, "bad authentication method";
    /// Nothing came for one and a half keep-alives.
    KeepAliveTimeout = 0x8D, "keep alive timeout";
    /// Another connection uses the client id.
    SessionTakenOver = 0x8E, "session taken over";
    /// The filter is not accepted.
    TopicFilterInvalid = 0x8F, "topic filter invalid";
    /// The topic is not accepted.
    TopicNameInvalid = 0x90, "topic name invalid";
    /// The packet id is in use already.
    PacketIdentifierInUse = 0x91, "packet identifier in use";
    /// The packet id is not known.
    PacketIdentifierNotFound = 0x92, "packet identifier not found";
    /// More unacknowledged messages than allowed.
    ReceiveMaximumExceeded = 0x93, "receive maximum exceeded";
    /// The topic alias is zero or above the maximum.
    TopicAliasInvalid = 0x94, "topic alias invalid";
    /// The packet is larger than allowed.
    PacketTooLarge = 0x95, "packet too large";
    /// Too many messages in too little time.
    MessageRateTooHigh = 0x96, "message rate too high";
    /// A bound of this receiver is reached.
    QuotaExceeded = 0x97, "quota exceeded";
    /// An operator did it.
    AdministrativeAction = 0x98, "administrative action";
    /// The payload is not what it says it is.
    PayloadFormatInvalid = 0x99, "payload format invalid";
    /// Retained messages are not supported.
    RetainNotSupported = 0x9A, "retain not supported";
    /// The QoS is not supported.
    QosNotSupported = 0x9B, "QoS not supported";
    /// Use another server for now.
    UseAnotherServer = 0x9C, "use another server";
    /// Use another server from now on.
    ServerMoved = 0x9D, "server moved";
    /// Shared subscriptions are not supported.
    SharedSubscriptionsNotSupported = 0x9E, "shared subscriptions not supported";
    /// Too many connections in too little time.
    ConnectionRateExceeded = 0x9F, "connection rate exceeded";
    /// The longest time of a connection is over.
    MaximumConnectTime = 0xA0, "maximum connect time";
    /// Subscription identifiers are not supported.
    SubscriptionIdentifiersNotSupported = 0xA1, "subscription identifiers not supported";
    /// Wildcard subscriptions are not supported.
    WildcardSubscriptionsNotSupported = 0xA2, "wildcard subscriptions not supported";
}

impl Reason {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Whether it tells of a failure: 0x80 and above.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        self as u8 >= 0x80
    }

    /// The reason of a SUBACK that grants `qos`.
    #[must_use]
    pub const fn granted(qos: model::Qos) -> Self {
        match qos {
            model::Qos::AtMostOnce => Self::Success,
            model::Qos::AtLeastOnce => Self::GrantedQos1,
            model::Qos::ExactlyOnce => Self::GrantedQos2,
        }
    }

    /// Whether a packet of this type may carry it when `sender` sends it: the tables of MQTT 5.0, sections
    /// 3.2.2.2, 3.4.2.1 to 3.7.2.1, 3.9.3, 3.11.3, 3.14.2.1 and 3.15.2.1.
    #[must_use]
    pub const fn is_allowed_in(self, packet: PacketType, sender: Side) -> bool {
        let code = self as u8;
        match packet {
            PacketType::ConnAck => {
                matches!(code, 0 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F)
            }
            PacketType::PubAck | PacketType::PubRec => {
                matches!(code, 0 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
            }
            PacketType::PubRel | PacketType::PubComp => matches!(code, 0 | 0x92),
            PacketType::SubAck => {
                matches!(code, 0..=2 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2)
            }
            PacketType::UnsubAck => matches!(code, 0 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
            PacketType::Disconnect => match sender {
                Side::Client => matches!(code, 0 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99),
                // 0x8C stands in the table of section 2.4 and is missing in that of section 3.14.2.1.
                Side::Server => {
                    matches!(code, 0 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B..=0x90 | 0x93..=0xA2)
                }
            },
            PacketType::Auth => match sender {
                Side::Client => matches!(code, 0x18 | 0x19),
                Side::Server => matches!(code, 0 | 0x18),
            },
            _ => false,
        }
    }

    /// The CONNACK return code of MQTT 3.1.1 that says the same or the nearest; `None` where none fits and the
    /// connection is to be closed without a CONNACK (MQTT 3.1.1, section 3.2.2.3, MQTT-3.2.2-6).
    #[must_use]
    pub const fn connack_v311(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdentifierNotValid => Some(2),
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::ServerShuttingDown
            | Self::QuotaExceeded
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::ConnectionRateExceeded => Some(3),
            Self::BadUserNameOrPassword | Self::BadAuthenticationMethod => Some(4),
            Self::NotAuthorized | Self::Banned => Some(5),
            _ => None,
        }
    }

    /// The reason for a CONNACK return code of MQTT 3.1.1; `None` for a code above 5, which is reserved.
    #[must_use]
    pub const fn from_connack_v311(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02x})", self.name(), self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_leads_back_to_its_reason() {
        let known = (0..=u8::MAX).filter_map(Reason::from_u8).collect::<Vec<_>>();
        assert_eq!(known, Reason::ALL);
        assert_eq!(known.len(), 43);
        assert!(known.iter().all(|&reason| Reason::from_u8(reason.code()) == Some(reason)));
    }

    #[test]
    fn return_codes_of_3_1_1_lead_back_to_themselves() {
        for code in 0..=5 {
            assert_eq!(Reason::from_connack_v311(code).and_then(Reason::connack_v311), Some(code));
        }
        assert_eq!(Reason::from_connack_v311(6), None);
        assert_eq!(Reason::MalformedPacket.connack_v311(), None);
    }
}
