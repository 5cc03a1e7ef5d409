//! From a transition to a receiver, with receivers that hang and fail, and a server that dies at the worst moment.

use std::time::Duration;

use alerts::{Alerts, Applied, Config, EpisodeFilter, NewSilence, State, Transition, Why};
use aws_lc_rs::hmac;
use catalog::{ReadError, params};
use host::{Host, Shutdown};
use identity::Actor;
use journal::{Chains, Journal, Settings};

use crate::house::{House, firing, resolved};
use crate::receivers::{Manner, Receiver};

/// A room that runs.
pub(crate) struct Running {
    pub(crate) alerts: Alerts,
    journal: Journal,
    shutdown: Shutdown,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Running {
    pub(crate) async fn start(house: &House, config: &str) -> Self {
        Self::start_by(std::sync::Arc::new(host::SystemClock::start()), house, config).await
    }

    /// By a clock of the test's own.
    async fn start_by(clock: std::sync::Arc<dyn host::Clock>, house: &House, config: &str) -> Self {
        let config =
            Config::parse("alerts.yaml", config, house.dir.path().to_path_buf(), &|path| std::fs::read(path));
        let host = Host { clock, ..house.host.clone() };
        let dir = house.dir.path().join(format!("journal-{}", host.random.number()));
        let (journal, _) = Journal::open(&dir, &Settings::default(), &host).expect("a journal");
        let identity = identity::Identity::open(house.catalog.clone(), host.clone()).expect("a register");
        let config = config.expect("a whole configuration");
        let alerts = Alerts::open(house.catalog.clone(), host, identity, config);
        let shutdown = Shutdown::new();
        let tasks = alerts.start(&journal, &shutdown).await.expect("started");
        Self { alerts, journal, shutdown, tasks }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.stop();
        for task in self.tasks {
            task.await.expect("ended");
        }
        self.journal.close().await;
    }

    /// As kill -9 does: whatever is under way is cut.
    async fn kill(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            let _ = task.await;
        }
        self.journal.close().await;
    }

    pub(crate) async fn store(&self, house: &House, transitions: &[Transition]) -> Vec<Applied> {
        let stored = house.store(transitions).await;
        self.alerts.bell().wake();
        stored
    }

