//! Why a text is no policy.

use model::Kind;

/// Why a text is no policy. Says where: line and column of JSON, or statement and member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is no JSON.
    #[error("the policy is not JSON: {0}")]
    Json(String),
    /// It has too many characters.
    #[error("the policy has {characters} characters without white space; the most is {most}")]
    TooLong {
        /// How many it has.
        characters: usize,
        /// How many it may have.
        most: usize,
    },
    /// Something in it is not as it must be.
    #[error("{place}: {what}")]
    Shape {
        /// Where: `statement 2 (`Telemetry`), `Resource``.
        place: String,
        /// What is wrong, and what would be right.
        what: String,
    },
}

impl DocumentError {
    pub(crate) fn shape(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Shape { place: place.into(), what: what.into() }
    }

    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Json(_) => Some("`godwit policy show default` prints a policy to begin with"),
            Self::TooLong { .. } => {
                Some("use wildcards and variables such as `${godwit:Device}`, or attach several policies")
            }
            Self::Shape { .. } => Some("docs/policies.md describes every member, with examples"),
        }
    }
}
