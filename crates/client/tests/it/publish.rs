//! Publishing: the window, late and mixed acknowledgements, resending after a loss, refusals.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use client::{Client, Endpoint, Machine, Options, Outgoing, PublishError};
use model::{Qos, TopicName};
use mqtt::{Ack, ConnAck, ConnAckProperties, Packet, Reason, Version};
use tokio::task::JoinSet;

use crate::server::{Server, accepted, within};

fn message(n: usize) -> Outgoing {
    Outgoing::new(TopicName::parse("dt/a/t").expect("a topic"), n.to_string())
}

fn number(payload: &Bytes) -> usize {
    std::str::from_utf8(payload).expect("text").parse().expect("a number")
}

#[tokio::test]
async fn messages_leave_in_order_and_tickets_resolve_by_their_own_acknowledgement() {
    for version in [Version::V5, Version::V311] {
        let server = Server::start().await;
        let (client, _messages, mut peer) = server.client(Options { version, ..server.options() }).await;
        let publisher = client.publisher();
        let mut tickets = JoinSet::new();
        for n in 0..10 {
            let ticket = publisher.publish(message(n)).await.expect("room");
            tickets.spawn(async move { (n, ticket.await) });
        }
        let mut ids = Vec::new();
        for n in 0..10 {
            let publish = peer.publish().await;
            assert_eq!((number(&publish.payload), publish.dup, publish.qos), (n, false, Qos::AtLeastOnce));
            ids.push(publish.packet_id);
        }
        // Backwards: each resolves its own ticket, and no other.
        for n in (0..10).rev() {
            peer.puback(ids[n], Reason::Success).await;
            let (resolved, answer) =
                within("an answer", tickets.join_next()).await.expect("one is left").expect("ran");
            assert_eq!(resolved, n);
            assert_eq!(answer.expect("acknowledged").reason, Reason::Success);
        }
        let (closed, ()) = tokio::join!(client.close(), peer.sees_a_clean_end());
        closed.expect("closed");
    }
}

#[tokio::test]
async fn the_window_bounds_what_is_on_its_way() {
    let server = Server::start().await;
    let (client, _messages, mut peer) = server.client(Options { window: 3, ..server.options() }).await;
    let publisher = client.publisher();
    let called = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&called);
    let publishing = tokio::spawn(async move {
        let mut tickets = Vec::new();
        for n in 0..6 {
            tickets.push(publisher.publish(message(n)).await.expect("room"));
            counted.fetch_add(1, Ordering::SeqCst);
        }
        for ticket in tickets {
            ticket.await.expect("acknowledged");
        }
    });
    for n in 0..6 {
        let publish = peer.publish().await;
        assert_eq!(number(&publish.payload), n);
        // The one that is here now had room only because at most two others were out before it.
        assert!(called.load(Ordering::SeqCst) <= n.saturating_sub(2) + 3);
        if n >= 2 {
            peer.puback(u16::try_from(n - 1).expect("small"), Reason::Success).await;
        }
    }
    peer.puback(5, Reason::Success).await;
    peer.puback(6, Reason::Success).await;
    within("the rest", publishing).await.expect("ran");
}

#[tokio::test]
async fn a_server_that_takes_fewer_is_obeyed() {
    let server = Server::start().await;
    let answer = ConnAck {
        properties: ConnAckProperties {
            receive_maximum: 2.try_into().expect("not zero"),
            ..ConnAckProperties::default()
        },
        ..accepted(false)
    };
    let (client, mut peer) = tokio::join!(
        Client::connect(server.options(), Machine::system()),
        server.welcome(Version::V5, answer)
    );
    let (client, _messages) = client.expect("connected");
    let publisher = client.publisher();
    for n in 0..5 {
        drop(publisher.publish(message(n)).await.expect("room in the window"));
    }
    let closing = tokio::spawn(client.close());
    let (mut out, mut seen) = (0, 0);
    while seen < 5 {
        let publish = peer.publish().await;
        (out, seen) = (out + 1, seen + 1);
        assert!(out <= 2, "{out} unacknowledged");
        if out == 2 || seen == 5 {
            for id in (publish.packet_id + 1 - out)..=publish.packet_id {
                peer.puback(id, Reason::Success).await;
            }
            out = 0;
        }
    }
    peer.sees_a_clean_end().await;
    closing.await.expect("ran").expect("closed");
}

