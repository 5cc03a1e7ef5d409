//! What a message costs on its way to samples, and what finding its route costs at the door.

use bytes::Bytes;
use model::{Lane, Message, Names, Origin, Qos, RouteSettings, Routes, Timestamp, TopicName, reserved};

fn main() {
    divan::main();
}

/// One reading, as the load generator sends it.
const ONE: &str = r#"{"ts":1423072260000,"temperature":23.18}"#;
/// One row of the office recording, as `godwit replay` sends it.
const OFFICE: &str = r#"{"ts":1423072260000,"temperature":23.18,"humidity":27.272,"light":426,"co2":721.25,"humidityratio":0.00479298817650529,"occupancy":1}"#;
/// A power meter's report: nested, with texts, a list and a time as text.
const NESTED: &str = r#"{"Time":"2026-11-22T12:00:00Z","ENERGY":{"Total":12.3,"Power":230,"Voltage":231.5},"mode":"auto","rssi":[-61,-62],"ok":true}"#;

fn message(topic: &str, payload: &'static str) -> Message {
    let topic = TopicName::parse(topic).expect("a topic");
    Message {
        qos: Qos::AtLeastOnce,
        packet_id: 1,
        received_at: Timestamp::parse("2026-11-22T12:00:01Z").expect("a time"),
        ..Message::new(topic, payload.as_bytes(), Origin::inside(1))
    }
}

fn json(bencher: divan::Bencher<'_, '_>, payload: &'static str) {
    let (routes, mut names) = (Routes::default(), Names::new());
    let message = message("dt/office-1/telemetry", payload);
    let route = routes.find(&message.topic).expect("the default route");
    bencher.bench_local(|| route.decode(divan::black_box(&message), &mut names).expect("it decodes"));
}

#[divan::bench]
fn json_of_one_reading(bencher: divan::Bencher<'_, '_>) {
    json(bencher, ONE);
}

#[divan::bench]
fn json_of_an_office_row(bencher: divan::Bencher<'_, '_>) {
    json(bencher, OFFICE);
}

#[divan::bench]
fn json_nested(bencher: divan::Bencher<'_, '_>) {
    json(bencher, NESTED);
}

/// The office row as CBOR.
#[divan::bench]
fn cbor_of_an_office_row(bencher: divan::Bencher<'_, '_>) {
    let mut cbor = vec![0xa7];
    let mut name = |text: &str, value: &[u8]| {
        cbor.push(0x60 + text.len() as u8);
        cbor.extend(text.as_bytes());
        cbor.extend(value);
    };
    name("ts", &[&[0x1b][..], &1_423_072_260_000_u64.to_be_bytes()].concat());
    for (text, value) in [
        ("temperature", 23.18_f64),
        ("humidity", 27.272),
        ("light", 426.0),
        ("co2", 721.25),
        ("humidityratio", 0.004_792),
        ("occupancy", 1.0),
    ] {
        name(text, &[&[0xfb][..], &value.to_be_bytes()].concat());
    }
    let decode = Some("cbor".to_owned());
    let route = RouteSettings { filter: "#".to_owned(), decode, ..RouteSettings::default() };
    let (routes, mut names) = (Routes::new(&[route]).expect("a route"), Names::new());
    let mut message = message("dt/office-1/telemetry", "");
    message.payload = Bytes::from(cbor);
    let route = routes.find(&message.topic).expect("the route");
    bencher.bench_local(|| route.decode(divan::black_box(&message), &mut names).expect("it decodes"));
}

/// What a plug with a meter says.
#[divan::bench]
fn preset_tasmota(bencher: divan::Bencher<'_, '_>) {
    let route = RouteSettings { preset: Some("tasmota".to_owned()), ..RouteSettings::default() };
    let (routes, mut names) = (Routes::new(&[route]).expect("a preset"), Names::new());
    let message = message("tele/plug/SENSOR", NESTED);
    let route = routes.find(&message.topic).expect("the route");
    bencher.bench_local(|| route.decode(divan::black_box(&message), &mut names).expect("it decodes"));
}

/// The default route behind every preset there is.
#[divan::bench]
fn find_behind_all_presets(bencher: divan::Bencher<'_, '_>) {
    let presets = ["tasmota", "zigbee2mqtt", "shelly", "esphome", "ttn", "chirpstack"];
    let settings =
        presets.map(|preset| RouteSettings { preset: Some(preset.to_owned()), ..RouteSettings::default() });
    let routes = Routes::new(&settings).expect("they are right");
    bencher.bench_local(|| routes.find(divan::black_box("dt/office-1/telemetry")).map(model::Route::lane));
}

/// A thousand devices in turn: their names compete for the cache.
#[divan::bench]
fn json_of_a_thousand_devices(bencher: divan::Bencher<'_, '_>) {
    let (routes, mut names) = (Routes::default(), Names::new());
    let messages: Vec<_> = (0..1_000).map(|n| message(&format!("dt/device-{n}/t"), ONE)).collect();
    bencher.counter(divan::counter::ItemsCount::new(1_000_u32)).bench_local(|| {
        for message in &messages {
            let route = routes.find(&message.topic).expect("the default route");
            divan::black_box(route.decode(message, &mut names).expect("it decodes"));
        }
    });
}

#[divan::bench(args = ["dt/office-1/telemetry", "bench/1234/raw"])]
fn find_in_the_default_list(topic: &str) -> Option<Lane> {
    static ROUTES: std::sync::LazyLock<Routes> = std::sync::LazyLock::new(Routes::default);
    ROUTES.find(divan::black_box(topic)).map(model::Route::lane)
}

#[divan::bench]
fn find_behind_twenty_routes(bencher: divan::Bencher<'_, '_>) {
    let settings: Vec<_> = (0..20)
        .map(|n| RouteSettings { filter: format!("site-{n}/+/SENSOR"), ..RouteSettings::default() })
        .collect();
    let routes = Routes::new(&settings).expect("they are right");
    bencher.bench_local(|| routes.find(divan::black_box("dt/office-1/telemetry")).map(model::Route::lane));
}

#[divan::bench]
fn reserved_publish() -> reserved::PublishVerdict {
    reserved::publish(divan::black_box("dt/office-1/telemetry"))
}
