//! What the codec promises to the outside: round trips, splits, refusals, golden packets, and what other codecs
//! say of the same bytes.

mod arbitrary;
mod golden;
mod limits;
mod malformed;
mod mutation;
mod peer_protocol_core;
mod peer_rumqttc;
mod round_trip;
mod sharing;
