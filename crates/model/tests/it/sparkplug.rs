//! What edge nodes of Sparkplug say leads to readings, presence and requests for births, as the standard has it.

use model::sparkplug::{EdgeNode, Noted, Sparkplug, Told, rebirth_request};
use model::{Names, RouteSettings, Routes, Timestamp, Value as Stored};
use proptest::prelude::*;

use crate::edge::{
    self, BOOLEAN, BYTES, DATA_SET, DATE_TIME, DOUBLE, DataSet, Edge, FLOAT, INT8, INT16, INT32, INT64,
    Metric, Publish, STRING, TEMPLATE, Template, UINT32, UINT64, Value, aliased, asks_for_births, born,
    named,
};

/// 2026-11-22T12:00:00Z in milliseconds.
const NOON: u64 = 1_795_348_800_000;

/// A host: the route, and what it remembers.
#[derive(Clone)]
struct Host {
    routes: Routes,
    state: Sparkplug,
    /// Milliseconds since noon by the server's clock.
    now_ms: i64,
}

impl Host {
    fn new() -> Self {
        Self::with("")
    }

    fn with(toml: &str) -> Self {
        let text = format!("filter = \"spBv1.0/#\"\ndecode = \"sparkplug\"\n{toml}");
        let settings: RouteSettings = toml::from_str(&text).expect("settings");
        let routes = Routes::new(&[settings]).expect("a route");
        Self { routes, state: Sparkplug::default(), now_ms: 0 }
    }

    fn hear(&mut self, (topic, payload): &Publish) -> Told {
        let mut message = crate::message(topic, payload);
        message.received_at = Timestamp::from_micros((NOON as i64 + self.now_ms) * 1_000);
        let route = self.routes.find(topic).expect("the route");
        let decoded = route.decode(&message, &mut Names::new()).expect("Sparkplug");
        assert!(decoded.samples.is_empty(), "samples are made by the state");
        decoded.sparkplug.map(|heard| self.state.take(*heard)).unwrap_or_default()
    }

    /// What a message leads to, as lines.
    fn lines(&mut self, publish: &Publish) -> Vec<String> {
        self.hear(publish).samples.iter().flat_map(lines).collect()
    }

    /// The names of what was unusual, `REBIRTH_WANTED` when births are to be asked for.
    fn noted(&mut self, publish: &Publish) -> String {
        let told = self.hear(publish);
        assert_eq!(told.rebirth.is_some(), told.noted.contains(Noted::REBIRTH_WANTED));
        told.noted.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(" ")
    }
}

/// A reading as `device channel time=value flags`, the time in milliseconds since noon.
fn lines(sample: &model::Sample) -> Vec<String> {
    let line = |reading: &model::Reading| {
        let ms = sample.time.micros().div_euclid(1_000) - NOON as i64;
        let value = match &reading.value {
            Stored::Number(number) => number.to_string(),
            Stored::Text(text) => format!("{text:?}"),
            Stored::BigInteger(_, digits) => digits.to_string(),
        };
        let flags = match sample.flags.bits() {
            0 => String::new(),
            bits => format!(" flags {bits}"),
        };
        format!("{} {} {ms}={value}{flags}", sample.device, reading.channel)
    };
    sample.readings.iter().map(line).collect()
}

fn double(value: f64) -> Value {
    Value::Double(value)
}

/// A node that has been born with `t` (alias 1) and a device `oven` with `heat` (alias 2).
fn plant(host: &mut Host) -> Edge {
    let mut edge = Edge::new("plant", "line 1", NOON);
    host.hear(&edge.birth(vec![born("t", 1, DOUBLE, double(20.0))]));
    host.hear(&edge.device_birth("oven", vec![born("heat", 2, DOUBLE, double(180.0))]));
    edge
}

