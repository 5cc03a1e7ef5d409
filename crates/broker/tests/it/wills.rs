//! What is said for a client that goes without a word, and when it is not.

use std::sync::Arc;
use std::time::Duration;

use broker::Drop;
use host::sim::SimClock;
use identity::Actor;
use model::{DeviceName, Qos};
use mqtt::{Connect, Disconnect, Packet, Reason, Version};

use crate::client::{Client, connect, persistent, will};
use crate::house::{House, Plan};

fn with_will(mut ask: Connect, topic: &str, delay_s: u32) -> Connect {
    let mut last = will(topic, "gone");
    last.delay_s = delay_s;
    ask.will = Some(last);
    ask
}

async fn watcher(house: &House) -> Client {
    let mut watcher = Client::open(house.anonymous(), Version::V5, "watcher").await;
    watcher.subscribe("#", Qos::AtLeastOnce).await;
    watcher
}

#[tokio::test]
async fn a_will_is_published_when_its_client_goes_without_a_word_and_only_then() {
    let house = House::open().await;
    let mut watcher = watcher(&house).await;
    for version in [Version::V311, Version::V5] {
        let polite =
            Client::with(house.anonymous(), with_will(connect(version, "polite"), "polite", 0)).await.0;
        polite.leave().await;
        let rude = Client::with(house.anonymous(), with_will(connect(version, "rude"), "rude", 0)).await.0;
        rude.vanish().await;
        let got = watcher.take().await;
        assert_eq!((got.topic.as_deref(), &got.payload[..]), (Some("rude"), &b"gone"[..]));
    }
    let mut asking =
        Client::with(house.anonymous(), with_will(connect(Version::V5, "asking"), "asking", 0)).await.0;
    asking.send(&Packet::Disconnect(Disconnect::new(Reason::DisconnectWithWill))).await;
    assert_eq!(watcher.take().await.topic.as_deref(), Some("asking"));
    let mut broken =
        Client::with(house.anonymous(), with_will(connect(Version::V5, "broken"), "broken", 0)).await.0;
    broken.send_bytes(b"\x00\x00").await;
    assert_eq!(watcher.take().await.topic.as_deref(), Some("broken"));
}

/// mochi-mqtt issue 503, moquette issue 689: a will bypasses the rights of its client.
#[tokio::test]
async fn a_will_passes_the_permission_check() {
    let house = House::open().await;
    let mut watcher = watcher(&house).await;
    let name = DeviceName::parse("office-1").expect("a name");
    let password = house.identity.add_device_with_password(&Actor::inside(), &name).await.expect("added");
    for topic in ["dt/office-2/status", "$SYS/state", "$aws/x", "dt/office-1/status"] {
        let mut ask = with_will(connect(Version::V5, topic), topic, 0);
        ask.username = Some("office-1".into());
        ask.password = Some(password.reveal().to_owned().into());
        Client::with(house.password(), ask).await.0.vanish().await;
        house.until("it is gone", |stats| stats.connections == 1).await;
    }
    assert_eq!(watcher.take().await.topic.as_deref(), Some("dt/office-1/status"), "and nothing before it");
    let stats = house.broker.stats();
    let counted =
        [Drop::WillNotPermitted, Drop::Reserved, Drop::TopicNotAccepted].map(|why| stats.dropped(why));
    assert_eq!(counted, [1, 1, 1]);
    assert_eq!(house.journal.durable_seq(), 1);
}

