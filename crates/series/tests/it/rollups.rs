//! Rollups are what their readings are.

mod cold;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::executor::block_on;
use host::sim::Machine;
use model::{ChannelSettings, Timestamp};
use proptest::prelude::*;
use series::{Cell, Offline, QueryLimits, Settings};

use crate::support::{START, ask, csv, open, open_channels, open_with, records, telemetry};

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Readings by device, channel and time; `None` is a text.
type Readings = BTreeMap<(String, String, i64), Option<f64>>;

/// A row, with the bits of its numbers.
type Row = (String, String, i64, i64, i64, [Option<u64>; 8], [Option<i64>; 2]);

/// `counter` starts again at 1,000; a value of `held` stands for ten minutes; `gauge` is a gauge.
fn channels() -> [ChannelSettings; 2] {
    let named = |name: &str| ChannelSettings { name: name.to_owned(), ..ChannelSettings::default() };
    [
        ChannelSettings { rollover: Some(1_000.0), ..named("counter") },
        ChannelSettings { hold: Some(Duration::from_secs(600)), ..named("held") },
    ]
}

/// The rollups of `readings` by plain arithmetic: whole numbers of 2^-60, which every value of these tests is.
fn naive(readings: &Readings, length: i64) -> Vec<Row> {
    type OfBucket = Vec<(i64, Option<f64>)>;
    let mut buckets: BTreeMap<(&str, &str, i64), OfBucket> = BTreeMap::new();
    for ((device, channel, time), value) in readings {
        let start = time.div_euclid(length) * length;
        buckets.entry((device, channel, start)).or_default().push((*time, *value));
    }
    let scale = 2_f64.powi(60);
    let rows = buckets.into_iter().map(|((device, channel, start), readings)| {
        let numbers: Vec<(i64, f64)> =
            readings.iter().filter_map(|(time, value)| Some((*time, (*value)?))).collect();
        let texts = (readings.len() - numbers.len()) as i64;
        let mut columns = [None; 8];
        let mut times = [None; 2];
        if let (Some(first), Some(last)) = (numbers.first(), numbers.last()) {
            let exact = |value: f64| (value * scale) as i128;
            let read = |sum: i128| sum as f64 / scale;
            let sum: i128 = numbers.iter().map(|(_, value)| exact(*value)).sum();
            let (mut stood, mut weighted, mut grown) = (0_i64, 0_i128, 0_i128);
            for (n, (time, value)) in numbers.iter().enumerate() {
                let next = numbers.get(n + 1);
                let until = next.map_or(start + length, |next| next.0);
                let hold = if channel == "held" { 600_000_000 } else { i64::MAX };
                let stands = (until - time).min(hold);
                stood += stands;
                weighted += exact(*value) * i128::from(stands);
                if let Some((_, next)) = next {
                    grown += if next >= value {
                        exact(*next) - exact(*value)
                    } else if *value < 1_000.0 && *next >= 0.0 && 1_000.0 - value + next < 500.0 {
                        exact(1_000.0) - exact(*value) + exact(*next)
                    } else if *next >= 0.0 && *next <= value / 2.0 {
                        exact(*next)
                    } else {
                        0
                    };
                }
            }
            let least = numbers.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
            let most = numbers.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
            let seconds = stood as f64 / 1e6;
            let all = [read(sum), least, most, first.1, last.1, seconds, read(weighted) / 1e6];
            for (column, value) in columns.iter_mut().zip(all) {
                *column = Some(value.to_bits());
            }
            columns[7] = (channel == "counter").then(|| read(grown).to_bits());
            times = [Some(first.0), Some(last.0)];
        }
        (device.to_owned(), channel.to_owned(), start, numbers.len() as i64, texts, columns, times)
    });
    rows.collect()
}

