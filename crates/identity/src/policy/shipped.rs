//! The policy that comes with Godwit: what a device may do to which nobody attached one.
//!
//! It is attached like any other by its name, `default`, where further policies are to add to it. Not here: whom it applies to
//! (the store). The law: whatever its subscriptions match may be received.

use super::{Document, Policy, PolicyName};

/// The name of the policy that applies to devices without one. No other policy has it.
pub const DEFAULT_POLICY: &str = "default";

/// What it says.
pub const DEFAULT_POLICY_TEXT: &str = include_str!("default.json");

/// The policy as sessions are judged by it.
pub(crate) fn default_policy() -> Policy {
    Policy {
        name: PolicyName::parse(DEFAULT_POLICY).expect("a name"),
        version: 1,
        document: Document::parse(DEFAULT_POLICY_TEXT).expect("a test reads it"),
    }
}
