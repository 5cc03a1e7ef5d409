//! The process ends without a word between any two steps: QoS 2 stays one message, wills are published, what was owed is sent.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use host::sim::SimClock;
use model::Qos;
use mqtt::{Connect, ConnectProperties, Packet, Version};

use crate::client::{Client, connect, persistent, will};
use crate::exactly_once::{ack, twice};
use crate::house::{House, Plan};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// How far the delivery of one message has come when the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Sent,
    Received,
    Complete,
}

#[tokio::test]
async fn mqtt5_4_3_3_after_a_crash_at_any_step_a_message_of_qos_2_goes_on_and_is_not_sent_again() {
    for version in VERSIONS {
        for step in [Step::Sent, Step::Received, Step::Complete] {
            let house = House::open().await;
            let (mut subscriber, _) = Client::with(house.anonymous(), persistent(version, "sub")).await;
            subscriber.subscribe("a", Qos::ExactlyOnce).await;
            let mut publisher = Client::open(house.anonymous(), Version::V5, "pub").await;
            publisher.publish_exactly_once(twice("a", 1, "one")).await;
            let one = subscriber.message().await;
            let id = one.packet_id;
            if step != Step::Sent {
                subscriber.send(&Packet::PubRec(ack(id))).await;
                subscriber.expect(Packet::PubRel(ack(id))).await;
            }
            if step == Step::Complete {
                subscriber.send(&Packet::PubComp(ack(id))).await;
                house.until("complete", |stats| stats.inflight == 0).await;
            }
            let house = house.crash(Plan::default()).await;
            let (mut subscriber, goes_on) = Client::with(house.anonymous(), persistent(version, "sub")).await;
            assert!(goes_on);
            match step {
                Step::Sent => {
                    let again = subscriber.take_exactly_once().await;
                    assert_eq!((again.dup, again.packet_id, again.payload), (true, id, one.payload));
                }
                // That PUBCOMP came is nothing that has to be kept: the client answers another PUBREL.
                Step::Received | Step::Complete => {
                    subscriber.expect(Packet::PubRel(ack(id))).await;
                    subscriber.send(&Packet::PubComp(ack(id))).await;
                }
            }
            subscriber.expect_nothing().await;
            let mut publisher = Client::open(house.anonymous(), Version::V5, "pub").await;
            publisher.publish_exactly_once(twice("a", 1, "two")).await;
            let two = subscriber.take_exactly_once().await;
            assert_eq!((two.payload, two.packet_id != id), ("two".into(), true), "{step:?}");
        }
    }
}

/// The catalog cannot take the step: nothing leaves before it can.
#[tokio::test]
async fn a_queue_of_qos_2_goes_on_where_it_was_over_crash_after_crash() {
    let mut house = House::open().await;
    let ask = || {
        let mut ask = persistent(Version::V5, "sub");
        ask.properties.receive_maximum = NonZeroU16::new(3).expect("not 0");
        ask
    };
    let (mut subscriber, _) = Client::with(house.anonymous(), ask()).await;
    subscriber.subscribe("a", Qos::ExactlyOnce).await;
    subscriber.vanish().await;
    let mut publisher = Client::open(house.anonymous(), Version::V5, "pub").await;
    for n in 1..=30_u16 {
        publisher.publish_exactly_once(twice("a", n, &n.to_string())).await;
    }
    // The client's side: ids that it holds, and what it has taken.
    let (mut held, mut taken) = (Vec::new(), Vec::new());
    for round in 0.. {
        let (mut subscriber, _) = Client::with(house.anonymous(), ask()).await;
        let mut packets = 0;
        while taken.len() < 30 || !held.is_empty() {
            match subscriber.receive().await.expect("a packet") {
                Packet::Publish(publish) => {
                    if !held.contains(&publish.packet_id) {
                        held.push(publish.packet_id);
                        taken.push(publish.payload);
                    }
                    subscriber.send(&Packet::PubRec(ack(publish.packet_id))).await;
                }
                Packet::PubRel(release) => {
                    held.retain(|id| *id != release.packet_id);
                    subscriber.send(&Packet::PubComp(ack(release.packet_id))).await;
                }
                other => panic!("{other:?}"),
            }
            packets += 1;
            if packets > 5 + 4 * round {
                break;
            }
        }
        if taken.len() == 30 && held.is_empty() {
            break;
        }
        house = house.crash(Plan::default()).await;
    }
    assert_eq!(taken, (1..=30).map(|n| n.to_string()).collect::<Vec<_>>());
}

fn with_will(mut ask: Connect, topic: &str, delay_s: u32) -> Connect {
    let mut last = will(topic, "gone");
    last.delay_s = delay_s;
    ask.will = Some(last);
    ask
}

