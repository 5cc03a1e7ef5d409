//! What is thrown at the ports of TLS and WebSocket.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Battery, bytes};
use crate::house::{House, PATIENCE};

const TLS: usize = 2;
const WEBSOCKET: usize = 3;
const BOTH: usize = 4;

/// The upgrade that is accepted.
const UPGRADE: &str = "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Protocol: mqtt\r\n\r\n";

/// Name, port, what is sent at once; the connection must end, whatever it is told.
const BEFORE: &[(&str, usize, &str)] = &[
    ("MQTT on the TLS port", TLS, "10 {'MQTT' 05 02 003c 00 'id'}"),
    ("MQTT on the WebSocket port", WEBSOCKET, "10 {'MQTT' 05 02 003c 00 'id'} 0d0a0d0a"),
    ("MQTT on the port of both", BOTH, "10 {'MQTT' 04 02 003c 'id'}"),
    ("HTTP on the TLS port", TLS, "\"GET / HTTP/1.1\" 0d0a 0d0a"),
    ("zeros on the TLS port", TLS, "0000000000000000000000000000"),
    ("ones on the TLS port", TLS, "ffffffffffffffffffffffffffff"),
    ("a record of TLS with another type", TLS, "99 0301 0005 0102030405"),
    ("a record of TLS that is too long", TLS, "16 0301 ffff 01"),
    ("a hello of SSL 2", TLS, "802e 0100 0200 0300 0000"),
    ("an alert instead of a hello", TLS, "15 0303 0002 0228"),
    ("data instead of a hello", TLS, "17 0303 0004 00000000"),
    ("a hello of rubbish", TLS, "16 0301 0008 01 000004 deadbeef"),
    ("a hello of TLS on the WebSocket port", WEBSOCKET, "16 0301 0200 01 0d0a0d0a"),
    ("zeros on the WebSocket port", WEBSOCKET, "0000 0d0a0d0a"),
    ("ones on the WebSocket port", WEBSOCKET, "ffffffff 0d0a0d0a"),
    ("HTTP without an upgrade", WEBSOCKET, "\"GET /mqtt HTTP/1.1\" 0d0a \"Host: x\" 0d0a 0d0a"),
    ("POST", WEBSOCKET, "\"POST /mqtt HTTP/1.1\" 0d0a \"Host: x\" 0d0a 0d0a"),
    ("HTTP of a version that does not exist", WEBSOCKET, "\"GET /mqtt HTTP/9.9\" 0d0a 0d0a"),
    ("a header without an end of its name", WEBSOCKET, "\"GET /mqtt HTTP/1.1\" 0d0a \"nonsense\" 0d0a 0d0a"),
];

/// What is sent behind an upgrade that was accepted; frames in the notation of [`bytes`], masked with zeros where they
/// are masked. The connection must end.
const BEHIND: &[(&str, &str)] = &[
    ("a text frame", "8185 00000000 \"hello\""),
    ("a frame that is not masked", "8202 c000"),
    ("an empty frame that is not masked", "8200"),
    ("a frame with a reserved bit", "c282 00000000 c000"),
    ("a frame of a reserved kind", "8382 00000000 c000"),
    ("a control frame of a reserved kind", "8b80 00000000"),
    ("a ping in two frames", "0980 00000000"),
    ("a ping of 126 bytes", "89fe 007e 00000000"),
    ("a continuation of nothing", "8082 00000000 c000"),
    ("a new message inside another", "0281 00000000 c0 8281 00000000 00"),
    ("a frame of 2^63 bytes", "82ff 8000000000000000 00000000"),
    ("a frame of 1 GB", "82ff 0000000040000000 00000000"),
    ("a frame beyond the bound", "82ff 0000000000100000 00000000"),
    ("a close frame with one byte", "8881 00000000 00"),
    ("a close frame", "8880 00000000"),
    ("a close frame with a code that is not allowed", "8882 00000000 03ed"),
    ("text in pieces", "0182 00000000 \"he\" 8083 00000000 \"llo\""),
    ("MQTT without CONNECT", "8282 00000000 c000"),
    ("MQTT with a wrong length", "8286 00000000 10 ffffffff7f"),
    ("a type that does not exist", "8282 00000000 0000"),
];