/// What a table answers.
fn table(store: &Offline, name: &str, condition: &str) -> Vec<Row> {
    let sql = format!(
        "SELECT device, channel, time, count, texts, sum, min, max, first, last, seconds, weighted_sum, increase, \
         first_time, last_time FROM {name} WHERE {condition} ORDER BY device, channel, time"
    );
    let rows = ask(store, &sql).expect("an answer");
    let rows = rows.into_iter().map(|row| {
        let text = |at: usize| match &row[at] {
            Cell::Text(text) => text.clone(),
            other => panic!("no text: {other:?}"),
        };
        let whole = |at: usize| match &row[at] {
            Cell::Integer(whole) => *whole,
            other => panic!("no integer: {other:?}"),
        };
        let moment = |at: usize| match &row[at] {
            Cell::Time(time) => Some(time.micros()),
            Cell::Null => None,
            other => panic!("no time: {other:?}"),
        };
        let number = |at: usize| match &row[at] {
            Cell::Number(number) => Some(number.to_bits()),
            Cell::Null => None,
            other => panic!("no number: {other:?}"),
        };
        let columns = std::array::from_fn(|at| number(5 + at));
        let time = moment(2).expect("a time");
        (text(0), text(1), time, whole(3), whole(4), columns, [moment(13), moment(14)])
    });
    rows.collect()
}

fn check(store: &Offline, readings: &Readings) -> Result<(), TestCaseError> {
    for (name, length) in [("readings_1m", MINUTE), ("readings_5m", 5 * MINUTE), ("readings_1h", HOUR)] {
        let expect = naive(readings, length);
        prop_assert_eq!(&table(store, name, "true"), &expect, "{}", name);
        // Conditions on bucket, device and channel see the same rows.
        let at = START + 24 * HOUR;
        let moment = Timestamp::from_micros(at);
        let some: Vec<Row> =
            expect.into_iter().filter(|row| row.2 >= at && row.0 == "d1" && row.1 != "held").collect();
        let condition = format!("time >= '{moment}' AND device = 'd1' AND channel <> 'held'");
        prop_assert_eq!(table(store, name, &condition), some, "{}", name);
    }
    Ok(())
}

/// One thing that happens to a store.
#[derive(Debug, Clone)]
enum Step {
    /// So many readings, two seconds apart.
    Send {
        device: u8,
        channel: u8,
        at: u16,
        value: Option<i16>,
        count: u8,
    },
    Again(u8),
    Flush,
    Compact,
    RollUp,
    Crash,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = prop_oneof![9 => (-3_000..12_000_i16).prop_map(Some), 1 => Just(None)];
    let count = prop_oneof![3 => Just(1_u8), 1 => 2..90_u8];
    let send = (0..2_u8, 0..3_u8, 0..1_200_u16, value, count)
        .prop_map(|(device, channel, at, value, count)| Step::Send { device, channel, at, value, count });
    let step = prop_oneof![
        30 => send,
        4 => any::<u8>().prop_map(Step::Again),
        3 => Just(Step::Flush),
        1 => Just(Step::Compact),
        3 => Just(Step::RollUp),
        1 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..100)
}

