//! The machine against a table of its own: what it decided is stored there, and a new machine starts from it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hashbrown::{HashMap, HashSet};
use model::Timestamp;
use proptest::prelude::*;

use super::group::Heard;
use super::notice::{Cause, Notice, Why};
use super::silence::Silence;
use super::{How, Look, Machine, Now, SaidRow};
use crate::store::episodes::Stored;
use crate::{Config, Episode, EpisodeId, Matcher};

const START: i64 = 1_800_000_000_000_000;

fn config(text: &str) -> Config {
    let none = |_: &std::path::Path| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    Config::parse("test", text, PathBuf::new(), &none).unwrap_or_else(|error| panic!("{error}"))
}

/// A server whose tables are maps.
struct House {
    config: Config,
    machine: Machine,
    rows: BTreeMap<EpisodeId, Stored>,
    said: Vec<(SaidRow, Timestamp)>,
    groups: HashMap<String, (u64, Timestamp)>,
    reasons: Vec<(EpisodeId, String, Why)>,
    notices: Vec<(Timestamp, Notice)>,
    silences: Vec<Silence>,
    settled: HashSet<EpisodeId>,
    turn: u64,
    now: i64,
}

impl House {
    fn new(text: &str) -> Self {
        let config = config(text);
        let machine = Machine::new(config.clone(), HashMap::new());
        Self {
            config,
            machine,
            rows: BTreeMap::new(),
            said: Vec::new(),
            groups: HashMap::new(),
            reasons: Vec::new(),
            notices: Vec::new(),
            silences: Vec::new(),
            settled: HashSet::new(),
            turn: 0,
            now: START,
        }
    }

    fn now(&self) -> Now {
        let at = Timestamp::from_micros(self.now);
        Now { steady: at, wall: at }
    }

    /// Lets time pass, looking whenever the machine wants to.
    fn pass(&mut self, seconds: i64) {
        let end = self.now + seconds * Timestamp::SECOND;
        loop {
            self.look();
            let Some(due) = self.machine.due().filter(|due| due.micros() <= end) else { break };
            assert!(due.micros() > self.now, "a look moves on");
            self.now = due.micros();
        }
        self.now = end;
        self.look();
    }

    fn look(&mut self) {
        for _ in 0..100 {
            let looks: Vec<Look> = self.machine.decide(self.now(), 3);
            if looks.is_empty() {
                self.finish();
                return;
            }
            for look in &looks {
                self.keep(look);
                self.machine.apply(look);
            }
        }
        panic!("the machine looks for ever");
    }

    fn keep(&mut self, look: &Look) {
        for (id, generation, heard) in &look.heard {
            let row = SaidRow {
                episode: *id,
                generation: *generation,
                receiver: look.receiver.clone(),
                heard: *heard,
                group: look.group.clone(),
            };
            self.said.retain(|(other, _)| {
                (other.episode, other.generation, &other.receiver, other.heard)
                    != (row.episode, row.generation, &row.receiver, row.heard)
            });
            self.said.push((row, look.at.steady));
        }
        self.reasons.extend(look.suppressed.iter().map(|one| (one.episode, one.receiver.clone(), one.why)));
        if let Some(notice) = &look.notice {
            let group = self.groups.entry(look.group.clone()).or_insert((0, look.at.steady));
            *group = (group.0 + 1, look.at.steady);
            self.notices.push((look.at.steady, notice.clone()));
        }
    }

    fn finish(&mut self) {
        for one in self.machine.finished() {
            if self.rows.get(&one.id).is_none_or(|row| row.turn != one.turn) {
                continue;
            }
            match one.how {
                How::Settled => {
                    self.settled.insert(one.id);
                }
                How::Retracted => {
                    self.rows.get_mut(&one.id).expect("it is there").state = "retracted".to_owned();
                }
                How::Forgotten => {
                    assert!(
                        !self
                            .said
                            .iter()
                            .any(|(row, _)| row.episode == one.id && row.heard != Heard::Reopened)
                    );
                    self.rows.remove(&one.id);
                }
            }
        }
    }

