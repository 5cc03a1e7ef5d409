//! Bytes of strangers against the payload decoders: every format, every preset, Sparkplug with what it remembers.
//!
//! The laws: nothing panics; a sample that comes out has readings, a valid time and no channel twice; what comes out is
//! bounded by [`model::limit`]; the same message comes to the same; what Sparkplug remembers is kept and read back as it was.

#![no_main]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use model::limit::{MESSAGE_READINGS_MAX, TEXT_BYTES_MAX};
use model::sparkplug::Sparkplug;
use model::{Message, Names, Origin, RouteSettings, Routes, Timestamp, TopicName, Value};

/// Topic, and what its route says: the first byte of an input chooses one.
const WAYS: [(&str, &str); 30] = [
    ("dt/a/t", ""),
    (
        "dt/a/t",
        "decode = \"json\"\nchannels = \"data.values\"\nid = \"id\"\ntime = { field = \"time\", unit = \"ms\" }",
    ),
    (
        "dt/a/t",
        "rename = { \"a*\" = \"b*\" }\nignore = [\"c\", \"d.*\"]\ndevice = \"payload(d)\"\nzone = \"Europe/Berlin\"",
    ),
    ("dt/a/t", "decode = \"senml\"\ndevice = \"payload(bn)\""),
    ("dt/a/t", "decode = \"senml\"\ndevice = \"topic(2)\""),
    ("dt/a/t", "decode = \"cbor\"\ndevice = \"topic(2)\""),
    ("dt/a/t", "decode = \"cayenne\"\ndevice = \"topic(2)\""),
    ("dt/a/t", "decode = \"number\"\ndevice = \"topic(2)\""),
    ("dt/a/t", "decode = \"text\"\ndevice = \"topic(2)\""),
    ("dt/a/t", "decode = \"log\"\ndevice = \"topic(2)\"\nzone = \"America/New_York\""),
    ("dt/a/t", "decode = \"raw\"\ndevice = \"topic(2)\""),
    ("tele/plug/SENSOR", "preset = \"tasmota\"\nzone = \"Europe/Berlin\""),
    ("tele/plug/STATE", "preset = \"tasmota\""),
    ("tele/plug/LWT", "preset = \"tasmota\""),
    ("tele/plug/INFO1", "preset = \"tasmota\""),
    ("zigbee2mqtt/hall/lamp", "preset = \"zigbee2mqtt\""),
    ("zigbee2mqtt/lamp/availability", "preset = \"zigbee2mqtt\""),
    ("shellyplus1pm-a8032ab12345/events/rpc", "preset = \"shelly\""),
    ("shellyplus1pm-a8032ab12345/online", "preset = \"shelly\""),
    ("shellies/shelly1pm-12AB/relay/0/energy", "preset = \"shelly\""),
    ("shellies/shellydw-12AB/info", "preset = \"shelly\""),
    ("node/sensor/temperature/state", "preset = \"esphome\""),
    ("node/light/lamp/state", "preset = \"esphome\""),
    ("node/status", "preset = \"esphome\""),
    ("v3/app@ttn/devices/bed/up", "preset = \"ttn\""),
    ("application/1/device/0102030405060708/event/up", "preset = \"chirpstack\""),
    ("application/1/device/0102030405060708/event/status", "preset = \"chirpstack\""),
    ("spBv1.0/g/NBIRTH/n", "decode = \"sparkplug\""),
    ("spBv1.0/g/DDATA/n/d", "decode = \"sparkplug\"\nrename = { \"a*\" = \"b*\" }\nignore = [\"c\"]"),
    ("spBv1.0/STATE/h", "decode = \"sparkplug\""),
];

