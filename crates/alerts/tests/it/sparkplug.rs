//! Edge nodes of Sparkplug under rules: data is judged by the birth before it, wherever that birth was read.

use model::{Lane, Message, Origin, RouteSettings, Routes, Timestamp, TopicName};

use crate::edge::{DOUBLE, Edge, Publish, Value, aliased, born};
use crate::site::{Ground, Site, compiled};

const START: &str = "2026-11-22T08:00:00Z";
const MINUTE_MS: u64 = 60_000;

const RULES: &str = "
groups:
- name: plant
  rules:
  - alert: Warm
    from: spBv1.0/plant/NDATA/+
    expr: t > 30
    for: 2m
  - alert: OvenHot
    from: spBv1.0/#
    expr: heat > 200
    for: 2m
  - alert: Offline
    from: spBv1.0/#
    expr: health.online = 0
";

/// The alarms of [`a_day`].
const WARM: [&str; 2] =
    ["11-22 08:05:00 / 11-22 08:07:00 / 11-22 08:15:00", "11-22 08:40:00 / 11-22 08:42:00 / 11-22 08:50:00"];
const OVEN_HOT: [&str; 1] = ["11-22 08:20:00 / 11-22 08:22:00 / 11-22 08:25:00"];
/// Node and oven, by the time of receipt.
const OFFLINE: [&str; 2] =
    ["11-22 08:30:01 / 11-22 08:30:01 / 11-22 08:31:01", "11-22 08:30:01 / 11-22 08:30:01 / 11-22 08:31:01"];

fn routes(data: &str) -> Routes {
    let route = |filter: &str, lane: &str| RouteSettings {
        filter: filter.to_owned(),
        decode: Some("sparkplug".to_owned()),
        lane: Some(lane.to_owned()),
        ..RouteSettings::default()
    };
    Routes::new(&[route("spBv1.0/+/NDATA/#", data), route("spBv1.0/#", "telemetry")]).expect("routes")
}

/// As a door takes it, a second after it was sent.
fn received(publish: Publish, sent_ms: u64, routes: &Routes) -> Message {
    let (topic, payload) = publish;
    let at = Timestamp::from_micros(i64::try_from(sent_ms).expect("a time") * 1_000);
    let lane = routes.find(&topic).map_or(Lane::Telemetry, model::route::Route::lane);
    let topic = TopicName::parse(topic).expect("a topic");
    Message {
        received_at: at.plus_micros(Timestamp::SECOND),
        lane,
        ..Message::new(topic, payload, Origin::inside(1))
    }
}

/// An hour of a node and an oven behind it, that speak by alias. In the middle it dies and is born again with the aliases in
/// each other's place: read by the wrong birth, `p` (500) is a temperature of 500.
fn a_day(routes: &Routes) -> Vec<Message> {
    let start = Timestamp::parse(START).expect("a time");
    let start_ms = u64::try_from(start.micros() / 1_000).expect("a time");
    let mut edge = Edge::new("plant", "line", start_ms);
    let (t, p) = (|minute| if matches!(minute, 5..15 | 40..50) { 40.0 } else { 20.0 }, 500.0);
    let heat = |minute| if matches!(minute, 20..25) { 250.0 } else { 100.0 };
    let mut messages = Vec::new();
    for minute in 0..60_u64 {
        edge.now_ms = start_ms + minute * MINUTE_MS;
        let value = Value::Double;
        let (t, heat) = (value(t(minute)), value(heat(minute)));
        let [t_alias, p_alias] = if minute < 30 { [1, 2] } else { [2, 1] };
        let said = match minute {
            0 | 31 => {
                edge.bd_seq += minute / 31;
                vec![
                    edge.birth(vec![born("t", t_alias, DOUBLE, t), born("p", p_alias, DOUBLE, value(p))]),
                    edge.device_birth("oven", vec![born("heat", 3, DOUBLE, heat)]),
                ]
            }
            30 => vec![edge.death()],
            _ => vec![
                edge.data(vec![aliased(t_alias, t), aliased(p_alias, value(p))]),
                edge.device_data("oven", vec![aliased(3, heat)]),
            ],
        };
        messages.extend(said.into_iter().map(|publish| received(publish, edge.now_ms, routes)));
    }
    messages
}

async fn assert_the_alarms_of(site: &Site, about: &str) {
    site.judged().await;
    assert_the_alarms(site, about).await;
}

async fn assert_the_alarms(site: &Site, about: &str) {
    assert_eq!(site.episodes("Warm").await, WARM, "{about}");
    assert_eq!(site.episodes("OvenHot").await, OVEN_HOT, "{about}");
    assert_eq!(site.episodes("Offline").await, OFFLINE, "{about}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_judged_by_what_its_births_told() {
    let routes = routes("telemetry");
    let ground = Ground::new();
    let site = ground.start_with(RULES, routes.clone()).await;
    site.send(a_day(&routes)).await;
    assert_the_alarms(&site, "live").await;
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_or_a_crash_between_birth_and_data_changes_no_episode() {
    let routes = routes("telemetry");
    let day = a_day(&routes);
    // After the birth, within alarms, before and after the second birth whose aliases are others.
    for stop in [1, 2, 13, 45, 60, 61, 62, 63, 90] {
        for how in ["stop", "crash", "crash behind a flush"] {
            let mut ground = Ground::new();
            let site = ground.start_with(RULES, routes.clone()).await;
            site.send(day[..stop].to_vec()).await;
            match how {
                "stop" => site.close().await,
                "crash" => ground.crash(site).await,
                _ => {
                    // What is known of nodes is stored, and ahead of where the rules stand.
                    site.series.flush().await;
                    ground.crash(site).await;
                }
            }
            let site = ground.start_with(RULES, routes.clone()).await;
            site.send(day[stop..].to_vec()).await;
            assert_the_alarms(&site, &format!("{how} after {stop} messages")).await;
            site.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_overtakes_its_birth_in_the_urgent_chain_is_judged_by_it_all_the_same() {
    let routes = routes("alarm");
    let day = a_day(&routes);
    assert!(day.iter().any(|message| message.lane.is_urgent()) && !day[0].lane.is_urgent());
    let mut ground = Ground::new();
    let site = ground.start_with(RULES, routes.clone()).await;
    for message in day {
        // One after the other: what is made durable together is numbered with the alarms first.
        site.journal.append(vec![message]).await.expect("durable");
    }
    assert_the_alarms_of(&site, "two chains").await;
    ground.crash(site).await;
    // Now all of it is there at once: every alarm is read before the first birth.
    let site = ground.start_with(RULES, routes.clone()).await;
    assert_the_alarms_of(&site, "two chains, read again").await;
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_begins_to_listen_knows_births_of_long_ago() {
    let routes = routes("telemetry");
    let day = a_day(&routes);
    let ground = Ground::new();
    let site = ground
        .start_with("groups: [{name: g, rules: [{alert: Other, from: dt/+/x, expr: a > 1}]}]", routes.clone())
        .await;
    let (before, after) = day.split_at(70);
    site.send(before.to_vec()).await;
    site.evaluation.replace(compiled(RULES)).await;
    site.send(after.to_vec()).await;
    assert_eq!(site.episodes("Warm").await, WARM[1..], "what comes is understood");
    site.close().await;
}
