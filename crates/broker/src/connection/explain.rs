//! Why: the reason strings of MQTT 5, for people who read the log of a client.
//!
//! Not here: the reasons themselves. The laws (MQTT 5.0, section 3.1.2.11.7 and the reason string of each packet): nothing but
//! DISCONNECT and CONNACK explains itself to a client that does not want to be told; a packet that would be too large for its client
//! with its explanation goes without; nobody is told what he could not find out himself, such as whether a name exists.

use bytestring::ByteString;
use mqtt::{Ack, AckProperties, Reason};

use crate::link::Link;
use crate::tally::End;

/// Longest explanation in bytes: a sentence, and a topic of some length.
const TEXT_BYTES_MAX: usize = 512;

/// What an end means, where the reason's own name does not say it.
pub(super) fn end(why: End, reason: Reason) -> Option<&'static str> {
    Some(match (why, reason) {
        (End::TakenOver, _) => "another connection with the same client id took the session over",
        (End::Kicked, _) => "an operator ended the connection",
        (End::Withdrawn, _) => "what this client proved is not accepted any more",
        (End::KeepAlive, _) => "nothing came for one and a half keep-alives",
        (End::Shutdown, _) => "the server stops",
        (End::Catalog, _) => "the server cannot save the session",
        (_, Reason::ReceiveMaximumExceeded) => {
            "more publishes are unacknowledged than the Receive Maximum of CONNACK"
        }
        (_, Reason::TopicAliasInvalid) => "a topic alias is above the Topic Alias Maximum of CONNACK",
        (_, Reason::PacketTooLarge) => "the answer does not fit the Maximum Packet Size of CONNECT",
        (_, Reason::ProtocolError) => {
            "against the protocol: an alias that was not set, AUTH without a method, or an expiry for a session that had none"
        }
        _ => return None,
    })
}

/// The text, if this client is to be told, no longer than it may be.
pub(super) fn text(link: &Link, why: impl FnOnce() -> String) -> Option<ByteString> {
    link.is_explained.then(|| shortened(why()).into())
}

fn shortened(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let end = (0..=TEXT_BYTES_MAX - 3).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// What goes with a SUBACK or a PUBACK.
pub(super) fn properties(text: Option<ByteString>) -> Option<Box<AckProperties>> {
    text.map(|text| Box::new(AckProperties { reason_string: Some(text), ..AckProperties::default() }))
}

/// An answer to a packet id that nobody knows.
pub(super) fn unknown(link: &Link, packet_id: u16, reason: Reason) -> Ack {
    let text = match reason {
        Reason::PacketIdentifierNotFound => {
            text(link, || format!("no message with packet id {packet_id} is on its way"))
        }
        _ => None,
    };
    Ack { packet_id, reason, properties: properties(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_explanation_is_cut_between_letters() {
        let long = shortened("é".repeat(400));
        assert!(long.len() <= TEXT_BYTES_MAX && long.ends_with("é..."));
        assert_eq!(shortened("short".to_owned()), "short");
    }
}