/// mosquitto issue 1752.
#[tokio::test]
async fn a_will_with_a_delay_waits_and_is_taken_back_by_a_client_that_returns() {
    let clock = Arc::new(SimClock::new());
    let house =
        House::with(Plan { clock: Arc::clone(&clock) as Arc<dyn host::Clock>, ..Plan::default() }).await;
    let mut watcher = watcher(&house).await;
    let delayed = |id: &str| with_will(persistent(Version::V5, id), id, 60);
    for id in ["returns", "stays away"] {
        Client::with(house.anonymous(), delayed(id)).await.0.vanish().await;
    }
    // Shorter than its delay is the life of this session.
    let mut short = delayed("short");
    short.properties.session_expiry_s = 5;
    Client::with(house.anonymous(), short).await.0.vanish().await;
    house.until("all are away", |stats| stats.connections == 1).await;
    clock.advance(Duration::from_secs(6));
    assert_eq!(watcher.take().await.topic.as_deref(), Some("short"));
    let (_back, is_present) = Client::with(house.anonymous(), delayed("returns")).await;
    assert!(is_present);
    clock.advance(Duration::from_secs(60));
    assert_eq!(watcher.take().await.topic.as_deref(), Some("stays away"));
    watcher.expect_nothing().await;
}

/// emqx issues 18565 and 18583.
#[tokio::test]
async fn a_takeover_publishes_the_will_unless_the_session_goes_on_and_the_will_would_have_waited() {
    let house = House::open().await;
    let mut watcher = watcher(&house).await;
    let take_over = |first: Connect, second: Connect| {
        let address = house.anonymous();
        async move {
            let (mut old, _) = Client::with(address, first).await;
            let (new, _) = Client::with(address, second).await;
            old.expect_end(Reason::SessionTakenOver).await;
            new.leave().await;
        }
    };
    let asks = |version, id: &str, delay_s, is_clean| {
        let first = with_will(persistent(version, id), id, delay_s);
        let second = if is_clean { connect(version, id) } else { persistent(version, id) };
        (first, second)
    };
    let published = [
        ("now", asks(Version::V5, "now", 0, false)),
        ("clean", asks(Version::V5, "clean", 60, true)),
        ("old", asks(Version::V311, "old", 0, false)),
        ("expiry-0", {
            let first = with_will(connect(Version::V5, "expiry-0"), "expiry-0", 60);
            (first, persistent(Version::V5, "expiry-0"))
        }),
    ];
    let (first, second) = asks(Version::V5, "waits", 60, false);
    take_over(first, second).await;
    for (topic, (first, second)) in published {
        take_over(first, second).await;
        assert_eq!(watcher.take().await.topic.as_deref(), Some(topic));
    }
}

#[tokio::test]
async fn no_will_is_published_because_the_server_stops() {
    let house = House::open().await;
    let (mut client, _) =
        Client::with(house.anonymous(), with_will(connect(Version::V5, "me"), "will", 0)).await;
    house.broker.close().await;
    client.expect_end(Reason::ServerShuttingDown).await;
    assert_eq!(house.journal.durable_seq(), 0);
}

#[tokio::test]
async fn a_device_whose_proof_is_withdrawn_leaves_no_will() {
    let by = Actor::inside();
    let house = House::open().await;
    let mut watcher = watcher(&house).await;
    let mut count = 0;
    for (delay_s, is_removed) in [(0, true), (1, true), (0, false)] {
        count += 1;
        let name = DeviceName::parse(format!("pump-{count}")).expect("a name");
        let password = house.identity.add_device_with_password(&by, &name).await.expect("added");
        let mut ask = persistent(Version::V5, name.as_str());
        ask.username = Some(name.as_str().into());
        ask.password = Some(password.reveal().to_owned().into());
        ask.will = Some(mqtt::Will { delay_s, ..will(&format!("dt/{name}/state"), "gone") });
        let (mut pump, _) = Client::with(house.password(), ask).await;
        if !is_removed {
            // One whose device stands is said.
            pump.vanish().await;
            assert_eq!(watcher.take().await.payload, "gone");
            continue;
        }
        if delay_s > 0 {
            // It waits when the device is removed.
            pump.vanish().await;
            house.until("it is away", |stats| stats.connections == 1).await;
            house.identity.remove_device(&by, &name, None).await.expect("removed");
        } else {
            house.identity.remove_device(&by, &name, None).await.expect("removed");
            pump.expect_end(Reason::NotAuthorized).await;
        }
        house.until("not said", |stats| stats.dropped(Drop::WillNotPermitted) == count).await;
        watcher.expect_nothing().await;
    }
    let filter =
        identity::AuditFilter { action: "device.refuse".to_owned(), ..identity::AuditFilter::default() };
    let page = identity::AuditPage { is_oldest_first: true, after: None, limit: 10 };
    let (noted, _) = house.identity.audit(filter, page).await.expect("read");
    let noted: Vec<_> = noted.iter().map(|entry| entry.object.as_str()).collect();
    assert_eq!(noted, ["device:pump-1", "device:pump-2"]);
}

