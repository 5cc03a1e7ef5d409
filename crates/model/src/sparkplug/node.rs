//! One edge node: what it and its devices told at birth, where its messages stand, and whether it is to be asked again.
//!
//! ```text
//!            NBIRTH                     NDEATH of the same bdSeq
//! unborn ─────────────→ born (devices: ───────────────────────→ unborn, its devices with it
//!   │                    unborn ⇄ born)
//!   └ data: a birth is wanted     └ a gap, an unknown alias, data of an unborn device: a birth is wanted
//! ```
//!
//! Not here: other nodes, and how much may be remembered (`state`). The laws: presence follows births and deaths alone, by
//! the time of receipt; a message is read by the birth it was sent after.

use std::collections::BTreeMap;

use bytestring::ByteString;

use super::heard::{Heard, HeardMetric};
use super::sequence::{Place, Sequence};
use super::table::{Known, Table};
use super::topic::MessageType;
use super::value::Became;
use super::{Noted, PRESENCE, REORDER_MICROS, Told};
use crate::decode::{Unit, keep_last};
use crate::limit::MESSAGE_READINGS_MAX;
use crate::{ChannelName, DeviceName, Flags, Reading, Sample, Timestamp, Value};

/// Shortest wait, in microseconds, between two requests to one node: 1 minute. It doubles with each that did not help.
const ASK_MICROS_MIN: i64 = 60 * Timestamp::SECOND;
/// How often the wait doubles: to 16 minutes.
const ASK_DOUBLINGS_MAX: u32 = 4;
/// After so long, in microseconds, without a request the wait is the shortest again: 1 hour.
const ASK_FORGET_MICROS: i64 = 3_600 * Timestamp::SECOND;

/// One edge node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// Whose readings its own metrics are.
    pub(super) name: DeviceName,
    /// Its last birth, while it lives.
    pub(super) birth: Option<Birth>,
    /// What presence says of it.
    pub(super) is_online: bool,
    /// When the newest of its messages was sent, by its clock.
    pub(super) sent_newest_ms: Option<u64>,
    pub(super) sequence: Sequence,
    /// Something came that no birth explains.
    pub(super) is_unclear: bool,
    pub(super) asked: Asked,
    /// When it was last heard.
    pub(super) heard_at: Timestamp,
    pub(super) table: Table,
    pub(super) devices: BTreeMap<ByteString, Device>,
}

/// A birth of a node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Birth {
    pub(super) bd_seq: Option<u64>,
    pub(super) sent_ms: Option<u64>,
    pub(super) received_at: Timestamp,
}

/// A device behind a node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Device {
    pub(super) name: DeviceName,
    /// Whether it was born since its node was.
    pub(super) is_born: bool,
    /// What presence says of it.
    pub(super) is_online: bool,
    /// When its last birth or death was sent, by its node's clock.
    pub(super) told_ms: Option<u64>,
    pub(super) table: Table,
}

/// The requests for births that were made.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Asked {
    pub(super) at: Option<Timestamp>,
    /// The one before it.
    pub(super) before: Option<Timestamp>,
    /// How many in a row.
    pub(super) times: u32,
}

impl Node {
    pub(super) fn new(name: DeviceName, heard_at: Timestamp) -> Self {
        Self {
            name,
            birth: None,
            is_online: false,
            sent_newest_ms: None,
            sequence: Sequence::default(),
            is_unclear: false,
            asked: Asked::default(),
            heard_at,
            table: Table::default(),
            devices: BTreeMap::new(),
        }
    }

    /// What is remembered of it: itself, its devices, and all metrics.
    pub(super) fn size(&self) -> usize {
        1 + self.table.len() + self.devices.values().map(|device| 1 + device.table.len()).sum::<usize>()
    }

    /// Whether a birth would help.
    pub(super) fn wants_birth(&self) -> bool {
        self.is_unclear || (self.birth.is_some() && self.sequence.has_gap())
    }

    /// Takes in a message; `room` is how much more may be remembered.
    pub(super) fn take(&mut self, heard: Heard, room: usize) -> Told {
        let mut tale = Tale::new(&heard);
        self.heard_at = heard.received_at;
        match heard.message_type {
            MessageType::NodeBirth => self.birth(heard, room, &mut tale),
            MessageType::NodeDeath => self.death(&heard, &mut tale),
            _ => self.in_life(heard, room, &mut tale),
        }
        tale.told()
    }

