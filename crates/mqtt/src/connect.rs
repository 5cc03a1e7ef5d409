//! CONNECT: the first packet of a connection (section 3.1 of both standards).

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use bytestring::ByteString;
use model::{Qos, TopicName};

use crate::{UserProperties, Version};

/// A client asks to connect.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// The version it speaks from now on.
    pub version: Version,
    /// Whether an older session is to be forgotten. In MQTT 3.1.1 also: whether this one is, at its end.
    pub clean_start: bool,
    /// The longest silence of the client in seconds; 0: no bound.
    pub keep_alive_s: u16,
    /// Empty: the server chooses one.
    pub client_id: ByteString,
    /// What to publish when the client goes without a word.
    pub will: Option<Will>,
    /// User name.
    pub username: Option<ByteString>,
    /// Password. Never shown by `Debug`.
    pub password: Option<Bytes>,
    /// The rest; the defaults in MQTT 3.1.1.
    pub properties: ConnectProperties,
}

/// Whatever is shown of a secret: that there is one.
struct Hidden;

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("clean_start", &self.clean_start)
            .field("keep_alive_s", &self.keep_alive_s)
            .field("client_id", &self.client_id)
            .field("will", &self.will)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| Hidden))
            .field("properties", &self.properties)
            .finish()
    }
}

/// What a client says of itself at CONNECT (MQTT 5.0, section 3.1.2.11). Absent properties have the value that
/// the standard gives them.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectProperties {
    /// How long the session outlives the connection, in seconds; `u32::MAX`: for ever. Default 0.
    pub session_expiry_s: u32,
    /// How many QoS 1 and 2 messages the client takes before it acknowledges. Default 65,535.
    pub receive_maximum: NonZeroU16,
    /// The largest packet the client takes, in bytes, fixed header included. Default: no bound.
    pub packet_bytes_max: Option<NonZeroU32>,
    /// How many topic aliases the server may use. Default 0.
    pub topic_alias_max: u16,
    /// Whether the client asks for [`response_information`](crate::ConnAckProperties::response_information).
    pub request_response_information: bool,
    /// Whether reason strings and user properties may come with any answer. Default true.
    pub request_problem_information: bool,
    /// Names and values.
    pub user: UserProperties,
    /// Method of an extended authentication.
    pub auth_method: Option<ByteString>,
    /// Its first data; only with a method. Never shown by `Debug`.
    pub auth_data: Option<Bytes>,
}

impl Default for ConnectProperties {
    fn default() -> Self {
        Self {
            session_expiry_s: 0,
            receive_maximum: NonZeroU16::MAX,
            packet_bytes_max: None,
            topic_alias_max: 0,
            request_response_information: false,
            request_problem_information: true,
            user: Vec::new(),
            auth_method: None,
            auth_data: None,
        }
    }
}

impl fmt::Debug for ConnectProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectProperties")
            .field("session_expiry_s", &self.session_expiry_s)
            .field("receive_maximum", &self.receive_maximum)
            .field("packet_bytes_max", &self.packet_bytes_max)
            .field("topic_alias_max", &self.topic_alias_max)
            .field("request_response_information", &self.request_response_information)
            .field("request_problem_information", &self.request_problem_information)
            .field("user", &self.user)
            .field("auth_method", &self.auth_method)
            .field("auth_data", &self.auth_data.as_ref().map(|_| Hidden))
            .finish()
    }
}

/// What the server publishes when a client goes without a word (MQTT 5.0, section 3.1.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Where.
    pub topic: TopicName,
    /// What.
    pub payload: Bytes,
    /// How sure.
    pub qos: Qos,
    /// Whether it is kept for later subscribers.
    pub retain: bool,
    /// How long to wait for the client to come back, in seconds (MQTT 5).
    pub delay_s: u32,
    /// Seconds after its publication when it must no longer be delivered (MQTT 5).
    pub expiry_s: Option<u32>,
    /// What is attached to it (MQTT 5).
    pub attached: model::Properties,
}
