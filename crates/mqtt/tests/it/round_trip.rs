//! What is written is read as the same packet, however it arrives.

use bytes::BytesMut;
use mqtt::{Packet, PublishTemplate, Side, Version};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::arbitrary::{config, packet, sent};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_encoded_decodes_to_the_same_packet(sent in sent()) {
        let mut bytes = sent.bytes();
        let read = sent.decoder().decode(&mut bytes);
        prop_assert_eq!(read, Ok(Some(sent.packet)));
        prop_assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
    }

    #[test]
    fn a_packet_that_arrives_in_two_parts_is_the_same(sent in sent()) {
        let whole = sent.bytes();
        // Every place of a short packet, and the interesting ends of a long one.
        let at = (0..whole.len().min(300)).chain(whole.len().saturating_sub(20)..whole.len());
        for at in at {
            let mut src = BytesMut::from(&whole[..at]);
            let mut decoder = sent.decoder();
            prop_assert_eq!(decoder.decode(&mut src), Ok(None), "after {} bytes", at);
            prop_assert_eq!(src.len(), at, "nothing is taken before a packet is whole");
            src.extend_from_slice(&whole[at..]);
            prop_assert_eq!(decoder.decode(&mut src), Ok(Some(sent.packet.clone())), "split at {}", at);
        }
    }

    #[test]
    fn packets_in_one_buffer_come_out_in_their_order(
        (version, packets) in prop_oneof![Just(Version::V311), Just(Version::V5)]
            .prop_flat_map(|version| (Just(version), vec(packet(version, Side::Client), 1..20))),
    ) {
        let mut src = BytesMut::new();
        for packet in &packets {
            mqtt::encode(packet, version, &mut src).expect("a valid packet");
        }
        let mut decoder = mqtt::Decoder::new(Side::Client, 1 << 20);
        decoder.set_version(version);
        for packet in packets {
            prop_assert_eq!(decoder.decode(&mut src), Ok(Some(packet)));
        }
        prop_assert_eq!(decoder.decode(&mut src), Ok(None));
    }

    #[test]
    fn a_template_writes_what_encode_writes(sent in sent()) {
        let Packet::Publish(mut publish) = sent.packet.clone() else { return Ok(()) };
        // What a template leaves to others.
        publish.dup = false;
        if let Some(properties) = &mut publish.properties {
            properties.topic_alias = None;
        }
        let Some(topic) = publish.topic.clone() else { return Ok(()) };
        let properties = publish.properties.clone().unwrap_or_default();
        let delivery = mqtt::Delivery {
            topic: &topic,
            qos: publish.qos,
            retain: publish.retain,
            expiry_s: properties.expiry_s,
            subscription_ids: &properties.subscription_ids,
            attached: Some(&properties.attached),
            payload: &publish.payload,
        };
        let template = PublishTemplate::new(&delivery, sent.version).expect("a valid delivery");
        let (mut written, mut encoded) = (BytesMut::from("before"), BytesMut::from("before"));
        template.write(publish.packet_id, &mut written);
        mqtt::encode(&Packet::Publish(publish.clone()), sent.version, &mut encoded).expect("a valid packet");
        prop_assert_eq!(&written, &encoded);
        prop_assert_eq!(template.packet_bytes(), encoded.len() - "before".len());

        let mut head = BytesMut::from("before");
        template.write_head(publish.packet_id, &mut head);
        head.extend_from_slice(&template.payload());
        prop_assert_eq!(&head, &encoded);
    }
}
