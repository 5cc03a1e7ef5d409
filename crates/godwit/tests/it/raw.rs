//! A client of MQTT 3.1.1 written from the standard alone: it shares no line with the codec under test.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for the server, so that a test fails rather than hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connected client.
pub(crate) struct Raw {
    pub(crate) socket: TcpStream,
}

impl Raw {
    /// A socket with nothing said yet.
    pub(crate) fn open(to: SocketAddr) -> Self {
        let socket = TcpStream::connect(to).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        socket.set_nodelay(true).expect("set");
        Self { socket }
    }

    /// Connects with a clean session and no name.
    pub(crate) fn connect(to: SocketAddr, client_id: &str) -> Self {
        let mut raw = Self::open(to);
        assert_eq!(raw.say_connect(client_id, None), 0, "accepted");
        raw
    }

    /// Sends CONNECT and returns the code of CONNACK.
    pub(crate) fn say_connect(&mut self, client_id: &str, login: Option<(&str, &str)>) -> u8 {
        self.say_connect_as(client_id, login, if login.is_some() { 0xc2 } else { 2 })
    }

    /// The same with these flags.
    pub(crate) fn say_connect_as(&mut self, client_id: &str, login: Option<(&str, &str)>, flags: u8) -> u8 {
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 60];
        text(&mut body, client_id);
        if let Some((user, password)) = login {
            text(&mut body, user);
            text(&mut body, password);
        }
        self.send(0x10, &body);
        let (head, body) = self.packet().expect("an answer");
        assert_eq!(head, 0x20, "CONNACK");
        body[1]
    }

    /// Connects with a session that outlives the connection.
    pub(crate) fn connect_persistent(&mut self, client_id: &str) {
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 60];
        text(&mut body, client_id);
        self.send(0x10, &body);
        let (head, body) = self.packet().expect("an answer");
        assert_eq!((head, body[1]), (0x20, 0), "accepted");
    }

    /// Sends a packet.
    pub(crate) fn send(&mut self, head: u8, body: &[u8]) {
        self.socket.write_all(&framed(head, body)).expect("sent");
    }

    /// Publishes with QoS 1 and waits for nothing.
    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8], packet_id: u16) {
        let mut body = Vec::new();
        text(&mut body, topic);
        body.extend(packet_id.to_be_bytes());
        body.extend(payload);
        self.send(0x32, &body);
    }

    /// Publishes with QoS 1 and waits for the acknowledgement.
    pub(crate) fn publish_acked(&mut self, topic: &str, payload: &[u8]) {
        self.publish(topic, payload, 1);
        let (head, body) = self.packet().expect("an acknowledgement");
        assert_eq!((head, body.as_slice()), (0x40, [0, 1].as_slice()), "PUBACK");
    }

    /// Publishes with QoS 1 and the retain flag, and waits for the acknowledgement.
    pub(crate) fn publish_retained(&mut self, topic: &str, payload: &[u8]) {
        let mut body = Vec::new();
        text(&mut body, topic);
        body.extend([0, 1]);
        body.extend(payload);
        self.send(0x33, &body);
        let (head, body) = self.packet().expect("an acknowledgement");
        assert_eq!((head, body.as_slice()), (0x40, [0, 1].as_slice()), "PUBACK");
    }

    /// Subscribes at QoS 1.
    pub(crate) fn subscribe(&mut self, filter: &str) {
        let mut body = vec![0, 9];
        text(&mut body, filter);
        body.push(1);
        self.send(0x82, &body);
        let (head, body) = self.packet().expect("an answer");
        assert_eq!((head, body.as_slice()), (0x90, [0, 9, 1].as_slice()), "SUBACK");
    }

    /// The next packet is a PUBLISH of QoS 1: its topic and payload, acknowledged.
    pub(crate) fn message(&mut self) -> (String, Vec<u8>) {
        let (head, body) = self.packet().expect("a message");
        assert_eq!(head & 0xf6, 0x32, "PUBLISH of QoS 1, not {head:#x}");
        let bytes = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let (topic, rest) = body[2..].split_at(bytes);
        self.send(0x40, &rest[..2]);
        (String::from_utf8(topic.to_vec()).expect("text"), rest[2..].to_vec())
    }

    /// The next packet: its first byte and its body; `None` when the server closed.
    pub(crate) fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        read_packet(&mut self.socket)
    }
}

/// Reads one packet; `None` when the server closed or was killed.
pub(crate) fn read_packet(socket: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut byte = [0];
    socket.read_exact(&mut byte).ok()?;
    let head = byte[0];
    let (mut bytes, mut shift) = (0, 0);
    loop {
        socket.read_exact(&mut byte).ok()?;
        bytes |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; bytes];
    socket.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn text(into: &mut Vec<u8>, text: &str) {
    into.extend(u16::try_from(text.len()).expect("short").to_be_bytes());
    into.extend(text.as_bytes());
}

fn framed(head: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![head];
    let mut left = body.len();
    loop {
        let part = (left % 128) as u8;
        left /= 128;
        packet.push(if left > 0 { part | 0x80 } else { part });
        if left == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

/// Publishes numbered messages at full speed, `window` in flight, until the server is gone or `enough` are
/// acknowledged; `acked` hears of each acknowledged number, in order.
pub(crate) fn flood(
    to: SocketAddr,
    client_id: &str,
    window: usize,
    message: impl Fn(u64) -> (String, String),
    first: u64,
    mut acked: impl FnMut(u64) -> bool,
) {
    let mut raw = Raw::connect(to, client_id);
    let mut in_flight: VecDeque<(u16, u64)> = VecDeque::new();
    let mut next = first;
    loop {
        let mut burst = Vec::new();
        while in_flight.len() < window {
            let packet_id = u16::try_from(next % 60_000).expect("small") + 1;
            let (topic, payload) = message(next);
            let mut body = Vec::new();
            text(&mut body, &topic);
            body.extend(packet_id.to_be_bytes());
            body.extend(payload.as_bytes());
            burst.extend(framed(0x32, &body));
            in_flight.push_back((packet_id, next));
            next += 1;
        }
        if raw.socket.write_all(&burst).is_err() {
            return;
        }
        let Some((head, body)) = raw.packet() else { return };
        assert_eq!(head, 0x40, "PUBACK");
        let (packet_id, number) = in_flight.pop_front().expect("something was in flight");
        assert_eq!(body, packet_id.to_be_bytes(), "acknowledged in order");
        if !acked(number) {
            return;
        }
    }
}
