//! `$SYS/broker/...`: the door's numbers, for whom they are meant.

use std::time::Duration;

use broker::Settings;
use identity::Actor;
use model::Qos;
use mqtt::{Reason, SubscribeOptions, Version};

use crate::client::{Client, connect};
use crate::house::{House, Plan};

fn often() -> Plan {
    Plan::with(Settings { sys_interval: Duration::from_millis(50), ..Settings::default() })
}

#[tokio::test]
async fn numbers_are_told_in_mosquittos_names_and_said_again_when_they_change() {
    let house = House::with(often()).await;
    let mut operator = Client::open(house.anonymous(), Version::V5, "operator").await;
    operator.subscribe("$SYS/broker/clients/total", Qos::AtLeastOnce).await;
    // Whatever was so when it subscribed; then, live, what it is with one more.
    let mut others = Vec::new();
    for wanted in 2..=3_u64 {
        others.push(Client::open(house.anonymous(), Version::V311, &format!("other-{wanted}")).await);
        loop {
            let told = operator.take().await;
            let total: u64 = std::str::from_utf8(&told.payload).expect("text").parse().expect("a number");
            assert!(total <= wanted, "{total}");
            if total == wanted {
                break;
            }
        }
    }
    let topics = ["$SYS/broker/version", "$SYS/broker/uptime", "$SYS/broker/retained messages/count"];
    for topic in topics {
        let mut late =
            Client::open(house.anonymous(), Version::V5, topic.rsplit('/').next().expect("a name")).await;
        late.subscribe(topic, Qos::AtMostOnce).await;
        let told = late.take().await;
        assert_eq!(told.topic.expect("a topic").as_str(), topic);
        assert!(told.retain, "kept for whoever comes later");
    }
    assert_eq!(house.broker.stats().retained_messages, 0, "they are none of the clients' retained messages");
    assert_eq!(house.journal.durable_seq(), 0, "and no record of the journal");
    house.close().await;
}

#[tokio::test]
async fn a_wildcard_does_not_bring_them_and_a_device_may_not_ask_for_them() {
    let house = House::with(often()).await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    client.subscribe("#", Qos::AtLeastOnce).await;
    client.subscribe("+/broker/version", Qos::AtLeastOnce).await;
    let mut witness = Client::open(house.anonymous(), Version::V5, "witness").await;
    witness.subscribe("$SYS/broker/version", Qos::AtMostOnce).await;
    witness.take().await;
    client.expect_nothing().await;

    let device = model::DeviceName::parse("office-1").expect("a name");
    let password =
        house.identity.add_device_with_password(&Actor::inside(), &device).await.expect("a device");
    let mut ask = connect(Version::V5, "office-1");
    ask.username = Some("office-1".into());
    ask.password = Some(password.reveal().to_owned().into());
    let (mut device, _) = Client::with(house.password(), ask).await;
    let refused = device.subscribe_with("$SYS/#", SubscribeOptions::default(), None).await;
    assert_eq!(refused, [Reason::NotAuthorized]);
}

#[tokio::test]
async fn without_an_interval_there_are_no_such_topics() {
    let settings = Settings { sys_interval: Duration::ZERO, ..Settings::default() };
    let house = House::with(Plan::with(settings)).await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    client.subscribe("$SYS/#", Qos::AtMostOnce).await;
    client.expect_nothing().await;
}