    fn birth(&mut self, heard: Heard, room: usize, tale: &mut Tale) {
        let birth = Birth { bd_seq: heard.bd_seq, sent_ms: heard.sent_ms, received_at: heard.received_at };
        // Nodes without a clock send one time always: only what comes close is the same.
        let is_same = |known: &Birth| {
            birth.received_at.micros_since(known.received_at).saturating_abs() <= REORDER_MICROS
                && known.sent_ms.is_some()
                && (known.sent_ms, known.bd_seq) == (birth.sent_ms, birth.bd_seq)
        };
        if self.birth.as_ref().is_some_and(is_same) {
            tale.noted |= Noted::AGAIN;
            return;
        }
        // Another bdSeq is another connection: the end of the one before was never told.
        let is_other_life = self.birth.as_ref().is_some_and(|known| known.bd_seq != birth.bd_seq);
        for device in self.devices.values_mut() {
            device.is_born = false;
            if is_other_life && std::mem::take(&mut device.is_online) {
                tale.presence(&device.name, false);
            }
        }
        self.name = heard.device;
        self.is_online = true;
        tale.presence(&self.name, true);
        let has_room = heard.metrics.len() <= self.table.len() + room;
        let table = tale.birth(&self.table, heard.metrics);
        self.is_unclear = false;
        self.sent_newest_ms = heard.sent_ms;
        self.sequence = Sequence::born(heard.seq.unwrap_or(0));
        self.birth = Some(birth);
        // Without room, what comes is read as far as it explains itself.
        self.table = if has_room { table } else { Table::default() };
        tale.noted.set(Noted::NO_ROOM, !has_room);
    }

    fn death(&mut self, heard: &Heard, tale: &mut Tale) {
        let is_of_birth = self.birth.as_ref().is_some_and(|birth| birth.bd_seq == heard.bd_seq);
        if !is_of_birth {
            tale.noted |= Noted::STALE_DEATH;
            return;
        }
        self.birth = None;
        self.is_unclear = false;
        for device in self.devices.values_mut() {
            device.is_born = false;
            if std::mem::take(&mut device.is_online) {
                tale.presence(&device.name, false);
            }
        }
        self.is_online = false;
        tale.presence(&self.name, false);
    }

    /// A message that belongs between a node's birth and its death.
    fn in_life(&mut self, heard: Heard, room: usize, tale: &mut Tale) {
        let Some(birth) = &self.birth else {
            tale.noted |= Noted::UNBORN;
            self.is_unclear = true;
            tale.data(None, heard.metrics);
            return;
        };
        let is_older = heard.sent_ms.is_none_or(|ms| self.sent_newest_ms.is_some_and(|newest| ms <= newest));
        let place = heard.seq.map_or(Place::Next, |seq| self.sequence.place(seq, is_older));
        if place != Place::Next && birth.is_after(&heard) {
            tale.noted |= Noted::BEFORE_BIRTH;
            return;
        }
        tale.noted |= match place {
            Place::Next => Noted::empty(),
            Place::After(_) => Noted::GAP,
            Place::Filled => Noted::OVERTAKEN,
            Place::Again => Noted::AGAIN,
        };
        if let Some(seq) = heard.seq {
            self.sequence.take(seq, place);
        }
        self.sent_newest_ms = self.sent_newest_ms.max(heard.sent_ms);
        if place == Place::Filled && !self.wants_birth() {
            self.asked.take_back(heard.received_at);
        }
        match heard.message_type {
            MessageType::DeviceBirth => self.device_birth(heard, place, room, tale),
            MessageType::DeviceDeath => self.device_death(&heard, place, tale),
            MessageType::DeviceData => self.device_data(heard, tale),
            _ => self.is_unclear |= tale.data(Some(&mut self.table), heard.metrics),
        }
    }

    fn device_birth(&mut self, heard: Heard, place: Place, room: usize, tale: &mut Tale) {
        let id = heard.device_id.unwrap_or_default();
        let known = self.devices.get(&id);
        if known.is_some_and(|known| known.is_overtaken(place, heard.sent_ms)) {
            return;
        }
        let old = known.map(|known| known.table.clone()).unwrap_or_default();
        tale.presence(&heard.device, true);
        let is_known = known.is_some();
        // The device itself counts for one.
        let has_room = heard.metrics.len() < old.len() + room;
        let table = tale.birth(&old, heard.metrics);
        tale.noted.set(Noted::NO_ROOM, !has_room);
        if has_room || is_known {
            let table = if has_room { table } else { Table::default() };
            let device =
                Device { name: heard.device, is_born: true, is_online: true, told_ms: heard.sent_ms, table };
            self.devices.insert(id, device);
        }
    }

