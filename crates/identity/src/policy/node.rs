//! JSON as it was written: members in their order, and none twice.
//!
//! `serde_json::Value` takes the last of two members with one name; in a policy the first reader and the second would
//! then see different rights. The law: what is written twice is refused.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A value of JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    /// A number, as text.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// What it is, for an error.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// A list as it is; anything else as a list of one.
    pub(crate) fn listed(&self) -> &[Node] {
        match self {
            Self::List(list) => list,
            one => std::slice::from_ref(one),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => f.write_str(number),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::List(list) => {
                for (at, node) in list.iter().enumerate() {
                    write!(f, "{}{node}", if at == 0 { "[" } else { ", " })?;
                }
                f.write_str(if list.is_empty() { "[]" } else { "]" })
            }
            Self::Object(members) => {
                for (at, (name, node)) in members.iter().enumerate() {
                    write!(f, "{}{}: {node}", if at == 0 { "{" } else { ", " }, quoted(name))?;
                }
                f.write_str(if members.is_empty() { "{}" } else { "}" })
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Bool(value))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
                Ok(Node::Number(number.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
                Ok(Node::Number(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
                Ok(Node::Number(number.to_string()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                while let Some(node) = seq.next_element()? {
                    list.push(node);
                }
                Ok(Node::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut members: Vec<(String, Node)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format_args!("`{name}` is written twice")));
                    }
                    let value = map.next_value()?;
                    members.push((name, value));
                }
                Ok(Node::Object(members))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_prints_as_it_was_read_and_no_member_stands_twice() {
        let text = r#"{"b": [1, -2, "x\"y", null], "a": {"t": true}, "e": {}, "l": []}"#;
        assert_eq!(Node::parse(text).expect("JSON").to_string(), text);
        let twice =
            Node::parse("{\n\"Effect\": \"Deny\",\n\"Effect\": \"Allow\"}").expect_err("twice").to_string();
        assert!(twice.starts_with("`Effect` is written twice at line 3"), "{twice}");
    }
}
