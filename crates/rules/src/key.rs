//! Whose state it is: the key of a rule, made of a device and what is known of it.
//!
//! Not here: who knows it (`identity`; whoever feeds the fold hands it in). The law: one key has one text, so that it can
//! be stored and compared as text.

use std::fmt;
use std::sync::Arc;

use bytestring::ByteString;
use model::{DeviceName, GroupPath};

use crate::value::Scalar;

/// One part of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum By {
    /// `device`
    Device,
    /// `group`: the path of the device's home group.
    Group,
    /// `site`: the attribute `site`, else the top level of the home group's path.
    Site,
    /// `attr.NAME`
    Attribute(String),
}

impl By {
    /// The part as rules write it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Device => "device".to_owned(),
            Self::Group => "group".to_owned(),
            Self::Site => "site".to_owned(),
            Self::Attribute(name) => format!("attr.{name}"),
        }
    }
}

/// A key: parts and their values, in the order of `by`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<[(ByteString, ByteString)]>);

impl Key {
    /// The key of these parts.
    pub fn new<P, V>(parts: impl IntoIterator<Item = (P, V)>) -> Self
    where
        P: Into<ByteString>,
        V: Into<ByteString>,
    {
        Self(parts.into_iter().map(|(part, value)| (part.into(), value.into())).collect())
    }

    /// Reads what [`Display`](fmt::Display) writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let pairs: Vec<(String, String)> = serde_json::from_str::<Pairs>(text).ok()?.0;
        Some(Self::new(pairs))
    }

    /// Parts and values.
    pub fn parts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(part, value)| (&**part, &**value))
    }

    /// The value of a part.
    #[must_use]
    pub fn part(&self, name: &str) -> Option<&str> {
        self.parts().find(|(part, _)| *part == name).map(|(_, value)| value)
    }
}

/// JSON text of an object, in the order of `by`: `{"device":"office-1"}`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (part, value)) in self.parts().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let text = |text: &str| serde_json::Value::from(text).to_string();
            write!(f, "{comma}{}:{}", text(part), text(value))?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The members of a JSON object in their order.
struct Pairs(Vec<(String, String)>);

impl<'de> serde::Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> serde::de::Visitor<'de> for InOrder {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<M: serde::de::MapAccess<'de>>(self, mut map: M) -> Result<Pairs, M::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// What is known of a device beside its samples.
#[derive(Clone, Copy)]
pub struct Circumstances<'a> {
    /// Its home group.
    pub group: Option<&'a GroupPath>,
    /// Its attributes by name.
    pub attribute: &'a dyn Fn(&str) -> Option<String>,
}

impl Circumstances<'static> {
    /// Of a device nothing is known of.
    pub const UNKNOWN: Self = Self { group: None, attribute: &|_| None };
}

impl Circumstances<'_> {
    pub(crate) fn part(&self, part: &By, device: &DeviceName) -> Option<String> {
        match part {
            By::Device => Some(device.to_string()),
            By::Group => self.group.map(ToString::to_string),
            By::Site => (self.attribute)("site").or_else(|| {
                let top = self.group?.as_str().split('/').next()?;
                Some(top.to_owned())
            }),
            By::Attribute(name) => (self.attribute)(name),
        }
    }
}

/// A device as one rule sees it: its key, and the attributes the rule looks at. Made once and kept until what is known of
/// the device changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// Whose state its samples belong to.
    pub key: Key,
    pub(crate) attributes: Box<[Scalar]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_text() {
        let key = Key::new([("group", "hq/floor-17"), ("attr.line", "a \"b\"")]);
        assert_eq!(key.to_string(), r#"{"group":"hq/floor-17","attr.line":"a \"b\""}"#);
        assert_eq!(Key::parse(&key.to_string()), Some(key.clone()));
        assert_eq!(key.part("group"), Some("hq/floor-17"));
        assert_eq!(Key::parse("[1]"), None);
    }

    #[test]
    fn a_site_is_an_attribute_or_the_top_of_the_group() {
        let device = DeviceName::parse("a").expect("a name");
        let group = GroupPath::parse("hq/floor-17").expect("a path");
        let none = Circumstances { group: Some(&group), attribute: &|_| None };
        assert_eq!(none.part(&By::Site, &device).as_deref(), Some("hq"));
        let named =
            Circumstances { group: Some(&group), attribute: &|name| (name == "site").then(|| "lab".into()) };
        assert_eq!(named.part(&By::Site, &device).as_deref(), Some("lab"));
        assert_eq!(Circumstances::UNKNOWN.part(&By::Group, &device), None);
    }
}
