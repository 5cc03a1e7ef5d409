//! Whose fault an error is and whether a retry is sensible: all that a door needs to pick its own code.
//!
//! Rooms know no HTTP status and no MQTT reason code; one table per door maps [`Kind`] to them.

/// What a door needs to know of an error: whose fault it is, and whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is malformed; the same request will fail again.
    Invalid,
    /// Nobody proved who they are.
    Unauthenticated,
    /// Known, but not permitted.
    Forbidden,
    /// The thing named does not exist.
    NotFound,
    /// The request was made against an older state, or the thing exists already.
    Conflict,
    /// A bound is reached; the same request may pass later.
    TooMuch,
    /// The server is starting, stopping, or cannot reach what it needs; try again.
    Unavailable,
    /// The server is broken: a disk that fails, a bug. An operator must look.
    Broken,
}

impl Kind {
    /// Whether the same request may succeed later without anyone changing it.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::TooMuch | Self::Unavailable)
    }
}
