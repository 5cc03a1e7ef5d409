//! What lies on the disk, as somebody finds it who steals it from a running server.

use crate::people::files;
use crate::raw::Raw;
use crate::server::Home;

/// A client that is connected with a will (MQTT 3.1.1).
fn with_will(to: std::net::SocketAddr, topic: &str, will: &str) -> Raw {
    let mut client = Raw::open(to);
    let mut body = b"\0\x04MQTT\x04\x06\0\0".to_vec();
    for text in ["lamp-1", topic, will] {
        body.extend((text.len() as u16).to_be_bytes());
        body.extend(text.as_bytes());
    }
    client.send(0x10, &body);
    assert_eq!(client.packet().expect("CONNACK"), (0x20, vec![0, 0]));
    client
}

#[test]
fn no_payload_is_in_the_data_directory_however_it_came_and_waits() {
    let home = Home::new();
    let server = home.start();
    let mut away = Raw::open(server.mqtt);
    away.connect_persistent("away");
    away.subscribe("cmd/#");
    drop(away);
    let _connected = with_will(server.mqtt, "dt/lamp-1/gone", "marker-of-a-will");
    server.ok(&["send", "dt/lamp-1/state", r#"{"text": "marker-of-a-reading", "level": 7}"#]);
    server.ok(&["send", "dt/lamp-1/odd", "marker-of-what-nobody-reads"]);
    server.ok(&["send", "plant/state", "marker-of-what-is-retained", "--retain"]);
    server.ok(&["send", "cmd/away/x", "marker-of-what-waits", "--qos", "1"]);
    let stored = server.value("SELECT count(*) FROM readings WHERE device = 'lamp-1' AND channel = 'level'");
    assert_eq!(stored, "1");
    crate::mosquitto::wait_for("the queue is saved", || {
        server.ok(&["session", "list", "--prefix", "away"]).contains(" 1 ")
    });
    let search = |when: &str| {
        let all = files(&home.data());
        for (name, bytes) in &all {
            assert!(!bytes.windows(10).any(|part| part == b"marker-of-"), "{when}: {name}");
        }
        let is_found = all.iter().any(|(_, bytes)| bytes.windows(11).any(|part| part == b"plant/state"));
        assert!(is_found, "{when}: the search finds what is there");
    };
    crate::mosquitto::wait_for("the retained message is in the catalog", || {
        files(&home.data()).iter().any(|(_, bytes)| bytes.windows(11).any(|part| part == b"plant/state"))
    });
    search("while it runs");
    server.kill();
    search("after a crash");
    let server = home.start();
    assert_eq!(server.ok(&["retained", "show", "plant/state"]), "marker-of-what-is-retained\n");
    crate::mosquitto::wait_for("the will is published", || {
        server.value("SELECT count(*) FROM messages WHERE topic = 'dt/lamp-1/gone'") == "1"
    });
    server.stop();
    search("after an end in good order");
}
