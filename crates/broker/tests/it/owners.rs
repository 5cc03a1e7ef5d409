//! Whose a session is, and what its owner may still be sent.

use std::sync::Arc;
use std::time::Duration;

use broker::{Drop, End, Refusal, Settings};
use host::sim::SimClock;
use identity::Actor;
use identity::policy::{Expected, PolicyName, Target};
use identity::provisioning::TemplateName;
use model::{DeviceName, Qos};
use mqtt::{Connect, Packet, Publish, PublishProperties, Reason, SubscribeOptions, Version};

use crate::certified::{device, showing, with_certificate};
use crate::client::{Client, connect, persistent, publish};
use crate::exactly_once::{ack, twice};
use crate::house::{House, Plan};

fn name(text: &str) -> DeviceName {
    DeviceName::parse(text).expect("a name")
}

/// A device with a password, and how it logs in.
async fn login(house: &House, device: &str) -> impl Fn(Connect) -> Connect + use<> {
    let password = house.identity.add_device_with_password(&Actor::inside(), &name(device)).await;
    let (user, password) = (device.to_owned(), password.expect("added").reveal().to_owned());
    move |mut ask| {
        ask.username = Some(user.as_str().into());
        ask.password = Some(password.clone().into());
        ask
    }
}

#[tokio::test]
async fn a_session_belongs_to_its_principal() {
    let house = House::open().await;
    let (one, two) = (login(&house, "office-1").await, login(&house, "office-2").await);
    let own = || one(persistent(Version::V5, "shared-id"));
    let (mut first, _) = Client::with(house.password(), own()).await;
    first.subscribe("cmd/office-1/#", Qos::AtLeastOnce).await;
    let mut office = Client::open(house.anonymous(), Version::V5, "office").await;

    // The same client id of another device is another session, and leaves the connection alone.
    let (mut other, is_present) =
        Client::with(house.password(), two(persistent(Version::V5, "shared-id"))).await;
    assert!(!is_present, "nobody goes on with somebody else's session");
    other.subscribe("cmd/office-2/#", Qos::AtLeastOnce).await;
    office.publish_durably("cmd/office-1/set", 1, "on").await;
    assert_eq!(first.take().await.payload, "on");
    other.expect_nothing().await;
    other.leave().await;

    // Nor does it end what waits, whether it begins anew or not, and whoever asks.
    first.leave().await;
    house.until("it is away", |stats| stats.connections == 1).await;
    office.publish_durably("cmd/office-1/set", 2, "off").await;
    for ask in [two(connect(Version::V5, "shared-id")), two(persistent(Version::V311, "shared-id"))] {
        Client::with(house.password(), ask).await.0.leave().await;
    }
    Client::open(house.anonymous(), Version::V5, "shared-id").await.leave().await;
    let (mut first, is_present) = Client::with(house.password(), own()).await;
    assert!(is_present);
    assert_eq!(first.take().await.payload, "off");
    let sessions = house.broker.sessions_of("shared-id");
    let mut devices: Vec<_> = sessions.iter().map(|(view, _)| view.device.clone()).collect();
    devices.sort();
    assert_eq!(devices, [Some(name("office-1")), Some(name("office-2"))]);
}