    fn store(
        &mut self,
        change: impl FnOnce(&mut BTreeMap<EpisodeId, Stored>, u64, Timestamp) -> Option<EpisodeId>,
    ) {
        self.turn += 1;
        let at = Timestamp::from_micros(self.now);
        if let Some(id) = change(&mut self.rows, self.turn, at) {
            self.settled.remove(&id);
            let said: Vec<SaidRow> =
                self.said.iter().filter(|(row, _)| row.episode == id).map(|(row, _)| row.clone()).collect();
            self.machine.see(self.rows[&id].clone(), &said, at);
        }
    }

    fn fire(&mut self, episode: Episode) -> EpisodeId {
        let id = episode.id();
        self.store(|rows, turn, changed_at| {
            let generation = match rows.get(&id) {
                None => 0,
                Some(row) if row.state == "retracted" => row.generation + 1,
                Some(row) if row.state == "withdrawn" => row.generation,
                Some(_) => return None,
            };
            let state = episode.state().name().to_owned();
            let place = episode.key.get("device").map_or_else(String::new, |device| format!("hq/{device}"));
            let acknowledged = None;
            rows.insert(id, Stored { id, episode, state, changed_at, turn, generation, acknowledged, place });
            Some(id)
        });
        id
    }

    fn resolve(&mut self, id: EpisodeId) {
        let at = Timestamp::from_micros(self.now);
        self.store(|rows, turn, changed_at| {
            let row = rows.get_mut(&id).filter(|row| row.state == "firing")?;
            row.episode.resolved_at = Some(at);
            (row.state, row.turn, row.changed_at) = ("resolved".to_owned(), turn, changed_at);
            Some(id)
        });
    }

    fn withdraw(&mut self, id: EpisodeId) {
        self.store(|rows, turn, changed_at| {
            let row = rows.get_mut(&id).filter(|row| ["firing", "resolved"].contains(&row.state.as_str()))?;
            (row.state, row.turn, row.changed_at) = ("withdrawn".to_owned(), turn, changed_at);
            Some(id)
        });
    }

    fn acknowledge(&mut self, id: EpisodeId) {
        let at = Timestamp::from_micros(self.now);
        self.store(|rows, turn, _| {
            let row = rows.get_mut(&id).filter(|row| row.state == "firing")?;
            row.acknowledged = Some((at, "user:a".to_owned()));
            row.turn = turn;
            Some(id)
        });
    }

    fn silence(&mut self, matcher: &str, seconds: i64) {
        self.silence_in(&[], matcher, seconds);
    }

    fn silence_in(&mut self, groups: &[&str], matcher: &str, seconds: i64) {
        let at = Timestamp::from_micros(self.now);
        self.silences.push(Silence {
            id: format!("s{}", self.silences.len()),
            matchers: vec![Matcher::parse(matcher).expect("a matcher")],
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            author: "user:a".to_owned(),
            reason: "work".to_owned(),
            created_at: at,
            starts_at: at,
            ends_at: at.plus_micros(seconds * Timestamp::SECOND),
        });
        self.machine.set_silences(self.silences.clone(), self.now());
    }

    /// kill -9, and a start from what is stored.
    fn restart(&mut self) {
        let mut machine = Machine::new(self.config.clone(), self.groups.clone());
        for row in self.rows.values().filter(|row| row.state == "resolved" && !row.episode.late) {
            let said = self
                .said
                .iter()
                .filter(|(said, _)| said.episode == row.id && said.generation == row.generation);
            let told =
                said.filter(|(said, _)| self.settled.contains(&row.id) || said.heard == Heard::Resolved);
            machine.remember(row.clone(), told.map(|(said, _)| said.receiver.clone()).collect());
        }
        let mut rows: Vec<Stored> = self
            .rows
            .values()
            .filter(|row| row.state != "retracted" && !self.settled.contains(&row.id))
            .cloned()
            .collect();
        rows.sort_by_key(|row| row.turn);
        for row in rows {
            let said: Vec<SaidRow> = self
                .said
                .iter()
                .filter(|(said, _)| said.episode == row.id)
                .map(|(said, _)| said.clone())
                .collect();
            let changed = row.changed_at;
            machine.see(row, &said, changed);
        }
        self.machine = machine;
        self.machine.set_silences(self.silences.clone(), self.now());
    }

