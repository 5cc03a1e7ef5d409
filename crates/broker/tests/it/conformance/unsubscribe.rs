//! Sections 3.10 to 3.12: UNSUBSCRIBE, UNSUBACK, PINGREQ.

use model::Qos;
use mqtt::{Packet, Reason};

use super::{V5, V311, by_hand, check, connected, hear, other, say};
use crate::client::publish;
use crate::exactly_once::{ack, twice};
use crate::hostile::Expect::Told;
use crate::house::House;

#[tokio::test]
async fn mqtt5_3_10_1_1() {
    check(&[
        (V5, "a0 {0001 00 'a'}", Told(Reason::MalformedPacket)),
        (V5, "a3 {0001 00 'a'}", Told(Reason::MalformedPacket)),
        (V311, "a0 {0001 'a'}", Told(Reason::MalformedPacket)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_10_3_1() {
    check(&[
        (V5, "a2 {0001 00 0001ff}", Told(Reason::MalformedPacket)),
        (V5, "a2 {0001 00 000100}", Told(Reason::MalformedPacket)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_10_3_2() {
    check(&[
        (V5, "a2 {0001 00}", Told(Reason::ProtocolError)),
        (V311, "a2 {0001}", Told(Reason::ProtocolError)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_10_4_1() {
    let (house, mut me) = connected().await;
    for filter in ["a/+", "a/#", "a/b"] {
        me.subscribe(filter, Qos::AtMostOnce).await;
    }
    // Character by character: what would match is not meant, nor what differs in the case.
    say(&mut me, "a2 {0001 00 '#' 'A/b' 'a/b/' 'a/+'}").await;
    hear(&mut me, "b0 {0001 00 11 11 11 00}").await;
    assert_eq!(house.broker.stats().subscriptions, 2);
}

#[tokio::test]
async fn mqtt5_3_10_4_2() {
    let (house, mut me) = connected().await;
    me.subscribe("a", Qos::AtLeastOnce).await;
    say(&mut me, "a2 {0001 00 'a'}").await;
    hear(&mut me, "b0 {0001 00 00}").await;
    other(&house).await.publish_durably("a", 1, "x").await;
    me.expect_nothing().await;
}

#[tokio::test]
async fn mqtt5_3_10_4_3() {
    let (house, mut me) = connected().await;
    me.subscribe("a", Qos::ExactlyOnce).await;
    other(&house).await.publish(twice("a", 1, "x")).await;
    let id = me.message().await.packet_id;
    say(&mut me, "a2 {0001 00 'a'}").await;
    hear(&mut me, "b0 {0001 00 00}").await;
    // What it has begun to send it completes.
    me.send(&Packet::PubRec(ack(id))).await;
    me.expect(Packet::PubRel(ack(id))).await;
    me.send(&Packet::PubComp(ack(id))).await;
    house.until("complete", |stats| stats.inflight == 0).await;
}

#[tokio::test]
async fn mqtt5_3_10_4_4_and_5() {
    let (_house, mut me) = connected().await;
    say(&mut me, "a2 {1234 00 'none'}").await;
    hear(&mut me, "b0 {1234 00 11}").await;
}

#[tokio::test]
async fn mqtt5_3_10_4_6() {
    let (house, mut me) = connected().await;
    me.subscribe("a", Qos::AtMostOnce).await;
    say(&mut me, "a2 {0001 00 'a' 'a' 'b'}").await;
    hear(&mut me, "b0 {0001 00 00 11 11}").await;
    assert_eq!(house.broker.stats().subscriptions, 0);
}

#[tokio::test]
async fn mqtt5_3_11_2_1() {
    let house = House::open().await;
    let (mut me, _) = by_hand(&house, "10 {'MQTT' 05 02 003c {2700000016} 'me'}").await;
    say(&mut me, "a2 {0001 00 'none'}").await;
    let answer = me.frame().await.expect("UNSUBACK");
    assert!(answer.len() <= 22 && answer.last() == Some(&0x11), "{answer:02x?}");
}

#[tokio::test]
async fn mqtt5_3_11_3_1_and_2() {
    let (_house, mut me) = connected().await;
    me.subscribe("b", Qos::AtMostOnce).await;
    me.subscribe("d", Qos::AtMostOnce).await;
    say(&mut me, "a2 {0001 00 'a' 'b' 'c' 'd'}").await;
    hear(&mut me, "b0 {0001 00 11 00 11 00}").await;
}

#[tokio::test]
async fn mqtt5_3_12_4_1() {
    let (house, mut me) = connected().await;
    for _ in 0..3 {
        say(&mut me, "c000").await;
        hear(&mut me, "d000").await;
    }
    // While the disk stands still, too.
    house.disk.hold_syncs();
    me.publish(publish("a", 1, "x")).await;
    say(&mut me, "c000").await;
    hear(&mut me, "d000").await;
    house.disk.release_syncs();
}
