//! Subscriptions: grants, refusals, delivery and its back-pressure, and what a new session is told again.

use client::{Options, SubscribeError};
use model::{Qos, TopicName};
use mqtt::{Packet, Publish, Reason, SubAck, SubscribeOptions, SubscriptionFilter, Version};

use crate::server::{Peer, Server, accepted, within};

fn filters(texts: &[&str]) -> Vec<(SubscriptionFilter, SubscribeOptions)> {
    let how = SubscribeOptions { qos_max: Qos::AtLeastOnce, ..SubscribeOptions::default() };
    texts.iter().map(|text| (SubscriptionFilter::parse(*text).expect("a filter"), how)).collect()
}

async fn deliver(peer: &mut Peer, n: u16) {
    peer.send(Packet::Publish(Publish {
        dup: false,
        qos: Qos::AtLeastOnce,
        retain: n == 1,
        topic: Some(TopicName::parse(format!("dt/a/{n}")).expect("a topic")),
        packet_id: n,
        properties: None,
        payload: n.to_string().into(),
    }))
    .await;
}

#[tokio::test]
async fn deliveries_come_in_order_and_are_acknowledged() {
    let server = Server::start().await;
    let (client, mut messages, mut peer) = server.client(server.options()).await;
    let (granted, asked) = tokio::join!(client.subscribe(filters(&["dt/#", "$share/g/x/+"])), peer.grant());
    assert_eq!(granted.expect("granted"), [Qos::AtLeastOnce, Qos::AtLeastOnce]);
    assert_eq!(asked.filters.len(), 2);
    for n in 1..=3 {
        deliver(&mut peer, n).await;
        let Some(Packet::PubAck(ack)) = peer.packet().await else { panic!("expected PUBACK") };
        assert_eq!((ack.packet_id, ack.reason), (n, Reason::Success));
        let message = messages.next().await.expect("running").expect("a message");
        assert_eq!((&*message.topic, &*message.payload), (&*format!("dt/a/{n}"), n.to_string().as_bytes()));
        assert_eq!(message.retain, n == 1);
    }
}

#[tokio::test]
async fn a_refused_filter_is_named() {
    let server = Server::start().await;
    let (client, _messages, mut peer) = server.client(server.options()).await;
    let refusing = async {
        let Some(Packet::Subscribe(asked)) = peer.packet().await else { panic!("expected SUBSCRIBE") };
        let reasons = vec![Reason::Success, Reason::NotAuthorized];
        peer.send(Packet::SubAck(SubAck { packet_id: asked.packet_id, reasons, properties: None })).await;
    };
    let (refused, ()) = tokio::join!(client.subscribe(filters(&["a", "secret/#"])), refusing);
    let error = refused.expect_err("refused");
    assert!(
        matches!(&error, SubscribeError::Refused { filter, reason: Reason::NotAuthorized } if filter == "secret/#")
    );
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn a_new_session_is_told_the_subscriptions_again_and_a_kept_one_is_not() {
    let server = Server::start().await;
    let options = Options { session_expiry_s: 60, ..server.options() };
    let (client, mut messages, mut first) = server.client(options).await;
    let (granted, _) = tokio::join!(client.subscribe(filters(&["dt/#"])), first.grant());
    granted.expect("granted");
    drop(first);
    let mut kept = server.welcome(Version::V5, accepted(true)).await;
    deliver(&mut kept, 1).await;
    assert!(matches!(kept.packet().await, Some(Packet::PubAck(ack)) if ack.packet_id == 1));
    drop(kept);
    let mut new = server.welcome(Version::V5, accepted(false)).await;
    let asked = new.grant().await;
    assert_eq!(asked.filters, filters(&["dt/#"]));
    deliver(&mut new, 2).await;
    for n in 1..=2_u16 {
        let message = within("a message", messages.next()).await.expect("running").expect("a message");
        assert_eq!(&*message.payload, n.to_string().as_bytes());
    }
}

#[tokio::test]
async fn a_slow_reader_stops_the_server_and_loses_nothing() {
    let server = Server::start().await;
    let options = Options { deliveries: 2, ..server.options() };
    let (client, mut messages, mut peer) = server.client(options).await;
    let (granted, _) = tokio::join!(client.subscribe(filters(&["dt/#"])), peer.grant());
    granted.expect("granted");
    for n in 1..=10 {
        deliver(&mut peer, n).await;
    }
    // Two are in the queue and acknowledged; the third is not until there is room for it.
    for n in 1..=2 {
        assert!(matches!(peer.packet().await, Some(Packet::PubAck(ack)) if ack.packet_id == n));
    }
    for n in 1..=10_u16 {
        let message = within("a message", messages.next()).await.expect("running").expect("a message");
        assert_eq!(&*message.payload, n.to_string().as_bytes());
    }
    for n in 3..=10 {
        assert!(matches!(peer.packet().await, Some(Packet::PubAck(ack)) if ack.packet_id == n));
    }
    let (closed, ()) = tokio::join!(client.close(), peer.sees_a_clean_end());
    closed.expect("closed");
}
