//! Section 3.3: PUBLISH.

use std::sync::Arc;
use std::time::Duration;

use host::sim::SimClock;
use model::{Properties, Qos, TopicName};
use mqtt::{
    Packet, Publish, Reason, RetainHandling, Subscribe, SubscribeOptions, SubscriptionFilter, Version,
};

use super::{NEW, V5, V311, at_most, check, connected, hear, is_next, other, say, with};
use crate::client::{Client, connect, persistent, publish};
use crate::exactly_once::{ack, twice};
use crate::hostile::Expect::{Refused, Told};
use crate::house::{House, Plan};

fn retained(topic: &str, packet_id: u16, payload: &'static str) -> Publish {
    Publish { retain: true, ..publish(topic, packet_id, payload) }
}

/// Publishes it at QoS 1 and waits until it is the retained one.
async fn retain(house: &House, topic: &str, payload: &'static str) {
    let mut client = Client::open(house.anonymous(), Version::V5, "retainer").await;
    client.publish(retained(topic, 1, payload)).await;
    client.expect_puback(1, Reason::Success).await;
    client.leave().await;
}

/// Subscribes and counts nothing: SUBACK comes among the messages.
async fn ask_for(client: &mut Client, filter: &str, options: SubscribeOptions) {
    let filter = SubscriptionFilter::parse(filter.to_owned()).expect("a filter");
    let filters = vec![(filter, options)];
    client
        .send(&Packet::Subscribe(Subscribe {
            packet_id: 7,
            filters,
            subscription_id: None,
            user: Vec::new(),
        }))
        .await;
}

