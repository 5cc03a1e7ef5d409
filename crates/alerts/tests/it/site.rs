//! A server without doors: rules at work on a real journal and real columns, and those who hear of it, on a clock that
//! stands still until a test moves it.
//!
//! Not here: any test. The law: a test waits for what it expects, and for that alone; where nothing is to happen it waits for
//! a heartbeat (`Site::pass`) that comes after whatever could have happened.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alerts::{Alerts, Config, EvaluateParts, Evaluation, InboxEntry, URGENT_WITHIN};
use catalog::{Catalog, ReadError, WriteError, params};
use hashbrown::HashMap;
use host::sim::Machine;
use host::{Host, Shutdown};
use identity::Identity;
use journal::Journal;
use model::{DeviceName, Message, Origin, Qos, Timestamp, TopicName};
use parking_lot::Mutex;
use rules::{Limits, RuleSet};
use series::Series;

pub(crate) const MINUTE: i64 = 60 * Timestamp::SECOND;

/// Everything is told, what is late elsewhere, and each heartbeat at once and alone.
const TELLING: &str = "
route:
  receiver: pager
  group_by: ['...']
  group_wait: 30s
  group_interval: 10s
  routes:
  - {matchers: [alertname=~Heartbeat.*], group_wait: 0s}
  - {matchers: ['severity=\"critical\"'], group_wait: 0s}
receivers: [{name: pager, inbox: true}]
refire: 0s
";

/// One fires because something comes, the other when time passes.
const HEARTBEAT: &str = "
groups:
- name: site
  rules:
  - {alert: HeartbeatCame, from: dt/+/heartbeat, expr: beat > 0}
  - {alert: HeartbeatPassed, from: dt/+/heartbeat, expr: beat > 0, for: 1s, hold: 1d}
";

/// A server without doors.
pub(crate) struct Site {
    pub(crate) catalog: Catalog,
    pub(crate) journal: Journal,
    pub(crate) evaluation: Evaluation,
    pub(crate) alerts: Alerts,
    pub(crate) series: Series,
    pub(crate) identity: Identity,
    machine: Machine,
    shutdown: Shutdown,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// What outlives a crash.
pub(crate) struct Ground {
    pub(crate) machine: Machine,
    dir: tempfile::TempDir,
    config: String,
    /// Who has a connection, and since when.
    pub(crate) connected: Arc<Mutex<HashMap<DeviceName, Timestamp>>>,
    /// How often somebody wanted to know that; who holds the lock above holds up whoever asks.
    pub(crate) asked: Arc<AtomicU64>,
}

impl Ground {
    pub(crate) fn new() -> Self {
        Self::telling(TELLING)
    }

    /// With a configuration of the test's own; it needs a route for `Heartbeat…` if the test lets time pass.
    pub(crate) fn telling(config: &str) -> Self {
        Self {
            machine: Machine::new(6),
            dir: tempfile::tempdir().expect("a directory"),
            config: config.to_owned(),
            connected: Arc::default(),
            asked: Arc::default(),
        }
    }

    pub(crate) async fn start(&self, text: &str) -> Site {
        self.start_with(text, model::Routes::default()).await
    }

    pub(crate) async fn start_with(&self, text: &str, routes: model::Routes) -> Site {
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
        let routes = Arc::new(routes);
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
        let read = |path: &Path| std::fs::read(path);
        let config = Config::parse("alerts.yaml", &self.config, self.dir.path().to_path_buf(), &read)
            .unwrap_or_else(|error| panic!("{error}"));
        let alerts = Alerts::open(catalog.clone(), host.clone(), identity.clone(), config);
        let shutdown = Shutdown::new();
        let tasks = alerts.start(&journal, &shutdown).await.expect("started");
        let parts = EvaluateParts {
            host,
            catalog: catalog.clone(),
            journal: journal.clone(),
            series: series.clone(),
            identity: identity.clone(),
            routes,
            wake: alerts.bell().clone(),
            connected: {
                let (connected, asked) = (Arc::clone(&self.connected), Arc::clone(&self.asked));
                Arc::new(move || {
                    asked.fetch_add(1, Ordering::SeqCst);
                    connected.lock().clone()
                })
            },
            urgent_within: URGENT_WITHIN,
        };
        let evaluation = Evaluation::start(parts, compiled(text)).await.expect("started");
        let machine = self.machine.clone();
        Site { catalog, journal, evaluation, alerts, series, identity, machine, shutdown, tasks }
    }

    /// The power goes: what was not stored is gone.
    pub(crate) async fn crash(&mut self, site: Site) {
        let Site { catalog, journal, evaluation, series, tasks, .. } = site;
        for task in &tasks {
            task.abort();
        }
        // From here on nothing it does lasts; then its threads end.
        catalog.close().await;
        self.machine.crash();
        journal.close().await;
        series.close().await;
        evaluation.close().await;
    }
}

/// The rules of `text`, and the heartbeat.
pub(crate) fn compiled(text: &str) -> Vec<Arc<rules::Rule>> {
    let files = [("rules.yaml", text), ("heartbeat.yaml", HEARTBEAT)];
    let rules = RuleSet::load(files, &Limits::default()).expect("rules");
    rules.alerts.into_iter().map(Arc::new).collect()
}

impl Site {
    pub(crate) fn now(&self) -> Timestamp {
        host::Clock::now(&*self.machine.clock)
    }

