//! The shipped rules about silence over a fleet: who is honest raises nothing; who hangs, and who is gone, are told apart.

use alerts::{EpisodeFilter, State};
use model::DeviceName;

use crate::site::{Ground, Site};

/// As every server has them.
const SHIPPED: &str = include_str!("../../../godwit/src/rulebook/shipped.yaml");

/// What is in force without a file, and a way for the heartbeat of the tests.
fn config() -> String {
    let beat =
        "  - {matchers: [alertname=~Heartbeat.*], group_by: ['...'], group_wait: 0s, group_interval: 10s}\n";
    alerts::SHIPPED.replace("  routes:\n", &format!("  routes:\n{beat}"))
}

fn device(name: &str) -> DeviceName {
    DeviceName::parse(name).expect("a name")
}

/// So many minutes in which each of `devices` says something.
async fn minutes(site: &Site, devices: &[&str], count: u64) {
    for _ in 0..count {
        for device in devices {
            site.hear(device, site.now(), "\"temperature\":20").await;
        }
        site.pass(60).await;
    }
}

async fn connect(ground: &Ground, site: &Site, name: &str, is_connected: bool) {
    let mut connected = ground.connected.lock();
    match is_connected {
        true => connected.insert(device(name), site.now()),
        false => connected.remove(name),
    };
}

/// Rule and device of what fires.
async fn firing(site: &Site) -> Vec<String> {
    let mut found = Vec::new();
    for rule in ["Silent", "ConnectedSilent", "Away"] {
        let filter = EpisodeFilter {
            rule: Some(rule.to_owned()),
            state: Some(State::Firing),
            ..EpisodeFilter::default()
        };
        let (page, _) = site.alerts.episodes(filter, None, 100).await.expect("read");
        found.extend(page.iter().map(|shown| format!("{rule} {}", shown.episode.key["device"])));
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_is_told_apart_from_who_is_gone_and_who_is_honest_raises_nothing() {
    let ground = Ground::telling(&config());
    let site = ground.start(SHIPPED).await;
    for name in ["steady", "hangs", "goes", "listens"] {
        connect(&ground, &site, name, true).await;
    }
    // `gateway-7` speaks through another's connection: it has none of its own.
    minutes(&site, &["steady", "hangs", "goes", "gateway-7"], 8).await;
    assert_eq!(firing(&site).await, Vec::<String>::new(), "an honest fleet is quiet");

    connect(&ground, &site, "goes", false).await;
    minutes(&site, &["steady"], 5).await;
    assert_eq!(
        firing(&site).await,
        ["ConnectedSilent hangs", "Silent gateway-7", "Silent goes", "Silent hangs"]
    );
    let told: Vec<String> = site.notices().await.into_iter().flat_map(|notice| notice.lines).collect();
    let of_hangs: Vec<&String> = told.iter().filter(|line| line.contains("hangs")).collect();
    assert!(
        of_hangs.len() == 1 && of_hangs[0].contains("is connected"),
        "told once, by what is known best: {told:?}"
    );

    // It is restarted by hand: it is gone, and comes back as it was meant to be.
    connect(&ground, &site, "hangs", false).await;
    minutes(&site, &["steady"], 1).await;
    assert!(!firing(&site).await.contains(&"ConnectedSilent hangs".to_owned()));
    connect(&ground, &site, "hangs", true).await;
    minutes(&site, &["steady", "hangs", "goes", "gateway-7"], 5).await;
    assert_eq!(firing(&site).await, Vec::<String>::new());
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_server_accuses_nobody_who_comes_back() {
    let mut ground = Ground::telling(&config());
    let site = ground.start(SHIPPED).await;
    connect(&ground, &site, "steady", true).await;
    minutes(&site, &["steady"], 8).await;
    ground.crash(site).await;
    ground.connected.lock().clear();
    ground.machine.clock.advance(std::time::Duration::from_secs(3_600));
    let site = ground.start(SHIPPED).await;
    site.pass(30).await;
    connect(&ground, &site, "steady", true).await;
    minutes(&site, &["steady"], 5).await;
    let ever: Vec<String> = [site.episodes("ConnectedSilent").await, site.episodes("Silent").await].concat();
    assert_eq!(ever, Vec::<String>::new());
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_comes_back_while_it_is_asked_who_is_connected_does_not_hang() {
    let ground = Ground::telling(&config());
    let site = ground.start(SHIPPED).await;
    connect(&ground, &site, "steady", true).await;
    minutes(&site, &["steady"], 8).await;
    // The network is gone for an hour, and the device connects a moment after the look began.
    connect(&ground, &site, "steady", false).await;
    for _ in 0..60 {
        site.pass(60).await;
    }
    let later = site.now().plus_micros(61 * model::Timestamp::SECOND);
    ground.connected.lock().insert(device("steady"), later);
    site.pass(60).await;
    assert_eq!(site.episodes("ConnectedSilent").await, [""; 0]);
    site.close().await;
}
