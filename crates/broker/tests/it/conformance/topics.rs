//! Sections 4.7 and 4.8: topics, filters, the form of shared subscriptions.

use model::Qos;
use mqtt::Reason;

use super::{V5, V311, check, connected, hear, other, say};
use crate::client::publish;
use crate::exactly_once::twice;
use crate::hostile::Expect::Told;

const FILTER: crate::hostile::Expect = Told(Reason::TopicFilterInvalid);

/// Which of these topics a filter matches.
async fn matched(filter: &str, topics: &[&str]) -> Vec<String> {
    let (house, mut me) = connected().await;
    me.subscribe(filter, Qos::AtMostOnce).await;
    me.subscribe("end", Qos::AtMostOnce).await;
    let mut other = other(&house).await;
    for topic in topics {
        other.publish(publish(topic, 0, "x")).await;
    }
    other.publish(publish("end", 0, "end")).await;
    let mut matched = Vec::new();
    loop {
        let got = me.message().await;
        if got.payload == "end" {
            return matched;
        }
        matched.push(got.topic.as_deref().expect("a topic").to_owned());
    }
}

#[tokio::test]
async fn mqtt5_4_7_0_1() {
    check(&[
        (V5, "30 {'a/+' 00}", Told(Reason::TopicNameInvalid)),
        (V5, "30 {'a/b#' 00}", Told(Reason::TopicNameInvalid)),
        (V311, "30 {'+'}", Told(Reason::TopicNameInvalid)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_4_7_1_1() {
    check(&[
        (V5, "82 {0001 00 'a#' 00}", FILTER),
        (V5, "82 {0001 00 'a/b#' 00}", FILTER),
        (V5, "82 {0001 00 'a/#/b' 00}", FILTER),
        (V5, "82 {0001 00 '##' 00}", FILTER),
    ])
    .await;
    assert_eq!(matched("a/#", &["a", "a/b", "a/b/c", "ab", "b/a"]).await, ["a", "a/b", "a/b/c"]);
}

#[tokio::test]
async fn mqtt5_4_7_1_2() {
    check(&[
        (V5, "82 {0001 00 'a+' 00}", FILTER),
        (V5, "82 {0001 00 'a/+b/c' 00}", FILTER),
        (V5, "82 {0001 00 '++' 00}", FILTER),
    ])
    .await;
    assert_eq!(matched("+/b/+", &["a/b/c", "/b/", "a/b", "a/c/c", "a/b/c/d"]).await, ["a/b/c", "/b/"]);
    assert_eq!(matched("+", &["a", "/a", "a/b"]).await, ["a"]);
}

#[tokio::test]
async fn mqtt5_4_7_2_1() {
    let (house, mut me) = connected().await;
    for filter in ["#", "+/x", "+/#"] {
        me.subscribe(filter, Qos::AtMostOnce).await;
    }
    let mut other = other(&house).await;
    for topic in ["$SYS/x", "$other/x", "a/x"] {
        other.publish(publish(topic, 0, "x")).await;
    }
    hear(&mut me, "30 {'a/x' 00 \"x\"}").await;
}

#[tokio::test]
async fn mqtt5_4_7_3_1() {
    check(&[
        (V5, "30 {'' 00}", Told(Reason::ProtocolError)),
        (V311, "30 {''}", Told(Reason::TopicNameInvalid)),
        (V5, "82 {0001 00 '' 00}", FILTER),
        (V5, "a2 {0001 00 ''}", FILTER),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_4_7_3_2() {
    check(&[
        (V5, "30 {0003 61 00 62 00}", Told(Reason::MalformedPacket)),
        (V5, "82 {0001 00 0003 61 00 62 00}", Told(Reason::MalformedPacket)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_4_7_3_3() {
    // A text has two bytes of length: 65,535 bytes and not one more. As a topic it is too deep or taken, never cut.
    let (_house, mut me) = connected().await;
    me.subscribe("#", Qos::AtMostOnce).await;
    let topic = "x".repeat(65_535);
    let mut packet = vec![0x30];
    packet.extend(crate::hostile::bytes::length(topic.len() + 3));
    packet.extend([0xff, 0xff]);
    packet.extend(topic.bytes());
    packet.push(0);
    me.send_bytes(&packet).await;
    assert_eq!(me.frame().await.expect("the message"), packet);
}

#[tokio::test]
async fn mqtt5_4_7_3_4() {
    // Case, spaces, empty levels and other ways to write the same character are all different.
    let (house, mut me) = connected().await;
    me.subscribe("\u{e9}/A b", Qos::AtMostOnce).await;
    me.subscribe("x//y", Qos::AtMostOnce).await;
    let mut other = other(&house).await;
    for topic in
        ["e\u{301}/A b", "\u{e9}/a b", "\u{e9}/A  b", "\u{c9}/A b", "x/y", "x//y/", "\u{e9}/A b", "x//y"]
    {
        other.publish(publish(topic, 0, "x")).await;
    }
    for topic in ["\u{e9}/A b", "x//y"] {
        assert_eq!(me.message().await.topic.as_deref(), Some(topic));
    }
    say(&mut me, "c000").await;
    hear(&mut me, "d000").await;
}

#[tokio::test]
async fn mqtt5_4_8_2_1() {
    check(&[(V5, "82 {0001 00 '$share//a' 00}", FILTER), (V5, "82 {0001 00 '$share/' 00}", FILTER)]).await;
}

#[tokio::test]
async fn mqtt5_4_8_2_2() {
    check(&[
        (V5, "82 {0001 00 '$share/g' 00}", FILTER),
        (V5, "82 {0001 00 '$share/g/' 00}", FILTER),
        (V5, "82 {0001 00 '$share/g+/a' 00}", FILTER),
        (V5, "82 {0001 00 '$share/#/a' 00}", FILTER),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_4_8_2_3() {
    for granted in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let (house, mut me) = connected().await;
        me.subscribe("$share/g/t", granted).await;
        let mut other = other(&house).await;
        other.publish(twice("t", 1, "x")).await;
        assert_eq!(me.message().await.qos, granted);
    }
}
