//! Chapters 1 and 2: texts, lengths, the fixed header, packet ids.

use model::Qos;
use mqtt::{Packet, Reason, Version};

use super::{NEW, Row, V5, V311, by_hand, check, connected, hear, other, say};
use crate::client::{Client, persistent, publish};
use crate::hostile::Expect::{Closed, Refused, Told};
use crate::house::House;

const MALFORMED: crate::hostile::Expect = Told(Reason::MalformedPacket);

#[tokio::test]
async fn mqtt5_1_5_4_1() {
    check(&[
        (NEW, "10 {'MQTT' 05 02 003c 00 0002c328}", Refused(0x81)),
        (NEW, "10 {'MQTT' 05 02 003c 00 0003eda080}", Refused(0x81)),
        (NEW, "10 {'MQTT' 04 02 003c 0003edbfbf}", Closed),
        (V5, "30 {0003eda080 00}", MALFORMED),
        (V5, "30 {'t' {03 0001ff}}", MALFORMED),
        (V5, "82 {0001 00 0002c0af 00}", MALFORMED),
        (V311, "82 {0001 0004f4908080 00}", MALFORMED),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_1_5_4_2() {
    check(&[
        (NEW, "10 {'MQTT' 05 02 003c 00 0003 61 00 62}", Refused(0x81)),
        (V5, "30 {0003 61 00 62 00}", MALFORMED),
        (V5, "82 {0001 00 0001 00 00}", MALFORMED),
        (V311, "30 {0003 61 00 62}", MALFORMED),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_1_5_4_3() {
    let (_house, mut me) = connected().await;
    me.subscribe("#", Qos::AtMostOnce).await;
    // U+FEFF at the front of a topic, and in a user property.
    say(&mut me, "30 {0004 efbbbf 61 {26 'k' 0003 efbbbf} 78}").await;
    hear(&mut me, "30 {0004 efbbbf 61 {26 'k' 0003 efbbbf} 78}").await;
}

#[tokio::test]
async fn mqtt5_1_5_5_1() {
    check(&[
        (V5, "c0 8000", MALFORMED),
        (V5, "30 {'t' 8000}", MALFORMED),
        (V5, "82 {0001 {0b 8100} 'a' 00}", MALFORMED),
        (NEW, "10 {'MQTT' 05 02 003c 8000 'id'}", Refused(0x81)),
    ])
    .await;
    // And the server's own: a SUBACK of three bytes has a length of one byte.
    let (_house, mut me) = connected().await;
    say(&mut me, "82 {0001 00 'a' 00}").await;
    hear(&mut me, "90 {0001 00 00}").await;
}

#[tokio::test]
async fn mqtt5_1_5_7_1() {
    check(&[
        (V5, "30 {'t' {26 0001ff 'v'}}", MALFORMED),
        (V5, "30 {'t' {26 'k' 0001ff}}", MALFORMED),
        (V5, "30 {'t' {26 'k' 000100}}", MALFORMED),
        (NEW, "10 {'MQTT' 05 02 003c {26 0003eda080 'v'} 'id'}", Refused(0x81)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_2_1_3_1() {
    // Every type that a client may send, with each of its reserved bits turned.
    let fixed = [0x40, 0x50, 0x62, 0x70, 0x82, 0xa2, 0xc0, 0xe0, 0xf0_u8];
    let house = House::open().await;
    for first in fixed {
        for bit in 0..4 {
            let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
            client.send_bytes(&[first ^ 1 << bit, 2, 0, 1]).await;
            client.expect_end(Reason::MalformedPacket).await;
        }
    }
}

#[tokio::test]
async fn mqtt5_2_2_1_2() {
    let (house, mut me) = connected().await;
    me.subscribe("#", Qos::ExactlyOnce).await;
    // No bytes stand between topic and properties, in either direction.
    let mut other = other(&house).await;
    say(&mut other, "30 {'t' 00 \"x\"}").await;
    hear(&mut me, "30 {'t' 00 \"x\"}").await;
}

#[tokio::test]
async fn mqtt5_2_2_1_3() {
    // Clients must; a server refuses those who do not.
    check(&[
        (V5, "32 {'t' 0000 00}", Told(Reason::ProtocolError)),
        (V5, "82 {0000 00 'a' 00}", Told(Reason::ProtocolError)),
        (V5, "a2 {0000 00 'a'}", Told(Reason::ProtocolError)),
        (V311, "34 {'t' 0000}", Told(Reason::ProtocolError)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_2_2_1_4() {
    let (house, mut me) = connected().await;
    me.subscribe("#", Qos::ExactlyOnce).await;
    let mut other = other(&house).await;
    let mut ids = std::collections::BTreeSet::new();
    for n in 1..=50 {
        let mut message = publish("t", n, "x");
        if n % 2 == 0 {
            message.qos = Qos::ExactlyOnce;
        }
        other.publish(message).await;
        let got = me.message().await;
        assert!(got.packet_id != 0 && ids.insert(got.packet_id), "id {} again", got.packet_id);
    }
}

#[tokio::test]
async fn mqtt5_2_2_1_5() {
    let (house, mut me) = connected().await;
    say(&mut me, "32 {'t' 4321 00}").await;
    hear(&mut me, "40 {4321}").await;
    say(&mut me, "34 {'t' 4322 00}").await;
    hear(&mut me, "50 {4322}").await;
    say(&mut me, "62 {4322}").await;
    hear(&mut me, "70 {4322}").await;
    // On the way out: PUBREL has the id of PUBLISH.
    me.subscribe("out", Qos::ExactlyOnce).await;
    let mut message = publish("out", 9, "x");
    message.qos = Qos::ExactlyOnce;
    other(&house).await.publish(message).await;
    let id = me.message().await.packet_id;
    me.send_bytes(&[&[0x50, 2][..], &id.to_be_bytes()].concat()).await;
    assert_eq!(me.frame().await.expect("PUBREL"), [&[0x62, 2][..], &id.to_be_bytes()].concat());
}

#[tokio::test]
async fn mqtt5_2_2_1_6() {
    let (_house, mut me) = connected().await;
    say(&mut me, "82 {abcd 00 'a' 00}").await;
    hear(&mut me, "90 {abcd 00 00}").await;
    say(&mut me, "a2 {abce 00 'a'}").await;
    hear(&mut me, "b0 {abce 00 00}").await;
}

#[tokio::test]
async fn mqtt5_2_2_2_1() {
    let house = House::open().await;
    let (mut me, connack) = by_hand(&house, "10 {'MQTT' 05 02 003c 00 'me'}").await;
    // CONNACK: flags, reason, the length of what follows.
    assert_eq!(usize::from(connack[4]), connack.len() - 5);
    me.subscribe("t", Qos::AtMostOnce).await;
    say(&mut me, "30 {'t' 00 \"x\"}").await;
    hear(&mut me, "30 {'t' 00 \"x\"}").await;
    say(&mut me, "82 {0001 00 'b' 00}").await;
    hear(&mut me, "90 {0001 00 00}").await;
    // Without the length there is no packet.
    let rows: &[Row] = &[(V5, "30 {'t'}", MALFORMED), (V5, "82 {0001}", MALFORMED)];
    check(rows).await;
    let (mut kept, _) = Client::with(house.anonymous(), persistent(Version::V5, "kept")).await;
    kept.send(&Packet::PingReq).await;
    hear(&mut kept, "d000").await;
}
