//! Who sees which alerts: where an alert is, and whether a role reaches there.
//!
//! Not here: what somebody does with what he sees (`act`), who he is (`identity`). The laws: an alert of a device is where
//! that device is now, as everything else of the device; one whose key names no device but a group is in that group; one
//! whose key names neither (a site may be any text that somebody wrote into an attribute) is of the whole server, and only a
//! role that holds everywhere reaches it.

use std::collections::BTreeMap;

use identity::{Identity, Reach, Rights, Role};
use model::DeviceName;

use crate::Silence;

/// How far somebody sees: a role of his, over devices as they are placed now. Cheap to clone.
#[derive(Clone)]
pub struct Sight {
    identity: Identity,
    rights: Rights,
    role: Role,
}

impl Sight {
    /// As far as this role of theirs reaches.
    #[must_use]
    pub fn of(identity: Identity, rights: Rights, role: Role) -> Self {
        Self { identity, rights, role }
    }

    /// Whether nothing is hidden from it.
    #[must_use]
    pub fn is_everywhere(&self) -> bool {
        self.rights.holds(self.role, "")
    }

    /// Whether it reaches the alerts of this key.
    #[must_use]
    pub fn sees(&self, key: &BTreeMap<String, String>) -> bool {
        self.is_everywhere() || self.rights.holds(self.role, &place(&self.identity, key))
    }

    /// Whether a silence lies wholly within it. One that is bound to no group may name anything.
    #[must_use]
    pub fn sees_silence(&self, silence: &Silence) -> bool {
        let held = |group: &String| self.rights.holds(self.role, group);
        self.is_everywhere() || (!silence.groups.is_empty() && silence.groups.iter().all(held))
    }

    /// The groups to which it is bound; none when it is everywhere.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        match self.rights.reach(self.role) {
            Reach::Everywhere => Vec::new(),
            Reach::Groups(groups) => groups,
        }
    }
}

impl std::fmt::Debug for Sight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sight")
            .field("rights", &self.rights)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// The path of the group where the alerts of a key are now; empty for nowhere, which is in no group.
pub(crate) fn place(identity: &Identity, key: &BTreeMap<String, String>) -> String {
    match key.get("device") {
        Some(device) => {
            let home = DeviceName::parse(device.as_str()).ok().and_then(|device| identity.home(&device));
            home.map_or_else(String::new, |home| home.to_string())
        }
        None => key.get("group").cloned().unwrap_or_default(),
    }
}
