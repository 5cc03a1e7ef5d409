//! Connecting, refusals and what they tell the user, keep-alive.

use std::time::Duration;

use bytes::Bytes;
use client::{Client, ConnectError, EndError, Endpoint, Machine, Options, State};
use mqtt::{ConnAck, ConnAckProperties, Disconnect, Packet, Reason, Version};
use tokio::net::TcpListener;

use crate::server::{Server, accepted, within};

async fn refusal(options: Options) -> ConnectError {
    match Client::connect(options, Machine::system()).await {
        Ok(_) => panic!("connected"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn both_versions_say_who_they_are() {
    for version in [Version::V5, Version::V311] {
        let server = Server::start().await;
        let endpoint = Endpoint {
            username: Some("local".into()),
            password: Some(Bytes::from_static(b"token")),
            ..Endpoint::new(server.address())
        };
        let options = Options { version, client_id: "c1".into(), keep_alive_s: 17, ..Options::new(endpoint) };
        let serving = async {
            let (mut peer, connect) = server.accept(version).await;
            peer.send(Packet::ConnAck(Box::new(accepted(false)))).await;
            assert_eq!((&*connect.client_id, connect.clean_start, connect.keep_alive_s), ("c1", true, 17));
            assert_eq!(connect.username.as_deref(), Some("local"));
            assert_eq!(connect.password.as_deref(), Some(&b"token"[..]));
            peer
        };
        let (client, mut peer) = tokio::join!(Client::connect(options, Machine::system()), serving);
        let (client, _messages) = client.expect("connected");
        assert!(matches!(&*client.state().borrow(), State::Connected { times: 1, .. }));
        let (closed, ()) = tokio::join!(client.close(), peer.sees_a_clean_end());
        closed.expect("closed");
    }
}

#[tokio::test]
async fn a_refusal_says_why_and_what_to_do() {
    for (version, reason, text, expect, hint) in [
        (Version::V5, Reason::NotAuthorized, Some("no such device"), "not authorised", "--user"),
        (Version::V311, Reason::BadUserNameOrPassword, None, "bad user name or password", "--password"),
        (
            Version::V5,
            Reason::UnsupportedProtocolVersion,
            None,
            "unsupported protocol version",
            "--mqtt 3.1.1",
        ),
    ] {
        let server = Server::start().await;
        let answer = ConnAck {
            properties: ConnAckProperties {
                reason_string: text.map(Into::into),
                ..ConnAckProperties::default()
            },
            ..ConnAck::refusal(reason)
        };
        let options = Options { version, ..server.options() };
        let (error, _peer) = tokio::join!(refusal(options), server.welcome(version, answer));
        let told = error.to_string();
        assert!(told.contains(expect) && told.contains(&server.address()), "{told}");
        assert!(text.is_none_or(|text| told.contains(text)), "{told}");
        assert!(error.hint().is_some_and(|told| told.contains(hint)), "{:?}", error.hint());
    }
}

#[tokio::test]
async fn where_nobody_listens_the_hint_asks_for_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let error = refusal(Options::new(Endpoint::new(address.as_str()))).await;
    assert_eq!(error.to_string(), format!("connection refused by `{address}`"));
    assert!(error.hint().is_some_and(|hint| hint.contains("is `godwit serve` running")));
    for malformed in ["localhost", ":1883", "localhost:", "localhost:mqtt", "localhost:0"] {
        let error = refusal(Options::new(Endpoint::new(malformed))).await;
        assert!(matches!(error, ConnectError::Address { .. }), "{malformed}: {error}");
    }
}

#[tokio::test]
async fn what_is_no_mqtt_server_is_named_so() {
    let server = Server::start().await;
    let serving = async {
        let (mut peer, _) = server.accept(Version::V5).await;
        peer.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        peer
    };
    let (error, _peer) = tokio::join!(refusal(server.options()), serving);
    assert!(matches!(error, ConnectError::Protocol { .. }), "{error}");
    let serving = async { drop(server.accept(Version::V5).await) };
    let (error, ()) = tokio::join!(refusal(server.options()), serving);
    assert!(matches!(error, ConnectError::HungUp { .. }), "{error}");
}

#[tokio::test]
async fn a_silent_server_is_left_after_the_bound() {
    let server = Server::start().await;
    let options = Options { attempt: Duration::from_millis(50), ..server.options() };
    let (error, _peer) = tokio::join!(refusal(options), server.accept(Version::V5));
    assert!(matches!(error, ConnectError::Silent { .. }), "{error}");
}

#[tokio::test]
async fn an_idle_client_pings_and_a_dead_server_is_left() {
    let server = Server::start().await;
    let options = Options { keep_alive_s: 1, ..server.options() };
    let (client, _messages, mut first) = server.client(options).await;
    assert_eq!(first.packet().await, Some(Packet::PingReq));
    first.send(Packet::PingResp).await;
    assert_eq!(first.packet().await, Some(Packet::PingReq));
    // No answer this time: the client comes back on a new connection.
    let mut second = server.welcome(Version::V5, accepted(true)).await;
    let (closed, ()) = tokio::join!(client.close(), second.sees_a_clean_end());
    closed.expect("closed");
}

#[tokio::test]
async fn who_is_taken_over_does_not_fight_back() {
    let server = Server::start().await;
    let (client, mut messages, mut peer) = server.client(server.options()).await;
    peer.send(Packet::Disconnect(Disconnect::new(Reason::SessionTakenOver))).await;
    let end = within("the end", messages.next()).await.expect_err("dismissed");
    assert!(matches!(end, EndError::Dismissed { reason: Reason::SessionTakenOver, .. }), "{end}");
    assert!(end.hint().is_some_and(|hint| hint.contains("--client-id")));
    assert!(client.close().await.is_err());
}

#[tokio::test]
async fn patience_ends() {
    let server = Server::start().await;
    let options = Options { patience: Duration::from_millis(200), ..server.options() };
    let (client, mut messages, peer) = server.client(options).await;
    let mut state = client.state();
    drop((server, peer));
    within("the loss", state.wait_for(|state| matches!(state, State::Lost { .. }))).await.expect("told");
    let end = within("the end", messages.next()).await.expect_err("gave up");
    let EndError::GaveUp { last: Some(last), .. } = &end else { panic!("{end}") };
    assert!(matches!(**last, ConnectError::Refused { .. }), "{last}");
    assert!(end.hint().is_some_and(|hint| hint.contains("godwit serve")));
}
