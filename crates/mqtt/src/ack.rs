//! PUBACK, PUBREC, PUBREL and PUBCOMP: four packets of one shape (MQTT 5.0, sections 3.4 to 3.7).

use bytestring::ByteString;

use crate::{Reason, UserProperties};

/// The answer to one packet of a message's way. In MQTT 3.1.1 the reason is always
/// [`Success`](Reason::Success): that version cannot say anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The packet id it answers; never 0.
    pub packet_id: u16,
    /// What became of it.
    pub reason: Reason,
    /// What else is told, if anything is (MQTT 5).
    pub properties: Option<Box<AckProperties>>,
}

impl Ack {
    /// An answer without properties.
    #[must_use]
    pub fn new(packet_id: u16, reason: Reason) -> Self {
        Self { packet_id, reason, properties: None }
    }
}

/// What an answer may tell beside its reason; also of SUBACK and UNSUBACK (MQTT 5.0, section 3.4.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AckProperties {
    /// For a person to read, not for a program to parse.
    pub reason_string: Option<ByteString>,
    /// Names and values.
    pub user: UserProperties,
}
