//! The newest reading of every channel of every device, by its time: answers "what is it now?" without a scan.
//!
//! A cache: made anew at start from the file that was written beside a manifest and from what is newer. Not here:
//! older readings. The law: newest is by the time of the reading, never by arrival; of the same time the last write, of a
//! channel that appends the last in the order of [`conflict::order`].

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Builder, Int32Builder, RecordBatch, StringViewBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{
    DataType, Field, Float64Type, Int32Type, Schema, SchemaRef, TimestampMicrosecondType,
};
use bytestring::ByteString;
use hashbrown::HashMap;
use model::{Channels, DeviceName, Flags, Sample, Timestamp, Unit};

use crate::conflict;
use crate::pace::Pace;
use crate::schema;

/// One channel's newest reading.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Newest {
    channel: ByteString,
    time: i64,
    value: Option<f64>,
    text: Option<ByteString>,
    flags: u16,
    received_ms: i64,
    pace: Pace,
    /// Its unit, as its device told it last.
    unit: Option<Arc<str>>,
}

/// What is known of a channel of a device from its newest readings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Known {
    pub device: DeviceName,
    pub channel: ByteString,
    /// The usual time between two readings, in microseconds.
    pub interval: Option<i64>,
    /// Whether the newest is a number.
    pub is_number: bool,
    /// Its unit in UCUM, as its device told it last.
    pub unit: Option<Arc<str>>,
}

/// The newest readings.
#[derive(Debug, Default)]
pub(crate) struct Latest {
    devices: HashMap<DeviceName, Vec<Newest>>,
    channels: usize,
    /// How many channels got a unit since the start.
    units: u64,
}

/// The column that the file of newest readings has beside those of the table; files of earlier versions lack it.
const UNIT: &str = "unit";

/// Columns of the table `latest`, and with [`UNIT`] of its file.
pub(crate) fn latest_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("device", DataType::Utf8View, false),
        Field::new("channel", DataType::Utf8View, false),
        Field::new("time", schema::timestamp(), false),
        Field::new("value", DataType::Float64, true),
        Field::new("text", DataType::Utf8View, true),
        Field::new("flags", DataType::Int32, false),
        Field::new("received_at", schema::timestamp(), false),
    ]))
}

impl Latest {
    /// Channels over all devices.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// How many devices.
    pub(crate) fn devices(&self) -> usize {
        self.devices.len()
    }

    /// The newest time that a device sent: a time of receipt tells nothing of its clock.
    pub(crate) fn newest(&self, device: &str) -> Option<Timestamp> {
        let newest = self
            .devices
            .get(device)?
            .iter()
            .filter(|newest| newest.flags & Flags::RECEIPT_TIME.bits() == 0)
            .map(|newest| newest.time)
            .max()?;
        Some(Timestamp::from_micros(newest))
    }

    /// Whether every reading of `sample` is a newest one, with its time and value.
    pub(crate) fn holds(&self, sample: &Sample) -> bool {
        let Some(channels) = self.devices.get(sample.device.as_str()) else { return false };
        sample.readings.iter().all(|reading| {
            let place = channels.binary_search_by(|known| (*known.channel).cmp(&reading.channel));
            place.is_ok_and(|place| {
                let known = &channels[place];
                known.time == sample.time.micros()
                    && known.value.map(f64::to_bits)
                        == reading.value.number().map(|number| (number + 0.0).to_bits())
                    && known.text.as_ref() == reading.value.text()
            })
        })
    }

    /// Takes the readings out of `sample` whose channels would be more than `channels_max` of their device, those that
    /// are known `beside` included. Returns how many they are.
    pub(crate) fn bound(&self, beside: Option<&Self>, sample: &mut Sample, channels_max: usize) -> u64 {
        let (own, others) =
            (self.of(&sample.device), beside.map_or(&[][..], |other| other.of(&sample.device)));
        let before = sample.readings.len();
        if own.len() + others.len() + before <= channels_max {
            return 0;
        }
        let is_among = |known: &[Newest], channel: &str| {
            known.binary_search_by(|known| (*known.channel).cmp(channel)).is_ok()
        };
        let known = own.len() + others.iter().filter(|other| !is_among(own, &other.channel)).count();
        let mut room = channels_max.saturating_sub(known);
        sample.readings.retain(|reading| {
            let is_known = is_among(own, &reading.channel) || is_among(others, &reading.channel);
            let fits = is_known || room > 0;
            room -= usize::from(fits && !is_known);
            fits
        });
        (before - sample.readings.len()) as u64
    }

