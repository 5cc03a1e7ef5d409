//! Packets as the outside writes them: figures of the standards, and what well-known programs send. They must be
//! read and written as they stand, for ever.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::BytesMut;
use model::{Qos, TopicName};
use mqtt::*;

use crate::arbitrary::decoder;
use crate::malformed::hex;

fn topic(text: &str) -> TopicName {
    TopicName::parse(text.to_owned()).expect("a topic")
}

fn filter(text: &str) -> SubscriptionFilter {
    SubscriptionFilter::parse(text.to_owned()).expect("a filter")
}

/// The bytes and the packet are the same thing, in both directions.
fn check(receiver: Side, version: Version, bytes: &str, packet: Packet) {
    let bytes = hex(bytes);
    let read = decoder(&packet, version, receiver).decode(&mut bytes.clone());
    assert_eq!(read.as_ref(), Ok(&Some(packet.clone())));
    let mut written = BytesMut::new();
    encode(&packet, version, &mut written).expect("a valid packet");
    assert_eq!(written, bytes, "{packet:?}");
}

/// MQTT 3.1.1, figure 3.6, and MQTT 5.0, figure 3-6: user name, password, a will of QoS 1, clean session,
/// 10 seconds.
#[test]
fn connect_of_the_standards_figures() {
    let will = Will {
        topic: topic("w"),
        payload: "bye".into(),
        qos: Qos::AtLeastOnce,
        retain: false,
        delay_s: 0,
        expiry_s: None,
        attached: model::Properties::default(),
    };
    let connect = Connect {
        version: Version::V311,
        clean_start: true,
        keep_alive_s: 10,
        client_id: "id".into(),
        will: Some(will),
        username: Some("user".into()),
        password: Some("pass".into()),
        properties: ConnectProperties::default(),
    };
    check(
        Side::Server,
        Version::V311,
        "10 22 'MQTT' 04 ce 000a 'id' 'w' 'bye' 'user' 'pass'",
        Packet::Connect(Box::new(connect.clone())),
    );
    let mut connect = Connect { version: Version::V5, ..connect };
    connect.properties.session_expiry_s = 10;
    check(
        Side::Server,
        Version::V5,
        "10 29 'MQTT' 05 ce 000a 05 110000000a 'id' 00 'w' 'bye' 'user' 'pass'",
        Packet::Connect(Box::new(connect)),
    );
}

/// As `mosquitto_pub -V mqttv5 -i a` sends it: a receive maximum of 20.
#[test]
fn connect_of_mosquitto_pub() {
    let properties = ConnectProperties {
        receive_maximum: NonZeroU16::new(20).expect("not 0"),
        ..ConnectProperties::default()
    };
    let connect = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 60,
        client_id: "a".into(),
        will: None,
        username: None,
        password: None,
        properties,
    };
    check(
        Side::Server,
        Version::V5,
        "10 11 'MQTT' 05 02 003c 03 210014 'a'",
        Packet::Connect(Box::new(connect)),
    );
}

#[test]
fn connack_with_every_property() {
    let packet = Packet::ConnAck(Box::new(ConnAck {
        session_present: true,
        reason: Reason::Success,
        properties: ConnAckProperties {
            session_expiry_s: Some(60),
            receive_maximum: NonZeroU16::new(20).expect("not 0"),
            qos_max: Qos::AtLeastOnce,
            retain_available: false,
            packet_bytes_max: NonZeroU32::new(262_144),
            assigned_client_id: Some("c".into()),
            topic_alias_max: 10,
            reason_string: Some("r".into()),
            user: vec![("n".into(), "v".into())],
            wildcards_available: false,
            subscription_ids_available: false,
            shared_available: false,
            server_keep_alive_s: Some(30),
            response_information: Some("i".into()),
            server_reference: Some("s".into()),
            auth_method: Some("m".into()),
            auth_data: Some("d".into()),
        },
    }));
    check(
        Side::Client,
        Version::V5,
        "20 3f 01 00 3c 110000003c 210014 2401 2700040000 22000a 13001e 2500 2800 2900 2a00 12'c' 1a'i' 1c's' \
         15'm' 16'd' 1f'r' 26'n''v'",
        packet,
    );
    check(
        Side::Client,
        Version::V311,
        "20 02 00 05",
        Packet::ConnAck(Box::new(ConnAck::refusal(Reason::NotAuthorized))),
    );
}

/// MQTT 3.1.1, figure 3.11: topic a/b, packet id 10.
#[test]
fn publish_of_the_standards_figures() {
    let publish = Publish {
        dup: false,
        qos: Qos::AtLeastOnce,
        retain: false,
        topic: Some(topic("a/b")),
        packet_id: 10,
        properties: None,
        payload: "22.5".into(),
    };
    check(Side::Server, Version::V311, "32 0b 'a/b' 000a 32322e35", Packet::Publish(publish.clone()));
    check(Side::Client, Version::V5, "32 0c 'a/b' 000a 00 32322e35", Packet::Publish(publish.clone()));
    let properties = PublishProperties {
        topic_alias: NonZeroU16::new(5),
        expiry_s: Some(60),
        subscription_ids: vec![1, 268_435_455],
        attached: model::Properties {
            payload_is_utf8: true,
            content_type: Some("text".into()),
            response_topic: Some(topic("r")),
            correlation_data: Some("c".into()),
            user: vec![("message-id".into(), "17".into())],
        },
    };
    let publish =
        Publish { dup: true, retain: true, topic: None, properties: Some(Box::new(properties)), ..publish };
    check(
        Side::Client,
        Version::V5,
        "3b 3a '' 000a 31 230005 020000003c 0101 03'text' 08'r' 09'c' 26'message-id''17' 0b01 0bffffff7f 32322e35",
        Packet::Publish(publish),
    );
}

