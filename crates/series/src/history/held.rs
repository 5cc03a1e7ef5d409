//! The readings of one device's day, or of a stretch of time, on their way to be samples.
//!
//! Not here: where they are read (`history`). The laws: what is held is small (48 bytes a reading) and bounded, texts by their
//! bytes; a text that nobody asks for is not held; names are looked up where they change, not for every row; of two readings
//! of one channel, time and topic the later one counts.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, TimestampMicrosecondType};
use bytestring::ByteString;
use hashbrown::HashMap;
use model::{ChannelName, DeviceName, Flags, Reading, Sample, Timestamp, Value};

use super::{HeldMax, Past};
use crate::samples::StoredSample;
use crate::schema;
use crate::table::Wanted;

/// Most names of topics, and of channels, that are remembered; then it is begun anew.
const NAMES_MAX: usize = 100_000;

/// No text.
const NONE: u32 = u32::MAX;

/// A value that does not matter.
const NOTHING: u32 = u32::MAX - 1;

/// A reading; names and texts by their places.
#[derive(Clone, Copy)]
struct Row {
    time: i64,
    received: i64,
    /// NaN for a text: what is stored is finite.
    number: f64,
    device: u32,
    topic: u32,
    channel: u32,
    text: u32,
    flags: u16,
}

pub(super) struct Held {
    receipts: bool,
    /// The channels whose values matter; `None`: all.
    valued: Option<BTreeSet<String>>,
    most: HeldMax,
    rows: Vec<Row>,
    texts: Vec<ByteString>,
    text_bytes: usize,
    devices: Vec<DeviceName>,
    topics: Register<ByteString>,
    channels: Register<ChannelName>,
    /// The names of the last row.
    device: String,
    topic: (String, u32),
    /// `None`: not wanted.
    channel: (String, Option<Place>),
    /// Devices that were too much to be held by the day.
    passed_over: Vec<String>,
    /// Whether the last one is one of those.
    passes: bool,
    /// Those of one device and time that are handed out, by topic; the first `of_time`.
    samples: Vec<StoredSample>,
    of_time: usize,
}

/// Where a channel's name is, and whether its values matter.
#[derive(Clone, Copy)]
struct Place {
    of_name: u32,
    is_valued: bool,
}

/// Names with their places.
struct Register<T> {
    places: HashMap<Box<str>, u32>,
    names: Vec<T>,
}

impl<T> Register<T> {
    fn new() -> Self {
        Self { places: HashMap::new(), names: Vec::new() }
    }

    fn place<E>(&mut self, name: &str, make: impl FnOnce(&str) -> Result<T, E>) -> Result<u32, E> {
        if let Some(place) = self.places.get(name) {
            return Ok(*place);
        }
        let place = self.names.len() as u32;
        self.names.push(make(name)?);
        self.places.insert(name.into(), place);
        Ok(place)
    }
}

/// Takes what is held of a device.
pub(super) type HandOut<'a, E> = &'a mut dyn FnMut(&mut Held) -> Result<(), E>;

/// How much of what may be held is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// Less than a quarter: twice the time would be held with room to spare.
    Little,
    Much,
}

/// What is more than may be held.
pub(super) struct Dense {
    /// The device of which it was too much.
    pub(super) device: String,
    /// The bound, in words.
    pub(super) limit: String,
}

/// Why adding stopped.
pub(super) enum Halt<E> {
    /// More would have to be held than may be.
    Full(Dense),
    /// The one who was handed something said so.
    Other(E),
}

impl Held {
    pub(super) fn new(past: &Past) -> Self {
        Self {
            receipts: past.receipts,
            valued: past.valued.clone(),
            most: past.held_max,
            rows: Vec::new(),
            texts: Vec::new(),
            text_bytes: 0,
            devices: Vec::new(),
            topics: Register::new(),
            channels: Register::new(),
            device: String::new(),
            topic: (String::new(), 0),
            channel: (String::new(), None),
            passed_over: Vec::new(),
            passes: false,
            samples: Vec::new(),
            of_time: 0,
        }
    }

    /// The columns that it reads, as [`Self::add`] finds them.
    pub(super) fn columns(&self) -> Vec<usize> {
        let mut columns = vec![schema::DEVICE, schema::CHANNEL, schema::TIME, schema::TOPIC];
        if self.receipts {
            columns.extend([schema::RECEIVED_AT, schema::FLAGS]);
        }
        if self.reads_values() {
            columns.extend([schema::VALUE, schema::TEXT]);
        }
        columns
    }

