//! Clients that begin a handshake and leave it lying.

use std::sync::Arc;
use std::time::Duration;

use broker::{Refusal, Settings};
use mqtt::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, ClientConnection};

use crate::certified::{device, here, with_certificate};
use crate::client::connect;
use crate::house::{House, Plan};

async fn is_let_in(house: &House, config: Arc<ClientConfig>, name: &str) {
    with_certificate(house, config, connect(Version::V5, name)).await.0.leave().await;
}

#[tokio::test]
async fn a_hundred_stalled_handshakes_hold_up_no_honest_device() {
    const STALLED: usize = 150;
    let settings = Settings { connect_timeout: Duration::from_secs(5), ..Settings::default() };
    let house = House::with(Plan::with(settings)).await;
    let config = device(&house, "pump-1").await;
    let mut hello = Vec::new();
    let mut talker = ClientConnection::new(Arc::clone(&config), here()).expect("a client");
    talker.write_tls(&mut hello).expect("a hello");
    let mut stalled = Vec::new();
    for n in 0..STALLED {
        let mut socket = TcpStream::connect(house.certificates()).await.expect("connected");
        // Nothing at all, the half of a hello, and a whole one whose answer is not answered.
        socket.write_all(&hello[..hello.len() * (n % 3) / 2]).await.expect("sent");
        stalled.push(socket);
    }
    house.until("all are there", |stats| stats.connections == STALLED as u64).await;
    let let_in = tokio::time::timeout(Duration::from_secs(1), is_let_in(&house, config, "pump-1"));
    let_in.await.expect("it does not wait for those who say nothing");
    let stats = house.until("the stalled ones end by themselves", |stats| stats.connections == 0).await;
    assert_eq!(stats.refused(Refusal::ConnectTimeout), STALLED as u64);
}

#[tokio::test]
async fn handshakes_that_dawdle_give_way_to_others_of_their_address() {
    let connect_timeout = Duration::from_secs(4);
    let settings = Settings { handshakes_per_address_max: 4, connect_timeout, ..Settings::default() };
    let house = House::with(Plan::with(settings)).await;
    let config = device(&house, "pump-1").await;
    // The first is through its handshake, by whatever certificate, and says no more.
    let socket = TcpStream::connect(house.certificates()).await.expect("connected");
    let through = TlsConnector::from(Arc::clone(&config)).connect(here(), socket).await;
    let mut through = through.expect("a handshake");
    let mut stalled = Vec::new();
    for _ in 0..3 {
        stalled.push(TcpStream::connect(house.certificates()).await.expect("connected"));
    }
    house.until("all are there", |stats| stats.connections == 4).await;
    let let_in = tokio::time::timeout(connect_timeout, is_let_in(&house, config, "pump-1"));
    let_in.await.expect("the oldest of those who dawdle gives way");
    // For one who waits one gives way, which is counted: not those who came after it, nor when the time of all is over.
    let stats = house.until("it is counted", |stats| stats.refused(Refusal::Handshake) > 0).await;
    assert_eq!((stats.refused(Refusal::Handshake), stats.refused(Refusal::ConnectTimeout)), (1, 0));
    // However it is told that it is over: nothing more comes.
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(connect_timeout, through.read_to_end(&mut answer)).await;
    let _ = ended.expect("its connection is closed");
    assert_eq!(answer, b"");
}