    /// Waits until no delivery waits and so many are in the state.
    pub(crate) async fn until(&self, house: &House, state: &'static str, count: u64) {
        let reached = async {
            loop {
                let found = house.catalog.read::<_, ReadError>(|connection| {
                    let sql = "SELECT count(*) FROM alert_deliveries WHERE state = $1";
                    Ok(connection.query_one(sql, params![state], |row| row.get::<u64>(0))?)
                });
                if found.expect("read") == Some(count) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reached).await.expect("in time");
    }
}

fn one(url: &str, more: &str) -> String {
    format!(
        "route: {{receiver: ops, group_by: [site, cause], group_wait: 0s, group_interval: 100ms}}
receivers: [{{name: ops, webhook_configs: [{{url: '{url}'{more}}}]}}]
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_speaks_alertmanagers_json_and_is_signed() {
    let house = House::new();
    let receiver = Receiver::start(Manner::Answers(200)).await;
    std::fs::write(house.dir.path().join("secret"), "a key\n").expect("written");
    let running = Running::start(&house, &one(&receiver.url, ", secret_file: secret")).await;
    let episode = firing("Hot", "a", 0);
    running.store(&house, &[Transition::Fired(episode.clone())]).await;
    let first = receiver.wait(1).await.remove(0);
    running.store(&house, &[Transition::Resolved(resolved(episode.clone(), 900))]).await;
    let second = receiver.wait(2).await.remove(1);
    running.until(&house, "sent", 2).await;

    let json = first.json();
    assert_eq!(json["version"], "4");
    assert_eq!(json["status"], "firing");
    assert_eq!(json["receiver"], "ops");
    assert_eq!(json["groupLabels"], serde_json::json!({"site": "hq", "cause": "Hot"}));
    assert_eq!(json["commonLabels"]["alertname"], "Hot");
    assert_eq!(json["alerts"][0]["startsAt"], episode.started_at.to_string());
    assert_eq!(json["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
    assert_eq!(json["alerts"][0]["annotations"]["summary"], "it is too hot");
    assert_eq!(json["alerts"][0]["godwit"]["id"], episode.id().to_string());
    assert_eq!(json["alerts"][0]["godwit"]["values"]["temperature"], 31.5);
    assert_eq!(second.json()["status"], "resolved");
    assert_ne!(first.header("idempotency-key"), second.header("idempotency-key"));

    // Anybody who has the key can check it.
    let signature = first.header("godwit-signature").expect("signed");
    let (time, hex) =
        signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect("its form");
    let tag: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"a key");
    hmac::verify(&key, format!("{time}.{}", first.body).as_bytes(), &tag).expect("it is ours");

    // And everything that was said is explained.
    let explained = running.alerts.explain(episode.id()).await.expect("read").expect("it is there");
    let words: Vec<&str> = explained.said.iter().map(|said| said.transition.as_str()).collect();
    assert_eq!(words, ["firing", "resolved"]);
    assert_eq!(explained.said[0].deliveries[0].state, "sent");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_or_fails_delays_nobody_else_and_loses_nothing() {
    let house = House::new();
    let hanging = Receiver::start(Manner::Hangs).await;
    let failing = Receiver::start(Manner::Answers(500)).await;
    let quick = Receiver::start(Manner::Answers(200)).await;
    let config = format!(
        "route: {{receiver: all, group_by: ['...'], group_wait: 0s, group_interval: 100ms}}
receivers:
- name: all
  webhook_configs:
  - {{url: '{}', timeout: 1s}}
  - {{url: '{}'}}
  - {{url: '{}'}}
",
        hanging.url, failing.url, quick.url
    );
    let running = Running::start(&house, &config).await;
    let fired: Vec<Transition> =
        (0..20).map(|at| Transition::Fired(firing("Hot", &format!("d{at}"), 0))).collect();
    running.store(&house, &fired).await;
    quick.wait(20).await;
    // The others were tried, and hold what they could not take.
    failing.wait(2).await;
    hanging.wait(1).await;
    let waiting = running.alerts.waiting().await.expect("read");
    assert_eq!(waiting.len(), 40);

    // They come back: each gets all of it, in order, the first under the same id as before.
    failing.set(Manner::Answers(200));
    hanging.set(Manner::Answers(200));
    running.until(&house, "sent", 60).await;
    let made = house.catalog.read::<_, ReadError>(|connection| {
        let sql = "SELECT notice FROM alert_deliveries WHERE way = 'all/webhook/0' ORDER BY turn";
        Ok(connection.query(sql, params![], |row| Ok(row.get::<alerts::NoticeId>(0)?.to_string()))?)
    });
    let made = made.expect("read");
    for receiver in [&failing, &hanging] {
        let got = receiver.got();
        let keys: Vec<_> =
            got.iter().map(|request| request.header("idempotency-key").expect("a key")).collect();
        assert_eq!(keys[0], keys[1], "tried again under the same id");
        let mut distinct = keys.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), 20, "nothing is lost");
        let mut first = keys.clone();
        first.dedup();
        assert_eq!(first, made, "in the order in which they were made");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_answers_500_for_an_hour_gets_its_notice_then_and_after_a_day_it_is_a_dead_letter() {
    let house = House::new();
    let receiver = Receiver::start(Manner::Answers(500)).await;
    let clock = house.machine.clock.clone();
    let running = Running::start_by(clock.clone(), &house, &one(&receiver.url, "")).await;
    running.store(&house, &[Transition::Fired(firing("Hot", "a", 0))]).await;
    receiver.wait(1).await;
    clock.advance(Duration::from_secs(3_600));
    receiver.wait(3).await;
    assert_eq!(running.alerts.waiting().await.expect("read").len(), 1, "an hour is no reason to give up");
    receiver.set(Manner::Answers(200));
    running.until(&house, "sent", 1).await;
    let got = receiver.got();
    assert!(got.iter().all(|one| one.header("idempotency-key") == got[0].header("idempotency-key")));

    receiver.set(Manner::Answers(500));
    clock.advance(Duration::from_secs(1));
    running.store(&house, &[Transition::Fired(firing("Hot", "b", 0))]).await;
    let tries = receiver.wait(got.len() + 1).await.len();
    clock.advance(Duration::from_secs(90_000));
    receiver.wait(tries + 1).await;
    running.until(&house, "dead", 1).await;
    let dead = running.alerts.dead_letters().await.expect("read");
    assert!(dead[0].error.as_deref().is_some_and(|error| error.contains("500")), "{dead:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_good_is_a_dead_letter_that_can_be_tried_again() {
    let house = House::new();
    let receiver = Receiver::start(Manner::Answers(404)).await;
    let running = Running::start(&house, &one(&receiver.url, "")).await;
    running.store(&house, &[Transition::Fired(firing("Hot", "a", 0))]).await;
    running.until(&house, "dead", 1).await;
    assert_eq!(receiver.got().len(), 1, "404 is not asked again");
    let dead = running.alerts.dead_letters().await.expect("read");
    assert_eq!(dead[0].way, "ops/webhook/0");
    assert!(dead[0].error.as_deref().is_some_and(|error| error.contains("404")), "{dead:?}");

    receiver.set(Manner::Answers(200));
    let tried = running.alerts.retry(&Actor::inside(), Some(dead[0].notice), None).await.expect("retried");
    assert_eq!(tried, 1);
    running.until(&house, "sent", 1).await;
    let again = running.alerts.retry(&Actor::inside(), None, None).await.expect_err("nothing is dead");
    assert_eq!(again.kind(), model::Kind::NotFound);
    let actions = house.catalog.read::<_, ReadError>(|connection| {
        Ok(connection
            .query("SELECT action FROM audit ORDER BY number", params![], |row| row.get::<String>(0))?)
    });
    assert_eq!(actions.expect("read"), ["notice.retry"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_send_and_record_sends_again_under_the_same_id_and_nothing_else_twice() {
    let house = House::new();
    let receiver = Receiver::start(Manner::Hangs).await;
    let config = one(&receiver.url, "");
    let running = Running::start(&house, &config).await;
    let fired = [Transition::Fired(firing("Hot", "a", 0))];
    running.store(&house, &fired).await;
    // The receiver has it; nobody here knows.
    receiver.wait(1).await;
    running.kill().await;

    receiver.set(Manner::Answers(200));
    let running = Running::start(&house, &config).await;
    // The evaluation replays what it did since its last saved state.
    assert_eq!(running.store(&house, &fired).await, [Applied::Known]);
    let got = receiver.wait(2).await;
    running.until(&house, "sent", 1).await;
    assert_eq!(got[0].header("idempotency-key"), got[1].header("idempotency-key"));
    running.stop().await;

    // From here on a restart repeats nothing: when something new got through, everything else was looked at.
    for restart in 0..3 {
        let running = Running::start(&house, &config).await;
        running.store(&house, &fired).await;
        let marker = firing(&format!("Marker{restart}"), "b", 0);
        running.store(&house, &[Transition::Fired(marker)]).await;
        running.until(&house, "sent", 2 + restart).await;
        running.kill().await;
    }
    assert_eq!(receiver.got().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_told_and_told_that_it_was_not_so_is_told_again_when_it_is_so_after_all() {
    let house = House::new();
    let receiver = Receiver::start(Manner::Answers(200)).await;
    let config = format!(
        "route: {{receiver: ops, group_wait: 0s, group_interval: 100ms}}
receivers: [{{name: ops, webhook_configs: [{{url: '{}'}}]}}]
",
        receiver.url
    );
    let running = Running::start(&house, &config).await;
    let hot = firing("Hot", "a", 0);
    running.store(&house, &[Transition::Fired(hot.clone())]).await;
    receiver.wait(1).await;
    let id = hot.id();
    let withdrawn = Transition::Withdrawn { id, learnt_at: hot.learnt_at.plus_micros(1_000_000) };
    running.store(&house, &[withdrawn]).await;
    receiver.wait(2).await;
    running.until(&house, "sent", 2).await;
    let again = alerts::Episode { learnt_at: hot.learnt_at.plus_micros(2_000_000), ..hot };
    running.store(&house, &[Transition::Fired(again)]).await;
    let told = receiver.wait(3).await;
    let states: Vec<String> = told
        .iter()
        .map(|request| request.json()["alerts"][0]["status"].as_str().expect("a status").to_owned())
        .collect();
    assert_eq!(states, ["firing", "resolved", "firing"]);
    // Each is written down for itself, so that a start knows what it may say.
    let explained = running.alerts.explain(id).await.expect("read").expect("it is there");
    let said: Vec<&str> = explained.said.iter().map(|said| said.transition.as_str()).collect();
    assert_eq!(said, ["firing", "retracted", "firing"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_alerts_at_once_are_one_notice_for_their_group() {
    let house = House::new();
    let receiver = Receiver::start(Manner::Answers(200)).await;
    let running = Running::start(&house, &one(&receiver.url, ", max_alerts: 50")).await;
    let fired: Vec<Transition> =
        (0..10_000).map(|at| Transition::Fired(firing("Hot", &format!("d{at}"), 0))).collect();
    running.store(&house, &fired).await;
    running.until(&house, "sent", 1).await;
    let got = receiver.got();
    assert_eq!(got.len(), 1);
    let json = got[0].json();
    assert_eq!(json["alerts"].as_array().map(Vec::len), Some(50));
    assert_eq!(json["truncatedAlerts"], 9_950);
    assert_eq!(json["godwit"]["firing"], 10_000);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_gets_the_notice_as_a_message_of_the_journal() {
    let house = House::new();
    let config = "route: {receiver: ops, group_wait: 0s}\nreceivers: [{name: ops, mqtt_configs: [{topic: alerts/ops}]}]\n";
    let running = Running::start(&house, config).await;
    running.store(&house, &[Transition::Fired(firing("Hot", "a", 0))]).await;
    running.until(&house, "sent", 1).await;
    let mut reader = running.journal.reader(1, Chains::Both);
    let batch = reader.try_next().expect("read").expect("a message");
    let message = &batch.records[0].message;
    assert_eq!(message.topic.as_str(), "alerts/ops");
    let json: serde_json::Value = serde_json::from_slice(&message.payload).expect("JSON");
    assert_eq!(json["alerts"][0]["labels"]["device"], "a");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_and_the_lists_show_what_stands_and_pages_do_not_overlap() {
    let house = House::new();
    let config = "route: {receiver: inbox, group_by: ['...'], group_wait: 0s}\n";
    let running = Running::start(&house, config).await;
    let fired: Vec<Transition> =
        (0..7).map(|at| Transition::Fired(firing("Hot", &format!("d{at}"), at))).collect();
    running.store(&house, &fired).await;
    running.until(&house, "sent", 7).await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = running.alerts.inbox(None, after, 3).await.expect("read");
        assert!(page.len() <= 3);
        seen.extend(page.into_iter().map(|entry| entry.title));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 7);
    assert!(seen[0].starts_with("[FIRING:1] Hot"), "{seen:?}");

    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = running.alerts.episodes(EpisodeFilter::default(), after, 2).await.expect("read");
        ids.extend(page.iter().map(|shown| shown.episode.key["device"].clone()));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(ids, ["d6", "d5", "d4", "d3", "d2", "d1", "d0"]);
    let filter = EpisodeFilter {
        device: Some("d3".to_owned()),
        state: Some(State::Firing),
        ..EpisodeFilter::default()
    };
    let (page, _) = running.alerts.episodes(filter, None, 10).await.expect("read");
    assert_eq!(page.len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silences_and_acknowledgements_are_judged_audited_and_explained() {
    let house = House::new();
    let running =
        Running::start(&house, "route: {receiver: inbox, group_wait: 0s, group_by: ['...']}\n").await;
    let by = Actor::inside();
    let ends_at = alerts_now(&running).plus_micros(3_600_000_000);
    let new = |matchers: &[&str], reason: &str| NewSilence {
        matchers: matchers.iter().map(|text| (*text).to_owned()).collect(),
        groups: Vec::new(),
        reason: reason.to_owned(),
        starts_at: None,
        ends_at,
    };
    for (matchers, reason, said) in [
        (&["device=a"][..], "", "the reason is 0 bytes"),
        (&[], "work", "it has 0 matchers"),
        (&["device=~.*"], "work", "match alerts that have none"),
        (&["device"], "work", "is no matcher"),
        (&["device=~\"(((a{1,100}){1,100}){1,100})\""], "work", "would take more than"),
    ] {
        let error = running.alerts.silence(&by, new(matchers, reason)).await.expect_err(said);
        assert!(error.to_string().contains(said), "{error}");
    }
    let silence = running.alerts.silence(&by, new(&["device=a"], "work")).await.expect("made");
    running
        .store(&house, &[Transition::Fired(firing("Hot", "a", 0)), Transition::Fired(firing("Hot", "b", 0))])
        .await;
    running.until(&house, "sent", 1).await;
    let id = firing("Hot", "a", 0).id();
    let explained = running.alerts.explain(id).await.expect("read").expect("there");
    assert_eq!(explained.said, []);
    assert_eq!(explained.suppressed[0].why, Why::Silenced);
    assert!(explained.suppressed[0].detail.contains(": work"), "{explained:?}");

    running.alerts.acknowledge(&by, id).await.expect("acknowledged");
    running.alerts.acknowledge(&by, id).await.expect("again");
    running.alerts.expire(&by, &silence.id).await.expect("ended");
    assert_eq!(
        running.alerts.expire(&by, &silence.id).await.expect_err("over").kind(),
        model::Kind::Conflict
    );
    assert_eq!(running.alerts.expire(&by, "other").await.expect_err("none").kind(), model::Kind::NotFound);
    assert!(running.alerts.silences(false, None).await.expect("read").is_empty());
    assert_eq!(running.alerts.silences(true, None).await.expect("read").len(), 1);
    let actions = house.catalog.read::<_, ReadError>(|connection| {
        Ok(connection
            .query("SELECT action FROM audit ORDER BY number", params![], |row| row.get::<String>(0))?)
    });
    assert_eq!(actions.expect("read"), ["silence.add", "alert.acknowledge", "silence.expire"]);
    running.stop().await;
}

fn alerts_now(_running: &Running) -> model::Timestamp {
    host::Clock::now(&host::SystemClock::start())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_says_that_godwit_lives() {
    let house = House::new();
    let receiver = Receiver::start(Manner::Answers(200)).await;
    let config =
        format!("route: {{receiver: inbox}}\nheartbeat: {{url: '{}', interval: 1s}}\n", receiver.url);
    let running = Running::start(&house, &config).await;
    let got = receiver.wait(2).await;
    assert_eq!(got[0].json()["godwit"], "alive");
    assert!(got[1].json()["number"].as_u64() > got[0].json()["number"].as_u64());
    running.stop().await;
}