    fn reads_values(&self) -> bool {
        self.valued.as_ref().is_none_or(|valued| !valued.is_empty())
    }

    /// How many readings are held.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn fill(&self) -> Fill {
        let is_little =
            self.rows.len() < self.most.readings / 4 && self.text_bytes <= self.most.text_bytes / 4;
        if is_little { Fill::Little } else { Fill::Much }
    }

    pub(super) fn clear(&mut self) {
        self.let_go();
        self.devices.clear();
        self.device.clear();
        self.passes = false;
        if self.topics.names.len() > NAMES_MAX || self.channels.names.len() > NAMES_MAX {
            (self.topics, self.channels) = (Register::new(), Register::new());
            (self.topic, self.channel) = ((String::new(), 0), (String::new(), None));
        }
    }

    fn let_go(&mut self) {
        self.rows.clear();
        self.texts.clear();
        self.text_bytes = 0;
    }

    /// The devices of which nothing was handed out since their day was too much: once.
    pub(super) fn passed_over(&mut self) -> Vec<String> {
        std::mem::take(&mut self.passed_over)
    }

    /// Takes in those rows of a batch that are wanted; before another device begins, calls `hand_out`, if it is given, and passes
    /// over a device of which more would have to be held than may be.
    pub(super) fn add<E>(
        &mut self,
        batch: &RecordBatch,
        wanted: &Wanted,
        mut hand_out: Option<HandOut<'_, E>>,
    ) -> Result<(), Halt<E>> {
        let device = batch.column(0).as_string_view();
        let channel = batch.column(1).as_string_view();
        let time = batch.column(2).as_primitive::<TimestampMicrosecondType>().values();
        let topic = batch.column(3).as_string_view();
        let received =
            self.receipts.then(|| batch.column(4).as_primitive::<TimestampMicrosecondType>().values());
        let flags = self.receipts.then(|| batch.column(5).as_primitive::<Int32Type>().values());
        let at = if self.receipts { 6 } else { 4 };
        let value = self.reads_values().then(|| batch.column(at).as_primitive::<Float64Type>());
        let text = self.reads_values().then(|| batch.column(at + 1).as_string_view());
        let text = text.filter(|text| text.null_count() < text.len());
        let times = wanted.times();
        for row in 0..batch.num_rows() {
            let name = device.value(row);
            if self.devices.is_empty() || self.device != name {
                if let Some(hand_out) = &mut hand_out
                    && !self.devices.is_empty()
                {
                    hand_out(self).map_err(Halt::Other)?;
                    self.clear();
                }
                self.begin(name);
            }
            if self.passes {
                continue;
            }
            let name = channel.value(row);
            if self.channel.0 != name || self.channels.names.is_empty() {
                self.meet_channel(name, wanted);
            }
            let Some(channel) = self.channel.1 else { continue };
            if !times.contains(&time[row]) {
                continue;
            }
            let name = topic.value(row);
            if self.topic.0 != name || self.topics.names.is_empty() {
                self.meet_topic(name);
            }
            let text =
                text.filter(|text| channel.is_valued && text.is_valid(row)).map(|text| text.value(row));
            if let Some(limit) = self.is_full(text) {
                if hand_out.is_none() {
                    return Err(Halt::Full(Dense { device: self.device.clone(), limit }));
                }
                self.let_go();
                self.passed_over.push(self.device.clone());
                self.passes = true;
                continue;
            }
            let (number, text) = match (text, value) {
                (text, Some(value)) if channel.is_valued => {
                    let number = if value.is_valid(row) { value.value(row) } else { f64::NAN };
                    (number, text.map_or(NONE, |text| self.keep(text.into())))
                }
                _ => (f64::NAN, NOTHING),
            };
            self.rows.push(Row {
                time: time[row],
                received: received.map_or(time[row], |received| received[row]),
                number,
                device: self.devices.len() as u32 - 1,
                topic: self.topic.1,
                channel: channel.of_name,
                text,
                flags: flags.map_or(0, |flags| u16::try_from(flags[row]).unwrap_or_default()),
            });
        }
        Ok(())
    }

    /// Which bound it would be, if this one more is too much.
    fn is_full(&self, text: Option<&str>) -> Option<String> {
        let HeldMax { readings, text_bytes } = self.most;
        if self.rows.len() >= readings {
            return Some(format!("{readings} readings"));
        }
        let text = text.filter(|text| self.text_bytes + text.len() > text_bytes);
        text.map(|_| format!("{text_bytes} bytes of texts"))
    }

    fn keep(&mut self, text: ByteString) -> u32 {
        self.text_bytes += text.len();
        self.texts.push(text);
        self.texts.len() as u32 - 1
    }

    fn begin(&mut self, name: &str) {
        self.passes = false;
        self.device.clear();
        self.device.push_str(name);
        // What is stored had a valid name when it was.
        self.devices.extend(DeviceName::sanitize(name));
    }

    #[cold]
    fn meet_channel(&mut self, name: &str, wanted: &Wanted) {
        name.clone_into(&mut self.channel.0);
        let is_wanted = wanted.channels.as_ref().is_none_or(|channels| channels.contains(name));
        let place = is_wanted.then(|| self.channels.place(name, |name| ChannelName::parse(name)));
        let is_valued = self.valued.as_ref().is_none_or(|valued| valued.contains(name));
        self.channel.1 = place.and_then(Result::ok).map(|of_name| Place { of_name, is_valued });
    }

    #[cold]
    fn meet_topic(&mut self, name: &str) {
        name.clone_into(&mut self.topic.0);
        let Ok(place) =
            self.topics.place(name, |name| Ok::<_, std::convert::Infallible>(ByteString::from(name)));
        self.topic.1 = place;
    }

    /// Hands out what is held, device and time by device and time in the order of time, and lets go of it.
    pub(super) fn hand_out(
        &mut self,
        take: &mut dyn FnMut(&[StoredSample]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut rows = std::mem::take(&mut self.rows);
        // Stable: of equals the one that was stored later stays later. A device's channels are runs in order: they are merged.
        rows.sort_by_key(|row| (row.time, row.device, row.topic));
        self.of_time = 0;
        let mut flow = ControlFlow::Continue(());
        for (at, row) in rows.iter().enumerate() {
            let before = at.checked_sub(1).map(|before| &rows[before]);
            match before.filter(|before| (before.time, before.device) == (row.time, row.device)) {
                Some(before) if before.topic == row.topic => self.put(row, before.channel == row.channel),
                Some(_) => self.begin_sample(row),
                None => {
                    if self.of_time > 0 {
                        flow = take(&self.samples[..self.of_time]);
                        if flow.is_break() {
                            break;
                        }
                    }
                    self.of_time = 0;
                    self.begin_sample(row);
                }
            }
        }
        if flow.is_continue() && self.of_time > 0 {
            flow = take(&self.samples[..self.of_time]);
        }
        self.rows = rows;
        self.let_go();
        flow
    }

    /// The next topic of a device and time begins with this reading.
    fn begin_sample(&mut self, row: &Row) {
        let device = &self.devices[row.device as usize];
        let topic = self.topics.names[row.topic as usize].clone();
        let time = Timestamp::from_micros(row.time);
        let received_at = Timestamp::from_micros(row.received);
        match self.samples.get_mut(self.of_time) {
            // What was made before is used again: no sample costs an allocation.
            Some(stored) => {
                if stored.sample.device != *device {
                    stored.sample.device = device.clone();
                }
                (stored.topic, stored.received_at, stored.sample.time) = (topic, received_at, time);
                stored.sample.flags = Flags::empty();
                stored.sample.readings.clear();
            }
            None => {
                let (device, flags) = (device.clone(), Flags::empty());
                let sample = Sample { device, time, flags, readings: Vec::new() };
                self.samples.push(StoredSample { topic, received_at, sample });
            }
        }
        self.of_time += 1;
        self.put(row, false);
    }

    /// Puts a reading into the sample that was begun last; in the place of the last one when it is of the same channel.
    fn put(&mut self, row: &Row, is_same_channel: bool) {
        let value = match self.texts.get(row.text as usize) {
            None if row.text == NOTHING => Value::Text(ByteString::new()),
            None => Value::Number(row.number),
            Some(text) if row.number.is_nan() => Value::Text(text.clone()),
            Some(text) => Value::BigInteger(row.number, text.clone()),
        };
        let stored = &mut self.samples[self.of_time - 1];
        stored.sample.flags |= Flags::from_bits_retain(row.flags);
        stored.received_at = stored.received_at.max(Timestamp::from_micros(row.received));
        match stored.sample.readings.last_mut().filter(|_| is_same_channel) {
            Some(same) => same.value = value,
            None => {
                let channel = self.channels.names[row.channel as usize].clone();
                stored.sample.readings.push(Reading { channel, value });
            }
        }
    }
}
