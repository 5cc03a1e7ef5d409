//! The hostile battery: whatever a stranger sends or does, a client that was there before is served, and a new one
//! gets in.
//!
//! [`packets`] are bytes with the answer they must get, [`cuts`] every packet cut at every byte, [`behaviours`] what
//! takes more than one packet, [`transports`] what is thrown at TLS and WebSocket. The law: after each case the canary's
//! own message comes back to it, somebody new connects and leaves, and at the end everything that was held is given back.

mod behaviours;
pub(crate) mod bytes;
mod cuts;
mod packets;
mod transports;

use std::time::Duration;

use broker::{Drop, End, Settings, Stats};
use model::Qos;
use mqtt::{Disconnect, Packet, Reason, Version};
use tokio::io::AsyncReadExt;

use crate::client::{Client, connect, publish};
use crate::house::{House, PATIENCE, Plan};

/// What must come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// The connection is closed without a word.
    Closed,
    /// MQTT 5: a DISCONNECT with this reason, then the end. MQTT 3.1.1: the end.
    Told(Reason),
    /// A CONNACK with this code, then the end.
    Refused(u8),
    /// These bytes, and the connection goes on.
    Answer(&'static str),
    /// No word, and the connection goes on.
    Nothing,
}

/// A house with a canary.
struct Battery {
    house: House,
    canary: Client,
    songs: u16,
    cases: usize,
    faults: Vec<String>,
}

impl Battery {
    async fn open() -> Self {
        let settings = Settings {
            // The stalled ones are to end while the battery runs; honest ones need a thousandth of it.
            connect_timeout: Duration::from_secs(3),
            packet_bytes_max: 64 * 1024,
            receive_maximum: 20,
            filters_per_session_max: 50,
            ..Settings::default()
        };
        let house = House::with(Plan::with(settings)).await;
        let mut canary = Client::open(house.anonymous(), Version::V5, "canary").await;
        canary.subscribe("canary/sings", Qos::AtLeastOnce).await;
        Self { house, canary, songs: 0, cases: 0, faults: Vec::new() }
    }

    /// The end of one case: what it proved, and whether everybody else is served.
    async fn is_over(&mut self, name: &str, outcome: Result<(), String>) {
        self.cases += 1;
        if let Err(what) = outcome {
            self.faults.push(format!("{name}: {what}"));
        }
        self.songs += 1;
        let song = self.songs.to_string();
        self.canary.publish(publish("canary/sings", self.songs, song.clone())).await;
        let (mut is_acknowledged, mut is_heard) = (false, false);
        while !(is_acknowledged && is_heard) {
            match self.canary.receive().await {
                Some(Packet::PubAck(ack)) => {
                    assert_eq!((ack.packet_id, ack.reason), (self.songs, Reason::Success), "after {name}");
                    is_acknowledged = true;
                }
                Some(Packet::Publish(heard)) => {
                    assert_eq!(heard.payload, song, "after {name}");
                    self.canary.acknowledge(heard.packet_id).await;
                    is_heard = true;
                }
                other => panic!("the canary heard {other:?} after {name}"),
            }
        }
        let version = if self.songs.is_multiple_of(2) { Version::V311 } else { Version::V5 };
        Client::open(self.house.anonymous(), version, "newcomer").await.leave().await;
    }

    /// All cases are over: `least` of them at least, each as it must be, and nothing is left of any.
    async fn end(self, least: usize) {
        assert!(
            self.faults.is_empty(),
            "{} of {}:\n{}",
            self.faults.len(),
            self.cases,
            self.faults.join("\n")
        );
        assert!(self.cases >= least, "{} cases", self.cases);
        let left = |stats: &Stats| {
            [stats.connections, stats.sessions, stats.subscriptions, stats.inflight, stats.queued_messages]
        };
        let stats = self.house.until("all strangers are gone", |stats| left(stats) == [1, 1, 1, 0, 0]).await;
        assert_eq!((stats.queued_bytes, stats.left_messages, stats.retained_messages), (0, 0, 0));
        assert_eq!((stats.ended(End::Panic), stats.dropped(Drop::ConnectionEnded)), (0, 0));
        assert_eq!(self.house.broker.sessions().len(), 1);
    }
}

