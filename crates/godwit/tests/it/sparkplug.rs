//! Edge nodes of Sparkplug B at the real server: one written from the standard, and one that a stranger wrote.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::edge::{BOOLEAN, DOUBLE, Edge, FLOAT, Publish, Value, aliased, asks_for_births, born};
use crate::python;
use crate::raw::Raw;
use crate::server::{Home, Server};

const SETTINGS: &str = r#"
[[listener]]
door = "mqtt"
bind = "127.0.0.1:0"
auth = "anonymous"
[http]
bind = "127.0.0.1:0"
[[route]]
filter = "spBv1.0/#"
decode = "sparkplug"
[sparkplug]
host_id = "godwit"
"#;

fn home() -> Home {
    let home = Home::new();
    home.settings(SETTINGS);
    home
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("a time")
}

fn text(into: &mut Vec<u8>, text: &[u8]) {
    into.extend(u16::try_from(text.len()).expect("short").to_be_bytes());
    into.extend(text);
}

/// An edge node's connection: its death is the will, and it hears commands.
fn connect(server: &Server, edge: &Edge) -> Raw {
    let mut raw = Raw::open(server.mqtt);
    // MQTT 3.1.1, clean session, a will of QoS 1.
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0x02 | 0x04 | 0x08, 0, 60];
    text(&mut body, format!("{}/{}", edge.group, edge.node).as_bytes());
    let (topic, payload) = edge.death();
    text(&mut body, topic.as_bytes());
    text(&mut body, &payload);
    raw.send(0x10, &body);
    let (head, body) = raw.packet().expect("an answer");
    assert_eq!((head, body[1]), (0x20, 0), "CONNACK");
    raw.subscribe(&format!("spBv1.0/{}/NCMD/{}", edge.group, edge.node));
    raw
}

/// Publishes with QoS 0, as the standard wants births and data.
fn say(raw: &mut Raw, (topic, payload): &Publish) {
    let mut body = Vec::new();
    text(&mut body, topic.as_bytes());
    body.extend(payload);
    raw.send(0x30, &body);
}

/// Everything said before on this connection is durable.
fn settle(raw: &mut Raw) {
    raw.publish_acked("mark", b"");
}

/// The next message, of any QoS.
fn hear(raw: &mut Raw) -> Publish {
    let (head, body) = raw.packet().expect("a message");
    assert_eq!(head & 0xf0, 0x30, "PUBLISH");
    let bytes = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let (topic, rest) = body[2..].split_at(bytes);
    let rest = if head & 0x06 == 0 { rest } else { &rest[2..] };
    (String::from_utf8(topic.to_vec()).expect("text"), rest.to_vec())
}

fn presence(server: &Server) -> Vec<Vec<String>> {
    server.rows("SELECT device, value FROM latest WHERE channel = 'health.online' ORDER BY device")
}

#[test]
fn an_edge_node_is_understood_asked_for_births_and_ends_with_its_devices() {
    let home = home();
    let server = home.start();
    let mut edge = Edge::new("plant", "line-1", now_ms() - 5_000);
    // Without its will: after a crash that of a broken connection is published, and would end what is asked below.
    let mut node = Raw::connect(server.mqtt, "plant/line-1");
    node.subscribe("spBv1.0/plant/NCMD/line-1");
    say(
        &mut node,
        &edge.birth(vec![
            born("t", 1, FLOAT, Value::Float(21.3)),
            born("on", 2, BOOLEAN, Value::Boolean(true)),
        ]),
    );
    say(&mut node, &edge.device_birth("oven", vec![born("heat", 3, DOUBLE, Value::Double(180.0))]));
    edge.now_ms += 1_000;
    say(&mut node, &edge.data(vec![aliased(1, Value::Float(21.4))]));
    say(
        &mut node,
        &edge.device_data(
            "oven",
            vec![
                aliased(3, Value::Double(181.5)),
                aliased(3, Value::Double(170.0)).historical(edge.now_ms - 3_600_000),
            ],
        ),
    );
    settle(&mut node);
    let sql = "SELECT device, channel, value, flags FROM readings WHERE channel <> 'health.online' ORDER BY device, channel, time";
    let expect = [
        ["plant:line-1", "on", "1", "32"],
        ["plant:line-1", "t", "21.3", "32"],
        ["plant:line-1", "t", "21.4", "0"],
        ["plant:line-1:oven", "heat", "170", "4"],
        ["plant:line-1:oven", "heat", "180", "32"],
        ["plant:line-1:oven", "heat", "181.5", "0"],
    ];
    assert_eq!(server.rows(sql), expect);
    assert_eq!(presence(&server), [["plant:line-1", "1"], ["plant:line-1:oven", "1"]]);

    // A message is lost on the way: the node is asked for its births.
    edge.seq += 1;
    say(&mut node, &edge.data(vec![aliased(1, Value::Float(21.6))]));
    let (topic, payload) = hear(&mut node);
    assert_eq!(topic, "spBv1.0/plant/NCMD/line-1");
    assert!(asks_for_births(&payload));
    edge.now_ms += 1_000;
    say(&mut node, &edge.birth(vec![born("t", 7, FLOAT, Value::Float(21.7))]));
    say(&mut node, &edge.device_birth("oven", vec![born("heat", 8, DOUBLE, Value::Double(182.0))]));
    settle(&mut node);

    // What was told at birth survives a crash, whether it was in a file or not.
    server.kill();
    let server = home.start();
    let mut node = connect(&server, &edge);
    let will = edge.death();
    edge.now_ms += 1_000;
    say(&mut node, &edge.device_data("oven", vec![aliased(8, Value::Double(183.0))]));
    settle(&mut node);
    let heat = "SELECT value, flags FROM latest WHERE channel = 'heat'";
    assert_eq!(server.rows(heat), [["183", "0"]]);

    // The will is the death of the node and of what is behind it.
    let mut watcher = Raw::connect(server.mqtt, "watcher");
    watcher.subscribe("spBv1.0/+/NDEATH/+");
    drop(node);
    assert_eq!(hear(&mut watcher), will);
    assert_eq!(presence(&server), [["plant:line-1", "0"], ["plant:line-1:oven", "0"]]);

    // Another connection, and the death of the one before comes late.
    let late = edge.death();
    edge.bd_seq += 1;
    let mut node = connect(&server, &edge);
    edge.now_ms += 1_000;
    say(&mut node, &edge.birth(vec![born("t", 1, FLOAT, Value::Float(22.0))]));
    say(&mut node, &late);
    settle(&mut node);
    assert_eq!(presence(&server), [["plant:line-1", "1"], ["plant:line-1:oven", "0"]]);
    assert_eq!(server.metric("godwit_series_rebirths_asked_total"), 0.0, "this server had no reason to ask");
    server.stop();
}

