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
        filter = "tele/+/SENSOR"
        preset = "tasmota"
        lane = "fast"
        rename = { a = "b" }
        [[route]]
        filter = "a/#/b"
        decode = "cbor"
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
        ignore = ["y"]
        channels = "data"
        [[route]]
        filter = "x"
        decode = "yaml"
        "#,
    )
    .unwrap_err();
    let expect = [
        "route 1 (``) has no `filter`; name the topics, such as `filter = \"dt/+/#\"`",
        "route 1 (``) is wrong: `device` has `topic(0)`; levels are counted from 1, such as `topic(2)`",
        "route 2 (`tele/+/SENSOR`) has `preset`, which is not available yet; remove it (write `device` and `decode` out)",
        "route 2 (`tele/+/SENSOR`) has `rename`, which is not available yet; remove it (channels are named as the payload names them)",
        "route 2 (`tele/+/SENSOR`) has `lane = \"fast\"`; it is one of `alarm`, `control`, `telemetry`, `bulk`",
        "route 3 (`a/#/b`) has a `filter` that is none: filter `a/#/b` is malformed: `+` must be a whole level and `#` the whole last level",
        "route 3 (`a/#/b`) has `decode = \"cbor\"`, which is not available yet; there are `json`, `number`, `text` and `raw` (keeps the bytes in the journal)",
        "route 4 (`a/+/c`) has `device = \"{topic(2)}-{topic(4)}\"`, but its topics have 3 levels, not 4",
        "route 4 (`a/+/c`) has `keep = \"some\"`; it is one of `all`, `journal`, `none`",
        "route 4 (`a/+/c`) has an empty `id`; name a field of the payload, such as `id = \"msg.id\"`",
        "route 4 (`a/+/c`) has `id`, which needs `decode = \"json\"`: other payloads have no fields",
        "route 5 (`$aws/things`) starts with `$`; such topics are reserved and carry no readings",
        "route 6 (`x`) has `channels`, which is not available yet; remove it (every field of the payload is a channel)",
        "route 6 (`x`) has `ignore`, which is not available yet; remove it (every field of the payload is a channel)",
        "route 6 (`x`) has an empty `time.field`; name a field of the payload, such as `time.field = \"msg.id\"`",
        "route 6 (`x`) has `time.unit = \"min\"`; it is one of `auto`, `s`, `ms`, `us`, `ns`",
        "route 6 (`x`) has `time.zone = \"Mars/Olympus\"`, which this machine does not know; write a name such as `Europe/Berlin` (package tzdata) or `UTC`",
        "route 6 (`x`) has `time.not_before = \"long ago\"`; write a date such as `2000-01-08` or a time such as `2000-01-08T00:00:00Z`",
        "route 7 (`x`) has `decode = \"yaml\"`; it is one of `json`, `number`, `text`, `raw`",
        "route 7 (`x`) is never reached: route 6 has the same `filter`; remove one",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expect);
}

#[test]
fn what_is_not_available_yet_is_refused() {
    for decode in ["senml", "cbor", "cayenne", "sparkplug", "log"] {
        let said = load(&format!("[[route]]\nfilter = \"a\"\ndecode = \"{decode}\"")).unwrap_err();
        assert!(said.contains("not available yet"), "{said}");
    }
    for line in ["preset = \"ttn\"", "rename = {}", "ignore = []", "channels = \"a\""] {
        let said = load(&format!("[[route]]\nfilter = \"a\"\n{line}")).unwrap_err();
        assert!(said.contains("not available yet"), "{said}");
    }
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