    pub(crate) async fn send(&self, messages: Vec<Message>) {
        for some in messages.chunks(500) {
            self.journal.append(some.to_vec()).await.expect("durable");
        }
        self.judged().await;
    }

    /// What devices measured at `time` and the server receives now.
    pub(crate) async fn hear(&self, device: &str, time: Timestamp, fields: &str) {
        let message = Message { received_at: self.now(), ..telemetry(device, time, fields) };
        self.send(vec![message]).await;
    }

    /// Waits until everything that is durable has been judged.
    pub(crate) async fn judged(&self) {
        self.evaluation.caught_up(self.journal.durable_seq()).await;
    }

    /// Lets time pass, and waits until the rules have seen that nothing came and everybody was told who was to be told by then.
    pub(crate) async fn pass(&self, seconds: u64) {
        assert!(seconds > 1, "the heartbeat fires a second after it came");
        let beat = self.journal.durable_seq() + 1;
        let now = self.now();
        let message = Message {
            topic: TopicName::parse(format!("dt/beat-{beat}/heartbeat")).expect("a topic"),
            received_at: now,
            ..telemetry("beat", now, "\"beat\":1")
        };
        self.send(vec![message.clone()]).await;
        // Whatever was stored before has been seen by those who tell of it, at this time.
        self.told("HeartbeatCame", beat).await;
        self.machine.clock.advance(Duration::from_secs(seconds));
        // Once more, and nothing new: with it the rules look at the clock without waiting for a second to pass.
        self.send(vec![message]).await;
        self.told("HeartbeatPassed", beat).await;
    }

    async fn told(&self, rule: &'static str, beat: u64) {
        self.until(&format!("{rule} {beat} is told"), async || {
            self.alerts.bell().wake();
            let key = format!("{{\"device\":\"beat-{beat}\"}}");
            let told = self.catalog.read_async(move |connection| {
                Ok::<_, ReadError>(connection.query_one(
                    "SELECT count(*) FROM alert_said s JOIN alert_episodes e ON e.id = s.episode
                     WHERE e.rule = $1 AND e.key = $2",
                    params![rule, key],
                    |row| row.get::<u64>(0),
                )?)
            });
            told.await.expect("read") > Some(0)
        })
        .await;
    }

    /// Loses how far rules have read, and their states unless `but_states` is said, as a crash does with what was not stored
    /// yet: the next start reads everything again.
    pub(crate) async fn forget_positions(&self, but_states: bool) {
        self.evaluation.close().await;
        let forgotten = self.catalog.write(move |tx| {
            if !but_states {
                tx.execute("DELETE FROM rule_states", params![])?;
            }
            tx.execute("UPDATE rule_marks SET value = 0 WHERE name IN ('urgent', 'regular')", params![])?;
            Ok::<_, WriteError>(())
        });
        forgotten.await.expect("written");
    }

    /// Waits until it is so.
    pub(crate) async fn until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let reached = async {
            while !is_so().await {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(60), reached).await;
        in_time.unwrap_or_else(|_| panic!("not in time: {what}"));
    }

    /// What stands: start, firing and resolution of each episode.
    pub(crate) async fn episodes(&self, rule: &str) -> Vec<String> {
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

    /// The notices that left so far, oldest first, without heartbeats: title, then a line per alert.
    pub(crate) async fn notices(&self) -> Vec<InboxEntry> {
        let (mut entries, mut after) = (Vec::new(), None);
        loop {
            let (page, next) = self.alerts.inbox(None, after, 1_000).await.expect("read");
            entries.extend(page.into_iter().filter(|entry| !entry.title.contains("Heartbeat")));
            after = next;
            if after.is_none() {
                entries.reverse();
                return entries;
            }
        }
    }

    pub(crate) async fn titles(&self) -> Vec<String> {
        self.notices().await.into_iter().map(|entry| entry.title).collect()
    }

    pub(crate) async fn close(self) {
        self.shutdown.stop();
        for task in self.tasks {
            task.await.expect("ended");
        }
        self.evaluation.close().await;
        self.series.close().await;
        self.journal.close().await;
        self.catalog.close().await;
    }
}

/// A message as a door makes it; received a second after it was measured.
pub(crate) fn telemetry(device: &str, time: Timestamp, fields: &str) -> Message {
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

/// A generator that needs no crate: the same order in every run.
pub(crate) fn shuffled<T>(mut items: Vec<T>, mut seed: u64) -> Vec<T> {
    for at in (1..items.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(at, usize::try_from(seed >> 33).expect("31 bits") % (at + 1));
    }
    items
}
