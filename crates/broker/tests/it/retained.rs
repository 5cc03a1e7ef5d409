//! Retained messages: found by who comes later, bounded, and still there after a restart.

use std::sync::Arc;
use std::time::Duration;

use broker::{Drop, Refusal, Settings};
use host::sim::SimClock;
use model::{Qos, TopicFilter};
use mqtt::{Packet, Publish, PublishProperties, Reason, RetainHandling, SubscribeOptions, Version};

use crate::client::{Client, publish};
use crate::house::{House, Plan};

fn retain(topic: &str, packet_id: u16, payload: &'static str) -> Publish {
    Publish { retain: true, ..publish(topic, packet_id, payload) }
}

fn topics(house: &House) -> Vec<String> {
    let all = TopicFilter::parse("#").expect("a filter");
    house.broker.retained(&all).iter().map(|kept| kept.topic.to_string()).collect()
}

#[tokio::test]
async fn a_new_subscription_finds_what_was_acknowledged_before() {
    let house = House::open().await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    for n in 1..=50 {
        client.publish(retain("dt/a/state", n, "on")).await;
        client.expect_puback(n, Reason::Success).await;
        let mut late = Client::open(house.anonymous(), Version::V311, "late").await;
        late.subscribe("dt/+/state", Qos::AtLeastOnce).await;
        let got = late.take().await;
        assert_eq!((got.retain, got.qos, &got.payload[..]), (true, Qos::AtLeastOnce, &b"on"[..]));
        late.leave().await;
        client.publish(retain("dt/a/state", 100 + n, "")).await;
        client.expect_puback(100 + n, Reason::Success).await;
        let mut later = Client::open(house.anonymous(), Version::V5, "later").await;
        later.subscribe("#", Qos::AtLeastOnce).await;
        // Its own message, published after it subscribed, is the first that comes.
        later.publish(publish("marker", 0, "marker")).await;
        assert_eq!(later.take().await.payload, "marker");
        later.leave().await;
    }
}

#[tokio::test]
async fn a_connection_finds_what_it_published_itself_whatever_the_qos() {
    let house = House::open().await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    let subscribe = mqtt::Subscribe {
        packet_id: 5,
        filters: vec![(mqtt::SubscriptionFilter::parse("a").expect("a filter"), SubscribeOptions::default())],
        subscription_id: None,
        user: Vec::new(),
    };
    client.send_all(&[Packet::Publish(retain("a", 0, "mine")), Packet::Subscribe(subscribe)]).await;
    assert!(matches!(client.receive().await, Some(Packet::SubAck(_))));
    let got = client.take().await;
    assert_eq!((got.retain, &got.payload[..]), (true, &b"mine"[..]));
}

#[tokio::test]
async fn retain_handling_says_when_they_are_sent() {
    let house = House::open().await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    for (id, topic) in [(1, "a"), (2, "end")] {
        client.publish(retain(topic, id, "kept")).await;
        client.expect_puback(id, Reason::Success).await;
    }
    let handlings = [
        (RetainHandling::Never, false),
        (RetainHandling::IfNew, false),
        (RetainHandling::Always, true),
        (RetainHandling::IfNew, false),
        (RetainHandling::Always, true),
    ];
    for (retain_handling, is_sent) in handlings {
        let filter = |text: &'static str| mqtt::SubscriptionFilter::parse(text).expect("a filter");
        let options = SubscribeOptions { retain_handling, ..SubscribeOptions::default() };
        // Filters are served in their order: what comes for the first comes before what comes for the second.
        let filters = vec![(filter("a"), options), (filter("end"), SubscribeOptions::default())];
        let subscribe = mqtt::Subscribe { packet_id: 5, filters, subscription_id: None, user: Vec::new() };
        client.send(&Packet::Subscribe(subscribe)).await;
        assert!(matches!(client.receive().await, Some(Packet::SubAck(_))));
        if is_sent {
            assert_eq!(client.take().await.topic.as_deref(), Some("a"), "{retain_handling:?}");
        }
        assert_eq!(client.take().await.topic.as_deref(), Some("end"), "{retain_handling:?}");
    }
}

#[tokio::test]
async fn a_subscription_to_everything_gets_everything_however_small_its_queue() {
    let settings = Settings { queue_messages_max: 10, inflight_max: 4, ..Settings::default() };
    let house = House::with(Plan::with(settings)).await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    for n in 1..=300 {
        client.publish(retain(&format!("a/{n}"), n, "x")).await;
        client.expect_puback(n, Reason::Success).await;
    }
    let mut watcher = Client::open(house.anonymous(), Version::V5, "watcher").await;
    watcher.subscribe("a/#", Qos::AtLeastOnce).await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 1..=300 {
        seen.insert(watcher.take().await.topic);
    }
    assert_eq!(seen.len(), 300);
    assert_eq!(house.broker.stats().dropped.iter().map(|(_, n)| n).sum::<u64>(), 0);
}

/// mosquitto issue 3237, FlashMQ issue 169.
#[tokio::test]
async fn retained_messages_are_bounded_and_their_sender_is_told() {
    let settings = Settings { retained_messages_max: 2, ..Settings::default() };
    let house = House::with(Plan::with(settings)).await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    for (id, topic) in [(1, "a"), (2, "b")] {
        client.publish(retain(topic, id, "x")).await;
        client.expect_puback(id, Reason::Success).await;
    }
    house.until("both are kept", |stats| stats.retained_messages == 2).await;
    client.publish(retain("c", 3, "x")).await;
    client.expect_puback(3, Reason::QuotaExceeded).await;
    client.publish(retain("a", 4, "y")).await;
    client.expect_puback(4, Reason::Success).await;
    // MQTT 3.1.1 has no word for it: delivered, not kept, counted.
    let mut old = Client::open(house.anonymous(), Version::V311, "old").await;
    old.publish(retain("d", 5, "x")).await;
    old.expect_puback(5, Reason::Success).await;
    let stats = house.until("counted", |stats| stats.dropped(Drop::NotRetained) == 1).await;
    assert_eq!((stats.refused(Refusal::Retained), stats.retained_messages), (1, 2));
    assert_eq!(topics(&house), ["a", "b"]);
}

