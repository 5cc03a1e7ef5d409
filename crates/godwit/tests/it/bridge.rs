//! A Mosquitto that stands between the devices and Godwit hands everything on, and its reconnects make no readings.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::mosquitto::{Mosquitto, free_port, wait_for};
use crate::raw::Raw;
use crate::server::{Home, Server};

/// Topics that the bridged broker retains.
const RETAINED: usize = 500;

/// A home whose server always listens on the same port, as a bridge needs it.
fn home(port: u16) -> Home {
    let home = Home::new();
    home.settings(&format!(
        "[[listener]]\ndoor = \"mqtt\"\nbind = \"127.0.0.1:{port}\"\nauth = \"anonymous\"\n[http]\nbind = \"127.0.0.1:0\"\n"
    ));
    home
}

fn bridge(to: &Server, topics: &str) -> String {
    format!(
        "connection godwit\naddress {}\n{topics}\nrestart_timeout 1\nmax_queued_messages 10000\n",
        to.mqtt
    )
}

/// Publishes with QoS 1 and the retain flag, and waits for the acknowledgement.
fn retain(raw: &mut Raw, topic: &str, payload: &str) {
    raw.publish_retained(topic, payload.as_bytes());
}

fn readings(server: &Server) -> String {
    server.value("SELECT count(*) FROM readings")
}

fn repeats(server: &Server) -> f64 {
    server.metric("godwit_broker_bridge_repeats_total")
}

/// Follows everything that the bridge has to say: what comes behind it came after it.
#[derive(Default)]
struct Marker(usize);