#[test]
fn acks_in_every_length() {
    let success = Ack::new(0x1234, Reason::Success);
    for version in [Version::V311, Version::V5] {
        check(Side::Server, version, "40 02 1234", Packet::PubAck(success.clone()));
        check(Side::Server, version, "50 02 1234", Packet::PubRec(success.clone()));
        check(Side::Server, version, "62 02 1234", Packet::PubRel(success.clone()));
        check(Side::Server, version, "70 02 1234", Packet::PubComp(success.clone()));
    }
    check(
        Side::Client,
        Version::V5,
        "40 03 1234 10",
        Packet::PubAck(Ack::new(0x1234, Reason::NoMatchingSubscribers)),
    );
    let properties = AckProperties { reason_string: Some("no".into()), user: vec![("a".into(), "b".into())] };
    let ack = Ack { packet_id: 1, reason: Reason::QuotaExceeded, properties: Some(Box::new(properties)) };
    check(Side::Client, Version::V5, "50 10 0001 97 0c 1f'no' 26'a''b'", Packet::PubRec(ack));
}

/// MQTT 3.1.1, figures 3.22 and 3.30: a/b at QoS 1, c/d at QoS 2; MQTT 5.0, figure 3-21.
#[test]
fn subscribe_and_unsubscribe_of_the_standards_figures() {
    let options = |qos_max| SubscribeOptions { qos_max, ..SubscribeOptions::default() };
    let subscribe = Subscribe {
        packet_id: 10,
        filters: vec![(filter("a/b"), options(Qos::AtLeastOnce)), (filter("c/d"), options(Qos::ExactlyOnce))],
        subscription_id: None,
        user: vec![],
    };
    check(Side::Server, Version::V311, "82 0e 000a 'a/b' 01 'c/d' 02", Packet::Subscribe(subscribe.clone()));
    check(Side::Server, Version::V5, "82 0f 000a 00 'a/b' 01 'c/d' 02", Packet::Subscribe(subscribe));
    let all = SubscribeOptions {
        qos_max: Qos::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::Never,
    };
    let subscribe = Subscribe {
        packet_id: 1,
        filters: vec![(filter("$SYS/#"), all), (filter("$share/g/+"), options(Qos::AtMostOnce))],
        subscription_id: NonZeroU32::new(128),
        user: vec![("a".into(), "b".into())],
    };
    check(
        Side::Server,
        Version::V5,
        "82 23 0001 0a 0b8001 26'a''b' '$SYS/#' 2d '$share/g/+' 00",
        Packet::Subscribe(subscribe),
    );
    let unsubscribe =
        Unsubscribe { packet_id: 10, filters: vec![filter("a/b"), filter("c/d")], user: vec![] };
    check(Side::Server, Version::V311, "a2 0c 000a 'a/b' 'c/d'", Packet::Unsubscribe(unsubscribe.clone()));
    check(Side::Server, Version::V5, "a2 0d 000a 00 'a/b' 'c/d'", Packet::Unsubscribe(unsubscribe));
}

/// MQTT 3.1.1, figure 3.26: QoS 0, QoS 2, failure.
#[test]
fn suback_and_unsuback() {
    let reasons = vec![Reason::Success, Reason::GrantedQos2, Reason::Unspecified];
    let suback = SubAck { packet_id: 10, reasons, properties: None };
    check(Side::Client, Version::V311, "90 05 000a 00 02 80", Packet::SubAck(suback.clone()));
    check(Side::Client, Version::V5, "90 06 000a 00 00 02 80", Packet::SubAck(suback));
    let unsuback = UnsubAck { packet_id: 10, reasons: vec![], properties: None };
    check(Side::Client, Version::V311, "b0 02 000a", Packet::UnsubAck(unsuback.clone()));
    let reasons = vec![Reason::Success, Reason::NoSubscriptionExisted];
    check(
        Side::Client,
        Version::V5,
        "b0 05 000a 00 00 11",
        Packet::UnsubAck(UnsubAck { reasons, ..unsuback }),
    );
}

#[test]
fn pings_disconnect_and_auth() {
    for version in [Version::V311, Version::V5] {
        check(Side::Server, version, "c0 00", Packet::PingReq);
        check(Side::Client, version, "d0 00", Packet::PingResp);
        check(Side::Server, version, "e0 00", Packet::Disconnect(Disconnect::new(Reason::Success)));
    }
    check(
        Side::Server,
        Version::V5,
        "e0 01 04",
        Packet::Disconnect(Disconnect::new(Reason::DisconnectWithWill)),
    );
    let properties = DisconnectProperties {
        session_expiry_s: None,
        reason_string: Some("moved".into()),
        user: vec![],
        server_reference: Some("b:1883".into()),
    };
    check(
        Side::Client,
        Version::V5,
        "e0 13 9d 11 1c'b:1883' 1f'moved'",
        Packet::Disconnect(Disconnect {
            reason: Reason::ServerMoved,
            properties: Some(Box::new(properties)),
        }),
    );
    let properties = AuthProperties {
        method: Some("SCRAM-SHA-1".into()),
        data: Some("server-first".into()),
        reason_string: None,
        user: vec![],
    };
    check(
        Side::Client,
        Version::V5,
        "f0 1f 18 1d 15'SCRAM-SHA-1' 16'server-first'",
        Packet::Auth(Auth { reason: Reason::ContinueAuthentication, properties: Some(Box::new(properties)) }),
    );
    check(
        Side::Client,
        Version::V5,
        "f0 00",
        Packet::Auth(Auth { reason: Reason::Success, properties: None }),
    );
}
