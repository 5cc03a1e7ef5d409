//! Chapters of incidents: episodes that are over and of which somebody was told. One of the same rule and key that fires
//! soon after continues the incident.
//!
//! Not here: what follows from it (`judge`). The law: an episode that never was is no chapter.

use hashbrown::{HashMap, HashSet};
use model::Timestamp;

use super::alert::IncidentKey;
use crate::EpisodeId;

/// Most incidents whose chapters are remembered before those that nothing can continue are forgotten.
const INCIDENTS_MAX: usize = 100_000;

#[derive(Debug)]
struct Chapter {
    id: EpisodeId,
    resolved_at: Timestamp,
    /// Receivers that were told of it.
    told: HashSet<String>,
}

/// All that something may continue.
pub(super) struct Chapters {
    /// Microseconds.
    refire: i64,
    by_incident: HashMap<IncidentKey, Vec<Chapter>>,
}

impl Chapters {
    pub(super) fn new(refire: i64) -> Self {
        Self { refire, by_incident: HashMap::new() }
    }

    /// An episode is over, and this receiver was told of it.
    pub(super) fn end(
        &mut self,
        incident: IncidentKey,
        id: EpisodeId,
        resolved_at: Timestamp,
        receiver: &str,
    ) {
        if self.by_incident.len() >= INCIDENTS_MAX {
            let ends = self.by_incident.values().flatten().map(|chapter| chapter.resolved_at);
            let newest = ends.max().unwrap_or(resolved_at);
            let refire = self.refire;
            self.by_incident.retain(|_, chapters| {
                chapters.iter().any(|chapter| newest.micros_since(chapter.resolved_at) <= refire)
            });
        }
        let chapters = self.by_incident.entry(incident).or_default();
        match chapters.iter_mut().find(|chapter| chapter.id == id) {
            Some(chapter) => {
                chapter.resolved_at = resolved_at;
                chapter.told.insert(receiver.to_owned());
            }
            None => {
                let refire = self.refire;
                chapters.retain(|chapter| resolved_at.micros_since(chapter.resolved_at) <= refire);
                chapters.push(Chapter { id, resolved_at, told: HashSet::from_iter([receiver.to_owned()]) });
            }
        }
    }

    /// It is open again, or never was.
    pub(super) fn forget(&mut self, incident: &IncidentKey, id: EpisodeId) {
        if let Some(chapters) = self.by_incident.get_mut(incident) {
            chapters.retain(|chapter| chapter.id != id);
            if chapters.is_empty() {
                self.by_incident.remove(incident);
            }
        }
    }

    /// The chapter that an episode continues which fired then, if this receiver was told of that one.
    pub(super) fn continued(
        &self,
        incident: &IncidentKey,
        id: EpisodeId,
        fired_at: Timestamp,
        receiver: &str,
    ) -> Option<EpisodeId> {
        let chapters = self.by_incident.get(incident)?.iter();
        let meant = chapters.filter(|chapter| {
            chapter.id != id
                && self.refire > 0
                && fired_at.micros_since(chapter.resolved_at) <= self.refire
                && chapter.told.contains(receiver)
        });
        meant.max_by_key(|chapter| (chapter.resolved_at, chapter.id)).map(|chapter| chapter.id)
    }
}
