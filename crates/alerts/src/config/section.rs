//! A map of the file being read: keys are asked for by name, and whatever was not asked for is a fault.
//!
//! Not here: which keys there are; each reader asks. The law: an unknown key is never passed over in silence: it is named
//! with the nearest known one, or with what stands in its place here.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::problem::{Place, Problems};
use super::yaml::{Kind, Node};
use super::{duration, matcher};

/// A secret of the file: wiped when dropped, never shown.
#[derive(Clone)]
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

/// How files that the configuration names are read, and where relative names start.
pub(crate) struct Files<'a> {
    pub(crate) dir: PathBuf,
    pub(crate) read: &'a dyn Fn(&Path) -> std::io::Result<Vec<u8>>,
}

/// What a reader needs beside its node.
pub(crate) struct Reading<'a> {
    pub(crate) problems: Problems,
    pub(crate) files: Files<'a>,
}

/// A map that is being read.
pub(crate) struct Section<'n> {
    /// As a person would say it: `route`, `receivers[2].email_configs[0]`.
    pub(crate) path: String,
    pub(crate) place: Place,
    entries: &'n [(Place, String, Node)],
    asked: Vec<&'static str>,
}

impl<'n> Section<'n> {
    /// Reads `node` as a map; nothing stands for an empty one.
    pub(crate) fn of(node: &'n Node, path: impl Into<String>, problems: &mut Problems) -> Option<Self> {
        let path = path.into();
        let entries: &[_] = match &node.kind {
            Kind::Map(entries) => entries,
            Kind::Null => &[],
            _ => {
                problems.say(node.place, format!("`{path}` is {}; it must be a map", node.what()));
                return None;
            }
        };
        Some(Self { path, place: node.place, entries, asked: Vec::new() })
    }

    /// The node of a key; nothing when the key is absent or its value is null.
    pub(crate) fn node(&mut self, key: &'static str) -> Option<&'n Node> {
        self.asked.push(key);
        let found = self.entries.iter().find(|(_, name, _)| name == key).map(|(_, _, node)| node);
        found.filter(|node| !matches!(node.kind, Kind::Null))
    }

    /// The place of a key, or of the map.
    pub(crate) fn place_of(&self, key: &str) -> Place {
        self.entries.iter().find(|(_, name, _)| name == key).map_or(self.place, |(place, ..)| *place)
    }

    /// The keys as they stand, for maps whose keys are names.
    pub(crate) fn names(&mut self) -> &'n [(Place, String, Node)] {
        self.entries
    }

    pub(crate) fn text(&mut self, key: &'static str, problems: &mut Problems) -> Option<String> {
        let node = self.node(key)?;
        let text = node.scalar();
        if text.is_none() {
            problems.say(node.place, format!("`{}.{key}` is {}; it must be a text", self.path, node.what()));
        }
        text
    }

    pub(crate) fn bool(&mut self, key: &'static str, problems: &mut Problems) -> Option<bool> {
        let node = self.node(key)?;
        match node.kind {
            Kind::Bool(yes) => Some(yes),
            _ => {
                let what = node.what();
                problems.say(
                    node.place,
                    format!("`{}.{key}` is {what}; it must be `true` or `false`", self.path),
                );
                None
            }
        }
    }

    pub(crate) fn number(&mut self, key: &'static str, problems: &mut Problems) -> Option<u64> {
        let node = self.node(key)?;
        let number = node.scalar().and_then(|text| text.parse().ok());
        if number.is_none() {
            let wrong = format!("`{}.{key}` must be a whole number, 0 or more", self.path);
            problems.say(node.place, wrong);
        }
        number
    }

    /// A duration in microseconds.
    pub(crate) fn duration(&mut self, key: &'static str, problems: &mut Problems) -> Option<i64> {
        let node = self.node(key)?;
        let read = node
            .scalar()
            .ok_or_else(|| "it must be a text".to_owned())
            .and_then(|text| duration::parse(&text));
        read.map_err(|wrong| problems.say(node.place, format!("`{}.{key}`: {wrong}", self.path))).ok()
    }

