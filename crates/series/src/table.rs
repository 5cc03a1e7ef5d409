//! Readings that are in memory only: by device and channel, sorted by time, the last write of each kept.
//!
//! Not here: what is on disk (`files`), and who decides when it goes there (`store`). The laws: (device, channel,
//! time) occurs once; a later write of it replaces the earlier one; of a channel that appends, different values of one
//! time stand side by side in the order of [`conflict::order`], whatever order they came in; what is in order costs an
//! append.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Builder, Int32Builder, RecordBatch, StringViewBuilder, TimestampMicrosecondBuilder,
};
use bytestring::ByteString;
use hashbrown::HashMap;
use model::{ChannelName, Channels, DeviceName, Message, Sample, Timestamp, TopicName};

use crate::conflict;
use crate::rows::{Key, Row, Rows};
use crate::schema;

/// Rows per batch of a scan.
const BATCH_ROWS: usize = 8_192;

/// Out-of-order rows that a run gathers before they are sorted in: at least this many, else a quarter of the run,
/// so that a shuffled recording costs n log n and not n².
const LATE_ROWS_MIN: usize = 256;

/// What became of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Put {
    New,
    Repeated,
    Replaced,
}

/// What became of readings. Of those seen, the rest was stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Puts {
    /// All of them.
    pub seen: u64,
    /// The same was in memory.
    pub repeated: u64,
    /// Another value was in memory.
    pub replaced: u64,
}

impl Puts {
    fn count(&mut self, put: Put) {
        match put {
            Put::New => {}
            Put::Repeated => self.repeated += 1,
            Put::Replaced => self.replaced += 1,
        }
    }

    /// Adds what else was counted.
    pub(crate) fn add(&mut self, other: Self) {
        self.seen += other.seen;
        self.repeated += other.repeated;
        self.replaced += other.replaced;
    }
}

/// Which rows a scan may need. More may be returned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Only these devices.
    pub devices: Option<BTreeSet<String>>,
    /// Only these channels.
    pub channels: Option<BTreeSet<String>>,
    /// Not before this time in microseconds.
    pub from: Option<i64>,
    /// Not after it.
    pub to: Option<i64>,
}

impl Wanted {
    /// The times, both ends included.
    pub(crate) fn times(&self) -> RangeInclusive<i64> {
        self.from.unwrap_or(i64::MIN)..=self.to.unwrap_or(i64::MAX)
    }

    /// Whether rows between the two keys and times could be wanted.
    pub(crate) fn meets(&self, first: &Key, last: &Key, times: &RangeInclusive<i64>) -> bool {
        let devices = |devices: &BTreeSet<String>| {
            devices
                .range::<str, _>((
                    std::ops::Bound::Included(first.device.as_str()),
                    std::ops::Bound::Included(last.device.as_str()),
                ))
                .next()
                .is_some()
        };
        first.device <= last.device
            && self.devices.as_ref().is_none_or(devices)
            && *times.start() <= *self.times().end()
            && *self.times().start() <= *times.end()
    }
}

/// What one run holds of a reading.
#[derive(Debug, Clone)]
struct Held {
    time: i64,
    value: f64,
    received_ms: i64,
    topic: u32,
    /// Place of the text in the run's texts, or `NO_TEXT`.
    text: u32,
    flags: u16,
    has_value: bool,
}

const NO_TEXT: u32 = u32::MAX;

/// Readings of one channel of one device.
#[derive(Debug)]
struct Run {
    channel: ChannelName,
    /// Whether different values of one time stay.
    appends: bool,
    /// By time, ascending.
    rows: Vec<Held>,
    /// What came out of order and has none of its time in `rows`; in order of arrival.
    late: Vec<Held>,
    texts: Vec<ByteString>,
}

/// The channels of one device, by name.
#[derive(Debug, Default)]
struct Device {
    runs: Vec<Run>,
    /// The run after the one that was used last: a device sends its channels in the same order again and again.
    next: usize,
}

