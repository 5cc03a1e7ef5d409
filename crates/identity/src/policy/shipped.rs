//! The policies that come with Godwit: what a device may do to which nobody attached one, and what one may do that is in
//! quarantine or whose certificate has expired, whatever is attached to it.
//!
//! The first is attached like any other by its name, `default`, where further policies are to add to it. Not here: whom it applies to
//! (the store). The law: whatever its subscriptions match may be received.

use super::{Document, Policy, PolicyName};

/// The name of the policy that applies to devices without one. No other policy has it.
pub const DEFAULT_POLICY: &str = "default";

/// What it says.
pub const DEFAULT_POLICY_TEXT: &str = include_str!("default.json");

const QUARANTINE: (&str, &str) = ("quarantine", include_str!("quarantine.json"));
const RENEWAL: (&str, &str) = ("renewal", include_str!("renewal.json"));

/// What a device in quarantine may do.
pub(crate) fn quarantine_policy() -> Policy {
    shipped(QUARANTINE.0, QUARANTINE.1)
}

/// What the holder of an expired certificate may do.
pub(crate) fn renewal_policy() -> Policy {
    shipped(RENEWAL.0, RENEWAL.1)
}

impl Policy {
    /// Whether it is the one that confines a device in quarantine. Others may be called so, and say something else.
    pub(crate) fn is_quarantine(&self) -> bool {
        self.is(QUARANTINE)
    }

    /// Whether it is the one that confines the holder of an expired certificate.
    pub(crate) fn is_renewal(&self) -> bool {
        self.is(RENEWAL)
    }

    fn is(&self, (name, text): (&str, &str)) -> bool {
        self.name.as_str() == name && self.document.text() == text
    }
}

/// The policy as sessions are judged by it.
pub(crate) fn default_policy() -> Policy {
    shipped(DEFAULT_POLICY, DEFAULT_POLICY_TEXT)
}

fn shipped(name: &str, text: &str) -> Policy {
    Policy {
        name: PolicyName::parse(name).expect("a name"),
        version: 1,
        document: Document::parse(text).expect("a test reads it"),
    }
}
