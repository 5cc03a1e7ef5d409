//! Rows as plain vectors: what goes into one column file, sorted by (device, channel, time) and without duplicates.
//!
//! Made from memory by a flush and from merged batches by a compaction. Not here: how they are stored. The law: keys
//! ascend strictly from row to row; [`Rows::push`] is called in that order.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, TimestampMicrosecondType};
use bytestring::ByteString;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Identity of a reading.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    /// Whose.
    pub device: String,
    /// What.
    pub channel: String,
    /// When, in microseconds.
    pub time: i64,
}

/// One row without its device and channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Row<'a> {
    /// Microseconds.
    pub time: i64,
    /// The number, if it is one.
    pub value: Option<f64>,
    /// The text, if it has one.
    pub text: Option<&'a str>,
    /// Bits of [`model::Flags`].
    pub flags: u16,
    /// The topic it came on.
    pub topic: &'a str,
    /// Milliseconds.
    pub received_ms: i64,
}

/// Readings of one channel of one device, a stretch of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// Whose.
    pub device: ByteString,
    /// What.
    pub channel: ByteString,
    /// How many rows.
    pub rows: usize,
}

/// Sorted, unique rows.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Stretches of rows, in order.
    pub runs: Vec<Run>,
    /// Per row: microseconds.
    pub time: Vec<i64>,
    /// Per row: the number; 0 where there is none.
    pub value: Vec<f64>,
    /// Per row: whether there is a number.
    pub has_value: Vec<bool>,
    /// Per row: its text's place in [`Self::texts`], or `u32::MAX`.
    pub text: Vec<u32>,
    /// The texts, in order of rows.
    pub texts: Vec<String>,
    /// Per row.
    pub flags: Vec<u16>,
    /// Per row: its topic's place in [`Self::topics`].
    pub topic: Vec<u32>,
    /// The topics that occur.
    pub topics: Vec<ByteString>,
    /// Per row: milliseconds.
    pub received_ms: Vec<i64>,
    topic_places: HashMap<ByteString, u32>,
    text_bytes: usize,
}

/// A row that has no text.
pub(crate) const NO_TEXT: u32 = u32::MAX;

impl Rows {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.time.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.time.is_empty()
    }

    /// Bytes of all texts.
    pub(crate) fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Adds a row after all others.
    pub(crate) fn push(&mut self, device: &str, channel: &str, row: Row<'_>) {
        match self.runs.last_mut() {
            Some(run) if run.channel == channel && run.device == device => run.rows += 1,
            _ => self.runs.push(Run { device: device.into(), channel: channel.into(), rows: 1 }),
        }
        self.time.push(row.time);
        self.value.push(row.value.unwrap_or(0.0));
        self.has_value.push(row.value.is_some());
        self.text.push(
            row.text.map_or(NO_TEXT, |_| u32::try_from(self.texts.len()).expect("fewer rows than 2^32")),
        );
        if let Some(text) = row.text {
            self.text_bytes += text.len();
            self.texts.push(text.to_owned());
        }
        self.flags.push(row.flags);
        let topic = self.topic_place(row.topic);
        self.topic.push(topic);
        self.received_ms.push(row.received_ms);
    }

    fn topic_place(&mut self, topic: &str) -> u32 {
        // Rows of one run mostly share their topic.
        if let Some(&last) = self.topic.last()
            && self.topics[last as usize] == topic
        {
            return last;
        }
        if let Some(&place) = self.topic_places.get(topic) {
            return place;
        }
        let place = u32::try_from(self.topics.len()).expect("fewer topics than 2^32");
        let topic = ByteString::from(topic);
        self.topics.push(topic.clone());
        self.topic_places.insert(topic, place);
        place
    }

    /// Adds the rows of a batch in the schema of [`schema::readings`].
    pub(crate) fn push_batch(&mut self, batch: &RecordBatch) {
        for row in 0..batch.num_rows() {
            self.push_batch_row(batch, row);
        }
    }

    /// Adds one row of such a batch.
    pub(crate) fn push_batch_row(&mut self, batch: &RecordBatch, row: usize) {
        let column = |index: usize| batch.column(index);
        let text = column(schema::TEXT).as_string_view();
        let value = column(schema::VALUE).as_primitive::<Float64Type>();
        self.push(
            column(schema::DEVICE).as_string_view().value(row),
            column(schema::CHANNEL).as_string_view().value(row),
            Row {
                time: column(schema::TIME).as_primitive::<TimestampMicrosecondType>().value(row),
                value: value.is_valid(row).then(|| value.value(row)),
                text: text.is_valid(row).then(|| text.value(row)),
                // Only 16 bits were ever stored.
                flags: column(schema::FLAGS).as_primitive::<Int32Type>().value(row) as u16,
                topic: column(schema::TOPIC).as_string_view().value(row),
                received_ms: column(schema::RECEIVED_AT)
                    .as_primitive::<TimestampMicrosecondType>()
                    .value(row)
                    .div_euclid(1_000),
            },
        );
    }

    /// The first row's identity.
    pub(crate) fn first_key(&self) -> Option<Key> {
        let run = self.runs.first()?;
        Some(Key {
            device: run.device.to_string(),
            channel: run.channel.to_string(),
            time: *self.time.first()?,
        })
    }

    /// The last row's identity.
    pub(crate) fn last_key(&self) -> Option<Key> {
        let run = self.runs.last()?;
        Some(Key {
            device: run.device.to_string(),
            channel: run.channel.to_string(),
            time: *self.time.last()?,
        })
    }
}
