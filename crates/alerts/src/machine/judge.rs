//! One look at one group: what its receiver is to hear of each member now, and why not of the others.
//!
//! Not here: any change. The law: the judgement depends on the machine's state and the time that was handed in alone.

use hashbrown::HashSet;
use model::Timestamp;

use super::alert::{Alert, Standing};
use super::group::{Group, Heard};
use super::notice::{Body, Cause, NOTICE_ALERTS_MAX, Notice, NoticeId, Suppression, Told, Why};
use super::{Look, Machine, Now};
use crate::EpisodeId;
use crate::config::duration;
use crate::config::matcher::Labels;

/// What was decided to be told in looks that are not applied yet: one receiver is told once, whatever routes lead to it.
#[derive(Default)]
pub(super) struct TellOnce(HashSet<(EpisodeId, String, &'static str)>);

/// What is to be done for one member.
enum Verdict {
    Tell(Heard),
    /// Nothing to tell; it stays.
    Stay,
    /// Nothing to tell, ever again.
    Leave,
    /// Something to tell, but not now.
    Hold(Why, String),
    /// Something to tell, but never.
    Drop(Why, String),
    /// It continues what was told.
    Continue(String),
}

impl Machine {
    pub(super) fn judge(&self, group: &Group, now: Now, told: &mut TellOnce) -> Look {
        let mut look = Look {
            group: group.key.clone(),
            receiver: group.route.receiver.clone(),
            at: now,
            notice: None,
            heard: Vec::new(),
            suppressed: Vec::new(),
            left: Vec::new(),
            due: None,
        };
        let muted = self.config.muted(&group.route, now.wall).map(str::to_owned);
        let silences: Vec<&super::Silence> =
            self.silences.iter().filter(|silence| silence.is_active(now.wall)).collect();
        let interval_over =
            group.sent_at.is_none_or(|sent| sent.plus_micros(group.route.group_interval) <= now.steady);
        // Members that are firing and may be spoken of: the company of any news.
        let (mut firing, mut resolved, mut retracted): (Vec<&Alert>, Vec<&Alert>, Vec<&Alert>) =
            Default::default();
        let (mut news, mut waits, mut may_repeat) = (false, false, false);
        let mut verdicts = Vec::with_capacity(group.members.len());
        for (id, member) in &group.members {
            match self.alerts.get(id) {
                None => look.left.push(*id),
                Some(alert) => {
                    let verdict = self.verdict(group, alert, member.heard, &silences, muted.as_deref(), told);
                    verdicts.push((id, member, alert, verdict));
                }
            }
        }
        // One of them at least has stood for `group_wait`: those in whose company this one came may be gone by now.
        let gathers_until = verdicts
            .iter()
            .filter(|(.., verdict)| matches!(verdict, Verdict::Tell(_)))
            .map(|(_, _, alert, _)| alert.since.plus_micros(group.route.group_wait))
            .min()
            .filter(|ready| *ready > now.steady);
        for (id, member, alert, verdict) in verdicts {
            let mut suppress = |why: Why, detail: String| {
                if member.why != Some(why) {
                    let receiver = group.route.receiver.clone();
                    look.suppressed.push(Suppression { episode: *id, receiver, why, detail });
                }
            };
            match verdict {
                Verdict::Tell(_) if gathers_until.is_some() => {}
                Verdict::Tell(_) if !interval_over => waits = true,
                Verdict::Tell(heard) => {
                    news = true;
                    told.0.insert((*id, group.route.receiver.clone(), heard.name()));
                    look.heard.push((*id, alert.generation, heard));
                    match heard {
                        Heard::Resolved => resolved.push(alert),
                        Heard::Retracted => retracted.push(alert),
                        _ => firing.push(alert),
                    }
                    if heard != Heard::Firing {
                        look.left.push(*id);
                    }
                    may_repeat |= heard == Heard::Firing;
                }
                Verdict::Stay => {
                    let silent = self.hushed(alert, &silences, muted.as_deref());
                    match silent {
                        None => {
                            firing.push(alert);
                            may_repeat |= alert.acknowledged.is_none();
                        }
                        Some((why, detail)) => suppress(why, detail),
                    }
                }
                Verdict::Leave => look.left.push(*id),
                Verdict::Hold(why, detail) => {
                    waits = true;
                    suppress(why, detail);
                }
                Verdict::Drop(why, detail) => {
                    suppress(why, detail);
                    look.left.push(*id);
                }
                Verdict::Continue(detail) => {
                    look.heard.push((*id, alert.generation, Heard::Reopened));
                    suppress(Why::Reopened, detail);
                }
            }
        }
        let repeat_at = group.sent_at.map(|sent| sent.plus_micros(group.route.repeat_interval));
        let repeats = !news && may_repeat && repeat_at.is_some_and(|at| at <= now.steady);
        if repeats {
            for alert in &firing {
                if group.members.get(&alert.id).is_some_and(|member| member.heard == Heard::Reopened) {
                    look.heard.push((alert.id, alert.generation, Heard::Firing));
                }
            }
        }
        if news || repeats {
            let cause = match (repeats, firing.is_empty() && resolved.is_empty()) {
                (true, _) => Cause::Repeat,
                (false, true) => Cause::Retraction,
                (false, false) => Cause::News,
            };
            look.notice = Some(notice(group, now, cause, &firing, &resolved, &retracted));
        }
        let sent = if look.notice.is_some() { Some(now.steady) } else { group.sent_at };
        let next_interval = |at: Timestamp| at.plus_micros(group.route.group_interval);
        let again =
            waits.then(|| sent.map_or(next_interval(now.steady), |sent| next_interval(sent).max(now.steady)));
        // A look that could tell nothing is not looked at again in the same moment.
        let again = again.map(|at| if at <= now.steady { next_interval(now.steady) } else { at });
        let stays = group.members.len() > look.left.len();
        let repeat = stays.then(|| sent.unwrap_or(now.steady).plus_micros(group.route.repeat_interval));
        // Due, but with nobody to speak of (all acknowledged or silenced): in another interval.
        let repeat = repeat.map(|at| if at <= now.steady { next_interval(now.steady) } else { at });
        let gathered = gathers_until.map(|ready| sent.map_or(ready, |sent| ready.max(next_interval(sent))));
        look.due = [gathered, again, repeat].into_iter().flatten().min();
        look
    }

    fn verdict(
        &self,
        group: &Group,
        alert: &Alert,
        heard: Heard,
        silences: &[&super::Silence],
        muted: Option<&str>,
        told: &TellOnce,
    ) -> Verdict {
        let receiver = &group.route.receiver;
        let elsewhere = |wanted: Heard| {
            let others =
                alert.groups.iter().filter(|key| **key != group.key).filter_map(|key| self.groups.get(key));
            let mut others = others.filter(|other| other.route.receiver == *receiver);
            let heard =
                others.any(|other| other.members.get(&alert.id).is_some_and(|one| one.heard == wanted));
            heard || told.0.contains(&(alert.id, receiver.clone(), wanted.name()))
        };
        match (alert.standing, heard) {
            (Standing::Firing, Heard::Firing | Heard::Reopened) => Verdict::Stay,
            (Standing::Firing, _) => {
                if elsewhere(Heard::Firing) {
                    return Verdict::Drop(
                        Why::ToldAlready,
                        "another route leads to the same receiver".to_owned(),
                    );
                }
                if let Some((at, by)) = &alert.acknowledged {
                    return Verdict::Hold(Why::Acknowledged, format!("by {by} at {at}"));
                }
                if let Some((why, detail)) = self.hushed(alert, silences, muted) {
                    return Verdict::Hold(why, detail);
                }
                match self.continues(alert, receiver) {
                    Some(detail) if heard == Heard::Nothing => Verdict::Continue(detail),
                    _ => Verdict::Tell(Heard::Firing),
                }
            }
            (Standing::Resolved, Heard::Firing) => {
                if elsewhere(Heard::Resolved) {
                    return Verdict::Leave;
                }
                if let Some((why, detail)) = silenced(alert, silences) {
                    return Verdict::Drop(why, detail);
                }
                match muted {
                    Some(interval) => Verdict::Hold(Why::Muted, interval.to_owned()),
                    None => Verdict::Tell(Heard::Resolved),
                }
            }
            (Standing::Resolved, Heard::Nothing) if alert.episode.late => {
                if elsewhere(Heard::Resolved) || elsewhere(Heard::Firing) {
                    return Verdict::Leave;
                }
                match self.hushed(alert, silences, muted) {
                    Some((why, detail)) => Verdict::Drop(why, detail),
                    None => Verdict::Tell(Heard::Resolved),
                }
            }
            (Standing::Resolved, Heard::Nothing) => {
                let detail =
                    format!("over within the group_wait of {}", duration::shown(group.route.group_wait));
                Verdict::Drop(Why::Short, detail)
            }
            (Standing::Withdrawn, Heard::Firing | Heard::Resolved) => {
                if elsewhere(Heard::Retracted) {
                    Verdict::Leave
                } else {
                    Verdict::Tell(Heard::Retracted)
                }
            }
            (Standing::Resolved | Standing::Withdrawn, _) => Verdict::Leave,
        }
    }

    /// Why an alert is not to be spoken of now, if so.
    fn hushed(
        &self,
        alert: &Alert,
        silences: &[&super::Silence],
        muted: Option<&str>,
    ) -> Option<(Why, String)> {
        silenced(alert, silences)
            .or_else(|| self.inhibited(alert))
            .or_else(|| muted.map(|interval| (Why::Muted, format!("interval `{interval}`"))))
    }

    fn inhibited(&self, alert: &Alert) -> Option<(Why, String)> {
        for (at, one) in self.config.inhibitions().iter().enumerate() {
            if !one.target.iter().all(|matcher| matcher.matches(&alert.labels)) {
                continue;
            }
            let Some(sources) = self.sources.get(&(at, values(&one.equal, &alert.labels))) else { continue };
            // One that is both sides is not hushed by others that are both: they would hush each other.
            let is_both = one.source.iter().all(|matcher| matcher.matches(&alert.labels));
            let speaks = |id: &&EpisodeId| {
                let other = self.alerts.get(*id);
                **id != alert.id
                    && other.is_some_and(|other| {
                        !is_both || !one.target.iter().all(|matcher| matcher.matches(&other.labels))
                    })
            };
            if let Some(source) = sources.iter().filter(speaks).min() {
                let rule = self.alerts.get(source).map_or("", |other| other.episode.rule.as_str());
                return Some((Why::Inhibited, format!("by `{rule}`, {source}")));
            }
        }
        None
    }

    /// The episode whose incident this one continues, if its receiver was told of that.
    fn continues(&self, alert: &Alert, receiver: &str) -> Option<String> {
        if alert.episode.late {
            return None;
        }
        let continued =
            self.chapters.continued(&alert.incident(), alert.id, alert.episode.fired_at, receiver)?;
        Some(format!("continues {continued} within {}", duration::shown(self.config.refire())))
    }
}

fn silenced(alert: &Alert, silences: &[&super::Silence]) -> Option<(Why, String)> {
    let silence = silences.iter().find(|silence| silence.matches(&alert.labels, &alert.place))?;
    Some((Why::Silenced, format!("silence {} by {}: {}", silence.id, silence.author, silence.reason)))
}

/// The values of these labels.
pub(super) fn values(names: &[String], labels: &Labels) -> Vec<String> {
    names.iter().map(|name| labels.get(name).cloned().unwrap_or_default()).collect()
}

fn notice(
    group: &Group,
    now: Now,
    cause: Cause,
    firing: &[&Alert],
    resolved: &[&Alert],
    retracted: &[&Alert],
) -> Notice {
    let of = |alerts: &[&Alert], state: &'static str| -> Vec<Told> {
        alerts.iter().take(NOTICE_ALERTS_MAX).map(|alert| Told::of(alert, state)).collect()
    };
    let mut alerts = of(firing, "firing");
    alerts.extend(of(resolved, "resolved"));
    alerts.extend(of(retracted, "retracted"));
    alerts.truncate(NOTICE_ALERTS_MAX);
    let all = firing.len() + resolved.len() + retracted.len();
    let body = Body {
        receiver: group.route.receiver.clone(),
        cause,
        group: group.key.clone(),
        group_labels: group.labels.clone(),
        left_out: (all - alerts.len()) as u64,
        firing: firing.len() as u64,
        resolved: (resolved.len() + retracted.len()) as u64,
        alerts,
    };
    Notice { id: NoticeId::of(&group.key, group.notices, now.steady), made_at: now.wall, body }
}
