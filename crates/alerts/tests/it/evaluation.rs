//! Rules at work on a real journal and real columns: the answers of a recording, whatever happens on its way.

use std::path::Path;
use std::sync::Arc;

use alerts::{EvaluateParts, Evaluation, URGENT_WITHIN, Wake};
use catalog::{Catalog, ReadError, params};
use host::Host;
use host::sim::Machine;
use identity::Identity;
use journal::Journal;
use model::{Message, Origin, Qos, Timestamp, TopicName};
use rules::{Limits, RuleSet};
use series::Series;

const MINUTE: i64 = 60 * Timestamp::SECOND;

/// A server without doors.
struct Site {
    catalog: Catalog,
    journal: Journal,
    series: Series,
    evaluation: Evaluation,
}

/// What outlives a crash.
struct Ground {
    machine: Machine,
    dir: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        Self { machine: Machine::new(6), dir: tempfile::tempdir().expect("a directory") }
    }

    async fn start(&self, text: &str) -> Site {
        let host: Host = self.machine.host();
        let with_files = Host { disk: Arc::new(host::SystemDisk), ..host.clone() };
        let migrations: Vec<catalog::Migration> = identity::Identity::migrations()
            .iter()
            .chain(alerts::MIGRATIONS)
            .chain(alerts::EVALUATION_MIGRATIONS)
            .copied()
            .collect();
        let catalog =
            Catalog::open(&self.dir.path().join("catalog.db"), &migrations, &with_files).expect("a catalog");
        let (journal, _) = Journal::open(Path::new("data/journal"), &journal::Settings::default(), &host)
            .expect("a journal");
        let settings = series::Settings { query_threads: Some(1), ..series::Settings::default() };
        let routes = Arc::new(model::Routes::default());
        let series = Series::open(
            Path::new("data/series"),
            &settings,
            Arc::clone(&routes),
            Arc::default(),
            journal.clone(),
            host.clone(),
        )
        .expect("columns");
        let identity = Identity::open(catalog.clone(), host.clone()).expect("a register");
        let parts = EvaluateParts {
            host,
            catalog: catalog.clone(),
            journal: journal.clone(),
            series: series.clone(),
            identity,
            routes,
            wake: Wake::default(),
            urgent_within: URGENT_WITHIN,
        };
        let evaluation = Evaluation::start(parts, compiled(text)).await.expect("started");
        Site { catalog, journal, series, evaluation }
    }

    /// The power goes: what was not stored is gone.
    async fn crash(&mut self, site: Site) {
        let Site { catalog, journal, series, evaluation } = site;
        // From here on nothing it does lasts; then its threads end.
        catalog.close().await;
        self.machine.crash();
        journal.close().await;
        series.close().await;
        evaluation.close().await;
    }
}

fn compiled(text: &str) -> Vec<Arc<rules::Rule>> {
    let rules = RuleSet::load([("rules.yaml", text)], &Limits::default()).expect("rules");
    rules.alerts.into_iter().map(Arc::new).collect()
}

impl Site {
    async fn send(&self, messages: Vec<Message>) {
        for some in messages.chunks(500) {
            self.journal.append(some.to_vec()).await.expect("durable");
        }
        self.judged().await;
    }

    /// Waits until everything that is durable has been judged.
    async fn judged(&self) {
        self.evaluation.caught_up(self.journal.durable_seq()).await;
    }

    /// What stands: start, firing and resolution of each episode.
    async fn episodes(&self, rule: &str) -> Vec<String> {
        let rule = rule.to_owned();
        let read = self.catalog.read_async(move |connection| {
            Ok::<_, ReadError>(connection.query(
                "SELECT started_at, fired_at, resolved_at FROM alert_episodes
                 WHERE rule = $1 AND state IN ('firing', 'resolved') ORDER BY started_at",
                params![rule],
                |row| {
                    let short = |time: Timestamp| time.to_string()[5..19].replace('T', " ");
                    let end: Option<Timestamp> = row.get(2)?;
                    let end = end.map_or("open".to_owned(), short);
                    Ok(format!("{} / {} / {end}", short(row.get(0)?), short(row.get(1)?)))
                },
            )?)
        });
        read.await.expect("read")
    }

    async fn close(self) {
        self.evaluation.close().await;
        self.series.close().await;
        self.journal.close().await;
        self.catalog.close().await;
    }
}

/// The recording of a real office, where the checkout has its shared data beside it.
fn office() -> Option<Vec<Message>> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where a test belongs");
    let beside = Path::new(&here).ancestors().nth(3)?.join("shared/data/occupancy-office.csv");
    let text = String::from_utf8(host::Disk::read(&host::SystemDisk, &beside, 1 << 24).ok()?).ok()?;
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let time = Timestamp::parse(&(fields[1].trim_matches('"').replace(' ', "T") + "Z")).expect("a time");
        let (temperature, co2) = (fields[2], fields[5]);
        telemetry("office-1", time, &format!(r#""temperature":{temperature},"co2":{co2}"#))
    };
    Some(text.lines().skip(1).map(row).collect())
}

/// A message as a door makes it; received a second after it was measured.
fn telemetry(device: &str, time: Timestamp, fields: &str) -> Message {
    let millis = time.micros() / 1_000;
    let payload = format!("{{\"ts\":{millis},{fields}}}");
    Message {
        qos: Qos::AtLeastOnce,
        received_at: time.plus_micros(Timestamp::SECOND),
        ..Message::new(
            TopicName::parse(format!("dt/{device}/telemetry")).expect("a topic"),
            payload.into_bytes(),
            Origin::inside(1),
        )
    }
}

