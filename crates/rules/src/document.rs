//! A YAML file as a tree in which everything knows where it stands.
//!
//! Not here: what the keys mean. The laws: a file is bounded before it is read; the place of a character inside a text is
//! the place where the reader sees it, whatever quotes or folds the text went through.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::fault::Fault;

/// Longest rule file in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Something in a YAML file, and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its line, from 1.
    pub line: usize,
    /// Its column, from 1.
    pub column: usize,
    /// What it is.
    pub content: Content,
}

/// What something in a YAML file is.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Nothing, or `null`.
    Null,
    /// `true` or `false`, without quotes.
    Bool(bool),
    /// A number without quotes, as it reads back.
    Number(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values, in their order; no key occurs twice.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// Reads a file of one document.
    ///
    /// # Errors
    /// The first place where it is no YAML, or that it is too long.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if text.len() > FILE_BYTES_MAX {
            let message = format!("the file is {} bytes; the most is {FILE_BYTES_MAX}", text.len());
            return Err(Fault::new(1, 1, message));
        }
        let read: Result<Option<Spanned<Content>>, _> = serde_saphyr::from_str(text);
        match read {
            Ok(Some(root)) => Ok(Self::from(root)),
            Ok(None) => Ok(Self { line: 1, column: 1, content: Content::Null }),
            Err(error) => {
                let (line, column) = error
                    .location()
                    .map_or((1, 1), |location| (place(location.line()), place(location.column())));
                let told = error.without_snippet().to_string();
                let message = told.lines().next().unwrap_or_default().trim_end_matches('.').to_owned();
                Err(Fault::new(line, column, format!("no YAML: {message}")))
            }
        }
    }

    /// A fault at the place where this begins.
    #[must_use]
    pub fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(self.line, self.column, message)
    }

    /// Text, number, true or false, as text.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match &self.content {
            Content::Text(text) | Content::Number(text) => Some(text.clone()),
            Content::Bool(truth) => Some(truth.to_string()),
            Content::Null | Content::List(_) | Content::Map(_) => None,
        }
    }

    /// The items of a list.
    #[must_use]
    pub fn list(&self) -> Option<&[Self]> {
        match &self.content {
            Content::List(items) => Some(items),
            _ => None,
        }
    }

    /// The keys and values of a map.
    #[must_use]
    pub fn map(&self) -> Option<&[(Self, Self)]> {
        match &self.content {
            Content::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value behind a key of a map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let entry = self.map()?.iter().find(|(name, _)| name.text().as_deref() == Some(key));
        entry.map(|(_, value)| value)
    }

    /// What it is, for people.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.content {
            Content::Null => "nothing",
            Content::Bool(_) => "true or false",
            Content::Number(_) => "a number",
            Content::Text(_) => "a text",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }

    /// One text for all spellings of the same: keys in order of name, no comments, white space joined.
    #[must_use]
    pub fn normalised(&self) -> String {
        match &self.content {
            Content::Null => "null".to_owned(),
            Content::Bool(_) | Content::Number(_) | Content::Text(_) => {
                let text = self.text().unwrap_or_default();
                let words: Vec<&str> = text.split_whitespace().collect();
                serde_json::Value::from(words.join(" ")).to_string()
            }
            Content::List(items) => {
                let items: Vec<String> = items.iter().map(Self::normalised).collect();
                format!("[{}]", items.join(","))
            }
            Content::Map(entries) => {
                let mut entries: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("{}:{}", key.normalised(), value.normalised()))
                    .collect();
                entries.sort();
                format!("{{{}}}", entries.join(","))
            }
        }
    }

    /// Where the byte `at` of this node's text stands in `source`, the file it was read from: line and column.
    ///
    /// Walks text and file side by side: white space in the text is any white space in the file (folds, indentation), and
    /// what only the file has (quotes, escapes, the sign of a block) is passed over.
    #[must_use]
    pub fn place_of(&self, source: &str, at: usize) -> (usize, usize) {
        let text = self.text().unwrap_or_default();
        let mut here = Cursor::at(source, self.line, self.column);
        for (_, c) in text.char_indices().take_while(|(place, _)| *place <= at) {
            if c.is_whitespace() {
                here.pass(char::is_whitespace);
            } else {
                here.pass(|other| other != c);
                here.is_before_match = true;
            }
            if here.rest.is_empty() {
                break;
            }
        }
        // A fault at the end of the text stands behind its last character.
        if at >= text.len() && !text.is_empty() {
            here.column += 1;
        }
        (here.line, here.column)
    }
}

impl From<Spanned<Content>> for Node {
    fn from(spanned: Spanned<Content>) -> Self {
        let Spanned { value, referenced, .. } = spanned;
        Self { line: place(referenced.line()), column: place(referenced.column()), content: value }
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number).unwrap_or(1).max(1)
}

