//! What a channel's name means.

use std::time::Duration;

use model::channel::{ChannelKind, ChannelSettings, Channels};

fn channels(toml: &str) -> Result<Channels, String> {
    #[derive(serde::Deserialize)]
    struct File {
        channel: Vec<ChannelSettings>,
    }
    let file: File = toml::from_str(toml).map_err(|error| error.to_string())?;
    Channels::new(&file.channel).map_err(|error| error.to_string())
}

#[test]
fn well_known_names_have_units_and_kinds() {
    let channels = Channels::default();
    let check = |name: &str, kind: ChannelKind, unit: Option<&str>| {
        let channel = channels.find(name);
        assert_eq!((channel.kind(), channel.unit()), (kind, unit), "{name}");
    };
    check("temperature", ChannelKind::Gauge, Some("Cel"));
    check("DS18B20-1.Temperature", ChannelKind::Gauge, Some("Cel"));
    check("switch:0.aenergy.total", ChannelKind::Counter, Some("W.h"));
    check("ENERGY.Total", ChannelKind::Counter, Some("kW.h"));
    check("health.online", ChannelKind::State, None);
    check("log", ChannelKind::Event, None);
    check("whatever", ChannelKind::Gauge, None);
    assert!(channels.find("log").appends());
    assert_eq!(channels.find("log").hold(), Some(Duration::ZERO), "an event is over at once");
    assert!(!channels.find("state").appends());
}

#[test]
fn the_first_that_fits_is_taken_and_leaves_the_rest_to_those_after_it() {
    let channels = channels(
        r#"
        [[channel]]
        name = "temperature"
        min = -40
        max = 85.5
        [[channel]]
        name = "freezer.*"
        hold = "1h"
        interval = "60s"
        [[channel]]
        name = "*.pulses"
        rollover = 65536
        [[channel]]
        name = "energy"
        kind = "gauge"
        "#,
    )
    .expect("right");
    let temperature = channels.find("temperature");
    assert_eq!(temperature.unit(), Some("Cel"), "bounds do not take the unit away");
    assert!(temperature.allows(85.5));
    assert!(!temperature.allows(85.6));
    assert!(!temperature.allows(-40.1));
    let freezer = channels.find("freezer.temperature");
    assert_eq!(
        (freezer.hold(), freezer.interval()),
        (Some(Duration::from_secs(3_600)), Some(Duration::from_secs(60)))
    );
    let pulses = channels.find("gate.pulses");
    assert_eq!(
        (pulses.kind(), pulses.rollover()),
        (ChannelKind::Counter, Some(65_536.0)),
        "only a counter rolls over"
    );
    assert_eq!(channels.find("energy").kind(), ChannelKind::Gauge);
    assert_eq!(channels.find("energy").unit(), Some("kW.h"));
}

#[test]
fn the_unit_of_the_settings_wins_then_the_device_s_then_the_name_s() {
    let channels = channels(
        r#"
        [[channel]]
        name = "temperature"
        unit = "K"
        [[channel]]
        name = "humidity"
        max = 100
        [[channel]]
        name = "outside.temperature"
        min = -60
        [[channel]]
        name = "outside.*"
        unit = "[degF]"
        "#,
    )
    .expect("right");
    let check = |name: &str, said: Option<&str>, expect: Option<&str>| {
        assert_eq!(channels.find(name).unit_or(said), expect, "{name} {said:?}");
    };
    check("temperature", Some("Cel"), Some("K"));
    check("humidity", Some("g/m3"), Some("g/m3"));
    check("humidity", None, Some("%"));
    check("outside.temperature", Some("Cel"), Some("[degF]"));
    check("*.temperature", Some("[degF]"), Some("[degF]"));
    check("anything", Some("N"), Some("N"));
    check("anything", None, None);
    check("voltage", None, None);
}

#[test]
fn every_mistake_of_every_channel_is_told_at_once() {
    let wrong = channels(
        r#"
        [[channel]]
        name = "t"
        unit = "°C"
        kind = "thermometer"
        min = 10
        max = 5
        [[channel]]
        unit = "kW.h"
        on_conflict = "append"
        [[channel]]
        name = "a*"
        kind = "gauge"
        rollover = 0
        interval = "10ms"
        [[channel]]
        name = "abc"
        on_conflict = "keep"
        unit = "m per s"
        "#,
    )
    .expect_err("refused");
    assert_eq!(
        wrong,
        "channel 1 (`t`) has `kind = \"thermometer\"`; it is one of `gauge`, `counter`, `state`, `event`\n\
         channel 1 (`t`) has `unit = \"°C\"`; in UCUM that is `Cel`\n\
         channel 1 (`t`) has `min = 10` above `max = 5`; no value is between them\n\
         channel 2 (``) has no `name`; name the channel, such as `name = \"temperature\"`\n\
         channel 2 (``) has `on_conflict = \"append\"`, which only an event has: of anything else one value is true at a time; write `kind = \"event\"` too\n\
         channel 3 (`a*`) has an `interval` below a second; the least is `1s`\n\
         channel 3 (`a*`) has a `rollover`, which only a counter has; write `kind = \"counter\"`\n\
         channel 3 (`a*`) has `rollover = 0`; it is the number of values that the counter has, such as 4294967296\n\
         channel 4 (`abc`) has `on_conflict = \"keep\"`; it is `replace` or `append`\n\
         channel 4 (`abc`) has `unit = \"m per s\"` with the character ` `; a unit is UCUM, such as `Cel`, `kW.h` or `ug/m3`\n\
         channel 4 (`abc`) is never reached: channel 3 (`a*`) stands for its names already; put this one before it, or remove one"
    );
    let unknown = channels("[[channel]]\nname = \"t\"\nunits = \"Cel\"\n").expect_err("refused");
    assert!(unknown.contains("unknown field `units`"), "{unknown}");
    let many: String = (0..1_001).map(|n| format!("[[channel]]\nname = \"c{n}\"\n")).collect();
    let refused = channels(&many).expect_err("refused");
    assert!(refused.contains("is one too many: 1001 channels, at most 1000"), "{refused}");
}

#[test]
fn other_rules_have_another_number() {
    let with = |toml: &str| channels(toml).expect("right").rules();
    let known = Channels::default().rules();
    assert_eq!(known, Channels::default().rules());
    assert_ne!(known, with("[[channel]]\nname = \"t\"\nhold = \"1h\"\n"));
    assert_ne!(
        with("[[channel]]\nname = \"t\"\nhold = \"2h\"\n"),
        with("[[channel]]\nname = \"t\"\nhold = \"1h\"\n")
    );
    assert_eq!(
        with("[[channel]]\nname = \"t\"\nunit = \"Cel\"\n"),
        with("[[channel]]\nname = \"t\"\nunit = \"K\"\n"),
        "a unit changes no rollup"
    );
}
