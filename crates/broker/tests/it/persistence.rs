//! Sessions outlive the process: what they subscribe to, what waits for them, what is on its way, in both directions.

use std::sync::Arc;
use std::time::Duration;

use broker::Settings;
use host::sim::SimClock;
use model::Qos;
use mqtt::{Packet, Reason, Unsubscribe, Version};

use crate::client::{Client, persistent, publish};
use crate::exactly_once::{ack, again, twice};
use crate::house::{House, Plan};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

#[tokio::test]
async fn mqtt5_4_1_0_1_a_session_its_subscriptions_and_what_waits_for_it_outlive_the_process() {
    for version in VERSIONS {
        let house = House::open().await;
        let (mut away, _) = Client::with(house.anonymous(), persistent(version, "away")).await;
        away.subscribe("a/+", Qos::ExactlyOnce).await;
        away.subscribe("b", Qos::AtLeastOnce).await;
        away.vanish().await;
        let mut publisher = Client::open(house.anonymous(), Version::V5, "pub").await;
        publisher.publish_durably("a/1", 1, "one").await;
        publisher.publish_exactly_once(twice("a/2", 2, "two")).await;
        publisher.publish_exactly_once(twice("b", 3, "three")).await;
        publisher.publish_durably("c", 4, "not wanted").await;
        let house = house.restart(Plan::default()).await;
        let stats = house.broker.stats();
        assert_eq!((stats.sessions, stats.subscriptions, stats.left_messages), (1, 2, 3));
        let mut publisher = Client::open(house.anonymous(), Version::V5, "pub").await;
        publisher.publish_durably("a/4", 1, "four").await;
        let (mut back, goes_on) = Client::with(house.anonymous(), persistent(version, "away")).await;
        assert!(goes_on);
        let mut got = Vec::new();
        while got.len() < 4 {
            match back.receive().await {
                Some(Packet::Publish(publish)) if publish.qos == Qos::ExactlyOnce => {
                    back.send(&Packet::PubRec(ack(publish.packet_id))).await;
                    got.push((publish.qos as u8, publish.payload));
                }
                Some(Packet::Publish(publish)) => {
                    back.acknowledge(publish.packet_id).await;
                    got.push((publish.qos as u8, publish.payload));
                }
                Some(Packet::PubRel(release)) => back.send(&Packet::PubComp(ack(release.packet_id))).await,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(got, [(1, "one".into()), (2, "two".into()), (1, "three".into()), (1, "four".into())]);
    }
}

#[tokio::test]
async fn mqtt5_4_4_0_1_what_is_on_its_way_out_goes_on_with_its_packet_id() {
    for version in VERSIONS {
        let house = House::open().await;
        let (mut subscriber, _) = Client::with(house.anonymous(), persistent(version, "sub")).await;
        subscriber.subscribe("a", Qos::ExactlyOnce).await;
        let mut publisher = Client::open(house.anonymous(), Version::V5, "pub").await;
        publisher.publish_exactly_once(twice("a", 1, "one")).await;
        publisher.publish_exactly_once(twice("a", 2, "two")).await;
        publisher.publish_durably("a", 3, "three").await;
        let mut sent = Vec::new();
        for _ in 0..3 {
            sent.push(subscriber.message().await);
        }
        subscriber.send(&Packet::PubRec(ack(sent[0].packet_id))).await;
        subscriber.expect(Packet::PubRel(ack(sent[0].packet_id))).await;
        let house = house.restart(Plan::default()).await;
        let (mut subscriber, goes_on) = Client::with(house.anonymous(), persistent(version, "sub")).await;
        assert!(goes_on);
        subscriber.expect(Packet::PubRel(ack(sent[0].packet_id))).await;
        for before in &sent[1..] {
            let repeat = subscriber.message().await;
            assert_eq!((repeat.dup, repeat.packet_id, repeat.qos), (true, before.packet_id, before.qos));
            assert_eq!(repeat.payload, before.payload);
        }
        subscriber.send(&Packet::PubComp(ack(sent[0].packet_id))).await;
        subscriber.acknowledge(sent[2].packet_id).await;
        let mut publisher = Client::open(house.anonymous(), Version::V5, "pub").await;
        publisher.publish_durably("a", 1, "four").await;
        let four = subscriber.take().await;
        assert_eq!(four.payload, "four");
        assert!(
            !sent.iter().any(|before| before.packet_id == four.packet_id),
            "an id that is in use or was just"
        );
    }
}

#[tokio::test]
async fn mqtt5_4_3_3_10_a_packet_id_that_was_not_released_is_known_after_a_restart_and_one_that_was_is_not() {
    for version in VERSIONS {
        let house = House::open().await;
        let (mut client, _) = Client::with(house.anonymous(), persistent(version, "me")).await;
        client.publish_exactly_once(twice("a", 1, "released")).await;
        client.publish(twice("a", 2, "not released")).await;
        client.expect(Packet::PubRec(ack(2))).await;
        let house = house.restart(Plan::default()).await;
        assert_eq!(house.journal.durable_seq(), 2);
        let (mut client, goes_on) = Client::with(house.anonymous(), persistent(version, "me")).await;
        assert!(goes_on);
        client.publish(again(twice("a", 2, "not released"))).await;
        client.expect(Packet::PubRec(ack(2))).await;
        assert_eq!(house.journal.durable_seq(), 2, "no second message");
        client.send(&Packet::PubRel(ack(2))).await;
        client.expect(Packet::PubComp(ack(2))).await;
        for id in [1, 2] {
            client.publish_exactly_once(twice("a", id, "new")).await;
        }
        assert_eq!(house.journal.durable_seq(), 4);
    }
}

#[tokio::test]
async fn what_ended_does_not_come_back() {
    let house = House::open().await;
    for id in ["clean", "goodbye", "stays"] {
        let (mut client, _) = Client::with(house.anonymous(), persistent(Version::V5, id)).await;
        client.subscribe("a", Qos::AtLeastOnce).await;
        client.subscribe("b", Qos::AtLeastOnce).await;
        client.vanish().await;
    }
    Client::open(house.anonymous(), Version::V5, "clean").await.leave().await;
    // MQTT 5.0, section 3.14.2.2.2: a session can be made to end with its connection.
    let (mut client, _) = Client::with(house.anonymous(), persistent(Version::V5, "goodbye")).await;
    let mut goodbye = mqtt::Disconnect::new(Reason::Success);
    goodbye.properties =
        Some(Box::new(mqtt::DisconnectProperties { session_expiry_s: Some(0), ..Default::default() }));
    client.send(&Packet::Disconnect(goodbye)).await;
    assert_eq!(client.receive().await, None);
    let (mut client, _) = Client::with(house.anonymous(), persistent(Version::V5, "stays")).await;
    let filter = mqtt::SubscriptionFilter::parse("a").expect("a filter");
    client
        .send(&Packet::Unsubscribe(Unsubscribe { packet_id: 5, filters: vec![filter], user: Vec::new() }))
        .await;
    assert!(matches!(client.receive().await, Some(Packet::UnsubAck(_))));
    client.vanish().await;
    let house = house.restart(Plan::default()).await;
    let sessions: Vec<_> =
        house.broker.sessions().iter().map(|session| session.client_id.to_string()).collect();
    assert_eq!(sessions, ["stays"]);
    assert_eq!(house.broker.stats().subscriptions, 1);
}

#[tokio::test]
async fn a_session_ends_while_the_process_is_away_and_the_time_before_counts() {
    let clock = Arc::new(SimClock::new());
    let plan = || Plan { clock: Arc::clone(&clock) as Arc<dyn host::Clock>, ..Plan::default() };
    let house = House::with(plan()).await;
    for (id, expiry_s) in [("short", 60), ("long", 200)] {
        let mut ask = persistent(Version::V5, id);
        ask.properties.session_expiry_s = expiry_s;
        Client::with(house.anonymous(), ask).await.0.vanish().await;
    }
    house.until("away", |stats| stats.connections == 0).await;
    clock.advance(Duration::from_secs(50));
    let house = house.restart(plan()).await;
    assert_eq!(house.broker.sessions().len(), 2);
    clock.advance(Duration::from_secs(50));
    let house = house.restart(plan()).await;
    let sessions: Vec<_> =
        house.broker.sessions().iter().map(|session| session.client_id.to_string()).collect();
    assert_eq!(sessions, ["long"]);
    clock.advance(Duration::from_secs(101));
    house.until("over", |stats| stats.sessions == 0).await;
}

/// A session that was saved, and one more time restarted before anybody came: nothing is lost, nothing is there twice.
#[tokio::test]
async fn restarts_in_a_row_keep_a_queue_of_any_length() {
    let settings = Settings { queue_messages_max: 3, ..Settings::default() };
    let plan = || Plan::with(settings.clone());
    let mut house = House::with(plan()).await;
    let (mut away, _) = Client::with(house.anonymous(), persistent(Version::V311, "away")).await;
    away.subscribe("#", Qos::AtLeastOnce).await;
    away.vanish().await;
    let mut count: u16 = 0;
    for _ in 0..4 {
        let mut publisher = Client::open(house.anonymous(), Version::V5, "pub").await;
        for _ in 0..10 {
            count += 1;
            publisher.publish(publish("a", count, count.to_string())).await;
            publisher.expect_puback(count, Reason::Success).await;
        }
        house = house.restart(plan()).await;
    }
    let (mut back, _) = Client::with(house.anonymous(), persistent(Version::V311, "away")).await;
    for n in 1..=count {
        assert_eq!(back.take().await.payload, n.to_string());
    }
    back.expect_nothing().await;
}
