//! Messages that are taken once more are judged as they were when they came.

use std::path::Path;
use std::sync::Arc;

use host::sim::Machine;
use journal::Journal;
use model::route::{RouteSettings, Routes};
use model::{ChannelSettings, Channels, Message, Timestamp};
use series::{
    Format, Offline, QueryLimits, Reprocess, ReprocessState, Reprocessing, RouteCount, Series, Settings,
};

use crate::sparkplug::a_day;
use crate::support::{DIR, START, csv, message, records};

const ALL: &str = "SELECT device, channel, time, value, text, flags, topic, received_at FROM readings \
    ORDER BY device, channel, time, text";

const HOURS: &str = "SELECT * FROM readings_1h ORDER BY device, channel, time";

/// Devices of the plant have at most so many channels.
const CHANNELS_MAX: usize = 10;

fn settings() -> Settings {
    Settings { query_threads: Some(1), channels_per_device: CHANNELS_MAX, ..Settings::default() }
}

/// Edge nodes, what repeats its cache, and what says JSON.
fn routes() -> Arc<Routes> {
    let none = RouteSettings::default;
    let all = [
        RouteSettings { filter: "spBv1.0/#".to_owned(), decode: Some("sparkplug".to_owned()), ..none() },
        RouteSettings { preset: Some("zigbee2mqtt".to_owned()), ..none() },
        RouteSettings {
            filter: "plant/+/state".to_owned(),
            device: Some("topic(2)".to_owned()),
            decode: Some("json".to_owned()),
            ..none()
        },
    ];
    Arc::new(Routes::new(&all).expect("routes"))
}

fn channels() -> Arc<Channels> {
    let bounded = ChannelSettings { name: "t".to_owned(), max: Some(40.0), ..ChannelSettings::default() };
    Arc::new(Channels::new(&[bounded]).expect("channels"))
}

