//! Sessions and QoS 2 over `kill -9`, through the real binary: a publisher and a subscriber that follow the standard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;

use crate::raw::Raw;
use crate::server::{Home, Server};

/// Rounds of `kill -9`: a few in the test run, more in the soak.
fn rounds() -> u64 {
    if std::env::var_os("GODWIT_SOAK").is_some() { 50 } else { 5 }
}

/// Packet ids of the publisher: few, so that each has many lives.
const IDS: u64 = 50;

/// Messages on their way at one time.
const WINDOW: usize = 20;

/// A QoS 2 publisher of MQTT 3.1.1 with a session: numbers, one message each.
#[derive(Default)]
struct Publisher {
    /// By packet id: the number, and whether PUBREC came. In the order in which they were begun.
    flights: Vec<(u16, u64, bool)>,
    next: u64,
}

impl Publisher {
    /// Goes on where the last connection broke; ends when the server does, after `enough` more are complete (then the
    /// server is killed by `kill`), or when nothing is left to do.
    fn run(&mut self, server: &Server, enough: u64, is_last: bool, mut kill: impl FnMut()) {
        let mut raw = Raw::open(server.mqtt);
        raw.connect_persistent("publisher");
        for (id, number, is_received) in &self.flights {
            if *is_received { pubrel(&mut raw, *id) } else { publish(&mut raw, *id, *number, true) }
        }
        let mut complete = 0;
        loop {
            while !is_last && self.flights.len() < WINDOW {
                let id = (1..=IDS as u16).find(|id| self.flights.iter().all(|(used, ..)| used != id));
                let id = id.expect("more ids than the window");
                self.flights.push((id, self.next, false));
                if !try_publish(&mut raw, id, self.next) {
                    self.next += 1;
                    return;
                }
                self.next += 1;
            }
            if self.flights.is_empty() {
                return;
            }
            let Some((head, body)) = raw.packet() else { return };
            let id = u16::from_be_bytes([body[0], body[1]]);
            match head {
                0x50 => {
                    let flight = self.flights.iter_mut().find(|(used, ..)| *used == id).expect("a flight");
                    flight.2 = true;
                    let _ = std::io::Write::write_all(&mut raw.socket, &[0x62, 2, body[0], body[1]]);
                }
                0x70 => {
                    self.flights.retain(|(used, ..)| *used != id);
                    complete += 1;
                    if complete == enough {
                        kill();
                    }
                }
                other => panic!("{other:#x}"),
            }
        }
    }
}

fn body(id: u16, number: u64) -> Vec<u8> {
    let mut body = vec![0, 6];
    body.extend(b"plain/");
    body[1] = 7;
    body.push(b'n');
    body.extend(id.to_be_bytes());
    body.extend(number.to_string().as_bytes());
    body
}

fn publish(raw: &mut Raw, id: u16, number: u64, dup: bool) {
    raw.send(if dup { 0x3c } else { 0x34 }, &body(id, number));
}

/// `false`: the server is gone.
fn try_publish(raw: &mut Raw, id: u16, number: u64) -> bool {
    let body = body(id, number);
    let mut packet = vec![0x34, u8::try_from(body.len()).expect("short")];
    packet.extend(body);
    std::io::Write::write_all(&mut raw.socket, &packet).is_ok()
}

fn pubrel(raw: &mut Raw, id: u16) {
    raw.send(0x62, &id.to_be_bytes());
}

/// A number that differs from run to run.
fn chance() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

#[test]
fn qos_2_is_one_message_and_queues_outlive_kills() {
    let home = Home::new();
    let mut server = Some(home.start());
    {
        let mut subscriber = Raw::open(server.as_ref().expect("running").mqtt);
        subscriber.connect_persistent("subscriber");
        subscriber.subscribe("plain/n");
    }
    let mut publisher = Publisher::default();
    for _ in 0..rounds() {
        let running = server.take().unwrap_or_else(|| home.start());
        let pid = running.pid();
        let kill = || {
            let kill = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
            assert!(kill.expect("kill runs").success());
        };
        publisher.run(&running, 20 + chance() % 1_500, false, kill);
        running.kill();
    }
    let server = home.start();
    publisher.run(&server, u64::MAX, true, || {});
    // Each number is one message.
    let counted = server.rows("SELECT count(*), count(DISTINCT payload) FROM messages");
    let all = publisher.next.to_string();
    assert_eq!(counted, [[all.clone(), all]], "one message each");
    // And the subscriber, away all the time, gets each once, in their order.
    let mut subscriber = Raw::open(server.mqtt);
    subscriber.connect_persistent("subscriber");
    let mut got: BTreeMap<u64, u64> = BTreeMap::new();
    let mut order = Vec::new();
    for _ in 0..publisher.next {
        let (_, payload) = subscriber.message();
        let number = String::from_utf8(payload).expect("text").parse().expect("a number");
        *got.entry(number).or_default() += 1;
        order.push(number);
    }
    assert!(got.values().all(|times| *times == 1), "none twice, so none is missing");
    assert!(order.is_sorted(), "in the order they were published");
}

