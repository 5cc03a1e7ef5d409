//! Every bound is kept and counted; a fault of one connection is its own.

use std::pin::Pin;
use std::task::{Context, Poll};

use broker::{Auth, Drop, End, Refusal, Settings};
use model::Qos;
use mqtt::{Packet, Reason, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::client::{Client, connect, persistent, publish, with_user};
use crate::house::{House, Plan};

#[tokio::test]
async fn connections_are_bounded_and_places_come_back() {
    let settings = Settings { connections_max: 3, connections_per_address_max: 2, ..Settings::default() };
    let house = House::with(Plan::with(settings)).await;
    let first = Client::open(house.anonymous(), Version::V5, "1").await;
    let _second = Client::open(house.anonymous(), Version::V5, "2").await;
    let mut third = Client::socket(house.anonymous(), Version::V5).await;
    assert_eq!(third.receive().await, None);
    first.leave().await;
    let stats = house.until("a place is free", |stats| stats.connections == 1).await;
    assert_eq!(stats.refused(Refusal::AddressFull), 1);
    Client::open(house.anonymous(), Version::V5, "3").await.leave().await;
}

/// Each message of a mixed load is delivered, or counted under the reason for which it was not.
#[tokio::test]
async fn nothing_is_silently_dropped() {
    let settings =
        Settings { queue_messages_max: 10, left_messages_max: 20, inflight_max: 2, ..Settings::default() };
    let house = House::with(Plan::with(settings)).await;
    let (mut away, _) = Client::with(house.anonymous(), persistent(Version::V5, "away")).await;
    away.subscribe("dt/#", Qos::AtLeastOnce).await;
    away.leave().await;
    let mut watcher = Client::open(house.anonymous(), Version::V5, "watcher").await;
    watcher.subscribe("dt/#", Qos::AtLeastOnce).await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    let count = 100_u16;
    let mut seen = 0;
    for id in 1..=count {
        client.publish_durably("dt/a/t", id, "one").await;
        watcher.take().await;
        client.publish(publish("dt/a/t", 0, "zero")).await;
        watcher.take().await;
        seen += 2;
    }
    assert_eq!(seen, 200);
    let stats = house
        .until("all is accounted for", |stats| {
            stats.queued_messages + stats.left_messages + stats.dropped(Drop::QueueFull) == u64::from(count)
        })
        .await;
    assert_eq!((stats.queued_messages, stats.left_messages), (10, 20));
    assert_eq!((stats.dropped(Drop::QueueFull), stats.dropped(Drop::Away)), (70, 100));
    assert_eq!((stats.sent[0], stats.sent[1], stats.received), (100, 100, [100, 100, 0]));

    let (mut back, is_present) = Client::with(house.anonymous(), persistent(Version::V5, "away")).await;
    assert!(is_present);
    for _ in 0..30 {
        assert_eq!(back.take().await.payload, "one");
    }
    let stats = house.until("acknowledged", |stats| stats.inflight == 0).await;
    assert_eq!((stats.queued_messages, stats.queued_bytes, stats.left_messages), (0, 0, 0));
}

#[tokio::test]
async fn what_retention_took_before_it_was_read_is_counted() {
    let mut plan = Plan::default();
    plan.settings.queue_messages_max = 1;
    plan.journal.segment_bytes = 64 * 1024;
    plan.journal.bytes_max = Some(512 * 1024);
    plan.journal.tap_bytes = 64 * 1024;
    let house = House::with(plan).await;
    let (mut away, _) = Client::with(house.anonymous(), persistent(Version::V5, "away")).await;
    away.subscribe("a", Qos::AtLeastOnce).await;
    away.leave().await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    let count = 400_u16;
    for id in 1..=count {
        loop {
            client.publish(publish("a", id, vec![0; 4_000])).await;
            match client.receive().await {
                Some(Packet::PubAck(ack)) if ack.reason == Reason::Success => break,
                // The archive's position is saved every ten seconds; until then it holds what it has read.
                Some(Packet::PubAck(ack)) => assert_eq!(ack.reason, Reason::QuotaExceeded),
                other => panic!("{other:?}"),
            }
        }
    }
    let (mut back, _) = Client::with(house.anonymous(), persistent(Version::V5, "away")).await;
    let mut received = 0;
    loop {
        let stats = house.broker.stats();
        if received + stats.dropped(Drop::Trimmed) == u64::from(count) {
            assert!(stats.dropped(Drop::Trimmed) > 0, "retention took nothing: the test asks for too little");
            break;
        }
        back.take().await;
        received += 1;
    }
}

/// rumqttd issues 390 and 991: a panic that takes down what all share.
#[tokio::test]
async fn a_panic_in_one_connection_ends_that_connection_alone() {
    struct Faulty(Vec<u8>);
    impl AsyncRead for Faulty {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            assert!(!self.0.is_empty(), "a fault of ours, in the middle of a connection");
            into.put_slice(&self.0);
            self.0.clear();
            Poll::Ready(Ok(()))
        }
    }
    impl AsyncWrite for Faulty {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            from: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            Poll::Ready(Ok(from.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
    let house = House::open().await;
    let mut witness = Client::open(house.anonymous(), Version::V5, "witness").await;
    let mut bytes = bytes::BytesMut::new();
    let ask = connect(Version::V5, "faulty");
    mqtt::encode(&Packet::Connect(Box::new(ask)), Version::V5, &mut bytes).expect("a packet");
    let (broker, peer) = (house.broker.clone(), house.anonymous());
    let serving = tokio::spawn(async move {
        broker.serve(Faulty(bytes.to_vec()), peer, Auth::Anonymous).await;
    });
    assert!(serving.await.is_err_and(|error| error.is_panic()));
    let stats = house.until("it is gone", |stats| stats.connections == 1 && stats.sessions == 1).await;
    assert_eq!(stats.ended(End::Panic), 1);
    witness.expect_nothing().await;
    Client::open(house.anonymous(), Version::V5, "faulty").await.leave().await;
}

/// What one connection publishes beyond its rate: QoS 1 is read later, and never disconnected for it; QoS 0 is dropped and
/// counted.
#[tokio::test]
async fn a_client_over_its_rate_is_slowed_and_not_cut() {
    let settings = Settings { publish_messages_per_second_max: 100, ..Settings::default() };
    let house = House::with(Plan::with(settings)).await;
    let mut watcher = Client::open(house.anonymous(), Version::V5, "watcher").await;
    watcher.subscribe("dt/#", Qos::AtMostOnce).await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    let ones: Vec<_> = (1..=120).map(|id| Packet::Publish(publish("dt/a/t", id, "one"))).collect();
    client.send_all(&ones).await;
    for id in 1..=120 {
        client.expect_puback(id, Reason::Success).await;
        watcher.take().await;
    }
    let stats = house.broker.stats();
    assert!(stats.publish_slowed > 0, "a hundred at once, the others later");
    assert_eq!(stats.dropped(Drop::OverRate), 0);

    let zeros: Vec<_> = (0..300).map(|_| Packet::Publish(publish("dt/a/t", 0, "zero"))).collect();
    client.send_all(&zeros).await;
    client.expect_nothing().await;
    let stats = house.broker.stats();
    let dropped = stats.dropped(Drop::OverRate);
    assert!((150..300).contains(&dropped), "{dropped}");
    assert_eq!(stats.received, [300, 120, 0]);
    for _ in 0..300 - dropped {
        watcher.take().await;
    }
    watcher.expect_nothing().await;
    client.publish_durably("dt/a/t", 1, "still here").await;
}

#[tokio::test]
async fn topics_filters_and_packets_beyond_their_bounds_are_refused_and_counted() {
    let settings = Settings {
        topic_levels_max: 4,
        topic_bytes_max: 20,
        filters_per_packet_max: 2,
        user_properties_max: 1,
        ..Settings::default()
    };
    let house = House::with(Plan::with(settings)).await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    client.publish_durably("a/b/c/d", 1, "").await;
    for topic in ["a/b/c/d/e", "a/twenty-one-bytes-it-is"] {
        client.publish(publish(topic, 2, "")).await;
        client.expect_puback(2, Reason::TopicNameInvalid).await;
        client.publish(publish(topic, 0, "")).await;
        let options = mqtt::SubscribeOptions::default();
        assert_eq!(client.subscribe_with(topic, options, None).await, [Reason::QuotaExceeded]);
    }
    client.subscribe("a/+/c/#", Qos::AtMostOnce).await;
    let stats = house.broker.stats();
    assert_eq!((stats.refused(Refusal::Topic), stats.dropped(Drop::TopicNotAccepted)), (2, 2));
    assert_eq!(stats.refused(Refusal::Subscription), 2);

    let filter = |text: &str| {
        (
            mqtt::SubscriptionFilter::parse(text.to_owned()).expect("a filter"),
            mqtt::SubscribeOptions::default(),
        )
    };
    let filters = ["a", "b", "c"].map(filter).to_vec();
    let many = mqtt::Subscribe { packet_id: 1, filters, subscription_id: None, user: Vec::new() };
    client.send(&Packet::Subscribe(many)).await;
    assert!(
        matches!(client.receive().await, Some(Packet::Disconnect(told)) if told.reason == Reason::QuotaExceeded)
    );
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    let mut two = with_user(publish("a", 1, ""), "one", "1");
    if let Some(properties) = &mut two.properties {
        properties.attached.user.push(("two".into(), "2".into()));
    }
    client.publish(two).await;
    assert!(
        matches!(client.receive().await, Some(Packet::Disconnect(told)) if told.reason == Reason::QuotaExceeded)
    );
    let stats = house.broker.stats();
    assert_eq!((stats.refused(Refusal::TooManyFilters), stats.refused(Refusal::TooManyProperties)), (1, 1));
}

/// A fleet comes back after a network was away for ten minutes: everybody at once, each with its backlog in one go. All are
/// served, none is cut.
#[tokio::test]
async fn a_fleet_that_returns_with_its_backlog_is_served_and_none_is_cut() {
    // Ten minutes of a message a second in the long run; the fleet is as large in both.
    let (devices, backlog) =
        if std::env::var_os("GODWIT_SOAK").is_some() { (4_500, 600_u16) } else { (4_500, 6) };
    let house = House::open().await;
    let peer = house.anonymous();
    let mut fleet = tokio::task::JoinSet::new();
    for n in 0..devices {
        // Without a socket: as many files are open as the machine's own bound, and not one more per device.
        let (ours, theirs) = tokio::io::duplex(16 * 1024);
        let broker = house.broker.clone();
        tokio::spawn(async move { broker.serve(theirs, peer, Auth::Anonymous).await });
        fleet.spawn(async move {
            let mut client = Client::on(ours, Version::V311);
            client.send(&Packet::Connect(Box::new(connect(Version::V311, &format!("device-{n}"))))).await;
            assert!(
                matches!(client.receive().await, Some(Packet::ConnAck(answer)) if answer.reason == Reason::Success)
            );
            let topic = format!("dt/device-{n}/telemetry");
            for ids in (1..=backlog).collect::<Vec<_>>().chunks(50) {
                let messages: Vec<_> =
                    ids.iter().map(|&id| Packet::Publish(publish(&topic, id, "{\"t\":1}"))).collect();
                client.send_all(&messages).await;
                for &id in ids {
                    client.expect_puback(id, Reason::Success).await;
                }
            }
            client.leave().await;
        });
    }
    while let Some(served) = fleet.join_next().await {
        served.expect("a device is served");
    }
    let stats = house.until("all have left", |stats| stats.connections == 0).await;
    assert_eq!(stats.ended(End::Client), devices);
    assert_eq!(stats.received, [0, devices * u64::from(backlog), 0]);
    assert!(stats.refused.iter().all(|(_, count)| *count == 0), "{:?}", stats.refused);
}
