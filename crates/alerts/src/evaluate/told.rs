//! From what the fold says of a key to the episode that is stored: labels, annotations, and whether it came late.
//!
//! Not here: when it is said (`work`), who hears of it. The law: whether it is late depends on what was received when,
//! never on when this is run, so a replay says the same.

use std::collections::BTreeMap;

use identity::Identity;
use model::{DeviceName, Timestamp};
use rules::{Circumstances, Facts, Key, Rule, Subject};

use crate::Episode;

/// When something was learnt, and how fresh it was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Learnt {
    /// When the server received what made it known.
    pub(super) at: Timestamp,
    /// The time of the newest sample of the key.
    pub(super) newest: Timestamp,
}

impl Learnt {
    /// Whether the newest sample is itself older than `urgent_within`, in microseconds.
    pub(super) fn is_stale(self, urgent_within: i64) -> bool {
        self.at.micros_since(self.newest) > urgent_within
    }
}

/// Hands on what is known of the device today.
pub(super) fn with_circumstances<T>(
    identity: &Identity,
    device: &DeviceName,
    then: impl FnOnce(&Circumstances<'_>) -> T,
) -> T {
    let (group, attributes) = (identity.home(device), identity.attributes(device));
    let attribute = |name: &str| attributes.get(name).map(str::to_owned);
    then(&Circumstances { group: group.as_ref(), attribute: &attribute })
}

/// The device as `rule` sees it today.
pub(super) fn subject(identity: &Identity, rule: &Rule, device: &DeviceName) -> Option<Subject> {
    with_circumstances(identity, device, |known| rule.subject(device, known))
}

/// The episode as it is stored and told.
pub(super) fn episode(
    identity: &Identity,
    rule: &Rule,
    key: &Key,
    said: &rules::Episode,
    learnt: Learnt,
    urgent_within: i64,
) -> Episode {
    let device = key.part("device").and_then(|name| DeviceName::parse(name).ok());
    let home = device.as_ref().and_then(|device| identity.home(device));
    let attributes: BTreeMap<String, String> = device
        .map(|device| identity.attributes(&device))
        .unwrap_or_default()
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let site = attributes.get("site").cloned().or_else(|| {
        let path = home.as_ref().map(model::GroupPath::as_str).or_else(|| key.part("group"));
        path.and_then(|path| path.split('/').next()).map(str::to_owned)
    });
    let facts =
        Facts { key, attributes: &attributes, values: &said.values, since: said.start, learnt: learnt.at };
    let mut written = rule.write(&facts);
    for (name, value) in parts(key).into_iter().chain(site.map(|site| ("site".to_owned(), site))) {
        // What the rule says of itself stands.
        written.labels.entry(name).or_insert(value);
    }
    Episode {
        rule: rule.name().to_owned(),
        version: rule.version().0,
        key: parts(key),
        labels: written.labels,
        annotations: written.annotations,
        values: said.values.iter().map(|(channel, value)| (channel.to_string(), value.clone())).collect(),
        started_at: said.start,
        fired_at: said.fired_at,
        resolved_at: said.resolved_at,
        learnt_at: learnt.at,
        late: said.resolved_at.is_some() || learnt.is_stale(urgent_within),
    }
}

/// A key as it is stored.
pub(super) fn parts(key: &Key) -> BTreeMap<String, String> {
    key.parts().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
