//! The room beside a real journal.

use std::path::Path;
use std::sync::Arc;

use host::sim::Machine;
use journal::Journal;
use model::Timestamp;
use model::route::Routes;
use series::{Cell, Format, QueryLimits, Selection, Series, Settings, StoredSample};

use crate::support::{DIR, START, message, telemetry};

const MINUTE: i64 = 60_000_000;

fn start(machine: &Machine, settings: &Settings) -> (Journal, Series) {
    start_on(machine, machine, settings)
}

/// The journal on a machine of its own.
fn start_on(journals: &Machine, machine: &Machine, settings: &Settings) -> (Journal, Series) {
    let host = machine.host();
    let (journal, _) =
        Journal::open(Path::new("data/journal"), &journal::Settings::default(), &journals.host())
            .expect("a journal");
    let settings = Settings { query_threads: Some(1), ..settings.clone() };
    let routes = Arc::new(Routes::default());
    let series = Series::open(Path::new(DIR), &settings, routes, Arc::default(), journal.clone(), host)
        .expect("opened");
    (journal, series)
}

async fn csv(series: &Series, sql: &str) -> String {
    let answer = series.query(sql, &QueryLimits::default()).await.expect("a query");
    answer.whole(Format::Csv).await.expect("an answer")
}

#[tokio::test]
async fn what_is_acknowledged_is_seen_and_survives_a_restart() {
    let mut machine = Machine::new(1);
    let settings = Settings { memory_readings: 100, ..Settings::default() };
    let (journal, series) = start(&machine, &settings);
    for n in 0..50 {
        let sent = (0..20).map(|i| telemetry(&format!("d{i}"), START + n * MINUTE, &format!(r#""t":{n}"#)));
        journal.append(sent.collect()).await.expect("durable");
    }
    series.caught_up(1_000).await;
    assert_eq!(csv(&series, "SELECT count(*) AS n, max(value) AS m FROM readings").await, "n,m\n1000,49\n");
    series.flush().await;
    assert_eq!(series.stats().durable, 1_000);
    journal.append(vec![telemetry("late", START, r#""t":1"#)]).await.expect("durable");
    series.caught_up(1_001).await;
    series.close().await;
    assert_eq!(series.stats().durable, 1_001, "closing writes what is in memory");
    journal.close().await;
    drop((journal, series));

    machine.restart();
    let (journal, series) = start(&machine, &settings);
    assert_eq!(series.applied(), 1_001);
    assert_eq!(csv(&series, "SELECT count(*) AS n FROM readings").await, "n\n1001\n");
    series.close().await;
    journal.close().await;
}

/// The engine's streams give way after some steps of a task, and a start is one step of whoever starts the room.
#[tokio::test]
async fn a_start_ends_however_many_files_its_newest_readings_are_in() {
    const DAYS: i64 = 200;
    let machine = Machine::new(1);
    let store = crate::support::open(&machine.host());
    let sent = (0..DAYS).map(|n| telemetry("d", START + n * 24 * 60 * MINUTE, &format!(r#""t":{n}"#)));
    store.apply(&crate::support::records(1, sent));
    store.flush().expect("written");
    assert_eq!(store.series().stats().files, DAYS as u64, "a file for each day");
    drop(store);
    let (journal, series) = start_on(&Machine::new(2), &machine, &Settings::default());
    assert_eq!(csv(&series, "SELECT value FROM latest").await, format!("value\n{}\n", DAYS - 1));
    series.close().await;
    journal.close().await;
}

#[tokio::test]
async fn messages_are_found_with_their_reason() {
    let machine = Machine::new(1);
    let (journal, series) = start(&machine, &Settings::default());
    let mut private = telemetry("a", START, r#""t":1"#);
    private.to = Some(3);
    let sent = vec![
        telemetry("a", START, r#""t":1"#),
        message("dt/a/telemetry", "{", START),
        message("elsewhere/x", vec![0xff, 0x00], START),
        private,
    ];
    journal.append(sent).await.expect("durable");
    series.caught_up(4).await;
    let sql = "SELECT seq, device, topic, lane, qos, payload, payload_bytes, error IS NULL AS fine FROM messages ORDER BY seq";
    assert_eq!(
        csv(&series, sql).await,
        "seq,device,topic,lane,qos,payload,payload_bytes,fine\n\
         1,a,dt/a/telemetry,telemetry,1,\"{\"\"ts\"\":1795305600000000,\"\"t\"\":1}\",29,true\n\
         2,,dt/a/telemetry,telemetry,1,{,1,false\n\
         3,,elsewhere/x,telemetry,1,,2,false\n"
    );
    let errors = csv(&series, "SELECT error FROM messages WHERE seq > 1 AND seq <= 3 ORDER BY seq").await;
    let mut lines = errors.lines().skip(1);
    assert!(lines.next().is_some_and(|line| line.contains("decode.not_json")), "{errors}");
    assert_eq!(lines.next(), Some("unrouted"));
    assert_eq!(csv(&series, "SELECT seq FROM messages LIMIT 1").await, "seq\n1\n");
    assert_eq!(csv(&series, "SELECT count(*) AS n FROM messages WHERE seq = 3").await, "n\n1\n");
    series.close().await;
}

#[tokio::test]
async fn memory_stays_bounded_while_the_disk_is_full() {
    let machine = Machine::new(1);
    let settings = Settings { memory_readings: 50, ..Settings::default() };
    let (journal, series) = start_on(&Machine::new(2), &machine, &settings);
    machine.disk.fail_create_after(0, std::io::ErrorKind::StorageFull);
    for n in 0..40 {
        let sent = (0..10).map(|i| telemetry(&format!("d{i}"), START + n * MINUTE, r#""t":1"#)).collect();
        journal.append(sent).await.expect("durable");
    }
    // The first write fails, a later one succeeds: nothing is lost on the way.
    series.caught_up(400).await;
    series.flush().await;
    let answer =
        series.query("SELECT count(*) FROM readings", &QueryLimits::default()).await.expect("a query");
    assert_eq!(answer.cells().await.expect("an answer"), vec![vec![Cell::Integer(400)]]);
    series.close().await;
    assert_eq!(series.stats().durable, 400);
}

#[tokio::test]
async fn stored_readings_come_back_as_the_samples_they_were() {
    let machine = Machine::new(1);
    let (journal, series) = start(&machine, &Settings::default());
    let climate =
        |at: i64, fields: &str| message("dt/a/climate", format!("{{\"ts\":{at},{fields}}}"), at + 7_000);
    journal
        .append(vec![
            climate(START + 2 * MINUTE, r#""t":21.5,"mode":"heat""#),
            climate(START, r#""t":20"#),
            telemetry("a", START, r#""co2":400"#),
            climate(START + MINUTE, r#""t":20,"serial":9007199254740993"#),
            climate(START + MINUTE, r#""t":20.5"#),
            telemetry("b", START, r#""t":1"#),
        ])
        .await
        .expect("durable");
    let selection = Selection {
        from: Some(Timestamp::from_micros(START)),
        to: Some(Timestamp::from_micros(START + 2 * MINUTE + 1)),
        devices: vec!["a".to_owned()],
        channels: vec!["t".to_owned(), "mode".to_owned(), "co2".to_owned(), "serial".to_owned()],
    };
    let shown = |samples: Vec<StoredSample>| -> Vec<String> {
        let one = |stored: &StoredSample| {
            let readings = stored.sample.readings.iter();
            let readings: Vec<_> = readings.map(|r| format!("{}={:?}", r.channel, r.value)).collect();
            let minute = (stored.sample.time.micros() - START) / MINUTE;
            format!("{minute} {} {}", stored.topic, readings.join(" "))
        };
        samples.iter().map(one).collect()
    };
    // Asked at once: it waits for what is durable and not applied yet.
    let samples = series.samples(&selection, 6, 100).await.expect("an answer");
    assert_eq!(samples[0].received_at, Timestamp::from_micros(START + 7_000));
    let expected = [
        "0 dt/a/climate t=Number(20.0)",
        "0 dt/a/telemetry co2=Number(400.0)",
        "1 dt/a/climate serial=BigInteger(9007199254740992.0, \"9007199254740993\") t=Number(20.5)",
        "2 dt/a/climate mode=Text(\"heat\") t=Number(21.5)",
    ];
    assert_eq!(shown(samples), expected);
    series.flush().await;
    let before = Selection { to: Some(Timestamp::from_micros(START + MINUTE)), ..selection.clone() };
    assert_eq!(shown(series.samples(&before, 6, 100).await.expect("an answer")), expected[..2]);
    let refused = series.samples(&selection, 6, 5).await.expect_err("six readings");
    assert_eq!(refused.slug(), "query.rows");
    series.close().await;
    journal.close().await;
}
