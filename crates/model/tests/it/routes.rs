//! Routes as configurations write them.

use model::{Decoder, Keep, Lane, RouteSettings, Routes, TopicFilter};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    route: Vec<RouteSettings>,
}

fn load(toml: &str) -> Result<Routes, String> {
    let config: Config = toml::from_str(toml).map_err(|e| e.to_string())?;
    Routes::new(&config.route).map_err(|e| e.to_string())
}

#[test]
fn the_first_route_that_matches_is_the_topics() {
    let routes = load(
        r#"
        [[route]]
        filter = "tele/+/SENSOR"
        device = "topic(2)"
        lane = "bulk"
        [[route]]
        filter = "tele/#"
        decode = "text"
        lane = "control"
        keep = "journal"
        [[route]]
        filter = "alarm"
        decode = "raw"
        lane = "alarm"
        keep = "none"
        "#,
    )
    .expect("they are right");
    let check = |topic: &str, expect: Option<(&str, Decoder, Lane, Keep)>| {
        let found = routes.find(topic).map(|r| (r.filter().as_str(), r.decoder(), r.lane(), r.keep()));
        assert_eq!(found, expect, "{topic}");
    };
    check("tele/plug/SENSOR", Some(("tele/+/SENSOR", Decoder::Json, Lane::Bulk, Keep::All)));
    check("tele/plug/STATE", Some(("tele/#", Decoder::Text, Lane::Control, Keep::Journal)));
    check("tele", Some(("tele/#", Decoder::Text, Lane::Control, Keep::Journal)));
    check("alarm", Some(("alarm", Decoder::Raw, Lane::Alarm, Keep::None)));
    check("alarm/1", None);
    check("dt/office-1/climate", Some(("dt/+/#", Decoder::Json, Lane::Telemetry, Keep::All)));
    check("dt/office-1", Some(("dt/+/#", Decoder::Json, Lane::Telemetry, Keep::All)));
    check("dt", None);
    check("$SYS/x", None);
    assert_eq!(routes.iter().len(), 4);
}

#[test]
fn without_settings_there_is_the_default_route() {
    let routes = load("").expect("nothing is right");
    assert_eq!(routes, Routes::default());
    let route = routes.find("dt/a/b").expect("the default route");
    assert_eq!(route.device_rule().to_string(), "topic(2)");
}

