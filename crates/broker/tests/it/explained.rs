//! Whoever is refused is told why, if he wants to be told and has room for it.

use std::num::NonZeroU32;

use broker::Settings;
use model::Qos;
use mqtt::{Connect, Packet, Reason, Subscribe, SubscribeOptions, SubscriptionFilter, Version};

use crate::client::{Client, connect, publish};
use crate::exactly_once::{ack, twice};
use crate::house::{House, Plan};

/// What a client is told of everything that it can be refused.
async fn told(house: &House, ask: Connect) -> Vec<(u8, Option<String>)> {
    let (mut client, _) = Client::with(house.anonymous(), ask).await;
    let options = SubscribeOptions { qos_max: Qos::AtLeastOnce, ..SubscribeOptions::default() };
    let filters =
        ["a", "$aws/x", "b"].map(|filter| (SubscriptionFilter::parse(filter).expect("a filter"), options));
    let subscribe =
        Subscribe { packet_id: 1, filters: filters.into(), subscription_id: None, user: Vec::new() };
    let mut kept = publish("a", 4, "x");
    kept.retain = true;
    client
        .send_all(&[
            Packet::Subscribe(subscribe),
            Packet::Publish(publish("$aws/x", 2, "x")),
            Packet::Publish(twice("$aws/x", 3, "x")),
            Packet::Publish(kept),
            Packet::PubRec(ack(5)),
            Packet::PubRel(ack(6)),
        ])
        .await;
    let mut told = Vec::new();
    for _ in 0..6 {
        let (packet, reason, properties) = match client.receive().await.expect("an answer") {
            Packet::SubAck(answer) => {
                let expect = [Reason::GrantedQos1, Reason::TopicFilterInvalid, Reason::QuotaExceeded];
                assert_eq!(answer.reasons, expect);
                (9, Reason::TopicFilterInvalid, answer.properties)
            }
            Packet::PubAck(ack) => (4, ack.reason, ack.properties),
            Packet::PubRec(ack) => (5, ack.reason, ack.properties),
            Packet::PubRel(ack) => (6, ack.reason, ack.properties),
            Packet::PubComp(ack) => (7, ack.reason, ack.properties),
            other => panic!("{other:?}"),
        };
        assert!(reason.is_failure(), "{packet}: {reason}");
        told.push((packet, properties.and_then(|said| said.reason_string).map(|text| text.to_string())));
    }
    told.sort();
    told
}

async fn strict() -> House {
    let settings = Settings { filters_per_session_max: 1, retained_messages_max: 0, ..Settings::default() };
    House::with(Plan::with(settings)).await
}

#[tokio::test]
async fn whatever_is_refused_is_explained() {
    let house = strict().await;
    let told = told(&house, connect(Version::V5, "me")).await;
    let words = [(4, "$aws/x"), (4, "bounds"), (5, "$aws/x"), (6, "5"), (7, "6"), (9, "`$aws/x`")];
    for ((packet, text), (expect, word)) in told.iter().zip(words) {
        let text = text.as_ref().expect("a text");
        assert!(*packet == expect && text.contains(word), "{packet}: {text}, not {expect}: {word}");
    }
}

/// MQTT-3.1.2-29.
#[tokio::test]
async fn who_does_not_want_to_be_told_is_told_at_connack_and_disconnect_only() {
    let house = strict().await;
    let mut ask = connect(Version::V5, "me");
    ask.properties.request_problem_information = false;
    assert!(told(&house, ask).await.iter().all(|(_, text)| text.is_none()));
    let mut method = connect(Version::V5, "other");
    method.properties.request_problem_information = false;
    method.properties.auth_method = Some("SCRAM".into());
    let (_, answer) = Client::ask(house.anonymous(), method).await;
    assert!(answer.expect("an answer").properties.reason_string.expect("a text").contains("authentication"));
    // Of who may come in, a stranger learns nothing.
    let mut stranger = connect(Version::V5, "stranger");
    (stranger.username, stranger.password) = (Some("office-1".into()), Some("guessed".into()));
    let (_, answer) = Client::ask(house.password(), stranger).await;
    let text = answer.expect("an answer").properties.reason_string;
    assert_eq!(text.as_deref(), Some("user name and password are not accepted"));
}

/// MQTT-3.4.2-2 and its likes.
#[tokio::test]
async fn an_explanation_that_does_not_fit_its_client_is_left_out() {
    let house = strict().await;
    let mut ask = connect(Version::V5, "me");
    // CONNACK fits, and an answer with a sentence does not.
    ask.properties.packet_bytes_max = NonZeroU32::new(40);
    let told = told(&house, ask).await;
    assert_eq!(told.len(), 6);
    assert!(told.iter().any(|(_, text)| text.is_none()), "{told:?}");
    assert!(told.iter().flat_map(|(_, text)| text).all(|text| text.len() < 40), "{told:?}");
}

#[tokio::test]
async fn an_end_says_what_it_means() {
    let house = House::open().await;
    let mut old = Client::open(house.anonymous(), Version::V5, "me").await;
    let _new = Client::open(house.anonymous(), Version::V5, "me").await;
    match old.receive().await {
        Some(Packet::Disconnect(goodbye)) => {
            let text = goodbye.properties.expect("properties").reason_string.expect("a text");
            assert_eq!(goodbye.reason, Reason::SessionTakenOver);
            assert!(text.contains("client id"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}
