//! The JSON Schema (2020-12, as OpenAPI 3.1 has it) of a type, from the type itself: `serde` is asked what it would read.
//!
//! A deserializer that has no input hands every field something that fits, and writes down what was asked for. So the schema
//! cannot differ from the code. Not here: what serde does not tell (bounds, forms of texts), types with `flatten` or an
//! inner tag, of which serde reads whatever comes: those are refused, and put together by their parts.
//! The law: nothing is guessed; a field is required when serde says that it is missing.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use serde_json::{Map, Value, json};

/// A text that is also an address, which is the only form of text that types of this API check while they read.
const TEXT: &str = "127.0.0.1";

/// The schema of what serde reads as a `T`.
///
/// # Errors
/// [`Unlike`]: `T` is of a kind that serde does not tell.
pub(crate) fn of<T: Deserialize<'static>>() -> Result<Value, Unlike> {
    let asked = Asked::default();
    let mut schema = Value::Null;
    T::deserialize(Asking { at: String::new(), into: &mut schema, asked: &asked })?;
    for (object, field) in asked.fields.into_inner() {
        let without = Asked { leave_out: Some((object.clone(), field)), ..Asked::default() };
        let read = T::deserialize(Asking { at: String::new(), into: &mut Value::Null, asked: &without });
        if matches!(read, Err(Unlike::Missing)) {
            let object = schema.pointer_mut(&object).and_then(Value::as_object_mut);
            let object = object.expect("the pointer was made while it was written");
            let required = object.entry("required").or_insert_with(|| json!([]));
            required.as_array_mut().expect("it is ours").push(json!(field));
        }
    }
    Ok(schema)
}

/// Why a type has no schema.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unlike {
    /// A field was left out that must be there.
    Missing,
    /// What serde or the type said.
    Said(String),
}

impl fmt::Display for Unlike {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => to.write_str("a field is missing"),
            Self::Said(text) => to.write_str(text),
        }
    }
}

impl std::error::Error for Unlike {}

impl de::Error for Unlike {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::Said(text.to_string())
    }

    fn missing_field(_: &'static str) -> Self {
        Self::Missing
    }
}

/// What is known of one reading of a type.
#[derive(Default)]
struct Asked {
    /// Fields, each with the JSON pointer of the object that it is in.
    fields: RefCell<Vec<(String, &'static str)>>,
    leave_out: Option<(String, &'static str)>,
}

/// A place where something is read.
struct Asking<'a> {
    /// The JSON pointer of its schema.
    at: String,
    into: &'a mut Value,
    asked: &'a Asked,
}

/// The schema of `schema` or `null`.
fn nullable(schema: Value) -> Value {
    if schema.get("enum").is_some() {
        return json!({ "anyOf": [schema, { "type": "null" }] });
    }
    let mut schema = schema;
    if let Some(kind) = schema.get_mut("type") {
        *kind = json!([kind.take(), "null"]);
    }
    schema
}

macro_rules! simple {
    ($($method:ident: $visit:ident($($value:expr)?), $schema:tt;)*) => {$(
        fn $method<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Unlike> {
            *self.into = json!($schema);
            visitor.$visit($($value)?)
        }
    )*};
}

macro_rules! refused {
    ($($method:ident($($argument:ty),*);)*) => {$(
        fn $method<V: Visitor<'static>>(self, $(_: $argument,)* _: V) -> Result<V::Value, Unlike> {
            Err(Unlike::custom(concat!("serde does not tell what it reads: ", stringify!($method))))
        }
    )*};
}

impl Deserializer<'static> for Asking<'_> {
    type Error = Unlike;

    simple! {
        deserialize_any: visit_unit(), {};
        deserialize_ignored_any: visit_unit(), {};
        deserialize_bool: visit_bool(false), { "type": "boolean" };
        deserialize_i8: visit_i8(1), { "type": "integer" };
        deserialize_i16: visit_i16(1), { "type": "integer" };
        deserialize_i32: visit_i32(1), { "type": "integer" };
        deserialize_i64: visit_i64(1), { "type": "integer" };
        deserialize_u8: visit_u8(1), { "type": "integer", "minimum": 0 };
        deserialize_u16: visit_u16(1), { "type": "integer", "minimum": 0 };
        deserialize_u32: visit_u32(1), { "type": "integer", "minimum": 0 };
        deserialize_u64: visit_u64(1), { "type": "integer", "minimum": 0 };
        deserialize_f32: visit_f32(1.0), { "type": "number" };
        deserialize_f64: visit_f64(1.0), { "type": "number" };
        deserialize_str: visit_borrowed_str(TEXT), { "type": "string" };
        deserialize_string: visit_borrowed_str(TEXT), { "type": "string" };
    }

    // A name of a field is asked of a map when the type has `flatten`.
    refused! {
        deserialize_identifier();
        deserialize_char();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_unit();
        deserialize_unit_struct(&'static str);
        deserialize_tuple(usize);
        deserialize_tuple_struct(&'static str, usize);
    }

    fn deserialize_option<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Unlike> {
        let mut schema = Value::Null;
        let read = visitor.visit_some(Asking { at: self.at, into: &mut schema, asked: self.asked })?;
        *self.into = nullable(schema);
        Ok(read)
    }

    fn deserialize_newtype_struct<V: Visitor<'static>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unlike> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Unlike> {
        let mut items = Value::Null;
        let one = One { at: format!("{}/items", self.at), into: Some(&mut items), asked: self.asked };
        let read = visitor.visit_seq(one)?;
        *self.into = json!({ "type": "array", "items": items });
        Ok(read)
    }

    fn deserialize_map<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Unlike> {
        let mut values = Value::Null;
        let at = format!("{}/additionalProperties", self.at);
        let read = visitor.visit_map(One { at, into: Some(&mut values), asked: self.asked })?;
        *self.into = json!({ "type": "object", "additionalProperties": values });
        Ok(read)
    }

    fn deserialize_struct<V: Visitor<'static>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unlike> {
        let mut properties = Map::new();
        let Self { at, into, asked } = self;
        let read =
            visitor.visit_map(Fields { at, left: fields, now: "", properties: &mut properties, asked })?;
        *into = json!({ "type": "object", "properties": properties });
        Ok(read)
    }

