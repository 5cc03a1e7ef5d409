//! What is told of alerts, to whom and when, by the machine against tables of its own.
//!
//! ```text
//! house        a server whose tables are maps
//! properties   whatever happens, in whatever order
//! ```

mod house;
mod properties;

use model::Timestamp;

use self::house::{House, config, episode};
use super::notice::{Cause, Why};

const PLAIN: &str = "
route:
  receiver: ops
  group_by: [site, cause]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 4h
  routes:
  - matchers: ['severity=critical']
    group_wait: 0s
    group_interval: 10s
receivers: [{name: ops, inbox: true}]
";

const HQ: &[(&str, &str)] = &[("site", "hq")];
const HOT: &[(&str, &str)] = &[("site", "hq"), ("severity", "critical")];

#[test]
fn alerts_of_a_site_and_a_cause_are_one_notice_and_sites_are_never_mixed() {
    let mut house = House::new(PLAIN);
    house.fire(episode("Hot", "a", 0, HQ));
    house.pass(20);
    house.fire(episode("Hot", "b", 20, HQ));
    house.fire(episode("Hot", "c", 20, &[("site", "lab")]));
    house.fire(episode("Damp", "a", 20, HQ));
    house.pass(9);
    assert!(house.told().is_empty(), "group_wait has not passed");
    house.pass(30);
    let mut told = house.told();
    told.sort();
    assert_eq!(told, ["ops: firing a", "ops: firing a, firing b", "ops: firing c"]);
}

#[test]
fn the_same_alert_is_told_once_until_it_is_repeated() {
    let mut house = House::new(PLAIN);
    let one = episode("Hot", "a", 0, HOT);
    house.fire(one.clone());
    house.pass(0);
    assert_eq!(house.told().len(), 1, "critical: at once");
    for _ in 0..100 {
        house.pass(30);
        house.fire(one.clone());
    }
    assert_eq!(house.told().len(), 1);
    house.pass(4 * 3600 - 100 * 30);
    assert_eq!(house.told().len(), 2);
    assert_eq!(house.notices[1].1.body.cause, Cause::Repeat);
    assert_eq!(house.notices[1].0.micros_since(house.notices[0].0), 4 * 3600 * Timestamp::SECOND);
}

#[test]
fn ten_thousand_alerts_at_once_are_one_notice_per_group() {
    let mut house = House::new(PLAIN);
    for device in 0..10_000 {
        let site = if device % 2 == 0 { "hq" } else { "lab" };
        house.fire(episode("Hot", &format!("d{device}"), 0, &[("site", site), ("severity", "critical")]));
    }
    house.pass(3600);
    assert_eq!(house.notices.len(), 2);
    for (_, notice) in &house.notices {
        assert_eq!(notice.body.firing, 5_000);
        assert_eq!(notice.body.alerts.len() as u64 + notice.body.left_out, 5_000);
    }
}

#[test]
fn an_episode_that_vanishes_before_its_notice_leaves_no_trace_and_later_one_retraction() {
    let mut house = House::new(PLAIN);
    let gone = house.fire(episode("Hot", "a", 0, HQ));
    house.pass(29);
    house.withdraw(gone);
    house.pass(3600);
    assert!(house.told().is_empty());
    assert!(house.rows.is_empty() && house.said.is_empty() && house.reasons.is_empty());

    let told = house.fire(episode("Hot", "b", 3700, HQ));
    house.pass(60);
    house.withdraw(told);
    house.restart();
    house.pass(24 * 3600);
    assert_eq!(house.told(), ["ops: firing b", "ops: retracted b"]);
    assert_eq!(house.rows[&told].state, "retracted");
    assert_eq!(house.notices[1].1.body.cause, Cause::Retraction);
}

