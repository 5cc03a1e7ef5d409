//! From publisher to subscriber: when, how often, in which order, with what attached.

use std::sync::Arc;
use std::time::Duration;

use broker::{Drop, Settings};
use host::sim::SimClock;
use model::{Keep, Qos};
use mqtt::{Packet, PublishProperties, Reason, RetainHandling, SubscribeOptions, Version};

use crate::client::{Client, connect, persistent, publish};
use crate::house::{House, Plan};

const ONE: SubscribeOptions = SubscribeOptions {
    qos_max: Qos::AtLeastOnce,
    no_local: false,
    retain_as_published: false,
    retain_handling: RetainHandling::Always,
};

#[tokio::test]
async fn qos_1_is_delivered_after_it_is_durable_and_qos_0_at_once() {
    let house = House::open().await;
    let mut watcher = Client::open(house.anonymous(), Version::V5, "watcher").await;
    watcher.subscribe("#", Qos::AtLeastOnce).await;
    let mut client = Client::open(house.anonymous(), Version::V311, "me").await;
    house.disk.hold_syncs();
    client.publish(publish("a", 1, "durable first")).await;
    client.publish(publish("a", 0, "at once")).await;
    let first = watcher.message().await;
    assert_eq!((first.qos, &first.payload[..]), (Qos::AtMostOnce, &b"at once"[..]));
    watcher.expect_nothing().await;
    house.disk.release_syncs();
    let second = watcher.take().await;
    assert_eq!((second.qos, &second.payload[..]), (Qos::AtLeastOnce, &b"durable first"[..]));
    client.expect_puback(1, Reason::Success).await;
    assert_eq!(house.broker.stats().sent, [1, 1, 0]);
    // QoS 0 is in the journal too.
    assert_eq!(house.journal.append(Vec::new()).await.map(|all| all.len()).unwrap_or_default(), 0);
    assert!(house.journal.durable_seq() >= 1);
}

#[tokio::test]
async fn overlapping_subscriptions_get_one_copy_with_the_highest_qos_and_every_id() {
    let house = House::open().await;
    let mut watcher = Client::open(house.anonymous(), Version::V5, "watcher").await;
    let zero = SubscribeOptions { qos_max: Qos::AtMostOnce, ..ONE };
    watcher.subscribe_with("dt/#", zero, Some(7)).await;
    watcher.subscribe_with("dt/+/t", ONE, Some(9)).await;
    watcher.subscribe_with("dt/a/t", zero, None).await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    client.publish_durably("dt/a/t", 1, "one").await;
    client.publish_durably("end", 2, "not subscribed").await;
    client.publish_durably("dt/end", 3, "end").await;
    let got = watcher.take().await;
    let mut ids = got.properties.as_ref().map(|all| all.subscription_ids.clone()).unwrap_or_default();
    ids.sort_unstable();
    assert_eq!((got.qos, ids, &got.payload[..]), (Qos::AtLeastOnce, vec![7, 9], &b"one"[..]));
    assert_eq!(watcher.take().await.payload, "end", "and no second copy before it");
}

#[tokio::test]
async fn no_local_and_retain_as_published_do_as_they_say() {
    let house = House::open().await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    client.subscribe_with("a", SubscribeOptions { no_local: true, ..ONE }, None).await;
    client.subscribe_with("b", SubscribeOptions { retain_as_published: true, ..ONE }, None).await;
    client.subscribe_with("c", ONE, None).await;
    let mut packets = Vec::new();
    for topic in ["a", "b", "c"] {
        let mut retained = publish(topic, 0, topic);
        retained.retain = true;
        packets.push(Packet::Publish(retained));
    }
    client.send_all(&packets).await;
    let got = [client.take().await, client.take().await].map(|got| (got.payload.to_vec(), got.retain));
    assert_eq!(got, [(b"b".to_vec(), true), (b"c".to_vec(), false)]);
    client.expect_nothing().await;
}

