//! Devices that people own: every golden payload, published to a real server that has all presets at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::raw::Raw;
use crate::server::{Home, Server};

/// `demo/payloads`, asked when it runs: checkouts may share what one of them built.
fn folder() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where a test belongs");
    Path::new(&here).join("../../demo/payloads")
}

fn goldens() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    let read = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.collect()
    };
    for kind in read(&folder()).into_iter().filter(|path| path.is_dir()) {
        for path in read(&kind) {
            let text = std::fs::read_to_string(&path).expect("readable");
            found.push((path.display().to_string(), serde_json::from_str(&text).expect("JSON")));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn payload(golden: &Value) -> Vec<u8> {
    match (&golden["payload"], golden["payload_hex"].as_str()) {
        (_, Some(digits)) => digits
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex"))
            .collect(),
        (Value::String(text), _) => text.clone().into_bytes(),
        (json, _) => json.to_string().into_bytes(),
    }
}

/// The bits that the readings of a sample must have.
fn flags(sample: &Value) -> u64 {
    let bit = |name: &Value| match name.as_str().expect("a name") {
        "receipt_time" => 1,
        "implausible_time" => 2,
        // What is late is so by the order of the files, and is not compared.
        "late" => 0,
        "no_identity" => 16,
        "possibly_cached" => 32,
        other => panic!("flag {other}"),
    };
    sample["flags"].as_array().expect("a list").iter().map(bit).sum()
}

/// One reading, as the query below writes it; of a time of receipt only that it is one.
type Row = (String, String, String, String, Option<String>);

fn expected(golden: &Value) -> Vec<Row> {
    let topic = golden["topic"].as_str().expect("a topic");
    let samples = golden["expect"]["samples"].as_array().map_or(&[][..], Vec::as_slice);
    let mut rows = Vec::new();
    for sample in samples {
        let bits = flags(sample);
        for (channel, value) in sample["readings"].as_object().expect("readings") {
            let value = value.as_str().map_or_else(
                || format!("{:?}", value.as_f64().expect("a number")),
                |text| format!("text {text}"),
            );
            let device = sample["device"].as_str().expect("a device");
            let time = (bits & 1 == 0).then(|| sample["time"].as_str().expect("a time").to_owned());
            rows.push((topic.to_owned(), format!("{device} {channel}"), bits.to_string(), value, time));
        }
    }
    rows
}

fn stored(server: &Server) -> Vec<Row> {
    let sql = "SELECT topic, device, channel, flags, value, text, time FROM readings";
    let answer = server.ok(&["query", "--json", "--wait", "120s", sql]);
    let rows: Vec<Value> = serde_json::from_str(&answer).expect("rows");
    let rows = rows.into_iter().map(|row| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let value = match row["text"].as_str() {
            Some(text) => format!("text {text}"),
            None => format!("{:?}", row["value"].as_f64().expect("a number")),
        };
        let bits = row["flags"].as_u64().expect("bits") & !4;
        let time = (bits & 1 == 0).then(|| text("time"));
        (text("topic"), format!("{} {}", text("device"), text("channel")), bits.to_string(), value, time)
    });
    rows.collect()
}

fn home() -> Home {
    let home = Home::new();
    let routes = std::fs::read_to_string(folder().join("routes.toml")).expect("routes.toml is there");
    home.settings(&format!(
        "[[listener]]\ndoor = \"mqtt\"\nbind = \"127.0.0.1:0\"\nauth = \"anonymous\"\n[http]\nbind = \"127.0.0.1:0\"\n{routes}"
    ));
    home
}

#[test]
fn every_golden_payload_is_answered_as_it_expects() {
    let home = home();
    let server = home.start();
    let mut goldens = goldens();
    // Which of two local times is meant depends on receipt, and these are received today.
    goldens.retain(|(_, golden)| !golden["expect"]["notes"].to_string().contains("time_twice"));
    assert!(goldens.len() > 80, "{}", goldens.len());
    let mut raw = Raw::connect(server.mqtt, "bridge");
    let mut want = Vec::new();
    let mut refused: BTreeMap<String, u64> = BTreeMap::new();
    for (_, golden) in &goldens {
        raw.publish_acked(golden["topic"].as_str().expect("a topic"), &payload(golden));
        want.extend(expected(golden));
        if let Some(reason) = golden["expect"]["error"].as_str() {
            *refused.entry(reason.to_owned()).or_default() += 1;
        }
    }
    want.sort();
    let check = |server: &Server| {
        let mut got = stored(server);
        got.sort();
        let missing: Vec<_> = want.iter().filter(|row| !got.contains(row)).collect();
        let more: Vec<_> = got.iter().filter(|row| !want.contains(row)).collect();
        assert!(missing.is_empty() && more.is_empty(), "missing {missing:#?}\nmore {more:#?}");
        assert_eq!(got.len(), want.len());
    };
    check(&server);

    // What cannot be read is kept, and says why; nothing is without a route.
    let errors = "SELECT split_part(error, ':', 1), count(*) FROM messages WHERE error IS NOT NULL GROUP BY 1 ORDER BY 1";
    let got: BTreeMap<String, u64> = server
        .rows(errors)
        .into_iter()
        .map(|row| (row[0].clone(), row[1].parse().expect("a count")))
        .collect();
    assert_eq!(got, refused);
    // The ids of the network servers are the journal's.
    let ids = goldens.iter().filter(|(_, golden)| golden["message_id"].is_string()).count();
    let sql = "SELECT count(*) FROM messages WHERE message_id IS NOT NULL";
    assert_eq!(server.value(sql), ids.to_string());

    // An uplink that its network server sends again is known by its id, a cached value by its time.
    let before = server.value("SELECT count(*) FROM messages");
    for (path, golden) in &goldens {
        if path.ends_with("ttn/uplink.json") || path.ends_with("zigbee2mqtt/climate.json") {
            raw.publish_acked(golden["topic"].as_str().expect("a topic"), &payload(golden));
        }
    }
    let after: u64 = before.parse::<u64>().expect("a count") + 1;
    assert_eq!(server.value("SELECT count(*) FROM messages"), after.to_string());
    check(&server);
    assert!((server.metric("godwit_series_cached_repeats_total") - 1.0).abs() < 0.5);

    // From files as from memory.
    server.stop();
    check(&home.start());
}

#[test]
fn what_devices_do_wrong_is_named_by_doctor() {
    let home = home();
    let server = home.start();
    let mut raw = Raw::connect(server.mqtt, "bridge");
    raw.publish_acked("nozone/plug/SENSOR", br#"{"Time":"2025-03-14T10:26:50","A":{"B":1}}"#);
    raw.publish_acked("dt/meter/x", br#"{"ts":1741944412,"t":1}"#);
    raw.publish_acked("dt/meter/x", br#"{"ts":1741944413,"t":"one"}"#);
    raw.publish_acked(
        "v3/a@ttn/devices/bed/up",
        br#"{"uplink_message":{"frm_payload":"AQ==","rx_metadata":[{"rssi":-1}]}}"#,
    );
    assert_eq!(server.value("SELECT count(*) FROM readings"), "5");
    let said = server.ok(&["doctor"]);
    for expect in [
        "no zone",
        "zone = \"Europe/Berlin\"",
        "type changed",
        "meter t",
        "not formatted",
        "payload formatter",
    ] {
        assert!(said.contains(expect), "{expect}: {said}");
    }
}