impl Marker {
    fn comes_through(&mut self, mosquitto: &Mosquitto, server: &Server, states: f64) {
        self.0 += 1;
        // The bridge must have said that it is up: what waits for it meanwhile comes before what is retained.
        let reserved = "godwit_broker_dropped_messages_total{reason=\"reserved\"}";
        wait_for("the bridge is up", || server.metric(reserved) >= states);
        let payload = format!(r#"{{"n":{}}}"#, self.0);
        Raw::connect(mosquitto.address, "marker").publish_acked("dt/marker/n", payload.as_bytes());
        let count = "SELECT count(*) FROM readings WHERE device = 'marker'";
        wait_for("the marker comes through", || server.value(count) == self.0.to_string());
    }
}

#[test]
fn a_reconnect_of_a_bridge_with_500_retained_messages_makes_no_readings() {
    let home = home(free_port());
    let server = home.start();
    let (dir, port) = (tempfile::tempdir().expect("a directory"), free_port());
    let settings = bridge(&server, "topic # out 1");
    let mosquitto = Mosquitto::start(dir.path(), port, &settings);
    let mut device = Raw::connect(mosquitto.address, "device");
    for n in 0..RETAINED {
        retain(&mut device, &format!("dt/dev-{n}/state"), &format!(r#"{{"level":{n}}}"#));
    }
    // Each comes more than once: queued while the bridge tried its own protocol level, and as retained.
    let mut marker = Marker::default();
    marker.comes_through(&mosquitto, &server, 1.0);
    assert_eq!(readings(&server), (RETAINED + 1).to_string(), "the first time all of it is news, once");
    let levels = server.metric("godwit_broker_refusals_total{reason=\"bridge_level\"}");
    assert_eq!(levels, 1.0, "it tried its own protocol level once, and fell back");

    // Live changes go through, whether they are retained or not.
    retain(&mut device, "dt/dev-0/state", r#"{"level":1000}"#);
    device.publish_acked("dt/dev-1/state", br#"{"level":1001}"#);
    let live = RETAINED + 3;
    wait_for("live changes go through", || readings(&server) == live.to_string());

    // The bridge is killed and comes back.
    let before = repeats(&server);
    mosquitto.kill_with_store();
    let mosquitto = Mosquitto::start(dir.path(), port, &settings);
    // It was said to be down in between, by its will.
    marker.comes_through(&mosquitto, &server, 3.0);
    assert_eq!(readings(&server), (live + 1).to_string(), "no reading was made of what came again");
    assert!(repeats(&server) >= before + RETAINED as f64, "all of it came again");

    // Godwit is killed and comes back; meanwhile one device changes, and another says the same again.
    server.kill();
    let mut device = Raw::connect(mosquitto.address, "device");
    retain(&mut device, "dt/dev-2/state", r#"{"level":1002}"#);
    retain(&mut device, "dt/dev-3/state", r#"{"level":3}"#);
    let server = home.start();
    marker.comes_through(&mosquitto, &server, 1.0);
    assert_eq!(readings(&server), (live + 3).to_string(), "the change, and the marker");
    assert!(repeats(&server) >= RETAINED as f64, "all of it came again");
    let changed = server.rows("SELECT value FROM readings WHERE device = 'dev-2' ORDER BY time");
    assert_eq!(changed, [["2"], ["1002"]]);

    // Live goes on.
    retain(&mut device, "dt/dev-2/state", r#"{"level":1003}"#);
    wait_for("live goes on", || readings(&server) == (live + 4).to_string());
    let known = server.metric("godwit_broker_retained_messages");
    assert_eq!(known, RETAINED as f64, "what is retained there is retained here");
    assert!(home.log().contains("a bridge of another broker connected"), "{}", home.log());
}

/// Publishes numbers at QoS 2 with a client of Mosquitto's own, and waits until they are complete.
fn publish_exactly_once(to: &Mosquitto, numbers: std::ops::Range<usize>) {
    let port = to.address.port().to_string();
    let mut publisher = Command::new("mosquitto_pub");
    publisher.args(["-h", "127.0.0.1", "-p", &port, "-q", "2", "-t", "dt/d/n", "-l"]).stdin(Stdio::piped());
    let mut publisher = publisher.spawn().expect("Debian has it in the package mosquitto-clients");
    let mut lines = publisher.stdin.take().expect("piped");
    for n in numbers {
        writeln!(lines, r#"{{"n":{n}}}"#).expect("taken");
    }
    drop(lines);
    assert!(publisher.wait().expect("it ends").success());
}

#[test]
fn a_bridge_of_qos_2_hands_each_message_on_once_over_a_kill_of_the_server() {
    let home = home(free_port());
    let server = home.start();
    let (dir, port) = (tempfile::tempdir().expect("a directory"), free_port());
    let mosquitto = Mosquitto::start(dir.path(), port, &bridge(&server, "topic # out 2"));
    let mut marker = Marker::default();
    marker.comes_through(&mosquitto, &server, 1.0);
    let count = |server: &Server| {
        server
            .value("SELECT count(*) FROM messages WHERE topic = 'dt/d/n' AND qos = 2")
            .parse::<usize>()
            .expect("a number")
    };
    publish_exactly_once(&mosquitto, 0..200);
    wait_for("some came through", || count(&server) > 0);
    server.kill();
    publish_exactly_once(&mosquitto, 200..400);
    let server = home.start();
    wait_for("all came through", || count(&server) >= 400);
    marker.comes_through(&mosquitto, &server, 1.0);
    assert_eq!(count(&server), 400, "each of them once");
    let different = server.value("SELECT count(DISTINCT payload) FROM messages WHERE topic = 'dt/d/n'");
    assert_eq!(different, "400");
}

#[test]
fn a_device_that_retains_its_state_and_connects_for_each_is_no_bridge() {
    let home = Home::new();
    let server = home.start();
    for _ in 0..5 {
        let mut device = Raw::connect(server.mqtt, "deep-sleeper");
        retain(&mut device, "dt/deep-sleeper/state", r#"{"level":7}"#);
    }
    assert_eq!(readings(&server), "5");
    assert_eq!(repeats(&server), 0.0);
}

#[test]
fn a_bridge_of_both_directions_hears_others_and_never_itself() {
    let home = home(free_port());
    let server = home.start();
    let (dir, port) = (tempfile::tempdir().expect("a directory"), free_port());
    let mosquitto = Mosquitto::start(dir.path(), port, &bridge(&server, "topic # both 1"));
    wait_for("the bridge subscribes", || server.metric("godwit_broker_subscriptions") == 1.0);
    let mut here = Raw::connect(server.mqtt, "here");
    let mut there = Raw::connect(mosquitto.address, "there");
    let mut device = Raw::connect(mosquitto.address, "device");
    here.subscribe("dt/#");
    there.subscribe("dt/#");
    device.publish_acked("dt/d/x", br#"{"n":1}"#);
    for (name, client) in [("there", &mut there), ("here", &mut here)] {
        assert_eq!(client.message(), ("dt/d/x".to_owned(), br#"{"n":1}"#.to_vec()), "{name}");
    }
    // What is published here comes there; nothing of the first came in between, a second time.
    let mut other = Raw::connect(server.mqtt, "other");
    other.publish_acked("dt/d/x", br#"{"n":2}"#);
    for (name, client) in [("there", &mut there), ("here", &mut here)] {
        assert_eq!(client.message(), ("dt/d/x".to_owned(), br#"{"n":2}"#.to_vec()), "{name}");
    }
    device.publish_acked("dt/d/x", br#"{"n":3}"#);
    for (name, client) in [("there", &mut there), ("here", &mut here)] {
        assert_eq!(client.message(), ("dt/d/x".to_owned(), br#"{"n":3}"#.to_vec()), "{name}");
    }
    assert_eq!(server.value("SELECT count(*) FROM messages"), "3");
}
