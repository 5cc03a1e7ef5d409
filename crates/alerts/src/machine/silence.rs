//! A silence: for a time, alerts that match are not told; it says who wanted that and why.
//!
//! Not here: its row (`store::silences`). The law: a silence that would silence everything, or has no reason or no end, is
//! refused; one that is bound to
//! groups hushes nothing outside of them.

use model::Timestamp;

use crate::config::matcher::{Labels, Matcher};

/// A silence as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Silence {
    /// A random UUID.
    pub id: String,
    /// All must match.
    pub matchers: Vec<Matcher>,
    /// Only alerts in these groups and those below them are meant; none: wherever they are.
    pub groups: Vec<String>,
    /// Who made it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when.
    pub starts_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
}

impl Silence {
    /// Whether it is in force at this time of the server's clock.
    #[must_use]
    pub fn is_active(&self, at: Timestamp) -> bool {
        self.starts_at <= at && at < self.ends_at
    }

    /// Whether it means an alert with these labels in this group; an empty one is nowhere.
    #[must_use]
    pub fn matches(&self, labels: &Labels, place: &str) -> bool {
        let is_within = |group: &String| {
            place.strip_prefix(group.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        (self.groups.is_empty() || self.groups.iter().any(is_within))
            && self.matchers.iter().all(|matcher| matcher.matches(labels))
    }
}