/// Wills of a directory that was written before wills were sealed.
#[tokio::test]
async fn a_will_that_an_older_version_left_in_the_clear_is_sealed_and_is_published() {
    const SECRET: &[u8] = b"valve code 4711";
    let clock = Arc::new(SimClock::new());
    let plan = || Plan { clock: Arc::clone(&clock) as Arc<dyn host::Clock>, ..Plan::default() };
    let house = House::with(plan()).await;
    let mut ask = persistent(Version::V5, "me");
    ask.will = Some(mqtt::Will { delay_s: 60, payload: SECRET.into(), ..will("state", "") });
    let mut packet = bytes::BytesMut::new();
    let connect = Packet::Connect(Box::new(ask.clone()));
    mqtt::encode(&connect, Version::V5, &mut packet).expect("encoded");
    Client::with(house.anonymous(), ask).await.0.vanish().await;
    house.until("it is away", |stats| stats.connections == 0).await;
    let house = house.restart(plan()).await;
    let packet = packet.to_vec();
    let catalog = house.catalog();
    let clear = catalog.write(move |transaction| {
        let sql = "UPDATE broker_wills SET packet = $1, is_sealed = 0";
        Ok(transaction.execute(sql, catalog::params![packet])?)
    });
    assert_eq!(clear.await.expect("written"), 1);
    let house = house.restart(plan()).await;
    let row = |house: &House| -> (i64, Vec<u8>) {
        let read = |connection: &catalog::Connection<'_>| {
            let sql = "SELECT is_sealed, packet FROM broker_wills";
            let row = connection.query_one(sql, catalog::params![], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok::<_, catalog::ReadError>(row.expect("it waits"))
        };
        house.catalog().read(read).expect("read")
    };
    house.until("it is sealed", |_| row(&house).0 == 1).await;
    assert!(!row(&house).1.windows(SECRET.len()).any(|part| part == SECRET));
    // As good as it was, after one more restart.
    let house = house.restart(plan()).await;
    let mut watcher = watcher(&house).await;
    clock.advance(Duration::from_secs(61));
    assert_eq!(watcher.take().await.payload, SECRET);
}

/// Whoever stole a password leaves a will that waits; the password is changed, and the server restarts before it is due.
#[tokio::test]
async fn a_will_left_by_a_password_that_was_changed_is_not_published_after_a_restart_neither() {
    let by = Actor::inside();
    let clock = Arc::new(SimClock::new());
    let plan = || Plan { clock: Arc::clone(&clock) as Arc<dyn host::Clock>, ..Plan::default() };
    let house = House::with(plan()).await;
    let mut names = Vec::new();
    for name in ["pump-1", "pump-2"] {
        let name = DeviceName::parse(name).expect("a name");
        let password = house.identity.add_device_with_password(&by, &name).await.expect("added");
        let mut ask = with_will(persistent(Version::V5, name.as_str()), &format!("dt/{name}/state"), 60);
        ask.username = Some(name.as_str().into());
        ask.password = Some(password.reveal().to_owned().into());
        Client::with(house.password(), ask).await.0.vanish().await;
        names.push(name);
    }
    house.until("they are away", |stats| stats.connections == 0).await;
    house.identity.set_password(&by, &names[0], None).await.expect("another password");
    let house = house.restart(plan()).await;
    let mut watcher = watcher(&house).await;
    clock.advance(Duration::from_secs(61));
    assert_eq!(watcher.take().await.topic.as_deref(), Some("dt/pump-2/state"));
    house.until("the other is not said", |stats| stats.dropped(Drop::WillNotPermitted) == 1).await;
    watcher.expect_nothing().await;
}
