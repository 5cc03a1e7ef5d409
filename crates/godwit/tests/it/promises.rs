//! The promises of the design, each proven through the real binary by the test that carries its name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::raw::{Raw, flood};
use crate::server::{Home, Server};

/// Rounds of `kill -9`: a few in the test run, more in the soak.
fn rounds() -> u64 {
    if std::env::var_os("GODWIT_SOAK").is_some() { 50 } else { 5 }
}

/// A number that differs from run to run.
fn chance() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

/// A reading of device `d` whose time and value are its number.
fn numbered(number: u64) -> (String, String) {
    let millis = 1_700_000_000_000 + number;
    ("dt/d/count".to_owned(), format!(r#"{{"ts":{millis},"n":{number}}}"#))
}

/// A message of 8 KB that no route decodes.
fn wide(number: u64) -> (String, String) {
    ("plain/wide".to_owned(), format!("{number:08192}"))
}

#[test]
fn acknowledged_means_durable() {
    let home = Home::new();
    let mut acknowledged = BTreeSet::new();
    let mut next = 0;
    for round in 0..rounds() {
        let server = home.start();
        let enough = 50 + chance() % 4000;
        let mut count = 0;
        let mut victim = Some(server);
        let mqtt = victim.as_ref().expect("running").mqtt;
        std::thread::scope(|scope| {
            // Others publish much at the same time: what is written together takes longer to write, and an
            // acknowledgement that leaves too early is caught before its message is there.
            for other in ["wide-1", "wide-2"] {
                scope.spawn(move || flood(mqtt, other, 50, wide, 0, |_| true));
            }
            flood(mqtt, "flood", 400, numbered, next, |number| {
                acknowledged.insert(number);
                count += 1;
                if count == enough {
                    victim.take().expect("still running").kill();
                }
                // What was on its way when the server died counts too.
                true
            });
        });
        next = acknowledged.last().map_or(0, |last| last + 1_000);

        let server = home.start();
        let stored: BTreeSet<u64> = numbers(
            &server,
            "SELECT n FROM (SELECT cast(value AS bigint) AS n FROM readings WHERE device = 'd')",
        );
        let lost: Vec<&u64> = acknowledged.difference(&stored).collect();
        assert!(
            lost.is_empty(),
            "round {round}, killed after {enough}: {} acknowledged and lost, such as {:?}",
            lost.len(),
            lost[0]
        );
        let twice = server.value("SELECT count(*) FROM (SELECT time FROM readings WHERE device = 'd' GROUP BY time HAVING count(*) > 1)");
        assert_eq!(twice, "0", "none is there twice");
        server.stop();
    }
}

#[test]
fn once_in_effect() {
    let home = Home::new();
    let server = home.start();
    let mut raw = Raw::connect(server.mqtt, "sender");
    let reading = |value: &str| format!(r#"{{"ts":1700000000000,"t":{value}}}"#);
    for value in ["20.5", "20.5", "20.5"] {
        raw.publish_acked("dt/d/x", reading(value).as_bytes());
    }
    assert_eq!(server.rows("SELECT value FROM readings"), [["20.5"]], "a repeat changes nothing");
    raw.publish_acked("dt/d/x", reading("21").as_bytes());
    assert_eq!(server.rows("SELECT value FROM readings"), [["21"]], "a different value replaces");
    assert_eq!(server.value("SELECT count(*) FROM messages"), "4", "what was replaced is still findable");

    // The same across files, memory and a restart.
    server.stop();
    let server = home.start();
    let mut raw = Raw::connect(server.mqtt, "sender");
    raw.publish_acked("dt/d/x", reading("21").as_bytes());
    raw.publish_acked("dt/d/x", reading("22").as_bytes());
    assert_eq!(server.rows("SELECT value FROM readings"), [["22"]]);
    assert_eq!(server.rows("SELECT value FROM latest"), [["22"]]);
    server.kill();
    assert_eq!(home.start().rows("SELECT value FROM readings"), [["22"]]);

    // By message id: neither stored nor delivered again.
    let home = Home::new();
    let server = home.start();
    for _ in 0..3 {
        server.ok(&["send", "dt/d/x", "{\"t\": 1}", "--message-id", "order-1"]);
    }
    assert_eq!(server.value("SELECT count(*) FROM messages"), "1");
}

#[test]
fn event_time_rules() {
    let home = Home::new();
    let server = home.start();
    let mut raw = Raw::connect(server.mqtt, "sender");
    raw.publish_acked("dt/d/x", br#"{"ts":1700000600000,"t":2}"#);
    raw.publish_acked("dt/d/x", br#"{"ts":1700000000000,"t":1}"#);
    assert_eq!(
        server.rows("SELECT time, value FROM readings ORDER BY time"),
        [["2023-11-14T22:13:20Z", "1"], ["2023-11-14T22:23:20Z", "2"]],
        "late data is stored where it belongs"
    );
    assert_eq!(server.rows("SELECT value FROM latest"), [["2"]], "latest is latest by device time");

    // No time, an impossible time: the time of receipt, and the reading says so.
    raw.publish_acked("dt/none/x", br#"{"t":1}"#);
    raw.publish_acked("dt/year-9999/x", br#"{"time":"9999-01-01T00:00:00Z","t":1}"#);
    raw.publish_acked("dt/reset/x", br#"{"ts":3600,"t":1}"#);
    let flags = "SELECT device, flags & 3, time = received_at OR abs(extract(epoch FROM time) - extract(epoch FROM received_at)) < 0.002 \
        FROM readings WHERE device <> 'd' ORDER BY device";
    assert_eq!(
        server.rows(flags),
        [["none", "1", "true"], ["reset", "3", "true"], ["year-9999", "3", "true"]]
    );
}

#[test]
fn order_per_device() {
    let home = Home::new();
    let server = home.start();
    let mqtt = server.mqtt;
    let devices = ["a", "b", "c", "d"];
    std::thread::scope(|scope| {
        for device in devices {
            scope.spawn(move || {
                let message = |n: u64| (format!("dt/{device}/count"), format!(r#"{{"n":{n}}}"#));
                flood(mqtt, device, 100, message, 0, |number| number < 2_000);
            });
        }
    });
    for device in devices {
        let sql = format!(
            "SELECT cast(substr(payload, 6, length(payload) - 6) AS bigint) FROM messages WHERE device = '{device}' ORDER BY seq"
        );
        let order: Vec<u64> = server.rows(&sql).iter().map(|row| row[0].parse().expect("a number")).collect();
        assert!(order.len() >= 2_000, "{}", order.len());
        assert!(order.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{device}: in the order accepted");
    }
}

#[test]
fn effect_and_position_move_together() {
    // Columns are flushed again and again while the server is killed: whatever the moment, each reading is there once
    // and every message has had its effect.
    let home = Home::new();
    let mut sent = 0;
    for _ in 0..rounds() {
        let server = home.start();
        let mut raw = Raw::connect(server.mqtt, "sender");
        for _ in 0..20 {
            // Without a time: a second effect of the same message would be a second reading.
            raw.publish_acked("dt/d/x", format!(r#"{{"n":{sent}}}"#).as_bytes());
            sent += 1;
        }
        // A graceful stop writes files, a kill leaves them to the replay of the journal.
        if sent % 40 == 0 { server.stop() } else { server.kill() }
    }
    let server = home.start();
    assert_eq!(server.value("SELECT count(*) FROM messages"), sent.to_string());
    let counts = server.rows("SELECT count(*), count(DISTINCT value) FROM readings");
    assert_eq!(counts, [[sent.to_string(), sent.to_string()]], "each message has its effect once");
}

#[test]
fn nothing_is_silently_dropped() {
    let home = Home::new();
    let server = home.start();
    let mut raw = Raw::connect(server.mqtt, "sender");
    let messages = [
        ("dt/d/x", r#"{"t": 1}"#),
        ("dt/d/x", "this is no JSON"),
        ("tele/tasmota_4F2A10/SENSOR", r#"{"Time":"2026-01-01T00:00:00"}"#),
        ("dt/d/x", r#"{"t": 1e999}"#),
    ];
    for (topic, payload) in messages {
        raw.publish_acked(topic, payload.as_bytes());
    }
    let kept = server.rows("SELECT topic, error IS NULL, payload IS NOT NULL FROM messages ORDER BY seq");
    let expected = [
        ("dt/d/x", "true"),
        ("dt/d/x", "false"),
        ("tele/tasmota_4F2A10/SENSOR", "false"),
        ("dt/d/x", "false"),
    ];
    assert_eq!(kept, expected.map(|(topic, fine)| vec![topic, fine, "true"]), "kept, with the reason");
    assert!(server.metric("godwit_series_undecodable_total") >= 2.0, "{}", server.get("/metrics"));
    assert!(server.metric("godwit_series_unrouted_total") >= 1.0);

    // A state that a bridge publishes is acknowledged, counted, and delivered to nobody.
    raw.publish_acked("$SYS/broker/connection/x/state", b"1");
    assert_eq!(
        server.metric("godwit_broker_dropped_messages_total{reason=\"reserved\"}"),
        1.0,
        "{}",
        server.get("/metrics")
    );

    // `doctor` finds them too.
    let doctor = server.run(&["doctor"]);
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(said.contains("tele/+/SENSOR"), "{said}");
    assert!(said.contains("decode.not_json"), "{said}");
}

/// A writer of column files that is stuck sees all and stores nothing.
#[test]
fn metrics_tell_what_was_seen_from_what_is_stored() {
    let home = Home::new();
    let server = home.start();
    let mut raw = Raw::connect(server.mqtt, "sender");
    raw.publish_acked("dt/d/x", br#"{"t": 1}"#);
    assert_eq!(server.value("SELECT count(*) FROM readings"), "1", "it was seen");
    let of_series = |what: &str| {
        let metrics = server.get("/metrics");
        let name = format!("godwit_journal_consumer_{what}{{consumer=\"series\"}} ");
        let found = metrics.lines().find_map(|line| line.strip_prefix(&name));
        found.and_then(|value| value.parse::<f64>().ok()).unwrap_or_else(|| panic!("no {name}: {metrics}"))
    };
    assert!(of_series("held_seconds") > 0.0, "it is in no column file yet");
    assert_eq!((of_series("lag_records"), of_series("lag_seconds")), (0.0, 0.0));
}

#[test]
fn a_graceful_stop_loses_nothing_and_ends_in_time() {
    let home = Home::new();
    let server = home.start();
    let mut acknowledged = BTreeMap::new();
    let mqtt = server.mqtt;
    let mut running = Some(server);
    let stopper = std::sync::Mutex::new(None);
    flood(mqtt, "flood", 200, numbered, 0, |number| {
        acknowledged.insert(number, ());
        if acknowledged.len() == 3_000 {
            let server = running.take().expect("running");
            *stopper.lock().expect("unpoisoned") = Some(std::thread::spawn(move || {
                let started = std::time::Instant::now();
                server.stop();
                started.elapsed()
            }));
        }
        true
    });
    let took = stopper.into_inner().expect("unpoisoned").expect("stopped").join().expect("no panic");
    assert!(took < Duration::from_secs(30), "{took:?}");
    let server = home.start();
    let stored = numbers(&server, "SELECT cast(value AS bigint) FROM readings");
    assert!(acknowledged.keys().all(|number| stored.contains(number)), "every acknowledged message is there");
}

fn numbers(server: &Server, sql: &str) -> BTreeSet<u64> {
    server.rows(sql).iter().map(|row| row[0].parse().expect("a number")).collect()
}