#[test]
fn a_host_is_online_while_it_serves_and_says_when_it_goes() {
    let home = home();
    let said = |raw: &mut Raw| {
        let (topic, payload) = raw.message();
        assert_eq!(topic, "spBv1.0/STATE/godwit");
        let state: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
        (state["online"].as_bool().expect("true or false"), state["timestamp"].as_u64().expect("a time"))
    };
    let join = |server: &Server| {
        let mut raw = Raw::connect(server.mqtt, "edge");
        raw.subscribe("spBv1.0/STATE/godwit");
        raw
    };
    let server = home.start();
    let mut raw = join(&server);
    let first = said(&mut raw);
    assert!(first.0 && first.1.abs_diff(now_ms()) < 60_000, "{first:?}");
    server.stop();
    let second = said(&mut raw);
    assert!(!second.0 && second.1 >= first.1, "{second:?}");

    // Whoever comes after a restart finds the newest only; after a crash too.
    let server = home.start();
    let third = said(&mut join(&server));
    assert!(third.0 && third.1 >= second.1, "{third:?}");
    server.kill();
    let server = home.start();
    let fourth = said(&mut join(&server));
    assert!(fourth.0 && fourth.1 > third.1, "{fourth:?}");
    assert_eq!(server.metric("godwit_series_undecodable_total"), 0.0);
}

#[test]
fn a_host_id_that_is_no_level_is_refused() {
    let home = Home::new();
    for host_id in ["a/b", "+", ""] {
        home.settings(&SETTINGS.replace("\"godwit\"", &format!("{host_id:?}")));
        let said = home.start_refused();
        assert!(
            said.contains("`sparkplug.host_id` is ") && said.contains("hint: use a word without"),
            "{said}"
        );
    }
}

/// The edge node of `pysparkplug`, with its own encoder and client.
const STRANGER: &str = r#"
import os, sys, threading
import pysparkplug as sp

asked = threading.Event()

def command(node, message):
    for metric in message.payload.metrics:
        print(metric.name, metric.value)
    asked.set()

def metric(name, datatype, value):
    return sp.Metric(timestamp=sp.get_current_timestamp(), name=name, datatype=datatype, value=value)

node = sp.EdgeNode("strangers", "py", [
    metric("int8", sp.DataType.INT8, -7),
    metric("int64", sp.DataType.INT64, -9_000_000_000),
    metric("uint64", sp.DataType.UINT64, 2**64 - 1),
    metric("float", sp.DataType.FLOAT, 21.3),
    metric("text", sp.DataType.STRING, "warm"),
    metric("list", sp.DataType.INT8_ARRAY, (1, 2)),
], cmd_callback=command)
node.register(sp.Device("probe", [metric("wet", sp.DataType.BOOLEAN, True)]))
connected = threading.Event()
node.connect("127.0.0.1", port=int(sys.argv[1]))
while not node._connected:
    connected.wait(0.05)
node._seq
node.update([metric("int8", sp.DataType.INT8, -8)])
if not asked.wait(60):
    sys.exit("nobody asked")
sys.stdout.flush()
os._exit(0)
"#;

#[test]
fn a_strangers_edge_node_is_understood() {
    // Made first: that may take longer than a quiet client is waited for.
    python::python();
    let home = home();
    let server = home.start();
    let mut watcher = Raw::connect(server.mqtt, "watcher");
    watcher.subscribe("spBv1.0/strangers/NDEATH/py");
    let said = python::run(STRANGER, &[&server.mqtt.port().to_string()]);
    assert_eq!(said, "Node Control/Rebirth True\n");
    watcher.socket.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    hear(&mut watcher);
    let sql = "SELECT device, channel, value, text FROM latest ORDER BY device, channel";
    let expect = [
        ["strangers:py", "float", "21.3", ""],
        ["strangers:py", "health.online", "0", ""],
        ["strangers:py", "int64", "-9000000000", ""],
        ["strangers:py", "int8", "-8", ""],
        ["strangers:py", "text", "", "warm"],
        ["strangers:py", "uint64", "1.8446744073709552e19", "18446744073709551615"],
        ["strangers:py:probe", "health.online", "0", ""],
        ["strangers:py:probe", "wet", "1", ""],
    ];
    assert_eq!(server.rows(sql), expect);
}
