//! DISCONNECT and AUTH (MQTT 5.0, sections 3.14 and 3.15; MQTT 3.1.1, section 3.14).

use bytes::Bytes;
use bytestring::ByteString;

use crate::{Reason, UserProperties};

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