/// An upgrade that is to be refused: what stands in it, and by what it is replaced.
const WRONG_UPGRADES: &[(&str, &str, &str)] = &[
    ("without the subprotocol", "Sec-WebSocket-Protocol: mqtt\r\n", ""),
    ("with another subprotocol", "Protocol: mqtt", "Protocol: chat"),
    ("with a subprotocol in capitals", "Protocol: mqtt", "Protocol: MQTT"),
    ("on another path", "/mqtt", "/other"),
    ("without a key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
    ("of another version", "Version: 13", "Version: 8"),
    ("to something else", "Upgrade: websocket", "Upgrade: h2c"),
];

pub(super) async fn run(battery: &mut Battery) {
    for &(name, port, hex) in BEFORE {
        let outcome = ends(&battery.house, port, &[bytes::of(hex)]).await;
        battery.is_over(name, outcome.map(|_| ())).await;
    }
    for &(name, old, new) in WRONG_UPGRADES {
        assert!(UPGRADE.contains(old), "{name}");
        let outcome = ends(&battery.house, WEBSOCKET, &[UPGRADE.replace(old, new).into_bytes()]).await;
        let outcome = outcome.and_then(|answer| {
            let is_upgraded = answer.starts_with("HTTP/1.1 101");
            if is_upgraded { Err(answer) } else { Ok(()) }
        });
        battery.is_over(&format!("an upgrade {name}"), outcome).await;
    }
    for &(name, hex) in BEHIND {
        let outcome = match upgraded(&battery.house).await {
            Ok(socket) => told(socket, &[bytes::of(hex)]).await.map(|_| ()),
            Err(why) => Err(why),
        };
        battery.is_over(name, outcome).await;
    }
    let hasty =
        ends(&battery.house, WEBSOCKET, &[[UPGRADE.as_bytes(), b"\x82\x82\0\0\0\0\xc0\0"].concat()]).await;
    battery.is_over("a frame before the answer to the upgrade", hasty.map(|_| ())).await;
    let endless = [UPGRADE.replace("\r\n\r\n", "\r\nX-Filler: ").into_bytes(), vec![b'x'; 1 << 20]];
    let outcome = ends(&battery.house, WEBSOCKET, &endless).await;
    battery.is_over("a header without an end", outcome.map(|_| ())).await;
    let headers = format!("{}\r\n", "X-Filler: x\r\n".repeat(1_000));
    let outcome =
        ends(&battery.house, WEBSOCKET, &[UPGRADE.replace("\r\n\r\n", "\r\n").into_bytes(), headers.into()])
            .await;
    battery.is_over("a thousand headers", outcome.map(|_| ())).await;
    // MQTT over WebSocket in the smallest of pieces is MQTT.
    let outcome = in_pieces(&battery.house).await;
    battery.is_over("a CONNECT of one byte a frame", outcome).await;
}

/// Sends it and waits for the end of the connection. Returns what it was told.
async fn ends(house: &House, port: usize, parts: &[Vec<u8>]) -> Result<String, String> {
    let socket =
        TcpStream::connect(house.broker.addresses()[port]).await.map_err(|error| error.to_string())?;
    told(socket, parts).await
}

async fn told(mut socket: TcpStream, parts: &[Vec<u8>]) -> Result<String, String> {
    for part in parts {
        // Whoever has heard enough closes before everything is sent.
        let _ = tokio::time::timeout(PATIENCE, socket.write_all(part)).await.map_err(|_| "it is not read")?;
    }
    let mut answer = Vec::new();
    let read = async {
        let mut piece = [0; 4_096];
        while let Ok(bytes @ 1..) = socket.read(&mut piece).await {
            answer.extend_from_slice(&piece[..bytes]);
        }
    };
    tokio::time::timeout(PATIENCE, read).await.map_err(|_| "it does not end")?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A connection whose upgrade was accepted.
async fn upgraded(house: &House) -> Result<TcpStream, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut socket = TcpStream::connect(house.broker.addresses()[WEBSOCKET]).await.map_err(failed)?;
    socket.write_all(UPGRADE.as_bytes()).await.map_err(failed)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(PATIENCE, socket.read_u8()).await;
        head.push(byte.map_err(|_| "no answer to the upgrade")?.map_err(failed)?);
    }
    if head.starts_with(b"HTTP/1.1 101") {
        Ok(socket)
    } else {
        Err(String::from_utf8_lossy(&head).into_owned())
    }
}

async fn in_pieces(house: &House) -> Result<(), String> {
    let mut socket = upgraded(house).await?;
    let hello = bytes::of("10 {'MQTT' 04 02 003c 'pieces'} e000");
    for (n, byte) in hello.iter().enumerate() {
        // The first frame opens the message, the last one ends it.
        let kind = if n == 0 { 0x02 } else { 0x00 } | if n + 1 == hello.len() { 0x80 } else { 0 };
        socket.write_all(&[kind, 0x81, 0, 0, 0, 0, *byte]).await.map_err(|error| error.to_string())?;
    }
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
    read.map_err(|_| "it does not end")?.map_err(|error| error.to_string())?;
    let is_admitted = answer.windows(4).any(|bytes| bytes == [0x20, 2, 0, 0]);
    if is_admitted { Ok(()) } else { Err(format!("{answer:02x?}")) }
}
