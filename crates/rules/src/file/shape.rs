//! Reading a map with known keys: what is unknown, missing or of another kind is told, with its place.
//!
//! Not here: what the keys mean. The law: reading goes on after a fault, so that all of them are told.

use crate::document::{Content, Node};
use crate::duration;
use crate::fault::{Fault, did_you_mean};

pub(crate) struct Shape<'a, 'f> {
    node: &'a Node,
    what: &'static str,
    known: &'a [&'static str],
    faults: &'f mut Vec<Fault>,
}

impl<'a, 'f> Shape<'a, 'f> {
    pub(crate) fn of(
        node: &'a Node,
        what: &'static str,
        known: &'a [&'static str],
        faults: &'f mut Vec<Fault>,
    ) -> Self {
        if node.map().is_none() {
            faults.push(node.fault(format!("{what} is a map, and this is {}", node.kind())));
        }
        Self { node, what, known, faults }
    }

    /// Tells of the keys that nobody knows.
    pub(crate) fn finish(self) {
        for (key, _) in self.node.map().unwrap_or_default() {
            let name = key.text().unwrap_or_default();
            if !self.known.contains(&name.as_str()) {
                let suggestion = did_you_mean(&name, self.known.iter().copied()).unwrap_or_else(|| {
                    let known: Vec<String> = self.known.iter().map(|known| format!("`{known}`")).collect();
                    format!("{} has {}", self.what, known.join(", "))
                });
                self.faults.push(key.fault(format!("unknown key `{name}`")).suggesting(suggestion));
            }
        }
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// The value of a key, if it is there and says something.
    pub(crate) fn take(&mut self, key: &str) -> Option<&'a Node> {
        self.node.get(key).filter(|value| value.content != Content::Null)
    }

    pub(crate) fn needed(&mut self, key: &str) -> Option<&'a Node> {
        let found = self.take(key);
        if found.is_none() && self.node.map().is_some() {
            self.faults.push(self.node.fault(format!("{} needs `{key}`", self.what)));
        }
        found
    }

    pub(crate) fn text(&mut self, key: &str) -> Option<(String, &'a Node)> {
        let node = self.take(key)?;
        match node.text() {
            Some(text) => Some((text, node)),
            None => {
                self.faults.push(node.fault(format!("`{key}` is a text, and this is {}", node.kind())));
                None
            }
        }
    }

    pub(crate) fn needed_text(&mut self, key: &str) -> Option<String> {
        self.needed(key)?;
        self.text(key).map(|(text, _)| text)
    }

    /// A list that is needed, empty or not.
    pub(crate) fn list(&mut self, key: &str) -> Option<&'a [Node]> {
        let node = self.needed(key)?;
        let list = node.list();
        if list.is_none() {
            self.faults.push(node.fault(format!("`{key}` is a list, and this is {}", node.kind())));
        }
        list
    }

    /// A span of time in microseconds.
    pub(crate) fn span(&mut self, key: &str) -> Option<i64> {
        let (text, node) = self.text(key)?;
        match duration::parse(text.trim()) {
            Ok(micros) => Some(micros),
            Err(message) => {
                self.faults.push(node.fault(format!("`{key}`: {message}")));
                None
            }
        }
    }
}
