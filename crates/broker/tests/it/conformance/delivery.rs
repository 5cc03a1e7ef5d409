//! Sections 4.1 to 4.6 and 4.9: session state, the three qualities of service, order, flow control.

use std::sync::Arc;
use std::time::Duration;

use host::sim::SimClock;
use model::Qos;
use mqtt::{Ack, Packet, Publish, Reason, Version};

use super::{at_most, connected, hear, is_next, other, say, with};
use crate::client::{Client, connect, persistent, publish};
use crate::exactly_once::{ack, again, twice};
use crate::house::{House, Plan};

#[tokio::test]
async fn mqtt5_4_1_0_1() {
    // However long the connection is open and however short the expiry: the session is there.
    let clock = Arc::new(SimClock::new());
    let plan = Plan { clock: Arc::clone(&clock) as _, ..Plan::default() };
    let house = House::with(plan).await;
    let mut ask = persistent(Version::V5, "me");
    ask.properties.session_expiry_s = 1;
    // The simulated time is silence too: a keep-alive longer than what passes.
    ask.keep_alive_s = 0;
    let (mut me, _) = Client::with(house.anonymous(), ask).await;
    me.subscribe("a", Qos::AtLeastOnce).await;
    clock.advance(Duration::from_secs(3_000));
    house.until("looked at", |stats| stats.sessions == 1).await;
    other(&house).await.publish_durably("a", 1, "x").await;
    assert_eq!(me.take().await.payload, "x");
}

#[tokio::test]
async fn mqtt5_4_1_0_2() {
    let clock = Arc::new(SimClock::new());
    let plan = Plan { clock: Arc::clone(&clock) as _, ..Plan::default() };
    let house = House::with(plan).await;
    let mut ask = persistent(Version::V5, "me");
    ask.properties.session_expiry_s = 100;
    Client::with(house.anonymous(), ask.clone()).await.0.vanish().await;
    house.until("away", |stats| stats.connections == 0).await;
    clock.advance(Duration::from_secs(101));
    house.until("discarded", |stats| stats.sessions == 0).await;
    let (_, is_present) = Client::with(house.anonymous(), ask).await;
    assert!(!is_present);
}

#[tokio::test]
async fn mqtt5_4_3_1_1() {
    let (house, mut me) = connected().await;
    me.subscribe("t", Qos::AtMostOnce).await;
    let mut other = other(&house).await;
    other.publish(publish("t", 0, "x")).await;
    hear(&mut me, "30 {'t' 00 \"x\"}").await;
    other.publish(Publish { dup: true, ..publish("t", 1, "y") }).await;
    hear(&mut me, "30 {'t' 00 \"y\"}").await;
}

#[tokio::test]
async fn mqtt5_4_3_2_1_to_3() {
    // A new id, QoS 1 and no DUP for what is new; the id is not used again until PUBACK.
    let (house, mut me) = connected().await;
    me.subscribe("t", Qos::AtLeastOnce).await;
    let mut other = other(&house).await;
    let mut ids = Vec::new();
    for id in 1..=20 {
        other.publish(publish("t", id, "x")).await;
        let got = me.message().await;
        assert!(!got.dup && got.qos == Qos::AtLeastOnce && !ids.contains(&got.packet_id));
        ids.push(got.packet_id);
    }
    house.until("all are unacknowledged", |stats| stats.inflight == 20).await;
    for (left, id) in ids.into_iter().rev().enumerate().map(|(n, id)| (19 - n as u64, id)) {
        me.acknowledge(id).await;
        house.until("one less", |stats| stats.inflight == left).await;
    }
}

#[tokio::test]
async fn mqtt5_4_3_2_4() {
    let (house, mut me) = connected().await;
    house.disk.hold_syncs();
    say(&mut me, "32 {'t' 1234 00 \"x\"}").await;
    // Ownership is durability.
    me.expect_nothing().await;
    house.disk.release_syncs();
    hear(&mut me, "40 {1234}").await;
    assert_eq!(house.journal.durable_seq(), 1);
}

#[tokio::test]
async fn mqtt5_4_3_2_5() {
    let (house, mut me) = connected().await;
    let mut watcher = other(&house).await;
    watcher.subscribe("t", Qos::AtLeastOnce).await;
    for dup in [false, true, true] {
        me.publish(Publish { dup, ..publish("t", 7, "x") }).await;
        me.expect_puback(7, Reason::Success).await;
        watcher.take().await;
    }
}

#[tokio::test]
async fn mqtt5_4_3_3_1_to_3() {
    let (house, mut me) = connected().await;
    me.subscribe("t", Qos::ExactlyOnce).await;
    let mut other = other(&house).await;
    let mut ids = Vec::new();
    for id in 1..=20 {
        other.publish(twice("t", id, "x")).await;
        let got = me.message().await;
        assert!(!got.dup && got.qos == Qos::ExactlyOnce && !ids.contains(&got.packet_id));
        ids.push(got.packet_id);
    }
    house.until("all are unacknowledged", |stats| stats.inflight == 20).await;
}

