//! Rows of a JSON-lines file: an object a line, its fields the channels as they are called.
//!
//! An object with `channel` and `value` (or `text`) is one reading, as `godwit export --format jsonl` writes it. The
//! list that `godwit query --json` prints is read too: its brackets and the commas at the ends of its lines are
//! passed over.

use std::io::Read;

use model::{DeviceName, Names};

use super::csv_rows::put_either;
use super::row::{BadRow, DEVICE_NAMES, Item, Reading, Row, device};
use crate::command::recording::fields::{Fields, as_text};
use crate::command::recording::lines::{Lines, too_long};
use crate::command::recording::times::Times;

pub(super) struct JsonRows<R> {
    lines: Lines<R>,
    times: Times,
    names: Names,
    one: Option<DeviceName>,
    time: Option<String>,
    device: Option<String>,
    channel: Option<String>,
    value: Option<String>,
}

impl<R: Read> JsonRows<R> {
    pub(super) fn open(input: R, reading: &Reading) -> Self {
        Self {
            lines: Lines::open(input),
            times: Times::new(reading.zone.clone()),
            names: Names::new(),
            one: reading.device.clone(),
            time: reading.time.clone(),
            device: reading.device_column.clone(),
            channel: reading.channel_column.clone(),
            value: reading.value_column.clone(),
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
            let raw = self.lines.text().trim_ascii().to_vec();
            if self.lines.is_too_long() {
                return Some(Ok(Err(BadRow { line, why: too_long(), raw })));
            }
            let is_row = !matches!(&raw[..], b"" | b"[" | b"]");
            if is_row && !raw.starts_with(super::refused::REMARK.as_bytes()) {
                return Some(Ok(self.row(line, &raw).map_err(|why| BadRow { line, why, raw })));
            }
        }
    }

    fn row(&mut self, line: u64, raw: &[u8]) -> Result<Row, String> {
        let fields = Fields::of_line(raw.strip_suffix(b",").unwrap_or(raw))?;
        let (time_at, time) = fields.time(self.time.as_deref(), &mut self.times)?;
        let device_at =
            match (&self.one, &self.device) {
                (Some(_), _) => None,
                (None, Some(name)) => {
                    Some(fields.place(name).ok_or_else(|| format!("it has no field `{name}`"))?)
                }
                (None, None) => Some(DEVICE_NAMES.iter().find_map(|name| fields.place(name)).ok_or(
                    "no field names the device: name it with --device, or the one device with --as",
                )?),
            };
        let device = match (&self.one, device_at) {
            (Some(one), _) => one.clone(),
            (None, at) => device(&mut self.names, &as_text(fields.0[at.unwrap_or_default()].1))?,
        };
        let members = match self.long(&fields)? {
            Some(members) => members,
            None => {
                fields.refuse_second_time(time_at)?;
                wide(&fields, time_at, device_at)
            }
        };
        if members.is_empty() {
            return Err("it has no value beside its time".to_owned());
        }
        Ok(Row { line, device, time, fields: members, raw: raw.to_vec() })
    }

    /// The one member of an object that names its channel; `None` where it does not.
    fn long(&self, fields: &Fields<'_>) -> Result<Option<String>, String> {
        let is_asked = self.channel.is_some() || self.value.is_some();
        let channel = fields.place(self.channel.as_deref().unwrap_or("channel"));
        let value = fields.place(self.value.as_deref().unwrap_or("value"));
        let text = fields.place("text").filter(|_| self.value.is_none());
        let (Some(channel), true) = (channel, value.is_some() || text.is_some()) else {
            return if is_asked {
                Err("it has no field for the channel or the value".to_owned())
            } else {
                Ok(None)
            };
        };
        let channel = as_text(fields.0[channel].1);
        let given = |at: Option<usize>| at.map(|at| fields.0[at].1.get()).filter(|raw| *raw != "null");
        let mut members = String::new();
        match (given(value), given(text)) {
            (Some(value), None) => super::member(&mut members, &channel, value),
            (None, Some(text)) => super::member(&mut members, &channel, text),
            (Some(value), Some(_)) => {
                let digits = text.map(|at| as_text(fields.0[at].1)).unwrap_or_default();
                put_either(&mut members, &channel, value, &digits);
            }
            (None, None) => {}
        }
        Ok(Some(members))
    }
}

/// Every field but the time and the device.
fn wide(fields: &Fields<'_>, time_at: usize, device_at: Option<usize>) -> String {
    let mut members = String::new();
    for (at, (name, value)) in fields.0.iter().enumerate() {
        if at != time_at && Some(at) != device_at {
            super::member(&mut members, name, value.get());
        }
    }
    members
}