#[test]
fn everything_wrong_is_said_at_once() {
    let said = load(
        r#"
        [[route]]
        device = "topic(0)"
        [[route]]
        filter = "tele/+/POWER"
        preset = "tasmota"
        lane = "fast"
        decode = "json"
        rename = { a = "b*", "x*y" = "z", c = "" }
        [[route]]
        filter = "a/#/b"
        decode = "sparkplug"
        [[route]]
        filter = "a/+/c"
        device = "{topic(2)}-{topic(4)}"
        decode = "number"
        id = ""
        keep = "some"
        [[route]]
        filter = "$aws/things"
        [[route]]
        filter = "x"
        time = { unit = "min", zone = "Mars/Olympus", not_before = "long ago", field = "" }
        zone = "UTC"
        ignore = ["*y", ""]
        channels = ""
        [[route]]
        filter = "x"
        decode = "yaml"
        "#,
    )
    .unwrap_err();
    let expect = [
        "route 1 (``) has no `filter`; name the topics, such as `filter = \"dt/+/#\"`",
        "route 1 (``) is wrong: `device` has `topic(0)`; levels are counted from 1, such as `topic(2)`",
        "route 2 (`tele/+/POWER`) has `decode` beside `preset = \"tasmota\"`, which knows it; remove one of them",
        "route 2 (`tele/+/POWER`) has a `filter` that ends in nothing `preset = \"tasmota\"` knows; end it in `SENSOR`, `STATE`, `LWT`, `INFO1` or in `#`",
        "route 2 (`tele/+/POWER`) has `\"a\" = \"b*\"` in `rename`; write two names, or two starts of names with a `*` at both ends, such as `\"ENERGY.*\" = \"energy.*\"`",
        "route 2 (`tele/+/POWER`) has `\"c\" = \"\"` in `rename`: channel name is empty",
        "route 2 (`tele/+/POWER`) has `\"x*y\" = \"z\"` in `rename`; write two names, or two starts of names with a `*` at both ends, such as `\"ENERGY.*\" = \"energy.*\"`",
        "route 2 (`tele/+/POWER`) has `lane = \"fast\"`; it is one of `alarm`, `control`, `telemetry`, `bulk`",
        "route 3 (`a/#/b`) has a `filter` that is none: filter `a/#/b` is malformed: `+` must be a whole level and `#` the whole last level",
        "route 4 (`a/+/c`) has `device = \"{topic(2)}-{topic(4)}\"`, but its topics have 3 levels, not 4",
        "route 4 (`a/+/c`) has an empty `id`; name a field of the payload, such as `id = \"msg.id\"`",
        "route 4 (`a/+/c`) has `keep = \"some\"`; it is one of `all`, `journal`, `none`",
        "route 4 (`a/+/c`) has `id`, which needs `decode = \"json\"` or `\"cbor\"`: other payloads have no fields",
        "route 5 (`$aws/things`) starts with `$`; such topics are reserved and carry no readings",
        "route 6 (`x`) has `zone = \"UTC\"` and `time.zone = \"Mars/Olympus\"`; remove one",
        "route 6 (`x`) has `time.zone = \"Mars/Olympus\"`, which this machine does not know; write a name such as `Europe/Berlin` (package tzdata) or `UTC`",
        "route 6 (`x`) has an empty `time.field`; name a field of the payload, such as `time.field = \"msg.id\"`",
        "route 6 (`x`) has `time.unit = \"min\"`; it is one of `auto`, `s`, `ms`, `us`, `ns`",
        "route 6 (`x`) has `time.not_before = \"long ago\"`; write a date such as `2000-01-08` or a time such as `2000-01-08T00:00:00Z`",
        "route 6 (`x`) has an empty `channels`; name a field of the payload, such as `channels = \"msg.id\"`",
        "route 6 (`x`) has `*y` in `ignore`; write a name, or with a `*` at its end the start of names, such as `Wifi.*`",
        "route 6 (`x`) has `` in `ignore`; write a name, or with a `*` at its end the start of names, such as `Wifi.*`",
        "route 7 (`x`) has `decode = \"yaml\"`; it is one of `json`, `senml`, `cbor`, `cayenne`, `number`, `text`, `log`, `sparkplug`, `raw`",
        "route 7 (`x`) is never reached: route 6 has the same `filter`; remove one",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expect);
}

#[test]
fn what_a_decoder_or_a_preset_cannot_honour_is_refused_by_name() {
    let check = |lines: &str, expect: &str| {
        let said = load(&format!("[[route]]\n{lines}")).unwrap_err();
        assert!(said.contains(expect), "{lines}: {said}");
    };
    check("filter = \"a\"\ndecode = \"sparkplug\"", "topics start with `spBv1.0/`");
    check("filter = \"a\"\ndecode = \"number\"\nchannels = \"x\"", "has `channels`, which needs");
    check("filter = \"a\"\ndecode = \"text\"\ntime = { zone = \"UTC\" }", "has `time`, which needs");
    check("filter = \"a\"\ndecode = \"log\"\ntime = { field = \"t\" }", "has `time.field`, which needs");
    check("filter = \"a\"\ndecode = \"cayenne\"\ndevice = \"payload(x)\"", "which needs");
    check("filter = \"a\"\ndecode = \"senml\"\ndevice = \"payload(n)\"", "`payload(bn)`");
    check(
        "preset = \"homie\"",
        "it is one of `tasmota`, `zigbee2mqtt`, `shelly`, `esphome`, `ttn`, `chirpstack`",
    );
    for (key, line) in [
        ("decode", "decode = \"json\""),
        ("id", "id = \"x\""),
        ("channels", "channels = \"x\""),
        ("time.field", "time = { field = \"x\" }"),
        ("time.unit", "time = { unit = \"s\" }"),
    ] {
        check(&format!("preset = \"ttn\"\n{line}"), &format!("has `{key}` beside `preset = \"ttn\"`"));
    }
    check("preset = \"ttn\"\n[[route]]\npreset = \"ttn\"", "route 2 (`ttn`) is never reached: route 1");
    let many = (0..1_001).map(|n| format!("\"c{n}\"")).collect::<Vec<_>>().join(",");
    check(&format!("filter = \"a\"\nignore = [{many}]"), "has 1001 entries of `ignore`; the most is 1000");
}