    fn device_death(&mut self, heard: &Heard, place: Place, tale: &mut Tale) {
        let Some(device) = heard.device_id.as_ref().and_then(|id| self.devices.get_mut(id)) else {
            tale.noted |= Noted::STALE_DEATH;
            return;
        };
        if device.is_overtaken(place, heard.sent_ms) {
            return;
        }
        device.is_born = false;
        device.told_ms = heard.sent_ms;
        if std::mem::take(&mut device.is_online) {
            tale.presence(&device.name, false);
        }
    }

    fn device_data(&mut self, heard: Heard, tale: &mut Tale) {
        let device = heard.device_id.as_ref().and_then(|id| self.devices.get_mut(id));
        match device.filter(|device| device.is_born) {
            Some(device) => self.is_unclear |= tale.data(Some(&mut device.table), heard.metrics),
            None => {
                tale.noted |= Noted::UNBORN;
                self.is_unclear = true;
                tale.data(None, heard.metrics);
            }
        }
    }
}

impl Birth {
    /// Whether the message was sent before this birth and came just after it: its aliases are those of an earlier one.
    fn is_after(&self, heard: &Heard) -> bool {
        let is_close = heard.received_at.micros_since(self.received_at).saturating_abs() <= REORDER_MICROS;
        is_close && heard.sent_ms.zip(self.sent_ms).is_some_and(|(sent, born)| sent < born)
    }
}

impl Device {
    /// Whether a birth or death that is not in order says less than what came before it.
    fn is_overtaken(&self, place: Place, sent_ms: Option<u64>) -> bool {
        match place {
            Place::Next | Place::After(_) => false,
            Place::Filled => sent_ms <= self.told_ms,
            Place::Again => true,
        }
    }
}

impl Asked {
    /// Whether it is time to ask again; if so, that is done now.
    pub(super) fn ask(&mut self, now: Timestamp) -> bool {
        // The server's clock may have been set back: then it is as long ago as it is ahead.
        let since = self.at.map(|at| now.micros_since(at).saturating_abs());
        if since.is_some_and(|since| since > ASK_FORGET_MICROS) {
            self.times = 0;
        }
        let doublings = self.times.saturating_sub(1).min(ASK_DOUBLINGS_MAX);
        let is_time = since.is_none_or(|since| since >= ASK_MICROS_MIN << doublings);
        if is_time {
            self.before = self.at.replace(now);
            self.times = self.times.saturating_add(1);
        }
        is_time
    }

    /// What was asked for came by itself before the request left.
    fn take_back(&mut self, now: Timestamp) {
        if self.at.is_some_and(|at| now.micros_since(at).saturating_abs() <= REORDER_MICROS) {
            self.at = self.before.take();
            self.times = self.times.saturating_sub(1);
        }
    }
}

/// What a message leads to, while it is read.
struct Tale {
    device: DeviceName,
    received_at: Timestamp,
    readings: Vec<Timed>,
    presence: Vec<Sample>,
    units: Vec<Unit>,
    noted: Noted,
}

struct Timed {
    time: Timestamp,
    flags: Flags,
    reading: Reading,
}

impl Tale {
    fn new(heard: &Heard) -> Self {
        let mut noted = Noted::empty();
        noted.set(Noted::TRANSIENT, heard.has_transient);
        noted.set(Noted::VALUES_SKIPPED, heard.has_unnameable);
        Self {
            device: heard.device.clone(),
            received_at: heard.received_at,
            readings: Vec::with_capacity(heard.metrics.len()),
            presence: Vec::new(),
            units: heard.units.clone(),
            noted,
        }
    }

    fn presence(&mut self, device: &DeviceName, is_online: bool) {
        let channel = ChannelName::parse(PRESENCE).expect("a name");
        let value = Value::Number(f64::from(u8::from(is_online)));
        self.presence.push(Sample {
            device: device.clone(),
            time: self.received_at,
            flags: Flags::RECEIPT_TIME,
            readings: vec![Reading { channel, value }],
        });
    }

