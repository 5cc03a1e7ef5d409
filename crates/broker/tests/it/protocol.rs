//! What breaks the protocol, and what is asked for and not served: each gets its answer, and nobody else notices.

use std::time::Duration;

use broker::{End, Refusal, Settings};
use model::Qos;
use mqtt::{Ack, Packet, PublishProperties, Reason, SubscribeOptions, Version};

use crate::client::{Client, connect, publish};
use crate::house::{House, Plan};

const BOTH: [Version; 2] = [Version::V311, Version::V5];

#[tokio::test]
async fn garbage_ends_its_own_connection_and_no_other() {
    let house = House::open().await;
    let mut witness = Client::open(house.anonymous(), Version::V5, "witness").await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00", b"\x00\x00", &[0xff; 100]] {
        let mut stranger = Client::socket(house.anonymous(), Version::V311).await;
        stranger.send_bytes(garbage).await;
        assert_eq!(stranger.receive().await, None, "{garbage:?}");
    }
    let stats = house.until("refusals", |stats| stats.refused(Refusal::NoConnect) == 4).await;
    assert_eq!(stats.sessions, 1);
    witness.expect_nothing().await;
}

#[tokio::test]
async fn half_a_packet_for_ever_ends_when_the_time_to_connect_is_over() {
    let settings = Settings { connect_timeout: Duration::from_millis(50), ..Settings::default() };
    let house = House::with(Plan::with(settings)).await;
    for half in [&b""[..], b"\x10", b"\x10\x40\x00\x04MQ"] {
        let mut slow = Client::socket(house.anonymous(), Version::V311).await;
        slow.send_bytes(half).await;
        assert_eq!(slow.receive().await, None);
    }
    house.until("timeouts", |stats| stats.refused(Refusal::ConnectTimeout) == 3).await;
}

/// CVE-2017-7651, CVE-2023-0809: memory set aside for an announced length.
#[tokio::test]
async fn an_announced_256_mb_is_refused_before_memory() {
    let house = House::open().await;
    let mut stranger = Client::socket(house.anonymous(), Version::V311).await;
    stranger.send_bytes(b"\x10\xff\xff\xff\x7f").await;
    assert_eq!(stranger.receive().await, None);

    let mut known = Client::open(house.anonymous(), Version::V5, "known").await;
    known.send_bytes(b"\x30\xff\xff\xff\x7f").await;
    known.expect_end(Reason::PacketTooLarge).await;
}

#[tokio::test]
async fn what_comes_at_the_wrong_time_or_from_the_wrong_side_is_a_protocol_error() {
    let house = House::open().await;
    let mut first = Client::socket(house.anonymous(), Version::V5).await;
    first.send(&Packet::PingReq).await;
    assert_eq!(first.receive().await, None, "the first packet must be CONNECT");
    let wrong: [&[u8]; 3] = [
        b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02me", // CONNECT again
        b"\x20\x03\x00\x00\x00",                               // CONNACK from a client, CVE-2021-28166
        b"\xf0\x02\x18\x00",                                   // AUTH without a method
    ];
    for bytes in wrong {
        let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
        client.send_bytes(bytes).await;
        client.expect_end(Reason::ProtocolError).await;
    }
    let mut old = Client::open(house.anonymous(), Version::V311, "old").await;
    old.send_bytes(b"\x20\x02\x00\x00").await;
    old.expect_end(Reason::ProtocolError).await;
}

/// CVE-2018-12543, CVE-2021-34432, CVE-2019-11779.
#[tokio::test]
async fn an_invalid_topic_ends_the_connection_with_its_reason() {
    let house = House::open().await;
    let deep = "/".repeat(200);
    let topics = ["", "a/+/b", "#", "a\0b", &deep];
    for topic in topics {
        let mut body = vec![0, topic.len() as u8];
        body.extend_from_slice(topic.as_bytes());
        body.push(0);
        let mut packet = vec![0x30];
        let length = body.len();
        if length < 128 {
            packet.push(length as u8);
        } else {
            packet.extend([(length % 128) as u8 | 0x80, (length / 128) as u8]);
        }
        packet.extend(body);
        let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
        client.send_bytes(&packet).await;
        assert!(matches!(client.receive().await, Some(Packet::Disconnect(_))), "{topic:?}");
        assert_eq!(client.receive().await, None);
    }
    let stats = house.until("ends", |stats| stats.ended(End::Protocol) == 5).await;
    assert_eq!(stats.ended(End::Panic), 0);
}

#[tokio::test]
async fn a_pubrel_for_nothing_is_answered() {
    let house = House::open().await;
    for (version, reason) in
        [(Version::V5, Reason::PacketIdentifierNotFound), (Version::V311, Reason::Success)]
    {
        let mut client = Client::open(house.anonymous(), version, "me").await;
        client.send(&Packet::PubRel(Ack::new(9, Reason::Success))).await;
        client.expect(Packet::PubComp(Ack::new(9, reason))).await;
        client.leave().await;
    }
}