static ROUTES: LazyLock<Vec<Routes>> = LazyLock::new(|| {
    let routes = WAYS.iter().map(|(topic, toml)| {
        let filter = match (toml.contains("preset"), toml.contains("sparkplug")) {
            (true, _) => String::new(),
            (_, true) => "filter = \"spBv1.0/#\"\n".to_owned(),
            _ => "filter = \"#\"\n".to_owned(),
        };
        let settings: RouteSettings = toml::from_str(&format!("{filter}{toml}")).expect("settings");
        let routes = Routes::new(&[settings]).expect("a route");
        assert!(routes.find(topic).is_some(), "{topic}");
        routes
    });
    routes.collect()
});

/// The messages of Sparkplug in a story: a byte of the input chooses the type of each.
const STORY: [&str; 6] = [
    "spBv1.0/g/NBIRTH/n",
    "spBv1.0/g/DBIRTH/n/d",
    "spBv1.0/g/NDATA/n",
    "spBv1.0/g/DDATA/n/d",
    "spBv1.0/g/DDEATH/n/d",
    "spBv1.0/g/NDEATH/n",
];

fn message(topic: &str, payload: &[u8], at_ms: i64) -> Message {
    let topic = TopicName::parse(topic).expect("a topic");
    let received_at = Timestamp::from_micros((1_795_348_800_000 + at_ms) * 1_000);
    Message { received_at, ..Message::new(topic, payload.to_vec(), Origin::inside(1)) }
}

fn check(samples: &[model::Sample]) {
    for sample in samples {
        assert!(!sample.readings.is_empty() && sample.readings.len() <= MESSAGE_READINGS_MAX);
        let channels: BTreeSet<&str> =
            sample.readings.iter().map(|reading| reading.channel.as_str()).collect();
        assert_eq!(channels.len(), sample.readings.len(), "a channel occurs once");
        for reading in &sample.readings {
            match &reading.value {
                Value::Number(number) => assert!(number.is_finite()),
                Value::Text(text) | Value::BigInteger(_, text) => assert!(text.len() <= TEXT_BYTES_MAX),
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&way, payload)) = data.split_first() else { return };
    if usize::from(way) >= WAYS.len() {
        return story(payload);
    }
    let (routes, (topic, _)) = (&ROUTES[usize::from(way)], WAYS[usize::from(way)]);
    let message = message(topic, payload, 0);
    let route = routes.find(topic).expect("the route");
    drop(route.message_id(&message.payload));
    let first = route.decode(&message, &mut Names::new());
    assert_eq!(first, route.decode(&message, &mut Names::new()));
    if let Ok(decoded) = first {
        assert!(decoded.readings() <= MESSAGE_READINGS_MAX);
        check(&decoded.samples);
        for unit in &decoded.units {
            assert!(unit.unit.len() <= 64 && unit.unit.bytes().all(|byte| byte.is_ascii_graphic()));
        }
        if let Some(heard) = decoded.sparkplug {
            check(&Sparkplug::default().take(*heard).samples);
        }
    }
    // What came without a route is looked at too; now and then, for it makes routes to try.
    if payload.len().is_multiple_of(16) {
        drop(model::unrouted::suggest(topic, payload));
    }
});

/// Several messages of one edge node: a length byte and a byte for type and pause before each.
fn story(mut bytes: &[u8]) {
    let routes = &ROUTES[27];
    let mut nodes = Sparkplug::default();
    let mut at_ms = 0;
    while let [length, how, rest @ ..] = bytes {
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        bytes = rest;
        at_ms += i64::from(how >> 3) * 500;
        let message = message(STORY[usize::from(how & 7) % STORY.len()], payload, at_ms);
        let route = routes.find(&message.topic).expect("the route");
        let Ok(decoded) = route.decode(&message, &mut Names::new()) else { continue };
        if let Some(heard) = decoded.sparkplug {
            check(&nodes.take(*heard).samples);
        }
    }
    let kept = nodes.to_bytes();
    assert_eq!(
        Sparkplug::from_bytes(&kept).as_ref().ok(),
        Some(&nodes),
        "what is kept is read back as it was"
    );
}