    /// What was told, as `receiver: state device …`, in order.
    fn told(&self) -> Vec<String> {
        let said = |notice: &Notice| {
            let alerts = notice.body.alerts.iter();
            let alerts: Vec<String> = alerts
                .map(|one| format!("{} {}", one.state, one.labels.get("device").map_or("", String::as_str)))
                .collect();
            format!("{}: {}", notice.body.receiver, alerts.join(", "))
        };
        self.notices.iter().map(|(_, notice)| said(notice)).collect()
    }

    fn was_suppressed(&self, why: Why) -> bool {
        self.reasons.iter().any(|(_, _, reason)| *reason == why)
    }
}

fn episode(rule: &str, device: &str, start: i64, labels: &[(&str, &str)]) -> Episode {
    let at = |seconds: i64| Timestamp::from_micros(START + seconds * Timestamp::SECOND);
    let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Episode {
        rule: rule.to_owned(),
        version: 1,
        key: [text(&("device", device))].into(),
        labels: labels.iter().map(text).collect(),
        annotations: BTreeMap::new(),
        values: BTreeMap::new(),
        started_at: at(start),
        fired_at: at(start),
        resolved_at: None,
        learnt_at: at(start),
        late: false,
    }
}

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

#[derive(Debug, Clone)]
enum Step {
    Fire { device: u8, rule: u8, late: bool },
    Resolve(u8),
    Withdraw(u8),
    Return(u8),
    Acknowledge(u8),
    Silence { device: u8, seconds: u16 },
    Pass(u16),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8, 0..2_u8, prop::bool::weighted(0.1)).prop_map(|(device, rule, late)| Step::Fire { device, rule, late }),
        3 => any::<u8>().prop_map(Step::Resolve),
        2 => any::<u8>().prop_map(Step::Withdraw),
        1 => any::<u8>().prop_map(Step::Return),
        1 => any::<u8>().prop_map(Step::Acknowledge),
        1 => (0..4_u8, 1..2_000_u16).prop_map(|(device, seconds)| Step::Silence { device, seconds }),
        5 => (0..400_u16).prop_map(Step::Pass),
        1 => Just(Step::Pass(20_000)),
        2 => Just(Step::Restart),
    ]
}

const TWO: &str = "
route:
  receiver: ops
  group_by: [site, cause]
  group_wait: 30s
  group_interval: 2m
  repeat_interval: 1h
  routes:
  - {matchers: ['severity=critical'], group_wait: 0s, group_interval: 10s, continue: true, receiver: pager}
  - {matchers: ['device=~\"d[01]\"'], receiver: ops, group_by: ['...'], continue: true}
  - {matchers: ['device=~\"d[12]\"'], receiver: ops, group_by: [device]}
inhibit_rules:
- {source_matchers: [alertname=R1], target_matchers: [alertname=R0], equal: [device]}
receivers: [{name: ops, inbox: true}, {name: pager, inbox: true}]
";

/// When, in which state, why.
type Word = (Timestamp, String, Cause);

