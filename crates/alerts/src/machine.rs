//! Who hears of what, and when: grouping, inhibition, silences, refire, acknowledgement, repetition. Pure.
//!
//! The state is what stands in the tables: where episodes stand, and what each receiver was told. A look at a group
//! ([`Machine::decide`]) judges the difference and changes nothing; what it decided is stored and then applied
//! ([`Machine::apply`]). Not here: the clock (times are handed in), the tables (`store`), the ways (`delivery`). The laws:
//! - No notice without an episode; at most one notice of a group within its `group_interval`.
//! - A receiver is told of a firing once, of a resolution once, of a retraction once, and only if it was told before.
//! - What is not told has a reason, and the reason is part of the decision.

pub(crate) mod alert;
mod chapter;
pub(crate) mod group;
mod judge;
pub(crate) mod notice;
pub(crate) mod silence;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use model::Timestamp;

use crate::EpisodeId;
use crate::config::Config;
use crate::config::route::Route;
use crate::store::episodes::Stored;
use alert::{Alert, Standing};
use chapter::Chapters;
use group::{Group, Heard, Member, group_key, group_labels};
use notice::{Notice, Suppression, Why};
use silence::Silence;

/// The time, twice: timers go by a clock that never jumps; silences and hours of the day by the one people see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// The wall clock of the start, and what has passed since.
    pub(crate) steady: Timestamp,
    pub(crate) wall: Timestamp,
}

/// What one look at one group decided.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Look {
    pub(crate) group: String,
    pub(crate) receiver: String,
    pub(crate) at: Now,
    pub(crate) notice: Option<Notice>,
    /// What members have heard now, with their generation.
    pub(crate) heard: Vec<(EpisodeId, u64, Heard)>,
    pub(crate) suppressed: Vec<Suppression>,
    /// Members of whom there is nothing more to say here.
    pub(crate) left: Vec<EpisodeId>,
    /// When to look again.
    pub(crate) due: Option<Timestamp>,
}

/// What is to become of an episode of which nothing more is to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) id: EpisodeId,
    /// The change it was judged by: a newer one overrules.
    pub(crate) turn: u64,
    pub(crate) how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It is over, and whoever was to hear of it has.
    Settled,
    /// It never was, and those who were told know.
    Retracted,
    /// It never was, and nobody was told: no trace is left.
    Forgotten,
}

/// What a receiver was told of an episode, as its row has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SaidRow {
    pub(crate) episode: EpisodeId,
    pub(crate) generation: u64,
    pub(crate) receiver: String,
    pub(crate) heard: Heard,
    pub(crate) group: String,
}

pub(crate) struct Machine {
    config: Config,
    routes: HashMap<String, Arc<Route>>,
    alerts: HashMap<EpisodeId, Alert>,
    groups: BTreeMap<String, Group>,
    /// Groups that have no members now: how many notices they made, and when the last.
    past: HashMap<String, (u64, Timestamp)>,
    silences: Vec<Silence>,
    chapters: Chapters,
    /// Per inhibition and values of its `equal`: the alerts that are firing and speak for others.
    sources: HashMap<(usize, Vec<String>), HashSet<EpisodeId>>,
    finished: Vec<Finished>,
}

impl Machine {
    /// A machine that knows of no alert yet; `past` is what its groups did before.
    pub(crate) fn new(config: Config, past: HashMap<String, (u64, Timestamp)>) -> Self {
        let all = config.route().all().into_iter().chain([config.late()]);
        let leaf = |route: &Route| Arc::new(Route { routes: Vec::new(), ..route.clone() });
        let routes = all.map(|route| (route.key.clone(), leaf(route))).collect();
        let chapters = Chapters::new(config.refire());
        Self {
            config,
            routes,
            alerts: HashMap::new(),
            groups: BTreeMap::new(),
            past,
            silences: Vec::new(),
            chapters,
            sources: HashMap::new(),
            finished: Vec::new(),
        }
    }