#[tokio::test]
async fn mqtt5_4_3_3_6() {
    // After its PUBREL the message is never sent again, whatever connection breaks.
    let house = House::open().await;
    let (mut me, _) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    me.subscribe("t", Qos::ExactlyOnce).await;
    other(&house).await.publish(twice("t", 1, "x")).await;
    let id = me.message().await.packet_id;
    me.send(&Packet::PubRec(ack(id))).await;
    me.expect(Packet::PubRel(ack(id))).await;
    for _ in 0..3 {
        me.vanish().await;
        me = Client::with(house.anonymous(), persistent(Version::V5, "me")).await.0;
        me.expect(Packet::PubRel(ack(id))).await;
        me.expect_nothing().await;
    }
}

#[tokio::test]
async fn mqtt5_4_3_3_7() {
    // Sent before it expired: it is sent again after it would have.
    let clock = Arc::new(SimClock::new());
    let plan = Plan { clock: Arc::clone(&clock) as _, ..Plan::default() };
    let house = House::with(plan).await;
    let (mut me, _) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    me.subscribe("t", Qos::ExactlyOnce).await;
    other(&house).await.publish(with(twice("t", 1, "x"), |all| all.expiry_s = Some(10))).await;
    let id = me.message().await.packet_id;
    me.vanish().await;
    clock.advance(Duration::from_secs(60));
    let (mut back, _) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    let got = back.take_exactly_once().await;
    assert_eq!((got.packet_id, &got.payload[..]), (id, &b"x"[..]));
}

#[tokio::test]
async fn mqtt5_4_3_3_9() {
    let (house, mut me) = connected().await;
    // Refused twice: the second is a new message to be judged, not a repeat of one that was taken.
    for _ in 0..2 {
        me.publish(twice("$aws/x", 7, "x")).await;
        let refused = is_next(&mut me, |packet| matches!(packet, Packet::PubRec(_))).await;
        assert!(matches!(refused, Packet::PubRec(Ack { packet_id: 7, reason, .. }) if reason.is_failure()));
    }
    me.publish_exactly_once(twice("t", 7, "x")).await;
    assert_eq!(house.journal.durable_seq(), 1);
}

#[tokio::test]
async fn mqtt5_4_3_3_11_and_12() {
    let (house, mut me) = connected().await;
    let mut watcher = other(&house).await;
    watcher.subscribe("t", Qos::ExactlyOnce).await;
    for payload in ["first", "second"] {
        me.publish(twice("t", 7, payload)).await;
        me.expect(Packet::PubRec(ack(7))).await;
        me.send(&Packet::PubRel(ack(7))).await;
        me.expect(Packet::PubComp(ack(7))).await;
        assert_eq!(watcher.take_exactly_once().await.payload, payload);
    }
}

#[tokio::test]
async fn mqtt5_4_3_3_13() {
    let clock = Arc::new(SimClock::new());
    let plan = Plan { clock: Arc::clone(&clock) as _, ..Plan::default() };
    let house = House::with(plan).await;
    let (mut me, _) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    let message = with(twice("t", 7, "x"), |all| all.expiry_s = Some(1));
    me.publish(message.clone()).await;
    me.expect(Packet::PubRec(ack(7))).await;
    clock.advance(Duration::from_secs(60));
    me.publish(again(message)).await;
    me.expect(Packet::PubRec(ack(7))).await;
    me.send(&Packet::PubRel(ack(7))).await;
    me.expect(Packet::PubComp(ack(7))).await;
    assert_eq!(house.journal.durable_seq(), 1);
}

#[tokio::test]
async fn mqtt5_4_4_0_1() {
    // PUBLISH and PUBREL alike, with their ids; and at no other time.
    let house = House::open().await;
    let (mut me, _) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    me.subscribe("t", Qos::ExactlyOnce).await;
    let mut other = other(&house).await;
    other.publish(twice("t", 1, "released")).await;
    other.publish(publish("t", 2, "once")).await;
    let (released, once) = (me.message().await.packet_id, me.message().await.packet_id);
    me.send(&Packet::PubRec(ack(released))).await;
    me.expect(Packet::PubRel(ack(released))).await;
    me.expect_nothing().await;
    me.vanish().await;
    let (mut back, _) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    back.expect(Packet::PubRel(ack(released))).await;
    let again = back.message().await;
    assert_eq!((again.dup, again.packet_id), (true, once));
    back.expect_nothing().await;
}

#[tokio::test]
async fn mqtt5_4_4_0_2() {
    let house = House::open().await;
    let (mut me, _) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    me.subscribe("t", Qos::ExactlyOnce).await;
    let mut other = other(&house).await;
    other.publish(publish("t", 1, "x")).await;
    other.publish(twice("t", 2, "y")).await;
    let (once, exactly) = (me.message().await.packet_id, me.message().await.packet_id);
    me.send(&Packet::PubAck(Ack::new(once, Reason::Unspecified))).await;
    me.send(&Packet::PubRec(Ack::new(exactly, Reason::Unspecified))).await;
    me.expect_nothing().await;
    me.vanish().await;
    let (mut back, is_present) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    assert!(is_present);
    back.expect_nothing().await;
}

