//! Policies in the AWS IoT JSON form: who may connect, publish, subscribe and receive.
//!
//! A [`Document`] is read once (`document`), compiled for each session (`compiled`): all that is known of the session
//! is put in, conditions are judged, and what remains is indexed text that answers in a fraction of a microsecond. Not
//! here: the seam that doors ask ([`Permissions`](crate::Permissions)), packets, reserved topics.
//!
//! The laws:
//! - Any deny that matches decides; else any allow; else it is refused. The order of statements never matters.
//! - MQTT's `+` and `#` are letters like others: a filter's *text* is compared with a pattern.
//! - What a variable stands for is text, never a pattern.

mod address;
mod attachment;
mod change;
mod compiled;
mod condition;
mod context;
mod document;
mod error;
mod name;
mod node;
mod pattern;
mod question;
mod session;
mod shipped;
mod store;
mod target;
mod variable;
mod versions;

pub use change::{Expected, PolicyError};
pub use compiled::{By, Compiled, Judgement};
pub use context::{CertificateFacts, Circumstances, Context};
pub use document::{DOCUMENT_CHARACTERS_MAX, Document, Effect, STATEMENTS_MAX, Statement};
pub use error::DocumentError;
pub use name::{POLICY_NAME_BYTES_MAX, PolicyName, PolicyNameError};
pub use question::{Answer, AnswerBy, Question};
pub use shipped::{DEFAULT_POLICY, DEFAULT_POLICY_TEXT};
pub use store::{
    CHILDREN_MAX, POLICIES_MAX, POLICIES_PER_TARGET_MAX, POLICY_VERSIONS_MAX, PoliciesPage, PolicyAbout,
    PolicyPut,
};
pub use target::{Target, TargetError};

pub(crate) use attachment::{attached_names as policy_names, forget_target};
pub(crate) use shipped::default_policy;
pub(crate) use store::{MIGRATION, Policies};
pub(crate) use versions::{is_known, keep_first, room as policy_room};

use serde::Deserialize;

/// One version of a policy, as sessions are judged by it.
#[derive(Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: PolicyName,
    /// Which of its versions.
    pub version: u32,
    /// What it says.
    pub document: Document,
}

/// `[aws]`: what ARNs in policies are compared with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AwsSettings {
    /// The region in the ARNs of policies; a policy may write `*` there. Default: `local`.
    pub region: String,
    /// The account in the ARNs of policies; a policy may write `*` there. Default: `000000000000`.
    pub account: String,
}

impl Default for AwsSettings {
    fn default() -> Self {
        Self { region: "local".to_owned(), account: "000000000000".to_owned() }
    }
}
