//! Which channels a name in the settings stands for: itself, or all that fit a pattern with `*`.
//!
//! Not here: what is said of them. The law: matching takes time in proportion to name and pattern, however many stars.

use std::fmt;

/// A channel's name, or a pattern in which `*` stands for any text, an empty one too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Any text is one.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The name, when it is no pattern.
    #[must_use]
    pub fn plain(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(&self.0)
    }

    /// Whether it stands for `name`.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let Some((start, rest)) = self.0.split_once('*') else { return *self.0 == *name };
        let Some(mut name) = name.strip_prefix(start) else { return false };
        let (middle, end) = rest.rsplit_once('*').map_or(("", rest), |(middle, end)| (middle, end));
        // The first place of each part is the best one: it leaves the most for the rest.
        for part in middle.split('*') {
            let Some(at) = name.find(part) else { return false };
            name = &name[at + part.len()..];
        }
        name.ends_with(end)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let check = |pattern: &str, name: &str, fits: bool| {
            assert_eq!(Pattern::new(pattern).matches(name), fits, "{pattern} {name}");
        };
        check("temperature", "temperature", true);
        check("temperature", "temperature2", false);
        check("*.aenergy.total", "switch:0.aenergy.total", true);
        check("*.aenergy.total", "aenergy.total", false);
        check("*", "", true);
        check("health.*", "health.rssi", true);
        check("health.*", "healthy", false);
        check("a*b*c", "a--b--b-c", true);
        check("a*b*c", "a--c--b", false);
        check("a*a", "a", false);
        check("a**a", "aa", true);
        check("*ab*ab*", "ab", false);
        check("*ü*", "für", true);
    }
}
