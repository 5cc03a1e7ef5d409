//! An episode as the machine sees it: where it stands, and the labels that route it.
//!
//! Not here: who was told of it (`group`). The law: the labels of routing are those of the episode, its key, and three that
//! are always there: `alertname`, `cause` (the rule unless a label says otherwise), `late`.

use std::sync::Arc;

use model::Timestamp;

use crate::config::matcher::Labels;
use crate::config::route::LATE;
use crate::store::episodes::Stored;
use crate::{Episode, EpisodeId};

/// Where an alert stands, for those who must hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Firing,
    Resolved,
    /// There is no such episode.
    Withdrawn,
}

#[derive(Debug, Clone)]
pub(crate) struct Alert {
    pub(crate) id: EpisodeId,
    pub(crate) episode: Arc<Episode>,
    pub(crate) labels: Labels,
    /// The group where it is; empty for nowhere.
    pub(crate) place: String,
    pub(crate) standing: Standing,
    pub(crate) turn: u64,
    /// Since when it stands where it stands, by the steady clock.
    pub(crate) since: Timestamp,
    pub(crate) generation: u64,
    pub(crate) acknowledged: Option<(Timestamp, String)>,
    /// The groups it is a member of.
    pub(crate) groups: Vec<String>,
    /// Whether anybody was ever told of it.
    pub(crate) was_told: bool,
}

/// What makes two episodes chapters of one incident: rule and key.
pub(crate) type IncidentKey = (String, Vec<(String, String)>);

impl Alert {
    pub(crate) fn of(stored: Stored) -> Self {
        let standing = match stored.state.as_str() {
            "firing" => Standing::Firing,
            "resolved" => Standing::Resolved,
            _ => Standing::Withdrawn,
        };
        Self {
            id: stored.id,
            labels: routing(&stored.episode),
            place: stored.place,
            episode: Arc::new(stored.episode),
            standing,
            turn: stored.turn,
            since: stored.changed_at,
            generation: stored.generation,
            acknowledged: stored.acknowledged,
            groups: Vec::new(),
            was_told: false,
        }
    }

    pub(crate) fn incident(&self) -> IncidentKey {
        let key = self.episode.key.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        (self.episode.rule.clone(), key)
    }
}

/// The labels by which an episode is routed, grouped, silenced and inhibited.
pub(crate) fn routing(episode: &Episode) -> Labels {
    let mut labels = episode.key.clone();
    labels.extend(episode.labels.iter().map(|(name, value)| (name.clone(), value.clone())));
    labels.insert("alertname".to_owned(), episode.rule.clone());
    labels.entry("cause".to_owned()).or_insert_with(|| episode.rule.clone());
    labels.insert(LATE.to_owned(), episode.late.to_string());
    labels
}
