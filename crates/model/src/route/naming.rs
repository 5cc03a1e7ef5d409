//! What a route makes of the names in a payload: where readings are, which are none, and what they are called.
//!
//! Not here: how names are joined (the decoders). The law: a whole name goes before a pattern, a longer pattern before
//! a shorter one, so the order in which they are written never matters.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// A route's `channels`, `ignore` and `rename`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Naming {
    /// The part of the payload that holds the readings.
    channels: Option<String>,
    ignored: BTreeSet<String>,
    /// Starts of names, the longest first.
    ignored_starts: Vec<String>,
    renamed: BTreeMap<String, String>,
    /// Starts of names and what stands in their place, the longest first.
    renamed_starts: Vec<(String, String)>,
}

impl Naming {
    /// From checked settings: a `*` stands at the end or nowhere, and on both sides of a rename or on none.
    pub(super) fn new(
        channels: Option<&str>,
        ignore: &[String],
        rename: &BTreeMap<String, String>,
    ) -> Option<Box<Self>> {
        if channels.is_none() && ignore.is_empty() && rename.is_empty() {
            return None;
        }
        let mut naming = Self { channels: channels.map(str::to_owned), ..Self::default() };
        for name in ignore {
            match name.strip_suffix('*') {
                Some(start) => naming.ignored_starts.push(start.to_owned()),
                None => drop(naming.ignored.insert(name.clone())),
            }
        }
        for (from, to) in rename {
            match (from.strip_suffix('*'), to.strip_suffix('*')) {
                (Some(from), Some(to)) => naming.renamed_starts.push((from.to_owned(), to.to_owned())),
                _ => drop(naming.renamed.insert(from.clone(), to.clone())),
            }
        }
        naming.ignored_starts.sort_by_key(|start| std::cmp::Reverse(start.len()));
        naming.renamed_starts.sort_by_key(|(start, _)| std::cmp::Reverse(start.len()));
        Some(Box::new(naming))
    }

    /// The part of the payload that holds the readings.
    pub(crate) fn channels(&self) -> Option<&str> {
        self.channels.as_deref()
    }

    /// The name inside [`Self::channels`] of the field at `path`; `None` outside.
    pub(crate) fn inside<'p>(&self, path: &'p str) -> Option<&'p str> {
        match &self.channels {
            None => Some(path),
            Some(channels) => match path.strip_prefix(channels.as_str())?.strip_prefix('.') {
                Some(name) => Some(name),
                // A scalar, or a list of scalars, stands at the place itself: it keeps its last name.
                None if path == channels => Some(path.rsplit('.').next().unwrap_or(path)),
                None => None,
            },
        }
    }

    /// The channel that the field at `path` is; `None` when it is no reading.
    pub(crate) fn channel<'p>(&self, path: &'p str) -> Option<Cow<'p, str>> {
        let name = self.inside(path)?;
        if self.ignored.contains(name)
            || self.ignored_starts.iter().any(|start| name.starts_with(start.as_str()))
        {
            return None;
        }
        if let Some(to) = self.renamed.get(name) {
            return Some(Cow::Owned(to.clone()));
        }
        let start =
            self.renamed_starts.iter().find_map(|(from, to)| Some((name.strip_prefix(from.as_str())?, to)));
        Some(match start {
            Some((rest, to)) => Cow::Owned(format!("{to}{rest}")),
            None => Cow::Borrowed(name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(channels: Option<&str>, ignore: &[&str], rename: &[(&str, &str)]) -> Box<Naming> {
        let ignore: Vec<_> = ignore.iter().map(|&name| name.to_owned()).collect();
        let rename = rename.iter().map(|&(from, to)| (from.to_owned(), to.to_owned())).collect();
        Naming::new(channels, &ignore, &rename).expect("it has something")
    }

    #[test]
    fn the_longest_that_fits_wins() {
        let naming = naming(
            None,
            &["Wifi.*", "Time"],
            &[("E.*", "energy.*"), ("E.To*", "t.*"), ("E.Total", "total"), ("X*", "*")],
        );
        let check =
            |path, expect: Option<&str>| assert_eq!(naming.channel(path).as_deref(), expect, "{path}");
        check("E.Power", Some("energy.Power"));
        check("E.Today", Some("t.day"));
        check("E.Total", Some("total"));
        check("Wifi.SSId", None);
        check("Wifi", Some("Wifi"));
        check("Time", None);
        check("Timer", Some("Timer"));
        check("Xabc", Some("abc"));
    }

    #[test]
    fn only_what_is_inside_channels_is_a_reading() {
        let naming = naming(Some("data.values"), &["rssi"], &[("t", "temperature")]);
        let check =
            |path, expect: Option<&str>| assert_eq!(naming.channel(path).as_deref(), expect, "{path}");
        check("data.values.t", Some("temperature"));
        check("data.values.x.y", Some("x.y"));
        check("data.values.rssi", None);
        check("data.valuesx", None);
        check("data.t", None);
        check("t", None);
        check("data.values", Some("values"));
        check("data.values.0", Some("0"));
    }
}
