//! Where MQTT 3.1.1 says something else than MQTT 5: `mqtt311_3_1_3_8` shows its [MQTT-3.1.3-8].

use model::Qos;
use mqtt::{Packet, Reason, Version};

use super::{NEW, V311, by_hand, check, hear, say};
use crate::client::{Client, connect, persistent, publish, will};
use crate::exactly_once::twice;
use crate::hostile::Expect::{Answer, Closed, Refused, Told};
use crate::house::House;

async fn old(house: &House, client_id: &str) -> Client {
    Client::open(house.anonymous(), Version::V311, client_id).await
}

/// A padded length is no fault: no statement of 3.1.1 forbids it.
#[tokio::test]
async fn mqtt311_2_2_3() {
    check(&[(V311, "c0 80808000", Answer("d000"))]).await;
}

#[tokio::test]
async fn mqtt311_3_1_2_2() {
    check(&[
        (NEW, "10 {'MQTT' 03 02 003c 'id'}", Refused(1)),
        (NEW, "10 {'MQIsdp' 03 02 003c 'id'}", Refused(1)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt311_3_1_2_6() {
    // Clean Session: nothing of it outlives the connection, and the next one finds nothing.
    let house = House::open().await;
    let mut me = old(&house, "me").await;
    me.subscribe("a", Qos::AtLeastOnce).await;
    me.vanish().await;
    house.until("gone", |stats| stats.sessions == 0).await;
    let (_, answer) = by_hand(&house, "10 {'MQTT' 04 00 003c 'me'}").await;
    assert_eq!(answer, [0x20, 2, 0, 0]);
}

#[tokio::test]
async fn mqtt311_3_1_2_4() {
    let house = House::open().await;
    let (mut me, _) = Client::with(house.anonymous(), persistent(Version::V311, "me")).await;
    me.subscribe("a", Qos::AtLeastOnce).await;
    me.vanish().await;
    old(&house, "other").await.publish_durably("a", 1, "x").await;
    let (mut back, is_present) = Client::with(house.anonymous(), persistent(Version::V311, "me")).await;
    assert!(is_present);
    assert_eq!(back.take().await.payload, "x");
}

#[tokio::test]
async fn mqtt311_3_1_2_22() {
    check(&[(NEW, "10 {'MQTT' 04 42 003c 'id' 'word'}", Closed)]).await;
}

#[tokio::test]
async fn mqtt311_3_1_3_8() {
    check(&[(NEW, "10 {'MQTT' 04 00 003c ''}", Refused(2))]).await;
}

#[tokio::test]
async fn mqtt311_3_2_2_4() {
    // No bytes beyond flags and code, whatever became of it.
    let house = House::open().await;
    for (hello, expect) in [
        ("10 {'MQTT' 04 02 003c 'me'}", [0x20, 2, 0, 0]),
        ("10 {'MQTT' 04 00 003c ''}", [0x20, 2, 0, 2]),
        ("10 {'MQTT' 03 02 003c 'me'}", [0x20, 2, 0, 1]),
    ] {
        assert_eq!(by_hand(&house, hello).await.1, expect, "{hello}");
    }
}

#[tokio::test]
async fn mqtt311_3_3_5_2() {
    // A publish that is not permitted is acknowledged or its connection is closed; what is not stored is not acknowledged.
    let house = House::open().await;
    let mut me = old(&house, "me").await;
    me.publish(publish("$aws/x", 1, "x")).await;
    assert_eq!(me.receive().await, None);
    assert_eq!(house.journal.durable_seq(), 0);
}

#[tokio::test]
async fn mqtt311_3_8_4_6() {
    // A subscription that failed is 0x80, in its place.
    let house = House::open().await;
    let mut me = old(&house, "me").await;
    say(&mut me, "82 {0001 'a' 01 '$aws/x' 01 'b' 02}").await;
    hear(&mut me, "90 {0001 01 80 02}").await;
}

#[tokio::test]
async fn mqtt311_3_10_4_5() {
    let house = House::open().await;
    let mut me = old(&house, "me").await;
    say(&mut me, "a2 {0001 'none'}").await;
    hear(&mut me, "b0 {0001}").await;
}

#[tokio::test]
async fn mqtt311_3_14_4_3() {
    let house = House::open().await;
    let mut watcher = old(&house, "watcher").await;
    watcher.subscribe("will", Qos::AtLeastOnce).await;
    let mut ask = connect(Version::V311, "me");
    ask.will = Some(will("will", "gone"));
    let (me, _) = Client::with(house.anonymous(), ask).await;
    me.leave().await;
    house.until("gone", |stats| stats.connections == 1).await;
    watcher.expect_nothing().await;
}

#[tokio::test]
async fn mqtt311_4_3_3_2() {
    // PUBREL for what is not known is answered without a code: there is none.
    let house = House::open().await;
    let mut me = old(&house, "me").await;
    say(&mut me, "62 {0009}").await;
    hear(&mut me, "70 {0009}").await;
    me.publish_exactly_once(twice("t", 9, "x")).await;
}

#[tokio::test]
async fn mqtt311_4_8_0_1() {
    // A fault closes the connection, and there is no word for it.
    check(&[
        (V311, "c100", Told(Reason::MalformedPacket)),
        (V311, "36 {'t' 0001}", Told(Reason::MalformedPacket)),
    ])
    .await;
    let house = House::open().await;
    let mut me = old(&house, "me").await;
    let next = old(&house, "me").await;
    assert_eq!(me.receive().await, None::<Packet>);
    drop(next);
}