#[tokio::test]
async fn mqtt5_4_5_0_1() {
    let house = House::open().await;
    for name in ["one", "two"] {
        let (mut away, _) = Client::with(house.anonymous(), persistent(Version::V5, name)).await;
        away.subscribe("t/+", Qos::AtLeastOnce).await;
        away.leave().await;
    }
    other(&house).await.publish_durably("t/1", 1, "x").await;
    for name in ["one", "two"] {
        let (mut back, _) = Client::with(house.anonymous(), persistent(Version::V5, name)).await;
        assert_eq!(back.take().await.payload, "x");
    }
}

#[tokio::test]
async fn mqtt5_4_6_0_1() {
    let house = House::open().await;
    let (mut me, _) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    me.subscribe("t", Qos::ExactlyOnce).await;
    let mut other = other(&house).await;
    let mut sent = Vec::new();
    for id in 1..=30 {
        let message = if id % 3 == 0 { twice("t", id, "x") } else { publish("t", id, "x") };
        other.publish(message).await;
        sent.push(me.message().await.packet_id);
    }
    me.vanish().await;
    let (mut back, _) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    for id in sent {
        assert_eq!(back.message().await.packet_id, id);
    }
}

/// Said of clients; a server that released in another order would show the messages in another order to all clients that
/// deliver on release. Several threads: what waits for the catalog may be ready in any order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn mqtt5_4_6_0_4() {
    for connect in
        [connect(Version::V5, "me"), persistent(Version::V311, "me"), persistent(Version::V5, "me")]
    {
        let house = House::open().await;
        let (mut me, _) = Client::with(house.anonymous(), connect).await;
        me.subscribe("t", Qos::ExactlyOnce).await;
        let mut other = other(&house).await;
        let mut ids = Vec::new();
        for id in 1..=60 {
            other.publish(twice("t", id, "x")).await;
            ids.push(me.message().await.packet_id);
        }
        for id in &ids {
            me.send(&Packet::PubRec(ack(*id))).await;
        }
        for id in ids {
            me.expect(Packet::PubRel(ack(id))).await;
        }
    }
}

#[tokio::test]
async fn mqtt5_4_6_0_5_and_6() {
    // Every topic is an ordered one, for each subscriber, at each QoS.
    let (house, mut me) = connected().await;
    me.subscribe("t/#", Qos::AtLeastOnce).await;
    let mut wide = Client::open(house.anonymous(), Version::V311, "wide").await;
    wide.subscribe("#", Qos::AtLeastOnce).await;
    let mut other = other(&house).await;
    for id in 1..=200 {
        other.publish(publish(&format!("t/{}", id % 3), id, id.to_string())).await;
    }
    for client in [&mut me, &mut wide] {
        for id in 1..=200 {
            assert_eq!(client.take().await.payload, id.to_string());
        }
    }
}

#[tokio::test]
async fn mqtt5_4_9_0_1_and_2() {
    let house = House::open().await;
    for quota in [1, 2, 7_u16] {
        let mut ask = connect(Version::V5, "me");
        ask.properties.receive_maximum = std::num::NonZeroU16::new(quota).expect("not 0");
        let (mut me, _) = Client::with(house.anonymous(), ask).await;
        me.subscribe_with("t", at_most(Qos::AtLeastOnce), None).await;
        let mut other = other(&house).await;
        for id in 1..=10 {
            other.publish_durably("t", id, "x").await;
        }
        let mut sent = Vec::new();
        for _ in 0..quota {
            sent.push(me.message().await.packet_id);
        }
        me.expect_nothing().await;
        // Each acknowledgement makes room for one.
        for id in sent {
            me.acknowledge(id).await;
        }
        for _ in 0..quota.min(10 - quota) {
            me.message().await;
        }
        me.expect_nothing().await;
        me.leave().await;
        other.leave().await;
    }
}

#[tokio::test]
async fn mqtt5_4_9_0_3() {
    let house = House::open().await;
    let mut ask = connect(Version::V5, "me");
    ask.properties.receive_maximum = std::num::NonZeroU16::new(1).expect("one");
    let (mut me, _) = Client::with(house.anonymous(), ask).await;
    me.subscribe("t", Qos::ExactlyOnce).await;
    let mut other = other(&house).await;
    other.publish(twice("t", 1, "x")).await;
    other.publish(publish("t", 2, "y")).await;
    let id = me.message().await.packet_id;
    // The quota is used up: acknowledgements, subscriptions, pings and publishes of the client's own go on.
    me.subscribe("u", Qos::AtMostOnce).await;
    me.publish_durably("v", 1, "x").await;
    me.send(&Packet::PubRec(ack(id))).await;
    me.expect(Packet::PubRel(ack(id))).await;
    me.expect_nothing().await;
    me.send(&Packet::PubComp(ack(id))).await;
    assert_eq!(me.take().await.payload, "y");
}