#[test]
fn births_and_data_become_readings_and_presence() {
    let mut host = Host::new();
    let mut edge = Edge::new("plant", "line 1", NOON);
    let birth = edge
        .birth(vec![born("t", 1, FLOAT, Value::Float(21.3)), born("on", 2, BOOLEAN, Value::Boolean(true))]);
    host.now_ms = 40;
    assert_eq!(
        host.lines(&birth),
        [
            "plant:line_1 t 0=21.3 flags 32",
            "plant:line_1 on 0=1 flags 32",
            "plant:line_1 health.online 40=1 flags 1"
        ]
    );
    edge.now_ms += 1_000;
    let device = edge.device_birth("oven", vec![born("Zone/heat", 3, DOUBLE, double(180.5)).at(NOON + 500)]);
    host.now_ms = 1_040;
    assert_eq!(
        host.lines(&device),
        ["plant:line_1:oven Zone/heat 500=180.5 flags 32", "plant:line_1:oven health.online 1040=1 flags 1"]
    );
    edge.now_ms += 1_000;
    let data =
        edge.data(vec![aliased(1, Value::Float(21.4)), aliased(2, Value::Boolean(false)).at(NOON + 1_500)]);
    assert_eq!(host.lines(&data), ["plant:line_1 on 1500=0", "plant:line_1 t 2000=21.4"]);
    let data = edge.device_data("oven", vec![aliased(3, double(181.0))]);
    assert_eq!(host.lines(&data), ["plant:line_1:oven Zone/heat 2000=181"]);
    let data = edge.data(vec![named("t", Value::Float(21.5))]);
    assert_eq!(host.lines(&data), ["plant:line_1 t 2000=21.5"], "by its name too");
}

#[test]
fn a_birth_tells_the_units_and_data_does_not() {
    let mut host = Host::with("ignore = [\"hidden\"]\nrename = { \"p\" = \"pressure\" }\n");
    let mut edge = Edge::new("plant", "line 1", NOON);
    let born = |name: &str, alias, unit: &str| born(name, alias, DOUBLE, double(1.0)).in_unit(unit);
    let told = host.hear(&edge.birth(vec![
        born("t", 1, "°C"),
        born("p", 2, "bar"),
        born("hidden", 3, "m"),
        born("odd", 4, "parts of a whole"),
        born("none", 5, "").null(),
    ]));
    let units = |told: &Told| -> Vec<String> {
        told.units.iter().map(|unit| format!("{} {}", unit.channel, unit.unit)).collect()
    };
    assert_eq!(units(&told), ["t Cel", "pressure bar"]);
    let told = host.hear(&edge.data(vec![aliased(1, double(2.0)).in_unit("K")]));
    assert_eq!((units(&told).len(), told.samples.len()), (0, 1));
    let told = host.hear(&edge.device_birth("oven", vec![born("heat", 6, "K")]));
    assert_eq!(units(&told), ["heat K"]);
}

#[test]
fn every_type_becomes_what_the_manual_says() {
    let mut host = Host::new();
    let mut edge = Edge::new("g", "n", NOON);
    let births = vec![
        born("int8", 1, INT8, Value::Int(0xff)),
        born("int16", 2, INT16, Value::Int(0xffff_fffe)),
        born("int32", 3, INT32, Value::Int(0xffff_fffd)),
        born("int64", 4, INT64, Value::Long(u64::MAX - 3)),
        born("uint32", 5, UINT32, Value::Int(u32::MAX)),
        born("uint64", 6, UINT64, Value::Long(u64::MAX)),
        born("text", 7, STRING, Value::Text("none".to_owned())),
        born("moment", 8, DATE_TIME, Value::Long(NOON)),
        born("nan", 9, DOUBLE, double(f64::NAN)),
        born("null", 10, DOUBLE, double(0.0)).null(),
    ];
    let expect = [
        "int8 0=-1",
        "int16 0=-2",
        "int32 0=-3",
        "int64 0=-4",
        "uint32 0=4294967295",
        "uint64 0=18446744073709551615",
        "text 0=\"none\"",
        "moment 0=1795348800000",
    ];
    let mut got = host.lines(&edge.birth(births.clone()));
    assert_eq!(got.pop().as_deref(), Some("g:n health.online 0=1 flags 1"));
    assert_eq!(got, expect.map(|line| format!("g:n {line} flags 32")));
    // Data says no types: they are the birth's.
    let data = births.into_iter().map(|metric| Metric { name: None, datatype: None, ..metric }).collect();
    assert_eq!(host.lines(&edge.data(data)), expect.map(|line| format!("g:n {line}")));

    let skipped = vec![
        born(
            "table",
            11,
            DATA_SET,
            Value::DataSet(DataSet { num_of_columns: Some(1), ..DataSet::default() }),
        ),
        born("blob", 12, BYTES, Value::Bytes(vec![1])),
        born(
            "motor",
            13,
            TEMPLATE,
            Value::Template(Template { metrics: vec![named("x", double(1.0))], version: None }),
        ),
        born("bell\u{7}", 14, DOUBLE, double(1.0)),
        born("good", 15, DOUBLE, double(1.0)),
    ];
    edge.now_ms += 1;
    let told = host.hear(&edge.birth(skipped));
    assert_eq!(told.samples.iter().flat_map(lines).count(), 2, "`good` and presence");
    assert_eq!(told.noted, Noted::VALUES_SKIPPED);
}

