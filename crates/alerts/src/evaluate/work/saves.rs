//! What is stored of the work, and what is made of it at the next start.
//!
//! Not here: how it looks in the catalog (`keep`). The law: a position is stored after everything that it covers.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use journal::Consumer;
use rules::{Fold, Key, Rule, Silence};

use super::super::book::{Entry, Standing};
use super::super::keep::{self, Marks};
use super::super::told;
use super::{Work, micros};

/// How often states and positions are stored: so much is read again after a crash.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// States in one transaction.
const STATES_AT_ONCE: usize = 1_000;

impl Work {
    pub(super) async fn save_if_due(&mut self, consumer: &Consumer) {
        let mono = self.parts.host.clock.mono_micros();
        if mono.saturating_sub(self.last.save) >= micros(SAVE_EVERY) {
            self.last.save = mono;
            self.save(consumer).await;
        }
    }

    /// Stores states, then positions. What fails is tried again the next time.
    pub(super) async fn save(&mut self, consumer: &Consumer) {
        if self.is_cut_short {
            return;
        }
        let mut forgotten: Vec<(Arc<Rule>, Vec<Key>)> = Vec::new();
        let mut rows = Vec::new();
        let mut saved: Vec<(usize, Key)> = Vec::new();
        for (at, entry) in self.book.entries.iter().enumerate() {
            if !entry.forgotten.is_empty() {
                forgotten.push((Arc::clone(&entry.rule), entry.forgotten.clone()));
            }
            let folds = entry.folds.iter().filter(|(_, standing)| standing.is_dirty);
            let folds = folds.map(|(key, standing)| (key, standing.state.to_bytes()));
            let silences = entry.silences.iter().filter(|(_, standing)| standing.is_dirty);
            let silences = silences.map(|(key, standing)| (key, standing.state.to_bytes()));
            for (key, bytes) in folds.chain(silences) {
                rows.push(keep::sealed(&self.parts.host, &entry.rule, key, &bytes));
                saved.push((at, key.clone()));
            }
        }
        self.marks.alive_at = Some(self.parts.host.clock.now());
        self.marks.absences = self.presence.absences().to_vec();
        let most = self.looked();
        let marks = Marks {
            urgent: self.marks.urgent.min(most),
            regular: self.marks.regular.min(most),
            ..self.marks.clone()
        };
        let mut rest = rows;
        loop {
            let next = rest.split_off(rest.len().min(STATES_AT_ONCE));
            let (some, is_last) = (std::mem::replace(&mut rest, next), rest.is_empty());
            let marks = is_last.then(|| marks.clone());
            // Before the states: a device may be there again under the name of one that was removed.
            let forgotten = std::mem::take(&mut forgotten);
            let written = self.parts.catalog.write(move |tx| {
                for (rule, keys) in &forgotten {
                    keys.iter().try_for_each(|key| keep::forget_key(tx, rule, key))?;
                }
                keep::save_states(tx, &some)?;
                if let Some(marks) = &marks {
                    keep::save_marks(tx, marks)?;
                }
                Ok(())
            });
            if let Err(error) = written.await {
                tracing::error!(
                    error = model::in_one_line(&error),
                    "the states of rules cannot be stored; trying again"
                );
                return;
            }
            if is_last {
                break;
            }
        }
        self.book.entries.iter_mut().for_each(|entry| entry.forgotten.clear());
        for (at, key) in saved {
            let entry = &mut self.book.entries[at];
            if let Some(standing) = entry.folds.get_mut(&key) {
                standing.is_dirty = false;
            }
            if let Some(standing) = entry.silences.get_mut(&key) {
                standing.is_dirty = false;
            }
        }
        consumer.report(marks.urgent.min(marks.regular));
    }
}

/// Reads the states that were stored, for the rules in force.
pub(in crate::evaluate) fn restored(
    rules: Vec<Arc<Rule>>,
    states: Vec<keep::StoredState>,
    firing: &[keep::Open],
    known: &[(String, u64)],
) -> Vec<Entry> {
    let mut entries: Vec<Entry> = rules
        .into_iter()
        .map(|rule| {
            let is_known =
                known.iter().any(|(name, version)| name == rule.name() && *version == rule.version().0);
            Entry::new(rule, !is_known)
        })
        .collect();
    let late: HashMap<(&str, u64, &str), &rules::Episode> = firing
        .iter()
        .filter(|open| open.is_late)
        .map(|open| ((open.rule.as_str(), open.version, open.key.as_str()), &open.episode))
        .collect();
    let places: HashMap<(String, u64), usize> = entries
        .iter()
        .enumerate()
        .map(|(at, entry)| ((entry.rule.name().to_owned(), entry.rule.version().0), at))
        .collect();
    for row in states {
        let Some(at) = places.get(&(row.rule.clone(), row.version)) else { continue };
        let entry = &mut entries[*at];
        let Some(key) = Key::parse(&row.key) else { continue };
        if entry.rule.absent_for().is_some() {
            if let Some(silence) = Silence::from_bytes(&row.state) {
                entry.silences.insert(key, Standing { is_dirty: false, ..Standing::new(silence) });
            }
            continue;
        }
        let Ok(fold) = Fold::from_bytes(&entry.rule, &row.state) else {
            tracing::warn!(
                rule = row.rule,
                key = row.key,
                "the state of a rule is of another layout: it is made anew"
            );
            continue;
        };
        let mut standing = Standing { is_dirty: false, ..Standing::new(fold) };
        if !late.is_empty() {
            let text = serde_json::to_string(&told::parts(&key)).expect("texts are JSON");
            let open = late.get(&(row.rule.as_str(), row.version, text.as_str()));
            standing.late = open.map(|episode| Box::new((*episode).clone()));
        }
        entry.folds.insert(key, standing);
    }
    entries
}
