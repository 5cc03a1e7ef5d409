//! Rules tried on what is stored: what was judged as it came, and what is tried, are the same; trials are bounded.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use alerts::{Against, TRIALS_MAX, Trial, TrialError, Tried};
use model::{Message, Timestamp};
use rules::{Limits, Rule, RuleSet};

use crate::site::{Ground, MINUTE, Site, shuffled, telemetry};

const RULES: &str = "
groups:
- name: g
  rules:
  - alert: Hot
    from: dt/+/telemetry
    expr: temperature > 30
    for: 5m
    max_gap: 4m
    clear: temperature < 28
  - alert: Mean
    from: dt/+/telemetry
    expr: avg(temperature, 10m) > 29 and last(humidity, 1h) > 40
    streak: 3
  - alert: Held
    from: dt/a/#
    expr: temperature > 33
    for: 7m
    hold: 1h
";

fn tried(text: &str) -> Trial {
    let rules: Vec<Rule> = RuleSet::load([("rules.yaml", text)], &Limits::default()).expect("rules").alerts;
    Trial { rules, against: Against::InForce, from: None, to: None, label: "severity".to_owned() }
}

/// Three days of two devices, a sample every two minutes, with holes, a value that is said again otherwise, and some that
/// lack a channel.
fn messages(start: Timestamp) -> Vec<Message> {
    let mut messages = Vec::new();
    for step in 0..2_160_i64 {
        for (nth, device) in ["a", "b"].into_iter().enumerate() {
            let turn = step + nth as i64 * 37;
            if turn % 90 > 80 {
                continue;
            }
            let time = start.plus_micros(step * 2 * MINUTE);
            let temperature = 24 + (turn * 7 % 13) + (turn / 20 % 4);
            let fields = if turn % 5 == 0 {
                format!("\"temperature\":{temperature}")
            } else {
                format!("\"temperature\":{temperature},\"humidity\":{}", 35 + turn % 9)
            };
            messages.push(telemetry(device, time, &fields));
            if turn % 101 == 0 {
                messages.push(telemetry(device, time, "\"temperature\":36"));
            }
        }
    }
    // Nothing is open at the end: what would fire later, because nothing comes, is a matter of the clock.
    let end = start.plus_micros(2_160 * 2 * MINUTE);
    messages.extend(["a", "b"].map(|device| telemetry(device, end, "\"temperature\":0,\"humidity\":0")));
    messages
}

fn shown(tried: &Tried, rule: &str) -> Vec<String> {
    let report = &tried.rules.iter().find(|tried| tried.report.rule == rule).expect("it was tried").report;
    let short = |time: Timestamp| time.to_string()[5..19].replace('T', " ");
    let mut episodes: Vec<(Timestamp, String)> = report
        .episodes()
        .map(|(_, episode, _)| {
            let end = episode.resolved_at.map_or("open".to_owned(), short);
            (episode.start, format!("{} / {} / {end}", short(episode.start), short(episode.fired_at)))
        })
        .collect();
    episodes.sort();
    episodes.into_iter().map(|(_, text)| text).collect()
}

fn sorted(mut episodes: Vec<String>) -> Vec<String> {
    episodes.sort();
    episodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_tried_is_what_was_judged_as_it_came() {
    let ground = Ground::new();
    let site = ground.start(RULES).await;
    let start = site.now().plus_micros(-4 * Timestamp::DAY);
    // The later word for a time counts: in order what is the later word is the same for both.
    site.send(messages(start)).await;
    site.series.caught_up(site.journal.durable_seq()).await;
    let from_memory =
        site.evaluation.try_rules(tried(RULES), |_| ControlFlow::Continue(())).await.expect("tried");
    site.series.flush().await;
    let from_files =
        site.evaluation.try_rules(tried(RULES), |_| ControlFlow::Continue(())).await.expect("tried");
    for rule in ["Hot", "Mean", "Held"] {
        let live = sorted(site.episodes(rule).await);
        assert!(live.len() > 2, "{rule}: {live:?}");
        assert_eq!(sorted(shown(&from_memory, rule)), live, "{rule}");
        assert_eq!(sorted(shown(&from_files, rule)), live, "{rule}");
    }
    // The texts are those in force: nothing is different.
    assert!(
        from_files
            .rules
            .iter()
            .all(|tried| tried.compared.as_ref().is_some_and(|of| of.differences.is_empty()))
    );
    site.close().await;
}

/// A trial that waits where it first says how far it is: it says that it is there, and goes on when it is told or nobody can.
async fn held(site: &Site, nth: usize, at: Sender<usize>, go_on: Receiver<()>) -> Result<Tried, TrialError> {
    let tell = move |_: series::HowFar| {
        // Whoever waited for it may be gone.
        let _ = at.send(nth);
        let _ = go_on.recv();
        ControlFlow::Continue(())
    };
    site.evaluation.try_rules(tried(RULES), tell).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn so_many_trials_run_at_a_time_and_one_that_nobody_waits_for_ends() {
    let ground = Ground::new();
    let site = Arc::new(ground.start(RULES).await);
    let start = site.now().plus_micros(-4 * Timestamp::DAY);
    site.send(shuffled(messages(start), 3)).await;
    site.series.caught_up(site.journal.durable_seq()).await;
    let (at, there) = channel();
    let mut running = Vec::new();
    for nth in 0..TRIALS_MAX {
        let (go, go_on) = channel();
        let (site, at) = (Arc::clone(&site), at.clone());
        running.push((go, tokio::spawn(async move { held(&site, nth, at, go_on).await.map(|_| ()) })));
    }
    drop(at);
    for _ in 0..TRIALS_MAX {
        there.recv().expect("it is there");
    }
    let refused = site.evaluation.try_rules(tried(RULES), |_| ControlFlow::Continue(())).await;
    assert!(matches!(refused, Err(TrialError::Busy)), "{refused:?}");
    // Nobody waits for the first: it does not go on to the next day, and then there is room for another. Not before: it still reads.
    let (go, first) = running.remove(0);
    first.abort();
    assert!(first.await.expect_err("it was cut").is_cancelled());
    let another = async || site.evaluation.try_rules(tried(RULES), |_| ControlFlow::Continue(())).await;
    assert!(matches!(another().await, Err(TrialError::Busy)));
    drop(go);
    site.until("there is room", async || another().await.is_ok()).await;
    for (go, rest) in running {
        drop(go);
        rest.await.expect("ended").expect("tried");
    }
    // All senders are gone: those that went on said so for each day, the one that was cut said nothing more.
    let days: Vec<usize> = there.iter().collect();
    assert!(days.len() >= 2 && !days.contains(&0), "{days:?}");
}