/// A place in a file that moves forward.
struct Cursor<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
    /// It stands on a character that was matched: the next one is behind it.
    is_before_match: bool,
}

impl<'a> Cursor<'a> {
    fn at(source: &'a str, line: usize, column: usize) -> Self {
        let start: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
        let rest = &source[start..];
        let skip: usize = rest.chars().take(column - 1).map(char::len_utf8).sum();
        Self { rest: &rest[skip..], line, column, is_before_match: false }
    }

    fn step(&mut self) {
        let Some(c) = self.rest.chars().next() else { return };
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            (self.line, self.column) = (self.line + 1, 1);
        } else {
            self.column += 1;
        }
    }

    fn pass(&mut self, is_passed: impl Fn(char) -> bool) {
        if std::mem::take(&mut self.is_before_match) {
            self.step();
        }
        while self.rest.starts_with(&is_passed) {
            self.step();
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("YAML")
            }

            fn visit_unit<E>(self) -> Result<Content, E> {
                Ok(Content::Null)
            }

            fn visit_none<E>(self) -> Result<Content, E> {
                Ok(Content::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
                Content::deserialize(deserializer)
            }

            fn visit_bool<E>(self, truth: bool) -> Result<Content, E> {
                Ok(Content::Bool(truth))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Content, E> {
                Ok(Content::Number(number.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Content, E> {
                Ok(Content::Number(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Content, E> {
                Ok(Content::Number(number.to_string()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Content, S::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element::<Spanned<Content>>()? {
                    items.push(Node::from(item));
                }
                Ok(Content::List(items))
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Content, M::Error> {
                let mut entries = Vec::new();
                while let Some((key, value)) = map.next_entry::<Spanned<Content>, Spanned<Content>>()? {
                    entries.push((Node::from(key), Node::from(value)));
                }
                Ok(Content::Map(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_knows_its_place() {
        let root =
            Node::parse("groups:\n- name: a\n  rules: [{for: 5m, streak: 5, x: true, y: }]\n").expect("YAML");
        let group = &root.get("groups").and_then(Node::list).expect("a list")[0];
        assert_eq!((group.line, group.column), (2, 3));
        let rule = &group.get("rules").and_then(Node::list).expect("a list")[0];
        let (key, value) = &rule.map().expect("a map")[1];
        assert_eq!((key.line, key.column, value.line, value.column), (3, 21, 3, 29));
        let kinds: Vec<&str> = rule.map().expect("a map").iter().map(|(_, value)| value.kind()).collect();
        assert_eq!(kinds, ["a text", "a number", "true or false", "nothing"]);
    }

    #[test]
    fn a_place_in_a_text_is_where_it_is_seen() {
        let check = |source: &str, part: &str, expect: (usize, usize)| {
            let root = Node::parse(source).expect("YAML");
            let node = root.get("expr").expect("expr");
            let text = node.text().expect("a text");
            let at = text.find(part).expect("a part");
            assert_eq!(node.place_of(source, at), expect, "{source:?}");
        };
        check("expr: a + b > 3\n", "b", (1, 11));
        check("x: 1\nexpr: \"a + b > 3\"\n", "b", (2, 12));
        check("expr: 'it''s + b'\n", "b", (1, 16));
        check("expr: |\n  a > 1\n  and b > 2\n", "b", (3, 7));
        check("expr: >\n  a > 1\n\n  and bb > 2\n", "bb", (4, 7));
        check("expr: a > 1\n   and bb > 2\n", "bb", (2, 8));
        check("expr: aa > 1\n", "aa", (1, 7));
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_place() {
        let fault = Node::parse("a: 1\nb: [1, 2\nc: 3\n").expect_err("no YAML");
        assert!(fault.line >= 2 && fault.message.starts_with("no YAML: "), "{fault}");
        let twice = Node::parse("a: 1\na: 2\n").expect_err("a key twice");
        assert_eq!(twice.line, 2, "{twice}");
        assert!(Node::parse(&" ".repeat(FILE_BYTES_MAX + 1)).is_err());
        assert_eq!(Node::parse("").expect("nothing").content, Content::Null);
        assert!(Node::parse(&"[".repeat(10_000)).is_err());
    }

    #[test]
    fn spelling_is_no_part_of_the_normal_text() {
        let normal = |text: &str| Node::parse(text).expect("YAML").normalised();
        assert_eq!(normal("{a: 1, b: 'x   y'}"), normal("# note\nb: x y\na: 1"));
        assert_ne!(normal("a: 1"), normal("a: 2"));
    }
}
