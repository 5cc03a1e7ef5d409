//! CBOR (RFC 8949), flattened as JSON is.
//!
//! [`Reader`] shows `minicbor`'s decoder to the same visitors that read JSON. Tags are passed over: what they tag is
//! read as it stands, so a tagged time is a text or a number. Not here: what becomes of what was read.
//!
//! The laws: recursion goes no deeper than the visitors' own bound, for what they skip is skipped without it; no space is
//! set aside by a length that the payload only claims.

use std::fmt;

use minicbor::Decoder;
use minicbor::data::Type;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::collect::Collector;
use super::flatten::Flattening;
use super::{DecodeError, Decoded, error};
use crate::limit::CBOR_BYTES_MAX;
use crate::route::Route;
use crate::{Message, Names};

pub(super) fn decode(route: &Route, message: &Message, names: &mut Names) -> Result<Decoded, DecodeError> {
    let payload = &message.payload;
    if payload.len() > CBOR_BYTES_MAX {
        return Err(DecodeError::too_large("cbor", payload.len(), CBOR_BYTES_MAX));
    }
    let mut pass = Flattening::new(Collector::new(route, message, names)?, false);
    let mut reader = Reader::new(payload);
    let read = pass.payload(&mut reader).and_then(|()| reader.end());
    read.map_err(|e| match pass.refusal.take() {
        Some(refusal) => refusal,
        None => DecodeError::NotCbor {
            byte: reader.position(),
            field: error::shown(&pass.out.path),
            reason: e.to_string(),
        },
    })?;
    Ok(pass.out.finish())
}

/// Reads one item of CBOR.
pub(super) struct Reader<'b>(Decoder<'b>);

/// Why the bytes are no CBOR that can be read.
#[derive(Debug)]
pub(super) struct NotCbor(String);

impl fmt::Display for NotCbor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotCbor {}

impl de::Error for NotCbor {
    fn custom<T: fmt::Display>(said: T) -> Self {
        Self(said.to_string())
    }
}

impl From<minicbor::decode::Error> for NotCbor {
    fn from(error: minicbor::decode::Error) -> Self {
        if error.is_end_of_input() { Self("it ends too early".to_owned()) } else { Self(error.to_string()) }
    }
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self(Decoder::new(bytes))
    }

    /// Where reading stands, in bytes from the start.
    pub(super) fn position(&self) -> usize {
        self.0.position()
    }

    /// That nothing follows.
    pub(super) fn end(&self) -> Result<(), NotCbor> {
        let more = self.0.input().len() - self.0.position();
        if more == 0 { Ok(()) } else { Err(NotCbor(format!("{more} bytes follow after its end"))) }
    }

    /// The kind of the next item; tags before it are passed over.
    fn kind(&mut self) -> Result<Type, NotCbor> {
        loop {
            match self.0.datatype()? {
                Type::Tag => drop(self.0.tag()?),
                kind => return Ok(kind),
            }
        }
    }

    /// Whether a list or map has another item; counts it.
    fn has_more(&mut self, left: &mut Option<u64>) -> Result<bool, NotCbor> {
        match left {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None if self.0.datatype()? == Type::Break => {
                self.0.set_position(self.0.position() + 1);
                Ok(false)
            }
            None => Ok(true),
        }
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = NotCbor;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotCbor> {
        let kind = self.kind()?;
        let reader = &mut self.0;
        let float = |number: f64| if number.is_nan() { None } else { Some(number) };
        let number = match kind {
            Type::Bool => return visitor.visit_bool(reader.bool()?),
            Type::Null => {
                reader.null()?;
                return visitor.visit_unit();
            }
            Type::Undefined => {
                reader.undefined()?;
                return visitor.visit_unit();
            }
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => return visitor.visit_u64(reader.u64()?),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 => return visitor.visit_i64(reader.i64()?),
            Type::Int => {
                // Down to -2^64: the nearest number.
                return visitor.visit_f64(i128::from(reader.int()?) as f64);
            }
            Type::F16 => float(f64::from(reader.f16()?)),
            Type::F32 => float(f64::from(reader.f32()?)),
            Type::F64 => float(reader.f64()?),
            Type::String => return visitor.visit_borrowed_str(reader.str()?),
            Type::StringIndef => {
                let mut text = String::new();
                for part in reader.str_iter()? {
                    text.push_str(part?);
                }
                return visitor.visit_string(text);
            }
            Type::Bytes => return visitor.visit_borrowed_bytes(reader.bytes()?),
            Type::BytesIndef => {
                let mut bytes = Vec::new();
                for part in reader.bytes_iter()? {
                    bytes.extend_from_slice(part?);
                }
                return visitor.visit_byte_buf(bytes);
            }
            Type::Array | Type::ArrayIndef => {
                let left = reader.array()?;
                return visitor.visit_seq(Items { reader: self, left });
            }
            Type::Map | Type::MapIndef => {
                let left = reader.map()?;
                return visitor.visit_map(Items { reader: self, left });
            }
            Type::Simple => {
                let number = reader.simple()?;
                return Err(NotCbor(format!("it has the simple value {number}, which means nothing")));
            }
            Type::Tag | Type::Break | Type::Unknown(_) => {
                return Err(NotCbor(format!("it has {kind} where a value should be")));
            }
        };
        // What is no number is no value, as `nan` is.
        match number {
            Some(number) => visitor.visit_f64(number),
            None => visitor.visit_unit(),
        }
    }

    /// Without recursion, however deeply it is nested.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotCbor> {
        self.0.skip()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier
    }
}

/// The items of a list or map.
struct Items<'r, 'b> {
    reader: &'r mut Reader<'b>,
    /// How many are left; `None` when a mark ends them.
    left: Option<u64>,
}

impl<'b> SeqAccess<'b> for Items<'_, 'b> {
    type Error = NotCbor;

    fn next_element_seed<T: DeserializeSeed<'b>>(&mut self, seed: T) -> Result<Option<T::Value>, NotCbor> {
        if self.reader.has_more(&mut self.left)? {
            seed.deserialize(&mut *self.reader).map(Some)
        } else {
            Ok(None)
        }
    }
}

impl<'b> MapAccess<'b> for Items<'_, 'b> {
    type Error = NotCbor;

    fn next_key_seed<K: DeserializeSeed<'b>>(&mut self, seed: K) -> Result<Option<K::Value>, NotCbor> {
        if self.reader.has_more(&mut self.left)? {
            seed.deserialize(&mut *self.reader).map(Some)
        } else {
            Ok(None)
        }
    }

    fn next_value_seed<T: DeserializeSeed<'b>>(&mut self, seed: T) -> Result<T::Value, NotCbor> {
        seed.deserialize(&mut *self.reader)
    }
}