    /// The readings of a birth, and its table. What is older than the newest of its channel in `old` is a repeat.
    fn birth(&mut self, old: &Table, metrics: Vec<HeardMetric>) -> Table {
        let mut table = Vec::with_capacity(metrics.len());
        for metric in metrics {
            let Some(channel) = metric.channel else {
                self.noted |= Noted::UNKNOWN_METRIC;
                continue;
            };
            let newest = old.named(&channel).and_then(|place| old.at(place).newest);
            let mut known = Known {
                channel: channel.clone(),
                alias: metric.alias,
                datatype: metric.datatype,
                is_ignored: metric.is_ignored,
                newest,
            };
            if metric.is_ignored {
                table.push(known);
                continue;
            }
            match metric.value.read(metric.datatype) {
                Became::Nothing => {}
                Became::Skipped => self.noted |= Noted::VALUES_SKIPPED,
                Became::Undeclared => self.noted |= Noted::UNKNOWN_METRIC,
                Became::Value(_) if newest.is_some_and(|newest| metric.time < newest) => {
                    self.noted |= Noted::CACHED_REPEATS;
                }
                Became::Value(value) => {
                    let flag = if metric.is_historical { Flags::LATE } else { Flags::POSSIBLY_CACHED };
                    known.newest = newest.max(Some(metric.time));
                    self.readings.push(Timed {
                        time: metric.time,
                        flags: metric.flags | flag,
                        reading: Reading { channel, value },
                    });
                }
            }
            table.push(known);
        }
        Table::new(table)
    }

    /// The readings of data, by the names of `table`. Says whether a birth is needed to understand all of it.
    fn data(&mut self, mut table: Option<&mut Table>, metrics: Vec<HeardMetric>) -> bool {
        let mut is_unclear = false;
        for metric in metrics {
            let place = table.as_deref().and_then(|table| match (&metric.channel, metric.alias) {
                (Some(channel), _) => table.named(channel),
                (None, Some(alias)) => table.aliased(alias),
                (None, None) => None,
            });
            let known = table.as_deref().zip(place).map(|(table, place)| table.at(place));
            if metric.is_ignored || known.is_some_and(|known| known.is_ignored) {
                continue;
            }
            let channel = metric.channel.or_else(|| known.map(|known| known.channel.clone()));
            let Some(channel) = channel else {
                self.noted |= Noted::UNKNOWN_METRIC;
                is_unclear = true;
                continue;
            };
            let mut flags = metric.flags;
            if metric.is_historical {
                if flags.contains(Flags::RECEIPT_TIME) {
                    // It is of the past, and nobody knows of when.
                    self.noted |= Noted::TIME_UNBELIEVABLE;
                    continue;
                }
                flags |= Flags::LATE;
            }
            match metric.value.read(metric.datatype.or_else(|| known.and_then(|known| known.datatype))) {
                Became::Nothing => {}
                Became::Skipped => self.noted |= Noted::VALUES_SKIPPED,
                Became::Undeclared => {
                    self.noted |= Noted::UNKNOWN_METRIC;
                    is_unclear = true;
                }
                Became::Value(value) => {
                    if let Some((table, place)) = table.as_deref_mut().zip(place) {
                        table.saw(place, metric.time);
                    }
                    self.readings.push(Timed {
                        time: metric.time,
                        flags,
                        reading: Reading { channel, value },
                    });
                }
            }
        }
        is_unclear
    }

    /// Readings of one time are one sample; samples are in order of time, so that none looks late by its place in
    /// the message.
    fn told(mut self) -> Told {
        self.readings.sort_by_key(|timed| (timed.time, timed.flags.bits()));
        let mut samples = Vec::new();
        let mut readings = self.readings.into_iter().peekable();
        while let Some(Timed { time, flags, reading }) = readings.next() {
            let mut of_one = vec![reading];
            while let Some(next) = readings.next_if(|next| (next.time, next.flags) == (time, flags)) {
                of_one.push(next.reading);
            }
            keep_last(&mut of_one);
            while !of_one.is_empty() {
                let rest = of_one.split_off(of_one.len().min(MESSAGE_READINGS_MAX));
                let part = std::mem::replace(&mut of_one, rest);
                samples.push(Sample { device: self.device.clone(), time, flags, readings: part });
            }
        }
        samples.extend(self.presence);
        Told { samples, units: self.units, rebirth: None, noted: self.noted }
    }
}
