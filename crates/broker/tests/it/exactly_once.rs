//! QoS 2: one publish, one message, one delivery, whatever connections break in between.
//!
//! Each test is named by the statement that it holds, in the numbering of MQTT 5.0 (section 4.3.3); both versions are meant.

use broker::{Drop, Refusal, Settings};
use model::Qos;
use mqtt::{Ack, Packet, Publish, Reason, Version};

use crate::client::{Client, connect, persistent, publish, will};
use crate::house::{House, Plan};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

pub(crate) fn twice(topic: &str, packet_id: u16, payload: &str) -> Publish {
    Publish { qos: Qos::ExactlyOnce, ..publish(topic, packet_id, payload.to_owned()) }
}

pub(crate) fn again(publish: Publish) -> Publish {
    Publish { dup: true, ..publish }
}

pub(crate) fn ack(packet_id: u16) -> Ack {
    Ack::new(packet_id, Reason::Success)
}

impl Client {
    pub(crate) async fn publish_exactly_once(&mut self, publish: Publish) {
        let id = publish.packet_id;
        self.publish(publish).await;
        self.expect(Packet::PubRec(ack(id))).await;
        self.send(&Packet::PubRel(ack(id))).await;
        self.expect(Packet::PubComp(ack(id))).await;
    }

    /// The next packet is a PUBLISH of QoS 2; every step is taken.
    pub(crate) async fn take_exactly_once(&mut self) -> Publish {
        let publish = self.message().await;
        assert_eq!(publish.qos, Qos::ExactlyOnce);
        self.send(&Packet::PubRec(ack(publish.packet_id))).await;
        self.expect(Packet::PubRel(ack(publish.packet_id))).await;
        self.send(&Packet::PubComp(ack(publish.packet_id))).await;
        publish
    }
}

#[tokio::test]
async fn mqtt5_4_3_3_8_pubrec_answers_when_the_message_is_durable() {
    for version in VERSIONS {
        let house = House::open().await;
        let mut client = Client::open(house.anonymous(), version, "me").await;
        house.disk.hold_syncs();
        client.publish(twice("a", 1, "x")).await;
        client.expect_nothing().await;
        house.disk.release_syncs();
        client.expect(Packet::PubRec(ack(1))).await;
        assert_eq!(house.journal.durable_seq(), 1);
    }
}

#[tokio::test]
async fn mqtt5_4_3_3_10_until_pubrel_a_repeat_is_answered_and_no_second_message() {
    for version in VERSIONS {
        let house = House::open().await;
        let (mut client, _) = Client::with(house.anonymous(), persistent(version, "me")).await;
        client.publish(twice("a", 1, "x")).await;
        client.expect(Packet::PubRec(ack(1))).await;
        client.publish(again(twice("a", 1, "x"))).await;
        client.expect(Packet::PubRec(ack(1))).await;
        client.vanish().await;
        // Over a reconnect, and whether or not it says that it is a repeat.
        let (mut client, goes_on) = Client::with(house.anonymous(), persistent(version, "me")).await;
        assert!(goes_on);
        for repeat in [again(twice("a", 1, "x")), twice("a", 1, "x")] {
            client.publish(repeat).await;
            client.expect(Packet::PubRec(ack(1))).await;
        }
        assert_eq!(house.journal.durable_seq(), 1, "one message");
        client.send(&Packet::PubRel(ack(1))).await;
        client.expect(Packet::PubComp(ack(1))).await;
        // From here on the id is a new message.
        client.publish_exactly_once(twice("a", 1, "y")).await;
        assert_eq!(house.journal.durable_seq(), 2);
    }
}

#[tokio::test]
async fn an_answer_to_a_repeat_never_comes_to_the_next_message_of_its_id() {
    // Read together with PUBREL, and before it.
    for (version, is_read) in VERSIONS.into_iter().flat_map(|version| [(version, false), (version, true)]) {
        let house = House::open().await;
        let (mut client, _) = Client::with(house.anonymous(), persistent(version, "me")).await;
        client.publish(twice("a", 2, "x")).await;
        client.expect(Packet::PubRec(ack(2))).await;
        house.disk.hold_syncs();
        // Its answer waits behind that of another message: answers keep their order.
        client.publish(publish("a", 7, "first".to_owned())).await;
        client.publish(again(twice("a", 2, "x"))).await;
        if is_read {
            client.send(&Packet::PingReq).await;
            client.expect(Packet::PingResp).await;
        }
        client.send(&Packet::PubRel(ack(2))).await;
        client.expect(Packet::PubComp(ack(2))).await;
        // The id is free, and is another message's from here on: nothing of it is durable.
        client.publish(twice("a", 2, "y")).await;
        client.expect_nothing().await;
        house.disk.release_syncs();
        client.expect(Packet::PubAck(ack(7))).await;
        client.expect(Packet::PubRec(ack(2))).await;
        assert_eq!(house.journal.durable_seq(), 3, "x, the first and y");
        client.send(&Packet::PubRel(ack(2))).await;
        client.expect(Packet::PubComp(ack(2))).await;
    }
}

