//! MQTT 3.1.1 and 5 packets as values: bytes in, packets out, and back.
//!
//! Not here: sockets, tasks, clocks, sessions, topic aliases' tables, what a packet *does*. Those are the
//! broker's and the client's. The laws this crate keeps:
//!
//! - **Sans-I/O.** [`Decoder`] takes bytes that somebody else read, [`encode`] appends to a buffer that somebody
//!   else writes.
//! - **Zero-copy.** Topics, texts and payloads share the buffer they were read into; who keeps one for long
//!   copies it, for it pins that buffer.
//! - **What decodes is valid.** Every rule of the standards that one packet alone can break is checked, is listed
//!   in [`Rule`] with its number, and answers with the reason code that the standard asks for.
//! - **Bounded.** No memory is set aside for an announced length; a packet above
//!   [`Limits::packet_bytes_max`] is refused when its fixed header is there.
//! - **Round trip.** What [`encode`] writes, [`Decoder`] reads as the same packet.

mod ack;
mod connack;
mod connect;
mod decoder;
mod disconnect;
mod encode;
mod error;
mod fields;
pub mod limit;
mod out;
mod packet;
mod property;
mod publish;
mod reason;
mod rule;
mod suback;
mod subscribe;
mod template;
mod version;

pub use ack::{Ack, AckProperties, AckType, encode_ack};
pub use connack::{ConnAck, ConnAckProperties};
pub use connect::{Connect, ConnectProperties, Will};
pub use decoder::Decoder;
pub use disconnect::{Auth, AuthProperties, Disconnect, DisconnectProperties};
pub use encode::{encode, encode_within};
pub use error::{DecodeError, EncodeError};
pub use limit::Limits;
pub use packet::{Packet, PacketType};
pub use publish::{Publish, PublishProperties};
pub use reason::Reason;
pub use rule::Rule;
pub use suback::{SubAck, UnsubAck};
pub use subscribe::{
    FilterError, RetainHandling, Subscribe, SubscribeOptions, SubscriptionFilter, Unsubscribe,
};
pub use template::{Delivery, PublishTemplate};
pub use version::{Side, Version};

/// Names and values that the sender attached, in order; a name may occur more than once (MQTT 5.0, section 1.5.7).
pub type UserProperties = Vec<(bytestring::ByteString, bytestring::ByteString)>;
