//! Section 3.1: CONNECT.

use std::sync::Arc;
use std::time::Duration;

use host::sim::SimClock;
use host::{Clock, SystemClock};
use model::Qos;
use mqtt::{Disconnect, Packet, Reason, Version};

use super::{NEW, V5, V311, by_hand, check, connected, hear, other, say, with};
use crate::client::{Client, connect, persistent, publish, will, with_user};
use crate::hostile::Expect::{Closed, Refused, Told};
use crate::house::{House, Plan};

#[tokio::test]
async fn mqtt5_3_1_0_1() {
    check(&[
        (NEW, "c000", Closed),
        (NEW, "30 {'t' 00}", Closed),
        (NEW, "82 {0001 00 'a' 00}", Closed),
        (NEW, "e000", Closed),
        (NEW, "f0 {18 00}", Closed),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_1_0_2() {
    check(&[
        (V5, "10 {'MQTT' 05 02 003c 00 'me'}", Told(Reason::ProtocolError)),
        (V311, "10 {'MQTT' 04 02 003c 'me'}", Told(Reason::ProtocolError)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_1_2_1() {
    check(&[
        (NEW, "10 {'MQTX' 05 02 003c 00 'id'}", Closed),
        (NEW, "10 {'mqtt' 05 02 003c 00 'id'}", Closed),
        (NEW, "10 {'MQT' 05 02 003c 00 'id'}", Closed),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_1_2_2() {
    check(&[
        (NEW, "10 {'MQTT' 06 02 003c 00 'id'}", Refused(0x84)),
        (NEW, "10 {'MQTT' 03 02 003c 'id'}", Refused(1)),
        (NEW, "10 {'MQIsdp' 03 02 003c 'id'}", Refused(1)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_1_2_3() {
    check(&[
        (NEW, "10 {'MQTT' 05 03 003c 00 'id'}", Refused(0x81)),
        (NEW, "10 {'MQTT' 04 03 003c 'id'}", Closed),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_1_2_4() {
    let house = House::open().await;
    let (mut first, _) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    first.subscribe("a", Qos::AtLeastOnce).await;
    first.leave().await;
    let mut clean = persistent(Version::V5, "me");
    clean.clean_start = true;
    let (mut second, is_present) = Client::with(house.anonymous(), clean).await;
    assert!(!is_present);
    other(&house).await.publish_durably("a", 1, "x").await;
    second.expect_nothing().await;
    assert_eq!(house.broker.stats().subscriptions, 0);
}

#[tokio::test]
async fn mqtt5_3_1_2_5() {
    let house = House::open().await;
    let (mut first, _) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    first.subscribe("a", Qos::AtLeastOnce).await;
    first.leave().await;
    other(&house).await.publish_durably("a", 1, "waited").await;
    let (mut second, is_present) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    assert!(is_present);
    assert_eq!(second.take().await.payload, "waited");
}

#[tokio::test]
async fn mqtt5_3_1_2_6() {
    let house = House::open().await;
    let (mut first, is_present) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    assert!(!is_present);
    first.subscribe("a", Qos::AtLeastOnce).await;
    assert_eq!(house.broker.stats().sessions, 1);
}

/// A client with a will, and somebody who would hear it.
async fn with_will(change: impl FnOnce(&mut mqtt::Connect)) -> (House, Client, Client) {
    let house = House::open().await;
    let mut watcher = other(&house).await;
    watcher.subscribe("will", Qos::ExactlyOnce).await;
    let mut ask = connect(Version::V5, "me");
    ask.will = Some(will("will", "gone"));
    change(&mut ask);
    let (client, _) = Client::with(house.anonymous(), ask).await;
    (house, watcher, client)
}

#[tokio::test]
async fn mqtt5_3_1_2_7() {
    // It is stored with the session: it is there after the connection is not.
    let (_house, mut watcher, client) = with_will(|_| ()).await;
    watcher.expect_nothing().await;
    client.vanish().await;
    assert_eq!(watcher.take().await.payload, "gone");
}

#[tokio::test]
async fn mqtt5_3_1_2_8() {
    // Published when the connection ends without DISCONNECT, with a fault, and with the reason that asks for it.
    for how in ["vanish", "fault", "ask"] {
        let (_house, mut watcher, mut client) = with_will(|_| ()).await;
        match how {
            "vanish" => client.vanish().await,
            "fault" => say(&mut client, "c100").await,
            _ => client.send(&Packet::Disconnect(Disconnect::new(Reason::DisconnectWithWill))).await,
        }
        assert_eq!(watcher.take().await.payload, "gone", "{how}");
    }
}

#[tokio::test]
async fn mqtt5_3_1_2_9() {
    check(&[
        (NEW, "10 {'MQTT' 05 06 003c 00 'id'}", Refused(0x81)),
        (NEW, "10 {'MQTT' 05 06 003c 00 'id' 00}", Refused(0x81)),
        (NEW, "10 {'MQTT' 05 06 003c 00 'id' 00 't'}", Refused(0x81)),
        (NEW, "10 {'MQTT' 04 06 003c 'id' 't'}", Closed),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_1_2_10() {
    // Removed by a goodbye, and by being published: it comes never, and never twice.
    let (_house, mut watcher, client) = with_will(|_| ()).await;
    client.leave().await;
    watcher.expect_nothing().await;
    let (house, mut watcher, client) = with_will(|ask| {
        ask.properties.session_expiry_s = 3_600;
    })
    .await;
    client.vanish().await;
    assert_eq!(watcher.take().await.payload, "gone");
    let (again, is_present) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    assert!(is_present);
    again.vanish().await;
    house.until("gone again", |stats| stats.connections == 1).await;
    watcher.expect_nothing().await;
}

#[tokio::test]
async fn mqtt5_3_1_2_11() {
    check(&[
        (NEW, "10 {'MQTT' 05 0a 003c 00 'id'}", Refused(0x81)),
        (NEW, "10 {'MQTT' 05 12 003c 00 'id'}", Refused(0x81)),
        (NEW, "10 {'MQTT' 04 0a 003c 'id'}", Closed),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_1_2_12() {
    check(&[(NEW, "10 {'MQTT' 05 1e 003c 00 'id' 00 't' 'p'}", Refused(0x81))]).await;
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let (_house, mut watcher, client) =
            with_will(|ask| ask.will.as_mut().expect("a will").qos = qos).await;
        client.vanish().await;
        assert_eq!(watcher.message().await.qos, qos);
    }
}

#[tokio::test]
async fn mqtt5_3_1_2_13() {
    check(&[
        (NEW, "10 {'MQTT' 05 22 003c 00 'id'}", Refused(0x81)),
        (NEW, "10 {'MQTT' 04 22 003c 'id'}", Closed),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_1_2_14() {
    let (house, mut watcher, client) = with_will(|_| ()).await;
    client.vanish().await;
    assert!(!watcher.take().await.retain);
    assert_eq!(house.broker.stats().retained_messages, 0);
}

#[tokio::test]
async fn mqtt5_3_1_2_15() {
    let (house, mut watcher, client) =
        with_will(|ask| ask.will.as_mut().expect("a will").retain = true).await;
    client.vanish().await;
    watcher.take().await;
    let mut late = Client::open(house.anonymous(), Version::V5, "late").await;
    late.subscribe("will", Qos::AtLeastOnce).await;
    let got = late.take().await;
    assert_eq!((got.retain, &got.payload[..]), (true, &b"gone"[..]));
}

#[tokio::test]
async fn mqtt5_3_1_2_16() {
    // A user name that no flag announces is a byte too many.
    check(&[
        (NEW, "10 {'MQTT' 05 02 003c 00 'id' 'user'}", Refused(0x81)),
        (NEW, "10 {'MQTT' 04 02 003c 'id' 'user'}", Closed),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_1_2_17() {
    check(&[
        (NEW, "10 {'MQTT' 05 82 003c 00 'id'}", Refused(0x81)),
        (NEW, "10 {'MQTT' 04 82 003c 'id'}", Closed),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_1_2_18() {
    check(&[(NEW, "10 {'MQTT' 05 82 003c 00 'id' 'user' 'word'}", Refused(0x81))]).await;
}

#[tokio::test]
async fn mqtt5_3_1_2_19() {
    check(&[
        (NEW, "10 {'MQTT' 05 c2 003c 00 'id' 'user'}", Refused(0x81)),
        (NEW, "10 {'MQTT' 05 42 003c 00 'id'}", Refused(0x81)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_1_2_22() {
    let house = House::open().await;
    let started = SystemClock::start();
    for version in [Version::V311, Version::V5] {
        let mut ask = connect(version, "silent");
        ask.keep_alive_s = 1;
        let (mut client, _) = Client::with(house.anonymous(), ask).await;
        client.expect_end(Reason::KeepAliveTimeout).await;
    }
    // Not before one and a half times, each.
    assert!(started.mono_micros() >= 3_000_000);
}

#[tokio::test]
async fn mqtt5_3_1_2_23() {
    let clock = Arc::new(SimClock::new());
    let plan = Plan { clock: Arc::clone(&clock) as _, ..Plan::default() };
    let house = House::with(plan).await;
    let (mut client, _) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    client.subscribe("a", Qos::AtLeastOnce).await;
    client.vanish().await;
    house.until("away", |stats| stats.connections == 0).await;
    clock.advance(Duration::from_secs(3_000));
    other(&house).await.publish_durably("a", 1, "x").await;
    let (mut back, is_present) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    assert!(is_present);
    assert_eq!(back.take().await.payload, "x");
}

#[tokio::test]
async fn mqtt5_3_1_2_24() {
    let house = House::open().await;
    // Maximum Packet Size 20: a message of 20 bytes passes, one of 21 does not; nor does any answer.
    let (mut me, connack) = by_hand(&house, "10 {'MQTT' 05 02 003c {2700000040} 'me'}").await;
    assert!(connack.len() <= 64);
    me.subscribe("t", Qos::AtMostOnce).await;
    let mut other = other(&house).await;
    other.publish(publish("t", 0, vec![b'x'; 59])).await;
    other.publish(publish("t", 0, vec![b'x'; 58])).await;
    assert_eq!(me.frame().await.expect("the smaller").len(), 64);
}

#[tokio::test]
async fn mqtt5_3_1_2_25() {
    let house = House::open().await;
    let (mut me, _) = by_hand(&house, "10 {'MQTT' 05 02 003c {2700000040 210001} 'me'}").await;
    me.subscribe("t", Qos::AtLeastOnce).await;
    let mut other = other(&house).await;
    other.publish_durably("t", 1, vec![b'x'; 100]).await;
    other.publish_durably("t", 2, "next").await;
    // As if it had been sent and acknowledged: with a window of one the next one comes.
    assert_eq!(me.take().await.payload, "next");
}

#[tokio::test]
async fn mqtt5_3_1_2_26_and_27() {
    let house = House::open().await;
    for (client_id, maximum) in [("none", "00"), ("two", "{220002}")] {
        let (mut me, _) = by_hand(&house, &format!("10 {{'MQTT' 05 02 003c {maximum} '{client_id}'}}")).await;
        me.subscribe("t/#", Qos::AtMostOnce).await;
        let mut other = other(&house).await;
        for n in 0..10 {
            other.publish(publish(&format!("t/{}", n % 3), 0, "x")).await;
            let got = me.message().await;
            let alias = got.properties.and_then(|all| all.topic_alias).map_or(0, std::num::NonZeroU16::get);
            assert!(alias <= if client_id == "two" { 2 } else { 0 }, "{alias}");
        }
    }
}

#[tokio::test]
async fn mqtt5_3_1_2_28() {
    let house = House::open().await;
    for ask in ["00", "{1900}", "{1901}"] {
        let (_, answer) = by_hand(&house, &format!("10 {{'MQTT' 05 02 003c {ask} 'me'}}")).await;
        // The server has no response information to give: property 0x1A is in none of its answers.
        let mut decoder = mqtt::Decoder::new(mqtt::Side::Client, 1 << 16);
        let read = decoder.decode(&mut bytes::BytesMut::from(&answer[..])).expect("a packet");
        let Some(Packet::ConnAck(answer)) = read else { panic!("{read:?}") };
        assert_eq!(answer.properties.response_information, None);
    }
}

#[tokio::test]
async fn mqtt5_3_1_2_29() {
    let house = House::open().await;
    let (mut me, _) = by_hand(&house, "10 {'MQTT' 05 02 003c {1700} 'me'}").await;
    // Refused publishes, subscriptions and what is not known: codes, and not a word more.
    say(&mut me, "32 {'$aws/x' 0001 00}").await;
    hear(&mut me, "40 {0001 90}").await;
    say(&mut me, "34 {'$aws/x' 0002 00}").await;
    hear(&mut me, "50 {0002 90}").await;
    say(&mut me, "62 {0009}").await;
    hear(&mut me, "70 {0009 92}").await;
    say(&mut me, "50 {0009}").await;
    hear(&mut me, "62 {0009 92}").await;
    say(&mut me, "82 {0003 00 '$aws/x' 00}").await;
    hear(&mut me, "90 {0003 00 8f}").await;
    say(&mut me, "a2 {0004 00 'none'}").await;
    hear(&mut me, "b0 {0004 00 11}").await;
}

#[tokio::test]
async fn mqtt5_3_1_3_1() {
    // In the order of the standard each field is what it is: the will arrives with its own properties, topic and payload.
    let house = House::open().await;
    let mut watcher = other(&house).await;
    watcher.subscribe("will", Qos::AtMostOnce).await;
    let hello = "10 {'MQTT' 05 c6 003c 00 'me' {26 'k' 'v'} 'will' 'gone' 'user' 'word'}";
    let (me, answer) = by_hand(&house, hello).await;
    assert_eq!(answer[3], 0);
    drop(me);
    hear(&mut watcher, "30 {'will' {26 'k' 'v'} \"gone\"}").await;
    // In another order they are not.
    check(&[(NEW, "10 {'MQTT' 05 06 003c 00 {26 'k' 'v'} 'id' 'will' 'gone'}", Refused(0x81))]).await;
}

#[tokio::test]
async fn mqtt5_3_1_3_2() {
    let house = House::open().await;
    for (client_id, expect) in [("a", false), ("A", false), ("a", true), ("A", true)] {
        let (client, is_present) = Client::with(house.anonymous(), persistent(Version::V5, client_id)).await;
        assert_eq!(is_present, expect, "{client_id}");
        client.leave().await;
    }
}

#[tokio::test]
async fn mqtt5_3_1_3_3() {
    check(&[(NEW, "10 {'MQTT' 05 02 003c 00}", Refused(0x81)), (NEW, "10 {'MQTT' 04 02 003c}", Closed)])
        .await;
}

#[tokio::test]
async fn mqtt5_3_1_3_4() {
    check(&[
        (NEW, "10 {'MQTT' 05 02 003c 00 0001ff}", Refused(0x81)),
        (NEW, "10 {'MQTT' 05 02 003c 00 000100}", Refused(0x81)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_1_3_5() {
    let house = House::open().await;
    let letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for start in [0, 23, 39] {
        for bytes in [1, 23] {
            let client_id = &letters[start..start + bytes];
            for version in [Version::V311, Version::V5] {
                Client::open(house.anonymous(), version, client_id).await.leave().await;
            }
        }
    }
}

#[tokio::test]
async fn mqtt5_3_1_3_6() {
    let house = House::open().await;
    let mut given = std::collections::BTreeSet::new();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let (client, answer) = Client::ask(house.anonymous(), connect(Version::V5, "")).await;
        given.insert(answer.expect("an answer").properties.assigned_client_id.expect("an id"));
        clients.push(client);
    }
    assert_eq!((given.len(), house.broker.stats().sessions), (20, 20));
}

#[tokio::test]
async fn mqtt5_3_1_3_7() {
    let house = House::open().await;
    let mut ask = persistent(Version::V5, "");
    ask.clean_start = true;
    let (mut client, answer) = Client::ask(house.anonymous(), ask).await;
    let given = answer.expect("an answer").properties.assigned_client_id.expect("an id");
    client.subscribe("a", Qos::AtLeastOnce).await;
    client.leave().await;
    // It is the id of its session from here on.
    let (_, is_present) = Client::with(house.anonymous(), persistent(Version::V5, &given)).await;
    assert!(is_present);
}

#[tokio::test]
async fn mqtt5_3_1_3_8() {
    let house = House::open().await;
    let (mut client, answer) = Client::ask(house.anonymous(), connect(Version::V5, &"x".repeat(300))).await;
    assert_eq!(answer.map(|answer| answer.reason), Some(Reason::ClientIdentifierNotValid));
    assert_eq!(client.receive().await, None);
}

#[tokio::test]
async fn mqtt5_3_1_3_10() {
    let (_house, mut watcher, client) = with_will(|ask| {
        let will = ask.will.as_mut().expect("a will");
        will.attached.user = ["b", "a", "c", "a"]
            .iter()
            .enumerate()
            .map(|(n, name)| ((*name).into(), n.to_string().into()))
            .collect();
    })
    .await;
    client.vanish().await;
    let user = watcher.take().await.properties.expect("properties").attached.user;
    let names: Vec<_> = user.iter().map(|(name, value)| format!("{name}{value}")).collect();
    assert_eq!(names, ["b0", "a1", "c2", "a3"]);
}

#[tokio::test]
async fn mqtt5_3_1_3_11() {
    check(&[
        (NEW, "10 {'MQTT' 05 06 003c 00 'id' 00 0001ff 'p'}", Refused(0x81)),
        (NEW, "10 {'MQTT' 05 06 003c 00 'id' 00 000100 'p'}", Refused(0x81)),
        (NEW, "10 {'MQTT' 04 06 003c 'id' 0003eda080 'p'}", Closed),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_1_3_12() {
    check(&[
        (NEW, "10 {'MQTT' 05 82 003c 00 'id' 0001ff}", Refused(0x81)),
        (NEW, "10 {'MQTT' 04 82 003c 'id' 000100}", Closed),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_1_4_1() {
    // What does not have the form of section 3.1 is closed: a field too few, one too many, a property of another packet.
    check(&[
        (NEW, "10 {'MQTT' 05 02 00}", Refused(0x81)),
        (NEW, "10 {'MQTT' 05 02 003c 00 'id' 00}", Refused(0x81)),
        (NEW, "10 {'MQTT' 05 02 003c {230001} 'id'}", Refused(0x81)),
        (NEW, "10 {'MQTT' 05 02 003c {210001 210001} 'id'}", Refused(0x82)),
    ])
    .await;
}

#[tokio::test]
async fn mqtt5_3_1_4_2() {
    let house = House::open().await;
    let mut ask = connect(Version::V5, "me");
    ask.username = Some("nobody".into());
    ask.password = Some("wrong".into());
    let (mut client, answer) = Client::ask(house.password(), ask).await;
    assert_eq!(answer.map(|answer| answer.reason), Some(Reason::BadUserNameOrPassword));
    assert_eq!(client.receive().await, None);
}

#[tokio::test]
async fn mqtt5_3_1_4_3() {
    let house = House::open().await;
    let mut first = Client::open(house.anonymous(), Version::V5, "me").await;
    let mut second = Client::open(house.anonymous(), Version::V5, "me").await;
    hear_takeover(&mut first).await;
    second.expect_nothing().await;
}

async fn hear_takeover(client: &mut Client) {
    let told = client.frame().await.expect("a DISCONNECT");
    assert_eq!((told[0], told[2]), (0xe0, 0x8e));
    assert_eq!(client.frame().await, None);
}

#[tokio::test]
async fn mqtt5_3_1_4_4() {
    // On a takeover too: a clean start ends the older session, one that is not goes on with it.
    let house = House::open().await;
    let (mut first, _) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    first.subscribe("a", Qos::AtLeastOnce).await;
    let (second, is_present) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    assert!(is_present && house.broker.stats().subscriptions == 1);
    let (third, is_present) = Client::with(house.anonymous(), connect(Version::V5, "me")).await;
    assert!(!is_present && house.broker.stats().subscriptions == 0);
    drop((second, third));
}

#[tokio::test]
async fn mqtt5_3_1_4_5() {
    let house = House::open().await;
    let (_, answer) = by_hand(&house, "10 {'MQTT' 05 02 003c 00 'me'}").await;
    assert_eq!((answer[0], answer[2], answer[3]), (0x20, 0, 0));
}

#[tokio::test]
async fn mqtt5_3_1_4_6() {
    let house = House::open().await;
    let mut ask = connect(Version::V5, "me");
    ask.username = Some("nobody".into());
    let mut client = Client::socket(house.password(), Version::V5).await;
    let publish = Packet::Publish(with(with_user(publish("a", 1, "x"), "k", "v"), |_| ()));
    client.send_all(&[Packet::Connect(Box::new(ask)), publish]).await;
    let answer = client.receive().await;
    assert!(matches!(answer, Some(Packet::ConnAck(answer)) if answer.reason != Reason::Success));
    assert_eq!(client.receive().await, None);
    assert_eq!(house.journal.durable_seq(), 0);
    // What comes right behind a CONNECT that is accepted is done.
    let (_house, mut me) = connected().await;
    me.publish_durably("a", 1, "x").await;
}
