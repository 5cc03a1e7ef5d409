//! Names of people.

use std::borrow::Borrow;
use std::fmt;

use bytestring::ByteString;

use super::UserError;

/// Longest name, in bytes: an address of e-mail that somebody types.
const NAME_BYTES_MAX: usize = 64;

/// Names that mean something else: no user has them, and no device, as which the server itself says how it is.
pub(crate) const RESERVED: &[&str] = &[crate::LOCAL_USER, "godwit", "anonymous"];

/// The name of a user: `[a-z0-9][a-z0-9._@-]{0,63}`. In lower case alone, so that nobody is taken for another whose
/// name looks the same. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(ByteString);

impl UserName {
    /// Checks `text` and makes a name of it.
    ///
    /// # Errors
    /// [`UserError::Name`] says what is allowed, [`UserError::Reserved`] that the name means something else.
    pub fn parse(text: &str) -> Result<Self, UserError> {
        let is_first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_next = |c: char| is_first(c) || matches!(c, '.' | '_' | '@' | '-');
        let fits = (1..=NAME_BYTES_MAX).contains(&text.len())
            && text.starts_with(is_first)
            && text.chars().all(is_next);
        if !fits {
            return Err(UserError::Name(text.chars().take(NAME_BYTES_MAX).collect()));
        }
        if RESERVED.contains(&text) {
            return Err(UserError::Reserved(text.to_owned()));
        }
        Ok(Self(ByteString::from(text)))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for UserName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl catalog::ToValue for UserName {
    fn to_value(&self) -> Option<catalog::Value<'_>> {
        self.as_str().to_value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_user_cannot_be_taken_for_another() {
        for name in ["alice", "a", "alice@example.org", "0x-y_z.w"] {
            assert_eq!(UserName::parse(name).expect(name).as_str(), name);
        }
        let long = "a".repeat(65);
        for name in
            ["", "Alice", "al ice", "al:ice", "al/ice", ".alice", "@x", "älice", "alice\n", long.as_str()]
        {
            assert!(matches!(UserName::parse(name), Err(UserError::Name(_))), "{name:?}");
        }
        for name in ["local", "godwit", "anonymous"] {
            assert!(matches!(UserName::parse(name), Err(UserError::Reserved(_))), "{name}");
        }
    }
}
