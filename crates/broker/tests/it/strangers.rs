//! A stranger's client agrees with us: `rumqttc`, in both versions.

use std::time::Duration;

use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS};

use crate::house::{House, PATIENCE};

const COUNT: usize = 500;

#[tokio::test]
async fn rumqttc_publishes_and_receives_with_mqtt_3_1_1() {
    let house = House::open().await;
    let options = |id: &str| {
        let mut options = MqttOptions::new(id, "127.0.0.1", house.anonymous().port());
        options.set_keep_alive(Duration::from_secs(30));
        options
    };
    let (watcher, mut events) = AsyncClient::new(options("watcher"), 10);
    watcher.subscribe("dt/+/climate", QoS::AtLeastOnce).await.expect("asked");
    let watching = async {
        let mut seen = Vec::new();
        while seen.len() < COUNT {
            if let Event::Incoming(Incoming::Publish(got)) = events.poll().await.expect("no error") {
                seen.push(String::from_utf8(got.payload.to_vec()).expect("text"));
            }
        }
        seen
    };
    let (publisher, mut sent) = AsyncClient::new(options("publisher"), 10);
    let publishing = async {
        house.until("subscribed", |stats| stats.subscriptions == 1).await;
        for n in 0..COUNT {
            publisher
                .publish("dt/office-1/climate", QoS::AtLeastOnce, false, n.to_string())
                .await
                .expect("queued");
        }
    };
    let acknowledging = async {
        let mut acknowledged = 0;
        while acknowledged < COUNT {
            if let Event::Incoming(Incoming::PubAck(_)) = sent.poll().await.expect("no error") {
                acknowledged += 1;
            }
        }
    };
    let all = async { tokio::join!(watching, publishing, acknowledging) };
    let (seen, (), ()) = tokio::time::timeout(PATIENCE, all).await.expect("in time");
    assert_eq!(seen, (0..COUNT).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(house.journal.durable_seq(), COUNT as u64);
}

#[tokio::test]
async fn rumqttc_publishes_and_receives_with_mqtt_5() {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{LastWill, Packet, PublishProperties};
    use rumqttc::v5::{AsyncClient, Event, MqttOptions};

    let house = House::open().await;
    let options = |id: &str| {
        let mut options = MqttOptions::new(id, "127.0.0.1", house.anonymous().port());
        options.set_keep_alive(Duration::from_secs(30));
        options
    };
    let (watcher, mut events) = AsyncClient::new(options("watcher"), 10);
    watcher.subscribe("#", QoS::AtLeastOnce).await.expect("asked");
    let watching = async {
        let mut seen = Vec::new();
        loop {
            if let Event::Incoming(Packet::Publish(got)) = events.poll().await.expect("no error") {
                if got.topic == "last" {
                    return seen;
                }
                let user = got.properties.map(|properties| properties.user_properties).unwrap_or_default();
                assert_eq!(user, [("k".to_owned(), "v".to_owned())]);
                seen.push(String::from_utf8(got.payload.to_vec()).expect("text"));
            }
        }
    };
    let mut with_will = options("publisher");
    with_will.set_last_will(LastWill::new("last", "words", QoS::AtLeastOnce, false, None));
    let (publisher, mut sent) = AsyncClient::new(with_will, 10);
    let publishing = async {
        house.until("subscribed", |stats| stats.subscriptions == 1).await;
        for n in 0..COUNT {
            let properties =
                PublishProperties { user_properties: vec![("k".into(), "v".into())], ..Default::default() };
            let topic = "dt/office-1/climate";
            let sent =
                publisher.publish_with_properties(topic, QoS::AtLeastOnce, false, n.to_string(), properties);
            sent.await.expect("queued");
        }
    };
    let acknowledging = async move {
        let mut acknowledged = 0;
        while acknowledged < COUNT {
            if let Event::Incoming(Packet::PubAck(_)) = sent.poll().await.expect("no error") {
                acknowledged += 1;
            }
        }
        // Dropped without a word: the will speaks.
    };
    let all = async { tokio::join!(watching, publishing, acknowledging) };
    let (seen, (), ()) = tokio::time::timeout(PATIENCE, all).await.expect("in time");
    assert_eq!(seen, (0..COUNT).map(|n| n.to_string()).collect::<Vec<_>>());
}