#[tokio::test]
async fn what_is_unacknowledged_is_sent_again_in_order_flagged_before_anything_new() {
    for (version, session_present) in [(Version::V5, true), (Version::V5, false), (Version::V311, false)] {
        let server = Server::start().await;
        let options = Options { version, session_expiry_s: 60, ..server.options() };
        let (client, _messages, mut first) = server.client(options).await;
        let publisher = client.publisher();
        let mut tickets = Vec::new();
        for n in 0..8 {
            tickets.push(publisher.publish(message(n)).await.expect("room"));
        }
        let mut sent = Vec::new();
        for _ in 0..8 {
            sent.push(first.publish().await);
        }
        for n in [0, 1, 4] {
            first.puback(sent[n].packet_id, Reason::Success).await;
        }
        for n in [4, 1, 0] {
            tickets.remove(n).await.expect("acknowledged before the loss");
        }
        drop(first);
        let (mut second, connect) = server.accept(version).await;
        assert!(!connect.clean_start, "who comes back wants the session");
        // Published while the connection is down: must wait behind what is sent again.
        tickets.push(publisher.publish(message(8)).await.expect("room"));
        second.send(Packet::ConnAck(Box::new(accepted(session_present)))).await;
        for n in [2, 3, 5, 6, 7] {
            let publish = second.publish().await;
            assert_eq!((number(&publish.payload), publish.dup), (n, true));
            assert_eq!(publish.packet_id, sent[n].packet_id, "a repeat keeps its id");
            second.puback(publish.packet_id, Reason::Success).await;
        }
        let publish = second.publish().await;
        assert_eq!((number(&publish.payload), publish.dup), (8, false));
        second.puback(publish.packet_id, Reason::Success).await;
        for ticket in tickets {
            within("an answer", ticket).await.expect("acknowledged after the loss");
        }
        let (closed, ()) = tokio::join!(client.close(), second.sees_a_clean_end());
        closed.expect("closed");
    }
}

#[tokio::test]
async fn a_server_that_comes_back_elsewhere_is_found() {
    let (old, new) = (Server::start().await, Server::start().await);
    let addresses = [old.address(), new.address()];
    let looks = AtomicUsize::new(0);
    let lookup = Arc::new(move || {
        let look = looks.fetch_add(1, Ordering::SeqCst);
        Ok(Endpoint::new(addresses[look.min(1)].as_str()))
    });
    let options = Options { client_id: "c".into(), ..Options::looking_up(lookup) };
    let (client, _messages, peer) = old.client(options).await;
    drop((peer, old));
    let mut peer = new.welcome(Version::V5, accepted(false)).await;
    let ticket = client.publisher().publish(message(1)).await.expect("room");
    let publish = peer.publish().await;
    peer.puback(publish.packet_id, Reason::Success).await;
    ticket.await.expect("acknowledged");
}

#[tokio::test]
async fn a_refused_message_says_why_and_the_next_goes_on() {
    let server = Server::start().await;
    let (client, _messages, mut peer) = server.client(server.options()).await;
    let publisher = client.publisher();
    let refused = publisher.publish(message(0)).await.expect("room");
    let passed = publisher.publish(message(1)).await.expect("room");
    peer.publish().await;
    peer.publish().await;
    peer.puback(1, Reason::QuotaExceeded).await;
    peer.puback(2, Reason::NoMatchingSubscribers).await;
    let error = refused.await.expect_err("refused");
    assert!(matches!(error, PublishError::Refused { reason: Reason::QuotaExceeded, .. }), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("journal.bytes_max")));
    assert!(error.kind().is_retryable());
    assert_eq!(passed.await.expect("passed").reason, Reason::NoMatchingSubscribers);
}

#[tokio::test]
async fn a_message_above_the_servers_bound_is_refused_here_and_disturbs_nobody() {
    let server = Server::start().await;
    let answer = ConnAck {
        properties: ConnAckProperties {
            packet_bytes_max: std::num::NonZero::new(100),
            ..ConnAckProperties::default()
        },
        ..accepted(false)
    };
    let (client, mut peer) = tokio::join!(
        Client::connect(server.options(), Machine::system()),
        server.welcome(Version::V5, answer)
    );
    let (client, _messages) = client.expect("connected");
    let publisher = client.publisher();
    let large = Outgoing { payload: vec![0; 100].into(), ..message(0) };
    let error = publisher.publish(large).await.expect("room").await.expect_err("too large");
    assert!(matches!(error, PublishError::TooLarge { bytes: 113, bytes_max: 100 }), "{error}");
    let ticket = publisher.publish(message(1)).await.expect("room");
    let publish = peer.publish().await;
    peer.puback(publish.packet_id, Reason::Success).await;
    ticket.await.expect("acknowledged");
}

#[tokio::test]
async fn qos_0_resolves_when_it_has_left() {
    let server = Server::start().await;
    let (client, _messages, mut peer) = server.client(server.options()).await;
    let quick = Outgoing { qos: Qos::AtMostOnce, ..message(7) };
    client.publisher().publish(quick).await.expect("room").await.expect("left");
    let publish = peer.publish().await;
    assert_eq!((publish.qos, publish.packet_id, number(&publish.payload)), (Qos::AtMostOnce, 0, 7));
    let (closed, ()) = tokio::join!(client.close(), peer.sees_a_clean_end());
    closed.expect("closed");
}