#[test]
fn a_gap_asks_for_births_and_goes_on_less_and_less_often() {
    let mut host = Host::new();
    let mut edge = plant(&mut host);
    edge.seq += 1;
    let after_gap = edge.data(vec![aliased(1, double(21.0))]);
    let told = host.hear(&after_gap);
    assert_eq!(told.samples.len(), 1, "what came is stored all the same");
    assert_eq!(told.rebirth, Some(EdgeNode::new("plant", "line 1")));
    assert!(host.state.wants_birth(&EdgeNode::new("plant", "line 1")));

    let mut asked_s = Vec::new();
    for s in 1..4_000 {
        host.now_ms = s * 1_000;
        edge.now_ms = NOON + s as u64 * 1_000;
        if host.hear(&edge.data(vec![aliased(1, double(21.0))])).rebirth.is_some() {
            asked_s.push(s);
        }
    }
    assert_eq!(asked_s, [60, 180, 420, 900, 1_860, 2_820, 3_780]);

    host.hear(&edge.birth(vec![born("t", 1, DOUBLE, double(20.0))]));
    assert!(!host.state.wants_birth(&EdgeNode::new("plant", "line 1")));
    assert_eq!(host.noted(&edge.data(vec![aliased(1, double(22.0))])), "");
    assert_eq!(host.noted(&edge.device_data("oven", vec![])), "UNBORN", "its birth must follow its node's");
}

#[test]
fn sequence_numbers_wrap_without_a_gap() {
    let mut host = Host::new();
    let mut edge = plant(&mut host);
    for n in 0..700 {
        edge.now_ms += 1;
        assert_eq!(host.noted(&edge.data(vec![aliased(1, double(f64::from(n)))])), "");
    }
}

#[test]
fn data_that_no_birth_explains_asks_for_one_and_keeps_what_explains_itself() {
    let mut host = Host::new();
    let mut edge = Edge::new("plant", "line 1", NOON);
    edge.seq = 17;
    let data =
        edge.data(vec![aliased(1, double(1.0)), named("t", double(2.0)), named("n", Value::Int(u32::MAX))]);
    let told = host.hear(&data);
    assert_eq!(told.samples.iter().flat_map(lines).collect::<Vec<_>>(), ["plant:line_1 t 0=2"]);
    assert_eq!(told.noted, Noted::UNBORN | Noted::UNKNOWN_METRIC | Noted::REBIRTH_WANTED);
    assert_eq!(
        host.noted(&edge.data(vec![aliased(1, double(1.0))])),
        "UNBORN UNKNOWN_METRIC",
        "once a minute"
    );

    let mut edge = plant(&mut host);
    assert_eq!(host.noted(&edge.data(vec![aliased(99, double(1.0))])), "UNKNOWN_METRIC");
    host.now_ms = 60_000;
    assert_eq!(host.noted(&edge.data(vec![aliased(1, double(1.0))])), "REBIRTH_WANTED");
    assert_eq!(host.noted(&edge.device_data("mill", vec![aliased(2, double(1.0))])), "UNBORN UNKNOWN_METRIC");
}

#[test]
fn a_request_for_births_is_what_the_standard_says() {
    let payload = rebirth_request(Timestamp::from_micros(NOON as i64 * 1_000));
    assert!(asks_for_births(&payload));
}

