//! The door for SQL clients, before anybody is in.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use host::Shutdown;
use host::sim::Machine;
use series::{Postgres, PostgresParts, PostgresSettings, ScramVerifier};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::support::open;

/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a client asks first: whether there is TLS (PostgreSQL 16, section 55.2.11).
const IS_THERE_TLS: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Connections that a pool opens all at once, and says nothing on before it has them all.
#[tokio::test]
async fn a_pool_as_large_as_the_bound_is_let_log_in_at_once() {
    let machine = Machine::new(1);
    let store = open(&machine.host());
    let settings = PostgresSettings {
        bind: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        connections_max: 70,
        startup_timeout: 2 * PATIENCE,
        ..PostgresSettings::default()
    };
    let postgres = Postgres::bind(&settings).await.expect("an address").expect("it is switched on");
    let (address, shutdown) = (postgres.address(), Shutdown::new());
    let (_sender, changes) = watch::channel(0);
    let nobody = |_: &str| ScramVerifier {
        salt: vec![0; 16],
        iterations: 4_096,
        stored_key: [0; 32],
        server_key: [0; 32],
        is_known: false,
        secret: 0,
    };
    let parts = PostgresParts {
        tls: None,
        verifier: Arc::new(nobody),
        permit: Arc::new(|_, _| Ok(())),
        changes,
        random: machine.host().random,
        shutdown: shutdown.clone(),
    };
    let serving = tokio::spawn(postgres.serve(store.series().clone(), parts).expect("served"));
    let answer = async |socket: &mut TcpStream| -> io::Result<u8> {
        socket.write_all(&IS_THERE_TLS).await?;
        tokio::time::timeout(PATIENCE, socket.read_u8()).await.expect("an answer or an end")
    };
    let mut pool = Vec::new();
    for _ in 0..70 + 32 {
        pool.push(TcpStream::connect(address).await.expect("connected"));
    }
    // Taken in the order in which they came: those before it are in when this one is answered.
    let mut more = TcpStream::connect(address).await.expect("connected");
    assert!(answer(&mut more).await.is_err(), "one more is closed");
    for (nth, socket) in pool.iter_mut().enumerate() {
        assert_eq!(answer(socket).await.ok(), Some(b'N'), "{nth}: there is none, it may go on");
    }
    // Whoever goes makes room.
    pool.pop();
    let comes_in = async {
        loop {
            let mut more = TcpStream::connect(address).await.expect("connected");
            if answer(&mut more).await.is_ok() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, comes_in).await.expect("a place came back");
    shutdown.stop();
    tokio::time::timeout(PATIENCE, serving).await.expect("it ends").expect("without a fault");
}
