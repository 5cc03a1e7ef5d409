//! The state as bytes, to be kept beside a position in the journal.
//!
//! Protobuf, for it is additive: a field that an older version wrote not is its default. Not here: where the bytes are
//! kept, and whether they are whole (a checksum beside them says so). The law: what is written reads as the same state;
//! a newer format is refused by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytestring::ByteString;
use prost::Message as _;

use super::node::{Asked, Birth, Device, Node};
use super::sequence::Sequence;
use super::state::Sparkplug;
use super::table::{Known, Table};
use super::topic::EdgeNode;
use crate::{ChannelName, DeviceName, Timestamp};

/// The format this version writes.
const FORMAT: u32 = 1;

/// Why a kept state cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SavedError {
    /// It is not what was written.
    #[error("it is no Sparkplug state: {reason}")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// A newer version wrote it.
    #[error("it has format {found}; this version of Godwit knows formats up to {FORMAT}")]
    Newer {
        /// The format found.
        found: u32,
    },
}

#[derive(Clone, PartialEq, prost::Message)]
struct State {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(message, repeated, tag = "2")]
    nodes: Vec<SavedNode>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SavedNode {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, optional, tag = "3")]
    birth: Option<SavedBirth>,
    #[prost(bool, tag = "4")]
    is_online: bool,
    #[prost(uint64, optional, tag = "5")]
    sent_newest_ms: Option<u64>,
    #[prost(uint32, tag = "6")]
    next: u32,
    #[prost(fixed32, tag = "7")]
    missing: u32,
    #[prost(uint32, tag = "8")]
    known: u32,
    #[prost(bool, tag = "9")]
    is_lost: bool,
    #[prost(bool, tag = "10")]
    is_unclear: bool,
    #[prost(sint64, optional, tag = "11")]
    asked_at: Option<i64>,
    #[prost(sint64, optional, tag = "12")]
    asked_before: Option<i64>,
    #[prost(uint32, tag = "13")]
    asked_times: u32,
    #[prost(sint64, tag = "14")]
    heard_at: i64,
    #[prost(message, repeated, tag = "15")]
    metrics: Vec<SavedMetric>,
    #[prost(message, repeated, tag = "16")]
    devices: Vec<SavedDevice>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SavedBirth {
    #[prost(uint64, optional, tag = "1")]
    bd_seq: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    sent_ms: Option<u64>,
    #[prost(sint64, tag = "3")]
    received_at: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SavedDevice {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(bool, tag = "3")]
    is_born: bool,
    #[prost(bool, tag = "4")]
    is_online: bool,
    #[prost(uint64, optional, tag = "5")]
    told_ms: Option<u64>,
    #[prost(message, repeated, tag = "6")]
    metrics: Vec<SavedMetric>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SavedMetric {
    #[prost(string, tag = "1")]
    channel: String,
    #[prost(uint64, optional, tag = "2")]
    alias: Option<u64>,
    #[prost(uint32, optional, tag = "3")]
    datatype: Option<u32>,
    #[prost(sint64, optional, tag = "4")]
    newest: Option<i64>,
    #[prost(bool, tag = "5")]
    is_ignored: bool,
}

impl Sparkplug {
    /// The state as bytes: some 40 per metric.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut nodes: Vec<SavedNode> =
            self.nodes.iter().map(|(path, node)| SavedNode::of(path, node)).collect();
        // One state is one file, whatever the order of a hash.
        nodes.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        State { format: FORMAT, nodes }.encode_to_vec()
    }

    /// The state that was written as `bytes`.
    ///
    /// # Errors
    /// [`SavedError`]: they are something else, or of a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SavedError> {
        let damaged = |reason: String| SavedError::Damaged { reason };
        let state = State::decode(bytes).map_err(|error| damaged(error.to_string()))?;
        match state.format {
            FORMAT => {}
            0 => return Err(damaged("it names no format".to_owned())),
            found => return Err(SavedError::Newer { found }),
        }
        let mut sparkplug = Self::default();
        for saved in state.nodes {
            let path = EdgeNode::from_path(&saved.path)
                .ok_or_else(|| damaged(format!("`{}` is no edge node", saved.path)))?;
            let node = saved.node().map_err(|error| damaged(error.to_string()))?;
            sparkplug.entries += node.size();
            sparkplug.nodes.insert(path, Arc::new(node));
        }
        Ok(sparkplug)
    }
}

