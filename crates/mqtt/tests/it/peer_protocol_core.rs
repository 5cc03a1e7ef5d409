//! What `mqtt-protocol-core` 0.7 reads in our bytes, and what we read in its bytes: valid ones and mutated ones.
//!
//! Where both accept, both must mean the same. Where one refuses what the other accepts, the difference must be
//! among those named below; whatever else differs fails. The lists were made with a million mutated packets.

use bytes::BytesMut;
use mqtt::{Packet, Reason, Rule, Version};
use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::arbitrary::{config, sent};

/// Where the body starts: behind the first byte and the length.
fn body_at(bytes: &[u8]) -> usize {
    2 + bytes[1..].iter().take_while(|byte| **byte & 0x80 != 0).count()
}

/// What the peer writes of what it reads.
fn through(version: Version, bytes: &[u8]) -> Result<Vec<u8>, MqttError> {
    let (first, body) = (bytes[0], &bytes[body_at(bytes)..]);
    macro_rules! peer {
        ($version:ident: $($number:literal $packet:ident),*) => {
            match first >> 4 {
                3 => $version::Publish::parse(first & 0x0F, body.into())
                    .map(|(packet, _)| packet.to_continuous_buffer()),
                $($number => $version::$packet::parse(body).map(|(packet, _)| packet.to_continuous_buffer()),)*
                other => panic!("packet type {other}"),
            }
        };
    }
    match version {
        Version::V311 => {
            peer!(v3_1_1: 1 Connect, 2 Connack, 4 Puback, 5 Pubrec, 6 Pubrel, 7 Pubcomp, 8 Subscribe,
            9 Suback, 10 Unsubscribe, 11 Unsuback, 12 Pingreq, 13 Pingresp, 14 Disconnect)
        }
        Version::V5 => {
            peer!(v5_0: 1 Connect, 2 Connack, 4 Puback, 5 Pubrec, 6 Pubrel, 7 Pubcomp, 8 Subscribe,
            9 Suback, 10 Unsubscribe, 11 Unsuback, 12 Pingreq, 13 Pingresp, 14 Disconnect, 15 Auth)
        }
    }
}

/// What we take and the peer refuses, and why.
fn we_are_right_to_take(packet: &Packet) -> Option<&'static str> {
    match packet {
        Packet::Connect(connect) if connect.username.is_none() && connect.password.is_some() => {
            Some("MQTT 5 allows a password without a user name (section 3.1.2.9)")
        }
        Packet::Disconnect(disconnect) if disconnect.reason == Reason::BadAuthenticationMethod => {
            Some("0x8C in DISCONNECT stands in the table of section 2.4, not in that of section 3.14.2.1")
        }
        _ => None,
    }
}

/// Rules that the peer does not keep, in some packet or in all; we do.
const THE_PEER_IS_LAX: &[Rule] = &[
    Rule::Trailing,
    Rule::TextNul,
    Rule::LengthNotMinimal,
    Rule::PacketIdZero,
    Rule::ConnAckFlagsReserved,
    Rule::SessionPresentOnRefusal,
    Rule::ConnectFlagReserved,
    Rule::WillQos,
    Rule::WillQosWithoutWill,
    Rule::WillRetainWithoutWill,
    Rule::AuthMethodMissing,
    Rule::ClientIdEmpty,
    Rule::TopicWildcard,
    Rule::TopicEmpty,
    Rule::FilterEmpty,
    Rule::FilterMalformed,
    Rule::SharedFilterMalformed,
    Rule::NoLocalOnShared,
    Rule::SubscribeOptionsReserved,
    // It does not know who sends a DISCONNECT or an AUTH.
    Rule::ReasonNotAllowed,
    Rule::SessionExpiryFromServer,
    Rule::SubscriptionIdFromClient,
    // Our own bounds.
    Rule::TopicTooDeep,
    Rule::FilterTooDeep,
    Rule::UserPropertiesTooMany,
    Rule::FiltersTooMany,
];

proptest! {
    #![proptest_config(config())]

    #[test]
    fn protocol_core_reads_what_we_write_and_we_read_what_it_writes(sent in sent()) {
        let theirs = through(sent.version, &sent.bytes());
        if we_are_right_to_take(&sent.packet).is_some() {
            prop_assert!(theirs.is_err(), "the peer has learnt it: take the difference off the list");
            return Ok(());
        }
        prop_assert!(theirs.is_ok(), "{:?}", theirs);
        let read = sent.decoder().decode(&mut BytesMut::from(&theirs.expect("is ok")[..]));
        prop_assert_eq!(read, Ok(Some(sent.packet)));
    }

    #[test]
    fn protocol_core_and_we_judge_a_mutated_packet_alike(
        sent in sent(),
        changes in vec((any::<Index>(), any::<u8>()), 1..3),
    ) {
        let mut bytes = sent.bytes();
        let body_at = body_at(&bytes);
        if bytes.len() == body_at {
            return Ok(());
        }
        for (at, value) in changes {
            let at = body_at + at.index(bytes.len() - body_at);
            bytes[at] = value;
        }
        let ours = sent.decoder().decode(&mut bytes.clone());
        match (ours, through(sent.version, &bytes)) {
            (Ok(None), _) => prop_assert!(false, "the packet is whole"),
            (Ok(Some(packet)), Ok(theirs)) => {
                let read = sent.decoder().decode(&mut BytesMut::from(&theirs[..]));
                prop_assert_eq!(read, Ok(Some(packet)));
            }
            (Ok(Some(packet)), Err(error)) => {
                prop_assert!(we_are_right_to_take(&packet).is_some(), "the peer says {:?} of {:?}", error, packet);
            }
            (Err(error), Ok(_)) => {
                prop_assert!(THE_PEER_IS_LAX.contains(&error.rule), "the peer takes what we call {}", error);
            }
            (Err(_), Err(_)) => {}
        }
    }
}
