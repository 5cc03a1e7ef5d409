//! Which rules are in force: what goes on, what begins, and the end of what is not in force any more.
//!
//! Not here: where rules come from, and their states as they are kept (`keep`). The law: of a version that is not in force nothing fires
//! on, for nobody would say any more that it is over.

use std::sync::Arc;

use hashbrown::HashMap;
use host::Host;
use model::Timestamp;
use rules::Rule;

use super::super::book::{Book, Entry};
use super::super::keep;
use super::Work;
use crate::{EpisodeId, store};

impl Work {
    /// Puts other rules in force; states of rules whose text is the same stay.
    pub(super) async fn replace(&mut self, rules: Vec<Arc<Rule>>) {
        let old = std::mem::take(&mut self.book.entries);
        let mut kept: HashMap<(String, u64), Entry> = old
            .into_iter()
            .map(|entry| ((entry.rule.name().to_owned(), entry.rule.version().0), entry))
            .collect();
        let mut entries = Vec::with_capacity(rules.len());
        for rule in rules {
            match kept.remove(&(rule.name().to_owned(), rule.version().0)) {
                Some(entry) => entries.push(Entry { rule, ..entry }),
                None => entries.push(Entry::new(rule, true)),
            }
        }
        self.book.put(entries);
        let change = put_in_force(&self.book, self.parts.host.clone());
        if self.write("the rules in force", change).await {
            self.parts.wake.wake();
        }
        self.last.expect = None;
        self.show();
    }
}

/// Notes which versions are in force, ends the episodes of others, and forgets their states.
pub(in crate::evaluate) fn put_in_force(
    book: &Book,
    host: Host,
) -> impl Fn(&catalog::Transaction<'_>) -> Result<(), catalog::SqlError> + Send + Sync + 'static {
    let in_force: Vec<(String, u64, String, String)> = book
        .entries
        .iter()
        .map(|entry| {
            let rule = &entry.rule;
            let (file, text) = (rule.file().to_owned(), rule.text().to_owned());
            (rule.name().to_owned(), rule.version().0, file, text)
        })
        .collect();
    move |tx| {
        let now = host.clock.now();
        keep::note_versions(tx, &in_force, now)?;
        end_others(tx, &host, &in_force, now)
    }
}

/// Resolves an episode as it was told, whatever is known of its device by now.
pub(super) fn end(
    tx: &catalog::Transaction<'_>,
    host: &Host,
    id: EpisodeId,
    resolved_at: Timestamp,
    now: Timestamp,
) -> Result<(), catalog::SqlError> {
    if let Some(stored) = store::episodes::one(tx, host, id)? {
        let episode = crate::Episode { resolved_at: Some(resolved_at), ..stored.episode };
        store::transition(tx, host, now, &store::Transition::Resolved(episode))?;
    }
    Ok(())
}

/// Resolves what is firing by a version that is not in force: nobody will say any more that it is over.
fn end_others(
    tx: &catalog::Transaction<'_>,
    host: &Host,
    in_force: &[(String, u64, String, String)],
    now: Timestamp,
) -> Result<(), catalog::SqlError> {
    let is_in_force = |rule: &str, version: u64| {
        in_force.iter().any(|(name, number, ..)| name == rule && *number == version)
    };
    for (id, rule, version, fired_at) in keep::firing_ids(tx)? {
        if is_in_force(&rule, version) {
            continue;
        }
        end(tx, host, id, now.max(fired_at), now)?;
    }
    for (rule, version) in keep::kept_versions(tx)? {
        if !is_in_force(&rule, version) {
            keep::forget(tx, &rule, version)?;
        }
    }
    Ok(())
}
