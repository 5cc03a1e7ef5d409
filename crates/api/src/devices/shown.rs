//! A device as JSON, and refusals of changes as problem documents.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use identity::ChangeError;
use model::{DeviceName, GroupPath, Kind};
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// A device.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Device {
    name: String,
    state: String,
    version: u64,
    created: String,
    /// Its home.
    group: Option<String>,
    /// The groups it is a member of beside.
    groups: Vec<String>,
    attributes: BTreeMap<String, String>,
    /// Whether it has one.
    password: bool,
    /// When the last of its certificates that may be used ends; null when there is none.
    certificate_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quarantine: Option<Quarantine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<Removed>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Quarantine {
    since: String,
    reason: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Removed {
    at: String,
    successor: Option<String>,
}

impl Device {
    /// A device, as `identity` knows it.
    pub(super) fn of(identity: &identity::Identity, device: identity::Device) -> Self {
        Self {
            certificate_until: identity.certificate_until(&device.name).map(|until| until.to_string()),
            state: device.state().name().to_owned(),
            name: device.name.to_string(),
            version: device.version,
            created: device.created.to_string(),
            group: device.group.map(|group| group.to_string()),
            groups: device.memberships.iter().map(ToString::to_string).collect(),
            attributes: device
                .attributes
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            password: device.has_password,
            quarantine: device.quarantine.map(|quarantine| Quarantine {
                since: quarantine.since.to_string(),
                reason: quarantine.reason,
            }),
            removed: device.removal.map(|removal| Removed {
                at: removal.at.to_string(),
                successor: removal.successor.map(|name| name.to_string()),
            }),
        }
    }
}

/// Where a placement was, from when until when.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Placement {
    group: String,
    from: String,
    to: Option<String>,
}

impl From<identity::Placement> for Placement {
    fn from(placement: identity::Placement) -> Self {
        Self {
            group: placement.group.to_string(),
            from: placement.from.to_string(),
            to: placement.to.map(|to| to.to_string()),
        }
    }
}

/// What somebody should look at.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Flag {
    flag: String,
    first: String,
    last: String,
    times: u64,
    /// What was seen the last time: of `cloned_identity` both hosts, of `unusual_rate` what was usual and what was seen.
    detail: serde_json::Value,
}

impl From<identity::Flag> for Flag {
    fn from(flag: identity::Flag) -> Self {
        Self {
            flag: flag.kind.name().to_owned(),
            first: flag.first.to_string(),
            last: flag.last.to_string(),
            times: flag.times,
            detail: flag.detail,
        }
    }
}

/// The code of a refusal.
pub(crate) fn code(error: &ChangeError) -> &'static str {
    match error {
        ChangeError::Exists(_) => "identity.exists",
        ChangeError::Unknown(_) => "identity.unknown",
        ChangeError::Removed(_) => "identity.removed",
        ChangeError::Stale { .. } => "identity.stale",
        ChangeError::Attribute(_) => "identity.attribute",
        ChangeError::UnknownGroup(_) => "identity.unknown_group",
        ChangeError::GroupExists(_) => "identity.group_exists",
        ChangeError::GroupInUse { .. } => "identity.group_in_use",
        ChangeError::NotQuarantined(_) => "identity.not_quarantined",
        _ => "identity.device",
    }
}

/// Why a device or group was not changed. What `If-Match` asked for and is not so is 412 (RFC 9110, section 13.1.1).
pub(crate) fn refused(error: &ChangeError) -> Problem {
    let problem = Problem::new(error.kind(), code(error), error.to_string()).hint(error.hint());
    match error {
        ChangeError::Stale { .. } => problem.status(StatusCode::PRECONDITION_FAILED),
        _ => problem,
    }
}

/// A device's name, from a path or a body.
pub(crate) fn name(text: &str) -> Result<DeviceName, Problem> {
    DeviceName::parse(text.to_owned())
        .map_err(|error| Problem::new(Kind::Invalid, "identity.device_name", error.to_string()))
}

/// A group's path, from a path or a body.
pub(crate) fn group(text: &str) -> Result<GroupPath, Problem> {
    GroupPath::parse(text.to_owned())
        .map_err(|error| Problem::new(Kind::Invalid, "identity.group_path", error.to_string()))
}