#[tokio::test]
async fn retained_messages_survive_a_restart_with_what_was_attached() {
    let clock = Arc::new(SimClock::new());
    let plan = || Plan { clock: Arc::clone(&clock) as Arc<dyn host::Clock>, ..Plan::default() };
    let house = House::with(plan()).await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    let attached = model::Properties {
        content_type: Some("text/plain".into()),
        user: vec![("k".into(), "v".into())],
        ..model::Properties::default()
    };
    let mut whole = retain("a", 1, "kept");
    whole.properties = Some(Box::new(PublishProperties {
        expiry_s: Some(1_000),
        attached: attached.clone(),
        ..PublishProperties::default()
    }));
    let mut brief = retain("brief", 2, "x");
    brief.properties =
        Some(Box::new(PublishProperties { expiry_s: Some(10), ..PublishProperties::default() }));
    let gone = [retain("gone", 3, "x"), retain("gone", 4, "")];
    for publish in [whole, brief].into_iter().chain(gone) {
        let id = publish.packet_id;
        client.publish(publish).await;
        client.expect_puback(id, Reason::Success).await;
    }
    let house = house.restart(plan()).await;
    assert_eq!(topics(&house), ["a", "brief"]);
    clock.advance(Duration::from_secs(100));
    let house = house.restart(plan()).await;
    assert_eq!(topics(&house), ["a"], "what is over its time is over after a restart too");
    let mut late = Client::open(house.anonymous(), Version::V5, "late").await;
    late.subscribe("a", Qos::AtLeastOnce).await;
    let got = late.take().await;
    let properties = *got.properties.expect("properties");
    assert_eq!((got.qos, properties.attached), (Qos::AtLeastOnce, attached));
    assert!(properties.expiry_s.is_some_and(|left| (890..=901).contains(&left)), "{:?}", properties.expiry_s);
}

/// A bridge of Mosquitto says again on every connect what its broker retains; a device says it because it is so.
#[tokio::test]
async fn what_a_bridge_says_again_on_connecting_is_acknowledged_and_not_stored() {
    let clock = Arc::new(SimClock::new());
    let house =
        House::with(Plan { clock: Arc::clone(&clock) as Arc<dyn host::Clock>, ..Plan::default() }).await;
    let mut ask = crate::client::connect(Version::V311, "bridge");
    ask.will = Some(crate::client::will("$SYS/broker/connection/site.godwit/state", "0"));
    let mut packet_id = 0;
    let mut said = async |client: &mut Client, payload: &'static str| {
        packet_id += 1;
        let before = house.journal.durable_seq();
        client.publish(retain("dt/d/state", packet_id, payload)).await;
        client.expect_puback(packet_id, Reason::Success).await;
        house.journal.durable_seq() - before
    };
    let (mut bridge, _) = Client::with(house.anonymous(), ask.clone()).await;
    assert_eq!(said(&mut bridge, "on").await, 1, "news");
    bridge.vanish().await;
    house.until("retained", |stats| stats.retained_messages == 1 && stats.connections == 0).await;
    let (mut bridge, _) = Client::with(house.anonymous(), ask.clone()).await;
    assert_eq!(said(&mut bridge, "on").await, 0, "a repeat");
    assert_eq!(said(&mut bridge, "on").await, 0, "and again: it had two attempts");
    assert_eq!(said(&mut bridge, "off").await, 1, "news");
    clock.advance(Duration::from_secs(2));
    assert_eq!(said(&mut bridge, "off").await, 1, "a device says so");
    assert_eq!(house.broker.stats().bridge_repeats, 2);
    assert!(house.broker.sessions()[0].connection.as_ref().is_some_and(|connection| connection.is_bridge));
    bridge.vanish().await;
    // The same from one that is no bridge.
    for n in 0..3 {
        let mut device = Client::open(house.anonymous(), Version::V311, "device").await;
        assert_eq!(said(&mut device, "off").await, 1, "{n}");
        device.leave().await;
    }
    assert_eq!(house.broker.stats().bridge_repeats, 2);
}

/// A bridge of Mosquitto first asks with level 0x84; refused with code 1 it asks again with 4, and is known.
#[tokio::test]
async fn a_bridge_is_known_by_the_level_that_it_tries_first() {
    let house = House::open().await;
    let connect = |level: u8| [b"\x10\x12\0\x04MQTT", &[level][..], b"\x02\0\x3c\0\x06bridge"].concat();
    let mut first = Client::socket(house.anonymous(), Version::V311).await;
    first.send_bytes(&connect(0x84)).await;
    match first.receive().await {
        Some(Packet::ConnAck(refusal)) => assert_eq!(refusal.reason, Reason::UnsupportedProtocolVersion),
        other => panic!("{other:?}"),
    }
    assert_eq!(first.receive().await, None, "and closes");
    let mut second = Client::socket(house.anonymous(), Version::V311).await;
    second.send_bytes(&connect(4)).await;
    assert!(
        matches!(second.receive().await, Some(Packet::ConnAck(accepted)) if accepted.reason == Reason::Success)
    );
    assert!(house.broker.sessions()[0].connection.as_ref().is_some_and(|connection| connection.is_bridge));
    assert_eq!(house.broker.stats().refused(Refusal::BridgeLevel), 1);
}