#[tokio::test]
async fn a_message_that_was_not_durable_when_its_connection_broke_is_answered_on_the_next_and_is_one() {
    for version in VERSIONS {
        let house = House::open().await;
        let (mut client, _) = Client::with(house.anonymous(), persistent(version, "me")).await;
        house.disk.hold_syncs();
        client.publish(twice("a", 1, "x")).await;
        client.expect_nothing().await;
        client.vanish().await;
        let address = house.anonymous();
        let next = tokio::spawn(async move { Client::with(address, persistent(version, "me")).await });
        house.disk.release_syncs();
        let (mut client, _) = next.await.expect("connected");
        client.publish(again(twice("a", 1, "x"))).await;
        client.expect(Packet::PubRec(ack(1))).await;
        assert_eq!(house.journal.durable_seq(), 1);
    }
}

#[tokio::test]
async fn mqtt5_4_3_3_4_and_5_a_subscriber_is_sent_the_next_step_and_never_the_message_again() {
    for version in VERSIONS {
        let house = House::open().await;
        let (mut subscriber, _) = Client::with(house.anonymous(), persistent(version, "sub")).await;
        subscriber.subscribe("a", Qos::ExactlyOnce).await;
        let mut publisher = Client::open(house.anonymous(), Version::V5, "pub").await;
        publisher.publish_exactly_once(twice("a", 1, "one")).await;
        publisher.publish_exactly_once(twice("a", 2, "two")).await;
        let (one, two) = (subscriber.message().await, subscriber.message().await);
        assert_eq!(
            (one.qos, &one.payload[..], &two.payload[..]),
            (Qos::ExactlyOnce, &b"one"[..], &b"two"[..])
        );
        subscriber.send(&Packet::PubRec(ack(one.packet_id))).await;
        subscriber.expect(Packet::PubRel(ack(one.packet_id))).await;
        subscriber.vanish().await;
        // PUBREL for what it has, PUBLISH with the same id for what it has not confirmed, in the order of before.
        let (mut subscriber, _) = Client::with(house.anonymous(), persistent(version, "sub")).await;
        subscriber.expect(Packet::PubRel(ack(one.packet_id))).await;
        let repeat = subscriber.take_exactly_once().await;
        assert_eq!((repeat.dup, repeat.packet_id, &repeat.payload[..]), (true, two.packet_id, &b"two"[..]));
        subscriber.send(&Packet::PubComp(ack(one.packet_id))).await;
        publisher.publish_exactly_once(twice("a", 3, "three")).await;
        assert_eq!(subscriber.take_exactly_once().await.payload, "three");
        house.until("all is over", |stats| stats.inflight == 0).await;
    }
}

#[tokio::test]
async fn mqtt5_4_3_3_what_is_refused_with_pubrec_is_over() {
    let house = House::open().await;
    let mut subscriber = Client::open(house.anonymous(), Version::V5, "sub").await;
    subscriber.subscribe("a", Qos::ExactlyOnce).await;
    let mut publisher = Client::open(house.anonymous(), Version::V5, "pub").await;
    publisher.publish_exactly_once(twice("a", 1, "x")).await;
    let got = subscriber.message().await;
    subscriber.send(&Packet::PubRec(Ack::new(got.packet_id, Reason::Unspecified))).await;
    let stats = house.until("over", |stats| stats.inflight == 0).await;
    assert_eq!(stats.dropped(Drop::NotWanted), 1);
    subscriber.expect_nothing().await;
    // And the other way round: what we refuse has no PUBREL, and its id is free.
    publisher.publish(twice("$aws/x", 7, "x")).await;
    publisher.expect(Packet::PubRec(Ack::new(7, Reason::TopicNameInvalid))).await;
    publisher.publish_exactly_once(twice("a", 7, "fine")).await;
    assert_eq!(subscriber.take_exactly_once().await.payload, "fine");
    // A PUBREC for nothing.
    subscriber.send(&Packet::PubRec(ack(999))).await;
    subscriber.expect(Packet::PubRel(Ack::new(999, Reason::PacketIdentifierNotFound))).await;
}

