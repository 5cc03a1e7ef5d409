//! A group: the alerts of one route that agree in its `group_by`, and what its receiver was told of each.
//!
//! Not here: other groups, the clock. The law: two notices of a group are at least `group_interval` apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest;
use model::Timestamp;

use super::notice::Why;
use crate::EpisodeId;
use crate::config::matcher::Labels;
use crate::config::route::{GroupBy, Route};

/// What a receiver was last told of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    Firing,
    Resolved,
    /// Nothing new: it continues what was told before.
    Reopened,
    Retracted,
}

impl Heard {
    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Reopened => "reopened",
            Self::Retracted => "retracted",
        }
    }

    pub(crate) fn from_name(name: &str) -> Self {
        let all = [Self::Firing, Self::Resolved, Self::Reopened, Self::Retracted];
        all.into_iter().find(|heard| heard.name() == name).unwrap_or(Self::Nothing)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) heard: Heard,
    /// The last reason that was written down, so that it is not written at every look.
    pub(crate) why: Option<Why>,
}

#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) key: String,
    pub(crate) route: Arc<Route>,
    pub(crate) labels: Labels,
    pub(crate) members: BTreeMap<EpisodeId, Member>,
    /// How many notices it made.
    pub(crate) notices: u64,
    /// When the last one was made, by the steady clock.
    pub(crate) sent_at: Option<Timestamp>,
    /// When to look at it next.
    pub(crate) due: Option<Timestamp>,
}

impl Group {
    pub(crate) fn new(
        key: String,
        route: Arc<Route>,
        labels: Labels,
        past: Option<(u64, Timestamp)>,
    ) -> Self {
        let (notices, sent_at) = past.map_or((0, None), |(notices, at)| (notices, Some(at)));
        Self { key, route, labels, members: BTreeMap::new(), notices, sent_at, due: None }
    }

    /// Something changed at this time: when to look.
    pub(crate) fn due_after(&self, changed: Timestamp) -> Timestamp {
        let gathered = changed.plus_micros(self.route.group_wait);
        self.sent_at.map_or(gathered, |sent| gathered.max(sent.plus_micros(self.route.group_interval)))
    }
}

/// The labels by which an alert is grouped on this route.
pub(crate) fn group_labels(route: &Route, labels: &Labels) -> Labels {
    match &route.group_by {
        GroupBy::All => labels.clone(),
        GroupBy::Labels(names) => {
            names.iter().map(|name| (name.clone(), labels.get(name).cloned().unwrap_or_default())).collect()
        }
    }
}

/// The name of a group: 32 hexadecimal digits made of route, receiver and labels.
pub(crate) fn group_key(route: &Route, labels: &Labels) -> String {
    let mut said = Vec::with_capacity(128);
    for text in
        [&route.key, &route.receiver].into_iter().chain(labels.iter().flat_map(|(name, value)| [name, value]))
    {
        said.extend((text.len() as u64).to_be_bytes());
        said.extend(text.as_bytes());
    }
    let hash = digest::digest(&digest::SHA256, &said);
    hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