#[test]
fn what_was_overtaken_is_stored_and_asks_for_nothing() {
    let mut host = Host::new();
    let mut edge = plant(&mut host);
    for round in 0..100 {
        edge.now_ms += 10;
        let first = edge.data(vec![aliased(1, double(f64::from(round)))]);
        edge.now_ms += 10;
        let second = edge.data(vec![aliased(1, double(f64::from(round) + 0.5))]);
        host.now_ms += 20;
        assert_eq!(host.hear(&second).samples.len(), 1);
        host.now_ms += 30;
        let told = host.hear(&first);
        assert_eq!((told.samples.len(), told.noted), (1, Noted::OVERTAKEN));
        assert!(
            !host.state.wants_birth(&EdgeNode::new("plant", "line 1")),
            "nothing is missing when the wait is over"
        );
        assert_eq!(host.noted(&first), "AGAIN", "a repeat opens no gap either");
    }
    // The first request that would have left is not held against a real gap.
    edge.seq += 1;
    edge.now_ms += 10;
    assert_eq!(host.noted(&edge.data(vec![aliased(1, double(0.0))])), "GAP REBIRTH_WANTED");
}

#[test]
fn what_was_sent_before_a_birth_is_not_read_by_it() {
    let mut host = Host::new();
    let mut edge = plant(&mut host);
    edge.now_ms += 5;
    let before = edge.data(vec![aliased(1, double(77.0))]);
    edge.now_ms += 5;
    // The same alias means something else now.
    host.hear(&edge.birth(vec![born("pressure", 1, DOUBLE, double(1.0))]));
    host.now_ms += 10;
    let told = host.hear(&before);
    assert_eq!((told.samples.len(), told.noted), (0, Noted::BEFORE_BIRTH));
    assert_eq!(host.lines(&edge.data(vec![aliased(1, double(1.1))])), ["plant:line_1 pressure 10=1.1"]);
}

#[test]
fn a_death_ends_its_node_and_all_devices_and_an_old_one_nothing() {
    let mut host = Host::new();
    let mut edge = plant(&mut host);
    host.hear(&edge.device_birth("mill", vec![born("rpm", 3, INT32, Value::Int(100))]));
    let old_death = edge.death();
    host.hear(&edge.device_death("oven"));

    // The connection breaks and comes back before the server notices: another bdSeq.
    edge.bd_seq = 1;
    edge.now_ms += 60_000;
    host.now_ms = 60_000;
    assert_eq!(
        host.lines(&edge.birth(vec![born("t", 1, DOUBLE, double(21.0))])),
        [
            "plant:line_1 t 60000=21 flags 32",
            "plant:line_1:mill health.online 60000=0 flags 1",
            "plant:line_1 health.online 60000=1 flags 1"
        ],
        "what the node had behind it ended with its connection"
    );
    host.hear(&edge.device_birth("mill", vec![born("rpm", 3, INT32, Value::Int(100))]));
    assert_eq!(host.noted(&old_death), "STALE_DEATH");
    assert_eq!(host.lines(&edge.data(vec![aliased(1, double(22.0))])), ["plant:line_1 t 60000=22"]);

    host.now_ms = 70_000;
    assert_eq!(
        host.lines(&edge.death()),
        ["plant:line_1:mill health.online 70000=0 flags 1", "plant:line_1 health.online 70000=0 flags 1"]
    );
    assert_eq!(host.noted(&edge.death()), "STALE_DEATH", "it is dead already");
    assert!(!host.state.wants_birth(&EdgeNode::new("plant", "line 1")), "the dead are not asked");
    assert_eq!(host.noted(&Edge::new("plant", "unknown", NOON).death()), "STALE_DEATH");
}

#[test]
fn a_device_dies_alone_and_is_born_again() {
    let mut host = Host::new();
    let mut edge = plant(&mut host);
    assert_eq!(host.lines(&edge.device_death("oven")), ["plant:line_1:oven health.online 0=0 flags 1"]);
    assert_eq!(
        host.noted(&edge.device_data("oven", vec![aliased(2, double(1.0))])),
        "UNBORN UNKNOWN_METRIC REBIRTH_WANTED"
    );
    host.hear(&edge.device_birth("oven", vec![born("heat", 7, DOUBLE, double(180.0))]));
    assert_eq!(
        host.lines(&edge.device_data("oven", vec![aliased(7, double(1.0))])),
        ["plant:line_1:oven heat 0=1"]
    );
    // A death that was overtaken by the birth after it says nothing any more.
    let death = edge.device_death("oven");
    edge.now_ms += 1;
    let birth = edge.device_birth("oven", vec![born("heat", 7, DOUBLE, double(180.0))]);
    host.hear(&birth);
    assert_eq!(host.lines(&death), [""; 0]);
    assert_eq!(
        host.lines(&edge.device_data("oven", vec![aliased(7, double(2.0))])),
        ["plant:line_1:oven heat 1=2"]
    );
}

