//! Names of policies.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytestring::ByteString;

/// Longest name, in bytes, as AWS's.
pub const POLICY_NAME_BYTES_MAX: usize = 128;

/// A name that a policy may have: `[A-Za-z0-9_+=,.@-]{1,128}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyName(ByteString);

/// Why a text is no name of a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyNameError {
    /// It is empty or too long.
    #[error("policy name is {bytes} bytes; it must be 1 to {POLICY_NAME_BYTES_MAX}")]
    Length {
        /// Its length.
        bytes: usize,
    },
    /// It has a character that none may have.
    #[error("policy name has the character {0:?}; it may have letters, digits and `_+=,.@-`")]
    Character(char),
}

impl PolicyName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`PolicyNameError`] says what is wrong with it.
    pub fn parse(text: impl Into<ByteString>) -> Result<Self, PolicyNameError> {
        let text = text.into();
        if text.is_empty() || text.len() > POLICY_NAME_BYTES_MAX {
            return Err(PolicyNameError::Length { bytes: text.len() });
        }
        match text.chars().find(|letter| !letter.is_ascii_alphanumeric() && !"_+=,.@-".contains(*letter)) {
            Some(wrong) => Err(PolicyNameError::Character(wrong)),
            None => Ok(Self(text)),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for PolicyName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for PolicyName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