/// The retained messages that come up to the `ends`-th of the topic `end`, which is left out.
async fn up_to_end(client: &mut Client, mut ends: usize) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while ends > 0 {
        match client.receive().await.expect("a packet") {
            Packet::SubAck(_) => {}
            Packet::Publish(got) => {
                assert!(got.retain);
                match got.topic.as_deref().expect("a topic") {
                    "end" => ends -= 1,
                    topic => {
                        found
                            .push((topic.to_owned(), String::from_utf8(got.payload.to_vec()).expect("text")));
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }
    found
}

/// What is retained for somebody new who subscribes to `filter`.
async fn found(house: &House, filter: &str) -> Vec<(String, String)> {
    retain(house, "end", "end").await;
    let mut late = Client::open(house.anonymous(), Version::V5, "late").await;
    ask_for(&mut late, filter, at_most(Qos::AtMostOnce)).await;
    ask_for(&mut late, "end", at_most(Qos::AtMostOnce)).await;
    up_to_end(&mut late, if filter == "#" { 2 } else { 1 }).await
}

fn one(topic: &str, payload: &str) -> Vec<(String, String)> {
    vec![(topic.to_owned(), payload.to_owned())]
}

#[tokio::test]
async fn mqtt5_3_3_1_1() {
    let house = House::open().await;
    let (mut me, _) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    me.subscribe("a", Qos::ExactlyOnce).await;
    let mut other = other(&house).await;
    other.publish(publish("a", 1, "one")).await;
    other.publish(twice("a", 2, "two")).await;
    let first = [me.message().await, me.message().await];
    assert!(first.iter().all(|publish| !publish.dup));
    me.vanish().await;
    let (mut back, _) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    for before in first {
        let again = back.message().await;
        assert_eq!((again.dup, again.packet_id, again.payload), (true, before.packet_id, before.payload));
    }
}

#[tokio::test]
async fn mqtt5_3_3_1_2() {
    check(&[
        (V5, "38 {'t' 00}", Told(Reason::MalformedPacket)),
        (V311, "38 {'t'}", Told(Reason::MalformedPacket)),
    ])
    .await;
    let (house, mut me) = connected().await;
    me.subscribe("#", Qos::AtMostOnce).await;
    // Sent again by its publisher, and still new to a subscriber of QoS 0.
    let mut other = other(&house).await;
    other.publish(Publish { dup: true, ..publish("t", 1, "x") }).await;
    hear(&mut me, "30 {'t' 00 \"x\"}").await;
}

#[tokio::test]
async fn mqtt5_3_3_1_3() {
    let (house, mut me) = connected().await;
    me.subscribe("t", Qos::ExactlyOnce).await;
    let mut other = other(&house).await;
    other.publish(Publish { dup: true, ..publish("t", 1, "x") }).await;
    other.publish(Publish { dup: true, ..twice("t", 2, "y") }).await;
    assert!(!me.take().await.dup);
    assert!(!me.message().await.dup);
}

#[tokio::test]
async fn mqtt5_3_3_1_4() {
    check(&[
        (V5, "36 {'t' 0001 00}", Told(Reason::MalformedPacket)),
        (V311, "3e {'t' 0001}", Told(Reason::MalformedPacket)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_3_1_5() {
    let house = House::open().await;
    retain(&house, "a", "old").await;
    retain(&house, "a", "new").await;
    assert_eq!(found(&house, "a").await, one("a", "new"));
}

#[tokio::test]
async fn mqtt5_3_3_1_6() {
    let house = House::open().await;
    let mut here = other(&house).await;
    here.subscribe("a", Qos::AtLeastOnce).await;
    retain(&house, "a", "x").await;
    assert_eq!(here.take().await.payload, "x");
    retain(&house, "a", "").await;
    // Processed normally: those who are here get it.
    assert_eq!(here.take().await.payload, "");
    assert_eq!(found(&house, "a").await, []);
}

#[tokio::test]
async fn mqtt5_3_3_1_7() {
    let house = House::open().await;
    retain(&house, "never", "").await;
    assert_eq!(found(&house, "#").await, []);
    assert_eq!(house.broker.stats().retained_messages, 1, "the end alone");
}

#[tokio::test]
async fn mqtt5_3_3_1_8() {
    let (house, mut me) = connected().await;
    me.publish_durably("new", 1, "x").await;
    retain(&house, "a", "kept").await;
    me.publish_durably("a", 2, "passing").await;
    me.publish_durably("a", 3, "").await;
    assert_eq!(found(&house, "#").await, one("a", "kept"));
}

/// Subscribes to `a` so many times with this retain handling, and counts the retained messages that come each time.
async fn sent_on_subscribing(retain_handling: RetainHandling) -> Vec<usize> {
    let house = House::open().await;
    retain(&house, "a", "kept").await;
    retain(&house, "end", "end").await;
    let mut me = other(&house).await;
    let mut sent = Vec::new();
    for _ in 0..3 {
        ask_for(&mut me, "a", SubscribeOptions { retain_handling, ..at_most(Qos::AtMostOnce) }).await;
        ask_for(&mut me, "end", at_most(Qos::AtMostOnce)).await;
        sent.push(up_to_end(&mut me, 1).await.len());
    }
    sent
}

#[tokio::test]
async fn mqtt5_3_3_1_9() {
    assert_eq!(sent_on_subscribing(RetainHandling::Always).await, [1, 1, 1]);
}

#[tokio::test]
async fn mqtt5_3_3_1_10() {
    assert_eq!(sent_on_subscribing(RetainHandling::IfNew).await, [1, 0, 0]);
}

#[tokio::test]
async fn mqtt5_3_3_1_11() {
    assert_eq!(sent_on_subscribing(RetainHandling::Never).await, [0, 0, 0]);
}

#[tokio::test]
async fn mqtt5_3_3_1_12() {
    let (house, mut me) = connected().await;
    me.subscribe("a", Qos::AtLeastOnce).await;
    retain(&house, "a", "x").await;
    assert!(!me.take().await.retain);
}

#[tokio::test]
async fn mqtt5_3_3_1_13() {
    let (house, mut me) = connected().await;
    let options = SubscribeOptions { retain_as_published: true, ..at_most(Qos::AtLeastOnce) };
    me.subscribe_with("a", options, None).await;
    retain(&house, "a", "x").await;
    assert!(me.take().await.retain);
    other(&house).await.publish(publish("a", 0, "x")).await;
    assert!(!me.take().await.retain);
}

#[tokio::test]
async fn mqtt5_3_3_2_1() {
    check(&[
        (V5, "30 {}", Told(Reason::MalformedPacket)),
        (V5, "30 {0001ff 00}", Told(Reason::MalformedPacket)),
        (V5, "32 {0001 00}", Told(Reason::MalformedPacket)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_3_2_2() {
    check(&[
        (V5, "30 {'#' 00}", Told(Reason::TopicNameInvalid)),
        (V5, "30 {'a/+/b' 00}", Told(Reason::TopicNameInvalid)),
        (V5, "30 {'a+' 00}", Told(Reason::TopicNameInvalid)),
        (V311, "30 {'a/#'}", Told(Reason::TopicNameInvalid)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_3_2_3() {
    let (house, mut me) = connected().await;
    for filter in ["a/+", "b/#"] {
        me.subscribe(filter, Qos::AtMostOnce).await;
    }
    let mut other = other(&house).await;
    for topic in ["a", "a/1", "a/1/2", "b", "b/1/2", "c", "ab/1"] {
        other.publish(publish(topic, 0, "x")).await;
    }
    other.publish(publish("a/end", 0, "x")).await;
    for topic in ["a/1", "b", "b/1/2", "a/end"] {
        assert_eq!(me.message().await.topic.as_deref(), Some(topic));
    }
}

/// Publishes with everything that can be attached, and gives back what arrives, at each QoS.
async fn passed_on() -> (Properties, Vec<Properties>) {
    let (house, mut me) = connected().await;
    me.subscribe("t", Qos::ExactlyOnce).await;
    let attached = Properties {
        payload_is_utf8: true,
        content_type: Some("text/plain; ü".into()),
        response_topic: Some(TopicName::parse("answers/me".to_owned()).expect("a topic")),
        correlation_data: Some(vec![0, 255, 17].into()),
        user: ["b", "a", "b"]
            .iter()
            .enumerate()
            .map(|(n, key)| ((*key).into(), n.to_string().into()))
            .collect(),
    };
    let mut other = other(&house).await;
    let mut got = Vec::new();
    for message in [publish("t", 0, "x"), publish("t", 1, "x"), twice("t", 2, "x")] {
        other.publish(with(message, |properties| properties.attached = attached.clone())).await;
        got.push(me.message().await.properties.expect("properties").attached);
    }
    (attached, got)
}

#[tokio::test]
async fn mqtt5_3_3_2_4() {
    let (sent, got) = passed_on().await;
    assert!(sent.payload_is_utf8 && got.iter().all(|got| got.payload_is_utf8));
    // And none where there was none.
    let (house, mut me) = connected().await;
    me.subscribe("t", Qos::AtMostOnce).await;
    other(&house).await.publish(publish("t", 0, "x")).await;
    hear(&mut me, "30 {'t' 00 \"x\"}").await;
}

#[tokio::test]
async fn mqtt5_3_3_2_5_and_6() {
    let clock = Arc::new(SimClock::new());
    let plan = Plan { clock: Arc::clone(&clock) as _, ..Plan::default() };
    let house = House::with(plan).await;
    let (mut away, _) = Client::with(house.anonymous(), persistent(Version::V5, "away")).await;
    away.subscribe("a", Qos::AtLeastOnce).await;
    away.leave().await;
    let mut me = other(&house).await;
    for (id, seconds) in [(1, 10), (2, 100)] {
        me.publish(with(publish("a", id, seconds.to_string()), |all| all.expiry_s = Some(seconds))).await;
        me.expect_puback(id, Reason::Success).await;
    }
    house.until("both wait", |stats| stats.queued_messages == 2).await;
    clock.advance(Duration::from_secs(30));
    let (mut back, _) = Client::with(house.anonymous(), persistent(Version::V5, "away")).await;
    let got = back.take().await;
    let left = got.properties.and_then(|all| all.expiry_s);
    assert_eq!((&got.payload[..], left), (&b"100"[..], Some(70)));
    back.expect_nothing().await;
}

#[tokio::test]
async fn mqtt5_3_3_2_7() {
    let (house, mut me) = connected().await;
    say(&mut me, "32 {'t' 0001 {230001} \"x\"}").await;
    hear(&mut me, "40 {0001}").await;
    me.leave().await;
    let mut back = Client::open(house.anonymous(), Version::V5, "me").await;
    say(&mut back, "30 {'' {230001} \"x\"}").await;
    back.expect_end(Reason::ProtocolError).await;
}

#[tokio::test]
async fn mqtt5_3_3_2_8() {
    check(&[(V5, "30 {'t' {230000}}", Told(Reason::TopicAliasInvalid))]).await;
}

#[tokio::test]
async fn mqtt5_3_3_2_9() {
    // Clients must keep to the maximum; a server ends those who do not.
    let house = House::open().await;
    let (mut me, answer) = Client::ask(house.anonymous(), connect(Version::V5, "me")).await;
    let most = answer.expect("an answer").properties.topic_alias_max;
    say(&mut me, &format!("30 {{'t' {{23{:04x}}}}}", most + 1)).await;
    me.expect_end(Reason::TopicAliasInvalid).await;
}

#[tokio::test]
async fn mqtt5_3_3_2_12() {
    let house = House::open().await;
    let (mut me, answer) = Client::ask(house.anonymous(), connect(Version::V5, "me")).await;
    let most = answer.expect("an answer").properties.topic_alias_max;
    assert!(most > 0);
    me.subscribe("t/#", Qos::AtMostOnce).await;
    for named in [true, false] {
        for alias in 1..=most {
            let topic = if named { format!("t/{alias}") } else { String::new() };
            say(&mut me, &format!("30 {{'{topic}' {{23{alias:04x}}}}}")).await;
            assert_eq!(me.message().await.topic.as_deref(), Some(&*format!("t/{alias}")));
        }
    }
}

#[tokio::test]
async fn mqtt5_3_3_2_13() {
    check(&[
        (V5, "30 {'t' {08 0001ff}}", Told(Reason::MalformedPacket)),
        (V5, "30 {'t' {08 000100}}", Told(Reason::MalformedPacket)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_3_2_14() {
    check(&[
        (V5, "30 {'t' {08 'a/#'}}", Told(Reason::TopicNameInvalid)),
        (V5, "30 {'t' {08 '+'}}", Told(Reason::TopicNameInvalid)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_3_2_15() {
    let (sent, got) = passed_on().await;
    assert!(got.iter().all(|got| got.response_topic == sent.response_topic));
}

#[tokio::test]
async fn mqtt5_3_3_2_16() {
    let (sent, got) = passed_on().await;
    assert!(got.iter().all(|got| got.correlation_data == sent.correlation_data));
}

#[tokio::test]
async fn mqtt5_3_3_2_17_and_18() {
    let (sent, got) = passed_on().await;
    // All of them, the one that comes twice too, in their order.
    assert!(sent.user.len() == 3 && got.iter().all(|got| got.user == sent.user));
}

#[tokio::test]
async fn mqtt5_3_3_2_19() {
    check(&[
        (V5, "30 {'t' {03 0001ff}}", Told(Reason::MalformedPacket)),
        (NEW, "10 {'MQTT' 05 06 003c 00 'id' {03 0001ff} 't' 'p'}", Refused(0x81)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_3_2_20() {
    let (sent, got) = passed_on().await;
    assert!(got.iter().all(|got| got.content_type == sent.content_type));
}

#[tokio::test]
async fn mqtt5_3_3_4_1() {
    let (_house, mut me) = connected().await;
    say(&mut me, "30 {'t' 00} c000").await;
    hear(&mut me, "d000").await;
    say(&mut me, "32 {'t' 0001 00}").await;
    hear(&mut me, "40 {0001}").await;
    say(&mut me, "34 {'t' 0002 00}").await;
    hear(&mut me, "50 {0002}").await;
}

#[tokio::test]
async fn mqtt5_3_3_4_2() {
    let (house, mut me) = connected().await;
    for (filter, qos) in [("#", Qos::AtMostOnce), ("a/#", Qos::ExactlyOnce), ("a/b", Qos::AtLeastOnce)] {
        me.subscribe(filter, qos).await;
    }
    other(&house).await.publish(twice("a/b", 1, "x")).await;
    assert_eq!(me.message().await.qos, Qos::ExactlyOnce);
}

#[tokio::test]
async fn mqtt5_3_3_4_3_and_4() {
    let (house, mut me) = connected().await;
    for (filter, id) in [("#", Some(1)), ("a/#", None), ("a/b", Some(300)), ("c", Some(5))] {
        me.subscribe_with(filter, at_most(Qos::AtLeastOnce), id).await;
    }
    other(&house).await.publish(publish("a/b", 1, "x")).await;
    let mut ids = me.take().await.properties.expect("properties").subscription_ids;
    ids.sort_unstable();
    assert_eq!(ids, [1, 300]);
    // One copy.
    me.expect_nothing().await;
}

#[tokio::test]
async fn mqtt5_3_3_4_6() {
    check(&[(V5, "30 {'t' {0b05}}", Told(Reason::ProtocolError))]).await;
}

#[tokio::test]
async fn mqtt5_3_3_4_9() {
    let house = House::open().await;
    let mut ask = connect(Version::V5, "me");
    ask.properties.receive_maximum = std::num::NonZeroU16::new(3).expect("three");
    let (mut me, _) = Client::with(house.anonymous(), ask).await;
    me.subscribe("t", Qos::ExactlyOnce).await;
    let mut other = other(&house).await;
    for id in 1..=10 {
        let message = if id % 2 == 0 { publish("t", id, "x") } else { twice("t", id, "x") };
        other.publish(message).await;
        is_next(&mut other, |packet| matches!(packet, Packet::PubAck(_) | Packet::PubRec(_))).await;
    }
    house.until("all are there", |stats| stats.queued_messages + stats.inflight == 10).await;
    let first = [me.message().await, me.message().await, me.message().await];
    me.expect_nothing().await;
    // PUBREC does not make room, PUBCOMP and PUBACK do.
    assert_eq!(first[0].qos, Qos::ExactlyOnce);
    me.send(&Packet::PubRec(ack(first[0].packet_id))).await;
    me.expect(Packet::PubRel(ack(first[0].packet_id))).await;
    me.expect_nothing().await;
    me.send(&Packet::PubComp(ack(first[0].packet_id))).await;
    me.message().await;
    me.expect_nothing().await;
    me.acknowledge(first[1].packet_id).await;
    me.message().await;
    me.expect_nothing().await;
}

#[tokio::test]
async fn mqtt5_3_3_4_10() {
    let house = House::open().await;
    let mut ask = connect(Version::V5, "me");
    ask.properties.receive_maximum = std::num::NonZeroU16::new(1).expect("one");
    let (mut me, _) = Client::with(house.anonymous(), ask).await;
    me.subscribe("t", Qos::AtLeastOnce).await;
    let mut other = other(&house).await;
    for id in 1..=5 {
        other.publish_durably("t", id, "x").await;
    }
    me.message().await;
    // The window is full: everything but PUBLISH goes on, in both directions.
    me.subscribe("u", Qos::AtLeastOnce).await;
    me.publish_durably("v", 1, "x").await;
    me.publish_exactly_once(twice("v", 2, "x")).await;
    me.expect_nothing().await;
}