    /// The channels of a device, by their names.
    fn of(&self, device: &str) -> &[Newest] {
        self.devices.get(device).map_or(&[][..], Vec::as_slice)
    }

    /// Takes in a sample, in the order of `seq`. Returns the places in it of readings that are a text where a number
    /// was, or the other way round; hardly ever any.
    pub(crate) fn put(&mut self, sample: &Sample, received_ms: i64, all: &Channels) -> Vec<usize> {
        let mut changed = Vec::new();
        if !self.devices.contains_key(sample.device.as_str()) {
            self.devices.insert(sample.device.clone(), Vec::with_capacity(sample.readings.len()));
        }
        let channels = self.devices.get_mut(sample.device.as_str()).expect("there or just made");
        let time = sample.time.micros();
        let mut guess = 0;
        for (n, reading) in sample.readings.iter().enumerate() {
            let value = reading.value.number().map(|number| number + 0.0);
            let text = reading.value.text();
            // A device sends its channels in the same order again and again.
            let place = match channels.get(guess) {
                Some(known) if *known.channel == *reading.channel => Ok(guess),
                _ => channels.binary_search_by(|known| (*known.channel).cmp(&reading.channel)),
            };
            let newest = || Newest {
                channel: ByteString::from(reading.channel.as_str()),
                time,
                value,
                text: text.cloned(),
                flags: sample.flags.bits(),
                received_ms,
                pace: Pace::default(),
                unit: None,
            };
            match place {
                Ok(place) => {
                    let known = &mut channels[place];
                    if known.value.is_some() != value.is_some() {
                        changed.push(n);
                    }
                    if time > known.time {
                        known.pace.learn(time.saturating_sub(known.time));
                        // The name stays; the rest is new.
                        (known.time, known.value, known.flags, known.received_ms) =
                            (time, value, sample.flags.bits(), received_ms);
                        known.text = text.cloned();
                    } else if time == known.time && known.gives_way((value, text.map(|text| &**text)), all) {
                        *known = Newest { pace: known.pace, unit: known.unit.take(), ..newest() };
                    }
                    guess = place + 1;
                }
                Err(place) => {
                    channels.insert(place, newest());
                    self.channels += 1;
                    guess = place + 1;
                }
            }
        }
        changed
    }

    /// Notes the units that came with `sample`, whose readings are in.
    pub(crate) fn say(&mut self, sample: &Sample, units: &[Unit]) {
        let Some(channels) = self.devices.get_mut(sample.device.as_str()) else { return };
        for Unit { channel, unit } in units {
            if !sample.readings.iter().any(|reading| reading.channel == *channel) {
                continue;
            }
            let place = channels.binary_search_by(|known| (*known.channel).cmp(channel));
            if let Some(known) = place.ok().map(|place| &mut channels[place])
                && known.unit.as_deref() != Some(&**unit)
            {
                self.units += u64::from(known.unit.is_none());
                known.unit = Some(Arc::from(&**unit));
            }
        }
    }

    /// How many channels got their first unit since the start: what a device says once, in its birth, is to be on disk
    /// soon.
    pub(crate) fn units(&self) -> u64 {
        self.units
    }

    /// Takes in rows of [`schema::readings`] or of [`latest_schema`].
    pub(crate) fn put_batch(&mut self, batch: &RecordBatch, all: &Channels) {
        let column = |name: &str| batch.column_by_name(name).expect("a column of both schemas");
        let (device, channel) = (column("device").as_string_view(), column("channel").as_string_view());
        let time = column("time").as_primitive::<TimestampMicrosecondType>();
        let value = column("value").as_primitive::<Float64Type>();
        let text = column("text").as_string_view();
        let flags = column("flags").as_primitive::<Int32Type>();
        let received = column("received_at").as_primitive::<TimestampMicrosecondType>();
        let unit = batch.column_by_name(UNIT).map(AsArray::as_string_view);
        for row in 0..batch.num_rows() {
            // Only valid names were ever stored.
            let Ok(name) = DeviceName::parse(device.value(row)) else { continue };
            let channels = self.devices.entry(name).or_default();
            let newest = || Newest {
                channel: ByteString::from(channel.value(row)),
                time: time.value(row),
                value: value.is_valid(row).then(|| value.value(row)),
                text: text.is_valid(row).then(|| ByteString::from(text.value(row))),
                flags: flags.value(row) as u16,
                received_ms: received.value(row).div_euclid(1_000),
                pace: Pace::default(),
                unit: unit.filter(|unit| unit.is_valid(row)).map(|unit| Arc::from(unit.value(row))),
            };
            match channels.binary_search_by(|known| (*known.channel).cmp(channel.value(row))) {
                Ok(place) => {
                    let known = &channels[place];
                    let is_newer = time.value(row) > known.time
                        || (time.value(row) == known.time
                            && (!all.find(&known.channel).appends()
                                || known.gives_way(conflict::said(value, text, row), all)));
                    if is_newer {
                        let mut pace = known.pace;
                        if time.value(row) > known.time {
                            pace.learn(time.value(row).saturating_sub(known.time));
                        }
                        let unit = channels[place].unit.take();
                        let newest = newest();
                        channels[place] = Newest { pace, unit: newest.unit.clone().or(unit), ..newest };
                    }
                }
                Err(place) => {
                    channels.insert(place, newest());
                    self.channels += 1;
                }
            }
        }
    }