fn cases() -> u32 {
    std::env::var("SERIES_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Any order of arrival, repeats, replacements, flushes, merges, redone rollups and crashes: bit for bit.
    #[test]
    fn a_rollup_is_a_function_of_its_raw_rows(steps in steps(), seed in any::<u64>()) {
        let mut machine = Machine::new(seed);
        let mut store = open_channels(&machine.host(), &channels());
        let mut readings = Readings::new();
        let mut journal = Vec::new();
        for step in steps {
            match step {
                Step::Send { device, channel, at, value, count } => {
                    // Two hours over midnight.
                    let at = START + 23 * HOUR + i64::from(at) * 5_900_000;
                    let channel = ["gauge", "counter", "held"][usize::from(channel)];
                    let seq = journal.len() as u64 + 1;
                    for n in 0..count {
                        let at = at + i64::from(n) * 2_000_000;
                        let value = value.map(|value| f64::from(value + i16::from(n)) / 10.0);
                        let written = value.map_or("\"off\"".to_owned(), |value| value.to_string());
                        let fields = format!(r#""{channel}":{written}"#);
                        let sent = telemetry(&format!("d{device}"), at, &fields);
                        journal.extend(records(journal.len() as u64 + 1, [sent]));
                        readings.insert((format!("d{device}"), channel.to_owned(), at), value);
                    }
                    store.apply(&journal[seq as usize - 1..]);
                }
                Step::Again(which) if !journal.is_empty() => {
                    // A repeat of an old message is the last write of its identity.
                    let again: &journal::Record = &journal[usize::from(which) % journal.len()];
                    let message = again.message.clone();
                    let seq = journal.len() as u64 + 1;
                    let text = String::from_utf8_lossy(&message.payload).into_owned();
                    let device = message.topic.split('/').nth(1).expect("a device").to_owned();
                    let (at, rest) = text.trim_start_matches("{\"ts\":").split_once(',').expect("two fields");
                    let (channel, value) = rest.trim_end_matches('}').split_once(':').expect("a field");
                    let key = (device, channel.trim_matches('"').to_owned(), at.parse().expect("a time"));
                    readings.insert(key, value.parse().ok());
                    journal.extend(records(seq, [message]));
                    store.apply(&journal[seq as usize - 1..]);
                }
                Step::Again(_) => {}
                Step::Flush => store.flush().expect("written"),
                Step::Compact => {
                    store.compact().expect("merged");
                }
                Step::RollUp => {
                    store.roll_up().expect("rolled up");
                }
                Step::Crash | Step::Restart => {
                    drop(store);
                    if matches!(step, Step::Crash) { machine.crash() } else { machine.restart() }
                    store = open_channels(&machine.host(), &channels());
                    store.apply(&journal);
                }
            }
        }
        check(&store, &readings)?;
        store.flush().expect("written");
        check(&store, &readings)?;
        store.roll_up().expect("rolled up");
        check(&store, &readings)?;
        store.compact().expect("merged");
        check(&store, &readings)?;
        store.roll_up().expect("rolled up");
        check(&store, &readings)?;
    }
}

/// Two devices, a day of a reading a minute each.
fn two_days(store: &Offline, from: u64) -> u64 {
    let sent = (0..2 * 24 * 60).flat_map(|n| {
        ["a", "b"].map(|device| telemetry(device, START + n * MINUTE, &format!(r#""t":{}"#, n % 60)))
    });
    let sent = records(from, sent);
    store.apply(&sent);
    store.flush().expect("written");
    from + sent.len() as u64
}

#[test]
fn stored_rows_are_answered_and_late_readings_seen_at_once() {
    let store = open(&Machine::new(1).host());
    let seq = two_days(&store, 1);
    let sql = "SELECT sum(count) AS n, sum(sum) AS s FROM readings_1h";
    assert_eq!(csv(&store, sql), "n,s\n5760,169920\n");
    assert!(store.roll_up().expect("rolled up") > 0);
    assert_eq!(store.roll_up().expect("nothing to do"), 0);
    let plan = csv(&store, &format!("EXPLAIN {sql}"));
    assert!(plan.contains("rollup-1h-2026-11-22-") && !plan.contains("FoldReadings"), "{plan}");
    assert_eq!(csv(&store, sql), "n,s\n5760,169920\n");
    // One hour of one device is late: only its rows are folded, the others are the stored ones.
    store.apply(&records(seq, [telemetry("a", START + 90_000_000, r#""t":1000"#)]));
    assert_eq!(csv(&store, sql), "n,s\n5761,170920\n");
    store.flush().expect("written");
    assert_eq!(csv(&store, sql), "n,s\n5761,170920\n");
    let plan = csv(&store, &format!("EXPLAIN {sql}"));
    assert!(plan.contains("FoldReadings: to=readings_1h, of=touched hours"), "{plan}");
    assert!(store.roll_up().expect("rolled up") > 0);
    let plan = csv(&store, &format!("EXPLAIN {sql}"));
    assert!(!plan.contains("FoldReadings"), "{plan}");
    assert_eq!(csv(&store, sql), "n,s\n5761,170920\n");
    store.compact().expect("merged");
    assert_eq!(store.roll_up().expect("nothing to do"), 0, "a merge of what is rolled up changes nothing");
    assert_eq!(csv(&store, sql), "n,s\n5761,170920\n");
}

#[test]
fn rollups_outlive_their_readings_and_late_ones_cannot_spoil_them() {
    let mut machine = Machine::new(1);
    machine.clock.set(Timestamp::from_micros(START + 30 * DAY));
    let settings = Settings { keep: Some(Duration::from_secs(29 * 86_400)), ..Settings::default() };
    let store = open_with(&machine.host(), &settings);
    let seq = two_days(&store, 1);
    // The first day goes; nothing was rolled up before.
    store.retain(0).expect("dropped");
    assert_eq!(csv(&store, "SELECT count(*) AS n FROM readings"), "n\n2880\n");
    let sql =
        "SELECT count(*) AS rows, sum(count) AS n, sum(sum) AS s, bool_or(frozen) AS f FROM readings_1h";
    let expect = "rows,n,s,f\n96,5760,169920,true\n";
    assert_eq!(csv(&store, sql), expect);
    drop(store);
    machine.crash();
    let store = open_with(&machine.host(), &settings);
    assert_eq!(csv(&store, sql), expect);
    store.roll_up().expect("rolled up");
    assert_eq!(csv(&store, sql), expect);
    // Late ones of today's receipt: for a frozen hour, and for an hour that never had a reading.
    let late = |device: &str, seq: u64, value: u32| {
        let mut message = telemetry(device, START + 90_000_000, &format!(r#""t":{value}"#));
        message.received_at = Timestamp::from_micros(START + 30 * DAY);
        records(seq, [message])
    };
    store.apply(&late("a", seq, 1_000));
    store.apply(&late("c", seq + 1, 7));
    let expect = "rows,n,s,f\n97,5761,169927,true\n";
    assert_eq!(csv(&store, sql), expect);
    store.flush().expect("written");
    assert_eq!(csv(&store, sql), expect);
    store.roll_up().expect("rolled up");
    assert_eq!(csv(&store, sql), expect);
    assert_eq!(store.series().stats().tally.late_to_frozen, 1);
    // What is new in that day stays open: only what was dropped is frozen.
    store.apply(&late("c", seq + 2, 8));
    store.flush().expect("written");
    store.compact().expect("merged");
    store.roll_up().expect("rolled up");
    assert_eq!(csv(&store, sql), "rows,n,s,f\n97,5761,169928,true\n");
    assert_eq!(store.series().stats().tally.late_to_frozen, 1);
    assert_eq!(csv(&store, "SELECT sum FROM readings_1h WHERE device = 'c'"), "sum\n8\n");
    assert_eq!(csv(&store, "SELECT value FROM readings WHERE device = 'a' AND value > 500"), "value\n1000\n");
}

#[test]
fn other_rules_fold_anew() {
    let machine = Machine::new(1);
    let store = open(&machine.host());
    two_days(&store, 1);
    store.roll_up().expect("rolled up");
    let sql = "SELECT min(seconds) AS least, max(seconds) AS most FROM readings_1h";
    assert_eq!(csv(&store, sql), "least,most\n3600,3600\n");
    drop(store);
    let held = ChannelSettings {
        name: "t".to_owned(),
        hold: Some(Duration::from_secs(6)),
        ..ChannelSettings::default()
    };
    let store = open_channels(&machine.host(), &[held]);
    assert_eq!(csv(&store, sql), "least,most\n360,360\n");
    assert!(store.roll_up().expect("rolled up") > 0);
    assert_eq!(csv(&store, sql), "least,most\n360,360\n");
}

#[test]
fn a_table_is_stored_where_it_is_smaller_than_the_readings() {
    let store = open(&Machine::new(1).host());
    two_days(&store, 1);
    store.roll_up().expect("rolled up");
    let is_stored = |table: &str| {
        let plan = csv(&store, &format!("EXPLAIN SELECT sum(count) FROM {table}"));
        plan.contains("rollup-") && !plan.contains("FoldReadings")
    };
    // A reading a minute: hours and five minutes have fewer rows, minutes have not.
    assert!(is_stored("readings_1h"));
    assert!(is_stored("readings_5m"));
    assert!(!is_stored("readings_1m"));
    assert_eq!(
        csv(&store, "SELECT sum(count) AS n, count(*) AS rows FROM readings_1m"),
        "n,rows\n5760,5760\n"
    );
}

/// The same question with and without rollups.
fn ask_both(store: &Offline, sql: &str) -> (Vec<Vec<Cell>>, bool) {
    let asked = |rollups: bool| {
        let limits = QueryLimits { rollups, ..QueryLimits::default() };
        block_on(async { store.series().query(sql, &limits).await?.cells().await }).expect(sql)
    };
    let plan = csv(store, &format!("EXPLAIN {sql}"));
    let (with, without) = (asked(true), asked(false));
    assert_eq!(with.len(), without.len(), "{sql}\n{plan}");
    for (with, without) in with.iter().zip(&without) {
        for pair in with.iter().zip(without) {
            match pair {
                (Cell::Number(with), Cell::Number(without)) => {
                    let error = (with - without).abs() / without.abs().max(1e-300);
                    assert!(with == without || error < 1e-12, "{sql}: {with} {without}");
                }
                (with, without) => assert_eq!(with, without, "{sql}"),
            }
        }
    }
    (with, plan.contains("TableScan: readings_1h") || plan.contains("TableScan: readings_5m"))
}

#[test]
fn questions_are_answered_from_the_coarsest_rollup_that_is_exact() {
    let store = open(&Machine::new(1).host());
    two_days(&store, 1);
    store.apply(&records(5_761, [telemetry("c", START + 7, r#""t":"text","u":2.5"#)]));
    store.flush().expect("written");
    store.compact().expect("merged");
    store.roll_up().expect("rolled up");
    let from_rollups = |sql: &str| {
        let (rows, is_from_rollups) = ask_both(&store, sql);
        assert!(is_from_rollups, "{sql}\n{}", csv(&store, &format!("EXPLAIN {sql}")));
        rows.len()
    };
    let hourly = "SELECT date_bin(INTERVAL '1 hour', time) AS t, avg(value), sum(value), min(value), max(value), \
        count(value), count(*) FROM readings";
    assert_eq!(from_rollups(&format!("{hourly} GROUP BY 1 ORDER BY 1")), 48);
    let day = "time >= '2026-11-22T06:00:00Z' AND time < '2026-11-23T06:00:00Z'";
    assert_eq!(
        from_rollups(&format!("{hourly} WHERE {day} AND device IN ('a', 'c') GROUP BY 1 ORDER BY 1")),
        24
    );
    // Ends that cut a bucket, as dashboards have them.
    let cut = "time BETWEEN '2026-11-22T05:59:59.5Z' AND '2026-11-23T06:30:00Z'";
    assert_eq!(from_rollups(&format!("{hourly} WHERE {cut} GROUP BY 1 ORDER BY 1")), 25);
    assert_eq!(from_rollups(&format!("SELECT count(*), avg(value) FROM readings WHERE {cut}")), 1);
    assert_eq!(
        from_rollups("SELECT device, channel, avg(value) AS m FROM readings GROUP BY 1, 2 ORDER BY 1, 2"),
        4
    );
    assert_eq!(
        from_rollups(
            "SELECT date_trunc('day', time) AS d, upper(device) AS u, max(value) - min(value) AS r FROM readings GROUP BY 1, 2 ORDER BY 1, 2"
        ),
        5
    );
    assert_eq!(from_rollups("SELECT sum(value) AS s FROM readings WHERE device = 'nobody'"), 1);
    assert_eq!(
        from_rollups(
            "SELECT date_bin(INTERVAL '15 minutes', time) AS t, avg(value) FROM readings WHERE channel = 't' GROUP BY 1 ORDER BY 1"
        ),
        192
    );
    // What rollups cannot say is asked of the readings.
    for sql in [
        "SELECT date_bin(INTERVAL '90 seconds', time) AS t, avg(value) FROM readings GROUP BY 1 ORDER BY 1",
        "SELECT date_bin(INTERVAL '1 hour', time, TIMESTAMP '2026-01-01T00:00:30Z') AS t, avg(value) FROM readings GROUP BY 1 ORDER BY 1",
        "SELECT avg(value) FROM readings WHERE value > 5",
        "SELECT avg(value) FROM readings WHERE time = '2026-11-22T06:00:00Z'",
        "SELECT count(DISTINCT value) FROM readings",
        "SELECT median(value) FROM readings",
        "SELECT topic, avg(value) FROM readings GROUP BY 1 ORDER BY 1",
        "SELECT count(*) FROM readings",
    ] {
        let (_, is_from_rollups) = ask_both(&store, sql);
        assert!(!is_from_rollups, "{sql}");
    }
    // What is new is part of every answer, at once.
    store.apply(&records(5_762, [telemetry("a", START + 30 * HOUR + 1, r#""t":-100"#)]));
    let sql = "SELECT min(value) AS least, count(value) AS n FROM readings";
    assert_eq!(csv(&store, sql), "least,n\n-100,5762\n");
    ask_both(&store, &format!("{hourly} GROUP BY 1 ORDER BY 1"));
    store.flush().expect("written");
    ask_both(&store, &format!("{hourly} GROUP BY 1 ORDER BY 1"));
    assert_eq!(csv(&store, sql), "least,n\n-100,5762\n");
}

/// The recording of a real office, where the checkout has its shared data beside it: time and CO2 in ppm.
fn office() -> Option<Vec<(i64, f64)>> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where a test belongs");
    let beside = std::path::Path::new(&here).ancestors().nth(3)?.join("shared/data/occupancy-office.csv");
    let text = String::from_utf8(host::Disk::read(&host::SystemDisk, &beside, 1 << 24).ok()?).ok()?;
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let time = fields[1].trim_matches('"').replace(' ', "T") + "Z";
        (Timestamp::parse(&time).expect("a time").micros(), fields[5].parse().expect("a number"))
    };
    Some(text.lines().skip(1).map(row).collect())
}

/// Where there is no recording: a room that fills and empties, a reading a minute for four days.
fn made_up_room() -> Vec<(i64, f64)> {
    let value =
        |n: i64| if (480..1_020).contains(&(n % 1_440)) { 1_000.0 + (n % 7) as f64 * 30.0 } else { 450.0 };
    (0..4 * 1_440).map(|n| (START + n * MINUTE, value(n))).collect()
}

/// What a device sends that reports a change of 50 or more.
fn thinned(readings: &[(i64, f64)]) -> Vec<(i64, f64)> {
    let mut kept: Vec<(i64, f64)> = Vec::new();
    for &(time, value) in readings {
        if kept.last().is_none_or(|last| (value - last.1).abs() >= 50.0) {
            kept.push((time, value));
        }
    }
    kept
}

/// docs/readings.md tells these figures, and has this SQL.
#[test]
fn the_mean_over_time_of_what_reports_on_change_is_near_the_truth() {
    let recording = office();
    let is_real = recording.is_some();
    let all = recording.unwrap_or_else(made_up_room);
    let kept = thinned(&all);
    let until = all.last().expect("readings").0;
    let truth = all.iter().map(|(_, value)| value).sum::<f64>() / all.len() as f64;
    let store = open(&Machine::new(1).host());
    let sent = kept.iter().map(|(time, value)| telemetry("office-1", *time, &format!(r#""co2":{value}"#)));
    store.apply(&records(1, sent));
    let moment = Timestamp::from_micros(until);
    let of_readings = format!(
        "SELECT count(*) AS n, round(avg(value), 1) AS rows, round(time_weighted_mean(time, value, '{moment}'), 1) AS m \
         FROM readings WHERE device = 'office-1' AND channel = 'co2'"
    );
    let manual = include_str!("../../../../docs/readings.md");
    let sql =
        manual.split("```sql\n").find(|block| block.contains("first_time) OVER")).expect("in the manual");
    let of_rollups =
        sql.split("```").next().expect("a block").replace("2015-02-10T09:33:00Z", &moment.to_string());
    for _ in 0..2 {
        let said = csv(&store, &of_readings);
        let mean = csv(&store, &of_rollups);
        let of_rows = mean.lines().nth(1).expect("a row").to_owned();
        assert!(said.ends_with(&format!(",{of_rows}\n")), "{said} {mean}");
        if is_real {
            assert_eq!((all.len(), format!("{truth:.1}").as_str()), (8_143, "606.5"));
            assert_eq!(said, "n,rows,m\n149,981.3,614.8\n");
        } else {
            let near: f64 = of_rows.parse().expect("a number");
            assert!((near - truth).abs() < 25.0, "{near} {truth}");
        }
        store.flush().expect("written");
        store.roll_up().expect("rolled up");
    }
    let held =
        format!("SELECT time_weighted_mean(time, value, '{moment}', INTERVAL '1 hour') AS m FROM readings");
    assert_ne!(csv(&store, &held), csv(&store, &held.replace(", INTERVAL '1 hour'", "")));
    let error = ask(&store, "SELECT time_weighted_mean(time) FROM readings").expect_err("no value");
    assert!(error.to_string().contains("time_weighted_mean has 2 to 4 arguments"), "{error}");
}

#[test]
fn what_a_counter_counted_is_the_same_by_readings_and_by_rollups() {
    let store = open_channels(&Machine::new(1).host(), &channels());
    // Restarts, counts through zero and runs backwards, across hours.
    let values = (0..600_i64).map(|n| match n {
        0..200 => 3 * n,
        200..300 => n - 199,
        300..450 => (900 + 2 * (n - 300)) % 1_000,
        450 => 150,
        _ => 200 + (n - 450) * 2,
    });
    let sent = (0..)
        .zip(values.clone())
        .map(|(n, value)| telemetry("m", START + n * MINUTE, &format!(r#""counter":{value}"#)));
    store.apply(&records(1, sent));
    store.flush().expect("written");
    store.roll_up().expect("rolled up");
    let by_readings =
        csv(&store, "SELECT increase(time, value, 1000) AS i FROM readings WHERE channel = 'counter'");
    let values: Vec<i64> = values.collect();
    let steps = values.windows(2).map(|pair| match pair[1] - pair[0] {
        grown @ 0.. => grown,
        _ if 1_000 - pair[0] + pair[1] < 500 => 1_000 - pair[0] + pair[1],
        _ if pair[1] * 2 <= pair[0] => pair[1],
        _ => 0,
    });
    assert_eq!(by_readings, format!("i\n{}\n", steps.sum::<i64>()));
    let manual = include_str!("../../../../docs/readings.md");
    let sql = manual.split("```sql\n").find(|block| block.contains("lag(last)")).expect("in the manual");
    let sql =
        sql.split("```").next().expect("a block").replace("energy.total", "counter").replace("meter-1", "m");
    assert_eq!(csv(&store, &sql).replace("used", "i"), by_readings);
    let plain = csv(&store, "SELECT increase(time, value) AS i FROM readings WHERE channel = 'counter'");
    assert_ne!(plain, by_readings, "it counts through zero");
}
