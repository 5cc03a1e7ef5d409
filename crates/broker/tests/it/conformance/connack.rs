//! Section 3.2: CONNACK.

use model::Qos;
use mqtt::{Packet, Reason, Version};

use super::{by_hand, connected, other};
use crate::client::{Client, connect, persistent, publish};
use crate::house::House;

#[tokio::test]
async fn mqtt5_3_2_0_1() {
    // With messages that wait for the client, CONNACK comes first.
    let house = House::open().await;
    let (mut first, _) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    first.subscribe("a", Qos::AtLeastOnce).await;
    first.leave().await;
    let mut other = other(&house).await;
    for id in 1..=20 {
        other.publish_durably("a", id, "x").await;
    }
    let mut back = Client::socket(house.anonymous(), Version::V5).await;
    let hello = Packet::Connect(Box::new(persistent(Version::V5, "me")));
    back.send_all(&[hello, Packet::PingReq, Packet::Publish(publish("b", 1, "x"))]).await;
    assert!(matches!(back.receive().await, Some(Packet::ConnAck(_))));
}

#[tokio::test]
async fn mqtt5_3_2_0_2() {
    let (_house, mut me) = connected().await;
    me.subscribe("a", Qos::AtLeastOnce).await;
    me.publish_durably("b", 1, "x").await;
    // Everything that comes until the end of the connection: no second CONNACK.
    me.send_bytes(&[0x10, 0]).await;
    while let Some(frame) = me.frame().await {
        assert_ne!(frame[0] & 0xf0, 0x20);
    }
}

#[tokio::test]
async fn mqtt5_3_2_2_1() {
    let house = House::open().await;
    for hello in ["10 {'MQTT' 05 00 003c {1100000e10} 'me'}", "10 {'MQTT' 04 00 003c 'old'}"] {
        for is_present in [0, 1] {
            let (mut client, answer) = by_hand(&house, hello).await;
            assert_eq!((answer[0], answer[2]), (0x20, is_present), "{hello}");
            client.send_bytes(&[0xe0, 0]).await;
            assert_eq!(client.frame().await, None);
        }
    }
}

#[tokio::test]
async fn mqtt5_3_2_2_2() {
    let house = House::open().await;
    Client::with(house.anonymous(), persistent(Version::V5, "me")).await.0.leave().await;
    let (_, answer) = by_hand(&house, "10 {'MQTT' 05 02 003c 00 'me'}").await;
    assert_eq!((answer[2], answer[3]), (0, 0));
}

#[tokio::test]
async fn mqtt5_3_2_2_3() {
    let house = House::open().await;
    for expect in [0, 1] {
        let (mut client, answer) = by_hand(&house, "10 {'MQTT' 05 00 003c {1100000e10} 'me'}").await;
        assert_eq!((answer[2], answer[3]), (expect, 0));
        client.send_bytes(&[0xe0, 0]).await;
        assert_eq!(client.frame().await, None);
    }
}

#[tokio::test]
async fn mqtt5_3_2_2_6_and_7() {
    // There is a session; whoever is refused is not told of it, and the connection ends.
    let house = House::open().await;
    Client::with(house.anonymous(), persistent(Version::V5, "me")).await.0.leave().await;
    for hello in [
        "10 {'MQTT' 05 00 003c {15 'SCRAM'} 'me'}",
        "10 {'MQTT' 06 00 003c 00 'me'}",
        "10 {'MQTT' 05 01 003c 00 'me'}",
    ] {
        let (mut client, answer) = by_hand(&house, hello).await;
        let at = if answer[1] & 0x80 == 0 { 2 } else { 3 };
        assert_eq!(answer[at], 0, "{hello}");
        assert!(answer[at + 1] >= 0x80, "{hello}");
        assert_eq!(client.frame().await, None);
    }
}

#[tokio::test]
async fn mqtt5_3_2_2_8() {
    let house = House::open().await;
    // The Connect Reason Codes of table 3-1.
    let codes = [
        0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99,
        0x9a, 0x9b, 0x9c, 0x9d, 0x9f_u8,
    ];
    for hello in [
        "10 {'MQTT' 05 02 003c 00 'me'}",
        "10 {'MQTT' 05 02 003c {15 'SCRAM'} 'me'}",
        "10 {'MQTT' 05 06 003c 00 'me' 00 '#' 'p'}",
        "10 {'MQTT' 05 02 003c {210000} 'me'}",
        "10 {'MQTT' 09 02 003c 00 'me'}",
        "10 {'MQTT' 05 02 003c 00 0001ff}",
    ] {
        let (_, answer) = by_hand(&house, hello).await;
        let at = if answer[1] & 0x80 == 0 { 3 } else { 4 };
        assert!(codes.contains(&answer[at]), "{hello}: {:#x}", answer[at]);
    }
}

#[tokio::test]
async fn mqtt5_3_2_2_15() {
    // Clients must keep to it; the server says what it takes, and ends whoever sends more.
    let house = House::open().await;
    let (mut client, answer) = Client::ask(house.anonymous(), connect(Version::V5, "me")).await;
    let most = answer.and_then(|answer| answer.properties.packet_bytes_max).expect("a maximum").get();
    let mut packet = vec![0x30];
    packet.extend(crate::hostile::bytes::length(most as usize));
    client.send_bytes(&packet).await;
    client.expect_end(Reason::PacketTooLarge).await;
}

#[tokio::test]
async fn mqtt5_3_2_2_16() {
    let house = House::open().await;
    let (mut first, answer) = Client::ask(house.anonymous(), connect(Version::V5, "")).await;
    let given = answer.and_then(|answer| answer.properties.assigned_client_id).expect("an id");
    let (_second, answer) = Client::ask(house.anonymous(), connect(Version::V5, "")).await;
    assert_ne!(answer.and_then(|answer| answer.properties.assigned_client_id).expect("an id"), given);
    // Nobody was taken over.
    first.expect_nothing().await;
}

#[tokio::test]
async fn mqtt5_3_2_2_19() {
    // Maximum Packet Size 12: the refusal goes without its explanation.
    let house = House::open().await;
    for (hello, code) in [
        ("10 {'MQTT' 05 02 003c {270000000c 15 'SCRAM'} 'me'}", 0x8c),
        // Nor is there room for the limits that an answer of success must name.
        ("10 {'MQTT' 05 02 003c {270000000c} 'me'}", 0x95),
    ] {
        let (mut client, answer) = by_hand(&house, hello).await;
        assert!(answer.len() <= 12 && answer[3] == code, "{answer:02x?}");
        assert_eq!(client.frame().await, None);
    }
}

#[tokio::test]
async fn mqtt5_3_2_2_22() {
    // Without a Server Keep Alive in the answer, the client's own value counts.
    let house = House::open().await;
    let mut ask = connect(Version::V5, "me");
    ask.keep_alive_s = 1;
    let (mut client, answer) = Client::ask(house.anonymous(), ask).await;
    assert_eq!(answer.expect("an answer").properties.server_keep_alive_s, None);
    client.expect_end(Reason::KeepAliveTimeout).await;
}