#[tokio::test]
async fn mqtt5_3_1_2_8_the_end_of_the_server_without_a_word_ends_nobodys_will() {
    let clock = Arc::new(SimClock::new());
    let plan = || Plan { clock: Arc::clone(&clock) as Arc<dyn host::Clock>, ..Plan::default() };
    let house = House::with(plan()).await;
    let (mut watcher, _) = Client::with(house.anonymous(), persistent(Version::V5, "watcher")).await;
    watcher.subscribe("#", Qos::AtLeastOnce).await;
    let clean = |id: &str, delay_s| with_will(connect(Version::V5, id), id, delay_s);
    let stays = |id: &str, delay_s| with_will(persistent(Version::V5, id), id, delay_s);
    let mut connected = Vec::new();
    for ask in [clean("clean", 60), stays("now", 0), stays("later", 60), stays("returns", 60)] {
        connected.push(Client::with(house.anonymous(), ask).await.0);
    }
    Client::with(house.anonymous(), stays("polite", 0)).await.0.leave().await;
    // Away since before: its delay goes on.
    Client::with(house.anonymous(), stays("away", 90)).await.0.vanish().await;
    house.until("two are away", |stats| stats.connections == 5).await;
    // What its end brought about is durable when what comes after it is.
    Client::with(house.anonymous(), persistent(Version::V5, "after")).await.0.leave().await;
    clock.advance(Duration::from_secs(40));
    let house = house.crash(plan()).await;
    let (mut watcher, _) = Client::with(house.anonymous(), persistent(Version::V5, "watcher")).await;
    let mut topics = Vec::new();
    for _ in 0..2 {
        topics.push(watcher.take().await.topic.expect("a topic").to_string());
    }
    topics.sort();
    // A session that ended with its connection has no delay to wait for.
    assert_eq!(topics, ["clean", "now"]);
    let (_back, _) = Client::with(house.anonymous(), stays("returns", 60)).await;
    watcher.expect_nothing().await;
    clock.advance(Duration::from_secs(51));
    assert_eq!(watcher.take().await.topic.as_deref(), Some("away"), "90 s after it went");
    clock.advance(Duration::from_secs(10));
    assert_eq!(watcher.take().await.topic.as_deref(), Some("later"));
    watcher.expect_nothing().await;
    house.until("no will is published twice", |stats| stats.inflight == 0).await;
    // In good order: nobody's will is published, and one that waits for its moment still does.
    let (waits, _) = Client::with(house.anonymous(), stays("waits", 30)).await;
    waits.vanish().await;
    house.until("it is away", |stats| stats.connections == 2).await;
    let house = house.restart(plan()).await;
    let (mut watcher, _) = Client::with(house.anonymous(), persistent(Version::V5, "watcher")).await;
    watcher.expect_nothing().await;
    clock.advance(Duration::from_secs(31));
    assert_eq!(watcher.take().await.topic.as_deref(), Some("waits"));
    watcher.expect_nothing().await;
}

#[tokio::test]
async fn retained_messages_that_a_subscription_was_still_to_be_sent_are_sent_after_a_reconnect_and_a_crash() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let house = House::open().await;
        let mut publisher = Client::open(house.anonymous(), Version::V5, "pub").await;
        for n in 10..=29_u16 {
            let mut kept = twice(&format!("a/{n}"), n, &n.to_string());
            (kept.retain, kept.qos) = (true, qos);
            publisher.publish(kept).await;
            match publisher.receive().await.expect("an answer") {
                Packet::PubRec(_) => {
                    publisher.send(&Packet::PubRel(ack(n))).await;
                    publisher.expect(Packet::PubComp(ack(n))).await;
                }
                answer => assert_eq!(answer, Packet::PubAck(ack(n))),
            }
        }
        let ask = || {
            let mut ask = persistent(Version::V5, "sub");
            ask.properties = ConnectProperties { receive_maximum: NonZeroU16::MIN, ..ask.properties };
            ask
        };
        let (mut subscriber, _) = Client::with(house.anonymous(), ask()).await;
        subscriber.subscribe("a/#", qos).await;
        let mut taken = Vec::new();
        let (mut house, mut ids, mut packets) = (house, Vec::new(), 0);
        while taken.len() < 20 || !ids.is_empty() {
            packets += 1;
            if packets == 4 || packets == 14 {
                if packets == 14 {
                    house = house.crash(Plan::default()).await;
                }
                (subscriber, _) = Client::with(house.anonymous(), ask()).await;
            }
            match subscriber.receive().await.expect("a packet") {
                Packet::Publish(got) if got.qos == Qos::AtLeastOnce => {
                    assert!(got.retain);
                    // QoS 1 may come again after a crash.
                    if !taken.contains(&got.payload) {
                        taken.push(got.payload);
                    }
                    subscriber.acknowledge(got.packet_id).await;
                }
                Packet::Publish(got) => {
                    if !ids.contains(&got.packet_id) {
                        ids.push(got.packet_id);
                        taken.push(got.payload);
                    }
                    subscriber.send(&Packet::PubRec(ack(got.packet_id))).await;
                }
                Packet::PubRel(release) => {
                    ids.retain(|id| *id != release.packet_id);
                    subscriber.send(&Packet::PubComp(ack(release.packet_id))).await;
                }
                other => panic!("{other:?}"),
            }
        }
        taken.sort();
        assert_eq!(taken, (10..=29).map(|n| n.to_string()).collect::<Vec<_>>(), "each once");
        // Whoever subscribes anew is sent all of it anew.
        subscriber.subscribe("a/#", qos).await;
        for n in 10..=29 {
            let got = if qos == Qos::ExactlyOnce {
                subscriber.take_exactly_once().await
            } else {
                subscriber.take().await
            };
            assert_eq!(got.payload, n.to_string());
        }
    }
}
