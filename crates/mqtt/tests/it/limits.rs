//! Bounds hold before memory is spent, and what does not fit the receiver is not sent.

use bytes::BytesMut;
use mqtt::*;

use crate::malformed::hex;

#[test]
fn an_announced_length_takes_no_memory() {
    let mut decoder = Decoder::new(Side::Server, 256 * 1024);
    // A CONNECT that says that 262,140 bytes follow: within the bound by one byte's breadth.
    let mut src = hex("10 fcff0f 0004");
    let before = src.capacity();
    assert_eq!(decoder.decode(&mut src), Ok(None));
    assert_eq!(src.capacity(), before);
    // One more is refused when its length is read, though its bytes are not there.
    let refused = Decoder::new(Side::Server, 256 * 1024).decode(&mut hex("10 fdff0f"));
    assert_eq!(refused.map_err(|error| error.rule), Err(Rule::PacketTooLarge));
}

#[test]
fn a_packet_of_exactly_the_most_is_taken_and_one_byte_more_is_not() {
    let mut publish = BytesMut::from(&[0x30, 0x62][..]);
    publish.extend_from_slice(&hex("'t'"));
    publish.resize(100, b'x');
    for (most, is_taken) in [(100, true), (99, false)] {
        let mut decoder = Decoder::new(Side::Server, most);
        decoder.set_version(Version::V311);
        let got = decoder.decode(&mut publish.clone());
        assert_eq!(got.is_ok(), is_taken, "{got:?}");
    }
}

#[test]
fn an_explanation_gives_way_to_the_receivers_maximum() {
    let properties =
        AckProperties { reason_string: Some("x".repeat(100).into()), user: vec![("a".into(), "b".into())] };
    let ack = Ack { packet_id: 7, reason: Reason::NotAuthorized, properties: Some(Box::new(properties)) };
    let packet = Packet::PubAck(ack);
    let written = |most| {
        let mut dst = BytesMut::new();
        encode_within(&packet, Version::V5, most, &mut dst).map(|()| dst.to_vec())
    };
    assert_eq!(written(200).map(|bytes| bytes.len()), Ok(116));
    assert_eq!(written(115), Ok(vec![0x40, 3, 0, 7, 0x87]));
    let refused = EncodeError::TooLarge { packet: PacketType::PubAck, bytes: 5, bytes_max: 4 };
    assert_eq!(written(4), Err(refused));
}

#[test]
fn a_message_above_the_receivers_maximum_is_not_written() {
    let publish = Publish {
        dup: false,
        qos: model::Qos::AtMostOnce,
        retain: false,
        topic: Some(model::TopicName::parse("t").expect("a topic")),
        packet_id: 0,
        properties: None,
        payload: vec![0; 100].into(),
    };
    let mut dst = BytesMut::from("before");
    let refused = encode_within(&Packet::Publish(publish), Version::V5, 100, &mut dst);
    assert_eq!(
        refused,
        Err(EncodeError::TooLarge { packet: PacketType::Publish, bytes: 106, bytes_max: 100 })
    );
    assert_eq!(&dst[..], b"before");
}

#[test]
fn what_a_version_cannot_say_is_refused_and_nothing_is_written() {
    let check = |packet: Packet, version, expect: &str| {
        let mut dst = BytesMut::new();
        let error = encode(&packet, version, &mut dst).expect_err("cannot be said");
        assert_eq!(error.to_string(), expect);
        assert!(dst.is_empty());
    };
    let failure = Packet::PubAck(Ack::new(1, Reason::NotAuthorized));
    check(failure, Version::V311, "MQTT 3.1.1 has no way to say a failure in PUBACK");
    let leave = Packet::Disconnect(Disconnect::new(Reason::SessionTakenOver));
    check(leave, Version::V311, "MQTT 3.1.1 has no way to say a reason in DISCONNECT");
    let refusal = Packet::ConnAck(Box::new(ConnAck::refusal(Reason::MalformedPacket)));
    check(refusal, Version::V311, "MQTT 3.1.1 has no way to say this reason in CONNACK");
    let auth = Packet::Auth(Auth { reason: Reason::Success, properties: None });
    check(auth, Version::V311, "MQTT 3.1.1 has no way to say anything in AUTH");
    check(Packet::PubAck(Ack::new(0, Reason::Success)), Version::V5, "PUBACK cannot have the packet id 0");
    let wrong = Packet::PubRel(Ack::new(1, Reason::QuotaExceeded));
    check(wrong, Version::V5, "PUBREL cannot have this reason");
    let empty = Packet::Unsubscribe(Unsubscribe { packet_id: 1, filters: vec![], user: vec![] });
    check(empty, Version::V5, "UNSUBSCRIBE cannot have no filter");
    let long = AckProperties { reason_string: Some("x".repeat(65_536).into()), user: vec![] };
    let long = Ack { packet_id: 1, reason: Reason::Success, properties: Some(Box::new(long)) };
    check(Packet::PubAck(long), Version::V5, "Reason String of PUBACK is 65536 bytes; the most is 65535");
}

#[test]
fn acks_are_written_directly_as_encode_writes_them() {
    let types = [
        (AckType::PubAck, Packet::PubAck as fn(Ack) -> Packet),
        (AckType::PubRec, Packet::PubRec),
        (AckType::PubRel, Packet::PubRel),
        (AckType::PubComp, Packet::PubComp),
    ];
    for (ack, packet) in types {
        for &reason in Reason::ALL {
            for version in [Version::V311, Version::V5] {
                let (mut direct, mut encoded) = (BytesMut::new(), BytesMut::new());
                let one = encode_ack(ack, 0x1234, reason, version, &mut direct);
                let other = encode(&packet(Ack::new(0x1234, reason)), version, &mut encoded);
                assert_eq!((one, direct), (other, encoded), "{ack:?} {reason} {version}");
            }
        }
        assert!(encode_ack(ack, 0, Reason::Success, Version::V5, &mut BytesMut::new()).is_err());
    }
}

#[test]
fn passwords_are_not_shown() {
    let connect = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 0,
        client_id: "id".into(),
        will: None,
        username: Some("user".into()),
        password: Some("secret".into()),
        properties: ConnectProperties {
            auth_method: Some("method".into()),
            auth_data: Some("secret".into()),
            ..ConnectProperties::default()
        },
    };
    let shown = format!("{connect:?}");
    assert!(!shown.contains("secret"), "{shown}");
    assert!(shown.contains("user"), "{shown}");
}