#[test]
fn an_alert_waits_its_own_group_wait_when_those_before_it_are_gone() {
    let mut house = House::new(PLAIN);
    let gone = house.fire(episode("Hot", "a", 0, HQ));
    house.pass(10);
    house.withdraw(gone);
    house.pass(15);
    // Five seconds before the group would have been looked at for the first.
    let phantom = house.fire(episode("Hot", "a", 20, HQ));
    house.pass(20);
    house.withdraw(phantom);
    house.pass(600);
    assert_eq!(house.told(), Vec::<String>::new());
    // In company it leaves with the first.
    house.fire(episode("Hot", "a", 1_000, HQ));
    house.pass(25);
    house.fire(episode("Hot", "b", 1_000, HQ));
    house.pass(5);
    assert_eq!(house.notices.len(), 1);
    assert_eq!(house.notices[0].1.body.firing, 2);
}

#[test]
fn an_episode_that_follows_soon_reopens_its_incident_without_a_notice() {
    let mut house = House::new(PLAIN);
    let first = house.fire(episode("Hot", "a", 0, HOT));
    house.pass(60);
    house.resolve(first);
    house.pass(60);
    let second = house.fire(episode("Hot", "a", 120, HOT));
    house.pass(60);
    house.restart();
    house.resolve(second);
    house.pass(600);
    assert_eq!(house.told(), ["ops: firing a", "ops: resolved a"]);
    assert!(house.was_suppressed(Why::Reopened));
    // One that follows later is news.
    house.fire(episode("Hot", "a", 780, HOT));
    house.pass(60);
    assert_eq!(house.told().len(), 3);
}

#[test]
fn an_incident_that_stays_open_is_repeated_though_it_was_reopened_silently() {
    let mut house = House::new(PLAIN);
    let first = house.fire(episode("Hot", "a", 0, HOT));
    house.pass(60);
    house.resolve(first);
    house.pass(60);
    let second = house.fire(episode("Hot", "a", 120, HOT));
    house.pass(5 * 3600);
    house.resolve(second);
    house.pass(60);
    assert_eq!(house.told(), ["ops: firing a", "ops: resolved a", "ops: firing a", "ops: resolved a"]);
}

#[test]
fn late_alerts_go_to_the_inbox_and_page_nobody() {
    let mut house = House::new(&PLAIN.replace("inbox: true", "mqtt_configs: [{topic: pager}]"));
    let mut late = episode("Hot", "a", -86_400, HOT);
    late.late = true;
    late.resolved_at = Some(late.fired_at.plus_micros(1));
    house.fire(late);
    let mut open = episode("Hot", "b", -3600, HOT);
    open.late = true;
    let open = house.fire(open);
    house.pass(3600);
    assert_eq!(house.told(), ["inbox: firing b, resolved a"]);
    // It still holds at a fresh sample: now it is urgent.
    house.store(|rows, turn, _| {
        let row = rows.get_mut(&open).expect("it is there");
        row.episode.late = false;
        row.turn = turn;
        Some(open)
    });
    house.pass(0);
    assert_eq!(house.told()[1..], ["ops: firing b"]);
}

#[test]
fn a_route_that_speaks_of_late_has_late_alerts() {
    let text = PLAIN.replace(
        "  routes:\n",
        "  routes:\n  - matchers: ['late=\"true\"', 'severity=critical']\n    receiver: ops\n",
    );
    let mut house = House::new(&text);
    let mut late = episode("Hot", "a", -3600, HOT);
    late.late = true;
    house.fire(late);
    house.pass(3600);
    assert_eq!(house.told(), ["ops: firing a"]);
}

#[test]
fn a_silence_holds_a_notice_until_it_ends_and_says_why() {
    let mut house = House::new(PLAIN);
    house.silence("device=a", 3600);
    house.fire(episode("Hot", "a", 0, HOT));
    house.fire(episode("Hot", "b", 0, HOT));
    house.pass(3599);
    assert_eq!(house.told(), ["ops: firing b"]);
    assert!(house.was_suppressed(Why::Silenced));
    house.pass(20);
    assert_eq!(house.told()[1..], ["ops: firing a, firing b"]);
}

