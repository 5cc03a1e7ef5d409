//! Rows of a JSON-lines file: an object a line, sent as it is but for its time.
//!
//! Names stay as they are: they are the device's own. The time becomes `ts` in milliseconds.

use std::io::Read;

use serde_json::value::RawValue;

use super::rows::{BadRow, Item, Reading, Row};
use crate::command::recording::TIME_NAMES;
use crate::command::recording::cells::shown;
use crate::command::recording::fields::{Fields, as_text};
use crate::command::recording::lines::{Lines, too_long};
use crate::command::recording::payload::Payload;
use crate::command::recording::times::Times;

pub(super) struct JsonRows<R> {
    lines: Lines<R>,
    times: Times,
    time: Option<String>,
}

impl<R: Read> JsonRows<R> {
    pub(super) fn open(input: R, reading: &Reading) -> Self {
        Self {
            lines: Lines::open(input),
            times: Times::new(reading.zone.clone()),
            time: reading.time.clone(),
        }
    }

    pub(super) fn next(&mut self) -> Option<Item> {
        loop {
            match self.lines.read() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
            let line = self.lines.number();
            if self.lines.is_too_long() {
                return Some(Ok(Err(BadRow { line, why: too_long() })));
            }
            if !self.lines.text().trim_ascii().is_empty() {
                return Some(Ok(self.row(line).map_err(|why| BadRow { line, why })));
            }
        }
    }

    fn row(&mut self, line: u64) -> Result<Row, String> {
        let text = std::str::from_utf8(self.lines.text()).map_err(|_| "it is not UTF-8")?;
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
