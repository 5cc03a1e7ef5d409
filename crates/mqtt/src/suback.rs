//! SUBACK and UNSUBACK: what became of each filter (sections 3.9 and 3.11 of both standards).

use crate::{AckProperties, Reason};

/// What became of each filter of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// The packet id of the SUBSCRIBE; never 0.
    pub packet_id: u16,
    /// One per filter, in their order. On the wire of MQTT 3.1.1 every failure is 0x80.
    pub reasons: Vec<Reason>,
    /// What else is told, if anything is (MQTT 5).
    pub properties: Option<Box<AckProperties>>,
}

/// What became of each filter of an UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck {
    /// The packet id of the UNSUBSCRIBE; never 0.
    pub packet_id: u16,
    /// One per filter, in their order. MQTT 3.1.1 does not tell: not written, and read as empty.
    pub reasons: Vec<Reason>,
    /// What else is told, if anything is (MQTT 5).
    pub properties: Option<Box<AckProperties>>,
}
