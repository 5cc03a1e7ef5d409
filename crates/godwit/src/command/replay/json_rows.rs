//! Rows of a JSON-lines file: an object a line, sent as it is but for its time.
//!
//! Names stay as they are: they are the device's own. The time becomes `ts` in milliseconds.

use std::io::Read;

use super::rows::{BadRow, Item, Reading, Row};
use crate::command::recording::fields::Fields;
use crate::command::recording::lines::{Lines, too_long};
use crate::command::recording::payload::Payload;
use crate::command::recording::times::Times;

pub(crate) struct JsonRows<R> {
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
        let fields = Fields::of_line(self.lines.text())?;
        let (at, time) = fields.time(self.time.as_deref(), &mut self.times)?;
        fields.refuse_second_time(at)?;
        let mut payload = Payload::new(time);
        for (_, (name, value)) in fields.0.iter().enumerate().filter(|(n, _)| *n != at) {
            payload.raw(name, value.get());
        }
        let payload = payload.finish().ok_or("it has no value beside its time")?;
        Ok(Row { line, time, payload })
    }
}
