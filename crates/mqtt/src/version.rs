//! Which dialect is spoken, and on which end of the connection we stand.

use std::fmt;

/// The protocol version of a connection. MQTT 3.1 (`MQIsdp`) is not spoken: it is refused at CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// MQTT 3.1.1, protocol level 4.
    V311,
    /// MQTT 5.0, protocol level 5.
    V5,
}

impl Version {
    /// The protocol level on the wire (MQTT 5.0, section 3.1.2.2).
    #[must_use]
    pub const fn level(self) -> u8 {
        match self {
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V311 => "MQTT 3.1.1",
            Self::V5 => "MQTT 5",
        })
    }
}

/// On which end of the connection the decoder stands: it refuses what only its own end may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// We are the server: what comes in was sent by a client. The version is learnt from its CONNECT.
    Server,
    /// We are a client: what comes in was sent by a server.
    Client,
}