    pub(crate) fn list(&mut self, key: &'static str, problems: &mut Problems) -> &'n [Node] {
        let Some(node) = self.node(key) else { return &[] };
        match &node.kind {
            Kind::List(nodes) => nodes,
            _ => {
                problems
                    .say(node.place, format!("`{}.{key}` is {}; it must be a list", self.path, node.what()));
                &[]
            }
        }
    }

    pub(crate) fn texts(&mut self, key: &'static str, problems: &mut Problems) -> Vec<(Place, String)> {
        let nodes = self.list(key, problems);
        let mut texts = Vec::with_capacity(nodes.len());
        for node in nodes {
            match node.scalar() {
                Some(text) => texts.push((node.place, text)),
                None => problems.say(
                    node.place,
                    format!("`{}.{key}` has {}; its entries are texts", self.path, node.what()),
                ),
            }
        }
        texts
    }

    /// A map from names to texts.
    pub(crate) fn texts_by_name(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Vec<(Place, String, String)> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let path = format!("{}.{key}", self.path);
        let Some(mut map) = Section::of(node, path.as_str(), problems) else { return Vec::new() };
        let mut texts = Vec::new();
        for (place, name, node) in map.names() {
            match node.scalar() {
                Some(text) => texts.push((*place, name.clone(), text)),
                None => problems.say(node.place, format!("`{path}.{name}` must be a text")),
            }
        }
        texts
    }

    /// A secret that stands in the file under `key`, or in a file of its own under `key_file`.
    pub(crate) fn secret(
        &mut self,
        key: &'static str,
        key_file: &'static str,
        reading: &mut Reading<'_>,
    ) -> Option<Secret> {
        let inline = self.text(key, &mut reading.problems);
        let file = self.text(key_file, &mut reading.problems);
        match (inline, file) {
            (Some(_), Some(_)) => {
                let both =
                    format!("`{0}.{key}` and `{0}.{key_file}` are both given; one is right", self.path);
                reading.problems.say(self.place_of(key_file), both);
                None
            }
            (Some(text), None) => Some(Secret::new(text)),
            (None, Some(file)) => {
                let bytes = self.file(key_file, &file, reading)?;
                let text = String::from_utf8(bytes).ok().map(|text| text.trim_end().to_owned());
                if text.is_none() {
                    reading.problems.say(self.place_of(key_file), format!("`{file}` is not UTF-8"));
                }
                text.map(Secret::new)
            }
            (None, None) => None,
        }
    }

    /// A file that the value of a key names.
    pub(crate) fn file(&self, key: &str, name: &str, reading: &mut Reading<'_>) -> Option<Vec<u8>> {
        let path = reading.files.dir.join(name);
        match (reading.files.read)(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                let wrong = format!(
                    "`{}.{key}` names `{}`, which cannot be read: {error}",
                    self.path,
                    path.display()
                );
                reading.problems.say(self.place_of(key), wrong);
                None
            }
        }
    }

    /// Says what was not asked for. `instead` knows keys of Alertmanager that have no place here: what to do about each.
    pub(crate) fn finish(self, instead: &[(&str, &str)], problems: &mut Problems) {
        for (place, name, _) in self.entries {
            if self.asked.contains(&name.as_str()) {
                continue;
            }
            let key = format!("{}.{name}", self.path);
            let key = key.trim_start_matches('.');
            if let Some((_, hint)) = instead.iter().find(|(other, _)| other == name) {
                problems.advise(*place, format!("`{key}` is not supported"), *hint);
            } else if let Some(near) = matcher::nearest(name, &self.asked) {
                problems.advise(*place, format!("`{key}` is unknown"), format!("did you mean `{near}`?"));
            } else {
                let known = self.asked.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
                problems.advise(*place, format!("`{key}` is unknown"), format!("known here: {known}"));
            }
        }
    }
}
