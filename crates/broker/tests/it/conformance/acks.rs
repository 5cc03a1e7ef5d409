//! Sections 3.4 to 3.7: PUBACK, PUBREC, PUBREL, PUBCOMP.

use mqtt::{Reason, Version};

use super::{V5, V311, by_hand, check, connected, hear, say};
use crate::client::Client;
use crate::hostile::Expect::Told;
use crate::house::House;

/// A client that takes no packet of more than 22 bytes, and its house.
async fn of_few_bytes() -> (House, Client) {
    let house = House::open().await;
    let (mut client, answer) = by_hand(&house, "10 {'MQTT' 05 02 003c {2700000016} 'me'}").await;
    assert!(answer.len() <= 22 && answer[3] == 0, "{answer:02x?}");
    client.version = Version::V5;
    (house, client)
}

/// Says it, and hears an answer of this type and reason that fits.
async fn fits(say_this: &str, first: u8, reason: u8) {
    let (_house, mut client) = of_few_bytes().await;
    say(&mut client, say_this).await;
    let answer = client.frame().await.expect("an answer");
    assert!(answer.len() <= 22 && answer[0] == first && answer[4] == reason, "{answer:02x?}");
}

#[tokio::test]
async fn mqtt5_3_4_2_1() {
    // The server's own: success, and a topic that it does not take.
    let (_house, mut me) = connected().await;
    say(&mut me, "32 {'t' 0001 00}").await;
    hear(&mut me, "40 {0001}").await;
    say(&mut me, "32 {'$aws/x' 0002 00}").await;
    assert_eq!(me.frame().await.expect("PUBACK")[4], 0x90);
    // And a client's that is none.
    check(&[
        (V5, "40 {0001 01}", Told(Reason::ProtocolError)),
        (V5, "40 {0001 92}", Told(Reason::ProtocolError)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_4_2_2() {
    fits("32 {'$aws/x' 0002 00}", 0x40, 0x90).await;
}

#[tokio::test]
async fn mqtt5_3_5_2_1() {
    let (_house, mut me) = connected().await;
    say(&mut me, "34 {'t' 0001 00}").await;
    hear(&mut me, "50 {0001}").await;
    say(&mut me, "34 {'$aws/x' 0002 00}").await;
    assert_eq!(me.frame().await.expect("PUBREC")[4], 0x90);
    check(&[(V5, "50 {0001 92}", Told(Reason::ProtocolError))]).await;
}

#[tokio::test]
async fn mqtt5_3_5_2_2() {
    fits("34 {'$aws/x' 0002 00}", 0x50, 0x90).await;
}

#[tokio::test]
async fn mqtt5_3_6_1_1() {
    check(&[
        (V5, "60 {0001}", Told(Reason::MalformedPacket)),
        (V5, "63 {0001}", Told(Reason::MalformedPacket)),
        (V5, "66 {0001}", Told(Reason::MalformedPacket)),
        (V5, "6a {0001}", Told(Reason::MalformedPacket)),
        (V311, "60 {0001}", Told(Reason::MalformedPacket)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_6_2_1() {
    let (_house, mut me) = connected().await;
    say(&mut me, "50 {0009}").await;
    assert_eq!(me.frame().await.expect("PUBREL")[4], 0x92);
    check(&[(V5, "62 {0001 80}", Told(Reason::ProtocolError))]).await;
}

#[tokio::test]
async fn mqtt5_3_6_2_2() {
    fits("50 {0009}", 0x62, 0x92).await;
}

#[tokio::test]
async fn mqtt5_3_7_2_1() {
    let (_house, mut me) = connected().await;
    say(&mut me, "62 {0009}").await;
    assert_eq!(me.frame().await.expect("PUBCOMP")[4], 0x92);
    check(&[(V5, "70 {0001 80}", Told(Reason::ProtocolError))]).await;
}

#[tokio::test]
async fn mqtt5_3_7_2_2() {
    fits("62 {0009}", 0x70, 0x92).await;
}