#[test]
fn a_silence_of_a_group_hushes_nothing_outside_of_it_and_lets_go_of_what_leaves() {
    let mut house = House::new(PLAIN);
    house.silence_in(&["hq/a"], "alertname=Hot", 3600);
    for device in ["a", "ab", "b"] {
        house.fire(episode("Hot", device, 0, HOT));
    }
    house.pass(600);
    assert_eq!(house.told(), ["ops: firing ab, firing b"], "`hq/ab` is not in `hq/a`");
    // The device is moved to another group while it is hot.
    for row in house.rows.values_mut() {
        row.place = "hq/b".to_owned();
    }
    let now = house.now();
    house.machine.set_places(&|_| "hq/b".to_owned(), now);
    house.pass(600);
    assert_eq!(house.told()[1..], ["ops: firing a, firing ab, firing b"]);
}

#[test]
fn an_alert_that_another_speaks_for_is_not_told_while_that_one_fires() {
    let rules = "inhibit_rules:\n- source_matchers: [alertname=Down]\n  target_matchers: ['alertname!=Down']\n  equal: [site]\n";
    let mut house = House::new(&format!("{PLAIN}{rules}"));
    let down = house.fire(episode("Down", "gateway", 0, HOT));
    house.fire(episode("Hot", "a", 0, HOT));
    house.fire(episode("Hot", "b", 0, &[("site", "lab"), ("severity", "critical")]));
    house.pass(600);
    let mut told = house.told();
    told.sort();
    assert_eq!(told, ["ops: firing b", "ops: firing gateway"]);
    assert!(house.was_suppressed(Why::Inhibited));
    house.resolve(down);
    house.pass(60);
    assert!(house.told().contains(&"ops: firing a".to_owned()));
}

#[test]
fn an_acknowledged_alert_is_not_repeated_but_its_end_is_told() {
    let mut house = House::new(PLAIN);
    let id = house.fire(episode("Hot", "a", 0, HOT));
    house.pass(60);
    house.acknowledge(id);
    house.pass(24 * 3600);
    assert_eq!(house.told().len(), 1);
    house.resolve(id);
    house.pass(60);
    assert_eq!(house.told(), ["ops: firing a", "ops: resolved a"]);
}

#[test]
fn a_mute_interval_holds_what_is_new_and_tells_it_afterwards() {
    let rules = "time_intervals:\n- name: night\n  time_intervals: [{times: [{start_time: '08:00', end_time: '09:00'}]}]\n";
    let text = format!(
        "{}{rules}",
        PLAIN.replace(
            "  routes:\n",
            "  routes:\n  - {matchers: [quiet=yes], group_interval: 1m, mute_time_intervals: [night]}\n"
        )
    );
    let mut house = House::new(&text);
    // START is 2027-01-15T08:00:00Z.
    house.fire(episode("Hot", "a", 0, &[("quiet", "yes")]));
    house.pass(3_540);
    assert!(house.told().is_empty() && house.was_suppressed(Why::Muted));
    house.pass(120);
    assert_eq!(house.told(), ["ops: firing a"]);
}

#[test]
fn an_episode_that_is_over_within_group_wait_is_not_told_and_says_why() {
    let mut house = House::new(PLAIN);
    let id = house.fire(episode("Hot", "a", 0, HQ));
    house.pass(10);
    house.resolve(id);
    house.pass(3600);
    assert!(house.told().is_empty());
    assert!(house.was_suppressed(Why::Short));
}

#[test]
fn those_who_were_told_hear_the_end_though_the_routes_were_written_anew() {
    let mut house = House::new(PLAIN);
    let id = house.fire(episode("Hot", "a", 0, HOT));
    house.pass(60);
    let text =
        "route: {receiver: others}\nreceivers: [{name: ops, inbox: true}, {name: others, inbox: true}]\n";
    house.config = config(text);
    house.restart();
    house.pass(600);
    house.resolve(id);
    house.pass(600);
    let mut told = house.told();
    told.sort();
    assert_eq!(told, ["ops: firing a", "ops: resolved a", "others: firing a", "others: resolved a"]);
}