impl Device {
    fn run(&mut self, channel: &ChannelName, channels: &Channels) -> &mut Run {
        let guess = if self.next < self.runs.len() { self.next } else { 0 };
        let place = match self.runs.get(guess) {
            Some(run) if run.channel == *channel => guess,
            _ => match self.runs.binary_search_by(|run| run.channel.cmp(channel)) {
                Ok(place) => place,
                Err(place) => {
                    let run = Run {
                        channel: channel.clone(),
                        appends: channels.find(channel).appends(),
                        rows: Vec::new(),
                        late: Vec::new(),
                        texts: Vec::new(),
                    };
                    self.runs.insert(place, run);
                    place
                }
            },
        };
        self.next = place + 1;
        &mut self.runs[place]
    }
}

impl Run {
    fn put(&mut self, held: Held, text: Option<&ByteString>) -> Put {
        match self.rows.last() {
            Some(last) if held.time <= last.time => {
                let Ok(place) = self.rows.binary_search_by_key(&held.time, |row| row.time) else {
                    self.add_late(held, text);
                    return Put::New;
                };
                if self.appends {
                    return self.append(place, held, text);
                }
                self.replace(place, held, text)
            }
            _ => {
                let held = self.with_text(held, text);
                self.rows.push(held);
                Put::New
            }
        }
    }

    fn with_text(&mut self, mut held: Held, text: Option<&ByteString>) -> Held {
        held.text = match text {
            Some(text) => {
                self.texts.push(text.clone());
                u32::try_from(self.texts.len() - 1).expect("memory is bounded far below 2^32 rows")
            }
            None => NO_TEXT,
        };
        held
    }

    /// What `row` says, as conflicts compare it.
    fn said<'a>(&'a self, row: &Held) -> conflict::Said<'a> {
        let text = (row.text != NO_TEXT).then(|| &*self.texts[row.text as usize]);
        (row.has_value.then_some(row.value), text)
    }

    /// Keeps another value beside those of the same time, of which `place` is one.
    fn append(&mut self, place: usize, held: Held, text: Option<&ByteString>) -> Put {
        let said = (held.has_value.then_some(held.value), text.map(|text| &**text));
        let from = self.rows[..place].partition_point(|row| row.time < held.time);
        let mut same_time = self.rows[from..].iter().take_while(|row| row.time == held.time);
        if same_time.any(|row| conflict::order(self.said(row), said).is_eq()) {
            return Put::Repeated;
        }
        self.add_late(held, text);
        Put::New
    }

    fn replace(&mut self, place: usize, held: Held, text: Option<&ByteString>) -> Put {
        let said = (held.has_value.then_some(held.value), text.map(|text| &**text));
        if conflict::order(self.said(&self.rows[place]), said).is_eq() {
            return Put::Repeated;
        }
        let held = self.with_text(held, text);
        self.rows[place] = held;
        Put::Replaced
    }

    fn add_late(&mut self, held: Held, text: Option<&ByteString>) {
        let held = self.with_text(held, text);
        self.late.push(held);
    }

    fn is_ripe(&self) -> bool {
        self.late.len() >= LATE_ROWS_MIN.max(self.rows.len() / 4)
    }

    /// All rows by time.
    fn view(&self) -> Cow<'_, [Held]> {
        if self.late.is_empty() {
            return Cow::Borrowed(&self.rows);
        }
        let mut settled = Self {
            channel: self.channel.clone(),
            appends: self.appends,
            rows: self.rows.clone(),
            late: self.late.clone(),
            texts: self.texts.clone(),
        };
        settled.settle();
        Cow::Owned(settled.rows)
    }

    /// Sorts in what came out of order. Counts again what turns out to be a repeat or a replacement.
    fn settle(&mut self) -> Puts {
        let mut found = Puts::default();
        if self.late.is_empty() {
            return found;
        }
        let mut late = std::mem::take(&mut self.late);
        if self.appends {
            let order = |a: &Held, b: &Held| {
                a.time.cmp(&b.time).then_with(|| conflict::order(self.said(a), self.said(b)))
            };
            late.sort_by(order);
        } else {
            // Stable: of the same time, the last to arrive is the last.
            late.sort_by_key(|row| row.time);
        }
        let rows = std::mem::take(&mut self.rows);
        let mut merged: Vec<Held> = Vec::with_capacity(rows.len() + late.len());
        let mut rows = rows.into_iter().peekable();
        for held in late {
            let is_before = |row: &Held| {
                row.time < held.time
                    || (self.appends
                        && row.time == held.time
                        && conflict::order(self.said(row), self.said(&held)).is_le())
            };
            while let Some(row) = rows.next_if(is_before) {
                merged.push(row);
            }
            match merged.last_mut() {
                Some(last) if last.time == held.time => {
                    if conflict::order(self.said(last), self.said(&held)).is_eq() {
                        found.repeated += 1;
                    } else if self.appends {
                        merged.push(held);
                    } else {
                        found.replaced += 1;
                        *last = held;
                    }
                }
                _ => merged.push(held),
            }
        }
        merged.extend(rows);
        self.rows = merged;
        found
    }
}