#[tokio::test]
async fn what_is_attached_goes_along_in_mqtt_5_and_is_left_out_in_3_1_1() {
    for version in [Version::V5, Version::V311] {
        let server = Server::start().await;
        let (client, _messages, mut peer) = server.client(Options { version, ..server.options() }).await;
        let mut rich = Outgoing { retain: true, expiry_s: Some(5), ..message(1) };
        rich.attached.user.push(("message-id".into(), "m-1".into()));
        drop(client.publisher().publish(rich).await.expect("room"));
        let publish = peer.publish().await;
        assert!(publish.retain);
        let told = publish.properties.map(|told| (told.expiry_s, told.attached.user));
        let expect = (version == Version::V5).then(|| (Some(5), vec![("message-id".into(), "m-1".into())]));
        assert_eq!(told, expect);
    }
}

#[tokio::test]
async fn a_closed_client_takes_nothing_more_and_its_tickets_are_answered() {
    let server = Server::start().await;
    let (client, mut messages, mut peer) = server.client(server.options()).await;
    let publisher = client.publisher();
    let ticket = publisher.publish(message(1)).await.expect("room");
    let closing = tokio::spawn(client.close());
    let publish = peer.publish().await;
    peer.puback(publish.packet_id, Reason::Success).await;
    peer.sees_a_clean_end().await;
    closing.await.expect("ran").expect("closed");
    ticket.await.expect("acknowledged before the end");
    assert!(matches!(publisher.publish(message(2)).await, Err(PublishError::Ended(_))));
    assert_eq!(messages.next().await.expect("a clean end"), None);
}

/// MQTT 5.0, section 4.3.3: once PUBREC came, the release is sent again, never the message.
#[tokio::test]
async fn qos_2_is_released_after_a_lost_connection_and_not_published_twice() {
    for version in [Version::V5, Version::V311] {
        let server = Server::start().await;
        let options = Options { version, session_expiry_s: 60, ..server.options() };
        let (client, _messages, mut peer) = server.client(options).await;
        let publisher = client.publisher();
        let exactly = |n| Outgoing { qos: Qos::ExactlyOnce, ..message(n) };
        let first = publisher.publish(exactly(1)).await.expect("room");
        let second = publisher.publish(exactly(2)).await.expect("room");
        let ids = [peer.publish().await, peer.publish().await].map(|publish| {
            assert_eq!((publish.qos, publish.dup), (Qos::ExactlyOnce, false));
            publish.packet_id
        });
        peer.send(Packet::PubRec(Ack::new(ids[0], Reason::Success))).await;
        assert_eq!(peer.packet().await, Some(Packet::PubRel(Ack::new(ids[0], Reason::Success))));
        drop(peer);
        let mut peer = server.welcome(version, accepted(true)).await;
        assert_eq!(peer.packet().await, Some(Packet::PubRel(Ack::new(ids[0], Reason::Success))));
        let again = peer.publish().await;
        assert_eq!((again.packet_id, again.dup, number(&again.payload)), (ids[1], true, 2));
        peer.send(Packet::PubComp(Ack::new(ids[0], Reason::Success))).await;
        assert_eq!(within("an answer", first).await.expect("arrived").reason, Reason::Success);
        peer.send(Packet::PubRec(Ack::new(ids[1], Reason::Success))).await;
        assert_eq!(peer.packet().await, Some(Packet::PubRel(Ack::new(ids[1], Reason::Success))));
        peer.send(Packet::PubComp(Ack::new(ids[1], Reason::Success))).await;
        within("an answer", second).await.expect("arrived");
        let (closed, ()) = tokio::join!(client.close(), peer.sees_a_clean_end());
        closed.expect("closed");
    }
}

#[tokio::test]
async fn a_refused_qos_2_message_is_over_without_a_release() {
    let server = Server::start().await;
    let (client, _messages, mut peer) = server.client(server.options()).await;
    let publisher = client.publisher();
    let exactly = Outgoing { qos: Qos::ExactlyOnce, ..message(1) };
    let ticket = publisher.publish(exactly).await.expect("room");
    let id = peer.publish().await.packet_id;
    peer.send(Packet::PubRec(Ack::new(id, Reason::NotAuthorized))).await;
    let refused = within("an answer", ticket).await.expect_err("refused");
    assert!(matches!(refused, PublishError::Refused { reason: Reason::NotAuthorized, .. }), "{refused}");
    let (closed, ()) = tokio::join!(client.close(), peer.sees_a_clean_end());
    closed.expect("closed");
}
