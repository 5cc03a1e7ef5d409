//! Second looks: what late samples have changed in what was said.
//!
//! Not here: what a look reads and reckons (`look`), when one is made (`work`). The law: a look that cannot be read now is
//! kept and tried again, and only after many failures given up, aloud.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use model::Timestamp;
use rules::{Difference, Fold, Key, Rule};

use super::super::book::Standing;
use super::super::keep;
use super::super::look::{self, Question};
use super::super::told::{self, Learnt};
use super::super::waiting::Look;
use super::{PAUSE, Work, micros};
use crate::{EpisodeId, store};

/// How long a look waits at first for the columns to have what it is about, and at most: what is urgent waits behind it. While it waits
/// nothing is judged, so columns that are slow, but move, come so far.
const COLUMNS_PATIENCE: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];

/// How long one may read.
const LOOK_PATIENCE: Duration = Duration::from_secs(60);

/// A look that cannot be read so often is given up.
const LOOK_FAILURES_MAX: u32 = 30;

impl Work {
    /// Looks again at what late samples have changed for one key, if one may be looked at now.
    pub(super) async fn look_again(&mut self, mono: u64) {
        if let Some((at, key, look)) = self.book.next_look(mono) {
            self.look(at, key, look).await;
        }
    }

    async fn look(&mut self, at: usize, key: Key, mut look: Look) {
        let entry = &mut self.book.entries[at];
        let rule = Arc::clone(&entry.rule);
        let state = entry.folds.get(&key).map(|standing| &standing.state);
        let newest = state.and_then(Fold::newest);
        let live = state.filter(|_| self.is_caught_up).cloned();
        // Not only what came late: a state made of less than it had seen would have lost what came between. After a start the
        // episodes that are known are those of all that was durable then.
        let at_least = if self.is_caught_up { self.seen } else { self.seen.max(self.catch_up_to) };
        let seq = look.seq.max(at_least);
        let question = Question {
            rule: Arc::clone(&rule),
            members: entry.members(&self.parts.identity, &key),
            changed: look.changed,
            live,
            newest,
            seq,
        };
        if question.members.is_empty() {
            // Nobody is of this key any more; to ask for nobody's readings would be to ask for everybody's.
            return;
        }
        // Columns that stand still (their disk is full, say) hold up late samples, and nothing else.
        let [first, most] = COLUMNS_PATIENCE;
        let patience = self.columns_waited.map_or(first, |waited| most.min(waited * 2));
        let applied = tokio::time::timeout(patience, self.parts.series.caught_up(seq));
        let Some(Ok(())) = self.unless_stopped(applied).await else {
            if self.columns_waited.is_none() {
                let applied = self.parts.series.applied();
                tracing::warn!(seq, applied, "late samples wait: the columns are behind");
            }
            self.columns_waited = Some(patience);
            // It has had its pause; the others are next.
            self.book.entries[at].looks.put_back(key, look);
            return;
        };
        if self.columns_waited.take().is_some() {
            tracing::info!(seq, "the columns are there again: late samples are looked at");
        }
        let read = tokio::time::timeout(LOOK_PATIENCE, look::look(&self.parts.series, &question));
        let Some(read) = self.unless_stopped(read).await else {
            self.look_later(at, key, look);
            return;
        };
        let found = match read {
            Ok(Ok(found)) => found,
            failed => {
                let error = match failed {
                    Ok(failed) => failed.err().map_or_else(String::new, |error| model::in_one_line(&error)),
                    Err(_) => format!("it took longer than {} s", LOOK_PATIENCE.as_secs()),
                };
                look.failures += 1;
                let failures = look.failures;
                let about = look::shown(&rule, &key);
                if failures >= LOOK_FAILURES_MAX {
                    tracing::error!(
                        about,
                        error,
                        failures,
                        "late samples are left out: what is stored cannot be read"
                    );
                    self.book.entries[at].tally.looks_failed += 1;
                } else {
                    tracing::warn!(
                        about,
                        error,
                        failures,
                        "late samples wait: what is stored cannot be read now"
                    );
                    self.look_later(at, key, look);
                }
                return;
            }
        };
        self.book.entries[at].tally.looks += 1;
        let known = match self.known(&rule, &key, &found).await {
            Ok(known) => known,
            Err(error) => {
                tracing::error!(
                    error = model::in_one_line(&error),
                    "known episodes cannot be read; trying again"
                );
                self.look_later(at, key, look);
                return;
            }
        };
        let end = found.end.as_ref().and_then(Fold::newest);
        let learnt = Learnt { at: look.received_at, newest: end.or(newest).unwrap_or(look.changed.last) };
        let changes = self.changes(&rule, &key, &known, &found.episodes, learnt);
        self.store(changes).await;
        if let Some(fold) = found.end {
            let is_stale = learnt.is_stale(self.book.urgent_within());
            let open = found.episodes.last().filter(|episode| episode.resolved_at.is_none());
            let standing =
                self.book.entries[at].folds.entry(key).or_insert_with(|| Standing::new(Fold::new(&rule)));
            standing.state = fold;
            standing.included = seq;
            standing.is_dirty = true;
            standing.late = open.filter(|_| is_stale).map(|episode| Box::new(episode.clone()));
        }
    }

    fn look_later(&mut self, at: usize, key: Key, mut look: Look) {
        look.not_before = self.mono().saturating_add(micros(PAUSE));
        self.book.entries[at].looks.put_back(key, look);
    }

    async fn known(
        &self,
        rule: &Rule,
        key: &Key,
        found: &rules::Refolded,
    ) -> Result<Vec<(EpisodeId, rules::Episode)>, catalog::ReadError> {
        let (name, version) = (rule.name().to_owned(), rule.version().0);
        let key = serde_json::to_string(&told::parts(key)).expect("texts are JSON");
        let (after, until) = (found.after, found.until);
        self.parts
            .catalog
            .read_async(move |connection| {
                Ok(keep::known_episodes(connection, (&name, version, &key), after, until)?)
            })
            .await
    }

    /// What is to be stored because `found` is so where `known` was.
    fn changes(
        &self,
        rule: &Rule,
        key: &Key,
        known: &[(EpisodeId, rules::Episode)],
        found: &[rules::Episode],
        learnt: Learnt,
    ) -> Vec<store::Transition> {
        let episode = |episode: &rules::Episode| {
            told::episode(&self.parts.identity, rule, key, episode, learnt, self.book.urgent_within())
        };
        let ids: HashMap<Timestamp, EpisodeId> =
            known.iter().map(|(id, episode)| (episode.start, *id)).collect();
        let known: Vec<rules::Episode> = known.iter().map(|(_, episode)| episode.clone()).collect();
        let change = |difference| match difference {
            Difference::Fired(now) => store::Transition::Fired(episode(&now)),
            Difference::Resolved(now) => store::Transition::Resolved(episode(&now)),
            Difference::Changed { now, .. } => store::Transition::Changed(episode(&now)),
            Difference::Moved { was, now } => {
                store::Transition::Moved { id: ids[&was.start], episode: episode(&now) }
            }
            Difference::Vanished(was) => {
                store::Transition::Withdrawn { id: ids[&was.start], learnt_at: learnt.at }
            }
        };
        rules::difference(&known, found).into_iter().map(change).collect()
    }
}