/// A QoS 2 subscriber of MQTT 3.1.1 with a session, as the standard wants it: by packet id, what it has and what is not released.
struct Subscriber {
    name: &'static str,
    filter: &'static str,
    held: BTreeSet<u16>,
}

impl Subscriber {
    fn connect(&self, server: &Server, is_first: bool) -> Raw {
        let mut raw = Raw::open(server.mqtt);
        raw.connect_persistent(self.name);
        if is_first {
            let length = u8::try_from(self.filter.len()).expect("short");
            raw.send(0x82, &[&[0, 1, 0, length], self.filter.as_bytes(), &[2]].concat());
            assert_eq!(raw.packet(), Some((0x90, vec![0, 1, 2])), "SUBACK");
        }
        raw
    }

    /// Takes what comes until the connection ends. Each number that is new is said to `taken`.
    fn run(&mut self, mut raw: Raw, taken: &mpsc::Sender<(&'static str, u64)>) {
        while let Some((head, body)) = raw.packet() {
            let answer = match head & 0xf0 {
                0x30 => {
                    assert_eq!(head & 0x06, 0x04, "QoS 2");
                    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                    let (id, number) = body[2 + topic..].split_at(2);
                    if self.held.insert(u16::from_be_bytes([id[0], id[1]])) {
                        let number = String::from_utf8(number.to_vec()).expect("text");
                        taken
                            .send((self.filter, number.parse().expect("a number")))
                            .expect("somebody counts");
                    }
                    [0x50, 2, id[0], id[1]]
                }
                0x60 => {
                    self.held.remove(&u16::from_be_bytes([body[0], body[1]]));
                    [0x70, 2, body[0], body[1]]
                }
                // A goodbye of a server that stops is none of MQTT 3.1.1.
                other => panic!("{other:#x}"),
            };
            if std::io::Write::write_all(&mut raw.socket, &answer).is_err() {
                return;
            }
        }
    }
}

/// The server is killed in the middle of QoS 2 exchanges, in and out: of one subscriber, and of two that share.
#[test]
fn qos_2_arrives_once_whenever_the_server_is_killed() {
    let (alone, group) = ("plain/n", "$share/two/plain/n");
    let home = Home::new();
    let subscriber = |name, filter| Subscriber { name, filter, held: BTreeSet::new() };
    let mut subscribers = [subscriber("alone", alone), subscriber("one", group), subscriber("two", group)];
    let mut publisher = Publisher::default();
    let (taken, counted) = mpsc::channel();
    for round in 0..=rounds() {
        let is_last = round == rounds();
        let server = home.start();
        let raws: Vec<_> = subscribers.iter().map(|one| one.connect(&server, round == 0)).collect();
        let pid = server.pid();
        std::thread::scope(|scope| {
            for (subscriber, raw) in subscribers.iter_mut().zip(raws) {
                let taken = taken.clone();
                scope.spawn(move || subscriber.run(raw, &taken));
            }
            let kill = || {
                let kill = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
                assert!(kill.expect("kill runs").success());
            };
            publisher.run(&server, if is_last { u64::MAX } else { 20 + chance() % 1_500 }, is_last, kill);
            if !is_last {
                return server.kill();
            }
            // All of it arrives. What came twice would come before the server has stopped.
            let all = publisher.next as usize;
            let mut got: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
            let mut count = |(filter, number)| got.entry(filter).or_default().push(number);
            for n in 0..2 * all {
                let patience = std::time::Duration::from_secs(60);
                count(counted.recv_timeout(patience).unwrap_or_else(|_| panic!("{n} of {}", 2 * all)));
            }
            server.stop();
            counted.try_iter().for_each(count);
            for (filter, mut numbers) in got {
                if filter == alone {
                    assert!(numbers.is_sorted(), "in the order they were published");
                }
                numbers.sort_unstable();
                assert_eq!(numbers, (0..publisher.next).collect::<Vec<_>>(), "{filter}: each once");
            }
        });
    }
}
