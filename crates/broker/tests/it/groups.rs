//! Shared subscriptions: each message goes to one member of a group (MQTT 5.0, section 4.8.2).
//!
//! MQTT 3.1.1 clients are members as others are: they ask in the same words.

use std::num::NonZeroU16;

use broker::{Drop, Settings};
use model::Qos;
use mqtt::{
    Ack, ConnectProperties, Packet, Reason, SubscribeOptions, SubscriptionFilter, Unsubscribe, Version,
};

use crate::client::{Client, connect, persistent, publish};
use crate::exactly_once::{ack, twice};
use crate::house::{House, Plan};

const SHARE: &str = "$share/g/a/#";

async fn member(house: &House, version: Version, id: &str, qos: Qos) -> Client {
    let mut member = Client::open(house.anonymous(), version, id).await;
    member.subscribe(SHARE, qos).await;
    member
}

/// A member whose window is one message, with a session that stays.
async fn narrow(house: &House, id: &str, qos: Qos) -> (Client, bool) {
    let mut ask = persistent(Version::V5, id);
    ask.properties = ConnectProperties { receive_maximum: NonZeroU16::MIN, ..ask.properties };
    let (mut member, is_present) = Client::with(house.anonymous(), ask).await;
    if !is_present {
        member.subscribe(SHARE, qos).await;
    }
    (member, is_present)
}

async fn publisher(house: &House) -> Client {
    Client::open(house.anonymous(), Version::V5, "pub").await
}

#[tokio::test]
async fn each_message_goes_to_one_member_and_each_member_has_its_turn() {
    let house = House::open().await;
    let mut members = Vec::new();
    for (id, version) in [("one", Version::V311), ("two", Version::V5), ("three", Version::V5)] {
        members.push(member(&house, version, id, Qos::AtLeastOnce).await);
    }
    let mut alone = Client::open(house.anonymous(), Version::V5, "alone").await;
    alone.subscribe("a/#", Qos::AtLeastOnce).await;
    let mut publisher = publisher(&house).await;
    let mut got = Vec::new();
    for n in 1..=9_u16 {
        let qos = n % 2;
        if qos == 1 {
            publisher.publish_durably("a/b", n, n.to_string()).await;
        } else {
            publisher.publish(publish("a/b", 0, n.to_string())).await;
        }
        let member = &mut members[usize::from(n - 1) % 3];
        got.push(member.take().await.payload);
        assert_eq!(alone.take().await.payload, n.to_string(), "who subscribes alone gets all");
    }
    assert_eq!(got, (1..=9).map(|n| n.to_string()).collect::<Vec<_>>());
    for member in &mut members {
        member.expect_nothing().await;
    }
    // What is over goes to those who are left; the last one takes the group along.
    let filter = SubscriptionFilter::parse(SHARE).expect("a filter");
    let unsubscribe = Unsubscribe { packet_id: 5, filters: vec![filter], user: Vec::new() };
    for reason in [Reason::Success, Reason::NoSubscriptionExisted] {
        members[2].send(&Packet::Unsubscribe(unsubscribe.clone())).await;
        match members[2].receive().await {
            Some(Packet::UnsubAck(answer)) => assert_eq!(answer.reasons, [reason]),
            other => panic!("{other:?}"),
        }
    }
    members.remove(1).leave().await;
    for n in 10..=12_u16 {
        publisher.publish_durably("a/b", n, n.to_string()).await;
        assert_eq!(members[0].take().await.payload, n.to_string());
    }
    members[1].expect_nothing().await;
    members.remove(0).leave().await;
    let stats = house.until("one subscription is left", |stats| stats.subscriptions == 1).await;
    assert_eq!(stats.dropped(Drop::SessionEnded), 0);
}

#[tokio::test]
async fn groups_of_one_name_and_another_filter_are_others_and_a_session_has_its_own_copy_besides() {
    let house = House::open().await;
    let mut client = Client::open(house.anonymous(), Version::V5, "all").await;
    let options = SubscribeOptions { qos_max: Qos::AtLeastOnce, ..SubscribeOptions::default() };
    for (filter, id) in [(SHARE, 1), ("$share/g/a/b", 2), ("$share/h/a/b", 3), ("a/b", 4), ("a/+", 5)] {
        assert_eq!(client.subscribe_with(filter, options, Some(id)).await, [Reason::GrantedQos1]);
    }
    let mut publisher = publisher(&house).await;
    publisher.publish_durably("a/b", 1, "x").await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(client.take().await.properties.expect("identifiers").subscription_ids);
    }
    ids.sort();
    assert_eq!(ids, [vec![1], vec![2], vec![3], vec![4, 5]]);
    client.expect_nothing().await;
}