/// Births and data by alias, cached repeats, channels without end, late times, and what is out of range.
fn sent() -> Vec<Message> {
    let mut all = a_day();
    for (seen_s, sent_s, power) in [(10, 10, 5), (20, 20, 6), (20, 300, 6), (10, 301, 5), (30, 302, 7)] {
        let seen_ms = START / 1_000 + seen_s * 1_000;
        let payload = format!(r#"{{"last_seen":{seen_ms},"power":{power}}}"#);
        all.push(message("zigbee2mqtt/hall/lamp", payload, START + sent_s * 1_000_000));
    }
    for n in 0..8_i64 {
        let at = START + if n == 5 { -3_600 } else { n } * 1_000_000;
        let names =
            (0..4).map(|channel| format!(r#""c{}":{n}"#, 3 * n + channel)).collect::<Vec<_>>().join(",");
        let payload = format!(r#"{{"ts":{at},"t":{},{names}}}"#, 37 + n);
        all.push(message("plant/m1/state", payload, START + n * 1_000_000 + 20_000));
    }
    all
}

async fn start(machine: &Machine, routes: Arc<Routes>) -> (Journal, Series) {
    let host = machine.host();
    let opened = Journal::open(Path::new("data/journal"), &journal::Settings::default(), &host);
    let (journal, _) = opened.expect("a journal");
    let series = Series::open(Path::new(DIR), &settings(), routes, channels(), journal.clone(), host);
    (journal, series.expect("opened"))
}

async fn answer(series: &Series, sql: &str) -> String {
    let answer = series.query(sql, &QueryLimits::default()).await.expect("a query");
    answer.whole(Format::Csv).await.expect("an answer")
}

/// Takes everything once more, and waits until that is done.
async fn again(series: &Series, dry_run: bool) -> Reprocessing {
    let what = Reprocess { since: Timestamp::from_micros(0), until: None, filter: None, dry_run };
    series.reprocess(what).expect("begun");
    loop {
        let status = series.reprocessing().expect("begun");
        if status.state != ReprocessState::Running {
            assert_eq!((status.state, &status.error), (ReprocessState::Done, &None));
            return status;
        }
        tokio::task::yield_now().await;
    }
}

fn total(status: &Reprocessing, of: impl Fn(&RouteCount) -> u64) -> u64 {
    status.routes.iter().map(of).sum()
}

#[tokio::test]
async fn what_is_taken_once_more_is_judged_as_what_comes_in() {
    let offline = Offline::open(Path::new(DIR), &settings(), routes(), channels(), &Machine::new(2).host());
    let whole = offline.expect("opened");
    whole.apply(&records(1, sent()));
    let expect = csv(&whole, ALL);
    let tally = whole.series().stats().tally;
    let refused = tally.channels_beyond["m1"];
    assert_eq!((refused, tally.cached_repeats), (21, 2), "of 26 channels 10 are stored");
    assert_eq!(tally.out_of_range["t"], 4 + 10, "of the plant, and of the edge node");
    assert!(expect.contains("plant:line:oven,heat,"), "{expect}");

    let mut machine = Machine::new(1);
    let (journal, series) = start(&machine, Arc::default()).await;
    let last = sent().len() as u64;
    journal.append(sent()).await.expect("durable");
    series.caught_up(last).await;
    assert_eq!(
        answer(&series, "SELECT count(*) AS n FROM readings").await,
        "n\n0\n",
        "there is no route yet"
    );
    series.close().await;
    journal.close().await;
    drop((journal, series));

    machine.restart();
    let (journal, series) = start(&machine, routes()).await;
    let dry = again(&series, true).await;
    assert_eq!(answer(&series, "SELECT count(*) AS n FROM readings").await, "n\n0\n");
    let done = again(&series, false).await;
    for status in [&dry, &done] {
        let rows = expect.lines().count() as u64 - 1;
        assert_eq!(total(status, |route| route.new + route.repeated + route.outdated), rows, "{status:?}");
        assert_eq!(total(status, |route| route.beyond), refused);
        assert_eq!(total(status, |route| route.readings), rows + refused);
    }
    assert_eq!(answer(&series, ALL).await, expect);
    let newest = "SELECT device, channel, time, value, text FROM latest ORDER BY device, channel";
    assert_eq!(answer(&series, newest).await, csv(&whole, newest));
    whole.flush().expect("written");
    whole.roll_up().expect("rolled up");
    assert_eq!(answer(&series, HOURS).await, csv(&whole, HOURS), "rollups too");

    // Once more it changes nothing; and what is new afterwards finds no more room for its channels than before.
    let done = again(&series, false).await;
    assert_eq!(total(&done, |route| route.new + route.replaced), 0, "{done:?}");
    let next = journal.durable_seq() + 1;
    let more = message("plant/m1/state", r#"{"t":1,"another":1}"#, START + 100_000_000);
    journal.append(vec![more]).await.expect("durable");
    series.caught_up(next).await;
    let count = "SELECT count(*) AS n FROM channels WHERE device = 'm1'";
    assert_eq!(answer(&series, count).await, format!("n\n{CHANNELS_MAX}\n"));
    assert_eq!(series.stats().tally.channels_beyond["m1"], 1);
    series.close().await;
    journal.close().await;
}

/// Readings are compared with what is stored in more batches than a task may take in one go.
#[tokio::test]
async fn a_reprocessing_over_many_files_ends() {
    let machine = Machine::new(1);
    let (journal, series) = start(&machine, routes()).await;
    let sent = (0..200_i64).map(|n| {
        let at = START + n * 86_400_000_000;
        message("plant/m2/state", format!(r#"{{"ts":{at},"t":{n}}}"#), at)
    });
    journal.append(sent.collect()).await.expect("durable");
    series.caught_up(200).await;
    series.flush().await;
    assert_eq!(series.stats().files, 200);
    let done = again(&series, false).await;
    assert_eq!(total(&done, |route| route.repeated), 200, "{done:?}");
    series.close().await;
    journal.close().await;
}
