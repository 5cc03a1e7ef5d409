//! Rows of a JSON-lines file: an object a line, sent as it is but for its time.
//!
//! Names stay as they are: they are the device's own. The time becomes `ts` in milliseconds.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use model::limit::JSON_BYTES_MAX;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::csv_rows::shown;
use super::payload::Payload;
use super::rows::{BadRow, Item, Reading, Row, TIME_NAMES};
use super::times::Times;

pub(super) struct JsonRows<R> {
    input: BufReader<R>,
    line: u64,
    text: Vec<u8>,
    times: Times,
    time: Option<String>,
}

impl<R: Read> JsonRows<R> {
    pub(super) fn open(input: R, reading: &Reading) -> Self {
        Self {
            input: BufReader::new(input),
            line: 0,
            text: Vec::new(),
            times: Times::new(reading.zone.clone()),
            time: reading.time.clone(),
        }
    }

    pub(super) fn next(&mut self) -> Option<Item> {
        loop {
            let fits = match self.read_line() {
                Ok(None) => return None,
                Ok(Some(fits)) => fits,
                Err(error) => return Some(Err(error)),
            };
            self.line += 1;
            let line = self.line;
            if !fits {
                let why = format!("it has more than {JSON_BYTES_MAX} bytes, the most that is decoded");
                return Some(Ok(Err(BadRow { line, why })));
            }
            if !self.text.trim_ascii().is_empty() {
                return Some(Ok(self.row(line).map_err(|why| BadRow { line, why })));
            }
        }
    }

    /// Reads a line; `Some(false)`: it was too long and was passed over.
    fn read_line(&mut self) -> io::Result<Option<bool>> {
        self.text.clear();
        let bytes_max = JSON_BYTES_MAX as u64 + 1;
        if self.input.by_ref().take(bytes_max).read_until(b'\n', &mut self.text)? == 0 {
            return Ok(None);
        }
        if self.text.len() as u64 == bytes_max && self.text.last() != Some(&b'\n') {
            self.input.skip_until(b'\n')?;
            return Ok(Some(false));
        }
        Ok(Some(true))
    }

    fn row(&mut self, line: u64) -> Result<Row, String> {
        let text = std::str::from_utf8(&self.text).map_err(|_| "it is not UTF-8")?;
        let fields: Fields<'_> =
            serde_json::from_str(text).map_err(|error| format!("it is no JSON object: {error}"))?;
        let fields = fields.0;
        let at = match &self.time {
            Some(name) => {
                let at = fields.iter().position(|(field, _)| field == name);
                at.ok_or_else(|| format!("it has no field `{name}`"))?
            }
            None => find_time(&fields, &self.times).ok_or("no field holds a time: name it with --time")?,
        };
        let (name, value) = &fields[at];
        let text = as_text(value);
        let time = self
            .times
            .read(&text)
            .ok_or_else(|| format!("`{}` in field `{name}` is no time", shown(&text)))?;
        let mut payload = Payload::new(time);
        for (_, (name, value)) in fields.iter().enumerate().filter(|(n, _)| *n != at) {
            if name.eq_ignore_ascii_case("ts") {
                return Err(format!(
                    "it has a field `{name}` beside its time: name the one that counts with --time"
                ));
            }
            payload.raw(name, value.get());
        }
        let payload = payload.finish().ok_or("it has no value beside its time")?;
        Ok(Row { line, time, payload })
    }
}

fn find_time(fields: &[(String, &RawValue)], times: &Times) -> Option<usize> {
    let is_time = |at: &usize| times.peek(&as_text(fields[*at].1)).is_some();
    let named = |name: &&str| fields.iter().position(|(field, _)| field.eq_ignore_ascii_case(name));
    TIME_NAMES.iter().filter_map(named).find(is_time).or_else(|| (0..fields.len()).find(is_time))
}

/// A string without its quotes, anything else as it is written.
fn as_text(value: &RawValue) -> String {
    serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned())
}

/// The fields of an object in their order, their values as they are written.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

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
