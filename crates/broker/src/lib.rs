//! The MQTT door: sockets, sessions, subscriptions, retained messages, delivery. MQTT 3.1.1 and 5 over
//! TCP, TLS and WebSocket.
//!
//! ```text
//! socket ─ connection ─ may? ─ journal ──→ durable ─┬→ PUBACK, in order (connection)
//!              │                                    ├→ delivery ─ fanout ┬ outbox ─→ QoS 1 and 2 subscribers
//!              │                                    │                    └ group ─ one member's outbox
//!              └→ QoS 0: fanout at once             └→ archive: retained messages, in memory and in the catalog
//! ```
//!
//! Not here: packet bytes (`mqtt`), who may what (`identity`), what a topic means to a feature: the door knows topics
//! only. A connection is generic
//! over its stream, and an outbox over how its messages are acknowledged.
//!
//! The laws this crate keeps:
//!
//! - **Acknowledged means durable.** A PUBACK or PUBREC leaves after its message is on stable storage, in the order of arrival.
//! - **Nothing is silently dropped.** Every bound is a setting with a counter ([`Settings`], [`Drop`], [`Refusal`]).
//! - **Nobody waits for a slow consumer.** Its queue is bounded; what does not fit waits in the journal.
//! - **Back-pressure instead of memory.** A connection with too much on its way to the journal is read no further.
//!
//! What MQTT leaves to the server, and what this one does:
//!
//! - A QoS 1 publish that is not permitted: MQTT 5, PUBACK 0x87. MQTT 3.1.1 has no refusal, and an acknowledgement would
//!   be a lie (MQTT-3.3.5-2 allows it, our first law does not): the connection is closed. QoS 0: dropped and counted.
//! - QoS 0 to subscribers is delivered before it is durable; a QoS 1 publish is delivered after it, also to subscribers
//!   with QoS 0: a message that nobody owns yet is shown to nobody who could act on it. A QoS 0 publish with an id waits
//!   for the journal too, for only the journal knows repeats.
//! - A session belongs to its device, or to its principal when that has none: the same client id of another one gets a new session, and is refused while the
//!   first is connected.
//! - A will is judged when it is published, by what its client may do then. It is not published when the server stops in good order.
//! - What a bridge of another broker retains and says again on every connect is acknowledged, counted, and neither stored
//!   nor delivered again; its subscriptions do not bring back what it published itself (`bridge`).
//! - Sessions that outlive their connection outlive the process (`store`, `restore`). After a crash, not after a stop in good order,
//!   what was delivered at QoS 1 in the last two seconds may be delivered again. QoS 2 is one message whatever happens, in and out:
//!   each step is on record before the next packet; only its releases may be repeated.
//! - A will is durable before its client is let in. After a crash it is published when its delay is over, at the start if it has
//!   none. A crash between its publication and the note of it publishes it twice.
//! - Retained messages that a new subscription was still to be sent are sent when its client comes back, and after a restart.
//! - Shared subscriptions (`group`) are served to MQTT 3.1.1 clients too, in the same words, as Mosquitto does. A member without
//!   room is passed over; what nobody has room for waits in the journal. QoS 1 that a member has not acknowledged goes to another
//!   when the member's session ends, not when its connection breaks (MQTT 5.0, section 4.8.2 permits both).
//! - Reason strings go with every refusal of MQTT 5 (`connection/explain`), to those who want them. Response Information is given
//!   to nobody: request and response need no topics of ours. Topic aliases are taken, and none are used on the way out: of a 100 B
//!   payload on a topic of 28 B they would save 18 %, to the few clients that announce any, for an encoding of their own.
//! - MQTT 3.1.1 sessions that are not clean live for [`Settings::session_expiry_max`].

mod admission;
mod archive;
mod at_rest;
mod backlog;
mod bridge;
mod broker;
mod connection;
mod delivery;
mod entry;
mod error;
mod fanout;
mod group;
mod incoming;
mod link;
mod listener;
mod logbook;
mod outbox;
mod owner;
mod prepared;
#[doc(hidden)]
pub mod probe;
mod restore;
mod retained;
mod scratch;
mod session;
mod sessions;
mod settings;
mod shared;
mod signal;
mod store;
mod sys;
mod tally;
mod timetable;
mod transport;
mod trie;
mod view;
mod websocket;
mod will;

pub use broker::{Broker, Parts};
pub use error::StartError;
pub use settings::{Auth, DoorName, ListenerSettings, Settings};
pub use tally::{Drop, End, Refusal, Stats};
pub use view::{ConnectionView, FilterView, RetainedView, SessionView};
