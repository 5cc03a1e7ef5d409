//! Where the fields of a payload become readings, and the readings of one object a sample.
//!
//! Knows nothing of any syntax: [`flatten`](super::flatten) calls it for every scalar, with the joined name in
//! [`Collector::path`]; presets and the formats that name their channels themselves say [`Collector::put`].

use std::borrow::Cow;

use bytestring::ByteString;

use super::{DecodeError, Decoded, EXACT_MAX, Unit, error, flags, is_no_value, written};
use crate::channel::ucum;
use crate::device_time::{JudgedTime, SentTime, TIME_FIELDS};
use crate::limit::{MESSAGE_READINGS_MAX, TEXT_BYTES_MAX};
use crate::route::Route;
use crate::{ChannelName, DeviceName, Flags, Message, Names, Reading, Sample, Value};

/// Readings for which space is set aside at once: most messages have no more.
const READINGS_USUAL: usize = 8;
/// Above so many readings, repeated channels are found by sorting instead of by comparing all with all.
const COMPARED_MAX: usize = 32;

/// A scalar of the payload.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scalar<'a> {
    Bool(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    /// A number with the text it was written as.
    Written(&'a str, f64),
    Text(&'a str),
    Null,
}

/// What has been gathered of a message.
pub(crate) struct Collector<'a> {
    pub(crate) route: &'a Route,
    pub(crate) message: &'a Message,
    names: &'a mut Names,
    /// The name of the field that is being read, joined with `.`.
    pub(crate) path: String,
    /// The device, where the payload does not name it.
    device: Option<DeviceName>,
    /// The device that the payload names, for the sample at hand.
    device_sent: Option<DeviceName>,
    /// The time of the sample at hand, with the rank of its field (0 is best).
    time: Option<Candidate>,
    has_id: bool,
    readings: Vec<Reading>,
    readings_before: usize,
    /// Flags of the sample at hand, beside those of its time.
    flags: Flags,
    /// Samples of a list inside the object at hand, which may yet tell their time and device.
    elements: Vec<Element>,
    pub(crate) decoded: Decoded,
}

/// A sample of a list inside an object.
struct Element {
    time: Option<JudgedTime>,
    device: Option<DeviceName>,
    has_id: bool,
    readings: Vec<Reading>,
}

/// What is known of an object while an element of its list is read.
pub(super) struct Outer {
    time: Option<Candidate>,
    device_sent: Option<DeviceName>,
    has_id: bool,
    readings: Vec<Reading>,
}

/// A field that may be the time: should a better one come, it was a reading.
struct Candidate {
    rank: usize,
    judged: JudgedTime,
    reading: Option<Reading>,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(
        route: &'a Route,
        message: &'a Message,
        names: &'a mut Names,
    ) -> Result<Self, DecodeError> {
        let device = route.device_of(&message.topic, &message.origin, names);
        if device.is_none() && route.device_rule().path().is_none() {
            return Err(no_device(route));
        }
        let mut path = std::mem::take(&mut names.path);
        path.clear();
        Ok(Self {
            route,
            message,
            names,
            path,
            device,
            device_sent: None,
            time: None,
            has_id: false,
            readings: Vec::new(),
            readings_before: 0,
            flags: Flags::empty(),
            elements: Vec::new(),
            decoded: Decoded::default(),
        })
    }

    /// What was gathered; gives back the space of the path.
    pub(crate) fn finish(mut self) -> Decoded {
        self.names.path = std::mem::take(&mut self.path);
        if self.decoded.samples.is_empty() {
            self.decoded.notes |= super::Notes::NO_READINGS;
        }
        self.decoded
    }

    /// Takes in the scalar at [`Self::path`]; `at_top` says whether it is a field of the sample's own object.
    pub(super) fn scalar(&mut self, scalar: Scalar<'_>, at_top: bool) -> Result<(), DecodeError> {
        if let Scalar::Float(number) | Scalar::Written(_, number) = scalar
            && !number.is_finite()
        {
            return Err(DecodeError::NotFinite { field: error::shown(&self.path) });
        }
        if matches!(scalar, Scalar::Null) {
            return Ok(());
        }
        if let Some(rank) = self.time_rank(at_top)
            && let Some(sent) = sent_time(scalar)
        {
            return self.time(rank, sent, scalar);
        }
        if self.route.id_path() == Some(self.path.as_str()) {
            self.has_id |= !matches!(scalar, Scalar::Text(""));
            return Ok(());
        }
        if self.route.device_rule().path() == Some(self.path.as_str()) {
            self.device_sent = as_text(scalar, |text| self.names.device(text));
            return Ok(());
        }
        self.reading(scalar)
    }

    /// Says when the sample at hand was measured.
    pub(crate) fn set_time(&mut self, sent: SentTime<'_>) {
        let judged = self.route.time().judge(Some(sent), self.message.received_at);
        self.time = Some(Candidate { rank: 0, judged, reading: None });
    }

    /// Says it with what was made of it already.
    pub(super) fn set_judged(&mut self, judged: JudgedTime) {
        self.time = Some(Candidate { rank: 0, judged, reading: None });
    }

    /// Says whose the sample at hand is; an empty text says nothing.
    pub(crate) fn set_device(&mut self, text: &str) {
        self.device_sent = self.names.device(text);
    }

    /// Says that a repeat of the message is known by its id.
    pub(crate) fn set_id(&mut self) {
        self.has_id = true;
    }

    /// Adds a flag to the sample at hand.
    pub(crate) fn set_flag(&mut self, flag: Flags) {
        self.flags |= flag;
    }

    /// Takes in a reading on `channel`, as the route renames it.
    pub(crate) fn put(&mut self, channel: &str, scalar: Scalar<'_>) -> Result<(), DecodeError> {
        self.path.clear();
        self.path.push_str(channel);
        if let Scalar::Float(number) | Scalar::Written(_, number) = scalar
            && !number.is_finite()
        {
            return Err(DecodeError::NotFinite { field: error::shown(&self.path) });
        }
        self.reading(scalar)
    }

    /// As [`Self::put`], with the unit that came with it (UCUM).
    pub(crate) fn put_with(
        &mut self,
        channel: &str,
        scalar: Scalar<'_>,
        unit: &str,
    ) -> Result<(), DecodeError> {
        let before = self.readings.len();
        self.put(channel, scalar)?;
        if let Some(reading) = self.readings.get(before) {
            self.unit(reading.channel.clone(), unit);
        }
        Ok(())
    }

    /// Notes the unit of `channel`; what can be none is passed over.
    pub(crate) fn unit(&mut self, channel: ChannelName, unit: &str) {
        let Some(unit) = ucum(unit) else { return };
        if !self.decoded.units.iter().any(|known| known.channel == channel) {
            self.decoded.units.push(Unit { channel, unit: unit.into() });
        }
    }

    /// Whether the list at whose element [`Self::path`] stands is the one whose objects are samples.
    pub(super) fn is_list_of_samples(&self) -> bool {
        let list = self.path.rsplit_once('.').map(|(list, _)| list);
        list.is_some() && self.route.naming().and_then(|naming| naming.channels()) == list
    }

    /// Begins an element of that list: its fields are named as if they stood in the list's place.
    pub(super) fn begin_element(&mut self) -> Outer {
        if let Some((list, _)) = self.path.rsplit_once('.') {
            self.path.truncate(list.len());
        }
        Outer {
            time: self.time.take(),
            device_sent: self.device_sent.take(),
            has_id: std::mem::take(&mut self.has_id),
            readings: std::mem::take(&mut self.readings),
        }
    }

    /// Ends it; `outer` is what its beginning returned.
    pub(super) fn end_element(&mut self, outer: Outer) {
        let element = Element {
            time: self.time.take().map(|time| time.judged),
            device: self.device_sent.take(),
            has_id: self.has_id,
            readings: std::mem::take(&mut self.readings),
        };
        self.readings_before += element.readings.len();
        if !element.readings.is_empty() {
            self.elements.push(element);
        }
        (self.time, self.device_sent) = (outer.time, outer.device_sent);
        (self.has_id, self.readings) = (outer.has_id, outer.readings);
    }

    /// Ends the object that is one sample.
    pub(crate) fn end_sample(&mut self) -> Result<(), DecodeError> {
        let time = self.time.take();
        let device_sent = self.device_sent.take();
        let has_id = std::mem::take(&mut self.has_id);
        if self.readings.is_empty() && self.elements.is_empty() {
            self.flags = Flags::empty();
            return Ok(());
        }
        let judged =
            time.map_or_else(|| self.route.time().judge(None, self.message.received_at), |time| time.judged);
        let readings = std::mem::take(&mut self.readings);
        self.readings_before += readings.len();
        for element in std::mem::take(&mut self.elements) {
            let device = element.device.or_else(|| device_sent.clone());
            let judged = element.time.unwrap_or(judged);
            self.sample(device, judged, has_id || element.has_id, element.readings)?;
        }
        if !readings.is_empty() {
            self.sample(device_sent, judged, has_id, readings)?;
        }
        self.flags = Flags::empty();
        Ok(())
    }

    fn sample(
        &mut self,
        device_sent: Option<DeviceName>,
        judged: JudgedTime,
        has_id: bool,
        mut readings: Vec<Reading>,
    ) -> Result<(), DecodeError> {
        let device = device_sent.or_else(|| self.device.clone()).ok_or_else(|| no_device(self.route))?;
        keep_last(&mut readings);
        self.decoded.notes |= judged.notes;
        let flags = flags(judged.flags, self.message, has_id) | self.flags;
        self.decoded.samples.push(Sample { device, time: judged.time, flags, readings });
        Ok(())
    }

    /// How good a time the field at hand would be; `None` when it is none.
    fn time_rank(&self, at_top: bool) -> Option<usize> {
        let rank = |name: &str| TIME_FIELDS.iter().position(|field| field.eq_ignore_ascii_case(name));
        match (&self.route.time().field, self.route.naming().and_then(|naming| naming.channels())) {
            (Some(field), _) => (*field == self.path).then_some(0),
            (None, None) if at_top => rank(&self.path),
            (None, None) => None,
            // What stands beside the readings is nearer to them than what stands at the top.
            (None, Some(channels)) => {
                let beside = self.path.strip_prefix(channels).and_then(|rest| rest.strip_prefix('.'));
                match beside {
                    Some(name) => rank(name),
                    None if at_top => Some(rank(&self.path)? + TIME_FIELDS.len()),
                    None => None,
                }
            }
        }
    }

    fn time(&mut self, rank: usize, sent: SentTime<'_>, scalar: Scalar<'_>) -> Result<(), DecodeError> {
        match &self.time {
            Some(known) if known.rank < rank => return self.reading(scalar),
            _ => {}
        }
        let judged = self.route.time().judge(Some(sent), self.message.received_at);
        // The best rank is never a reading after all.
        let reading = if rank == 0 { None } else { self.made(scalar)? };
        let known = self.time.replace(Candidate { rank, judged, reading });
        match known.filter(|known| known.rank > rank).and_then(|known| known.reading) {
            Some(reading) => self.push(reading),
            None => Ok(()),
        }
    }

    fn reading(&mut self, scalar: Scalar<'_>) -> Result<(), DecodeError> {
        match self.made(scalar)? {
            Some(reading) => self.push(reading),
            None => Ok(()),
        }
    }

    fn push(&mut self, reading: Reading) -> Result<(), DecodeError> {
        if self.readings_before + self.readings.len() >= MESSAGE_READINGS_MAX {
            return Err(DecodeError::TooManyReadings { field: error::shown(&reading.channel) });
        }
        if self.readings.capacity() == 0 {
            self.readings.reserve(READINGS_USUAL);
        }
        self.readings.push(reading);
        Ok(())
    }

    /// The reading that a scalar at the path is; `None` for the words that say there is no value.
    fn made(&mut self, scalar: Scalar<'_>) -> Result<Option<Reading>, DecodeError> {
        let name = match self.route.naming() {
            None => Cow::Borrowed(self.path.as_str()),
            Some(naming) => match naming.channel(&self.path) {
                Some(name) => name,
                None => return Ok(None),
            },
        };
        let value = match scalar {
            Scalar::Bool(value) => Value::Number(f64::from(u8::from(value))),
            Scalar::Integer(number) if number.unsigned_abs() <= EXACT_MAX => Value::Number(number as f64),
            Scalar::Integer(number) => Value::BigInteger(number as f64, number.to_string().into()),
            Scalar::Unsigned(number) if number <= EXACT_MAX => Value::Number(number as f64),
            Scalar::Unsigned(number) => Value::BigInteger(number as f64, number.to_string().into()),
            Scalar::Float(number) => Value::Number(number),
            Scalar::Written(text, number) => written(text, number),
            Scalar::Text(text) if is_no_value(text) => return Ok(None),
            Scalar::Text(text) if text.len() > TEXT_BYTES_MAX => {
                return Err(DecodeError::TextTooLong { field: error::shown(&self.path), bytes: text.len() });
            }
            Scalar::Text(text) => Value::Text(ByteString::from(text)),
            Scalar::Null => return Ok(None),
        };
        let channel = self
            .names
            .channel(&name)
            .map_err(|source| DecodeError::ChannelName { field: error::shown(&self.path), source })?;
        Ok(Some(Reading { channel, value }))
    }
}

fn no_device(route: &Route) -> DecodeError {
    DecodeError::NoDevice { rule: route.device_rule().to_string() }
}

/// The scalar as a time; a boolean is none.
fn sent_time(scalar: Scalar<'_>) -> Option<SentTime<'_>> {
    Some(match scalar {
        Scalar::Integer(number) => SentTime::Integer(number),
        Scalar::Unsigned(number) => {
            i64::try_from(number).map_or(SentTime::Number(number as f64), SentTime::Integer)
        }
        Scalar::Float(number) | Scalar::Written(_, number) => SentTime::Number(number),
        Scalar::Text(text) => SentTime::Text(text),
        Scalar::Bool(_) | Scalar::Null => return None,
    })
}

/// Hands the scalar as text to `use_it`.
fn as_text<T>(scalar: Scalar<'_>, use_it: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    match scalar {
        Scalar::Text(text) | Scalar::Written(text, _) => use_it(text),
        Scalar::Bool(value) => use_it(&value.to_string()),
        Scalar::Integer(number) => use_it(&number.to_string()),
        Scalar::Unsigned(number) => use_it(&number.to_string()),
        Scalar::Float(number) => use_it(&number.to_string()),
        Scalar::Null => None,
    }
}

/// Of readings of one channel keeps the last; the others stay in order.
pub(crate) fn keep_last(readings: &mut Vec<Reading>) {
    if readings.len() <= COMPARED_MAX {
        let repeated = |n: usize, reading: &Reading| {
            readings[n + 1..].iter().any(|later| later.channel == reading.channel)
        };
        if !readings.iter().enumerate().any(|(n, reading)| repeated(n, reading)) {
            return;
        }
    }
    let mut order: Vec<usize> = (0..readings.len()).collect();
    order.sort_unstable_by(|&a, &b| readings[a].channel.cmp(&readings[b].channel).then(a.cmp(&b)));
    let mut is_kept = vec![true; readings.len()];
    for pair in order.windows(2) {
        is_kept[pair[0]] = readings[pair[0]].channel != readings[pair[1]].channel;
    }
    let mut kept = is_kept.into_iter();
    readings.retain(|_| kept.next().unwrap_or(true));
}
