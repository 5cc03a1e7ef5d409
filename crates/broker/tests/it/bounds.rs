//! Every bound is kept and counted; a fault of one connection is its own.

use std::pin::Pin;
use std::task::{Context, Poll};

use broker::{Auth, Drop, End, Refusal, Settings};
use model::Qos;
use mqtt::{Packet, Reason, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::client::{Client, connect, persistent, publish};
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
