//! The record against another implementation of protobuf, and against any bytes.

use super::*;
use proptest::prelude::*;

/// The table of the module's doc, as another implementation of protobuf understands it.
#[derive(Clone, PartialEq, prost::Message)]
struct Frame {
    #[prost(message, repeated, tag = "1")]
    record: Vec<Peer>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Peer {
    #[prost(string, tag = "1")]
    topic: String,
    #[prost(bytes = "vec", tag = "2")]
    payload: Vec<u8>,
    #[prost(sfixed64, optional, tag = "3")]
    received_at: Option<i64>,
    #[prost(uint64, tag = "4")]
    received_mono: u64,
    #[prost(uint32, tag = "5")]
    boot: u32,
    #[prost(uint32, tag = "6")]
    door: u32,
    #[prost(uint32, tag = "7")]
    lane: u32,
    #[prost(uint32, tag = "8")]
    partition: u32,
    #[prost(string, optional, tag = "9")]
    device: Option<String>,
    #[prost(uint32, tag = "10")]
    principal: u32,
    #[prost(bytes = "vec", tag = "11")]
    principal_name: Vec<u8>,
    #[prost(string, tag = "12")]
    client_id: String,
    #[prost(uint64, tag = "13")]
    connection: u64,
    #[prost(uint32, tag = "14")]
    packet_id: u32,
    #[prost(uint32, tag = "15")]
    qos: u32,
    #[prost(uint32, tag = "16")]
    kind: u32,
    #[prost(bool, tag = "17")]
    retain: bool,
    #[prost(bool, tag = "18")]
    dup: bool,
    #[prost(uint32, optional, tag = "19")]
    expiry_s: Option<u32>,
    #[prost(string, optional, tag = "20")]
    message_id: Option<String>,
    #[prost(bytes = "vec", optional, tag = "21")]
    trace_id: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "22")]
    to: Option<u64>,
    #[prost(bool, tag = "23")]
    id_reused: bool,
    #[prost(bool, tag = "24")]
    payload_is_utf8: bool,
    #[prost(string, optional, tag = "25")]
    content_type: Option<String>,
    #[prost(string, optional, tag = "26")]
    response_topic: Option<String>,
    #[prost(bytes = "vec", optional, tag = "27")]
    correlation_data: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "28")]
    user: Vec<Pair>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pair {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

fn text(bytes: usize) -> impl Strategy<Value = ByteString> {
    prop::collection::vec(prop_oneof!["[a-z0-9]", "é", "温"], 0..bytes)
        .prop_map(|parts| ByteString::from(parts.concat()))
}

fn blob(bytes: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..bytes).prop_map(Bytes::from)
}

fn device() -> impl Strategy<Value = DeviceName> {
    "[A-Za-z0-9:_-]{1,128}".prop_map(|name| DeviceName::parse(name).expect("a name"))
}

fn topic() -> impl Strategy<Value = TopicName> {
    "[a-z]{1,9}(/[a-z0-9]{0,9}){0,3}".prop_map(|topic| TopicName::parse(topic).expect("a topic"))
}

prop_compose! {
    fn origin()(
        door in 0_u8..6,
        principal in prop_oneof![
            Just(Principal::Anonymous),
            Just(Principal::Inside),
            text(20).prop_map(Principal::User),
            device().prop_map(Principal::DevicePassword),
            any::<[u8; 32]>().prop_map(Principal::Certificate),
        ],
        device in prop::option::of(device()),
        client_id in text(30),
        connection in any::<u64>(),
        boot in any::<u32>(),
        partition in 0_u8..16,
    ) -> Arc<Origin> {
        let door = Door::from_u8(door).expect("a door");
        Arc::new(Origin { door, principal, device, client_id, connection, boot, partition })
    }
}

prop_compose! {
    fn properties()(
        payload_is_utf8 in any::<bool>(),
        content_type in prop::option::of(text(10)),
        response_topic in prop::option::of(topic()),
        correlation_data in prop::option::of(blob(20)),
        user in prop::collection::vec((text(8), text(80)), 0..4),
    ) -> Option<Arc<Properties>> {
        let made = Properties { payload_is_utf8, content_type, response_topic, correlation_data, user };
        (!made.is_empty()).then(|| Arc::new(made))
    }
}

