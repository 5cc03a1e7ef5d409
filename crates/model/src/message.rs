//! What one publish carried, and who sent it.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use crate::limit::PARTITIONS;
use crate::{DeviceName, Timestamp, TopicName};

/// A connection of this process's life: never reused while the process runs.
pub type ConnectionId = u64;

/// How sure the sender wants to be (MQTT 5.0, section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Qos {
    /// At most once: nobody waits.
    #[default]
    AtMostOnce = 0,
    /// At least once: acknowledged when durable.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

impl Qos {
    /// The level for its number on the wire; `None` for 3 and more.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// Priority class of a message, fixed at the door. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Lane {
    /// Alarms: never wait behind a backlog.
    Alarm = 0,
    /// Commands and their answers.
    Control = 1,
    /// Readings.
    #[default]
    Telemetry = 2,
    /// What may wait: files, logs, old backlogs.
    Bulk = 3,
}

impl Lane {
    /// Every lane, most urgent first.
    pub const ALL: [Self; 4] = [Self::Alarm, Self::Control, Self::Telemetry, Self::Bulk];

    /// The lane for its stored number.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Whether messages of this lane go to the urgent chain of the journal.
    #[must_use]
    pub fn is_urgent(self) -> bool {
        matches!(self, Self::Alarm | Self::Control)
    }

    /// The lane's name in settings, SQL and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Control => "control",
            Self::Telemetry => "telemetry",
            Self::Bulk => "bulk",
        }
    }
}

/// By which door a message came in. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Door {
    /// Godwit itself: a room had something to tell.
    Inside = 0,
    /// MQTT over TCP, TLS or WebSocket.
    Mqtt = 1,
    /// HTTP.
    Http = 2,
    /// CoAP.
    Coap = 3,
    /// A LoRaWAN network server.
    Lorawan = 4,
    /// An uplink of an edge.
    Edge = 5,
}

impl Door {
    /// The door for its stored number.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        [Self::Inside, Self::Mqtt, Self::Http, Self::Coap, Self::Lorawan, Self::Edge]
            .get(usize::from(number))
            .copied()
    }
}

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Nobody in particular: a listener that asks for no name.
    Anonymous,
    /// An operator or a program of theirs, by name. `local` is whoever can read `server.json`.
    User(ByteString),
    /// A device that proved itself by its password.
    DevicePassword(DeviceName),
    /// A certificate, by the SHA-256 of its DER form.
    Certificate([u8; 32]),
    /// Godwit itself.
    Inside,
}

/// Who sent a message and by which way: what all messages of one connection share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The door.
    pub door: Door,
    /// Who speaks.
    pub principal: Principal,
    /// The device the principal belongs to; by it `device = "connection"` of a route is answered.
    pub device: Option<DeviceName>,
    /// The MQTT client id; empty for doors that have none.
    pub client_id: ByteString,
    /// The connection, or 0 where there is none.
    pub connection: ConnectionId,
    /// Which start of the process received it (counted in the data directory's `FORMAT`).
    pub boot: u32,
    /// Hash of the device, else of the client id, modulo [`PARTITIONS`].
    pub partition: u8,
}

impl Origin {
    /// What Godwit itself says, in the life of the process numbered `boot`.
    #[must_use]
    pub fn inside(boot: u32) -> Self {
        Self {
            door: Door::Inside,
            principal: Principal::Inside,
            device: None,
            client_id: ByteString::new(),
            connection: 0,
            boot,
            partition: 0,
        }
    }
}

/// What a publisher attached to a message beside its payload (MQTT 5.0, section 3.3.2.3). Passed on unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties {
    /// The payload is said to be UTF-8 text.
    pub payload_is_utf8: bool,
    /// MIME type of the payload.
    pub content_type: Option<ByteString>,
    /// Where an answer goes.
    pub response_topic: Option<TopicName>,
    /// What the answer must repeat.
    pub correlation_data: Option<Bytes>,
    /// Names and values, in order; a name may occur more than once.
    pub user: Vec<(ByteString, ByteString)>,
}

impl Properties {
    /// Whether nothing is attached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What one publish carried: topic, payload, properties, who sent it, when it was received.
///
/// Cheap to clone: the texts and the payload are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub topic: TopicName,
    /// What it carried.
    pub payload: Bytes,
    /// How sure the sender wanted to be.
    pub qos: Qos,
    /// Whether it is to be kept for later subscribers.
    pub retain: bool,
    /// Whether the sender said that it may have sent it before.
    pub dup: bool,
    /// Priority class.
    pub lane: Lane,
    /// The sender's packet id; 0 for QoS 0 and doors that have none.
    pub packet_id: u16,
    /// Seconds after receipt when it must no longer be delivered.
    pub expiry_s: Option<u32>,
    /// When the door received it, by the server's clock.
    pub received_at: Timestamp,
    /// The same moment by the monotonic clock, in microseconds since the process started.
    pub received_mono: u64,
    /// Attached by the publisher, if anything was.
    pub properties: Option<Arc<Properties>>,
    /// Id by which a repeat is known: at most [`MESSAGE_ID_BYTES_MAX`](crate::limit::MESSAGE_ID_BYTES_MAX) bytes.
    pub message_id: Option<ByteString>,
    /// Id by which it is followed through all hops.
    pub trace_id: Option<[u8; 16]>,
    /// A connection: delivered to it alone, invisible to rules and SQL.
    pub to: Option<ConnectionId>,
    /// Who sent it.
    pub origin: Arc<Origin>,
}

impl Message {
    /// A message of QoS 0 in the lane `telemetry` that nothing is attached to, received at time 0: whoever makes one says
    /// what is otherwise, `Message { qos, received_at, ..Message::new(topic, payload, origin) }`.
    #[must_use]
    pub fn new(topic: TopicName, payload: impl Into<Bytes>, origin: impl Into<Arc<Origin>>) -> Self {
        Self {
            topic,
            payload: payload.into(),
            qos: Qos::default(),
            retain: false,
            dup: false,
            lane: Lane::default(),
            packet_id: 0,
            expiry_s: None,
            received_at: Timestamp::default(),
            received_mono: 0,
            properties: None,
            message_id: None,
            trace_id: None,
            to: None,
            origin: origin.into(),
        }
    }
}

/// The partition of a message from `device`, else from `client_id`: FNV-1a of the name, modulo [`PARTITIONS`].
///
/// The function is part of the record's meaning and never changes: consumers divide work by it.
#[must_use]
pub fn partition(device: Option<&DeviceName>, client_id: &str) -> u8 {
    let name = device.map_or(client_id, DeviceName::as_str);
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // The remainder is below PARTITIONS, which is a u8.
    (hash % u64::from(PARTITIONS)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_of_a_name_never_changes() {
        let office = DeviceName::parse("office-1").expect("a name");
        assert_eq!(partition(Some(&office), "ignored"), partition(None, "office-1"));
        assert_eq!([partition(None, ""), partition(None, "office-1"), partition(None, "a")], [5, 15, 12]);
    }

    #[test]
    fn stored_numbers_lead_back_to_their_lane_door_and_qos() {
        for lane in Lane::ALL {
            assert_eq!(Lane::from_u8(lane as u8), Some(lane));
        }
        for number in 0..=5 {
            assert_eq!(Door::from_u8(number).map(|door| door as u8), Some(number));
        }
        assert_eq!(Door::from_u8(6), None);
        assert_eq!(Lane::from_u8(4), None);
        assert_eq!(Qos::from_u8(3), None);
    }
}
