//! Suggested routes load, and decode the message they were made from.

use model::unrouted::{pattern, suggest};
use model::{Decoder, Names, RouteSettings, Routes, TopicName};
use proptest::prelude::*;
use serde::Deserialize;

use crate::message;

#[derive(Deserialize)]
struct Config {
    route: Vec<RouteSettings>,
}

fn load(toml: &str) -> Routes {
    let config: Config = toml::from_str(toml).expect(toml);
    Routes::new(&config.route).expect(toml)
}

#[test]
fn levels_that_name_one_of_many_become_a_plus() {
    let check = |topic, expect| assert_eq!(pattern(topic), expect, "{topic}");
    check("tele/tasmota_4F2A10/SENSOR", "tele/+/SENSOR");
    check("hq/floor-17/room-3/co2", "hq/+/+/co2");
    check("zigbee2mqtt/kitchen", "zigbee2mqtt/kitchen");
    check("v1/devices/550e8400-e29b-41d4-a716-446655440000/pm25", "v1/devices/+/pm25");
    check("a/AA:BB:CC:00:11:22", "a/+");
    check("a/a840411ed1b2c3d4/up", "a/+/up");
    check("meters/17/power", "meters/+/power");
    check("a//b", "a//b");
    check("feed/added", "feed/added");
}

#[test]
fn a_suggestion_is_a_route_to_paste() {
    let check = |topic: &str, payload: &[u8], expect: &str| assert_eq!(suggest(topic, payload).toml, expect);
    check(
        "tele/tasmota_4F2A10/SENSOR",
        br#"{"ENERGY":{"Power":5}}"#,
        "[[route]]\npreset = \"tasmota\"\n# zone = \"Europe/Berlin\"   # of the devices' local times\n",
    );
    check(
        "meters/4F2A10/SENSOR",
        br#"{"ENERGY":{"Power":5}}"#,
        "[[route]]\nfilter = \"meters/+/SENSOR\"\ndevice = \"topic(2)\"\ndecode = \"json\"\n",
    );
    check(
        "packs/7",
        br#"[{"bn":"urn:dev:ow:10e2073a01080063","v":23.1}]"#,
        "[[route]]\nfilter = \"packs/+\"\ndevice = \"topic(2)\"\ndecode = \"senml\"\n",
    );
    check(
        "cbor/7",
        &[0xa1, 0x61, b't', 0x18, 0x17],
        "[[route]]\nfilter = \"cbor/+\"\ndevice = \"topic(2)\"\ndecode = \"cbor\"\n",
    );
    check(
        "hq/floor-17/room-3/co2",
        b"721.25",
        "[[route]]\nfilter = \"hq/+/+/co2\"\ndevice = \"{topic(2)}-{topic(3)}\"\ndecode = \"number\"\n",
    );
    check(
        "spBv1.0/plant/NBIRTH/line-1",
        b"\x08\x80\xb8\x99\xd7\xb2\x33\x18\x00",
        "[[route]]\nfilter = \"spBv1.0/#\"\ndecode = \"sparkplug\"\n",
    );
    check("door", b"open", "[[route]]\nfilter = \"door\"\ndevice = \"connection\"\ndecode = \"text\"\n");
    check(
        "cam\"era",
        b"\x89PNG\x00",
        "[[route]]\nfilter = \"cam\\\"era\"\ndevice = \"connection\"\ndecode = \"raw\"\n",
    );
}

#[test]
fn the_topics_of_known_devices_suggest_their_preset() {
    let check = |topic: &str, payload: &str, expect: &str| {
        let toml = suggest(topic, payload.as_bytes()).toml;
        assert!(toml.contains(&format!("preset = \"{expect}\"")), "{topic}: {toml}");
    };
    check("tele/plug/LWT", "Online", "tasmota");
    check("stat/plug/RESULT", "{}", "tasmota");
    check("zigbee2mqtt/first floor/lamp 1", r#"{"state":"ON"}"#, "zigbee2mqtt");
    check("zigbee2mqtt/bridge/state", r#"{"state":"online"}"#, "zigbee2mqtt");
    check("shellyplus1pm-a8032ab1/events/rpc", r#"{"method":"NotifyStatus","params":{}}"#, "shelly");
    check("shellies/shelly1-12AB/relay/0", "on", "shelly");
    check("node/sensor/temperature/state", "21.3", "esphome");
    check("v3/app@ttn/devices/dev1/up", r#"{"uplink_message":{}}"#, "ttn");
    check("application/1/device/0102030405060708/event/up", r#"{"deviceInfo":{}}"#, "chirpstack");
    // What is on such a topic and is something else is none of the preset's.
    assert!(!suggest("tele/plug/LWT", b"maybe").toml.contains("preset"));
    assert!(!suggest("homeassistant/status", b"online").toml.contains("preset"));
}

proptest! {
    #[test]
    fn every_suggestion_loads_and_decodes_its_sample(
        topic in prop_oneof![
            4 => "[a-z0-9_\"\\\\é\u{1}-]{0,8}(/[a-zA-Z0-9:. -]{0,8}){0,4}",
            1 => "(tele|stat|zigbee2mqtt|shellies|v3|application|node)/[ab/]{1,4}/(SENSOR|LWT|up|online|devices/a/up|sensor/t/state)",
        ],
        payload in prop_oneof![
            any::<Vec<u8>>(),
            "\\PC{0,20}".prop_map(String::into_bytes),
            any::<f64>().prop_map(|n| n.to_string().into_bytes()),
            Just(br#"{"a":1}"#.to_vec()),
        ],
    ) {
        prop_assume!(TopicName::parse(topic.clone()).is_ok());
        let suggestion = suggest(&topic, &payload);
        let routes = load(&suggestion.toml);
        let route = routes.find(&topic);
        prop_assert!(route.is_some(), "{:?}", suggestion);
        let route = route.expect("just seen");
        if route.decoder() != Decoder::Raw {
            let mut message = message(&topic, &payload);
            message.topic = TopicName::parse(topic).expect("a topic");
            prop_assert!(route.decode(&message, &mut Names::new()).is_ok(), "{:?}", suggestion);
        }
    }
}