#[test]
fn what_a_decoder_and_a_preset_can_honour_loads() {
    for lines in [
        "filter = \"a\"\ndecode = \"log\"\nzone = \"Europe/Berlin\"",
        "filter = \"a\"\ndecode = \"senml\"\ndevice = \"payload(bn)\"",
        "filter = \"a\"\ndecode = \"cbor\"\nid = \"m\"\nchannels = \"d\"\ndevice = \"payload(x)\"",
        "filter = \"a\"\ndecode = \"number\"\nrename = { a = \"b\" }",
        "preset = \"tasmota\"\nzone = \"Europe/Berlin\"\nlane = \"bulk\"\nkeep = \"journal\"",
        "preset = \"tasmota\"\nfilter = \"site/+/tele/#\"\ntime = { zone = \"UTC\", not_before = \"2020-01-01\" }",
        "preset = \"chirpstack\"\ndevice = \"payload(deviceInfo.deviceName)\"\nignore = [\"radio.*\"]",
    ] {
        assert!(load(&format!("[[route]]\n{lines}")).is_ok(), "{lines}");
    }
}

/// `topic device`: whose readings a message is, and by which decoder; `-` where nothing is read.
fn owner(routes: &Routes, topic: &str) -> String {
    use model::{Names, Origin};
    match routes.find(topic) {
        None => "unrouted".to_owned(),
        Some(route) if route.keep() != Keep::All => "-".to_owned(),
        Some(route) => {
            let device = route.device_of(topic, &Origin::inside(1), &mut Names::new());
            device.map_or("no device".to_owned(), |device| device.to_string())
        }
    }
}