prop_compose! {
    fn message()(
        (topic, payload, qos, lane) in (topic(), blob(300), 0_u8..3, 0_u8..4),
        (retain, dup, packet_id) in any::<(bool, bool, u16)>(),
        (expiry_s, received_at, received_mono) in any::<(Option<u32>, i64, u64)>(),
        properties in properties(),
        message_id in prop::option::of(text(40)),
        (trace_id, to) in any::<(Option<[u8; 16]>, Option<u64>)>(),
        origin in origin(),
    ) -> Message {
        Message {
            topic,
            payload,
            qos: Qos::from_u8(qos).expect("a level"),
            retain,
            dup,
            lane: Lane::from_u8(lane).expect("a lane"),
            packet_id,
            expiry_s,
            received_at: Timestamp::from_micros(received_at),
            received_mono,
            properties,
            message_id,
            trace_id,
            to,
            origin,
        }
    }
}

proptest! {
    #[test]
    fn records_read_as_they_were_written(messages in prop::collection::vec((message(), any::<bool>()), 1..5)) {
        let mut content = Vec::new();
        for (message, id_reused) in &messages {
            let before = content.len();
            encode(message, *id_reused, &mut content);
            prop_assert!(content.len() - before <= bytes_bound(message) + 4);
        }
        let (content, mut unknown) = (Bytes::from(content), Vec::new());
        let records =
            Decoder::default().frame(&content, 40, messages.len(), &mut unknown).expect("well formed");
        prop_assert!(unknown.is_empty());
        for ((at, record), (message, id_reused)) in records.iter().enumerate().zip(&messages) {
            prop_assert_eq!(record.seq, 40 + at as u64);
            prop_assert_eq!(record.id_reused, *id_reused);
            prop_assert_eq!(&record.message, message);
        }
    }

    #[test]
    fn another_protobuf_reads_the_table_and_writes_the_same_bytes(message in message(), id_reused in any::<bool>()) {
        let mut content = Vec::new();
        encode(&message, id_reused, &mut content);
        let frame = <Frame as prost::Message>::decode(&*content).expect("protobuf");
        let peer = &frame.record[0];
        prop_assert_eq!(&*peer.topic, &*message.topic);
        prop_assert_eq!(&*peer.payload, &*message.payload);
        prop_assert_eq!(peer.received_at, Some(message.received_at.micros()));
        prop_assert_eq!(peer.lane, message.lane as u32);
        prop_assert_eq!(peer.device.as_deref(), message.origin.device.as_deref());
        prop_assert_eq!(peer.message_id.as_deref(), message.message_id.as_deref());
        prop_assert_eq!(peer.to, message.to);
        prop_assert_eq!(peer.id_reused, id_reused);
        // All fields, in the order of their numbers: nothing is left that the table does not name.
        prop_assert_eq!(prost::Message::encode_to_vec(&frame), content);
    }

    #[test]
    fn any_bytes_are_records_or_refused(content in prop::collection::vec(any::<u8>(), 0..200), count in 0_usize..5) {
        let _ = Decoder::default().frame(&Bytes::from(content), 1, count, &mut Vec::new());
    }
}

#[test]
fn an_unknown_field_is_passed_over_and_an_unknown_kind_is_told() {
    let peer = Peer { topic: "a/b".to_owned(), ..Peer::default() };
    let later = Peer { kind: 1, ..peer.clone() };
    let mut content = prost::Message::encode_to_vec(&Frame { record: vec![peer, later] });
    // Field 99 of the frame, and of nothing that this version knows.
    put_bytes(&mut content, 99, b"later");
    let mut unknown = Vec::new();
    let records = Decoder::default().frame(&Bytes::from(content), 7, 2, &mut unknown).expect("well formed");
    assert_eq!(records.len(), 1);
    assert_eq!((&*records[0].message.topic, records[0].seq), ("a/b", 7));
    assert_eq!(unknown, [8]);
}
