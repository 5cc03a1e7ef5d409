//! Attributes: what is said of a device that no message says, as keys with texts: `model=TX-2`, `floor=17`.
//!
//! Not here: where a device is (`placement`), or what follows from an attribute. The laws: keys are of AWS IoT's
//! alphabet; a value is text without control characters and never a pattern, whatever is in it (`*`, `#`, `${…}`).
//!
//! ```text
//! key=value\n key=value\n …     sorted by key: as the catalog keeps them, and the copy in memory
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use model::Kind;

/// Most attributes of a device: AWS IoT's bound for a thing with a type.
pub const ATTRIBUTES_MAX: usize = 50;

/// Longest key, in bytes: AWS IoT's bound.
pub const ATTRIBUTE_KEY_BYTES_MAX: usize = 128;

/// Longest value, in bytes of UTF-8: AWS IoT's bound.
pub const ATTRIBUTE_VALUE_BYTES_MAX: usize = 800;

/// Why something is no attribute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// A key that is empty, too long or of other characters.
    #[error(
        "attribute key `{0}` is not right: 1 to {ATTRIBUTE_KEY_BYTES_MAX} letters, digits and `_.,@/:#[]-` make a key"
    )]
    Key(String),
    /// A value with a control character.
    #[error("the value of attribute `{0}` has a control character")]
    ValueCharacter(String),
    /// A value that is too long.
    #[error("the value of attribute `{key}` is {bytes} bytes; the most is {ATTRIBUTE_VALUE_BYTES_MAX}")]
    ValueTooLong {
        /// Whose.
        key: String,
        /// Its length.
        bytes: usize,
    },
    /// Too many.
    #[error("{count} attributes; a device has at most {ATTRIBUTES_MAX}")]
    TooMany {
        /// How many there would be.
        count: usize,
    },
}

impl AttributeError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// The attributes of a device. Small: one text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes(Box<str>);

impl Attributes {
    /// Checks pairs and makes attributes of them; of two with one key the later counts.
    ///
    /// # Errors
    /// [`AttributeError`] names the first that is wrong.
    pub fn new<K: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, AttributeError> {
        let pairs: Vec<_> = pairs.into_iter().collect();
        let mut made = BTreeMap::new();
        for (key, value) in &pairs {
            made.insert(checked_key(key.as_ref())?, checked_value(key.as_ref(), value.as_ref())?);
        }
        Self::of(&made)
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(own, _)| *own == key).map(|(_, value)| value)
    }

    /// Keys and values, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.lines().filter_map(|line| line.split_once('='))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// With `set` put into them and then the keys of `remove` taken away; a key that is not there is no mistake.
    ///
    /// # Errors
    /// [`AttributeError::TooMany`].
    pub(crate) fn changed(&self, set: &Self, remove: &[String]) -> Result<Self, AttributeError> {
        let mut pairs: BTreeMap<&str, &str> = self.iter().chain(set.iter()).collect();
        for key in remove {
            pairs.remove(key.as_str());
        }
        Self::of(&pairs)
    }

    /// As the catalog keeps them.
    pub(crate) fn as_stored(&self) -> &str {
        &self.0
    }

    /// From what [`Self::as_stored`] gave.
    pub(crate) fn from_stored(text: String) -> Self {
        Self(text.into_boxed_str())
    }

    fn of(pairs: &BTreeMap<&str, &str>) -> Result<Self, AttributeError> {
        if pairs.len() > ATTRIBUTES_MAX {
            return Err(AttributeError::TooMany { count: pairs.len() });
        }
        let mut text = String::new();
        for (key, value) in pairs {
            let _ = writeln!(text, "{key}={value}");
        }
        Ok(Self(text.into_boxed_str()))
    }
}

fn checked_key(key: &str) -> Result<&str, AttributeError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.,@/:#[]-".contains(c);
    let is_right = (1..=ATTRIBUTE_KEY_BYTES_MAX).contains(&key.len()) && key.chars().all(allowed);
    let shown = || key.chars().take(ATTRIBUTE_KEY_BYTES_MAX).collect::<String>().escape_debug().to_string();
    if is_right { Ok(key) } else { Err(AttributeError::Key(shown())) }
}

fn checked_value<'a>(key: &str, value: &'a str) -> Result<&'a str, AttributeError> {
    if value.len() > ATTRIBUTE_VALUE_BYTES_MAX {
        return Err(AttributeError::ValueTooLong { key: key.to_owned(), bytes: value.len() });
    }
    // Line and paragraph separators end no line here, and are nothing to print either.
    if value.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err(AttributeError::ValueCharacter(key.to_owned()));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_what_was_said_whatever_is_in_them() {
        let said = [("b", "x=y, *"), ("a", ""), ("b", "Zürich Süd = 3")];
        let attributes = Attributes::new(said).expect("attributes");
        assert_eq!(attributes.iter().collect::<Vec<_>>(), [("a", ""), ("b", "Zürich Süd = 3")]);
        assert_eq!(Attributes::from_stored(attributes.as_stored().to_owned()), attributes);
        let set = Attributes::new([("c", "1")]).expect("attributes");
        let changed = attributes.changed(&set, &["b".to_owned(), "nothing".to_owned()]).expect("changed");
        assert_eq!(changed.iter().collect::<Vec<_>>(), [("a", ""), ("c", "1")]);
        assert!(Attributes::default().is_empty());
    }

    #[test]
    fn what_is_no_attribute_is_named() {
        let check = |key: &str, value: &str, expect: &str| {
            let error = Attributes::new([(key, value)]).expect_err("refused").to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("", "x", "attribute key ``");
        check("a=b", "x", "attribute key `a=b`");
        check("a b", "x", "attribute key `a b`");
        check("a", "two\nlines", "`a` has a control character");
        check("a", &"x".repeat(801), "is 801 bytes; the most is 800");
        let many = (0..51).map(|n| (n.to_string(), "x"));
        assert_eq!(Attributes::new(many), Err(AttributeError::TooMany { count: 51 }));
        assert!(Attributes::new((0..50).map(|n| (n.to_string(), "x"))).is_ok());
    }
}
