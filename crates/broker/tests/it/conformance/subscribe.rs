//! Sections 3.8 and 3.9: SUBSCRIBE and SUBACK.

use model::Qos;
use mqtt::{Packet, Reason, SubscribeOptions, Version};

use super::{V5, V311, at_most, by_hand, check, connected, hear, other, say};
use crate::client::{Client, publish};
use crate::exactly_once::twice;
use crate::hostile::Expect::Told;
use crate::house::House;

const MALFORMED: crate::hostile::Expect = Told(Reason::MalformedPacket);
const PROTOCOL: crate::hostile::Expect = Told(Reason::ProtocolError);

#[tokio::test]
async fn mqtt5_3_8_1_1() {
    check(&[
        (V5, "80 {0001 00 'a' 00}", MALFORMED),
        (V5, "83 {0001 00 'a' 00}", MALFORMED),
        (V5, "8a {0001 00 'a' 00}", MALFORMED),
        (V311, "80 {0001 'a' 00}", MALFORMED),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_8_3_1() {
    check(&[(V5, "82 {0001 00 0001ff 00}", MALFORMED), (V5, "82 {0001 00 000100 00}", MALFORMED)]).await;
}

#[tokio::test]
async fn mqtt5_3_8_3_2() {
    check(&[
        (V5, "82 {0001 00}", PROTOCOL),
        (V311, "82 {0001}", PROTOCOL),
        (V5, "82 {0001 00 'a'}", MALFORMED),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_8_3_3() {
    let (house, mut me) = connected().await;
    let options = SubscribeOptions { no_local: true, ..at_most(Qos::AtLeastOnce) };
    me.subscribe_with("a", options, None).await;
    me.publish_durably("a", 1, "mine").await;
    other(&house).await.publish_durably("a", 1, "other").await;
    assert_eq!(me.take().await.payload, "other");
}

#[tokio::test]
async fn mqtt5_3_8_3_4() {
    check(&[(V5, "82 {0001 00 '$share/g/a' 05}", PROTOCOL)]).await;
}

#[tokio::test]
async fn mqtt5_3_8_3_5() {
    check(&[
        (V5, "82 {0001 00 'a' 40}", MALFORMED),
        (V5, "82 {0001 00 'a' 80}", MALFORMED),
        (V311, "82 {0001 'a' 04}", MALFORMED),
        (V311, "82 {0001 'a' 20}", MALFORMED),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_8_4_1_and_2() {
    let (_house, mut me) = connected().await;
    say(&mut me, "82 {1234 00 'a' 00}").await;
    hear(&mut me, "90 {1234 00 00}").await;
    say(&mut me, "82 {ffff 00 'a' 02}").await;
    hear(&mut me, "90 {ffff 00 02}").await;
}

#[tokio::test]
async fn mqtt5_3_8_4_3() {
    let (house, mut me) = connected().await;
    for (qos, id) in [(Qos::ExactlyOnce, 1), (Qos::AtLeastOnce, 2), (Qos::AtMostOnce, 3)] {
        me.subscribe_with("a/+", at_most(qos), Some(id)).await;
    }
    assert_eq!(house.broker.stats().subscriptions, 1);
    other(&house).await.publish(twice("a/b", 1, "x")).await;
    let got = me.message().await;
    assert_eq!((got.qos, got.properties.expect("properties").subscription_ids), (Qos::AtMostOnce, vec![3]));
    me.expect_nothing().await;
}

#[tokio::test]
async fn mqtt5_3_8_4_4() {
    let (house, mut me) = connected().await;
    let mut retainer = other(&house).await;
    retainer.publish(mqtt::Publish { retain: true, ..publish("kept", 1, "kept") }).await;
    retainer.expect_puback(1, Reason::Success).await;
    // Replaced again and again while somebody publishes: nothing is lost, and what is kept comes each time.
    let mut publisher = Client::open(house.anonymous(), Version::V5, "publisher").await;
    // It stands before the first message.
    me.send(&subscribe_all()).await;
    assert!(matches!(me.receive().await, Some(Packet::SubAck(_))));
    me.send(&subscribe_all()).await;
    let publishing = async {
        for id in 1..=200 {
            publisher.publish_durably("live", id, id.to_string()).await;
        }
    };
    let subscribing = async {
        let (mut kept, mut live, mut acks) = (0, Vec::new(), 1);
        while live.len() < 200 || acks < 30 || kept < 30 {
            match me.receive().await.expect("a packet") {
                Packet::SubAck(_) => {
                    acks += 1;
                    if acks < 30 {
                        me.send(&subscribe_all()).await;
                    }
                }
                Packet::Publish(got) => {
                    if got.retain {
                        kept += 1;
                    } else {
                        live.push(String::from_utf8(got.payload.to_vec()).expect("a number"));
                    }
                    me.acknowledge(got.packet_id).await;
                }
                other => panic!("{other:?}"),
            }
        }
        (kept, live)
    };
    let ((), (kept, live)) = tokio::join!(publishing, subscribing);
    assert_eq!(kept, 30);
    assert_eq!(live, (1..=200).map(|n| n.to_string()).collect::<Vec<_>>());
}

fn subscribe_all() -> Packet {
    let filter = mqtt::SubscriptionFilter::parse("#".to_owned()).expect("a filter");
    Packet::Subscribe(mqtt::Subscribe {
        packet_id: 7,
        filters: vec![(filter, at_most(Qos::AtLeastOnce))],
        subscription_id: None,
        user: Vec::new(),
    })
}

#[tokio::test]
async fn mqtt5_3_8_4_5() {
    let (_house, mut me) = connected().await;
    // As if one after the other: the second of the same filter replaces the first.
    say(&mut me, "82 {0001 00 'a' 02 'b' 01 'a' 00}").await;
    hear(&mut me, "90 {0001 00 02 01 00}").await;
    me.publish(twice("a", 2, "x")).await;
    loop {
        match me.receive().await.expect("a packet") {
            Packet::Publish(got) => break assert_eq!(got.qos, Qos::AtMostOnce),
            Packet::PubRec(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn mqtt5_3_8_4_6_and_7() {
    let (_house, mut me) = connected().await;
    say(&mut me, "82 {0001 00 'a' 00 '$aws/x' 01 'b' 01 'c' 02}").await;
    let answer = me.frame().await.expect("SUBACK");
    // A code for each: the QoS that was granted, or why not.
    assert_eq!(answer[answer.len() - 4..], [0x00, 0x8f, 0x01, 0x02]);
}

#[tokio::test]
async fn mqtt5_3_8_4_8() {
    const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];
    for granted in QOS {
        let (house, mut me) = connected().await;
        me.subscribe("t", granted).await;
        let mut other = other(&house).await;
        for (id, published) in (0..).zip(QOS) {
            let message =
                if published == Qos::ExactlyOnce { twice("t", id, "x") } else { publish("t", id, "x") };
            other.publish(message).await;
            assert_eq!(me.message().await.qos, published.min(granted));
        }
    }
}

#[tokio::test]
async fn mqtt5_3_9_2_1() {
    let house = House::open().await;
    let (mut me, _) = by_hand(&house, "10 {'MQTT' 05 02 003c {2700000016} 'me'}").await;
    say(&mut me, "82 {0001 00 '$aws/x' 01}").await;
    let answer = me.frame().await.expect("SUBACK");
    assert!(answer.len() <= 22 && answer.last() == Some(&0x8f), "{answer:02x?}");
}

#[tokio::test]
async fn mqtt5_3_9_3_1() {
    let (_house, mut me) = connected().await;
    say(&mut me, "82 {0001 00 'a' 02 'b' 00 'c' 01 'd' 00}").await;
    hear(&mut me, "90 {0001 00 02 00 01 00}").await;
}

#[tokio::test]
async fn mqtt5_3_9_3_2() {
    let (_house, mut me) = connected().await;
    let codes = [0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2_u8];
    for filter in ["a", "$aws/x", "$share/g/a", "#", "$SYS/#"] {
        say(&mut me, &format!("82 {{0001 00 '{filter}' 01}}")).await;
        // Messages of `$SYS` may come before or behind it.
        let answer = loop {
            let frame = me.frame().await.expect("SUBACK");
            if frame[0] == 0x90 {
                break frame;
            }
        };
        assert!(codes.contains(answer.last().expect("a code")), "{filter}: {answer:02x?}");
    }
}
