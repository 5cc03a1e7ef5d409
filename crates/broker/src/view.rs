//! What an operator sees of the door: sessions and retained messages, as they stand at one moment.
//!
//! Types of this crate's own; `api` makes its public JSON of them.

use std::net::SocketAddr;

use bytes::Bytes;
use bytestring::ByteString;
use model::{ConnectionId, DeviceName, Principal, Qos, Timestamp, TopicName};
use mqtt::Version;

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// Its client id.
    pub client_id: ByteString,
    /// Who connected last.
    pub principal: Principal,
    /// The device that it belongs to; if none, it belongs to that principal.
    pub device: Option<DeviceName>,
    /// Its client is in quarantine, or its certificate expired: what it has beside this session waits in another one.
    pub is_confined: bool,
    /// Its connection, if it has one.
    pub connection: Option<ConnectionView>,
    /// Subscriptions.
    pub filters: usize,
    /// Messages that wait in memory, and their bytes.
    pub queued: usize,
    /// Bytes of those.
    pub queued_bytes: usize,
    /// Messages that wait in the journal only.
    pub left: usize,
    /// Messages sent and not acknowledged.
    pub inflight: usize,
    /// How long it outlives its connection, in seconds.
    pub expiry_s: u32,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionView {
    /// Its number in the life of the process.
    pub id: ConnectionId,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// What it speaks.
    pub version: Version,
    /// Since when.
    pub connected_at: Timestamp,
    /// It is a bridge of another broker.
    pub is_bridge: bool,
}

/// A subscription of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterView {
    /// Which topics; `$share/GROUP/FILTER` when it is shared.
    pub filter: String,
    /// The highest QoS of its deliveries.
    pub qos_max: Qos,
    /// What its own client publishes is left out.
    pub no_local: bool,
    /// The retain flag is passed on as it was published.
    pub retain_as_published: bool,
    /// Its identifier, or 0.
    pub id: u32,
}

/// A retained message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedView {
    /// Where.
    pub topic: TopicName,
    /// What.
    pub payload: Bytes,
    /// At which QoS it was published.
    pub qos: Qos,
    /// When it was received.
    pub received_at: Timestamp,
    /// Its record.
    pub seq: u64,
}
