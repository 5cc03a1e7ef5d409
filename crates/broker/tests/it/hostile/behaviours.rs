//! What takes more than one packet: storms, floods, silence, ids that are fought for.

use std::future::Future;
use std::pin::Pin;

use bytes::BytesMut;
use model::Qos;
use mqtt::{Ack, Disconnect, Packet, Reason, SubscribeOptions, SubscriptionFilter, Unsubscribe, Version};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{hello, is_alive};
use crate::client::{Client, persistent, publish, will};
use crate::house::House;

type Outcome<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;
type Row = (&'static str, for<'a> fn(&'a House) -> Outcome<'a>);

/// Those who say a part of something and then nothing: they are there while all others are served.
pub(super) async fn stall(house: &House) -> Vec<(&'static str, Client)> {
    let mut stalled = Vec::new();
    let halves: [(&str, &[u8]); 5] = [
        ("nothing at all", b""),
        ("one byte", b"\x10"),
        ("half a length", b"\x10\xff"),
        ("half a CONNECT", b"\x10\x40\x00\x04MQ"),
        ("all but the last byte", b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02i"),
    ];
    for (name, bytes) in halves {
        let mut client = Client::socket(house.anonymous(), Version::V311).await;
        client.send_bytes(bytes).await;
        stalled.push((name, client));
    }
    // Connected, and silent in the middle of a packet: one and a half keep-alives.
    let halves: [(&str, &[u8]); 3] = [
        ("silence", b""),
        ("silence in the middle of PUBLISH", b"\x32\x20\x00\x03a/b"),
        ("silence in the middle of a length", b"\x32\xff"),
    ];
    for (name, bytes) in halves {
        let mut ask = hello(name);
        ask.keep_alive_s = 1;
        let (mut client, _) = Client::with(house.anonymous(), ask).await;
        client.send_bytes(bytes).await;
        stalled.push((name, client));
    }
    stalled
}

/// Sends the same packets many times in one go.
fn many(packets: &[Packet], times: usize) -> BytesMut {
    let mut out = BytesMut::new();
    for packet in packets.iter().cycle().take(packets.len() * times) {
        mqtt::encode(packet, Version::V5, &mut out).expect("a packet");
    }
    out
}

async fn a_stranger(house: &House) -> Client {
    Client::open(house.anonymous(), Version::V5, "stranger").await
}

/// It is told this, and its connection ends.
async fn ends_with(client: &mut Client, reason: Reason) -> Result<(), String> {
    loop {
        match client.receive().await {
            Some(Packet::Disconnect(told)) if told.reason == reason => return Ok(()),
            Some(Packet::Disconnect(told)) => return Err(format!("{:?}, not {reason:?}", told.reason)),
            Some(_) => {}
            None => return Err(format!("no word, not {reason:?}")),
        }
    }
}

fn subscribe(filter: &str) -> Packet {
    let filter = SubscriptionFilter::parse(filter.to_owned()).expect("a filter");
    Packet::Subscribe(mqtt::Subscribe {
        packet_id: 1,
        filters: vec![(filter, SubscribeOptions::default())],
        subscription_id: None,
        user: Vec::new(),
    })
}

fn unsubscribe(filter: &str) -> Packet {
    let filters = vec![SubscriptionFilter::parse(filter.to_owned()).expect("a filter")];
    Packet::Unsubscribe(Unsubscribe { packet_id: 2, filters, user: Vec::new() })
}

/// The connection ends with a reset instead of a goodbye.
async fn reset(house: &House, bytes: &[u8]) -> Result<(), String> {
    let mut socket = TcpStream::connect(house.anonymous()).await.map_err(|error| error.to_string())?;
    socket.write_all(bytes).await.map_err(|error| error.to_string())?;
    socket.set_zero_linger().map_err(|error| error.to_string())
}

const HELLO: &[u8] = b"\x10\x12\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x05reset";

pub(super) const ROWS: &[Row] = &[
    ("20,000 PINGREQ in one go", |house| {
        Box::pin(async {
            let client = a_stranger(house).await;
            let (mut reading, mut writing) = tokio::io::split(client.stream);
            let flood = many(&[Packet::PingReq], 20_000);
            let sending = writing.write_all(&flood);
            let mut answers = vec![0; 40_000];
            let receiving = tokio::io::AsyncReadExt::read_exact(&mut reading, &mut answers);
            let (sent, received) = tokio::join!(sending, receiving);
            sent.and(received.map(|_| ())).map_err(|error| error.to_string())
        })
    }),
    ("a flood of PINGREQ that is never listened to", |house| {
        Box::pin(async {
            let client = a_stranger(house).await;
            let (_, mut writing) = tokio::io::split(client.stream);
            let flood = many(&[Packet::PingReq], 1_000_000);
            // It is read no further once it takes no answers: the rest finds no room, or is left when it goes.
            let most = std::time::Duration::from_millis(300);
            let _ = tokio::time::timeout(most, writing.write_all(&flood)).await;
            Ok(())
        })
    }),
    ("subscribing and unsubscribing 2,000 times", |house| {
        Box::pin(async {
            let mut client = a_stranger(house).await;
            let storm = many(&[subscribe("a/#"), unsubscribe("a/#")], 20);
            for _ in 0..100 {
                client.send_bytes(&storm).await;
                for _ in 0..40 {
                    client.receive().await.ok_or("ended")?;
                }
            }
            is_alive(&mut client).await
        })
    }),
    ("1,000 subscriptions beyond the bound", |house| {
        Box::pin(async {
            let mut client = a_stranger(house).await;
            let mut refused = 0;
            for n in 0..1_000 {
                client.send(&subscribe(&format!("f/{n}/+"))).await;
                match client.receive().await {
                    Some(Packet::SubAck(ack)) => {
                        refused += usize::from(ack.reasons == [Reason::QuotaExceeded]);
                    }
                    other => return Err(format!("{other:?}")),
                }
            }
            if refused == 950 { is_alive(&mut client).await } else { Err(format!("{refused} refused")) }
        })
    }),
    ("more filters in one SUBSCRIBE than are taken", |house| {
        Box::pin(async {
            let mut client = a_stranger(house).await;
            let filter = SubscriptionFilter::parse("a".to_owned()).expect("a filter");
            let filters = vec![(filter, SubscribeOptions::default()); 300];
            let packet = mqtt::Subscribe { packet_id: 1, filters, subscription_id: None, user: Vec::new() };
            client.send(&Packet::Subscribe(packet)).await;
            ends_with(&mut client, Reason::QuotaExceeded).await
        })
    }),
    ("a topic of 10,000 levels", |house| {
        Box::pin(async {
            let mut client = a_stranger(house).await;
            let topic = "/".repeat(10_000);
            let mut packet = vec![0x30];
            packet.extend(super::bytes::length(topic.len() + 3));
            packet.extend(u16::try_from(topic.len()).expect("short").to_be_bytes());
            packet.extend(topic.bytes());
            packet.push(0);
            client.send_bytes(&packet).await;
            ends_with(&mut client, Reason::TopicNameInvalid).await
        })
    }),
    ("a filter of 10,000 levels", |house| {
        Box::pin(async {
            let mut client = a_stranger(house).await;
            let filter = "+/".repeat(10_000);
            let mut packet = vec![0x82];
            packet.extend(super::bytes::length(filter.len() + 6));
            packet.extend([0, 1, 0]);
            packet.extend(u16::try_from(filter.len()).expect("short").to_be_bytes());
            packet.extend(filter.bytes());
            packet.push(0);
            client.send_bytes(&packet).await;
            ends_with(&mut client, Reason::TopicFilterInvalid).await
        })
    }),
    ("1,000 user properties", |house| {
        Box::pin(async {
            let mut client = a_stranger(house).await;
            let properties = b"\x26\x00\x01a\x00\x01b".repeat(1_000);
            let mut body = b"\x00\x01t".to_vec();
            body.extend(super::bytes::length(properties.len()));
            body.extend(properties);
            let mut packet = vec![0x30];
            packet.extend(super::bytes::length(body.len()));
            packet.extend(body);
            client.send_bytes(&packet).await;
            ends_with(&mut client, Reason::QuotaExceeded).await
        })
    }),
    ("a client id of 60,000 bytes", |house| {
        Box::pin(async {
            let (_, answer) = Client::ask(house.anonymous(), hello(&"x".repeat(60_000))).await;
            match answer.map(|answer| answer.reason) {
                Some(Reason::ClientIdentifierNotValid) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
    }),
    ("more QoS 2 messages than may be unreleased", |house| {
        Box::pin(async {
            let mut client = a_stranger(house).await;
            for id in 1..=21 {
                let mut publish = publish("q", id, "x");
                publish.qos = Qos::ExactlyOnce;
                client.publish(publish).await;
            }
            ends_with(&mut client, Reason::ReceiveMaximumExceeded).await
        })
    }),
    ("QoS 2 that is never released, in 3.1.1", |house| {
        Box::pin(async {
            let mut client = Client::open(house.anonymous(), Version::V311, "stranger").await;
            for id in 1..=21 {
                let mut publish = publish("q", id, "x");
                publish.qos = Qos::ExactlyOnce;
                client.publish(publish).await;
            }
            while client.receive().await.is_some() {}
            Ok(())
        })
    }),
    ("one QoS 2 message 500 times", |house| {
        Box::pin(async {
            let mut client = a_stranger(house).await;
            let before = house.journal.durable_seq();
            let mut publish = publish("q", 7, "x");
            publish.qos = Qos::ExactlyOnce;
            for n in 0..500 {
                publish.dup = n > 0;
                client.publish(publish.clone()).await;
                client.expect(Packet::PubRec(Ack::new(7, Reason::Success))).await;
            }
            let taken = house.journal.durable_seq() - before;
            if taken == 1 { is_alive(&mut client).await } else { Err(format!("taken {taken} times")) }
        })
    }),
    ("2,000 acknowledgements of what was never sent", |house| {
        Box::pin(async {
            let mut client = a_stranger(house).await;
            let acks = [
                Packet::PubAck(Ack::new(9, Reason::Success)),
                Packet::PubComp(Ack::new(9, Reason::Success)),
                Packet::PubRec(Ack::new(9, Reason::Unspecified)),
            ];
            client.send_bytes(&many(&acks, 700)).await;
            is_alive(&mut client).await
        })
    }),
    ("two that fight for one client id", |house| {
        Box::pin(async {
            let mut last = a_stranger(house).await;
            for n in 0..40 {
                let version = if n % 2 == 0 { Version::V5 } else { Version::V311 };
                let next = Client::open(house.anonymous(), version, "stranger").await;
                if last.version == Version::V5 {
                    ends_with(&mut last, Reason::SessionTakenOver).await?;
                } else if last.receive().await.is_some() {
                    return Err("3.1.1 has no word for a takeover".to_owned());
                }
                last = next;
            }
            is_alive(&mut last).await
        })
    }),
    ("100 at once under one client id", |house| {
        Box::pin(async {
            let mut clients = Vec::new();
            for _ in 0..100 {
                let mut client = Client::socket(house.anonymous(), Version::V5).await;
                client.send(&Packet::Connect(Box::new(hello("stranger")))).await;
                clients.push(client);
            }
            // All but one end, whatever they were told before.
            let mut alive = 0;
            for mut client in clients {
                client.send(&Packet::PingReq).await;
                loop {
                    match client.receive().await {
                        Some(Packet::PingResp) => break alive += 1,
                        Some(_) => {}
                        None => break,
                    }
                }
            }
            // A ping may be answered before the connection is taken over.
            if alive >= 1 { Ok(()) } else { Err("nobody won".to_owned()) }
        })
    }),
    ("the canary's own client id, with a session that differs", |house| {
        Box::pin(async {
            // Not the canary's: its id is its own as long as it is connected, but anybody may ask for a similar one.
            let mut client = Client::open(house.anonymous(), Version::V5, "canary/").await;
            is_alive(&mut client).await
        })
    }),
    ("persistent sessions that are begun and ended 50 times", |house| {
        Box::pin(async {
            for _ in 0..50 {
                let (mut client, _) =
                    Client::with(house.anonymous(), persistent(Version::V5, "stranger")).await;
                client.subscribe("s/#", Qos::ExactlyOnce).await;
                drop(client);
                Client::open(house.anonymous(), Version::V5, "stranger").await.leave().await;
            }
            Ok(())
        })
    }),
    ("the longest keep-alive", |house| {
        Box::pin(async {
            let mut ask = hello("stranger");
            ask.keep_alive_s = u16::MAX;
            let (mut client, answer) = Client::ask(house.anonymous(), ask).await;
            let told = answer.and_then(|answer| answer.properties.server_keep_alive_s);
            if told == Some(3_600) { is_alive(&mut client).await } else { Err(format!("{told:?}")) }
        })
    }),
    ("a will on $SYS", |house| {
        Box::pin(async {
            let mut ask = hello("stranger");
            ask.will = Some(will("$SYS/broker/load", "lies"));
            let (client, _) = Client::with(house.anonymous(), ask).await;
            drop(client);
            Ok(())
        })
    }),
    ("a will on a reserved topic", |house| {
        Box::pin(async {
            let mut ask = hello("stranger");
            ask.will = Some(will("$aws/things/x/shadow/update", "{}"));
            match Client::ask(house.anonymous(), ask).await.1 {
                Some(_) => Ok(()),
                None => Err("no answer".to_owned()),
            }
        })
    }),
    ("a reset before CONNECT", |house| Box::pin(reset(house, b""))),
    ("a reset in the middle of CONNECT", |house| Box::pin(reset(house, &HELLO[..9]))),
    ("a reset behind CONNECT", |house| Box::pin(reset(house, HELLO))),
    ("a reset in the middle of PUBLISH", |house| {
        Box::pin(async { reset(house, &[HELLO, b"\x32\x20\x00\x03a/b\x00\x01\x00half"].concat()).await })
    }),
    ("a reset with a publish on its way to the disk", |house| {
        Box::pin(async { reset(house, &[HELLO, b"\x32\x09\x00\x03a/b\x00\x01\x00x"].concat()).await })
    }),
    ("a subscriber that never reads, and its own flood", |house| {
        Box::pin(async {
            let mut deaf = Client::open(house.anonymous(), Version::V5, "deaf").await;
            deaf.subscribe("flood", Qos::AtMostOnce).await;
            let mut loud = a_stranger(house).await;
            for _ in 0..400 {
                loud.publish(publish("flood", 0, vec![0; 32 * 1024])).await;
            }
            is_alive(&mut loud).await
        })
    }),
    ("a goodbye, and packets behind it", |house| {
        Box::pin(async {
            let mut client = a_stranger(house).await;
            let before = house.journal.durable_seq();
            let goodbye = Packet::Disconnect(Disconnect::new(Reason::Success));
            client.send_all(&[goodbye, Packet::Publish(publish("late", 1, "x")), Packet::PingReq]).await;
            let heard = client.receive().await;
            let taken = house.journal.durable_seq() - before;
            if heard.is_none() && taken == 0 { Ok(()) } else { Err(format!("{heard:?}, {taken} taken")) }
        })
    }),
    ("byte by byte", |house| {
        Box::pin(async {
            let mut client = Client::socket(house.anonymous(), Version::V5).await;
            for byte in HELLO {
                client.send_bytes(&[*byte]).await;
            }
            match client.receive().await {
                Some(Packet::ConnAck(_)) => is_alive(&mut client).await,
                other => Err(format!("{other:?}")),
            }
        })
    }),
    ("200 connections that say nothing and go", |house| {
        Box::pin(async {
            for _ in 0..200 {
                drop(TcpStream::connect(house.anonymous()).await.map_err(|error| error.to_string())?);
            }
            Ok(())
        })
    }),
];