/// What the notices say of one episode, generation and receiver, in order.
fn words(house: &House) -> BTreeMap<(String, String), Vec<Word>> {
    let mut words: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (at, notice) in &house.notices {
        for told in &notice.body.alerts {
            let key = (told.id.clone(), notice.body.receiver.clone());
            words.entry(key).or_default().push((*at, told.state.clone(), notice.body.cause));
        }
    }
    words
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_happens_nobody_is_told_twice_and_nothing_without_an_episode(steps in prop::collection::vec(step(), 1..60)) {
        let mut house = House::new(TWO);
        let mut ids: Vec<EpisodeId> = Vec::new();
        for step in steps {
            let pick = |at: u8| (!ids.is_empty()).then(|| ids[usize::from(at) % ids.len()]);
            match step {
                Step::Fire { device, rule, late } => {
                    let start = (house.now - START) / Timestamp::SECOND;
                    let mut new = episode(&format!("R{rule}"), &format!("d{device}"), start, if device % 2 == 0 { HOT } else { HQ });
                    new.late = late;
                    ids.push(house.fire(new));
                }
                Step::Resolve(at) => if let Some(id) = pick(at) { house.resolve(id) },
                Step::Withdraw(at) => if let Some(id) = pick(at) { house.withdraw(id) },
                Step::Return(at) => if let Some(row) = pick(at).and_then(|id| house.rows.get(&id).cloned()) {
                    house.fire(Episode { resolved_at: None, ..row.episode });
                },
                Step::Acknowledge(at) => if let Some(id) = pick(at) { house.acknowledge(id) },
                Step::Silence { device, seconds } => house.silence(&format!("device=d{device}"), seconds.into()),
                Step::Pass(seconds) => house.pass(seconds.into()),
                Step::Restart => house.restart(),
            }
        }
        house.pass(7_200);

        // At most one notice of a group within its interval.
        let mut last: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for (at, notice) in &house.notices {
            prop_assert!(!notice.body.alerts.is_empty(), "a notice tells of something");
            if let Some(before) = last.insert(&notice.body.group, *at) {
                let interval = if notice.body.receiver == "pager" { 10 } else { 120 };
                prop_assert!(at.micros_since(before) >= interval * Timestamp::SECOND);
            }
            for told in &notice.body.alerts {
                let id = EpisodeId::parse(&told.id).expect("an id");
                prop_assert!(ids.contains(&id), "no notice without an episode");
            }
        }
        // Nobody hears an end without a beginning, and no end twice without a new beginning.
        for ((id, receiver), words) in words(&house) {
            let mut open = false;
            let late = house.rows.get(&EpisodeId::parse(&id).expect("an id")).is_none_or(|row| row.episode.late);
            let mut heard_any = false;
            for (_, state, cause) in &words {
                match state.as_str() {
                    "firing" => open = true,
                    "resolved" => {
                        prop_assert!(open || (late && !heard_any), "{receiver} hears the end of {id} once: {words:?}");
                        open = false;
                    }
                    _ => {
                        prop_assert!(heard_any, "{receiver} hears a retraction of what it heard of: {words:?}");
                        prop_assert!(*cause != Cause::Repeat);
                        // What comes back after it is told from the beginning, which may be its end, when it is late.
                        (open, heard_any) = (false, false);
                        continue;
                    }
                }
                heard_any = true;
            }
        }
        // In the end whoever was told that something fires, and it does not, knows.
        for ((id, receiver), words) in words(&house) {
            let row = house.rows.get(&EpisodeId::parse(&id).expect("an id"));
            let last = words.last().expect("words").1.as_str();
            let silenced = house.reasons.iter().any(|(episode, to, why)| {
                episode.to_string() == id && *to == receiver && *why == Why::Silenced
            });
            match row.map(|row| row.state.as_str()) {
                Some("resolved") => prop_assert!(last != "firing" || silenced, "{receiver} of {id}: {words:?}"),
                Some("retracted") => prop_assert!(last == "retracted" || words.iter().any(|word| word.1 == "retracted"), "{receiver} of {id}: {words:?}"),
                Some("firing") => {}
                other => prop_assert!(false, "told of {id}, which is {other:?}"),
            }
        }
    }

    #[test]
    fn a_restart_at_any_moment_changes_no_notice(steps in prop::collection::vec(step(), 1..30), at in any::<prop::sample::Index>()) {
        let run = |restart: Option<usize>| {
            let mut house = House::new(PLAIN);
            let mut ids: Vec<EpisodeId> = Vec::new();
            for (number, step) in steps.iter().enumerate() {
                // What the server does between two events, in both histories.
                house.look();
                if restart == Some(number) {
                    house.restart();
                }
                match step {
                    Step::Fire { device, rule, .. } => {
                        let start = (house.now - START) / Timestamp::SECOND;
                        ids.push(house.fire(episode(&format!("R{rule}"), &format!("d{device}"), start, HOT)));
                    }
                    Step::Resolve(at) if !ids.is_empty() => house.resolve(ids[usize::from(*at) % ids.len()]),
                    Step::Withdraw(at) if !ids.is_empty() => house.withdraw(ids[usize::from(*at) % ids.len()]),
                    Step::Pass(seconds) => house.pass(i64::from(*seconds)),
                    _ => {}
                }
            }
            house.pass(60);
            let mut told: Vec<(Timestamp, Vec<String>)> = house.notices.iter().map(|(at, notice)| {
                let mut alerts: Vec<String> = notice.body.alerts.iter().map(|one| format!("{} {}", one.id, one.state)).collect();
                alerts.sort();
                (*at, alerts)
            }).collect();
            told.sort();
            told
        };
        prop_assert_eq!(run(None), run(Some(at.index(steps.len()))));
    }
}
