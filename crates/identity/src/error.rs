//! Why the register is not opened or not changed.

use catalog::{ReadError, WriteError};
use model::{DeviceName, GroupPath, Kind};

use crate::AttributeError;
use crate::device::import::IMPORT_ROWS_MAX;
use crate::group::{GROUPS_MAX, MEMBERSHIPS_MAX};
use crate::quarantine::REASON_BYTES_MAX;

/// Why the register cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The catalog does not give it.
    #[error("cannot read the devices")]
    Read(#[from] ReadError),
    /// A policy cannot be read. Without it somebody might do what it denies.
    #[error("cannot read policy `{name}`: {what}")]
    Policy {
        /// Its name.
        name: String,
        /// Why.
        what: String,
    },
}

impl OpenError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Read(error) => error.kind(),
            Self::Policy { .. } => Kind::Broken,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Read(error) => error.hint(),
            Self::Policy { .. } => {
                Some("use the key file that the data directory was made with, or restore a backup")
            }
        }
    }
}

/// Why the register was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The device was added before.
    #[error("device `{0}` exists already")]
    Exists(DeviceName),
    /// There is no such device.
    #[error("there is no device `{0}`")]
    Unknown(DeviceName),
    /// The name means something else: one that no user may have either.
    #[error("`{0}` is a name of Godwit itself")]
    Reserved(DeviceName),
    /// The device was there, and was removed.
    #[error("device `{0}` was removed")]
    Removed(DeviceName),
    /// Somebody else changed the device meanwhile.
    #[error("device `{name}` was changed meanwhile: it has version {actual}, not {expected}")]
    Stale {
        /// Which.
        name: DeviceName,
        /// The version that was read.
        expected: u64,
        /// Its version now.
        actual: u64,
    },
    /// A device in its own place.
    #[error("device `{0}` cannot replace itself")]
    Itself(DeviceName),
    /// Something is no attribute.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    /// There is no such group.
    #[error("there is no group `{0}`")]
    UnknownGroup(GroupPath),
    /// The group was made before.
    #[error("group `{0}` exists already")]
    GroupExists(GroupPath),
    /// Somebody is in the group.
    #[error("group `{path}` is in use: {devices} devices, {members} members, {groups} groups below it")]
    GroupInUse {
        /// Which.
        path: GroupPath,
        /// Groups in it.
        groups: u64,
        /// Devices whose home it is.
        devices: u64,
        /// Its members.
        members: u64,
    },
    /// No more groups.
    #[error("there are {GROUPS_MAX} groups, which is the most")]
    TooManyGroups,
    /// More rows than a batch may have.
    #[error("{rows} rows; a batch has at most {IMPORT_ROWS_MAX}")]
    TooManyRows {
        /// How many there are.
        rows: usize,
    },
    /// No more memberships.
    #[error("device `{0}` is a member of {MEMBERSHIPS_MAX} groups, which is the most")]
    TooManyMemberships(DeviceName),
    /// The device is no member of the group.
    #[error("device `{name}` is no member of `{group}`")]
    NoMember {
        /// Which device.
        name: DeviceName,
        /// Of which group.
        group: GroupPath,
    },
    /// A reason that says nothing, or too much.
    #[error("the reason is {bytes} bytes; it must be 1 to {REASON_BYTES_MAX}, in one line")]
    Reason {
        /// Its length.
        bytes: usize,
    },
    /// The device is in no quarantine.
    #[error("device `{0}` is not quarantined")]
    NotQuarantined(DeviceName),
    /// The catalog did not take it.
    #[error(transparent)]
    Catalog(#[from] WriteError),
}

impl ChangeError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Exists(_)
            | Self::Removed(_)
            | Self::Stale { .. }
            | Self::GroupExists(_)
            | Self::GroupInUse { .. }
            | Self::NoMember { .. }
            | Self::NotQuarantined(_) => Kind::Conflict,
            Self::Unknown(_) | Self::UnknownGroup(_) => Kind::NotFound,
            Self::TooManyRows { .. } | Self::Reserved(_) | Self::Itself(_) | Self::Reason { .. } => {
                Kind::Invalid
            }
            Self::Attribute(error) => error.kind(),
            Self::TooManyGroups | Self::TooManyMemberships(_) => Kind::TooMuch,
            Self::Catalog(error) => error.kind(),
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Exists(_) => Some("choose another name, or give the device a new password"),
            Self::Unknown(_) => {
                Some("Run: godwit device add NAME --out DIR (or --certificate FILE, --csr FILE, --password)")
            }
            Self::Reserved(_) => Some("choose another name"),
            Self::Removed(_) => Some("add it again first"),
            Self::Stale { .. } => Some("read it again, then decide"),
            Self::Itself(_) => Some("name the device that takes its place"),
            Self::UnknownGroup(_) => Some("Run: godwit group add PATH"),
            Self::GroupExists(_) => None,
            Self::GroupInUse { .. } => {
                Some("move its devices, let its members leave and remove the groups below it first")
            }
            Self::TooManyRows { .. } => Some("send them in several batches"),
            Self::TooManyGroups => Some("remove groups that nobody is in"),
            Self::TooManyMemberships(_) => Some("let it leave a group first, or say it with an attribute"),
            Self::NoMember { .. } => {
                Some("`godwit device show NAME` shows its groups; a home is left by moving")
            }
            Self::Reason { .. } => Some("say in a sentence why"),
            Self::NotQuarantined(_) | Self::Attribute(_) => None,
            Self::Catalog(error) => error.hint(),
        }
    }
}