#[test]
fn history_is_stored_at_its_own_time_and_is_late_whatever_it_says() {
    let mut host = Host::new();
    let mut edge = plant(&mut host);
    let hour = 3_600_000;
    let history = edge.data(vec![
        aliased(1, double(5.0)).historical(NOON - 2 * hour),
        aliased(1, double(6.0)).historical(NOON - hour),
        aliased(1, double(7.0)),
        aliased(1, double(8.0)).historical(5_000),
    ]);
    let told = host.hear(&history);
    let got: Vec<_> = told.samples.iter().flat_map(lines).collect();
    assert_eq!(
        got,
        ["plant:line_1 t -7200000=5 flags 4", "plant:line_1 t -3600000=6 flags 4", "plant:line_1 t 0=7"]
    );
    assert_eq!(told.noted, Noted::TIME_UNBELIEVABLE, "what cannot say of when it is is not now");
}

#[test]
fn a_birth_repeats_nothing_that_is_older_than_what_is_known() {
    let mut host = Host::new();
    let mut edge = plant(&mut host);
    edge.now_ms += 10_000;
    host.now_ms = 10_000;
    host.hear(&edge.data(vec![aliased(1, double(25.0))]));
    edge.bd_seq = 1;
    // Two values that were cached: one older than what came, one as old.
    let mut rebirth = |at| edge.birth(vec![born("t", 1, DOUBLE, double(24.0)).at(at)]);
    let told = host.hear(&rebirth(NOON + 9_000));
    assert_eq!(
        (told.samples.len(), told.noted),
        (2, Noted::CACHED_REPEATS),
        "presence of node and device only"
    );
    edge.now_ms += 1;
    let mut rebirth = |at| edge.birth(vec![born("t", 1, DOUBLE, double(24.0)).at(at)]);
    assert_eq!(host.lines(&rebirth(NOON + 10_000))[0], "plant:line_1 t 10000=24 flags 32");
}

#[test]
fn a_birth_that_comes_twice_is_one() {
    let mut host = Host::new();
    let mut edge = Edge::new("g", "n", NOON);
    let birth = edge.birth(vec![born("t", 1, DOUBLE, double(20.0))]);
    host.hear(&birth);
    host.hear(&edge.data(vec![aliased(1, double(21.0))]));
    assert_eq!(host.noted(&birth), "AGAIN");
    assert_eq!(host.noted(&edge.data(vec![aliased(1, double(22.0))])), "", "the count goes on");
}

#[test]
fn commands_and_hosts_are_no_readings() {
    let mut host = Host::new();
    for topic in ["spBv1.0/plant/NCMD/line 1", "spBv1.0/plant/DCMD/line 1/oven", "spBv1.0/STATE/scada"] {
        assert_eq!(host.hear(&(topic.to_owned(), b"{\"online\":true}".to_vec())), Told::default());
    }
    assert_eq!(host.state, Sparkplug::default());
}

#[test]
fn what_is_not_sparkplug_is_refused_by_name() {
    let host = Host::new();
    let refused = |topic: &str, payload: &[u8]| {
        let message = crate::message(topic, payload);
        let route = host.routes.find(topic).expect("the route");
        route.decode(&message, &mut Names::new()).expect_err(topic).to_string()
    };
    let said = refused("spBv1.0/plant/NDATA", b"");
    assert!(said.starts_with("topic `spBv1.0/plant/NDATA` is not Sparkplug's"), "{said}");
    let said = refused("spBv1.0/plant/NDATA/line", b"{\"t\":1}");
    assert!(said.starts_with("payload is not Sparkplug B: "), "{said}");
    let many = edge::Payload { metrics: vec![Metric::default(); 10_001], ..edge::Payload::default() };
    let said = refused("spBv1.0/plant/NDATA/line", &prost::Message::encode_to_vec(&many));
    assert_eq!(said, "payload has 10001 metrics; the most is 10000");
}

