//! One scalar out of an object, without making anything of the rest: the id of a message, at the door.

use std::fmt;

use bytestring::ByteString;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::base64url;
use super::cbor::Reader;
use crate::limit::{CBOR_BYTES_MAX, JSON_BYTES_MAX};

/// The scalar at `path` (names joined with `.`) of the JSON object `payload`, as text; the last one when it
/// occurs more than once. `None` when it is absent, null, no scalar, or the payload is no JSON object.
pub(crate) fn pick(payload: &[u8], path: &str) -> Option<ByteString> {
    if payload.len() > JSON_BYTES_MAX {
        return None;
    }
    let mut parser = serde_json::Deserializer::from_slice(payload);
    let found = Walk { path: Some(path) }.deserialize(&mut parser).ok()?;
    parser.end().ok()?;
    found
}

/// As [`pick`], of a CBOR map.
pub(crate) fn pick_cbor(payload: &[u8], path: &str) -> Option<ByteString> {
    if payload.len() > CBOR_BYTES_MAX {
        return None;
    }
    let mut reader = Reader::new(payload);
    let found = Walk { path: Some(path) }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    found
}

/// Walks to what is left of a path; with none left, the value is what was sought.
struct Walk<'p> {
    path: Option<&'p str>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<ByteString>;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_any(self)
    }
}

impl Walk<'_> {
    fn scalar(&self, text: impl FnOnce() -> String) -> Option<ByteString> {
        self.path.is_none().then(|| text().into())
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<ByteString>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(step) = map.next_key_seed(Step(self.path))? {
            match step {
                Some(path) => found = map.next_value_seed(Walk { path })?.or(found),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(self.scalar(|| value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.scalar(|| value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(self.scalar(|| value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(self.scalar(|| value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(self.scalar(|| value.to_owned()).filter(|text| !text.is_empty()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Self::Value, E> {
        Ok(self.scalar(|| base64url(value)).filter(|text| !text.is_empty()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Reads a key and says what of the path is left after it: `None` when the key leads elsewhere.
struct Step<'p>(Option<&'p str>);

impl<'de, 'p> DeserializeSeed<'de> for Step<'p> {
    type Value = Option<Option<&'p str>>;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_str(self)
    }
}

impl<'p> Visitor<'_> for Step<'p> {
    type Value = Option<Option<&'p str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_i64<E: de::Error>(self, key: i64) -> Result<Self::Value, E> {
        self.visit_str(&key.to_string())
    }

    fn visit_u64<E: de::Error>(self, key: u64) -> Result<Self::Value, E> {
        self.visit_str(&key.to_string())
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.and_then(|path| match path.strip_prefix(key)? {
            "" => Some(None),
            rest => rest.strip_prefix('.').map(Some),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_its_scalar() {
        let check = |payload: &str, path, expect: Option<&str>| {
            assert_eq!(pick(payload.as_bytes(), path).as_deref(), expect, "{path} of {payload}");
        };
        check(r#"{"id":"a1","t":1}"#, "id", Some("a1"));
        check(r#"{"t":{"x":[1,{}]},"msg":{"id":17}}"#, "msg.id", Some("17"));
        check(r#"{"msg.id":17}"#, "msg.id", Some("17"));
        check(r#"{"id":1,"id":2}"#, "id", Some("2"));
        check(r#"{"id":1,"id":null}"#, "id", Some("1"));
        check(r#"{"\u0069d":true}"#, "id", Some("true"));
        check(r#"{"idx":1,"i":2}"#, "id", None);
        check(r#"{"id":{"a":1}}"#, "id", None);
        check(r#"{"id":[1]}"#, "id", None);
        check(r#"{"id":""}"#, "id", None);
        check(r#"[{"id":1}]"#, "id", None);
        check(r#"{"id":1"#, "id", None);
        check(r#"{"id":1} x"#, "id", None);
        check("7", "id", None);
        check("", "id", None);
    }
}