#[tokio::test]
async fn a_subscription_has_at_most_the_qos_that_it_asked_for_and_that_was_published() {
    let house = House::open().await;
    let mut publisher = Client::open(house.anonymous(), Version::V311, "pub").await;
    for (asked, published) in [(2, 1), (2, 0), (1, 2), (0, 2), (2, 2)] {
        let mut subscriber = Client::open(house.anonymous(), Version::V5, "sub").await;
        subscriber.subscribe("a", Qos::from_u8(asked).expect("a QoS")).await;
        let qos = Qos::from_u8(published).expect("a QoS");
        match qos {
            Qos::ExactlyOnce => publisher.publish_exactly_once(twice("a", 1, "x")).await,
            Qos::AtLeastOnce => publisher.publish_durably("a", 1, "x").await,
            Qos::AtMostOnce => publisher.publish(publish("a", 0, "x")).await,
        }
        assert_eq!(subscriber.message().await.qos as u8, asked.min(published));
        subscriber.leave().await;
    }
    let mut last = will("a", "gone");
    last.qos = Qos::ExactlyOnce;
    let mut ask = connect(Version::V5, "mortal");
    ask.will = Some(last);
    let mut subscriber = Client::open(house.anonymous(), Version::V5, "sub").await;
    subscriber.subscribe("a", Qos::ExactlyOnce).await;
    Client::with(house.anonymous(), ask).await.0.vanish().await;
    assert_eq!(subscriber.take_exactly_once().await.payload, "gone");
}

/// aedes GHSA-5jvp-3p2v-5qgf, CVE-2023-28366: ids that are never released are bounded, and honest repeats pass.
#[tokio::test]
async fn mqtt5_3_3_4_7_unreleased_ids_are_bounded_and_repeats_pass_at_the_bound() {
    for version in VERSIONS {
        let house = House::with(Plan::with(Settings { receive_maximum: 10, ..Settings::default() })).await;
        let (mut client, _) = Client::with(house.anonymous(), persistent(version, "flood")).await;
        for id in 1..=10 {
            client.publish(twice("a", id, "x")).await;
            client.expect(Packet::PubRec(ack(id))).await;
        }
        for id in 1..=10 {
            client.publish(again(twice("a", id, "x"))).await;
            client.expect(Packet::PubRec(ack(id))).await;
        }
        client.vanish().await;
        let (mut client, _) = Client::with(house.anonymous(), persistent(version, "flood")).await;
        client.publish(again(twice("a", 3, "x"))).await;
        client.expect(Packet::PubRec(ack(3))).await;
        client.publish(twice("a", 11, "x")).await;
        client.expect_end(Reason::ReceiveMaximumExceeded).await;
        assert_eq!(house.journal.durable_seq(), 10);
        assert_eq!(house.broker.stats().refused(Refusal::TooManyInFlight), 1);
    }
}

#[tokio::test]
async fn what_waits_in_the_journal_comes_back_at_its_qos() {
    let settings = Settings { queue_messages_max: 2, ..Settings::default() };
    let house = House::with(Plan::with(settings)).await;
    let (mut away, _) = Client::with(house.anonymous(), persistent(Version::V5, "away")).await;
    away.subscribe("a", Qos::ExactlyOnce).await;
    away.vanish().await;
    let mut publisher = Client::open(house.anonymous(), Version::V5, "pub").await;
    for n in 1..=9 {
        publisher.publish_exactly_once(twice("a", n, &n.to_string())).await;
    }
    house.until("left in the journal", |stats| stats.left_messages == 7).await;
    let (mut back, _) = Client::with(house.anonymous(), persistent(Version::V5, "away")).await;
    let mut got = Vec::new();
    while got.len() < 9 {
        match back.receive().await {
            Some(Packet::Publish(publish)) => {
                got.push((publish.qos as u8, publish.payload));
                back.send(&Packet::PubRec(ack(publish.packet_id))).await;
            }
            Some(Packet::PubRel(release)) => back.send(&Packet::PubComp(ack(release.packet_id))).await,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, (1..=9).map(|n: u8| (2, n.to_string().into())).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_clean_start_forgets_the_ids_of_before() {
    let house = House::open().await;
    let (mut client, _) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    client.publish(twice("a", 1, "x")).await;
    client.expect(Packet::PubRec(ack(1))).await;
    client.vanish().await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    client.publish_exactly_once(twice("a", 1, "another")).await;
    assert_eq!(house.journal.durable_seq(), 2);
}
