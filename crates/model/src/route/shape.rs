//! A filter made quick to match: this stands on the path of every message, twice.

use bytestring::ByteString;

use crate::TopicFilter;

/// A filter taken apart once: the text before its first wildcard, and the levels from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// Whole levels with the `/` after each; the whole filter where it has no wildcard.
    prefix: ByteString,
    rest: Vec<Level>,
    /// Whether `prefix` is the whole filter.
    is_plain: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Named(ByteString),
    Any,
    Rest,
}

impl Shape {
    pub(super) fn of(filter: &TopicFilter) -> Self {
        Self::of_pattern(filter.as_str())
    }

    /// Of a pattern in which a `#` may stand before further levels: for one level or more.
    pub(super) fn of_pattern(filter: &str) -> Self {
        let Some(wildcard) = filter.find(['+', '#']) else {
            return Self { prefix: filter.into(), rest: Vec::new(), is_plain: true };
        };
        let level = |level: &str| match level {
            "+" => Level::Any,
            "#" => Level::Rest,
            named => Level::Named(named.into()),
        };
        let rest = filter[wildcard..].split('/').map(level).collect();
        Self { prefix: filter[..wildcard].into(), rest, is_plain: false }
    }

    /// As [`TopicFilter::matches`]; a `#` before further levels stands for one level or more.
    pub(super) fn matches(&self, topic: &str) -> bool {
        if self.is_plain {
            return self.prefix == topic;
        }
        let Some(rest) = topic.strip_prefix(&*self.prefix) else {
            // `a/#` is for `a` too (MQTT 5.0, section 4.7.1.2).
            return self.rest.as_slice() == [Level::Rest] && self.prefix.strip_suffix('/') == Some(topic);
        };
        // A filter that starts with a wildcard is not for `$` topics (section 4.7.2).
        if self.prefix.is_empty() && topic.starts_with('$') {
            return false;
        }
        let mut levels = rest.split('/');
        // Where the next level starts.
        let mut at = 0;
        for (n, wanted) in self.rest.iter().enumerate() {
            match (wanted, levels.next()) {
                (Level::Rest, _) if n + 1 == self.rest.len() => return true,
                (Level::Rest, level) => return level.is_some() && ends(&rest[at..], &self.rest[n + 1..]),
                (Level::Any, Some(level)) => at += level.len() + 1,
                (Level::Named(name), Some(level)) if name == level => at += level.len() + 1,
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

/// Whether `levels` are one or more, and then `tail`.
fn ends(levels: &str, tail: &[Level]) -> bool {
    let mut levels = levels.rsplit('/');
    let fits = |wanted: &Level| match (wanted, levels.next()) {
        (Level::Named(name), Some(level)) => name == level,
        (Level::Any | Level::Rest, Some(_)) => true,
        (_, None) => false,
    };
    tail.iter().rev().all(fits) && levels.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_before_further_levels_is_one_level_or_more() {
        let check = |pattern: &str, topic: &str, expect: bool| {
            assert_eq!(Shape::of_pattern(pattern).matches(topic), expect, "{pattern} on {topic}");
        };
        check("z/#/set", "z/lamp/set", true);
        check("z/#/set", "z/first floor/lamp/set", true);
        check("z/#/set", "z/set", false);
        check("z/#/set", "z", false);
        check("z/#/set", "z/lamp/set/x", false);
        check("z/#/set/+", "z/lamp/set/x", true);
        check("z/#/set/+", "z/set/x", false);
        check("z/#", "z", true);
    }
}