/// CVE-2020-13849: a keep-alive set high holds connections for ever.
#[tokio::test]
async fn a_client_that_is_silent_for_one_and_a_half_keep_alives_is_told_and_ended() {
    let settings = Settings { keep_alive_s_max: 1, ..Settings::default() };
    let house = House::with(Plan::with(settings)).await;
    let mut silent = Vec::new();
    for asked in [1, 0, 600] {
        for version in BOTH {
            let mut ask = connect(version, &format!("{version}-{asked}"));
            ask.keep_alive_s = asked;
            let (client, answer) = Client::ask(house.anonymous(), ask).await;
            let told = answer.expect("an answer").properties.server_keep_alive_s;
            assert_eq!(told, (version == Version::V5 && asked != 1).then_some(1));
            silent.push(client);
        }
    }
    for mut client in silent {
        client.expect_end(Reason::KeepAliveTimeout).await;
    }
    assert_eq!(house.broker.stats().ended(End::KeepAlive), 6);
}

#[tokio::test]
async fn a_topic_alias_stands_for_its_topic_and_a_wrong_one_ends_the_connection() {
    let house = House::open().await;
    let mut watcher = Client::open(house.anonymous(), Version::V5, "watcher").await;
    watcher.subscribe("#", Qos::AtLeastOnce).await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    let aliased = |topic: Option<&str>, id, alias| {
        let mut publish = publish(topic.unwrap_or("-"), id, "x");
        if topic.is_none() {
            publish.topic = None;
        }
        publish.properties = Some(Box::new(PublishProperties {
            topic_alias: std::num::NonZeroU16::new(alias),
            ..PublishProperties::default()
        }));
        publish
    };
    client.publish(aliased(Some("dt/a/b"), 1, 3)).await;
    client.publish(aliased(None, 2, 3)).await;
    for id in [1, 2] {
        client.expect_puback(id, Reason::Success).await;
        let got = watcher.take().await;
        assert_eq!(got.topic.as_deref(), Some("dt/a/b"));
        assert_eq!(
            got.properties.as_ref().and_then(|all| all.topic_alias),
            None,
            "it belongs to one connection"
        );
    }
    client.publish(aliased(Some("x"), 3, 33)).await;
    client.expect_end(Reason::TopicAliasInvalid).await;
}

#[tokio::test]
async fn more_unacknowledged_publishes_than_allowed_end_a_connection_that_was_told() {
    let settings = Settings { receive_maximum: 2, ..Settings::default() };
    let house = House::with(Plan::with(settings)).await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    house.disk.hold_syncs();
    for id in 1..=3 {
        client.publish(publish("a", id, "x")).await;
    }
    client.expect_end(Reason::ReceiveMaximumExceeded).await;
    house.disk.release_syncs();
}

#[tokio::test]
async fn a_filter_that_is_not_served_is_refused_alone() {
    let settings = Settings { filters_per_session_max: 2, ..Settings::default() };
    let house = House::with(Plan::with(settings)).await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    let options = SubscribeOptions::default();
    let asked = [
        ("$share/g/$aws/things/x", Reason::TopicFilterInvalid),
        ("$aws/things/x", Reason::TopicFilterInvalid),
        ("a", Reason::Success),
        ("$share/g/a", Reason::Success),
        ("c", Reason::QuotaExceeded),
        ("$share/g/c", Reason::QuotaExceeded),
        ("$share/g/a", Reason::Success),
        ("a", Reason::Success),
    ];
    for (filter, reason) in asked {
        assert_eq!(client.subscribe_with(filter, options, None).await, [reason], "{filter}");
    }
    let stats = house.broker.stats();
    assert_eq!((stats.refused(Refusal::Subscription), stats.subscriptions), (4, 2));
}

#[tokio::test]
async fn a_client_without_an_id_gets_one() {
    let house = House::open().await;
    let (_client, answer) = Client::ask(house.anonymous(), connect(Version::V5, "")).await;
    let assigned = answer.expect("an answer").properties.assigned_client_id.expect("an id");
    assert_eq!(house.broker.sessions()[0].client_id, assigned);
    Client::open(house.anonymous(), Version::V311, "").await.leave().await;
    let mut method = connect(Version::V5, "me");
    method.properties.auth_method = Some("SCRAM".into());
    let (_, answer) = Client::ask(house.anonymous(), method).await;
    assert_eq!(answer.map(|answer| answer.reason), Some(Reason::BadAuthenticationMethod));
    let (_, answer) = Client::ask(house.anonymous(), connect(Version::V5, &"x".repeat(300))).await;
    assert_eq!(answer.map(|answer| answer.reason), Some(Reason::ClientIdentifierNotValid));
}
