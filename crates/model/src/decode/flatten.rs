//! Objects and lists, flattened while they are read: no tree is built.
//!
//! A parser (`json`, `cbor`, or a tree that a preset looks into) drives a visitor, which joins names and hands every
//! scalar to the [`Collector`]. Not here: any syntax.

use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::collect::{Collector, Scalar};
use super::{DecodeError, Notes, base64url, error};
use crate::limit::JSON_DEPTH_MAX;

/// One pass over a payload.
pub(crate) struct Flattening<'a> {
    pub(crate) out: Collector<'a>,
    depth: usize,
    /// Whether scalars are taken from their text.
    by_text: bool,
    /// Whether a number came that may have been whole and too large for 64 bits.
    pub(super) lost_digits: bool,
    /// Why the pass was broken off, where it was not the parser's doing.
    pub(super) refusal: Option<DecodeError>,
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// It is the payload.
    Payload,
    /// It is an element of the list that is the payload.
    Listed,
    /// It is a field of a sample's own object.
    Top,
    /// It is a field further inside.
    Inner,
    /// It is an element of a list further inside.
    Element,
}

impl<'a> Flattening<'a> {
    pub(crate) fn new(out: Collector<'a>, by_text: bool) -> Self {
        Self { out, depth: 0, by_text, lost_digits: false, refusal: None }
    }

    /// Reads a payload: an object, or a list of objects. After an error, [`Self::refusal`] says why if it was not the
    /// parser's doing.
    pub(super) fn payload<'de, D: Deserializer<'de>>(&mut self, parser: D) -> Result<(), D::Error> {
        Node { pass: self, place: Place::Payload }.deserialize(parser)
    }

    /// Breaks off the pass.
    fn refuse<E: de::Error>(&mut self, refusal: DecodeError) -> E {
        self.refusal = Some(refusal);
        E::custom("refused")
    }

    fn scalar<E: de::Error>(&mut self, scalar: Scalar<'_>, place: Place) -> Result<(), E> {
        let taken = match place {
            Place::Payload | Place::Listed => Err(DecodeError::NotAnObject { found: found(scalar, place) }),
            Place::Top => self.out.scalar(scalar, true),
            Place::Inner | Place::Element => self.out.scalar(scalar, false),
        };
        taken.map_err(|refusal| self.refuse(refusal))
    }

    fn enter<E: de::Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth > JSON_DEPTH_MAX {
            let field = error::shown(&self.out.path);
            return Err(self.refuse(DecodeError::TooDeep { field }));
        }
        Ok(())
    }
}

/// What stands where an object should.
fn found(scalar: Scalar<'_>, place: Place) -> &'static str {
    if place == Place::Listed {
        return "a list of something else";
    }
    match scalar {
        Scalar::Bool(_) => "a boolean",
        Scalar::Text(_) => "a text",
        Scalar::Null => "null",
        _ => "a number",
    }
}

/// Reads one value.
struct Node<'n, 'a> {
    pass: &'n mut Flattening<'a>,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        if !self.pass.by_text {
            return parser.deserialize_any(self);
        }
        let text = <&RawValue>::deserialize(parser)?.get();
        if text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            // The first pass has found every number of the payload to be one.
            let number = text.parse().unwrap_or(f64::INFINITY);
            return self.pass.scalar(Scalar::Written(text, number), self.place);
        }
        serde_json::Deserializer::from_str(text).deserialize_any(self).map_err(de::Error::custom)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { pass, place } = self;
        if place == Place::Element && pass.out.is_list_of_samples() {
            pass.enter()?;
            let outer = pass.out.begin_element();
            let base = pass.out.path.len();
            while map.next_key_seed(Name { path: &mut pass.out.path, joined: true })?.is_some() {
                map.next_value_seed(Node { pass: &mut *pass, place: Place::Inner })?;
                pass.out.path.truncate(base);
            }
            pass.out.end_element(outer);
            pass.depth -= 1;
            return Ok(());
        }
        if place == Place::Element {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            pass.out.decoded.objects_skipped += 1;
            pass.out.decoded.notes |= Notes::OBJECTS_SKIPPED;
            return Ok(());
        }
        pass.enter()?;
        let is_sample = matches!(place, Place::Payload | Place::Listed);
        let inside = if is_sample { Place::Top } else { Place::Inner };
        let base = pass.out.path.len();
        while map.next_key_seed(Name { path: &mut pass.out.path, joined: !is_sample })?.is_some() {
            map.next_value_seed(Node { pass: &mut *pass, place: inside })?;
            pass.out.path.truncate(base);
        }
        pass.depth -= 1;
        if is_sample { pass.out.end_sample().map_err(|refusal| pass.refuse(refusal)) } else { Ok(()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { pass, place } = self;
        if place == Place::Listed {
            return Err(pass.refuse(DecodeError::NotAnObject { found: "a list of something else" }));
        }
        pass.enter()?;
        if place == Place::Payload {
            while seq.next_element_seed(Node { pass: &mut *pass, place: Place::Listed })?.is_some() {}
        } else {
            let base = pass.out.path.len();
            for n in 0_usize.. {
                // Writing to a `String` does not fail.
                let _ = write!(pass.out.path, ".{n}");
                if seq.next_element_seed(Node { pass: &mut *pass, place: Place::Element })?.is_none() {
                    break;
                }
                pass.out.path.truncate(base);
            }
            pass.out.path.truncate(base);
        }
        pass.depth -= 1;
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.pass.scalar(Scalar::Bool(value), self.place)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.pass.scalar(Scalar::Integer(value), self.place)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.pass.scalar(Scalar::Unsigned(value), self.place)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        // From here on whole numbers are too large for the parser's integers: it gives the nearest `f64`.
        const BEYOND_INTEGERS: f64 = 9_223_372_036_854_775_808.0;
        self.pass.lost_digits |= value.abs() >= BEYOND_INTEGERS;
        self.pass.scalar(Scalar::Float(value), self.place)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        self.pass.scalar(Scalar::Text(value), self.place)
    }

    /// Only CBOR has them: the text that RFC 8949, section 6.1, makes of them in JSON.
    fn visit_bytes<E: de::Error>(self, value: &[u8]) -> Result<(), E> {
        self.pass.scalar(Scalar::Text(&base64url(value)), self.place)
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.pass.scalar(Scalar::Null, self.place)
    }
}

/// Reads a name onto the end of the path.
struct Name<'p> {
    path: &'p mut String,
    joined: bool,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    /// Only CBOR has them.
    fn visit_i64<E: de::Error>(self, name: i64) -> Result<(), E> {
        self.visit_str(&name.to_string())
    }

    fn visit_u64<E: de::Error>(self, name: u64) -> Result<(), E> {
        self.visit_str(&name.to_string())
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<(), E> {
        if self.joined {
            self.path.push('.');
        }
        self.path.push_str(name);
        Ok(())
    }
}
