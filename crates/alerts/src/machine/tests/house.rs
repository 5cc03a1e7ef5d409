//! A server whose tables are maps: what the machine decides is stored there, and a new machine starts from it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hashbrown::{HashMap, HashSet};
use model::Timestamp;

use crate::machine::group::Heard;
use crate::machine::notice::{Notice, Why};
use crate::machine::silence::Silence;
use crate::machine::{How, Look, Machine, Now, SaidRow};
use crate::store::episodes::Stored;
use crate::{Config, Episode, EpisodeId, Matcher};

pub(super) const START: i64 = 1_800_000_000_000_000;

pub(super) fn config(text: &str) -> Config {
    let none = |_: &std::path::Path| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    Config::parse("test", text, PathBuf::new(), &none).unwrap_or_else(|error| panic!("{error}"))
}

/// A server whose tables are maps.
pub(super) struct House {
    pub(super) config: Config,
    pub(super) machine: Machine,
    pub(super) rows: BTreeMap<EpisodeId, Stored>,
    pub(super) said: Vec<(SaidRow, Timestamp)>,
    pub(super) groups: HashMap<String, (u64, Timestamp)>,
    pub(super) reasons: Vec<(EpisodeId, String, Why)>,
    pub(super) notices: Vec<(Timestamp, Notice)>,
    pub(super) silences: Vec<Silence>,
    pub(super) settled: HashSet<EpisodeId>,
    pub(super) turn: u64,
    pub(super) now: i64,
}

impl House {
    pub(super) fn new(text: &str) -> Self {
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

    pub(super) fn now(&self) -> Now {
        let at = Timestamp::from_micros(self.now);
        Now { steady: at, wall: at }
    }

    /// Lets time pass, looking whenever the machine wants to.
    pub(super) fn pass(&mut self, seconds: i64) {
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

    pub(super) fn look(&mut self) {
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

    pub(super) fn keep(&mut self, look: &Look) {
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

    pub(super) fn finish(&mut self) {
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

    pub(super) fn store(
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

    pub(super) fn fire(&mut self, episode: Episode) -> EpisodeId {
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

    pub(super) fn resolve(&mut self, id: EpisodeId) {
        let at = Timestamp::from_micros(self.now);
        self.store(|rows, turn, changed_at| {
            let row = rows.get_mut(&id).filter(|row| row.state == "firing")?;
            row.episode.resolved_at = Some(at);
            (row.state, row.turn, row.changed_at) = ("resolved".to_owned(), turn, changed_at);
            Some(id)
        });
    }

    pub(super) fn withdraw(&mut self, id: EpisodeId) {
        self.store(|rows, turn, changed_at| {
            let row = rows.get_mut(&id).filter(|row| ["firing", "resolved"].contains(&row.state.as_str()))?;
            (row.state, row.turn, row.changed_at) = ("withdrawn".to_owned(), turn, changed_at);
            Some(id)
        });
    }

    pub(super) fn acknowledge(&mut self, id: EpisodeId) {
        let at = Timestamp::from_micros(self.now);
        self.store(|rows, turn, _| {
            let row = rows.get_mut(&id).filter(|row| row.state == "firing")?;
            row.acknowledged = Some((at, "user:a".to_owned()));
            row.turn = turn;
            Some(id)
        });
    }

    pub(super) fn silence(&mut self, matcher: &str, seconds: i64) {
        self.silence_in(&[], matcher, seconds);
    }

    pub(super) fn silence_in(&mut self, groups: &[&str], matcher: &str, seconds: i64) {
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
    pub(super) fn restart(&mut self) {
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
    pub(super) fn told(&self) -> Vec<String> {
        let said = |notice: &Notice| {
            let alerts = notice.body.alerts.iter();
            let alerts: Vec<String> = alerts
                .map(|one| format!("{} {}", one.state, one.labels.get("device").map_or("", String::as_str)))
                .collect();
            format!("{}: {}", notice.body.receiver, alerts.join(", "))
        };
        self.notices.iter().map(|(_, notice)| said(notice)).collect()
    }

    pub(super) fn was_suppressed(&self, why: Why) -> bool {
        self.reasons.iter().any(|(_, _, reason)| *reason == why)
    }
}

pub(super) fn episode(rule: &str, device: &str, start: i64, labels: &[(&str, &str)]) -> Episode {
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
