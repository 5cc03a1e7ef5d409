//! A server clock that is wrong for a while, and is set: what is missed, told and held back then.
//!
//! Not here: clocks of devices (`alarms`). The law: nothing is lost, nobody is missed who speaks, and who does not is missed by
//! the time that really passed.

use std::time::Duration;

use model::{DeviceName, Timestamp};

use crate::site::{Ground, MINUTE, Site};

const RULES: &str = "
groups:
- name: g
  rules:
  - {alert: Quiet, from: dt/+/telemetry, absent_for: 5m}
  - alert: Hot
    from: dt/+/telemetry
    expr: temperature > 30
    labels: {severity: critical}
";

/// All speak, and a minute passes.
async fn minute(site: &Site, devices: &[&str], clock: Timestamp) {
    for device in devices {
        site.hear(device, clock, "\"temperature\":20").await;
    }
    site.pass(60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_clock_that_jumps_a_day_ahead_makes_nobody_silent_and_loses_no_alarm() {
    let ground = Ground::new();
    let site = ground.start(RULES).await;
    for _ in 0..3 {
        minute(&site, &["a", "b"], site.now()).await;
    }
    let ahead = Timestamp::DAY;
    ground.machine.clock.set(site.now().plus_micros(ahead));
    site.pass(2).await;
    assert_eq!(site.episodes("Quiet").await, [""; 0], "a day that did not pass is no silence");
    // Devices know the time: by the server's clock what they say is a day old. It is kept, and pages nobody yet.
    site.hear("a", site.now().plus_micros(-ahead), "\"temperature\":35").await;
    site.pass(60).await;
    let titles = site.titles().await;
    assert!(titles.len() == 1 && titles[0].contains("late: Hot"), "{titles:#?}");
    // `b` is really quiet now.
    for _ in 0..5 {
        site.hear("a", site.now().plus_micros(-ahead), "\"temperature\":35").await;
        site.pass(60).await;
    }
    let quiet = site.episodes("Quiet").await;
    assert!(quiet.len() == 1 && quiet[0].ends_with("open"), "{quiet:?}");

    // Set right: what still holds is urgent with the next sample.
    ground.machine.clock.set(site.now().plus_micros(-ahead));
    site.pass(2).await;
    site.hear("a", site.now(), "\"temperature\":36").await;
    site.hear("b", site.now(), "\"temperature\":20").await;
    site.pass(60).await;
    let quiet = site.episodes("Quiet").await;
    assert!(quiet.len() == 1 && !quiet[0].ends_with("open"), "it is heard again: {quiet:?}");
    let titles = site.titles().await;
    let hot = |start: &str| titles.iter().filter(|title| title.starts_with(start)).count();
    assert_eq!((hot("[FIRING:1] late: Hot"), hot("[FIRING:1] Hot")), (1, 1), "{titles:#?}");
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_clock_that_jumps_an_hour_back_misses_the_quiet_in_time_and_hears_those_who_speak() {
    let ground = Ground::new();
    let site = ground.start(RULES).await;
    minute(&site, &["a", "b", "c"], site.now()).await;
    // `c` has been missed when the clock is set.
    for _ in 0..6 {
        minute(&site, &["a", "b"], site.now()).await;
    }
    assert_eq!(site.episodes("Quiet").await.len(), 1);
    ground.machine.clock.set(site.now().plus_micros(-60 * MINUTE));
    site.pass(2).await;
    minute(&site, &["a", "c"], site.now()).await;
    let quiet = site.episodes("Quiet").await;
    assert!(quiet.len() == 1 && !quiet[0].ends_with("open"), "`c` is heard again: {quiet:?}");
    for _ in 0..6 {
        minute(&site, &["a", "c"], site.now()).await;
    }
    let quiet = site.episodes("Quiet").await;
    assert_eq!(quiet.len(), 2, "`b` is missed five minutes later, not an hour: {quiet:?}");
    // Notices leave in time too: timers do not go by that clock.
    let titles = site.titles().await;
    assert_eq!(titles.iter().filter(|title| title.starts_with("[FIRING:1] Quiet")).count(), 2, "{titles:#?}");
    ground.machine.clock.advance(Duration::from_secs(1));
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_on_its_connection_is_missed_in_time_though_the_clock_was_set_back_since() {
    let rules = "
groups:
- name: g
  rules:
  - {alert: Hangs, from: dt/+/telemetry, connected: true, absent_for: 5m}
";
    let ground = Ground::new();
    let site = ground.start(rules).await;
    ground.connected.lock().insert(DeviceName::parse("a").expect("a name"), site.now());
    minute(&site, &["a"], site.now()).await;
    ground.machine.clock.set(site.now().plus_micros(-60 * MINUTE));
    site.pass(2).await;
    for _ in 0..6 {
        site.pass(60).await;
    }
    let hangs = site.episodes("Hangs").await;
    assert!(hangs.len() == 1 && hangs[0].ends_with("open"), "{hangs:?}");
    site.close().await;
}