/// What is in memory only.
#[derive(Debug, Default)]
pub(crate) struct Table {
    devices: HashMap<DeviceName, Device>,
    topics: Vec<TopicName>,
    topic_places: HashMap<TopicName, u32>,
    readings: usize,
    text_bytes: usize,
}

impl Table {
    /// Readings that are here. Those out of order may count twice until they are sorted in.
    pub(crate) fn readings(&self) -> usize {
        self.readings
    }

    /// Bytes of texts.
    pub(crate) fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Puts a sample here.
    pub(crate) fn put(&mut self, message: &Message, sample: &Sample, channels: &Channels) -> Puts {
        let mut puts = Puts { seen: sample.readings.len() as u64, ..Puts::default() };
        let topic = self.topic(&message.topic);
        let time = sample.time.micros();
        let received_ms = message.received_at.micros().div_euclid(1_000);
        if !self.devices.contains_key(sample.device.as_str()) {
            self.devices.insert(sample.device.clone(), Device::default());
        }
        let device = self.devices.get_mut(sample.device.as_str()).expect("there or just made");
        for reading in &sample.readings {
            let number = reading.value.number();
            let text = reading.value.text();
            let held = Held {
                time,
                // Adding zero turns -0.0 into 0.0 and changes nothing else.
                value: number.unwrap_or(0.0) + 0.0,
                received_ms,
                topic,
                text: NO_TEXT,
                flags: sample.flags.bits(),
                has_value: number.is_some(),
            };
            let run = device.run(&reading.channel, channels);
            let put = run.put(held, text);
            puts.count(put);
            if put != Put::Repeated {
                self.text_bytes += text.map_or(0, |text| text.len());
            }
            self.readings += usize::from(put == Put::New);
            if run.is_ripe() {
                let found = run.settle();
                self.readings -= (found.repeated + found.replaced) as usize;
                puts.add(found);
            }
        }
        puts
    }

    /// When the newest row of this identity was received, in milliseconds; `None` when there is none.
    pub(crate) fn received(&self, device: &str, channel: &str, time: i64) -> Option<i64> {
        let device = self.devices.get(device)?;
        let place = device.runs.binary_search_by(|run| run.channel.as_str().cmp(channel)).ok()?;
        let run = &device.runs[place];
        let late = run.late.iter().rev().find(|row| row.time == time);
        let row = || run.rows.binary_search_by_key(&time, |row| row.time).ok().map(|place| &run.rows[place]);
        late.or_else(row).map(|row| row.received_ms)
    }

    fn topic(&mut self, topic: &TopicName) -> u32 {
        if let Some(&place) = self.topic_places.get(topic) {
            return place;
        }
        let place = u32::try_from(self.topics.len()).expect("memory is bounded far below 2^32 topics");
        self.topics.push(topic.clone());
        self.topic_places.insert(topic.clone(), place);
        place
    }

    /// Sorts in everything that came out of order; what turned out to be no new reading.
    pub(crate) fn settle(&mut self) -> Puts {
        let mut found = Puts::default();
        for run in self.devices.values_mut().flat_map(|device| &mut device.runs) {
            found.add(run.settle());
        }
        self.readings -= (found.repeated + found.replaced) as usize;
        found
    }