#[tokio::test]
async fn mqtt5_3_8_3_4_and_4_8_2_1_what_is_no_shared_subscription_ends_the_connection() {
    let house = House::open().await;
    let wrong = [
        ("$share//a", 0, Reason::TopicFilterInvalid),
        ("$share/g", 0, Reason::TopicFilterInvalid),
        ("$share/g/", 0, Reason::TopicFilterInvalid),
        ("$share/+/a", 0, Reason::TopicFilterInvalid),
        ("$share/g#/a", 0, Reason::TopicFilterInvalid),
        ("$share/g/a#", 0, Reason::TopicFilterInvalid),
        // No Local.
        ("$share/g/a", 4, Reason::ProtocolError),
    ];
    for (filter, options, reason) in wrong {
        let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
        let mut bytes = vec![0x82, (6 + filter.len()) as u8, 0, 1, 0, 0, filter.len() as u8];
        bytes.extend(filter.as_bytes());
        bytes.push(options);
        client.send_bytes(&bytes).await;
        client.expect_end(reason).await;
    }
    let (_, answer) = Client::ask(house.anonymous(), connect(Version::V5, "me")).await;
    assert!(answer.expect("let in").properties.shared_available, "MQTT 5.0, section 3.2.2.3.13");
}

#[tokio::test]
async fn mqtt5_4_8_2_no_retained_messages_are_sent_to_a_shared_subscription() {
    let house = House::open().await;
    let mut publisher = publisher(&house).await;
    let mut kept = publish("a/b", 1, "kept");
    kept.retain = true;
    publisher.publish(kept.clone()).await;
    publisher.expect_puback(1, Reason::Success).await;
    let mut member = member(&house, Version::V5, "one", Qos::AtLeastOnce).await;
    member.expect_nothing().await;
    kept.packet_id = 2;
    publisher.publish(kept).await;
    assert!(!member.take().await.retain);
}

#[tokio::test]
async fn a_member_without_room_is_passed_over_and_what_nobody_has_room_for_waits_in_its_order() {
    let house = House::open().await;
    let (mut one, _) = narrow(&house, "one", Qos::AtLeastOnce).await;
    let (mut two, _) = narrow(&house, "two", Qos::AtLeastOnce).await;
    let mut publisher = publisher(&house).await;
    publisher.publish_durably("a/b", 1, "1").await;
    let first = one.message().await;
    for n in 2..=4_u16 {
        publisher.publish_durably("a/b", n, n.to_string()).await;
        assert_eq!(two.take().await.payload, n.to_string(), "the first one is not free yet");
    }
    publisher.publish_durably("a/b", 5, "5").await;
    let fifth = two.message().await;
    for n in 6..=9_u16 {
        publisher.publish_durably("a/b", n, n.to_string()).await;
    }
    house.until("four wait for both", |stats| stats.left_messages == 4).await;
    // QoS 0 needs no window.
    publisher.publish(publish("a/b", 0, "at once")).await;
    let mut seen = Vec::new();
    one.acknowledge(first.packet_id).await;
    for _ in 0..2 {
        let got = one.message().await;
        if got.packet_id != 0 {
            one.acknowledge(got.packet_id).await;
            seen.push(got.payload);
        } else {
            assert_eq!(got.payload, "at once");
            break;
        }
    }
    let mut more = Vec::new();
    while seen.len() + more.len() < 4 {
        let got = one.message().await;
        if got.packet_id != 0 {
            one.acknowledge(got.packet_id).await;
            more.push(got.payload);
        }
    }
    seen.extend(more);
    assert_eq!(seen, ["6", "7", "8", "9"]);
    two.acknowledge(fifth.packet_id).await;
    two.expect_nothing().await;
    let stats = house.until("nothing waits", |stats| stats.left_messages + stats.inflight == 0).await;
    assert_eq!(stats.queued_messages, 0);
}

#[tokio::test]
async fn what_a_group_has_no_room_for_is_counted() {
    let house = House::with(Plan::with(Settings { left_messages_max: 3, ..Settings::default() })).await;
    let (away, _) = narrow(&house, "away", Qos::AtLeastOnce).await;
    away.vanish().await;
    house.until("away", |stats| stats.connections == 0).await;
    let mut publisher = publisher(&house).await;
    for n in 1..=5_u16 {
        publisher.publish_durably("a/b", n, n.to_string()).await;
    }
    publisher.publish(publish("a/b", 0, "nobody")).await;
    let stats = house.until("two too many", |stats| stats.dropped(Drop::QueueFull) == 2).await;
    assert_eq!(stats.left_messages, 3);
    house.until("one for nobody", |stats| stats.dropped(Drop::Away) == 1).await;
}

