//! MQTT 5.0 statement by statement: `mqtt5_3_3_1_2` shows [MQTT-3.3.1-2].
//!
//! What a server must do, by chapter; bytes are written by hand where the statement is about bytes, so that our codec
//! cannot agree with itself. [`table`] holds `docs/mqtt-conformance.md` and the tests together: no statement of the
//! standard without its row, no row without its test, no `mqtt5_…` test without its row.

mod acks;
mod auth_and_errors;
mod connack;
mod connect;
mod data;
mod delivery;
mod disconnect;
mod publish;
mod subscribe;
mod table;
mod topics;
mod unsubscribe;
mod version_3_1_1;

use model::Qos;
use mqtt::{Packet, Publish, PublishProperties, SubscribeOptions, Version};

use crate::client::Client;
use crate::hostile::{Expect, bytes, meets, stranger};
use crate::house::House;

const NEW: Option<Version> = None;
const V311: Option<Version> = Some(Version::V311);
const V5: Option<Version> = Some(Version::V5);

/// What is sent over a new connection (`NEW`) or behind a CONNECT, and what must come.
type Row = (Option<Version>, &'static str, Expect);

/// Each row on a connection of its own.
async fn check(rows: &[Row]) {
    let house = House::open().await;
    for &(version, hex, expect) in rows {
        let mut client = stranger(&house, version).await;
        client.send_bytes(&bytes::of(hex)).await;
        if let Err(why) = meets(&mut client, expect).await {
            panic!("{hex}: {why}");
        }
    }
}

/// A house and a client in it.
async fn connected() -> (House, Client) {
    let house = House::open().await;
    let client = Client::open(house.anonymous(), Version::V5, "me").await;
    (house, client)
}

/// Somebody else, who publishes or listens.
async fn other(house: &House) -> Client {
    Client::open(house.anonymous(), Version::V5, "other").await
}

/// Sends bytes in the notation of [`bytes`].
async fn say(client: &mut Client, hex: &str) {
    client.send_bytes(&bytes::of(hex)).await;
}

/// The next packet, byte for byte.
async fn hear(client: &mut Client, hex: &str) {
    assert_eq!(client.frame().await.expect("a packet"), bytes::of(hex), "not {hex}");
}

/// A client with a CONNECT and an answer byte for byte.
async fn by_hand(house: &House, connect: &str) -> (Client, Vec<u8>) {
    let mut client = Client::socket(house.anonymous(), Version::V5).await;
    say(&mut client, connect).await;
    let answer = client.frame().await.expect("an answer");
    (client, answer)
}

/// A PUBLISH with a change of its properties.
fn with(mut publish: Publish, change: impl FnOnce(&mut PublishProperties)) -> Publish {
    let mut properties = PublishProperties::default();
    change(&mut properties);
    publish.properties = Some(Box::new(properties));
    publish
}

/// Options with this QoS.
fn at_most(qos_max: Qos) -> SubscribeOptions {
    SubscribeOptions { qos_max, ..SubscribeOptions::default() }
}

/// The next packet is of this type.
async fn is_next(client: &mut Client, is_it: impl Fn(&Packet) -> bool) -> Packet {
    let packet = client.receive().await.expect("a packet");
    assert!(is_it(&packet), "{packet:?}");
    packet
}