#[test]
fn a_route_may_name_nodes_and_devices_otherwise_but_not_alike() {
    let mut host = Host::with("device = \"{topic(2)}-{topic(4..)}\"");
    let mut edge = Edge::new("plant", "line", NOON);
    let birth = host.lines(&edge.birth(vec![born("t", 1, DOUBLE, double(20.0))]));
    assert_eq!(birth[0], "plant-line t 0=20 flags 32");
    let birth = host.lines(&edge.device_birth("oven", vec![born("t", 1, DOUBLE, double(20.0))]));
    assert_eq!(birth[0], "plant-line_oven t 0=20 flags 32");

    let refused = |toml: &str| {
        let settings: RouteSettings =
            toml::from_str(&format!("decode = \"sparkplug\"\n{toml}")).expect("settings");
        Routes::new(&[settings]).expect_err(toml).to_string()
    };
    let said = refused("filter = \"spBv1.0/#\"\ndevice = \"topic(4)\"");
    assert!(said.contains("write `{topic(2)}-{topic(4..)}`"), "{said}");
    let said = refused("filter = \"plant/#\"");
    assert!(said.contains("topics start with `spBv1.0/`"), "{said}");
}

#[test]
fn a_route_renames_and_ignores_metrics_by_the_names_of_their_birth() {
    let mut host = Host::with("rename = { \"Zone 1/*\" = \"zone.*\" }\nignore = [\"Properties/*\"]");
    let mut edge = Edge::new("g", "n", NOON);
    let births = vec![
        born("Zone 1/t", 1, DOUBLE, double(20.0)),
        born("Properties/OS", 2, STRING, Value::Text("x".to_owned())),
    ];
    assert_eq!(
        host.lines(&edge.birth(births)),
        ["g:n zone.t 0=20 flags 32", "g:n health.online 0=1 flags 1"]
    );
    let data = edge.data(vec![aliased(1, double(21.0)), aliased(2, Value::Text("y".to_owned()))]);
    let told = host.hear(&data);
    assert_eq!(told.samples.iter().flat_map(lines).collect::<Vec<_>>(), ["g:n zone.t 0=21"]);
    assert_eq!(told.noted, Noted::empty());
}

#[test]
fn memory_is_bounded_and_the_dead_make_room() {
    let mut host = Host::new();
    for n in 0..10_000 {
        let mut edge = Edge::new("g", &n.to_string(), NOON);
        host.now_ms = n;
        host.hear(&edge.birth(vec![born("t", 1, DOUBLE, double(20.0))]));
    }
    let mut late = Edge::new("g", "late", NOON);
    let birth = late.birth(vec![born("t", 1, DOUBLE, double(20.0))]);
    let told = host.hear(&birth);
    assert_eq!((told.samples.len(), told.noted), (2, Noted::NO_ROOM), "its readings are stored all the same");
    assert_eq!((host.state.nodes(), host.state.online()), (10_000, 10_000));
    host.hear(&Edge::new("g", "5", NOON).death());
    assert_eq!(host.hear(&birth).noted, Noted::empty());
    assert_eq!((host.state.nodes(), host.state.online()), (10_000, 10_000));
}

/// Something that happens at an edge node, or on the way.
#[derive(Debug, Clone)]
enum Step {
    Birth,
    Reconnect,
    Death,
    Data(u8, f64),
    DeviceBirth(u8),
    DeviceData(u8, u8, f64),
    DeviceDeath(u8),
    Lose,
    Swap,
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Birth),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Death),
        6 => (0..4_u8, -10.0..10.0).prop_map(|(alias, value)| Step::Data(alias, value)),
        2 => (0..3_u8).prop_map(Step::DeviceBirth),
        6 => (0..3_u8, 0..4_u8, -10.0..10.0).prop_map(|(d, alias, value)| Step::DeviceData(d, alias, value)),
        1 => (0..3_u8).prop_map(Step::DeviceDeath),
        1 => Just(Step::Lose),
        1 => Just(Step::Swap),
        2 => (0..100_000_u32).prop_map(Step::Wait),
    ]
}

