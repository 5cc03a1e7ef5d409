//! Why bytes are no packet, and why a packet cannot be bytes.

use bytestring::ByteString;
use model::Kind;

use crate::{ConnAck, Disconnect, DisconnectProperties, Packet, PacketType, Reason, Rule, Side, Version};

/// Why the bytes are no packet. The connection is to be closed: what follows cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "malformed {}: {}{} [{}]",
    packet.map_or("packet", PacketType::name), rule.says(), found(detail), self.source_in_standard()
)]
pub struct DecodeError {
    /// Which packet it would have been, if its type is one.
    pub packet: Option<PacketType>,
    /// The rule that was broken.
    pub rule: Rule,
    /// The version of the connection, if it is known.
    pub version: Option<Version>,
    /// What was found, where that helps.
    pub detail: Option<Box<str>>,
    /// Of a CONNECT refused for its level: the client id of a bridge of Mosquitto, which tries a level with the upper
    /// bit set first (0x84 for MQTT 3.1.1) and comes again without it.
    pub bridge: Option<ByteString>,
}

fn found(detail: &Option<Box<str>>) -> String {
    detail.as_ref().map_or_else(String::new, |text| format!(", {text}"))
}

impl DecodeError {
    /// The reason code of MQTT 5 to answer with: in CONNACK before the connection is accepted, in DISCONNECT
    /// after it (MQTT 5.0, section 4.13). In MQTT 3.1.1 only a CONNACK can tell ([`Reason::connack_v311`]);
    /// otherwise the connection is closed without a word.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.rule.reason()
    }

    /// What to send before the connection is closed: a CONNACK to a CONNECT, a DISCONNECT later in MQTT 5, each
    /// with this error as its reason string. `None` where the sender's version has no word for it, or where it
    /// may not speak MQTT at all.
    #[must_use]
    pub fn answer(&self) -> Option<Packet> {
        let version = self.version?;
        let is_connect = self.packet == Some(PacketType::Connect)
            && !matches!(self.rule, Rule::ConnectTwice | Rule::WrongSide);
        let explanation = Some(self.to_string().into());
        match (version, is_connect) {
            (Version::V5, true) => {
                let is_told = self.reason().is_allowed_in(PacketType::ConnAck, Side::Server);
                let mut refusal =
                    ConnAck::refusal(if is_told { self.reason() } else { Reason::MalformedPacket });
                refusal.properties.reason_string = explanation;
                Some(Packet::ConnAck(Box::new(refusal)))
            }
            (Version::V311, true) => {
                self.reason().connack_v311()?;
                Some(Packet::ConnAck(Box::new(ConnAck::refusal(self.reason()))))
            }
            (Version::V5, false) => {
                let is_told = self.reason().is_allowed_in(PacketType::Disconnect, Side::Server);
                let mut leave =
                    Disconnect::new(if is_told { self.reason() } else { Reason::MalformedPacket });
                leave.properties =
                    Some(Box::new(DisconnectProperties { reason_string: explanation, ..Default::default() }));
                Some(Packet::Disconnect(leave))
            }
            (Version::V311, false) => None,
        }
    }

    /// Where the standard says so, such as `MQTT-3.3.1-4`; `godwit` where the bound is ours.
    #[must_use]
    pub fn source_in_standard(&self) -> &'static str {
        let version = self.version.unwrap_or(Version::V5);
        match (self.rule, self.packet, version) {
            (Rule::ReasonNotAllowed, Some(packet), Version::V5) => match packet {
                PacketType::ConnAck => "MQTT-3.2.2-8",
                PacketType::PubAck => "MQTT-3.4.2-1",
                PacketType::PubRec => "MQTT-3.5.2-1",
                PacketType::PubRel => "MQTT-3.6.2-1",
                PacketType::PubComp => "MQTT-3.7.2-1",
                PacketType::SubAck => "MQTT-3.9.3-2",
                PacketType::UnsubAck => "MQTT-3.11.3-2",
                PacketType::Disconnect => "MQTT-3.14.2-1",
                _ => "MQTT-3.15.2-1",
            },
            (Rule::ReasonNotAllowed, Some(PacketType::ConnAck), _) => "section 3.2.2.3",
            (Rule::ReasonNotAllowed, Some(PacketType::SubAck), _) => "MQTT-3.9.3-2",
            (Rule::FiltersMissing, Some(PacketType::Unsubscribe), _) => "MQTT-3.10.3-2",
            (Rule::AuthMethodMissing, Some(PacketType::Auth), _) => "section 3.15.2.2.2",
            (rule, ..) => rule.source(version),
        }
    }

    /// Whose fault it is: the sender's, or a bound of ours.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.rule.reason() {
            Reason::QuotaExceeded => Kind::TooMuch,
            _ => Kind::Invalid,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self.rule {
            Rule::ProtocolName | Rule::ProtocolLevel => Some("set the client to MQTT 3.1.1 or 5"),
            Rule::PacketTooLarge => Some("send smaller messages or raise `packet_bytes_max`"),
            Rule::ConnectMissing => Some("the port speaks MQTT; look for a TLS, WebSocket or HTTP client"),
            Rule::ClientIdEmpty => Some("give the client an id or a clean session"),
            _ => None,
        }
    }
}

/// Why a packet cannot be bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The version has no way to say it.
    #[error("{version} has no way to say {what} in {packet}")]
    NotInVersion {
        /// The version of the connection.
        version: Version,
        /// Which packet.
        packet: PacketType,
        /// What it cannot say.
        what: &'static str,
    },
    /// A value that the standard does not allow.
    #[error("{packet} cannot have {what}")]
    Invalid {
        /// Which packet.
        packet: PacketType,
        /// What is not allowed.
        what: &'static str,
    },
    /// A text or binary field is longer than its two bytes of length can say.
    #[error("{what} of {packet} is {bytes} bytes; the most is {}", crate::limit::FIELD_BYTES_MAX)]
    FieldTooLong {
        /// Which packet.
        packet: PacketType,
        /// Which field.
        what: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// The packet is larger than the receiver or the protocol takes.
    #[error("{packet} is {bytes} bytes; the receiver takes at most {bytes_max}")]
    TooLarge {
        /// Which packet.
        packet: PacketType,
        /// Its length.
        bytes: usize,
        /// The most.
        bytes_max: usize,
    },
}

impl EncodeError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::TooLarge { .. } => Kind::TooMuch,
            _ => Kind::Invalid,
        }
    }
}
