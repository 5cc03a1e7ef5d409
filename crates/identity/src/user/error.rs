//! Why people are not changed, and why they are not let in.

use catalog::{ReadError, WriteError};
use model::Kind;

use crate::RightsError;

/// Why a user, a token or a login was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The text is no name.
    #[error(
        "`{0}` is no user name: it begins with a letter or a digit and has at most 64 of `a-z`, `0-9`, `.`, `_`, `@` and `-`"
    )]
    Name(String),
    /// The name means something else.
    #[error("`{0}` is a name of Godwit itself")]
    Reserved(String),
    /// The user was added before.
    #[error("user `{0}` exists already")]
    Exists(String),
    /// There is no such user.
    #[error("there is no user `{0}`")]
    Unknown(String),
    /// Nobody would be left who could give roles.
    #[error("`{0}` is the last admin")]
    LastAdmin(String),
    /// The password is too easy to guess, or too long.
    #[error("the password {0}")]
    Password(String),
    /// What was given as the old password is not it.
    #[error("the old password is not right")]
    OldPassword,
    /// Too many wrong ones were tried.
    #[error("too many wrong passwords; try again in {wait_s} s")]
    Throttled {
        /// Seconds to wait.
        wait_s: u64,
    },
    /// Somebody changed it meanwhile.
    #[error("user `{name}` is at revision {revision}, not {expected}")]
    Revision {
        /// Who.
        name: String,
        /// What it is.
        revision: u64,
        /// What was expected.
        expected: u64,
    },
    /// A role or a scope is not right.
    #[error(transparent)]
    Rights(#[from] RightsError),
    /// The user has a token of this name.
    #[error("user `{user}` has a token `{name}` already")]
    TokenExists {
        /// Whose.
        user: String,
        /// Which.
        name: String,
    },
    /// A token is not right.
    #[error("a token's {0}")]
    Token(String),
    /// There is no such token or login.
    #[error("there is no {what} `{id}`")]
    Gone {
        /// `token` or `login`.
        what: &'static str,
        /// Which.
        id: String,
    },
    /// A bound is reached.
    #[error("there are {count} {what}; the most is {count_max}")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The bound.
        count_max: usize,
    },
    /// The link for the first user is not right, used, or too old.
    #[error("the setup link is not, or no longer, right")]
    Setup,
    /// Too many passwords are being looked at.
    #[error("too many passwords are being looked at")]
    Busy,
    /// The catalog cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The catalog did not take it.
    #[error(transparent)]
    Catalog(#[from] WriteError),
}

impl UserError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Name(_) | Self::Reserved(_) | Self::Password(_) | Self::Rights(_) | Self::Token(_) => {
                Kind::Invalid
            }
            Self::OldPassword | Self::Setup => Kind::Forbidden,
            Self::Exists(_) | Self::LastAdmin(_) | Self::TokenExists { .. } | Self::Revision { .. } => {
                Kind::Conflict
            }
            Self::Unknown(_) | Self::Gone { .. } => Kind::NotFound,
            Self::Full { .. } | Self::Busy | Self::Throttled { .. } => Kind::TooMuch,
            Self::Read(error) => error.kind(),
            Self::Catalog(error) => error.kind(),
        }
    }

    /// The last part of its code, `identity.…`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name(_) | Self::Reserved(_) => "identity.user_name",
            Self::Exists(_) => "identity.user_exists",
            Self::Unknown(_) => "identity.user_unknown",
            Self::LastAdmin(_) => "identity.last_admin",
            Self::Password(_) => "identity.password",
            Self::OldPassword => "identity.old_password",
            Self::Throttled { .. } => "identity.login_throttled",
            Self::Revision { .. } => "identity.user_revision",
            Self::Rights(_) => "identity.rights",
            Self::TokenExists { .. } => "identity.token_exists",
            Self::Token(_) => "identity.token",
            Self::Gone { .. } => "identity.gone",
            Self::Full { .. } => "identity.full",
            Self::Setup => "identity.setup",
            Self::Busy => "identity.busy",
            Self::Read(_) => "identity.read",
            Self::Catalog(_) => "identity.write",
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Exists(_) => Some("`godwit user password NAME` gives a new password"),
            Self::Unknown(_) => Some("`godwit user list` shows the users"),
            Self::LastAdmin(_) => Some("make somebody else admin first: godwit user role NAME admin"),
            Self::TokenExists { .. } => Some("choose another name, or remove that token first"),
            Self::Gone { .. } => Some("`godwit token list` shows the tokens"),
            Self::Setup => Some(
                "a link is good for an hour and for one user; on the server's machine: godwit user add NAME --role admin --data DIR",
            ),
            Self::Revision { .. } => Some("look at it again, then decide"),
            Self::Busy => Some("try again in a second"),
            Self::OldPassword => Some("who forgot it asks an admin: godwit user reset NAME"),
            Self::Read(error) => error.hint(),
            Self::Catalog(error) => error.hint(),
            _ => None,
        }
    }
}

/// Why somebody was not logged in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// An unknown name or a wrong password.
    #[error("the user name or the password is wrong")]
    Wrong,
    /// Too many wrong ones came from there, or for this name.
    #[error("too many wrong passwords; try again in {wait_s} s")]
    Throttled {
        /// Seconds to wait.
        wait_s: u64,
    },
    /// Too many passwords are being looked at.
    #[error("too many passwords are being looked at")]
    Busy,
    /// The catalog did not take it.
    #[error(transparent)]
    Catalog(#[from] WriteError),
}

impl LoginError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Wrong => Kind::Unauthenticated,
            Self::Throttled { .. } | Self::Busy => Kind::TooMuch,
            Self::Catalog(error) => error.kind(),
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Wrong => Some("on the server's machine: godwit user reset NAME --data DIR"),
            Self::Throttled { .. } => Some("who is logged in stays so; tokens work too"),
            Self::Busy => Some("try again in a second"),
            Self::Catalog(error) => error.hint(),
        }
    }
}
