//! Section 3.14: DISCONNECT.

use model::Qos;
use mqtt::{Packet, Reason, Version};

use super::{NEW, V5, V311, by_hand, check, connected, hear, other, say};
use crate::client::{Client, connect, will};
use crate::hostile::Expect::{Closed, Refused, Told};
use crate::house::House;

#[tokio::test]
async fn mqtt5_3_14_0_1() {
    // Before CONNACK faults are answered with CONNACK or with nothing.
    check(&[
        (NEW, "e0 {81}", Closed),
        (NEW, "c100", Closed),
        (NEW, "10 {'MQTT' 05 03 003c 00 'id'}", Refused(0x81)),
        (NEW, "10 {'MQTT' 05 02 003c {210000} 'id'}", Refused(0x82)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_14_1_1() {
    check(&[
        (V5, "e1 {00}", Told(Reason::MalformedPacket)),
        (V5, "e8 00", Told(Reason::MalformedPacket)),
        (V311, "e2 00", Told(Reason::MalformedPacket)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_14_2_1() {
    // The server's own are of table 3-10, for whatever reason; a client's that are not are refused.
    let codes = [
        0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
        0x98_u8,
    ];
    let (_house, mut me) = connected().await;
    drop(me);
    for fault in
        ["c100", "30 {'#' 00}", "30 {'t' {230000}}", "30 ffffff7f", "82 {0001 00 'a#' 00}", "f0 {18 00}"]
    {
        let (_house, client) = connected().await;
        me = client;
        say(&mut me, fault).await;
        let told = me.frame().await.expect("a DISCONNECT");
        // Behind the type and a length of one or two bytes.
        let at = if told[1] & 0x80 == 0 { 2 } else { 3 };
        assert!(told[0] == 0xe0 && codes.contains(&told[at]), "{fault}: {told:02x?}");
    }
    check(&[(V5, "e0 {8e}", Told(Reason::ProtocolError)), (V5, "e0 {01}", Told(Reason::ProtocolError))])
        .await;
}

#[tokio::test]
async fn mqtt5_3_14_2_2() {
    // Taken over, kicked and broken: none of the server's goodbyes has a session expiry.
    let house = House::open().await;
    for how in ["takeover", "kick", "fault"] {
        let mut me = Client::open(house.anonymous(), Version::V5, "me").await;
        let mut next = None;
        match how {
            "takeover" => next = Some(Client::open(house.anonymous(), Version::V5, "me").await),
            "kick" => assert!(house.broker.kick("me", |_| true)),
            _ => say(&mut me, "c100").await,
        }
        match me.receive().await {
            Some(Packet::Disconnect(told)) => {
                assert_eq!(told.properties.and_then(|all| all.session_expiry_s), None, "{how}");
            }
            other => panic!("{other:?}"),
        }
        drop(next);
    }
}

#[tokio::test]
async fn mqtt5_3_14_2_3() {
    // Maximum Packet Size 22: the explanation gives way, the reason stays.
    let house = House::open().await;
    let (mut me, _) = by_hand(&house, "10 {'MQTT' 05 02 003c {2700000016} 'me'}").await;
    say(&mut me, "30 {'a/#' 00}").await;
    let told = me.frame().await.expect("a DISCONNECT");
    assert!(told.len() <= 22 && told[0] == 0xe0 && told[2] == 0x90, "{told:02x?}");
}

#[tokio::test]
async fn mqtt5_3_14_4_1_and_2() {
    let (house, mut me) = connected().await;
    me.subscribe("a", Qos::AtLeastOnce).await;
    let mut next = Client::open(house.anonymous(), Version::V5, "me").await;
    next.publish_durably("a", 1, "x").await;
    let told = me.frame().await.expect("a DISCONNECT");
    assert_eq!(told[0], 0xe0);
    assert_eq!(me.frame().await, None);
}

#[tokio::test]
async fn mqtt5_3_14_4_3() {
    let house = House::open().await;
    let mut watcher = other(&house).await;
    watcher.subscribe("will", Qos::AtLeastOnce).await;
    for goodbye in ["e000", "e0 {00}", "e0 {00 00}"] {
        let mut ask = connect(Version::V5, "me");
        ask.will = Some(will("will", "gone"));
        let (mut me, _) = Client::with(house.anonymous(), ask).await;
        say(&mut me, goodbye).await;
        assert_eq!(me.frame().await, None);
    }
    house.until("all are gone", |stats| stats.connections == 1).await;
    say(&mut watcher, "c000").await;
    hear(&mut watcher, "d000").await;
}
