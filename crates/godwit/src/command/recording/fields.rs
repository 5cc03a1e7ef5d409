//! The fields of a JSON object in their order, each value as it is written: digits stay as they are; and which of them is
//! the time.

use std::fmt;

use model::Timestamp;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::TIME_NAMES;
use super::cells::shown;
use super::times::Times;

/// A string without its quotes, anything else as it is written.
pub(crate) fn as_text(value: &RawValue) -> String {
    serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned())
}

/// The fields of an object in their order, their values as they are written.
pub(crate) struct Fields<'a>(pub(crate) Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Reads a line.
    pub(crate) fn of_line(line: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8")?;
        serde_json::from_str(text).map_err(|error| format!("it is no JSON object: {error}"))
    }

    /// Where the field `name` stands.
    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(field, _)| field == name)
    }

    /// Where the time stands, and what it is: in the field that is `wanted`, else in the first with a usual name, else in
    /// the first that holds one.
    pub(crate) fn time(&self, wanted: Option<&str>, times: &mut Times) -> Result<(usize, Timestamp), String> {
        let at = match wanted {
            Some(name) => self.place(name).ok_or_else(|| format!("it has no field `{name}`"))?,
            None => self.find_time(times).ok_or("no field holds a time: name it with --time")?,
        };
        let (name, value) = &self.0[at];
        let text = as_text(value);
        let time =
            times.read(&text).ok_or_else(|| format!("`{}` in field `{name}` is no time", shown(&text)))?;
        Ok((at, time))
    }

    /// Refuses a further field called `ts`: that is the time's name in the message.
    pub(crate) fn refuse_second_time(&self, time_at: usize) -> Result<(), String> {
        let is_second =
            |(at, (name, _)): &(usize, &(String, _))| *at != time_at && name.eq_ignore_ascii_case("ts");
        match self.0.iter().enumerate().find(is_second) {
            None => Ok(()),
            Some((_, (name, _))) => {
                Err(format!("it has a field `{name}` beside its time: name the one that counts with --time"))
            }
        }
    }

    fn find_time(&self, times: &Times) -> Option<usize> {
        let is_time = |at: &usize| times.peek(&as_text(self.0[*at].1)).is_some();
        let named = |name: &&str| self.0.iter().position(|(field, _)| field.eq_ignore_ascii_case(name));
        let by_name = TIME_NAMES.iter().filter_map(named).find(is_time);
        by_name.or_else(|| (0..self.0.len()).find(is_time))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(InOrder).map(Fields)
    }
}