#[tokio::test]
async fn what_a_publisher_attached_arrives_and_time_spent_waiting_is_taken_off() {
    let clock = Arc::new(SimClock::new());
    let plan = Plan { clock: Arc::clone(&clock) as Arc<dyn host::Clock>, ..Plan::default() };
    let house = House::with(plan).await;
    let (away, _) = Client::with(house.anonymous(), persistent(Version::V5, "away")).await;
    let mut away = away;
    away.subscribe("a", Qos::AtLeastOnce).await;
    away.leave().await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    let attached = model::Properties {
        payload_is_utf8: true,
        content_type: Some("text/plain".into()),
        response_topic: Some(model::TopicName::parse("answers").expect("a topic")),
        correlation_data: Some("17".into()),
        user: vec![("k".into(), "1".into()), ("k".into(), "2".into())],
    };
    for (id, expiry_s) in [(1, 10), (2, 100)] {
        let mut sent = publish("a", id, "x");
        sent.properties = Some(Box::new(PublishProperties {
            expiry_s: Some(expiry_s),
            attached: attached.clone(),
            ..PublishProperties::default()
        }));
        client.publish(sent).await;
        client.expect_puback(id, Reason::Success).await;
    }
    house.until("both wait", |stats| stats.queued_messages == 2).await;
    clock.advance(Duration::from_secs(40));
    let (mut back, is_present) = Client::with(house.anonymous(), persistent(Version::V5, "away")).await;
    assert!(is_present);
    let properties = *back.take().await.properties.expect("properties");
    assert_eq!((properties.expiry_s, properties.attached), (Some(60), attached));
    assert_eq!(house.broker.stats().dropped(Drop::Expired), 1);
}

#[tokio::test]
async fn order_per_device() {
    let house = House::open().await;
    let mut watcher = Client::open(house.anonymous(), Version::V311, "watcher").await;
    watcher.subscribe("dt/#", Qos::AtLeastOnce).await;
    let devices = 4;
    let each = 500;
    let mut publishing = Vec::new();
    for device in 0..devices {
        let mut client = Client::open(house.anonymous(), Version::V311, &format!("device-{device}")).await;
        publishing.push(tokio::spawn(async move {
            let topic = format!("dt/device-{device}/t");
            let packets: Vec<_> =
                (1..=each).map(|n| Packet::Publish(publish(&topic, n, n.to_string()))).collect();
            for packets in packets.chunks(37) {
                client.send_all(packets).await;
            }
            for id in 1..=each {
                client.expect_puback(id, Reason::Success).await;
            }
        }));
    }
    let mut last = [0_u16; 4];
    for _ in 0..devices * each {
        let got = watcher.take().await;
        let topic = got.topic.expect("a topic");
        let device: usize =
            topic.level(2).and_then(|name| name.strip_prefix("device-")?.parse().ok()).expect("ours");
        let n: u16 = str::from_utf8(&got.payload).expect("text").parse().expect("a number");
        assert_eq!(n, last[device] + 1, "of device {device}");
        last[device] = n;
    }
    for publishing in publishing {
        publishing.await.expect("all acknowledged");
    }
}

/// emqx issues 860 and 2494, mosquitto issue 1793: a slow subscriber grows memory until the broker dies.
#[tokio::test]
async fn a_slow_consumer_costs_bounded_memory_and_nobody_elses_latency() {
    let settings = Settings {
        queue_messages_max: 20,
        packet_bytes_max: 32 * 1024,
        queue_bytes_max: 100 * 1024,
        ..Settings::default()
    };
    let house = House::with(Plan::with(settings)).await;
    let mut slow = Client::open(house.anonymous(), Version::V311, "slow").await;
    slow.subscribe("dt/#", Qos::AtLeastOnce).await;
    let mut quick = Client::open(house.anonymous(), Version::V311, "quick").await;
    quick.subscribe("dt/#", Qos::AtLeastOnce).await;
    let mut client = Client::open(house.anonymous(), Version::V311, "me").await;
    let count = 1_500_u16;
    let payload = |n: u16| [n.to_be_bytes().to_vec(), vec![0; 10_000]].concat();
    for n in 1..=count {
        client.publish_durably("dt/a/t", n, payload(n)).await;
        // 15 MB do not fit into the socket of one that reads nothing; the quick one has each message at once.
        assert_eq!(quick.take().await.payload[..2], n.to_be_bytes());
        let stats = house.broker.stats();
        assert!(stats.queued_messages <= 20 + 1, "{} messages wait in memory", stats.queued_messages);
        assert!(stats.queued_bytes <= 110 * 1024, "{} bytes wait in memory", stats.queued_bytes);
    }
    let stats = house.broker.stats();
    assert!(stats.left_messages > 500, "what does not fit waits in the journal: {}", stats.left_messages);
    // Once it reads, it finds everything, in order.
    for n in 1..=count {
        assert_eq!(slow.take().await.payload[..2], n.to_be_bytes());
    }
    let stats = house.until("all is acknowledged", |stats| stats.inflight == 0).await;
    assert_eq!((stats.left_messages, stats.queued_messages, stats.queued_bytes), (0, 0, 0));
    assert_eq!(stats.dropped.iter().map(|(_, n)| n).sum::<u64>(), 0);
}