const OFFICE: &str = "
groups:
- name: office
  rules:
  - alert: StaleAir
    from: dt/+/telemetry
    expr: co2 > 1000
    for: 10m
    max_gap: 2m
  - alert: Warm
    from: dt/+/telemetry
    expr: temperature > 22
    clear: temperature < 21.5
    for: 5m
    max_gap: 2m
  - alert: WarmMean
    from: dt/+/telemetry
    expr: avg(temperature, last 4) > 22
    streak: 5
";

const STALE_AIR: [&str; 4] = [
    "02-05 09:35:00 / 02-05 09:45:00 / 02-05 10:37:00",
    "02-05 10:38:00 / 02-05 10:49:00 / 02-05 13:01:00",
    "02-05 14:39:59 / 02-05 14:50:00 / 02-05 17:10:59",
    "02-09 09:53:59 / 02-09 10:04:00 / 02-09 19:59:59",
];

const WARM: [&str; 5] = [
    "02-04 17:51:00 / 02-04 17:57:00 / 02-04 21:34:00",
    "02-05 09:23:59 / 02-05 09:29:00 / 02-05 18:36:00",
    "02-06 14:29:00 / 02-06 14:34:00 / 02-06 18:16:59",
    "02-07 10:46:59 / 02-07 10:52:00 / 02-07 15:47:00",
    "02-09 16:14:59 / 02-09 16:20:00 / 02-09 18:39:00",
];

async fn assert_the_answers(site: &Site) {
    assert_eq!(site.episodes("StaleAir").await, STALE_AIR);
    assert_eq!(site.episodes("Warm").await, WARM);
    let means = site.episodes("WarmMean").await;
    assert_eq!(means.len(), 5, "{means:?}");
    assert_eq!(means[0], "02-04 17:54:00 / 02-04 17:57:59 / 02-04 19:43:00");
    assert_eq!(means[4], "02-09 16:12:00 / 02-09 16:15:59 / 02-09 18:10:59");
}

/// A generator that needs no crate: the same order in every run.
fn shuffled<T>(mut items: Vec<T>, mut seed: u64) -> Vec<T> {
    for at in (1..items.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(at, usize::try_from(seed >> 33).expect("31 bits") % (at + 1));
    }
    items
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_recording_of_an_office_gives_its_answers() {
    let Some(messages) = office() else { return };
    let site = Ground::new().start(OFFICE).await;
    site.send(messages.clone()).await;
    assert_the_answers(&site).await;
    // Every row once more: a repeat changes nothing.
    site.send(messages).await;
    assert_the_answers(&site).await;
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_out_of_order_gives_the_same_episodes() {
    let Some(messages) = office() else { return };
    let site = Ground::new().start(OFFICE).await;
    let mut days: Vec<Vec<Message>> = vec![Vec::new()];
    for message in messages {
        let is_new_day = |last: &Message| {
            last.received_at.micros() / Timestamp::DAY != message.received_at.micros() / Timestamp::DAY
        };
        if days.last().and_then(|day| day.last()).is_some_and(is_new_day) {
            days.push(Vec::new());
        }
        days.last_mut().expect("a day").push(message);
    }
    for (seed, day) in (1..).zip(days) {
        site.send(shuffled(day, seed)).await;
    }
    assert_the_answers(&site).await;
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_changes_no_episode() {
    let Some(messages) = office() else { return };
    let mut ground = Ground::new();
    for part in messages.chunks(messages.len() / 5 + 1) {
        let site = ground.start(OFFICE).await;
        site.send(part.to_vec()).await;
        ground.crash(site).await;
    }
    let site = ground.start(OFFICE).await;
    site.judged().await;
    assert_the_answers(&site).await;
    site.close().await;
}

const HOT: &str = "
groups:
- name: g
  rules:
  - alert: Hot
    from: dt/+/telemetry
    expr: temperature > 30
    for: 5m
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_rule_ends_the_old_episodes_and_looks_back() {
    let ground = Ground::new();
    let start = Timestamp::parse("2026-11-22T08:00:00Z").expect("a time");
    let site = ground.start(HOT).await;
    let minute =
        |n: i64, t: f64| telemetry("a", start.plus_micros(n * MINUTE), &format!(r#""temperature":{t}"#));
    site.send((0..10).map(|n| minute(n, 35.0)).collect()).await;
    assert_eq!(site.episodes("Hot").await, ["11-22 08:00:00 / 11-22 08:05:00 / open"]);
    let other = HOT.replace("> 30", "> 34");
    site.evaluation.replace(compiled(&other)).await;
    assert!(!site.episodes("Hot").await[0].ends_with("open"), "the old version's episode has ended");
    // The new version has been true since 08:00 too, and knows it with the first sample it sees.
    site.send(vec![minute(10, 35.0)]).await;
    let episodes = site.episodes("Hot").await;
    assert_eq!(episodes.len(), 2, "{episodes:?}");
    assert!(episodes.contains(&"11-22 08:00:00 / 11-22 08:05:00 / open".to_owned()), "{episodes:?}");
    assert_eq!(site.evaluation.versions("Hot").await.expect("read").len(), 2);
    site.close().await;
}
