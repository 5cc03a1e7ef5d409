//! Whole replays, against a server that follows a script.

use std::path::Path;

use bytes::BytesMut;
use clap::Parser;
use host::{Disk as _, SystemDisk};
use mqtt::{Ack, ConnAck, ConnAckProperties, Decoder, Packet, Publish, Reason, Side, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Args, run};

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    args: Args,
}

/// A recording of `rows` rows, with a row that cannot be read behind the third.
fn recording(dir: &Path, rows: u64) -> String {
    let mut text = String::from("ts,n\n");
    for n in 1..=rows {
        text += &format!("{},{n}\n", 1_423_072_260 + n);
        if n == 3 {
            text += "never,3\n";
        }
    }
    let path = dir.join("recording.csv");
    SystemDisk.replace(&path, text.as_bytes()).expect("written");
    path.to_string_lossy().into_owned()
}

fn args(dir: &Path, file: &str, address: &str, more: &[&str]) -> Args {
    let state = dir.join("state").to_string_lossy().into_owned();
    let given = ["replay", file, "--as", "d", "--to", address, "--state", &state, "--quiet", "--window", "4"];
    CommandLine::parse_from(given.iter().chain(more)).args
}

struct Server {
    listener: TcpListener,
}

struct Peer {
    stream: TcpStream,
    decoder: Decoder,
    input: BytesMut,
}

impl Server {
    async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port") }
    }

    fn address(&self) -> String {
        self.listener.local_addr().expect("bound").to_string()
    }

    async fn welcome(&self) -> Peer {
        let (stream, _) = self.listener.accept().await.expect("a connection");
        let mut peer = Peer { stream, decoder: Decoder::new(Side::Server, 1 << 20), input: BytesMut::new() };
        assert!(matches!(peer.packet().await, Some(Packet::Connect(_))));
        let properties = ConnAckProperties::default();
        let answer = ConnAck { session_present: false, reason: Reason::Success, properties };
        peer.send(Packet::ConnAck(Box::new(answer))).await;
        peer
    }
}

impl Peer {
    async fn packet(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.input).expect("well formed") {
                return Some(packet);
            }
            if self.stream.read_buf(&mut self.input).await.ok()? == 0 {
                return None;
            }
        }
    }

    async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        mqtt::encode(&packet, Version::V5, &mut bytes).expect("encoded");
        self.stream.write_all(&bytes).await.expect("written");
    }

    /// The next message: its row's number. It is answered with `reason`.
    async fn row(&mut self, reason: Reason) -> Option<(u64, bool)> {
        let Publish { packet_id, topic, payload, dup, .. } = match self.packet().await? {
            Packet::Publish(publish) => publish,
            Packet::Disconnect(_) => return None,
            other => panic!("expected PUBLISH, not {other:?}"),
        };
        assert_eq!(topic.as_deref(), Some("dt/d/telemetry"));
        let value: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
        let n = value["n"].as_u64().expect("a number");
        assert_eq!(value["ts"], (1_423_072_260 + n) * 1000);
        self.send(Packet::PubAck(Ack::new(packet_id, reason))).await;
        Some((n, dup))
    }

    /// Acknowledges all until the client ends: the rows that came.
    async fn rows(&mut self) -> Vec<u64> {
        let mut rows = Vec::new();
        while let Some((n, _)) = self.row(Reason::Success).await {
            rows.push(n);
        }
        rows
    }
}

#[tokio::test]
async fn a_refused_replay_stops_and_the_same_command_goes_on_behind_what_was_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = recording(dir.path(), 20);
    let server = Server::start().await;
    let refusing = async {
        let mut peer = server.welcome().await;
        for n in 1..=7 {
            assert_eq!(peer.row(Reason::Success).await, Some((n, false)));
        }
        assert_eq!(peer.row(Reason::QuotaExceeded).await, Some((8, false)));
        peer
    };
    let (refused, peer) = tokio::join!(run(args(dir.path(), &file, &server.address(), &[])), refusing);
    let told = format!("{:#}", refused.expect_err("refused"));
    assert!(told.contains("the same command goes on") && told.contains("quota exceeded"), "{told}");
    drop(peer);

    let again = args(dir.path(), &file, &server.address(), &[]);
    let (finished, rows) = tokio::join!(run(again), async { server.welcome().await.rows().await });
    finished.expect("finished");
    assert_eq!(rows, (8..=20).collect::<Vec<_>>());

    let over = args(dir.path(), &file, &server.address(), &[]);
    let (finished, rows) = tokio::join!(run(over), async { server.welcome().await.rows().await });
    finished.expect("finished");
    assert_eq!(rows, (1..=20).collect::<Vec<_>>(), "a finished replay starts over");
}

#[tokio::test]
async fn a_server_that_is_killed_on_the_way_misses_no_row() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = recording(dir.path(), 20);
    let server = Server::start().await;
    let serving = async {
        let mut first = server.welcome().await;
        let mut rows = Vec::new();
        for _ in 1..=9 {
            rows.extend(first.row(Reason::Success).await.map(|(n, _)| n));
        }
        // Received, and never acknowledged.
        assert!(matches!(first.packet().await, Some(Packet::Publish(_))));
        drop(first);
        let mut second = server.welcome().await;
        let (again, dup) = second.row(Reason::Success).await.expect("a message");
        assert!(dup, "row {again} was sent before");
        rows.push(again);
        rows.extend(second.rows().await);
        rows
    };
    let (finished, mut rows) = tokio::join!(run(args(dir.path(), &file, &server.address(), &[])), serving);
    finished.expect("finished");
    // The kill may have taken acknowledgements with it: rows then come twice, but none is missing, in order.
    rows.dedup();
    assert!(rows.iter().copied().max() == Some(20) && (1..=20).all(|n| rows.contains(&n)), "{rows:?}");
}

#[tokio::test]
async fn copies_and_a_shuffled_order_send_every_row() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = recording(dir.path(), 20);
    let server = Server::start().await;
    let trying = args(dir.path(), &file, &server.address(), &["--shuffle", "5", "--copies", "2"]);
    let (finished, mut rows) = tokio::join!(run(trying), async { server.welcome().await.rows().await });
    finished.expect("finished");
    assert!(!rows.is_sorted());
    rows.sort_unstable();
    assert_eq!(rows, (1..=20).flat_map(|n| [n, n]).collect::<Vec<_>>());
}

#[tokio::test]
async fn strict_stops_at_the_line_that_cannot_be_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = recording(dir.path(), 20);
    let server = Server::start().await;
    let strict = args(dir.path(), &file, &server.address(), &["--strict"]);
    let (refused, rows) = tokio::join!(run(strict), async { server.welcome().await.rows().await });
    let told = format!("{:#}", refused.expect_err("refused"));
    assert!(told.contains("line 5: `never` in column `ts` is no time"), "{told}");
    assert_eq!(rows, [1, 2, 3], "what stands before it was sent");
}