#[tokio::test]
async fn sessions_of_one_client_id_come_back_to_their_owners() {
    let house = House::open().await;
    let (one, two) = (login(&house, "office-1").await, login(&house, "office-2").await);
    for (login, filter) in [(&one as &dyn Fn(Connect) -> Connect, "cmd/office-1/#"), (&two, "cmd/office-2/#")]
    {
        let (mut client, _) = Client::with(house.password(), login(persistent(Version::V5, "same"))).await;
        client.subscribe(filter, Qos::AtLeastOnce).await;
        client.leave().await;
    }
    let house = house.restart(Plan::default()).await;
    let mut office = Client::open(house.anonymous(), Version::V5, "office").await;
    office.publish_durably("cmd/office-1/set", 1, "for 1").await;
    office.publish_durably("cmd/office-2/set", 2, "for 2").await;
    for (login, payload) in [(&one as &dyn Fn(Connect) -> Connect, "for 1"), (&two, "for 2")] {
        let (mut client, is_present) =
            Client::with(house.password(), login(persistent(Version::V5, "same"))).await;
        assert!(is_present);
        assert_eq!(client.take().await.payload, payload);
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn a_devices_name_is_no_other_devices_client_id() {
    let house = House::open().await;
    let (one, two) = (login(&house, "office-1").await, login(&house, "office-2").await);
    for version in [Version::V311, Version::V5] {
        let (_, refused) = Client::ask(house.password(), two(connect(version, "office-1"))).await;
        assert_eq!(refused.map(|answer| answer.reason), Some(Reason::ClientIdentifierNotValid));
        for ask in [one(connect(version, "office-1")), two(connect(version, "office-3"))] {
            Client::with(house.password(), ask).await.0.leave().await;
        }
    }
    assert_eq!(house.broker.stats().refused(Refusal::ClientId), 2);
    // A gateway speaks for its children.
    let children = [name("office-1")];
    house.identity.set_children(&Actor::inside(), &name("office-2"), &children).await.expect("a gateway");
    Client::with(house.password(), two(connect(Version::V5, "office-1"))).await.0.leave().await;
}

async fn policy(house: &House, named: &str, text: &str) -> PolicyName {
    let policy = PolicyName::parse(named).expect("a name");
    let put = house.identity.put_policy(&Actor::inside(), &policy, text, Expected::Nothing, true).await;
    put.expect("put");
    policy
}

const EVERYTHING: &str =
    r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}"#;

#[tokio::test]
async fn what_may_not_be_received_any_more_is_not_sent_wherever_it_waited() {
    let by = Actor::inside();
    let settings = Settings { queue_messages_max: 4, ..Settings::default() };
    let house = House::with(Plan::with(settings)).await;
    let login = login(&house, "pump-1").await;
    let (all, target) = (policy(&house, "all", EVERYTHING).await, Target::Device(name("pump-1")));
    house.identity.attach_policy(&by, &all, &target).await.expect("attached");
    let ask = || login(persistent(Version::V5, "pump-1"));
    let (mut pump, _) = Client::with(house.password(), ask()).await;
    pump.subscribe("secret/#", Qos::ExactlyOnce).await;
    pump.subscribe("cmd/pump-1/#", Qos::AtLeastOnce).await;
    let mut office = Client::open(house.anonymous(), Version::V5, "office").await;
    // Two on their way, at QoS 1 and 2; four in memory, the others in the journal.
    office.publish_durably("secret/a", 1, "1").await;
    pump.message().await;
    office.publish_exactly_once(twice("secret/a", 2, "2")).await;
    pump.message().await;
    pump.vanish().await;
    house.until("it is away", |stats| stats.connections == 1).await;
    for id in 3..10 {
        let topic = if id % 2 == 0 { "cmd/pump-1/set" } else { "secret/a" };
        office.publish_durably(topic, id, id.to_string()).await;
    }
    house.until("they wait", |stats| (stats.queued_messages, stats.left_messages) == (4, 3)).await;
    house.identity.detach_policy(&by, &all, &target).await.expect("detached");

    let (mut pump, is_present) = Client::with(house.password(), ask()).await;
    assert!(is_present);
    for expect in ["4", "6", "8"] {
        let got = pump.take().await;
        assert_eq!(
            (got.topic.expect("a topic").as_str(), &got.payload[..]),
            ("cmd/pump-1/set", expect.as_bytes())
        );
    }
    pump.expect_nothing().await;
    let stats = house.until("settled", |stats| stats.inflight == 0 && stats.left_messages == 0).await;
    assert_eq!(stats.dropped(Drop::NotReceivable), 6, "two on their way, and 3, 5, 7, 9");
    assert_eq!((stats.queued_messages, stats.queued_bytes, stats.subscriptions), (0, 0, 1));
    // What went is gone after a restart too.
    pump.leave().await;
    let house = house.restart(Plan::default()).await;
    let (mut pump, _) = Client::with(house.password(), ask()).await;
    pump.expect_nothing().await;
}

#[tokio::test]
async fn rights_that_are_withdrawn_reach_what_waits_for_a_client_that_is_connected() {
    let by = Actor::inside();
    let house = House::open().await;
    let login = login(&house, "pump-1").await;
    let (all, target) = (policy(&house, "all", EVERYTHING).await, Target::Device(name("pump-1")));
    house.identity.attach_policy(&by, &all, &target).await.expect("attached");
    let mut ask = login(connect(Version::V5, "pump-1"));
    ask.properties.receive_maximum = std::num::NonZeroU16::MIN;
    let (mut pump, _) = Client::with(house.password(), ask).await;
    pump.subscribe("secret/#", Qos::AtLeastOnce).await;
    let mut office = Client::open(house.anonymous(), Version::V5, "office").await;
    office.publish_durably("secret/a", 1, "1").await;
    let first = pump.message().await;
    for id in 2..5 {
        office.publish_durably("secret/a", id, "later").await;
    }
    house.until("they wait", |stats| stats.queued_messages == 3).await;
    house.identity.detach_policy(&by, &all, &target).await.expect("detached");
    house.until("they are gone", |stats| stats.dropped(Drop::NotReceivable) == 3).await;
    pump.acknowledge(first.packet_id).await;
    pump.expect_nothing().await;
    assert_eq!(house.broker.stats().inflight, 0, "what was sent is acknowledged as it was");
}

#[tokio::test]
async fn commands_of_a_device_in_quarantine_wait_for_its_end_or_their_deadline() {
    let (by, pump_1) = (Actor::inside(), name("pump-1"));
    let clock = Arc::new(SimClock::new());
    let plan = || Plan { clock: Arc::clone(&clock) as Arc<dyn host::Clock>, ..Plan::default() };
    let house = House::with(plan()).await;
    let login = login(&house, "pump-1").await;
    let ask = || login(persistent(Version::V5, "pump-1"));
    let (mut pump, _) = Client::with(house.password(), ask()).await;
    pump.subscribe("cmd/pump-1/#", Qos::AtLeastOnce).await;
    house.identity.quarantine_device(&by, &pump_1, "looks odd", None).await.expect("in quarantine");
    pump.expect_end(Reason::NotAuthorized).await;
    let mut office = Client::open(house.anonymous(), Version::V5, "office").await;
    office.publish_durably("cmd/pump-1/set", 1, "1").await;

    // It comes back to its diagnosis topics, by a session that keeps nothing.
    let (mut pump, is_present) = Client::with(house.password(), ask()).await;
    assert!(!is_present);
    let denied = pump.subscribe_with("cmd/pump-1/#", SubscribeOptions::default(), None).await;
    assert_eq!(denied, [Reason::NotAuthorized]);
    pump.subscribe("cmd/pump-1/diag/#", Qos::AtLeastOnce).await;
    office.publish_durably("cmd/pump-1/set", 2, "2").await;
    let brief = PublishProperties { expiry_s: Some(5), ..PublishProperties::default() };
    let brief = Publish { properties: Some(Box::new(brief)), ..publish("cmd/pump-1/set", 3, "brief") };
    office.publish(brief).await;
    office.expect_puback(3, Reason::Success).await;
    office.publish(publish("cmd/pump-1/diag/say", 0, "how are you?")).await;
    assert_eq!(pump.message().await.payload, "how are you?");
    let views = house.broker.sessions_of("pump-1");
    let mut waiting: Vec<_> = views.iter().map(|(view, _)| (view.is_confined, view.queued)).collect();
    waiting.sort_unstable();
    assert_eq!(waiting, [(false, 3), (true, 0)]);
    pump.vanish().await;
    office.leave().await;

    // A restart changes nothing of it.
    let house = house.restart(plan()).await;
    let mut office = Client::open(house.anonymous(), Version::V5, "office").await;
    office.publish_durably("cmd/pump-1/set", 4, "4").await;
    let (mut pump, is_present) = Client::with(house.password(), ask()).await;
    assert!(!is_present);
    pump.expect_nothing().await;
    clock.advance(Duration::from_secs(6));
    house.identity.release_device(&by, &pump_1, None).await.expect("released");
    pump.expect_end(Reason::NotAuthorized).await;
    let (mut pump, is_present) = Client::with(house.password(), ask()).await;
    assert!(is_present);
    for expect in ["1", "2", "4"] {
        assert_eq!(pump.take().await.payload, expect);
    }
    pump.expect_nothing().await;
    assert_eq!(house.broker.stats().dropped(Drop::Expired), 1);
}

#[tokio::test]
async fn a_packet_id_of_a_device_in_quarantine_is_none_of_its_other_session() {
    let (by, pump_1) = (Actor::inside(), name("pump-1"));
    let house = House::open().await;
    let login = login(&house, "pump-1").await;
    let ask = || login(persistent(Version::V5, "pump-1"));
    Client::with(house.password(), ask()).await.0.leave().await;
    house.identity.quarantine_device(&by, &pump_1, "looks odd", None).await.expect("in quarantine");
    let (mut pump, _) = Client::with(house.password(), ask()).await;
    pump.publish(twice("dt/pump-1/diag/heap", 7, "12")).await;
    pump.expect(Packet::PubRec(ack(7))).await;
    let house = house.crash(Plan::default()).await;
    house.identity.release_device(&by, &pump_1, None).await.expect("released");
    // The journal goes on at a new number after a crash.
    let mut office = Client::open(house.anonymous(), Version::V5, "office").await;
    office.publish_durably("a", 1, "x").await;
    let before = house.journal.durable_seq();
    let (mut pump, is_present) = Client::with(house.password(), ask()).await;
    assert!(is_present);
    pump.publish_exactly_once(twice("dt/pump-1/state", 7, "on")).await;
    assert_eq!(house.journal.durable_seq(), before + 1, "another message, not a repeat");
}

#[tokio::test]
async fn a_session_is_judged_by_who_connected_last_after_a_crash_too() {
    let by = Actor::inside();
    let house = House::open().await;
    let login = login(&house, "pump-1").await;
    let (mut pump, _) = Client::with(house.password(), login(persistent(Version::V5, "c"))).await;
    pump.subscribe("cmd/pump-1/#", Qos::AtLeastOnce).await;
    pump.leave().await;
    // From now on it shows a certificate, to which a policy of its own is attached.
    let config = device(&house, "pump-1").await;
    let certificates = house.identity.certificates(identity::CertificateFilter::default()).await;
    let id = certificates.expect("listed")[0].id;
    let all = policy(&house, "all", EVERYTHING).await;
    let target = Target::Certificate(id.bytes());
    house.identity.attach_policy(&by, &all, &target).await.expect("attached");
    let (mut pump, is_present) =
        with_certificate(&house, Arc::clone(&config), persistent(Version::V5, "c")).await;
    assert!(is_present, "the same device");
    pump.subscribe("alarm/#", Qos::AtLeastOnce).await;

    let house = house.crash(Plan::default()).await;
    // Something changes, and who is away is looked at.
    house.identity.add_device(&by, &name("other")).await.expect("added");
    let mut office = Client::open(house.anonymous(), Version::V5, "office").await;
    office.publish_durably("alarm/fire", 1, "floor 3").await;
    house.until("it waits", |stats| stats.queued_messages == 1).await;
    let (mut pump, is_present) = with_certificate(&house, config, persistent(Version::V5, "c")).await;
    assert!(is_present);
    assert_eq!(pump.take().await.payload, "floor 3");
    let stats = house.broker.stats();
    assert_eq!((stats.dropped(Drop::NotReceivable), stats.ended(End::Withdrawn)), (0, 0));
}

#[tokio::test]
async fn a_device_with_ever_new_client_ids_ends_its_own_oldest_session_and_nobody_elses() {
    let clock = Arc::new(SimClock::new());
    let settings = Settings { sessions_per_device_max: 5, ..Settings::default() };
    let plan = Plan { clock: Arc::clone(&clock) as Arc<dyn host::Clock>, ..Plan::with(settings.clone()) };
    let house = House::with(plan).await;
    let (one, two) = (login(&house, "office-1").await, login(&house, "office-2").await);
    let names = |house: &House| {
        house.broker.sessions().iter().map(|view| view.client_id.to_string()).collect::<Vec<_>>()
    };
    Client::with(house.password(), two(persistent(Version::V5, "other"))).await.0.leave().await;
    for id in ["f", "e", "d", "c", "b", "a"] {
        let (mut client, _) = Client::with(house.password(), one(persistent(Version::V5, id))).await;
        client.subscribe("cmd/office-1/#", Qos::AtLeastOnce).await;
        client.leave().await;
        house.until("it is away", |stats| stats.connections == 0).await;
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(names(&house), ["a", "b", "c", "d", "e", "other"]);
    assert_eq!(house.broker.stats().subscriptions, 5);
    // A process that began just now knows who went before it began.
    let now = host::Clock::now(&*clock);
    let clock = Arc::new(SimClock::new());
    clock.set(now);
    let plan = Plan { clock: Arc::clone(&clock) as Arc<dyn host::Clock>, ..Plan::with(settings) };
    let house = house.restart(plan).await;
    for (id, oldest) in [("v", "e"), ("w", "d"), ("x", "c"), ("y", "b"), ("z", "a")] {
        clock.advance(Duration::from_secs(1));
        let before = names(&house);
        Client::with(house.password(), one(persistent(Version::V5, id))).await.0.leave().await;
        house.until("it is away", |stats| stats.connections == 0).await;
        let after = names(&house);
        let gone: Vec<_> = before.iter().filter(|name| !after.contains(name)).collect();
        assert_eq!(gone, [oldest]);
    }
    // While all of them are connected, one more is too many.
    let mut held = Vec::new();
    for id in ["v", "w", "x", "y", "z"] {
        held.push(Client::with(house.password(), one(persistent(Version::V5, id))).await.0);
    }
    let (_, refused) = Client::ask(house.password(), one(connect(Version::V5, "g"))).await;
    assert_eq!(refused.map(|answer| answer.reason), Some(Reason::QuotaExceeded));
    assert_eq!(names(&house), ["other", "v", "w", "x", "y", "z"]);
    // People and their programs share the bound of all.
    for id in 0..5 {
        Client::with(house.anonymous(), persistent(Version::V5, &format!("p{id}"))).await.0.leave().await;
    }
    assert_eq!(house.broker.stats().sessions, 11);
}

#[tokio::test]
async fn one_device_cannot_retain_everything_after_a_restart_neither() {
    let plan = || Plan::with(Settings { retained_messages_per_device_max: 2, ..Settings::default() });
    let house = House::with(plan()).await;
    let login = login(&house, "pump-1").await;
    let retain = |topic: &str, id| Publish { retain: true, ..publish(topic, id, "x") };
    let ask = || login(connect(Version::V5, "pump-1"));
    let (mut pump, _) = Client::with(house.password(), ask()).await;
    for (id, topic) in [(1, "dt/pump-1/a"), (2, "dt/pump-1/b")] {
        pump.publish(retain(topic, id)).await;
        pump.expect_puback(id, Reason::Success).await;
    }
    house.until("kept", |stats| stats.retained_messages == 2).await;
    pump.publish(retain("dt/pump-1/c", 3)).await;
    pump.expect_puback(3, Reason::QuotaExceeded).await;
    pump.leave().await;
    let house = house.restart(plan()).await;
    let (mut pump, _) = Client::with(house.password(), ask()).await;
    pump.publish(retain("dt/pump-1/c", 1)).await;
    pump.expect_puback(1, Reason::QuotaExceeded).await;
    pump.publish(retain("dt/pump-1/a", 2)).await;
    pump.expect_puback(2, Reason::Success).await;
    let mut office = Client::open(house.anonymous(), Version::V5, "office").await;
    office.publish(retain("dt/pump-1/c", 1)).await;
    office.expect_puback(1, Reason::Success).await;
}

#[tokio::test]
async fn a_claim_keeps_no_session_and_serves_a_whole_batch() {
    let by = Actor::inside();
    let house = House::with(Plan::with(Settings { sessions_per_device_max: 2, ..Settings::default() })).await;
    let template = TemplateName::parse("pumps").expect("a name");
    let body = r#"{"Parameters": {"SerialNumber": {"Type": "String"}}, "Resources": {
        "thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "SerialNumber"}}},
        "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}}}}}"#;
    house.identity.put_template(&by, &template, body).await.expect("put");
    let claim = house.identity.make_claim(&by, &template, 1, 10).await.expect("a claim");
    let config = showing(&house, &claim);
    let mut held = Vec::new();
    for id in ["box-1", "box-2", "box-3"] {
        let (client, is_present) =
            with_certificate(&house, Arc::clone(&config), persistent(Version::V5, id)).await;
        assert!(!is_present);
        held.push(client);
    }
    assert!(house.broker.sessions().iter().all(|view| view.expiry_s == 0));
    for client in held {
        client.vanish().await;
    }
    house.until("nothing stays", |stats| stats.sessions == 0).await;
}
