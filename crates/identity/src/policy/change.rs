//! Why a policy is not changed, and what a caller expects it to be before he changes it.

use catalog::{ReadError, WriteError};
use model::{DeviceName, Kind};

use super::store::{CHILDREN_MAX, POLICIES_MAX, POLICIES_PER_TARGET_MAX};
use super::{DocumentError, PolicyName, Target};

/// What a caller who changes a policy expects it to be (RFC 9110, section 13.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expected {
    /// Whatever it is.
    #[default]
    Anything,
    /// That this version counts.
    Active(u32),
    /// That there is none.
    Nothing,
}

impl Expected {
    pub(super) fn judge(self, name: &PolicyName, active: Option<u32>) -> Result<(), PolicyError> {
        match (self, active) {
            (Self::Anything, _) | (Self::Nothing, None) => Ok(()),
            (Self::Active(expected), Some(actual)) if expected == actual => Ok(()),
            (Self::Active(expected), _) => {
                Err(PolicyError::Stale { name: name.clone(), expected, actual: active })
            }
            (Self::Nothing, Some(_)) => Err(PolicyError::Exists(name.clone())),
        }
    }
}

/// Why a policy is not changed or not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// There is no such policy.
    #[error("there is no policy `{0}`")]
    Unknown(PolicyName),
    /// There is no such version of it.
    #[error("policy `{name}` has no version {version}")]
    UnknownVersion {
        /// The policy.
        name: PolicyName,
        /// The version.
        version: u32,
    },
    /// There is one already.
    #[error("there is a policy `{0}` already")]
    Exists(PolicyName),
    /// Somebody else changed it meanwhile.
    #[error("version {expected} of policy `{name}` was expected to count; {}", actual.map_or("there is none".to_owned(), |actual| format!("it is version {actual}")))]
    Stale {
        /// The policy.
        name: PolicyName,
        /// The version that was expected.
        expected: u32,
        /// The one that counts.
        actual: Option<u32>,
    },
    /// It is attached.
    #[error("policy `{name}` is attached to {targets} targets, `{first}` among them")]
    Attached {
        /// The policy.
        name: PolicyName,
        /// To how many targets.
        targets: usize,
        /// One of them.
        first: Target,
    },
    /// The target is not known.
    #[error("there is no `{0}`")]
    UnknownTarget(Target),
    /// The target has as many as it may have.
    #[error("`{target}` has {POLICIES_PER_TARGET_MAX} policies; that is the most")]
    TooMany {
        /// The target.
        target: Target,
    },
    /// There are as many policies as there may be.
    #[error("there are {POLICIES_MAX} policies; that is the most")]
    Full,
    /// The default policy is as it is.
    #[error("policy `default` belongs to Godwit and cannot be changed")]
    Default,
    /// More devices than a gateway may speak for.
    #[error("{children} devices are listed; a gateway speaks for at most {CHILDREN_MAX}")]
    TooManyChildren {
        /// How many were listed.
        children: usize,
    },
    /// A gateway is listed as a device behind itself.
    #[error("`{0}` cannot be behind itself")]
    OwnChild(DeviceName),
    /// The text is no policy.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// What is stored cannot be read.
    #[error("{0}")]
    Damaged(String),
    /// The catalog did not take it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The catalog cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl PolicyError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unknown(_) | Self::UnknownVersion { .. } | Self::UnknownTarget(_) => Kind::NotFound,
            Self::Exists(_) | Self::Stale { .. } | Self::Attached { .. } => Kind::Conflict,
            Self::TooMany { .. }
            | Self::Full
            | Self::TooManyChildren { .. }
            | Self::Default
            | Self::OwnChild(_) => Kind::Invalid,
            Self::Document(error) => error.kind(),
            Self::Damaged(_) => Kind::Broken,
            Self::Write(error) => error.kind(),
            Self::Read(error) => error.kind(),
        }
    }

    /// The slug of the problem, never reused.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "identity.policy_unknown",
            Self::UnknownVersion { .. } => "identity.policy_version_unknown",
            Self::Exists(_) => "identity.policy_exists",
            Self::Stale { .. } => "identity.policy_stale",
            Self::Attached { .. } => "identity.policy_attached",
            Self::UnknownTarget(_) => "identity.policy_target_unknown",
            Self::TooMany { .. } | Self::Full | Self::TooManyChildren { .. } => "identity.policy_bound",
            Self::Default => "identity.policy_default",
            Self::OwnChild(_) => "identity.own_child",
            Self::Document(_) => "identity.policy_malformed",
            Self::Damaged(_) | Self::Write(_) | Self::Read(_) => "identity.policy",
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unknown(_) => Some("Run: godwit policy list"),
            Self::UnknownVersion { .. } => Some("`godwit policy list` shows the versions there are"),
            Self::Exists(_) => Some("put it without `If-None-Match` to add a version"),
            Self::Stale { .. } => Some("look at it again, then change it"),
            Self::Attached { .. } => Some("Run: godwit policy detach NAME, for each of them"),
            Self::UnknownTarget(_) => Some("Run: godwit device list"),
            Self::TooMany { .. } => Some("put several statements into one policy, or attach one to a group"),
            Self::Full => Some("use variables such as `${godwit:Device}`, and remove what is not attached"),
            Self::Default => Some("put a policy of your own and attach it: it takes the place of `default`"),
            Self::TooManyChildren { .. } => Some("attach a policy with a wildcard to the gateway"),
            Self::OwnChild(_) => Some("list the devices behind the gateway alone"),
            Self::Document(error) => error.hint(),
            Self::Damaged(_) => Some("the key ring or the catalog is not what it was: restore a backup"),
            Self::Write(error) => error.hint(),
            Self::Read(error) => error.hint(),
        }
    }
}