#[tokio::test]
async fn qos_0_that_a_slow_client_does_not_take_is_dropped_and_counted() {
    let settings = Settings { queue_messages_max: 20, ..Settings::default() };
    let house = House::with(Plan::with(settings)).await;
    let mut slow = Client::open(house.anonymous(), Version::V311, "slow").await;
    slow.subscribe("a", Qos::AtMostOnce).await;
    let mut client = Client::open(house.anonymous(), Version::V311, "me").await;
    let count = 3_000;
    for _ in 0..count {
        client.publish(publish("a", 0, vec![0; 10_000])).await;
    }
    client.publish_durably("end", 1, "all before it was read").await;
    let stats = house.broker.stats();
    let dropped = stats.dropped(Drop::Slow);
    assert!(dropped > 0);
    // What was not dropped arrives.
    for _ in 0..count - dropped {
        slow.message().await;
    }
    slow.expect_nothing().await;
    assert_eq!(house.broker.stats().sent[0], count - dropped);
}

#[tokio::test]
async fn a_message_too_large_for_its_receiver_is_dropped_counted_and_ends_nothing() {
    let house = House::open().await;
    let mut ask = connect(Version::V5, "small");
    ask.properties.packet_bytes_max = std::num::NonZeroU32::new(100);
    let (mut small, _) = Client::with(house.anonymous(), ask).await;
    small.subscribe("#", Qos::AtLeastOnce).await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    client.publish_durably("a", 1, vec![0; 200]).await;
    client.publish_durably("a", 2, "small").await;
    assert_eq!(small.take().await.payload, "small");
    assert_eq!(house.broker.stats().dropped(Drop::TooLarge), 1);
}

#[tokio::test]
async fn a_route_that_keeps_nothing_delivers_and_stores_nothing() {
    let route = model::RouteSettings {
        filter: "live/#".into(),
        ..toml::from_str("filter = 'live/#'\nkeep = 'none'").expect("a route")
    };
    let house = House::with(Plan { routes: vec![route], ..Plan::default() }).await;
    assert_eq!(Keep::default(), Keep::All);
    let mut watcher = Client::open(house.anonymous(), Version::V5, "watcher").await;
    watcher.subscribe("#", Qos::AtLeastOnce).await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    client.publish_durably("live/video", 1, "frame").await;
    assert_eq!(watcher.take().await.payload, "frame");
    assert_eq!(house.journal.durable_seq(), 0);
}

#[tokio::test]
async fn an_ended_subscription_delivers_no_more() {
    let house = House::open().await;
    let mut watcher = Client::open(house.anonymous(), Version::V5, "watcher").await;
    watcher.subscribe("a", Qos::AtLeastOnce).await;
    watcher.subscribe("b", Qos::AtLeastOnce).await;
    let filter = |text: &'static str| mqtt::SubscriptionFilter::parse(text).expect("a filter");
    let unsubscribe =
        mqtt::Unsubscribe { packet_id: 5, filters: vec![filter("a"), filter("z")], user: Vec::new() };
    watcher.send(&Packet::Unsubscribe(unsubscribe)).await;
    let reasons = vec![Reason::Success, Reason::NoSubscriptionExisted];
    watcher.expect(Packet::UnsubAck(mqtt::UnsubAck { packet_id: 5, reasons, properties: None })).await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    client.publish_durably("a", 1, "x").await;
    client.publish_durably("b", 2, "end").await;
    assert_eq!(watcher.take().await.payload, "end");
    assert_eq!(house.broker.stats().subscriptions, 1);
}
