//! Paths of groups: `hq/floor-17/room-3`, validated once, then trusted.
//!
//! Not here: which groups there are, and who is in them; the room `identity` knows. The law: a path that exists has an
//! ancestor of its own kind for every `/` in it, and nothing else.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytestring::ByteString;

use crate::limit::{GROUP_LEVEL_BYTES_MAX, GROUP_LEVELS_MAX};

/// Why a text is no path of a group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupPathError {
    /// The text is empty, begins or ends with `/`, or has `//`.
    #[error("group `{0}` has an empty level; write it as `hq/floor-17/room-3`")]
    EmptyLevel(String),
    /// A level is longer than the bound.
    #[error("group level `{level}` is {bytes} bytes; the most is {GROUP_LEVEL_BYTES_MAX}")]
    LevelTooLong {
        /// Its beginning.
        level: String,
        /// Its length.
        bytes: usize,
    },
    /// More levels than the bound.
    #[error("group `{path}` has {levels} levels; the most is {GROUP_LEVELS_MAX}")]
    TooDeep {
        /// The text.
        path: String,
        /// Its levels.
        levels: usize,
    },
    /// A character that no level may have.
    #[error(
        "group `{path}` has the character `{}`; letters, digits, `:`, `_` and `-` are allowed, and `/` between levels",
        character.escape_default()
    )]
    Character {
        /// The text.
        path: String,
        /// The first character that is not allowed.
        character: char,
    },
}

/// Where a group is among the groups: levels of `[A-Za-z0-9:_-]{1,128}` joined by `/`, at most 8. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupPath(ByteString);

impl GroupPath {
    /// Checks `text` and makes a path of it.
    ///
    /// # Errors
    /// [`GroupPathError`] names the bound or the character that is wrong.
    pub fn parse(text: impl Into<ByteString>) -> Result<Self, GroupPathError> {
        let text = text.into();
        // What is shown of a text that is far too long.
        let shown = || text.chars().take(GROUP_LEVEL_BYTES_MAX).collect::<String>();
        let mut levels = 0;
        for level in text.split('/') {
            levels += 1;
            if level.is_empty() {
                return Err(GroupPathError::EmptyLevel(shown()));
            }
            if let Some(character) = level.chars().find(|&c| !allows(c)) {
                return Err(GroupPathError::Character { path: shown(), character });
            }
            if level.len() > GROUP_LEVEL_BYTES_MAX {
                let beginning = level[..GROUP_LEVEL_BYTES_MAX / 4].to_owned() + "…";
                return Err(GroupPathError::LevelTooLong { level: beginning, bytes: level.len() });
            }
        }
        if levels > GROUP_LEVELS_MAX {
            return Err(GroupPathError::TooDeep { path: shown(), levels });
        }
        Ok(Self(text))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The group that this one is in: `hq/floor-17` of `hq/floor-17/room-3`; `None` at the top.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.0.rsplit_once('/')?;
        Some(Self(ByteString::from(parent)))
    }

    /// The group itself, then what it is in, up to the top.
    pub fn with_ancestors(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self.clone()), Self::parent)
    }

    /// Whether this is `other` or in it, at any depth.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        let rest = self.0.strip_prefix(other.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn allows(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-')
}

impl Deref for GroupPath {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for GroupPath {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for GroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for GroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> GroupPath {
        GroupPath::parse(text.to_owned()).expect("a path")
    }

    #[test]
    fn a_group_path_is_checked() {
        let check = |text: &str, expect: Result<(), &str>| {
            let got = GroupPath::parse(text.to_owned()).map(drop).map_err(|error| error.to_string());
            assert_eq!(got, expect.map_err(str::to_owned), "{text:?}");
        };
        check("hq", Ok(()));
        check("hq/floor-17/room-3", Ok(()));
        check("", Err("group `` has an empty level; write it as `hq/floor-17/room-3`"));
        check("/hq", Err("group `/hq` has an empty level; write it as `hq/floor-17/room-3`"));
        check("hq/", Err("group `hq/` has an empty level; write it as `hq/floor-17/room-3`"));
        check("hq//a", Err("group `hq//a` has an empty level; write it as `hq/floor-17/room-3`"));
        check(
            "hq/../a",
            Err(
                "group `hq/../a` has the character `.`; letters, digits, `:`, `_` and `-` are allowed, and `/` between levels",
            ),
        );
        check("a/a/a/a/a/a/a/a", Ok(()));
        check("a/a/a/a/a/a/a/a/a", Err("group `a/a/a/a/a/a/a/a/a` has 9 levels; the most is 8"));
        assert!(GroupPath::parse("x".repeat(128)).is_ok());
        assert!(GroupPath::parse("x".repeat(129)).is_err());
        assert!(GroupPath::parse("hq/+").is_err(), "nothing in a path is a wildcard");
    }

    #[test]
    fn a_group_is_within_itself_and_all_above_it_and_nothing_else() {
        let room = path("hq/floor-17/room-3");
        let above: Vec<String> = room.with_ancestors().map(|group| group.to_string()).collect();
        assert_eq!(above, ["hq/floor-17/room-3", "hq/floor-17", "hq"]);
        assert!(room.with_ancestors().all(|group| room.is_within(&group)));
        assert!(!path("hq").is_within(&room));
        assert!(!path("hq/floor-170").is_within(&path("hq/floor-17")), "a name that merely begins so");
    }
}
