//! Sparkplug B (Eclipse Sparkplug 3.0): what edge nodes say, and what is to be remembered of them to understand it.
//!
//! ```text
//! message ──→ Heard (topic, payload; bounded, pure) ──→ Sparkplug::take ──→ samples, presence, a rebirth to ask for
//!                                                           └ per edge node: bdSeq, seq, alias → name and type, devices
//! ```
//!
//! Not here: who keeps the state and asks for rebirths (`series`), and the bytes that no reading is made of: data sets,
//! templates, files and arrays are skipped, and counted; of properties only the unit is read. The laws: the same messages
//! in the same order lead to the same state and samples, whatever the clock says; what is remembered is bounded; arbitrary
//! bytes never panic.
//!
//! What becomes of metrics:
//!
//! | type | becomes |
//! |---|---|
//! | `Int8` … `UInt64` | number; beyond 2^53 its digits are kept as text too |
//! | `Float`, `Double` | number (a `Float` as the shortest decimal that names it: 21.3, not 21.299999); NaN and infinities: no reading |
//! | `Boolean` | 1, 0 |
//! | `String`, `Text`, `UUID` | text |
//! | `DateTime` | number: milliseconds since 1970 |
//! | `DataSet`, `Bytes`, `File`, `Template`, property sets, arrays | skipped, counted |
//! | `is_null`, or no value | no reading |
//! | `is_historical` | a reading at its own time, flagged late |
//! | `is_transient` | not stored, as the sender asks; counted |
//! | property `engUnit` of a metric of a birth | the unit of its channel |
//! | `bdSeq`, `Node Control/Rebirth` | part of the protocol, no reading |

mod heard;
mod node;
mod saved;
mod sequence;
mod state;
mod table;
mod topic;
mod value;
mod wire;

use bitflags::bitflags;
use bytes::Bytes;
use prost::Message as _;

use crate::decode::Unit;
use crate::{Sample, Timestamp};

pub use heard::Heard;
pub use saved::SavedError;
pub use state::Sparkplug;
pub use topic::{Address, EdgeNode, MessageType, NAMESPACE, Topic, device_name, of_topic};

pub(crate) use heard::decode;

/// The channel by which presence is told: 1 from birth to death, 0 from there.
pub const PRESENCE: &str = "health.online";

/// How long, in microseconds, an overtaken message may be late before what it leaves open is a loss: 2 s. A rebirth
/// is asked for only after it.
pub const REORDER_MICROS: i64 = 2 * Timestamp::SECOND;

/// The metric by which a node is asked for its births (Sparkplug 3.0, section 6.4.19 of the payloads, "NCMD").
const REBIRTH: &str = "Node Control/Rebirth";

/// The metric by which a death finds its birth.
const BD_SEQ: &str = "bdSeq";

bitflags! {
    /// What an operator should know of a message; counted in messages.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Noted: u16 {
        /// Messages before it are missing.
        const GAP = 1;
        /// It came after messages that were sent after it, and filled their gap.
        const OVERTAKEN = 2;
        /// It had come before.
        const AGAIN = 4;
        /// It was sent before the birth that has come since, whose names it would be read by: not stored.
        const BEFORE_BIRTH = 8;
        /// Its node or device has not been born.
        const UNBORN = 16;
        /// It has values whose name or type no birth told: not stored.
        const UNKNOWN_METRIC = 32;
        /// It has values of types that are no readings.
        const VALUES_SKIPPED = 64;
        /// A birth with values older than what is stored of their channels: repeats.
        const CACHED_REPEATS = 128;
        /// A death of an earlier connection, or of somebody unknown: without effect.
        const STALE_DEATH = 256;
        /// There is no room to remember its node.
        const NO_ROOM = 512;
        /// It has values that their sender does not want stored.
        const TRANSIENT = 1024;
        /// A rebirth was to be asked for.
        const REBIRTH_WANTED = 2048;
        /// It has historical values whose time cannot be true: not stored.
        const TIME_UNBELIEVABLE = 4096;
    }
}

/// What a message led to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Told {
    /// Readings and presence, by time; a sample has at most
    /// [`MESSAGE_READINGS_MAX`](crate::limit::MESSAGE_READINGS_MAX) readings.
    pub samples: Vec<Sample>,
    /// Of a birth: the units (UCUM) of the channels of its node or device; of one channel the last counts.
    pub units: Vec<Unit>,
    /// The node that should be asked for its births, [`REORDER_MICROS`] from now if [`Sparkplug::wants_birth`] still
    /// says so.
    pub rebirth: Option<EdgeNode>,
    /// What was unusual.
    pub noted: Noted,
}

/// The payload of an NCMD that asks a node for its births (Sparkplug 3.0, section 6.4.20, "Payload (NCMD)"): no `seq`, for
/// the command is not part of the node's own sequence.
#[must_use]
pub fn rebirth_request(now: Timestamp) -> Bytes {
    let timestamp = u64::try_from(now.micros().div_euclid(1_000)).ok();
    let metric = wire::Metric {
        name: Some(REBIRTH.to_owned()),
        timestamp,
        datatype: Some(value::BOOLEAN),
        value: Some(wire::Value::Boolean(true)),
        ..wire::Metric::default()
    };
    let payload = wire::Payload { timestamp, metrics: vec![metric.encode_to_vec().into()], seq: None };
    payload.encode_to_vec().into()
}

/// The payload of a host's STATE (Sparkplug 3.0, section 6.4.24, "Payload (STATE)").
#[must_use]
pub fn host_state(online: bool, now: Timestamp) -> Bytes {
    format!(r#"{{"online":{online},"timestamp":{}}}"#, now.micros().div_euclid(1_000)).into()
}
