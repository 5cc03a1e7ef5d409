//! Sections 3.15, 4.12 and 4.13: AUTH, and what happens after an error.

use mqtt::{Packet, Reason, Version};

use super::{NEW, V5, V311, by_hand, check, say};
use crate::client::{Client, connect};
use crate::hostile::Expect::{Refused, Told};
use crate::house::House;

#[tokio::test]
async fn mqtt5_3_15_1_1() {
    check(&[
        (V5, "f1 {18 {15 'x'}}", Told(Reason::MalformedPacket)),
        (V5, "f2 00", Told(Reason::MalformedPacket)),
        (V5, "f8 00", Told(Reason::MalformedPacket)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_4_12_0_1_and_4() {
    let house = House::open().await;
    for method in ["SCRAM-SHA-256", "GS2-KRB5", ""] {
        let mut ask = connect(Version::V5, "me");
        ask.properties.auth_method = Some(method.into());
        let (mut client, answer) = Client::ask(house.anonymous(), ask).await;
        assert_eq!(answer.map(|answer| answer.reason), Some(Reason::BadAuthenticationMethod));
        assert_eq!(client.receive().await, None);
    }
    // Data goes with it, and changes nothing.
    check(&[(NEW, "10 {'MQTT' 05 02 003c {15 'SCRAM' 16 'data'} 'id'}", Refused(0x8c))]).await;
}

#[tokio::test]
async fn mqtt5_4_12_0_6() {
    let house = House::open().await;
    let (mut client, answer) = by_hand(&house, "10 {'MQTT' 05 02 003c 00 'me'}").await;
    let mut decoder = mqtt::Decoder::new(mqtt::Side::Client, 1 << 16);
    let read = decoder.decode(&mut bytes::BytesMut::from(&answer[..])).expect("a packet");
    assert!(
        matches!(read, Some(Packet::ConnAck(answer)) if answer.properties.auth_method.is_none() && answer.properties.auth_data.is_none())
    );
    client.expect_nothing().await;
}

#[tokio::test]
async fn mqtt5_4_12_0_7() {
    // Clients must not; a server ends those who do.
    check(&[
        (V5, "f0 {18 {15 'x'}}", Told(Reason::ProtocolError)),
        (V5, "f0 {19 {15 'x'}}", Told(Reason::ProtocolError)),
        (V311, "f0 00", Told(Reason::MalformedPacket)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_4_13_1_1() {
    check(&[
        (V5, "c100", Told(Reason::MalformedPacket)),
        (V5, "82 {0001 00}", Told(Reason::ProtocolError)),
        (V5, "30 {'t' {23ffff}}", Told(Reason::TopicAliasInvalid)),
        (V5, "30 {'#' 00}", Told(Reason::TopicNameInvalid)),
        (V5, "82 {0001 00 '#/a' 00}", Told(Reason::TopicFilterInvalid)),
        (V5, "30 ffffff7f", Told(Reason::PacketTooLarge)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_4_13_2_1() {
    // Told or not: a client for whom the word would be too large is closed all the same.
    let house = House::open().await;
    let (mut me, _) = by_hand(&house, "10 {'MQTT' 05 02 003c {2700000014} 'me'}").await;
    say(&mut me, "c100").await;
    while let Some(frame) = me.frame().await {
        assert!(frame.len() <= 20 && frame[0] == 0xe0, "{frame:02x?}");
    }
    check(&[(NEW, "10 {'MQTT' 05 02 003c {15 'x'} 'id'}", Refused(0x8c))]).await;
}
