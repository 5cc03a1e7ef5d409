//! Rows gathered into messages: a list of samples of one device, as large as one message may be.
//!
//! Rows of many devices may be mixed in a file: each device has a batch of its own that grows. Not here: sending. The
//! laws: rows of one device leave in the file's order; when a batch leaves, it is known up to which line everything
//! has left.

use std::collections::{BTreeMap, HashMap};

use model::limit::MESSAGE_READINGS_MAX;
use model::{DeviceName, Timestamp};

use crate::command::recording::times::millis;

/// Most bytes of a message: a quarter of the packet that servers take by default, so that many are on their way.
const BATCH_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of all batches that grow.
const OPEN_BYTES_MAX: usize = 32 << 20;
/// Most rows that a batch may be behind: what an interruption sends again.
const OPEN_ROWS_MAX: u64 = 200_000;

/// A message's worth of rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) device: DeviceName,
    /// A JSON list.
    pub(super) payload: String,
    /// When this has arrived and all before it, every line up to here has.
    pub(super) done: u64,
}

struct Open {
    payload: String,
    /// No more than so many readings.
    readings: usize,
    /// Time of the last sample.
    time: Timestamp,
    first_line: u64,
}

/// The batches that grow.
#[derive(Default)]
pub(super) struct Batches {
    open: HashMap<DeviceName, Open>,
    /// By the line of their first row.
    order: BTreeMap<u64, DeviceName>,
    bytes: usize,
    /// The last line that was added.
    line: u64,
}

impl Batches {
    /// Adds a row, and gives the batches that are full now. `fields` are members of a JSON object, `readings` at most
    /// as many as they make.
    pub(super) fn add(
        &mut self,
        line: u64,
        device: &DeviceName,
        time: Timestamp,
        fields: &str,
        readings: usize,
        out: &mut Vec<Batch>,
    ) {
        self.line = line.saturating_sub(1);
        if let Some(open) = self.open.get(device)
            && (open.readings + readings > MESSAGE_READINGS_MAX
                || open.payload.len() + fields.len() + 32 > BATCH_BYTES_MAX)
        {
            let first_line = open.first_line;
            out.extend(self.close(first_line));
        }
        match self.open.get_mut(device) {
            Some(open) => {
                let before = open.payload.len();
                if open.time == time {
                    // The same sample goes on.
                    open.payload.pop();
                    open.payload.push(',');
                } else {
                    open.payload.push(',');
                    begin(&mut open.payload, time);
                    open.time = time;
                }
                open.payload.push_str(fields);
                open.payload.push('}');
                open.readings += readings;
                self.bytes += open.payload.len() - before;
            }
            None => {
                let mut payload = String::from("[");
                begin(&mut payload, time);
                payload.push_str(fields);
                payload.push('}');
                self.bytes += payload.len();
                self.open.insert(device.clone(), Open { payload, readings, time, first_line: line });
                self.order.insert(line, device.clone());
            }
        }
        self.line = line;
        while let Some((&oldest, _)) = self.order.first_key_value()
            && (self.bytes > OPEN_BYTES_MAX || line - oldest > OPEN_ROWS_MAX)
        {
            out.extend(self.close(oldest));
        }
    }

    /// Gives all batches, the oldest first: the file is at its end.
    pub(super) fn finish(&mut self, out: &mut Vec<Batch>) {
        while let Some((&oldest, _)) = self.order.first_key_value() {
            out.extend(self.close(oldest));
        }
    }

    fn close(&mut self, first_line: u64) -> Option<Batch> {
        let device = self.order.remove(&first_line)?;
        let mut open = self.open.remove(&device)?;
        self.bytes -= open.payload.len();
        open.payload.push(']');
        let oldest_left = self.order.first_key_value().map(|(line, _)| line - 1);
        Some(Batch { device, payload: open.payload, done: oldest_left.unwrap_or(self.line).min(self.line) })
    }
}

fn begin(payload: &mut String, time: Timestamp) {
    payload.push_str("{\"ts\":");
    payload.push_str(&millis(time));
    payload.push(',');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> DeviceName {
        DeviceName::parse(name.to_owned()).expect("a name")
    }

    fn add(batches: &mut Batches, line: u64, name: &str, ms: i64, fields: &str) -> Vec<Batch> {
        let mut out = Vec::new();
        let readings = fields.split(',').count();
        batches.add(line, &device(name), Timestamp::from_micros(ms * 1_000), fields, readings, &mut out);
        out
    }

    fn finish(batches: &mut Batches) -> Vec<(String, String, u64)> {
        let mut out = Vec::new();
        batches.finish(&mut out);
        out.into_iter().map(|batch| (batch.device.to_string(), batch.payload, batch.done)).collect()
    }

    #[test]
    fn readings_of_one_time_are_one_sample_and_devices_are_apart() {
        let mut batches = Batches::default();
        for (line, name, ms, fields) in [
            (2, "a", 1_000, r#""x":1"#),
            (3, "a", 1_000, r#""y":2"#),
            (4, "b", 1_000, r#""x":3"#),
            (5, "a", 2_000, r#""x":4"#),
        ] {
            assert_eq!(add(&mut batches, line, name, ms, fields), []);
        }
        let text = |text: &str| text.to_owned();
        assert_eq!(
            finish(&mut batches),
            [
                (text("a"), text(r#"[{"ts":1000,"x":1,"y":2},{"ts":2000,"x":4}]"#), 3),
                (text("b"), text(r#"[{"ts":1000,"x":3}]"#), 5),
            ],
            "when `a` has left, `b` still holds line 4 back"
        );
    }

    #[test]
    fn a_batch_is_no_larger_than_a_message_may_be() {
        let mut batches = Batches::default();
        let mut left = Vec::new();
        for line in 1..=2_500 {
            left.extend(add(&mut batches, line, "a", line as i64 * 1_000, r#""x":1"#));
        }
        assert_eq!(left.iter().map(|batch| batch.done).collect::<Vec<_>>(), [1_000, 2_000]);
        assert!(left.iter().all(|batch| batch.payload.matches("ts").count() == MESSAGE_READINGS_MAX));
        let text = format!(r#""x":"{}""#, "y".repeat(BATCH_BYTES_MAX - 100));
        assert_eq!(add(&mut batches, 2_501, "a", 9_000_000, &text).len(), 1, "bytes are bounded too");
    }

    #[test]
    fn a_device_that_is_rare_does_not_hold_back_what_is_known_to_have_left() {
        let mut batches = Batches::default();
        assert_eq!(add(&mut batches, 1, "rare", 1_000, r#""x":1"#), []);
        let mut left = Vec::new();
        for line in 2..=OPEN_ROWS_MAX + 2 {
            left.extend(add(&mut batches, line, "often", line as i64 * 1_000, r#""x":1"#));
        }
        let rare = left.iter().find(|batch| batch.device.as_str() == "rare").expect("it had to leave");
        assert!(rare.done >= OPEN_ROWS_MAX - 1_000, "{}", rare.done);
        assert!(left[0].done == 0, "until then nothing was known to have left");
    }
}
