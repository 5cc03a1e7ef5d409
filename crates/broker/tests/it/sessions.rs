//! Sessions: taken over, gone on with, ended, and whose they are.

use std::sync::Arc;
use std::time::Duration;

use broker::{Drop, End, Refusal, Settings};
use host::sim::SimClock;
use identity::Actor;
use model::{DeviceName, Qos};
use mqtt::{Packet, Publish, Reason, Version};

use crate::client::{Client, connect, persistent, publish};
use crate::house::{House, Plan};

const BOTH: [Version; 2] = [Version::V311, Version::V5];

/// emqx pull requests 6183 and 6393, sol issue 17, MQTTnet issue 1552.
#[tokio::test]
async fn takeover_loses_and_doubles_nothing() {
    let house = House::open().await;
    let mut client = Client::open(house.anonymous(), Version::V5, "publisher").await;
    let (mut held, _) = Client::with(house.anonymous(), persistent(Version::V5, "watcher")).await;
    held.subscribe("dt/#", Qos::AtLeastOnce).await;
    let count = 400_u16;
    let publishing = tokio::spawn(async move {
        for n in 1..=count {
            client.publish_durably("dt/a/t", n, n.to_string()).await;
        }
        client.leave().await;
    });
    let (mut acknowledged, mut shown, mut takeovers) = (0, 0, 0);
    while acknowledged < count {
        let got = held.message().await;
        let n = number(&got);
        assert_eq!(n, acknowledged + 1, "nothing is lost, and nothing acknowledged comes again");
        assert_eq!(got.dup, n <= shown, "what comes again says so, and nothing else does");
        if n.is_multiple_of(40) && !got.dup {
            // Instead of an acknowledgement, the client comes again by another connection.
            let (next, is_present) =
                Client::with(house.anonymous(), persistent(Version::V5, "watcher")).await;
            assert!(is_present);
            let mut old = std::mem::replace(&mut held, next);
            shown = n;
            loop {
                match old.receive().await {
                    Some(Packet::Publish(got)) => shown = number(&got),
                    Some(Packet::Disconnect(end)) => {
                        assert_eq!(end.reason, Reason::SessionTakenOver);
                        break;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(old.receive().await, None);
            takeovers += 1;
        } else {
            held.acknowledge(got.packet_id).await;
            acknowledged = n;
        }
    }
    publishing.await.expect("published");
    let stats = house.until("acknowledged", |stats| stats.inflight == 0).await;
    assert_eq!((stats.sessions, stats.ended(End::TakenOver)), (1, takeovers));
    assert!(takeovers > 0);
}

fn number(got: &Publish) -> u16 {
    str::from_utf8(&got.payload).expect("text").parse().expect("a number")
}

#[tokio::test]
async fn a_session_that_goes_on_is_sent_again_what_it_did_not_acknowledge() {
    let house = House::open().await;
    for (version, next) in [(BOTH[0], BOTH[0]), (BOTH[1], BOTH[1]), (BOTH[0], BOTH[1]), (BOTH[1], BOTH[0])] {
        let id = format!("{version}-{next}");
        let (mut first, is_present) = Client::with(house.anonymous(), persistent(version, &id)).await;
        assert!(!is_present);
        first.subscribe(&id, Qos::AtLeastOnce).await;
        let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
        for n in 1..=3 {
            client.publish_durably(&id, n, n.to_string()).await;
        }
        let ids = [first.message().await, first.message().await, first.message().await].map(|got| {
            assert!(!got.dup);
            got.packet_id
        });
        first.acknowledge(ids[1]).await;
        first.expect_nothing().await;
        first.vanish().await;
        house.until("it is away", |stats| stats.connections == 1).await;
        client.publish_durably(&id, 4, "4").await;
        let (mut back, is_present) = Client::with(house.anonymous(), persistent(next, &id)).await;
        assert!(is_present);
        for (payload, packet_id, dup) in [("1", ids[0], true), ("3", ids[2], true)] {
            let again = back.take().await;
            assert_eq!(
                (&again.payload[..], again.packet_id, again.dup),
                (payload.as_bytes(), packet_id, dup)
            );
        }
        let fresh = back.take().await;
        assert_eq!((&fresh.payload[..], fresh.dup), (&b"4"[..], false));
        back.leave().await;
        client.leave().await;
        house.until("all gone", |stats| stats.connections == 0).await;
    }
}

#[tokio::test]
async fn a_clean_start_ends_the_older_session_and_counts_what_it_still_had() {
    let house = House::open().await;
    let (mut first, _) = Client::with(house.anonymous(), persistent(Version::V5, "watcher")).await;
    first.subscribe("a", Qos::AtLeastOnce).await;
    first.leave().await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    client.publish_durably("a", 1, "x").await;
    house.until("it waits", |stats| stats.queued_messages == 1).await;
    let (_back, is_present) = Client::with(house.anonymous(), connect(Version::V5, "watcher")).await;
    assert!(!is_present);
    let stats = house.broker.stats();
    assert_eq!((stats.dropped(Drop::SessionEnded), stats.subscriptions, stats.sessions), (1, 0, 2));
    assert_eq!((stats.queued_messages, stats.queued_bytes), (0, 0));
}

/// emqx issue 14482: expired sessions that are never cleared.
#[tokio::test]
async fn a_session_ends_when_its_time_is_over() {
    let clock = Arc::new(SimClock::new());
    let plan = Plan { clock: Arc::clone(&clock) as Arc<dyn host::Clock>, ..Plan::default() };
    let house = House::with(plan).await;
    for version in BOTH {
        let (mut first, _) = Client::with(house.anonymous(), persistent(version, &version.to_string())).await;
        first.subscribe("a", Qos::AtLeastOnce).await;
        first.leave().await;
    }
    house.until("both are away", |stats| stats.connections == 0).await;
    clock.advance(Duration::from_secs(3_601));
    house.until("the first ends after an hour", |stats| stats.sessions == 1).await;
    clock.advance(Duration::from_secs(30 * 86_400));
    house
        .until("MQTT 3.1.1 at the longest time", |stats| stats.sessions == 0 && stats.subscriptions == 0)
        .await;
}

#[tokio::test]
async fn a_session_that_was_to_end_with_its_connection_ends_with_it() {
    let house = House::open().await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    client.subscribe("a", Qos::AtLeastOnce).await;
    client.vanish().await;
    house.until("it is gone", |stats| stats.sessions == 0 && stats.subscriptions == 0).await;
    let (_, is_present) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    assert!(!is_present);
}

#[tokio::test]
async fn who_does_not_prove_who_they_are_is_told_so() {
    let house = House::open().await;
    let name = DeviceName::parse("office-1").expect("a name");
    let password = house.identity.add_device_with_password(&Actor::inside(), &name).await.expect("added");
    let as_user = |version, user: Option<&str>, password: Option<&str>| {
        let mut ask = connect(version, "me");
        ask.username = user.map(Into::into);
        ask.password = password.map(|text| text.to_owned().into());
        ask
    };
    for version in BOTH {
        let wrong = [
            as_user(version, None, None),
            as_user(version, Some("office-1"), Some("guess")),
            as_user(version, Some("nobody"), Some("guess")),
        ];
        for ask in wrong {
            let (mut client, answer) = Client::ask(house.password(), ask).await;
            assert_eq!(answer.map(|answer| answer.reason), Some(Reason::BadUserNameOrPassword));
            assert_eq!(client.receive().await, None);
        }
        Client::with(house.password(), as_user(version, Some("office-1"), Some(password.reveal())))
            .await
            .0
            .leave()
            .await;
        let local = as_user(version, Some("local"), Some(house.token.reveal()));
        Client::with(house.password(), local).await.0.leave().await;
    }
    assert_eq!(house.broker.stats().refused(Refusal::Unauthenticated), 6);
}

#[tokio::test]
async fn a_device_publishes_and_subscribes_where_it_may() {
    let house = House::open().await;
    let name = DeviceName::parse("office-1").expect("a name");
    let password = house.identity.add_device_with_password(&Actor::inside(), &name).await.expect("added");
    let as_device = |version| {
        let mut ask = connect(version, "me");
        ask.username = Some("office-1".into());
        ask.password = Some(password.reveal().to_owned().into());
        ask
    };
    let (mut new, _) = Client::with(house.password(), as_device(Version::V5)).await;
    new.publish_durably("dt/office-1/climate", 1, "{}").await;
    new.publish(publish("dt/office-2/climate", 2, "{}")).await;
    new.expect_puback(2, Reason::NotAuthorized).await;
    new.publish(publish("dt/office-2/climate", 0, "{}")).await;
    assert_eq!(
        new.subscribe_with("#", mqtt::SubscribeOptions::default(), None).await,
        [Reason::NotAuthorized]
    );
    new.subscribe("cmd/office-1/#", Qos::AtLeastOnce).await;
    new.leave().await;
    // MQTT 3.1.1 cannot be told: it is not acknowledged, and its connection ends.
    let (mut old, _) = Client::with(house.password(), as_device(Version::V311)).await;
    old.publish(publish("dt/office-2/climate", 0, "{}")).await;
    old.publish_durably("dt/office-1/climate", 3, "{}").await;
    old.publish(publish("dt/office-2/climate", 4, "{}")).await;
    old.expect_end(Reason::NotAuthorized).await;
    let stats = house.until("counted", |stats| stats.refused(Refusal::Publish) == 2).await;
    assert_eq!((stats.dropped(Drop::NotPermitted), stats.refused(Refusal::Subscribe)), (2, 1));
    assert_eq!(house.journal.durable_seq(), 2);
}

#[tokio::test]
async fn a_session_whose_proof_is_worth_nothing_any_more_is_cut() {
    let house = House::open().await;
    let name = DeviceName::parse("office-1").expect("a name");
    let password = house.identity.add_device_with_password(&Actor::inside(), &name).await.expect("added");
    let mut ask = connect(Version::V5, "me");
    ask.username = Some("office-1".into());
    ask.password = Some(password.reveal().to_owned().into());
    let (mut client, _) = Client::with(house.password(), ask).await;
    let mut other = Client::open(house.anonymous(), Version::V5, "other").await;
    house.identity.set_password(&Actor::inside(), &name, None).await.expect("a new password");
    client.expect_end(Reason::NotAuthorized).await;
    other.expect_nothing().await;
    assert_eq!(house.broker.stats().ended(End::Withdrawn), 1);
}

#[tokio::test]
async fn an_operator_ends_a_connection_and_the_session_stays() {
    let house = House::open().await;
    let (mut client, _) = Client::with(house.anonymous(), persistent(Version::V5, "me")).await;
    client.subscribe("a", Qos::AtLeastOnce).await;
    assert!(!house.broker.kick("me", |device| device.is_some()), "it is no device's");
    assert!(house.broker.kick("me", |_| true));
    client.expect_end(Reason::AdministrativeAction).await;
    assert!(!house.broker.kick("me", |_| true));
    let sessions = house.broker.sessions();
    assert_eq!((sessions.len(), sessions[0].filters, &sessions[0].connection), (1, 1, &None));
}

#[tokio::test]
async fn sessions_are_bounded() {
    let settings = Settings { sessions_max: 2, ..Settings::default() };
    let house = House::with(Plan::with(settings)).await;
    let (first, _) = Client::with(house.anonymous(), persistent(Version::V5, "1")).await;
    first.leave().await;
    let _second = Client::open(house.anonymous(), Version::V5, "2").await;
    let (_, refused) = Client::ask(house.anonymous(), connect(Version::V5, "3")).await;
    assert_eq!(refused.map(|answer| answer.reason), Some(Reason::QuotaExceeded));
    let (_, refused) = Client::ask(house.anonymous(), connect(Version::V311, "3")).await;
    assert_eq!(refused.map(|answer| answer.reason), Some(Reason::ServerUnavailable));
    let (_, is_present) = Client::with(house.anonymous(), persistent(Version::V5, "1")).await;
    assert!(is_present, "who has a session comes in");
    assert_eq!(house.broker.stats().refused(Refusal::SessionsFull), 2);
}