impl SavedNode {
    fn of(path: &EdgeNode, node: &Node) -> Self {
        let Sequence { next, missing, known, is_lost } = node.sequence;
        Self {
            path: path.path().to_owned(),
            name: node.name.to_string(),
            birth: node.birth.as_ref().map(|birth| SavedBirth {
                bd_seq: birth.bd_seq,
                sent_ms: birth.sent_ms,
                received_at: birth.received_at.micros(),
            }),
            is_online: node.is_online,
            sent_newest_ms: node.sent_newest_ms,
            next: u32::from(next),
            missing,
            known,
            is_lost,
            is_unclear: node.is_unclear,
            asked_at: node.asked.at.map(Timestamp::micros),
            asked_before: node.asked.before.map(Timestamp::micros),
            asked_times: node.asked.times,
            heard_at: node.heard_at.micros(),
            metrics: saved_metrics(&node.table),
            devices: node.devices.iter().map(|(id, device)| SavedDevice::of(id, device)).collect(),
        }
    }

    fn node(self) -> Result<Node, crate::NameError> {
        let mut devices = BTreeMap::new();
        for saved in self.devices {
            devices.insert(ByteString::from(saved.id.as_str()), saved.device()?);
        }
        Ok(Node {
            name: DeviceName::parse(self.name)?,
            birth: self.birth.map(|birth| Birth {
                bd_seq: birth.bd_seq,
                sent_ms: birth.sent_ms,
                received_at: Timestamp::from_micros(birth.received_at),
            }),
            is_online: self.is_online,
            sent_newest_ms: self.sent_newest_ms,
            sequence: Sequence {
                next: self.next as u8,
                missing: self.missing,
                known: self.known.min(u32::BITS),
                is_lost: self.is_lost,
            },
            is_unclear: self.is_unclear,
            asked: Asked {
                at: self.asked_at.map(Timestamp::from_micros),
                before: self.asked_before.map(Timestamp::from_micros),
                times: self.asked_times,
            },
            heard_at: Timestamp::from_micros(self.heard_at),
            table: table(self.metrics)?,
            devices,
        })
    }
}

impl SavedDevice {
    fn of(id: &str, device: &Device) -> Self {
        Self {
            id: id.to_owned(),
            name: device.name.to_string(),
            is_born: device.is_born,
            is_online: device.is_online,
            told_ms: device.told_ms,
            metrics: saved_metrics(&device.table),
        }
    }

    fn device(self) -> Result<Device, crate::NameError> {
        Ok(Device {
            name: DeviceName::parse(self.name)?,
            is_born: self.is_born,
            is_online: self.is_online,
            told_ms: self.told_ms,
            table: table(self.metrics)?,
        })
    }
}

fn saved_metrics(table: &Table) -> Vec<SavedMetric> {
    let saved = |known: &Known| SavedMetric {
        channel: known.channel.to_string(),
        alias: known.alias,
        datatype: known.datatype,
        newest: known.newest.map(Timestamp::micros),
        is_ignored: known.is_ignored,
    };
    table.iter().map(saved).collect()
}

fn table(metrics: Vec<SavedMetric>) -> Result<Table, crate::NameError> {
    let known = |saved: SavedMetric| {
        Ok(Known {
            channel: ChannelName::parse(saved.channel)?,
            alias: saved.alias,
            datatype: saved.datatype,
            newest: saved.newest.map(Timestamp::from_micros),
            is_ignored: saved.is_ignored,
        })
    };
    metrics.into_iter().map(known).collect::<Result<_, _>>().map(Table::new)
}
