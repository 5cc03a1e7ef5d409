//! Fleet provisioning: a device that comes out of the box with a claim certificate, or with any certificate whose policy
//! allows it, gets an identity of its own over MQTT.
//!
//! ```text
//! create, create-from-csr ──→ a pending certificate and a token ──→ provision: the template says what becomes of both
//!                                    └── an hour, unused ──→ removed
//! ```
//!
//! | file | what |
//! |---|---|
//! | `answer` | the three questions over MQTT, and the words of a rejection |
//! | `pending` | certificates that wait, and their tokens |
//! | `template`, `intrinsic`, `plan` | what a template says, for these parameters |
//! | `register` | the one transaction in which a device becomes known |
//! | `claim` | certificates that may do this and nothing else |
//! | `store` | templates in the catalog |
//!
//! Not here: how an answer reaches the one who asked (the door). The laws: a rejection changes nothing; a token is used
//! once, by whoever it was given to; a claim never takes the place of a device that has a proof of its own.

mod answer;
mod claim;
mod intrinsic;
mod pending;
mod plan;
mod register;
mod store;
mod template;

use std::fmt;

use catalog::{Migration, ReadError, WriteError};
use model::Kind;

use crate::CertificateError;

pub(crate) use claim::Claims;
pub use claim::{CLAIM_DEVICES_MAX, CLAIM_LIFE_MAX, CLAIMS_PER_TEMPLATE_MAX, Claim};
pub use pending::{PENDING_MAX, PENDING_PER_MINUTE_MAX, PendingCertificate, TOKEN_LIFE};
pub use register::Provisioned;
pub use store::{TEMPLATES_MAX, TemplateAbout, TemplatePut};
pub use template::{TEMPLATE_CHARACTERS_MAX, TemplateError};

/// The tables of these files.
pub(crate) const MIGRATION: Migration = Migration {
    room: "identity",
    version: 9,
    sql: "
        CREATE TABLE provisioning_templates (
            name TEXT PRIMARY KEY,
            sealed_body BYTEA NOT NULL,
            -- Counts how often it was put.
            version BIGINT NOT NULL,
            created BIGINT NOT NULL,
            changed BIGINT NOT NULL
        );
        CREATE TABLE provisioning_claims (
            certificate TEXT PRIMARY KEY,
            template TEXT NOT NULL,
            -- Most devices that it makes, and how many it has made.
            devices_max BIGINT NOT NULL,
            devices BIGINT NOT NULL DEFAULT 0,
            created BIGINT NOT NULL
        );
        CREATE INDEX provisioning_claims_template ON provisioning_claims (template);
        -- Certificates that were made over MQTT; those that were used stay, so that it is known who made them.
        CREATE TABLE provisioning_certificates (
            certificate TEXT PRIMARY KEY,
            -- SHA-256 of the token; NULL when it was used.
            token_hash BYTEA UNIQUE,
            -- As the audit log names it.
            asker TEXT NOT NULL,
            created BIGINT NOT NULL,
            used BIGINT
        );
        CREATE INDEX provisioning_certificates_asker ON provisioning_certificates (asker, created);
    ",
};

/// Longest name of a template, in characters, as AWS's.
pub const TEMPLATE_NAME_CHARACTERS_MAX: usize = 36;

/// A name that a template may have: `[0-9A-Za-z_-]{1,36}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TemplateName(String);

impl TemplateName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`ProvisionError::Name`].
    pub fn parse(text: &str) -> Result<Self, ProvisionError> {
        let is_right = (1..=TEMPLATE_NAME_CHARACTERS_MAX).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        if is_right {
            Ok(Self(text.to_owned()))
        } else {
            let shown: String = text.chars().take(TEMPLATE_NAME_CHARACTERS_MAX + 1).collect();
            Err(ProvisionError::Name(shown.escape_debug().to_string()))
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TemplateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why nothing was provisioned, made or kept.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// It is no name of a template.
    #[error(
        "`{0}` is no name of a template: 1 to {TEMPLATE_NAME_CHARACTERS_MAX} letters, digits, `_` and `-` make one"
    )]
    Name(String),
    /// The template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// There is no such template.
    #[error("there is no provisioning template `{0}`")]
    Unknown(TemplateName),
    /// There are as many as there may be.
    #[error("there are {TEMPLATES_MAX} provisioning templates; that is the most")]
    TooManyTemplates,
    /// The template has as many claims as it may have.
    #[error("template `{0}` has {CLAIMS_PER_TEMPLATE_MAX} claims that are good; that is the most")]
    TooManyClaims(TemplateName),
    /// A claim that would live too long, or make too many devices.
    #[error(
        "a claim for {days} days and {devices} devices is not made: it is good for 1 to 366 days and 1 to {CLAIM_DEVICES_MAX} devices"
    )]
    ClaimBound {
        /// How long.
        days: u64,
        /// How many.
        devices: u64,
    },
    /// A claim asks for another template than its own.
    #[error("this claim is for another template")]
    OtherTemplate,
    /// A claim has made all the devices that it may make.
    #[error("this claim has made {0} devices, which is its most")]
    Spent(u64),
    /// Asked for too many certificates.
    #[error(
        "too many certificates: at most {PENDING_PER_MINUTE_MAX} in a minute and {PENDING_MAX} that wait, for one who asks"
    )]
    TooOften,
    /// No token.
    #[error("Certificate ownership token cannot be empty.")]
    TokenEmpty,
    /// A token that was used, is over, was another's or never was.
    #[error("Certificate ownership token is invalid.")]
    Token,
    /// The parameters are not what the template needs.
    #[error("{0}")]
    Parameters(String),
    /// The register does not take what the template says.
    #[error("{0}")]
    Refused(String),
    /// A certificate was not made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// What is stored cannot be read.
    #[error("template `{name}` cannot be opened: {what}")]
    Damaged {
        /// Which.
        name: TemplateName,
        /// Why.
        what: String,
    },
    /// The catalog did not take it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The catalog cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl ProvisionError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unknown(_) => Kind::NotFound,
            Self::TooManyTemplates | Self::TooManyClaims(_) | Self::TooOften => Kind::TooMuch,
            Self::OtherTemplate | Self::Spent(_) => Kind::Forbidden,
            Self::Certificate(error) => error.kind(),
            Self::Damaged { .. } => Kind::Broken,
            Self::Write(error) => error.kind(),
            Self::Read(error) => error.kind(),
            _ => Kind::Invalid,
        }
    }

    /// The slug of the problem, never reused.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name(_) => "identity.template_name",
            Self::Template(_) => "identity.template_malformed",
            Self::Unknown(_) => "identity.template_unknown",
            Self::TooManyTemplates | Self::TooManyClaims(_) | Self::ClaimBound { .. } => {
                "identity.template_bound"
            }
            _ => "identity.provisioning",
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unknown(_) => Some("Run: godwit provision template list"),
            Self::Template(_) => Some("docs/provisioning.md has a template to begin with"),
            Self::TooManyTemplates => Some("remove what is not used: godwit provision template remove NAME"),
            Self::TooManyClaims(_) => {
                Some("revoke those that are not used: godwit device certificate revoke ID")
            }
            Self::Certificate(error) => error.hint(),
            Self::Damaged { .. } => Some("the key ring or the catalog is not what it was: restore a backup"),
            Self::Write(error) => error.hint(),
            Self::Read(error) => error.hint(),
            _ => None,
        }
    }
}