/// The messages that the steps lead to, each with the time of receipt in milliseconds since noon.
fn messages(steps: &[Step]) -> Vec<(i64, Publish)> {
    let mut edge = Edge::new("g", "n", NOON);
    let mut messages: Vec<(i64, Publish)> = Vec::new();
    let metrics = || (0..3).map(|n| born(&format!("m{n}"), n, DOUBLE, double(n as f64))).collect();
    for step in steps {
        edge.now_ms += 10;
        let publish = match step {
            Step::Birth => edge.birth(metrics()),
            Step::Reconnect => {
                edge.bd_seq += 1;
                edge.birth(metrics())
            }
            Step::Death => edge.death(),
            Step::Data(alias, value) => edge.data(vec![aliased(u64::from(*alias), double(*value))]),
            Step::DeviceBirth(d) => edge.device_birth(&format!("d{d}"), metrics()),
            Step::DeviceData(d, alias, value) => {
                edge.device_data(&format!("d{d}"), vec![aliased(u64::from(*alias), double(*value))])
            }
            Step::DeviceDeath(d) => edge.device_death(&format!("d{d}")),
            Step::Lose => {
                messages.pop();
                continue;
            }
            Step::Swap => {
                if let [.., (_, one), (_, other)] = messages.as_mut_slice() {
                    std::mem::swap(one, other);
                }
                continue;
            }
            Step::Wait(ms) => {
                edge.now_ms += u64::from(*ms);
                continue;
            }
        };
        messages.push(((edge.now_ms - NOON) as i64 + 25, publish));
    }
    messages
}

proptest! {
    #[test]
    fn the_state_after_a_replay_from_any_kept_one_is_the_same(
        steps in prop::collection::vec(step(), 1..60),
        cut in any::<prop::sample::Index>(),
    ) {
        let messages = messages(&steps);
        let mut live = Host::new();
        let cut = cut.index(messages.len() + 1);
        let mut kept = live.state.to_bytes();
        let mut told = Vec::new();
        for (n, (now_ms, publish)) in messages.iter().enumerate() {
            if n == cut {
                kept = live.state.to_bytes();
                told.clear();
            }
            live.now_ms = *now_ms;
            told.push(live.hear(publish));
        }
        if cut == messages.len() {
            kept = live.state.to_bytes();
            told.clear();
        }
        let mut again = Host::new();
        again.state = Sparkplug::from_bytes(&kept).expect("what was written");
        let mut told_again = Vec::new();
        for (now_ms, publish) in &messages[cut..] {
            again.now_ms = *now_ms;
            told_again.push(again.hear(publish));
        }
        if cut < messages.len() {
            prop_assert_eq!(told, told_again);
        }
        prop_assert_eq!(&live.state, &again.state);
        prop_assert_eq!(live.state.to_bytes(), again.state.to_bytes());
    }

    #[test]
    fn presence_follows_births_and_deaths_alone(steps in prop::collection::vec(step(), 1..60)) {
        let mut host = Host::new();
        for (now_ms, publish) in messages(&steps) {
            host.now_ms = now_ms;
            let told = host.hear(&publish);
            let presence = told.samples.iter().flat_map(lines).filter(|line| line.contains("health.online")).count();
            let kind = publish.0.split('/').nth(2).unwrap_or_default();
            prop_assert!(presence == 0 || kind.ends_with("BIRTH") || kind.ends_with("DEATH"), "{}", publish.0);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        payloads in prop::collection::vec(any::<Vec<u8>>(), 1..8),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        kinds in prop::collection::vec(0..6_usize, 8),
    ) {
        let topics = ["NBIRTH/n", "NDEATH/n", "NDATA/n", "DBIRTH/n/d", "DDEATH/n/d", "DDATA/n/d"];
        let mut host = Host::new();
        let mut edge = plant(&mut host);
        let mut valid = edge.device_birth("d", vec![born("heat", 2, DOUBLE, double(180.0)), named("x", Value::Bytes(vec![1]))]).1;
        for (at, byte) in flips {
            let at = at.index(valid.len());
            valid[at] ^= byte;
        }
        for (payload, kind) in payloads.into_iter().chain([valid]).zip(kinds) {
            let message = crate::message(&format!("spBv1.0/plant/{}", topics[kind]), &payload);
            let route = host.routes.find(&message.topic).expect("the route");
            if let Ok(decoded) = route.decode(&message, &mut Names::new()) {
                host.state.take(*decoded.sparkplug.expect("of a node"));
            }
            let _ = Sparkplug::from_bytes(&payload);
        }
        let bytes = host.state.to_bytes();
        prop_assert_eq!(Sparkplug::from_bytes(&bytes).expect("what was written"), host.state);
    }
}
