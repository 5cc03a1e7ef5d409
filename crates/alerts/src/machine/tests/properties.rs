//! Whatever happens, in whatever order: nobody is told twice, and a restart changes nothing.

use std::collections::BTreeMap;

use model::Timestamp;
use proptest::prelude::*;

use super::house::{House, START, episode};
use super::{HOT, HQ, PLAIN};
use crate::machine::notice::{Cause, Why};
use crate::{Episode, EpisodeId};

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