    fn deserialize_enum<V: Visitor<'static>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unlike> {
        *self.into = json!({ "type": "string", "enum": variants });
        let first = variants.first().ok_or_else(|| Unlike::custom("an enum without a variant"))?;
        visitor.visit_enum(Unit(first))
    }
}

/// A variant that holds nothing; another kind is refused.
struct Unit(&'static str);

impl EnumAccess<'static> for Unit {
    type Error = Unlike;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'static>>(self, seed: V) -> Result<(V::Value, Self), Unlike> {
        let name: StrDeserializer<'_, Unlike> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl VariantAccess<'static> for Unit {
    type Error = Unlike;

    fn unit_variant(self) -> Result<(), Unlike> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'static>>(self, _: T) -> Result<T::Value, Unlike> {
        Err(Unlike::custom("a variant that holds something"))
    }

    fn tuple_variant<V: Visitor<'static>>(self, _: usize, _: V) -> Result<V::Value, Unlike> {
        Err(Unlike::custom("a variant that holds something"))
    }

    fn struct_variant<V: Visitor<'static>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Unlike> {
        Err(Unlike::custom("a variant that holds something"))
    }
}

/// One element of a list, or of a map with free keys.
struct One<'a> {
    at: String,
    into: Option<&'a mut Value>,
    asked: &'a Asked,
}

impl<'a> One<'a> {
    fn asking(&mut self) -> Option<Asking<'a>> {
        let into = self.into.take()?;
        Some(Asking { at: std::mem::take(&mut self.at), into, asked: self.asked })
    }
}

impl SeqAccess<'static> for One<'_> {
    type Error = Unlike;

    fn next_element_seed<T: DeserializeSeed<'static>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Unlike> {
        self.asking().map(|asking| seed.deserialize(asking)).transpose()
    }
}

impl MapAccess<'static> for One<'_> {
    type Error = Unlike;

    fn next_key_seed<K: DeserializeSeed<'static>>(&mut self, seed: K) -> Result<Option<K::Value>, Unlike> {
        if self.into.is_none() {
            return Ok(None);
        }
        let asking = Asking { at: String::new(), into: &mut Value::Null, asked: self.asked };
        seed.deserialize(asking).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'static>>(&mut self, seed: V) -> Result<V::Value, Unlike> {
        let asking = self.asking().ok_or_else(|| Unlike::custom("a value without a key"))?;
        seed.deserialize(asking)
    }
}

/// The fields of a struct, one after the other.
struct Fields<'a> {
    at: String,
    left: &'static [&'static str],
    now: &'static str,
    properties: &'a mut Map<String, Value>,
    asked: &'a Asked,
}

impl MapAccess<'static> for Fields<'_> {
    type Error = Unlike;

    fn next_key_seed<K: DeserializeSeed<'static>>(&mut self, seed: K) -> Result<Option<K::Value>, Unlike> {
        while let Some((field, left)) = self.left.split_first() {
            (self.left, self.now) = (left, field);
            let left_out = self.asked.leave_out.as_ref();
            if left_out.is_some_and(|(object, name)| *object == self.at && name == field) {
                continue;
            }
            self.asked.fields.borrow_mut().push((self.at.clone(), field));
            let name: StrDeserializer<'_, Unlike> = field.into_deserializer();
            return seed.deserialize(name).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'static>>(&mut self, seed: V) -> Result<V::Value, Unlike> {
        let mut schema = Value::Null;
        let at = format!("{}/properties/{}", self.at, self.now);
        let read = seed.deserialize(Asking { at, into: &mut schema, asked: self.asked })?;
        self.properties.insert(self.now.to_owned(), schema);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "serde alone looks at it")]
    struct Outer {
        name: String,
        count: Option<u32>,
        #[serde(default)]
        list: Vec<Inner>,
        map: BTreeMap<String, Option<bool>>,
        any: Value,
        kind: Option<Kind>,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "serde alone looks at it")]
    struct Inner {
        #[serde(rename = "type")]
        kind: String,
        part: Option<f64>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        One,
        Two,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "serde alone looks at it")]
    struct Flat {
        #[serde(flatten)]
        inner: Inner,
    }

    #[test]
    fn a_schema_is_what_serde_reads() {
        let expect = json!({
            "type": "object",
            "required": ["name", "map", "any"],
            "properties": {
                "name": { "type": "string" },
                "count": { "type": ["integer", "null"], "minimum": 0 },
                "list": { "type": "array", "items": {
                    "type": "object",
                    "required": ["type"],
                    "properties": { "type": { "type": "string" }, "part": { "type": ["number", "null"] } },
                } },
                "map": { "type": "object", "additionalProperties": { "type": ["boolean", "null"] } },
                "any": {},
                "kind": { "anyOf": [{ "type": "string", "enum": ["one", "two"] }, { "type": "null" }] },
            },
        });
        assert_eq!(of::<Outer>(), Ok(expect));
        let _ = [Kind::One, Kind::Two];
    }

    #[test]
    fn what_serde_does_not_tell_is_refused() {
        assert!(matches!(of::<Flat>(), Err(Unlike::Said(_))), "{:?}", of::<Flat>());
        assert!(matches!(of::<(u8, u8)>(), Err(Unlike::Said(_))));
    }
}
