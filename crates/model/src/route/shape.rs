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
        let Some(wildcard) = filter.find(['+', '#']) else {
            return Self { prefix: filter.as_str().into(), rest: Vec::new(), is_plain: true };
        };
        let level = |level: &str| match level {
            "+" => Level::Any,
            "#" => Level::Rest,
            named => Level::Named(named.into()),
        };
        let rest = filter[wildcard..].split('/').map(level).collect();
        Self { prefix: filter[..wildcard].into(), rest, is_plain: false }
    }

    /// As [`TopicFilter::matches`].
    pub(super) fn matches(&self, topic: &str) -> bool {
        if self.is_plain {
            return self.prefix == topic;
        }
        let Some(rest) = topic.strip_prefix(&*self.prefix) else {
            // `a/#` is for `a` too (MQTT 5.0, section 4.7.1.2).
            return self.rest.first() == Some(&Level::Rest) && self.prefix.strip_suffix('/') == Some(topic);
        };
        // A filter that starts with a wildcard is not for `$` topics (section 4.7.2).
        if self.prefix.is_empty() && topic.starts_with('$') {
            return false;
        }
        let mut levels = rest.split('/');
        for wanted in &self.rest {
            match (wanted, levels.next()) {
                (Level::Rest, _) => return true,
                (Level::Any, Some(_)) => {}
                (Level::Named(name), Some(level)) if name == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}
