//! SenML (RFC 8428), as JSON or as CBOR, told apart by the first byte.
//!
//! A record's name is its base name and its own name. Where the route says `device = "payload(bn)"` the base name is
//! the device and the record's own name the channel; else the whole name is the channel, so that two things of one
//! gateway never meet on one channel. Times before 2^28 seconds are relative to receipt (section 4.5.3).
//!
//! The law: base values hold from their record on (section 4.1); a pack that says what this version cannot know is
//! refused, never half read.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::cbor::Reader;
use super::collect::{Collector, Scalar};
use super::json::{not_json, text};
use super::{DecodeError, Decoded, base64url, error};
use crate::device_time::{JudgedTime, SentTime};
use crate::limit::CBOR_BYTES_MAX;
use crate::route::Route;
use crate::{Flags, Message, Names, Notes, Timestamp};

/// Times below are relative to now, in seconds (section 4.5.3).
const RELATIVE_BELOW_S: f64 = 268_435_456.0;

/// The newest version of SenML that is known (section 4.4).
const VERSION_MAX: i64 = 10;

/// The channel of a record without a name of its own, where the base name is the device.
const NAMELESS: &str = "value";

pub(super) fn decode(route: &Route, message: &Message, names: &mut Names) -> Result<Decoded, DecodeError> {
    let payload = &message.payload;
    let by_name = route.device_rule().path().is_some();
    let out = Collector::new(route, message, names)?;
    let mut pack = Pack { out, by_name, base: Base::default(), at: None, records: 0, refusal: None };
    if payload.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        let mut parser = serde_json::Deserializer::from_str(text(payload)?);
        let read = Records(&mut pack).deserialize(&mut parser).and_then(|()| parser.end());
        read.map_err(|e| pack.refusal.take().unwrap_or_else(|| not_json(&e, "")))?;
    } else {
        if payload.len() > CBOR_BYTES_MAX {
            return Err(DecodeError::too_large("senml", payload.len(), CBOR_BYTES_MAX));
        }
        let mut reader = Reader::new(payload);
        let read = Records(&mut pack).deserialize(&mut reader).and_then(|()| reader.end());
        read.map_err(|e| {
            let not_cbor = || DecodeError::NotCbor {
                byte: reader.position(),
                field: String::new(),
                reason: e.to_string(),
            };
            pack.refusal.take().unwrap_or_else(not_cbor)
        })?;
    }
    pack.out.end_sample()?;
    Ok(pack.out.finish())
}

/// What base fields say, from their record on.
#[derive(Default)]
struct Base {
    name: String,
    time: f64,
    unit: String,
    value: Option<f64>,
    sum: Option<f64>,
}

struct Pack<'a> {
    out: Collector<'a>,
    /// Whether the base name is the device.
    by_name: bool,
    base: Base,
    /// The base name and time of the sample at hand.
    at: Option<(String, f64)>,
    records: usize,
    /// Why reading was broken off.
    refusal: Option<DecodeError>,
}

