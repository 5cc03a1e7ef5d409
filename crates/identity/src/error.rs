//! Why the register is not opened or not changed.

use catalog::{ReadError, WriteError};
use model::{DeviceName, Kind};

/// Why the register cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the devices")]
pub struct OpenError(#[from] ReadError);

impl OpenError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind()
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        self.0.hint()
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
    /// The name belongs to a user of Godwit's own.
    #[error("`{0}` is the name of a user of Godwit itself")]
    Reserved(DeviceName),
    /// The catalog did not take it.
    #[error(transparent)]
    Catalog(#[from] WriteError),
}

impl ChangeError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Exists(_) => Kind::Conflict,
            Self::Unknown(_) => Kind::NotFound,
            Self::Reserved(_) => Kind::Invalid,
            Self::Catalog(error) => error.kind(),
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Exists(_) => Some("choose another name, or give the device a new password"),
            Self::Unknown(_) => Some("Run: godwit device add NAME --password"),
            Self::Reserved(_) => Some("choose another name"),
            Self::Catalog(error) => error.hint(),
        }
    }
}