#[test]
fn a_preset_knows_whose_topics_are_by_default_and_on_topics_of_ones_own() {
    let check = |lines: &str, topics: &[(&str, &str)]| {
        let routes = load(&format!("[[route]]\n{lines}")).expect(lines);
        for (topic, expect) in topics {
            assert_eq!(owner(&routes, topic), *expect, "{topic} by {lines}");
        }
    };
    check(
        "preset = \"tasmota\"",
        &[
            ("tele/plug/SENSOR", "plug"),
            ("tele/plug/LWT", "plug"),
            ("stat/plug/POWER", "-"),
            ("tele/plug/X", "unrouted"),
        ],
    );
    check(
        "preset = \"tasmota\"\nfilter = \"+/tele/#\"",
        &[("plug/tele/STATE", "plug"), ("tele/plug/STATE", "unrouted")],
    );
    check(
        "preset = \"tasmota\"\nfilter = \"home/+/SENSOR\"",
        &[("home/plug/SENSOR", "plug"), ("home/plug/LWT", "unrouted")],
    );
    check(
        "preset = \"zigbee2mqtt\"",
        &[
            ("zigbee2mqtt/first floor/lamp 1", "first_floor_lamp_1"),
            ("zigbee2mqtt/first floor/lamp 1/availability", "first_floor_lamp_1"),
            ("zigbee2mqtt/first floor/lamp 1/set", "-"),
            ("zigbee2mqtt/lamp/set/state", "-"),
            ("zigbee2mqtt/lamp/get", "-"),
            ("zigbee2mqtt/bridge/state", "-"),
            ("zigbee2mqtt/bridge/request/restart", "-"),
        ],
    );
    check(
        "preset = \"zigbee2mqtt\"\nfilter = \"site/zigbee/#\"",
        &[
            ("site/zigbee/lamp", "lamp"),
            ("site/zigbee/a/b/availability", "a_b"),
            ("site/zigbee/bridge/info", "-"),
        ],
    );
    check(
        "preset = \"zigbee2mqtt\"\nfilter = \"zigbee2mqtt/+\"",
        &[("zigbee2mqtt/lamp", "lamp"), ("zigbee2mqtt/a/b", "unrouted")],
    );
    check(
        "preset = \"shelly\"",
        &[
            ("shellyplus1pm-a8032ab1/events/rpc", "shellyplus1pm-a8032ab1"),
            ("shellyplus1pm-a8032ab1/online", "shellyplus1pm-a8032ab1"),
            ("shellies/shelly1-12AB/relay/0", "shelly1-12AB"),
            ("shellies/shelly1-12AB/relay/0/command", "-"),
            ("shellies/shelly1-12AB/online", "shelly1-12AB"),
            ("shellies/announce", "-"),
        ],
    );
    check(
        "preset = \"shelly\"\nfilter = \"home/shellies/+/#\"",
        &[("home/shellies/s1/relay/0", "s1"), ("home/shellies/s1/announce", "s1")],
    );
    check(
        "preset = \"shelly\"\nfilter = \"site/+/#\"",
        &[("site/s1/events/rpc", "s1"), ("site/s1/relay/0", "unrouted")],
    );
    check(
        "preset = \"esphome\"",
        &[
            ("node/sensor/t/state", "node"),
            ("node/status", "node"),
            ("homeassistant/status", "-"),
            ("node/debug", "unrouted"),
        ],
    );
    check(
        "preset = \"ttn\"",
        &[("v3/app@ttn/devices/dev1/up", "dev1"), ("v3/app@ttn/devices/dev1/down/sent", "-")],
    );
    check(
        "preset = \"chirpstack\"",
        &[("application/a/device/0102/event/up", "0102"), ("application/a/device/0102/event/ack", "-")],
    );
    check(
        "preset = \"esphome\"\ndevice = \"topic(3)\"",
        &[("node/sensor/t/state", "t"), ("node/status", "no device")],
    );
}

#[test]
fn an_unknown_key_is_an_error_that_names_its_line() {
    let said = load("[[route]]\nfilter = \"a\"\ndecoder = \"json\"").unwrap_err();
    assert!(said.contains("line 3") && said.contains("unknown field `decoder`"), "{said}");
    let said = load("[[route]]\nfilter = \"a\"\ntime = { feld = \"ts\" }").unwrap_err();
    assert!(said.contains("line 3") && said.contains("unknown field `feld`"), "{said}");
}

#[test]
fn more_routes_than_the_bound_are_refused() {
    let settings: Vec<_> =
        (0..257).map(|n| RouteSettings { filter: format!("a{n}"), ..RouteSettings::default() }).collect();
    assert!(Routes::new(&settings[..256]).is_ok());
    let said = Routes::new(&settings).unwrap_err().to_string();
    assert_eq!(said, "route 257 (`a256`) is one too many: 257 routes, at most 256");
}

proptest! {
    #[test]
    fn a_route_matches_what_its_filter_matches(
        filter in "(\\+|a|b|)(/(\\+|a|b|)){0,3}(/#)?|#",
        topic in "(\\$a|a|b|)(/(a|b|)){0,4}",
    ) {
        prop_assume!(!filter.is_empty());
        let route = RouteSettings { filter: filter.clone(), ..RouteSettings::default() };
        let routes = Routes::new(&[route]).expect("a route");
        let expect = TopicFilter::parse(filter).expect("a filter").matches(&topic);
        prop_assert_eq!(routes.find(&topic).is_some(), expect);
    }
}