    /// What is known of the channels of these devices, or of all, by device and channel.
    pub(crate) fn known(&self, devices: Option<&std::collections::BTreeSet<String>>) -> Vec<Known> {
        let mut known: Vec<Known> = Vec::new();
        for (device, channels) in &self.devices {
            if devices.is_some_and(|devices| !devices.contains(device.as_str())) {
                continue;
            }
            known.extend(channels.iter().map(|newest| Known {
                device: device.clone(),
                channel: newest.channel.clone(),
                interval: newest.pace.usual(),
                is_number: newest.value.is_some(),
                unit: newest.unit.clone(),
            }));
        }
        known.sort_unstable_by(|a, b| a.device.cmp(&b.device).then_with(|| a.channel.cmp(&b.channel)));
        known
    }

    /// The names of channels, over all devices, and the time of the newest reading of each.
    pub(crate) fn channel_names(&self) -> std::collections::BTreeMap<String, i64> {
        let mut names: HashMap<&str, i64> = HashMap::new();
        for newest in self.devices.values().flatten() {
            let known = names.entry(&*newest.channel).or_insert(newest.time);
            *known = newest.time.max(*known);
        }
        names.into_iter().map(|(name, time)| (name.to_owned(), time)).collect()
    }

    /// Everything, as its file holds it: the rows of the table, with the units that devices told.
    pub(crate) fn file(&self) -> RecordBatch {
        let rows = self.rows(None);
        let mut unit = StringViewBuilder::new().with_deduplicate_strings();
        for known in self.known(None) {
            unit.append_option(known.unit.as_deref());
        }
        let mut fields = rows.schema().fields().to_vec();
        fields.push(Arc::new(Field::new(UNIT, DataType::Utf8View, true)));
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(unit.finish()));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("both are by device and channel")
    }

    /// The rows of these devices, or of all, by device and channel.
    pub(crate) fn rows(&self, devices: Option<&std::collections::BTreeSet<String>>) -> RecordBatch {
        let mut chosen: Vec<(&str, &[Newest])> = match devices {
            Some(names) => names
                .iter()
                .filter_map(|name| Some((name.as_str(), self.devices.get(name.as_str())?.as_slice())))
                .collect(),
            None => self.devices.iter().map(|(name, rows)| (name.as_str(), rows.as_slice())).collect(),
        };
        chosen.sort_unstable_by_key(|(name, _)| *name);
        let names = || StringViewBuilder::new().with_deduplicate_strings();
        let (mut device, mut channel, mut text) = (names(), names(), StringViewBuilder::new());
        let moments = || TimestampMicrosecondBuilder::new().with_timezone("+00:00");
        let (mut time, mut received_at) = (moments(), moments());
        let (mut value, mut flags) = (Float64Builder::new(), Int32Builder::new());
        for (name, rows) in chosen {
            for newest in rows {
                device.append_value(name);
                channel.append_value(&newest.channel);
                time.append_value(newest.time);
                value.append_option(newest.value);
                text.append_option(newest.text.as_deref());
                flags.append_value(i32::from(newest.flags));
                received_at.append_value(newest.received_ms.saturating_mul(1_000));
            }
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(device.finish()),
            Arc::new(channel.finish()),
            Arc::new(time.finish()),
            Arc::new(value.finish()),
            Arc::new(text.finish()),
            Arc::new(flags.finish()),
            Arc::new(received_at.finish()),
        ];
        RecordBatch::try_new(latest_schema(), columns).expect("built for this schema")
    }
}

impl Newest {
    /// Whether another value of the same time takes its place.
    fn gives_way(&self, said: conflict::Said<'_>, all: &Channels) -> bool {
        let order = conflict::order((self.value, self.text.as_deref()), said);
        order.is_lt() || (order.is_gt() && !all.find(&self.channel).appends())
    }
}
