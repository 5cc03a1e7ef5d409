//! CONNACK: the server's answer to CONNECT (section 3.2 of both standards).

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use bytestring::ByteString;
use model::Qos;

use crate::{Reason, UserProperties};

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