    /// An episode that is over, and who was told of it: those that follow it soon continue its incident.
    pub(crate) fn remember(&mut self, stored: Stored, receivers: Vec<String>) {
        let Some(resolved_at) = stored.episode.resolved_at else { return };
        let alert = Alert::of(stored);
        for receiver in receivers {
            self.chapters.end(alert.incident(), alert.id, resolved_at, &receiver);
        }
    }

    /// Takes note of an episode as it stands now. `said` is what is written of it, when it was not known here before;
    /// `changed` is when it changed, by the steady clock.
    pub(crate) fn see(&mut self, stored: Stored, said: &[SaidRow], changed: Timestamp) {
        let id = stored.id;
        let mut alert = Alert { since: changed, ..Alert::of(stored) };
        let before = self.alerts.remove(&id);
        if let Some(before) = &before {
            if before.turn > alert.turn {
                self.alerts.insert(id, before.clone());
                return;
            }
            self.leave_sources(before);
            alert.groups.clone_from(&before.groups);
            alert.was_told = before.was_told;
            if (before.standing, before.generation) == (alert.standing, alert.generation) {
                alert.since = before.since;
            }
        } else {
            alert.was_told = said.iter().any(|row| row.heard != Heard::Reopened);
        }
        self.enter_sources(&alert);
        if alert.standing != Standing::Resolved {
            self.chapters.forget(&alert.incident(), id);
        }
        let is_new_generation = before.as_ref().is_some_and(|before| before.generation < alert.generation);

        // Where it belongs now. Where somebody was told of it, it stays until they have heard the end.
        let takers = self.takers(&alert);
        let wanted: Vec<(Arc<Route>, crate::Labels, String)> = takers
            .into_iter()
            .map(|route| {
                let labels = group_labels(&route, &alert.labels);
                let key = group_key(&route, &labels);
                (route, labels, key)
            })
            .collect();
        let mut groups: Vec<String> = Vec::new();
        for key in std::mem::take(&mut alert.groups) {
            let Some(group) = self.groups.get_mut(&key) else { continue };
            let Some(member) = group.members.get_mut(&id) else { continue };
            if is_new_generation {
                *member = Member { heard: Heard::Nothing, why: None };
            }
            if member.heard == Heard::Nothing && !wanted.iter().any(|(_, _, other)| *other == key) {
                group.members.remove(&id);
                continue;
            }
            groups.push(key);
        }
        // One receiver hears of it in one group, whatever routes lead to it: the one that told it goes first.
        let mut served: HashSet<String> = HashSet::new();
        for key in &groups {
            let group = &self.groups[key];
            if group.members.get(&id).is_some_and(|member| member.heard != Heard::Nothing) {
                served.insert(group.route.receiver.clone());
            }
        }
        let told_here =
            |key: &str| said.iter().any(|row| row.group == *key && row.generation == alert.generation);
        let (first, then): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(_, _, key)| told_here(key));
        for (route, labels, key) in first.into_iter().chain(then) {
            if groups.contains(&key) || served.contains(&route.receiver) {
                continue;
            }
            let heard = said
                .iter()
                .rfind(|row| row.receiver == route.receiver && row.generation == alert.generation)
                .map_or(Heard::Nothing, |row| row.heard);
            // What is new and gone at once is nobody's.
            if heard == Heard::Nothing && alert.standing == Standing::Withdrawn {
                continue;
            }
            if heard != Heard::Nothing {
                served.insert(route.receiver.clone());
            }
            self.group(&key, route, labels).members.insert(id, Member { heard, why: None });
            groups.push(key);
        }
        // Told by a route that the configuration has no more: its receiver hears the end all the same.
        for row in said.iter().filter(|row| row.generation == alert.generation && row.heard == Heard::Firing)
        {
            let is_there = groups.iter().any(|key| self.groups[key].route.receiver == row.receiver);
            if is_there || self.config.receiver(&row.receiver).is_none() {
                continue;
            }
            let root = self.config.route();
            let orphan = Route {
                key: format!("former/{}", row.group),
                receiver: row.receiver.clone(),
                routes: Vec::new(),
                ..root.clone()
            };
            let labels = group_labels(&orphan, &alert.labels);
            let key = group_key(&orphan, &labels);
            let over =
                said.iter().any(|other| other.receiver == row.receiver && other.heard == Heard::Resolved);
            let heard = if over { Heard::Resolved } else { Heard::Firing };
            self.group(&key, Arc::new(orphan), labels).members.insert(id, Member { heard, why: None });
            groups.push(key);
        }
        alert.groups.clone_from(&groups);
        self.alerts.insert(id, alert);
        for key in &groups {
            self.wake_group(key, id, changed);
        }
        self.finish(id);
    }

    /// The silences that are in force or will be. Groups that one of them held are looked at again.
    pub(crate) fn set_silences(&mut self, silences: Vec<Silence>, now: Now) {
        if self.silences == silences {
            return;
        }
        self.silences = silences;
        self.wake_silenced(now);
    }

    fn wake_silenced(&mut self, now: Now) {
        let held =
            |group: &&mut Group| group.members.values().any(|member| member.why == Some(Why::Silenced));
        for group in self.groups.values_mut().filter(held) {
            let soon = group.due_after(now.steady.plus_micros(-group.route.group_wait));
            group.due = Some(group.due.map_or(soon, |due| due.min(soon)));
        }
    }

    /// Where alerts are now, by their keys; devices were moved. Groups that a silence held are looked at again.
    pub(crate) fn set_places(&mut self, place: &dyn Fn(&BTreeMap<String, String>) -> String, now: Now) {
        let mut is_moved = false;
        for alert in self.alerts.values_mut() {
            let here = place(&alert.episode.key);
            is_moved |= here != alert.place;
            alert.place = here;
        }
        if is_moved {
            self.wake_silenced(now);
        }
    }

    /// When to look next.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.groups.values().filter_map(|group| group.due).min()
    }

    /// Looks at the groups whose time has come, at most `limit`, in the order of their times.
    pub(crate) fn decide(&self, now: Now, limit: usize) -> Vec<Look> {
        let mut due: Vec<&Group> =
            self.groups.values().filter(|group| group.due.is_some_and(|due| due <= now.steady)).collect();
        due.sort_by_key(|group| group.due);
        let mut told = judge::TellOnce::default();
        due.into_iter().take(limit).map(|group| self.judge(group, now, &mut told)).collect()
    }

    /// Applies what was decided. Cannot fail.
    pub(crate) fn apply(&mut self, look: &Look) {
        let Some(group) = self.groups.get_mut(&look.group) else { return };
        for (id, generation, heard) in &look.heard {
            let is_current = self.alerts.get(id).is_some_and(|alert| alert.generation == *generation);
            if let Some(member) = group.members.get_mut(id).filter(|_| is_current) {
                member.heard = *heard;
                member.why = None;
            }
            if let Some(alert) = self.alerts.get_mut(id).filter(|_| *heard != Heard::Reopened) {
                alert.was_told = true;
            }
        }
        for said in &look.suppressed {
            if let Some(member) = group.members.get_mut(&said.episode) {
                member.why = Some(said.why);
            }
        }
        if let Some(notice) = &look.notice {
            group.notices += 1;
            group.sent_at = Some(look.at.steady);
            self.past.insert(look.group.clone(), (group.notices, look.at.steady));
            debug_assert_eq!(notice.body.group, look.group);
        }
        group.due = look.due;
        let receiver = group.route.receiver.clone();
        let mut ends = Vec::new();
        for id in &look.left {
            let member = group.members.remove(id);
            if let (Some(alert), Some(member)) = (self.alerts.get_mut(id), member) {
                alert.groups.retain(|key| *key != look.group);
                ends.push((*id, member.heard));
            }
        }
        if group.members.is_empty() {
            self.groups.remove(&look.group);
        }
        for (id, heard) in ends {
            if heard != Heard::Nothing {
                self.end_chapter(id, &receiver);
            }
            self.finish(id);
        }
    }

    /// Episodes of which nothing more is to be said, since the last call.
    pub(crate) fn finished(&mut self) -> Vec<Finished> {
        std::mem::take(&mut self.finished)
    }

    /// Since when an alert that it has in hand stands where it stands, by the steady clock.
    pub(crate) fn since(&self, id: &EpisodeId) -> Option<Timestamp> {
        self.alerts.get(id).map(|alert| alert.since)
    }

    /// How many alerts, groups and silences there are.
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        (self.alerts.len(), self.groups.len(), self.silences.len())
    }

    fn takers(&self, alert: &Alert) -> Vec<Arc<Route>> {
        let found = self.config.route().takers(&alert.labels, alert.episode.late);
        let late = self.config.late();
        let found = if found.is_empty() { vec![late] } else { found };
        found.into_iter().map(|route| Arc::clone(&self.routes[&route.key])).collect()
    }

    fn group(&mut self, key: &str, route: Arc<Route>, labels: crate::Labels) -> &mut Group {
        let past = self.past.get(key).copied();
        self.groups.entry(key.to_owned()).or_insert_with(|| Group::new(key.to_owned(), route, labels, past))
    }

    /// A member changed: the group is looked at when its company had time to gather.
    fn wake_group(&mut self, key: &str, id: EpisodeId, changed: Timestamp) {
        let Some(group) = self.groups.get_mut(key) else { return };
        let Some(member) = group.members.get(&id) else { return };
        let is_told = self.alerts.get(&id).is_some_and(|alert| {
            matches!((alert.standing, member.heard), (Standing::Firing, Heard::Firing | Heard::Reopened))
        });
        let soon = if is_told {
            // Nothing to tell now; in time it is repeated.
            group.sent_at.map_or_else(
                || group.due_after(changed),
                |sent| sent.plus_micros(group.route.repeat_interval),
            )
        } else {
            group.due_after(changed)
        };
        group.due = Some(group.due.map_or(soon, |due| due.min(soon)));
    }

    /// Remembers that `receiver` was told of an episode that is over, for those that follow it soon.
    fn end_chapter(&mut self, id: EpisodeId, receiver: &str) {
        let Some(alert) = self.alerts.get(&id) else { return };
        let (Standing::Resolved, Some(resolved_at)) = (alert.standing, alert.episode.resolved_at) else {
            return;
        };
        if alert.episode.late {
            return;
        }
        self.chapters.end(alert.incident(), id, resolved_at, receiver);
    }

    /// An alert that is over and in no group is finished.
    fn finish(&mut self, id: EpisodeId) {
        let is_finished = |alert: &Alert| alert.standing != Standing::Firing && alert.groups.is_empty();
        if !self.alerts.get(&id).is_some_and(is_finished) {
            return;
        }
        let alert = self.alerts.remove(&id).expect("it was found");
        self.leave_sources(&alert);
        let how = match (alert.standing, alert.was_told) {
            (Standing::Withdrawn, true) => How::Retracted,
            (Standing::Withdrawn, false) => How::Forgotten,
            _ => How::Settled,
        };
        self.finished.push(Finished { id, turn: alert.turn, how });
    }

    fn enter_sources(&mut self, alert: &Alert) {
        for key in self.speaks(alert) {
            self.sources.entry(key).or_default().insert(alert.id);
        }
    }

    fn leave_sources(&mut self, alert: &Alert) {
        for key in self.speaks(alert) {
            if let Some(ids) = self.sources.get_mut(&key) {
                ids.remove(&alert.id);
                if ids.is_empty() {
                    self.sources.remove(&key);
                }
            }
        }
    }

    /// The inhibitions for which an alert is a source. What is late speaks for nobody.
    fn speaks(&self, alert: &Alert) -> Vec<(usize, Vec<String>)> {
        if alert.standing != Standing::Firing || alert.episode.late {
            return Vec::new();
        }
        let inhibitions = self.config.inhibitions().iter().enumerate();
        let meant =
            inhibitions.filter(|(_, one)| one.source.iter().all(|matcher| matcher.matches(&alert.labels)));
        meant.map(|(at, one)| (at, judge::values(&one.equal, &alert.labels))).collect()
    }
}