    /// Calls `row` for every row that may be wanted, by (device, channel, time).
    fn visit(&self, wanted: &Wanted, mut visit: impl FnMut(&str, &str, Row<'_>)) {
        let mut devices: Vec<(&str, &Device)> = match &wanted.devices {
            Some(names) => names
                .iter()
                .filter_map(|name| Some((name.as_str(), self.devices.get(name.as_str())?)))
                .collect(),
            None => self.devices.iter().map(|(name, device)| (name.as_str(), device)).collect(),
        };
        devices.sort_unstable_by_key(|(name, _)| *name);
        let times = wanted.times();
        for (name, device) in devices {
            for run in &device.runs {
                if wanted.channels.as_ref().is_some_and(|wanted| !wanted.contains(run.channel.as_str())) {
                    continue;
                }
                let rows = run.view();
                let from = rows.partition_point(|row| row.time < *times.start());
                let to = rows.partition_point(|row| row.time <= *times.end());
                for held in &rows[from..to] {
                    let row = Row {
                        time: held.time,
                        value: held.has_value.then_some(held.value),
                        text: (held.text != NO_TEXT).then(|| &*run.texts[held.text as usize]),
                        flags: held.flags,
                        topic: &self.topics[held.topic as usize],
                        received_ms: held.received_ms,
                    };
                    visit(name, &run.channel, row);
                }
            }
        }
    }

    /// The rows that may be wanted, sorted by (device, channel, time), as batches of [`schema::readings`].
    pub(crate) fn scan(&self, wanted: &Wanted) -> Vec<RecordBatch> {
        let mut batches = Batches::default();
        self.visit(wanted, |device, channel, row| batches.push(device, channel, row));
        batches.finish()
    }

    /// Every row, by the day of its time, sorted within the day.
    pub(crate) fn by_day(&self) -> BTreeMap<i64, Rows> {
        let mut days: BTreeMap<i64, Rows> = BTreeMap::new();
        self.visit(&Wanted::default(), |device, channel, row| {
            days.entry(Timestamp::from_micros(row.time).day()).or_default().push(device, channel, row);
        });
        days
    }
}

/// Batches in the making.
pub(crate) struct Batches {
    time: TimestampMicrosecondBuilder,
    device: StringViewBuilder,
    channel: StringViewBuilder,
    value: Float64Builder,
    text: StringViewBuilder,
    flags: Int32Builder,
    topic: StringViewBuilder,
    received_at: TimestampMicrosecondBuilder,
    rows: usize,
    done: Vec<RecordBatch>,
}

impl Default for Batches {
    fn default() -> Self {
        // The same names come again and again: each is stored once per batch.
        let names = || StringViewBuilder::new().with_deduplicate_strings();
        Self {
            time: TimestampMicrosecondBuilder::new().with_timezone("+00:00"),
            device: names(),
            channel: names(),
            value: Float64Builder::new(),
            text: StringViewBuilder::new(),
            flags: Int32Builder::new(),
            topic: names(),
            received_at: TimestampMicrosecondBuilder::new().with_timezone("+00:00"),
            rows: 0,
            done: Vec::new(),
        }
    }
}

impl Batches {
    fn push(&mut self, device: &str, channel: &str, row: Row<'_>) {
        self.time.append_value(row.time);
        self.device.append_value(device);
        self.channel.append_value(channel);
        self.value.append_option(row.value);
        self.text.append_option(row.text);
        self.flags.append_value(i32::from(row.flags));
        self.topic.append_value(row.topic);
        self.received_at.append_value(row.received_ms.saturating_mul(1_000));
        self.rows += 1;
        if self.rows == BATCH_ROWS {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.time.finish()),
            Arc::new(self.device.finish()),
            Arc::new(self.channel.finish()),
            Arc::new(self.value.finish()),
            Arc::new(self.text.finish()),
            Arc::new(self.flags.finish()),
            Arc::new(self.topic.finish()),
            Arc::new(self.received_at.finish()),
        ];
        self.done.push(RecordBatch::try_new(schema::readings(), columns).expect("built for this schema"));
        self.rows = 0;
    }

    fn finish(mut self) -> Vec<RecordBatch> {
        if self.rows > 0 {
            self.cut();
        }
        self.done
    }
}