/// Connects by the hand of a stranger.
pub(crate) async fn stranger(house: &House, version: Option<Version>) -> Client {
    match version {
        Some(version) => Client::open(house.anonymous(), version, "stranger").await,
        None => Client::socket(house.anonymous(), Version::V5).await,
    }
}

/// Whether `client` meets what it must meet.
pub(crate) async fn meets(client: &mut Client, expect: Expect) -> Result<(), String> {
    let met = |is_so: bool, got: String| if is_so { Ok(()) } else { Err(format!("{got}, not {expect:?}")) };
    match expect {
        Expect::Told(reason) if client.version == Version::V5 => {
            match client.receive().await {
                Some(Packet::Disconnect(Disconnect { reason: told, .. })) if told == reason => {}
                other => return Err(format!("{other:?}, not a DISCONNECT of {reason:?}")),
            }
            let got = client.receive().await;
            met(got.is_none(), format!("{got:?} after DISCONNECT"))
        }
        Expect::Closed | Expect::Told(_) => {
            let got = client.receive().await;
            met(got.is_none(), format!("{got:?}"))
        }
        Expect::Refused(code) => {
            // By hand: the code of a version that the client does not speak is no packet to it.
            let mut got = Vec::new();
            let read = tokio::time::timeout(PATIENCE, client.stream.read_to_end(&mut got)).await;
            read.expect("it ends in time").ok();
            // Behind the type and a length of one or two bytes: flags, code.
            let at = if got.get(1).is_some_and(|low| low & 0x80 != 0) { 4 } else { 3 };
            met(got.first() == Some(&0x20) && got.get(at) == Some(&code), format!("{got:02x?}"))
        }
        Expect::Answer(hex) => {
            let want = bytes::of(hex);
            let mut got = vec![0; want.len()];
            let read = tokio::time::timeout(PATIENCE, client.stream.read_exact(&mut got)).await;
            let is_read = read.expect("it answers in time").is_ok();
            met(is_read && got == want, format!("{got:02x?}"))?;
            is_alive(client).await
        }
        Expect::Nothing => is_alive(client).await,
    }
}

/// It is served, and nothing else was on its way to it.
async fn is_alive(client: &mut Client) -> Result<(), String> {
    client.send(&Packet::PingReq).await;
    match client.receive().await {
        Some(Packet::PingResp) => Ok(()),
        other => Err(format!("{other:?}, not a PINGRESP")),
    }
}

#[tokio::test]
async fn hostile_packets_end_their_own_connection_and_no_other() {
    let mut battery = Battery::open().await;
    for &(name, version, hex, expect) in packets::ROWS {
        let mut client = stranger(&battery.house, version).await;
        client.send_bytes(&bytes::of(hex)).await;
        let outcome = meets(&mut client, expect).await;
        drop(client);
        battery.is_over(name, outcome).await;
    }
    battery.end(150).await;
}

#[tokio::test]
async fn a_packet_cut_at_any_byte_is_refused_or_waited_for() {
    let mut battery = Battery::open().await;
    cuts::run(&mut battery).await;
    battery.end(240).await;
}

#[tokio::test]
async fn hostile_behaviour_costs_nobody_else_anything() {
    let mut battery = Battery::open().await;
    let stalled = behaviours::stall(&battery.house).await;
    for (name, behave) in behaviours::ROWS {
        let outcome = behave(&battery.house).await;
        battery.is_over(name, outcome).await;
    }
    for (name, mut client) in stalled {
        while client.receive().await.is_some() {}
        battery.is_over(name, Ok(())).await;
    }
    battery.end(25).await;
}

#[tokio::test]
async fn garbage_on_the_tls_and_websocket_ports_ends_its_own_connection() {
    let mut battery = Battery::open().await;
    transports::run(&mut battery).await;
    battery.end(40).await;
}

/// What the rows connect as.
const NEW: Option<Version> = None;
const V311: Option<Version> = Some(Version::V311);
const V5: Option<Version> = Some(Version::V5);

/// A CONNECT that the behaviours change.
fn hello(client_id: &str) -> mqtt::Connect {
    connect(Version::V5, client_id)
}
