//! What operators do: see and end sessions, see and clear what is retained, measure.

use std::process::Command;

use crate::raw::Raw;
use crate::server::{GODWIT, Home};

#[test]
fn sessions_are_listed_shown_and_kicked() {
    let home = Home::new();
    let server = home.start();
    let mut client = Raw::connect(server.mqtt, "site/7 door");
    // SUBSCRIBE to ops/# with QoS 1.
    client.send(0x82, &[0, 9, 0, 5, b'o', b'p', b's', b'/', b'#', 1]);
    assert_eq!(client.packet().expect("SUBACK"), (0x90, vec![0, 9, 1]));
    let list = server.ok(&["session", "list"]);
    assert!(list.contains("site/7 door") && list.contains("anonymous"), "{list}");
    let line = server.ok(&["session", "list", "--json", "--prefix", "site/", "--connected"]);
    let session: serde_json::Value = serde_json::from_str(line.trim()).expect("one line of JSON");
    assert_eq!((&session["client_id"], &session["subscriptions"]), (&"site/7 door".into(), &1.into()));
    assert_eq!(server.ok(&["session", "list", "--json", "--away"]), "");
    let shown = server.ok(&["session", "show", "site/7 door"]);
    assert!(shown.contains("ops/# (QoS 1)") && shown.contains("MQTT 3.1.1"), "{shown}");

    let said = server.ok(&["session", "kick", "site/7 door"]);
    assert!(said.contains("site/7 door"), "{said}");
    assert!(client.packet().is_none(), "the connection is ended");
    let unknown = server.run(&["session", "show", "nobody"]);
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(!unknown.status.success() && said.contains("godwit session list"), "{said}");
}

#[test]
fn retained_messages_are_listed_shown_and_cleared_and_stay_cleared() {
    let home = Home::new();
    let server = home.start();
    for (topic, payload) in
        [("plant/a/state", "on"), ("plant/b/state", "off"), ("office/state", "{\"t\": 1}")]
    {
        server.ok(&["send", topic, payload, "--retain", "--qos", "2"]);
    }
    let list = server.ok(&["retained", "list", "plant/#"]);
    assert!(list.contains("plant/a/state on") && list.contains("plant/b/state off"), "{list}");
    assert!(!list.contains("office"), "{list}");
    assert_eq!(server.ok(&["retained", "show", "office/state"]), "{\"t\": 1}\n");
    let json = server.ok(&["retained", "show", "office/state", "--json"]);
    let kept: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&kept["qos"], &kept["payload_bytes"]), (&2.into(), &8.into()));
    assert!(!server.run(&["retained", "show", "plant/+/state"]).status.success(), "a filter is no topic");

    assert_eq!(server.ok(&["retained", "clear", "plant/#"]), "cleared 2 retained messages\n");
    assert_eq!(server.ok(&["retained", "list", "--json"]).lines().count(), 1);
    server.stop();
    let server = home.start();
    assert_eq!(server.ok(&["retained", "list", "--json"]).lines().count(), 1, "after a restart too");
    let refused = server.run(&["retained", "clear", "plant/#/x"]);
    assert!(!refused.status.success(), "no filter");
}

#[test]
fn send_and_tail_speak_qos_2() {
    let home = Home::new();
    let server = home.start();
    server.ok(&["send", "ops/once", "exactly", "--retain", "--qos", "2"]);
    let seen = server.ok(&["tail", "ops/#", "--qos", "2", "--count", "1", "--json"]);
    let seen: serde_json::Value = serde_json::from_str(&seen).expect("JSON");
    assert_eq!((&seen["payload"], &seen["qos"]), (&"exactly".into(), &2.into()));
}

#[test]
fn every_scenario_of_load_measures_and_judges() {
    let home = Home::new();
    let server = home.start();
    let scenarios: [(&[&str], &str); 7] = [
        (&["connect", "--connections", "20", "--hold", "0"], "connects_per_second"),
        (&["ingest", "--connections", "3", "--seconds", "200ms"], "messages_per_second"),
        (&["ingest", "--connections", "3", "--seconds", "200ms", "--qos", "2"], "messages_per_second"),
        (&["fanin", "--publishers", "3", "--seconds", "200ms", "--qos", "0"], "deliveries_per_second"),
        (&["fanin", "--publishers", "3", "--seconds", "200ms", "--qos", "2"], "deliveries_per_second"),
        (&["fanout", "--subscribers", "3", "--seconds", "200ms", "--qos", "1"], "deliveries_per_second"),
        (&["rate", "--publishers", "3", "--rate", "100", "--seconds", "200ms"], "p99_ms"),
    ];
    for (scenario, figure) in scenarios {
        let arguments = [&["load"], scenario, &["--json", "--mqtt", "3.1.1"]].concat();
        let figures: serde_json::Value = serde_json::from_str(&server.ok(&arguments)).expect("JSON");
        assert!(figures[figure].as_f64().is_some_and(|value| value > 0.0), "{scenario:?}: {figures}");
        assert!(figures["server_core_seconds"].is_number(), "found through the data directory: {figures}");
        for counted in ["lost", "failed", "refused"] {
            assert!(figures[counted].as_f64().is_none_or(|lost| lost == 0.0), "{scenario:?}: {figures}");
        }
        if figures["scenario"] == "rate" {
            assert_eq!((&figures["messages"], &figures["deliveries"]), (&20.into(), &20.into()));
        }
    }
    let limits = home.path().join("limits.toml");
    std::fs::write(&limits, "[connect]\nconnects_per_second = 1000000000\nfailed = 0\n").expect("written");
    let limits = limits.to_str().expect("text");
    let missed = server.run(&["load", "connect", "--connections", "5", "--hold", "0", "--expect", limits]);
    let said = String::from_utf8_lossy(&missed.stdout).into_owned();
    assert_eq!(missed.status.code(), Some(1), "{said}");
    assert!(said.contains("MISSED") && said.contains("failed at most 0.00: 0.00, met"), "{said}");
}

/// mosquitto issue 948, nanomq issue 168: a server without file descriptors waits for some, and then serves again.
#[test]
fn a_server_without_file_descriptors_recovers() {
    let home = Home::new();
    // Its own files, and some forty clients: nothing raises a limit that is the hard one.
    let script = format!(
        "ulimit -n 100 && exec {GODWIT} serve --data '{}' --config '{}'",
        home.data().display(),
        home.path().join("godwit.toml").display()
    );
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(script).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let server = home.start_as(bash);
    let crowd: Vec<_> = (0..120).filter_map(|_| std::net::TcpStream::connect(server.mqtt).ok()).collect();
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !home.log().contains("ulimit -n") {
        assert!(std::time::Instant::now() < patience, "it never ran out: {}", home.log());
        std::thread::yield_now();
    }
    drop(crowd);
    let mut client = Raw::connect(server.mqtt, "after");
    client.publish_acked("dt/office-1/climate", br#"{"temperature": 21.5}"#);
    server.stop();
    assert!(home.log().contains("connections are accepted again"), "{}", home.log());
}