impl Pack<'_> {
    fn refused(&self, reason: impl Into<String>) -> DecodeError {
        DecodeError::NotSenml { record: Some(self.records), reason: reason.into() }
    }

    fn record(&mut self, record: Record) -> Result<(), DecodeError> {
        self.records += 1;
        if let Some(field) = &record.unknown {
            return Err(
                self.refused(format!("field `{}` must be understood and is not known", error::shown(field)))
            );
        }
        if let Some(version) = record.version.filter(|version| *version > VERSION_MAX) {
            return Err(self.refused(format!("version {version}; the newest known is {VERSION_MAX}")));
        }
        let base = &mut self.base;
        base.name = record.base_name.unwrap_or(std::mem::take(&mut base.name));
        base.time = record.base_time.unwrap_or(base.time);
        base.unit = record.base_unit.unwrap_or(std::mem::take(&mut base.unit));
        base.value = record.base_value.or(base.value);
        base.sum = record.base_sum.or(base.sum);
        let plus = |own: Option<f64>, base: Option<f64>| match (own, base) {
            (Some(own), Some(base)) => Some(own + base),
            (own, _) => own,
        };
        let values = [record.text.is_some(), record.flag.is_some(), record.data.is_some()];
        let others = values.iter().filter(|is_there| **is_there).count();
        // A base value alone is a value too, where the record has no other (section 4.5.4).
        let number = match (record.value, base.value, base.sum.or(record.sum)) {
            (None, Some(base), None) if others == 0 && record.name.is_some() => Some(base),
            (own, base, _) => plus(own, base),
        };
        let sum = plus(record.sum, base.sum);
        if others + usize::from(record.value.is_some()) > 1 {
            return Err(self.refused("more than one value"));
        }
        if number.is_none() && sum.is_none() && others == 0 {
            return Ok(());
        }
        let name = record.name.unwrap_or_default();
        if self.base.name.is_empty() && name.is_empty() {
            return Err(self.refused("it has no name"));
        }
        let time = self.base.time + record.time.unwrap_or(0.0);
        self.begin(time)?;
        let channel = match (self.by_name, name.is_empty()) {
            (true, true) => NAMELESS.to_owned(),
            (true, false) => name,
            (false, _) => format!("{}{name}", self.base.name),
        };
        let unit = record.unit.as_deref().unwrap_or(&self.base.unit).to_owned();
        if let Some(number) = number {
            self.value(&channel, Scalar::Float(number), ucum(&unit))?;
        } else if let Some(flag) = record.flag {
            self.value(&channel, Scalar::Bool(flag), None)?;
        } else if let Some(text) = record.text.or(record.data) {
            self.value(&channel, Scalar::Text(&text), None)?;
        }
        match sum {
            // A sum is of the unit times seconds.
            Some(sum) => self.value(&format!("{channel}.sum"), Scalar::Float(sum), None),
            None => Ok(()),
        }
    }

    /// Records of one thing and one time are one sample.
    fn begin(&mut self, time: f64) -> Result<(), DecodeError> {
        let is_same = self.at.as_ref().is_some_and(|(name, at)| {
            at.to_bits() == time.to_bits() && (!self.by_name || *name == self.base.name)
        });
        if is_same {
            return Ok(());
        }
        self.out.end_sample()?;
        self.at = Some((self.base.name.clone(), time));
        if self.by_name {
            self.out.set_device(self.base.name.trim_end_matches([':', '/', '-', '_', '.']));
        }
        if time >= RELATIVE_BELOW_S {
            self.out.set_time(SentTime::Number(time));
        } else if time != 0.0 && time.is_finite() {
            // Reckoned from receipt: a retry would have another time.
            let micros = (time * Timestamp::SECOND as f64) as i64;
            let time = self.out.message.received_at.plus_micros(micros);
            self.out.set_judged(JudgedTime { time, flags: Flags::RECEIPT_TIME, notes: Notes::empty() });
        }
        Ok(())
    }

    fn value(&mut self, channel: &str, scalar: Scalar<'_>, unit: Option<&str>) -> Result<(), DecodeError> {
        match unit {
            Some(unit) => self.out.put_with(channel, scalar, unit),
            None => self.out.put(channel, scalar),
        }
    }
}

/// A unit of the SenML registry (RFC 8428, section 12.1) as UCUM writes it; those that both write alike stay.
fn ucum(unit: &str) -> Option<&str> {
    Some(match unit {
        "" => return None,
        "%RH" | "%EL" => "%",
        "/" | "count" => "1",
        "lat" | "lon" => "deg",
        "pH" => "[pH]",
        "l" => "L",
        "l/s" => "L/s",
        "beat/min" | "1/min" => "/min",
        "1/s" => "/s",
        "dB" => "dB",
        "Bspl" => "B[SPL]",
        "EL" => "s",
        other => other,
    })
}

/// One record, with the fields of section 4.
#[derive(Default)]
struct Record {
    base_name: Option<String>,
    base_time: Option<f64>,
    base_unit: Option<String>,
    base_value: Option<f64>,
    base_sum: Option<f64>,
    version: Option<i64>,
    name: Option<String>,
    unit: Option<String>,
    value: Option<f64>,
    text: Option<String>,
    flag: Option<bool>,
    sum: Option<f64>,
    time: Option<f64>,
    data: Option<String>,
    /// A field that must be understood and is not.
    unknown: Option<String>,
}