#[tokio::test]
async fn mqtt5_4_8_2_what_a_member_did_not_acknowledge_goes_to_another_when_its_session_ends_and_not_before()
{
    let house = House::open().await;
    let (mut one, _) = narrow(&house, "one", Qos::AtLeastOnce).await;
    let mut publisher = publisher(&house).await;
    publisher.publish_durably("a/b", 1, "begun").await;
    let begun = one.message().await;
    let (mut two, _) = narrow(&house, "two", Qos::AtLeastOnce).await;
    one.vanish().await;
    house.until("it is away", |stats| stats.connections == 2).await;
    two.expect_nothing().await;
    let (mut one, goes_on) = narrow(&house, "one", Qos::AtLeastOnce).await;
    assert!(goes_on);
    let again = one.message().await;
    assert_eq!((again.dup, again.packet_id, &again.payload), (true, begun.packet_id, &begun.payload));
    one.vanish().await;
    Client::open(house.anonymous(), Version::V5, "one").await.leave().await;
    let handed = two.take().await;
    assert_eq!((handed.dup, handed.payload), (false, begun.payload));
    // A session that ends with its connection hands over at once.
    let mut three = member(&house, Version::V311, "three", Qos::AtLeastOnce).await;
    publisher.publish_durably("a/b", 2, "for three").await;
    assert_eq!(three.message().await.payload, "for three");
    three.vanish().await;
    assert_eq!(two.take().await.payload, "for three");
    // MQTT-4.8.2-6: what a member refuses goes to nobody.
    let (mut four, _) = narrow(&house, "four", Qos::AtLeastOnce).await;
    publisher.publish_durably("a/b", 3, "refused").await;
    let refused = four.message().await;
    four.send(&Packet::PubAck(Ack::new(refused.packet_id, Reason::Unspecified))).await;
    four.leave().await;
    two.expect_nothing().await;
}

#[tokio::test]
async fn mqtt5_4_8_2_4_and_5_qos_2_that_was_begun_goes_on_with_its_member_and_to_nobody_else() {
    let house = House::open().await;
    let (mut one, _) = narrow(&house, "one", Qos::ExactlyOnce).await;
    let mut publisher = publisher(&house).await;
    publisher.publish_exactly_once(twice("a/b", 1, "begun")).await;
    let begun = one.message().await;
    let (mut two, _) = narrow(&house, "two", Qos::ExactlyOnce).await;
    one.vanish().await;
    house.until("it is away", |stats| stats.connections == 2).await;
    two.expect_nothing().await;
    let (mut one, _) = narrow(&house, "one", Qos::ExactlyOnce).await;
    let again = one.message().await;
    assert_eq!((again.dup, again.packet_id), (true, begun.packet_id));
    one.vanish().await;
    Client::open(house.anonymous(), Version::V5, "one").await.leave().await;
    house.until("it is counted", |stats| stats.dropped(Drop::SessionEnded) == 1).await;
    two.expect_nothing().await;
}

#[tokio::test]
async fn a_group_keeps_its_place_while_its_members_are_away_and_over_restarts_and_crashes() {
    let mut house = House::open().await;
    for id in ["one", "two"] {
        narrow(&house, id, Qos::ExactlyOnce).await.0.vanish().await;
    }
    house.until("both are away", |stats| stats.connections == 0).await;
    let mut count: u16 = 0;
    for round in 0..4 {
        let mut publisher = publisher(&house).await;
        for _ in 0..5 {
            count += 1;
            publisher.publish_exactly_once(twice("a/b", count, &count.to_string())).await;
        }
        publisher.leave().await;
        house = if round % 2 == 0 {
            house.restart(Plan::default()).await
        } else {
            house.crash(Plan::default()).await
        };
        let stats = house.broker.stats();
        assert_eq!((stats.left_messages, stats.subscriptions, stats.sessions), (u64::from(count), 2, 2));
    }
    let (mut one, _) = narrow(&house, "one", Qos::ExactlyOnce).await;
    for n in 1..=3 {
        assert_eq!(one.take_exactly_once().await.payload, n.to_string());
    }
    // The process ends while one is on its way, and one was given to a member and not begun.
    let fourth = one.message().await;
    let house = house.crash(Plan::default()).await;
    let (mut two, _) = narrow(&house, "two", Qos::ExactlyOnce).await;
    for n in 5..=count {
        assert_eq!(two.take_exactly_once().await.payload, n.to_string());
    }
    two.expect_nothing().await;
    let (mut one, _) = narrow(&house, "one", Qos::ExactlyOnce).await;
    // What was complete may be released again, and the fourth is sent again.
    loop {
        match one.receive().await {
            Some(Packet::PubRel(release)) if release.packet_id != fourth.packet_id => {
                one.send(&Packet::PubComp(ack(release.packet_id))).await;
            }
            Some(Packet::Publish(again)) => {
                assert_eq!((again.dup, again.packet_id, again.payload), (true, fourth.packet_id, "4".into()));
                one.send(&Packet::PubRec(ack(again.packet_id))).await;
                one.expect(Packet::PubRel(ack(again.packet_id))).await;
                one.send(&Packet::PubComp(ack(again.packet_id))).await;
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    house.until("nothing is left", |stats| stats.left_messages + stats.inflight == 0).await;
}
