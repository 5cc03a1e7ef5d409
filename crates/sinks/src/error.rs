//! Why the room does not start, and why a dead letter is not tried again.

use catalog::{ReadError, WriteError};
use model::Kind;

/// Why the room does not start, or does not take other rules.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// More actions than run at once.
    #[error("the rules have {found} actions; the most is {most}")]
    TooMany {
        /// Their actions.
        found: usize,
        /// The bound.
        most: usize,
    },
    /// Positions cannot be read.
    #[error("cannot read the positions of actions")]
    Read(#[from] ReadError),
    /// Positions cannot be written.
    #[error("cannot write the positions of actions")]
    Write(#[from] WriteError),
    /// The thread or its HTTP client cannot be made.
    #[error("cannot start what delivers actions: {reason}")]
    Machine {
        /// Why.
        reason: String,
    },
}

impl StartError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::TooMany { .. } => Kind::Invalid,
            Self::Read(error) => error.kind(),
            Self::Write(error) => error.kind(),
            Self::Machine { .. } => Kind::Broken,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::TooMany { .. } => {
                Some("every action reads the journal by itself: let one rule select for several receivers")
            }
            Self::Read(error) => error.hint(),
            Self::Write(error) => error.hint(),
            Self::Machine { .. } => None,
        }
    }
}

/// Why a dead letter is not tried again.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    /// There is none of this number.
    #[error("there is no dead letter {0}")]
    NotFound(i64),
    /// It is being tried.
    #[error("dead letter {0} is being tried already")]
    Busy(i64),
    /// Its action is in no rule any more.
    #[error("action `{0}` is in no rule any more")]
    NoAction(String),
    /// The journal cannot be read.
    #[error("cannot read the journal")]
    Journal(#[source] journal::ReadError),
    /// The list cannot be read.
    #[error("cannot read the list of dead letters")]
    Read(#[from] ReadError),
    /// The list cannot be written.
    #[error("cannot write the list of dead letters")]
    Write(#[from] WriteError),
    /// The room is closed.
    #[error("actions are stopped")]
    Closed,
}

impl RetryError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) => Kind::NotFound,
            Self::Busy(_) | Self::NoAction(_) => Kind::Conflict,
            Self::Journal(_) => Kind::Broken,
            Self::Read(error) => error.kind(),
            Self::Write(error) => error.kind(),
            Self::Closed => Kind::Unavailable,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoAction(_) => Some("put the rule back, or discard the letter"),
            Self::Read(error) => error.hint(),
            Self::Write(error) => error.hint(),
            Self::NotFound(_) | Self::Busy(_) | Self::Journal(_) | Self::Closed => None,
        }
    }
}