/// Reads the list of records, one after the other.
struct Records<'p, 'a>(&'p mut Pack<'a>);

impl<'de> DeserializeSeed<'de> for Records<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Records<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of SenML records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(record) = seq.next_element_seed(OneRecord)? {
            if let Err(refusal) = self.0.record(record) {
                self.0.refusal = Some(refusal);
                return Err(de::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

struct OneRecord;

impl<'de> DeserializeSeed<'de> for OneRecord {
    type Value = Record;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Record, D::Error> {
        parser.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneRecord {
    type Value = Record;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a SenML record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record, A::Error> {
        let mut record = Record::default();
        while let Some(field) = map.next_key_seed(Label)? {
            match field {
                Field::BaseName => record.base_name = Some(map.next_value()?),
                Field::BaseTime => record.base_time = Some(map.next_value()?),
                Field::BaseUnit => record.base_unit = Some(map.next_value()?),
                Field::BaseValue => record.base_value = Some(map.next_value()?),
                Field::BaseSum => record.base_sum = Some(map.next_value()?),
                Field::Version => record.version = Some(map.next_value()?),
                Field::Name => record.name = Some(map.next_value()?),
                Field::Unit => record.unit = Some(map.next_value()?),
                Field::Value => record.value = Some(map.next_value()?),
                Field::Text => record.text = Some(map.next_value()?),
                Field::Flag => record.flag = Some(map.next_value()?),
                Field::Sum => record.sum = Some(map.next_value()?),
                Field::Time => record.time = Some(map.next_value()?),
                Field::Data => record.data = Some(map.next_value_seed(Data)?),
                Field::Other => drop(map.next_value::<IgnoredAny>()?),
                Field::Unknown(name) => {
                    record.unknown = Some(name);
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(record)
    }
}

enum Field {
    BaseName,
    BaseTime,
    BaseUnit,
    BaseValue,
    BaseSum,
    Version,
    Name,
    Unit,
    Value,
    Text,
    Flag,
    Sum,
    Time,
    Data,
    /// May be passed over.
    Other,
    /// Must not.
    Unknown(String),
}

/// A field's label: a name, or in CBOR a number (section 6, table 4).
struct Label;

impl<'de> DeserializeSeed<'de> for Label {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Field, D::Error> {
        parser.deserialize_any(self)
    }
}

impl Visitor<'_> for Label {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a label of SenML")
    }

    fn visit_i64<E: de::Error>(self, label: i64) -> Result<Field, E> {
        Ok(match label {
            -1 => Field::Version,
            -2 => Field::BaseName,
            -3 => Field::BaseTime,
            -4 => Field::BaseUnit,
            -5 => Field::BaseValue,
            -6 => Field::BaseSum,
            0 => Field::Name,
            1 => Field::Unit,
            2 => Field::Value,
            3 => Field::Text,
            4 => Field::Flag,
            5 => Field::Sum,
            6 => Field::Time,
            8 => Field::Data,
            _ => Field::Other,
        })
    }

    fn visit_u64<E: de::Error>(self, label: u64) -> Result<Field, E> {
        i64::try_from(label).map_or(Ok(Field::Other), |label| self.visit_i64(label))
    }

    fn visit_str<E>(self, label: &str) -> Result<Field, E> {
        Ok(match label {
            "bver" => Field::Version,
            "bn" => Field::BaseName,
            "bt" => Field::BaseTime,
            "bu" => Field::BaseUnit,
            "bv" => Field::BaseValue,
            "bs" => Field::BaseSum,
            "n" => Field::Name,
            "u" => Field::Unit,
            "v" => Field::Value,
            "vs" => Field::Text,
            "vb" => Field::Flag,
            "s" => Field::Sum,
            "t" => Field::Time,
            "vd" => Field::Data,
            other if other.ends_with('_') => Field::Unknown(other.to_owned()),
            _ => Field::Other,
        })
    }
}

/// A data value: base64url in JSON, bytes in CBOR; both are kept as the text.
struct Data;

impl<'de> DeserializeSeed<'de> for Data {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<String, D::Error> {
        parser.deserialize_any(self)
    }
}

impl Visitor<'_> for Data {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a data value")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<String, E> {
        Ok(base64url(bytes))
    }
}
