//! Where the fields of a JSON payload become readings, and the readings of one object a sample.
//!
//! Knows nothing of JSON's syntax: [`json`](super::json) calls it for every scalar, with the joined name in
//! [`Collector::path`].

use bytestring::ByteString;

use super::{DecodeError, Decoded, EXACT_MAX, error, flags, is_no_value, written};
use crate::device_time::{JudgedTime, SentTime, TIME_FIELDS};
use crate::limit::{MESSAGE_READINGS_MAX, TEXT_BYTES_MAX};
use crate::route::Route;
use crate::{DeviceName, Message, Names, Reading, Sample, Value};

/// Readings for which space is set aside at once: most messages have no more.
const READINGS_USUAL: usize = 8;
/// Above so many readings, repeated channels are found by sorting instead of by comparing all with all.
const COMPARED_MAX: usize = 32;

/// A scalar of the payload.
#[derive(Clone, Copy)]
pub(super) enum Scalar<'a> {
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
pub(super) struct Collector<'a> {
    route: &'a Route,
    message: &'a Message,
    names: &'a mut Names,
    /// The name of the field that is being read, joined with `.`.
    pub(super) path: String,
    /// The device, where the payload does not name it.
    device: Option<DeviceName>,
    /// The device that the payload names, for the sample at hand.
    device_sent: Option<DeviceName>,
    /// The time of the sample at hand, with the rank of its field (0 is best).
    time: Option<Candidate>,
    has_id: bool,
    readings: Vec<Reading>,
    readings_before: usize,
    pub(super) decoded: Decoded,
}

/// A field that may be the time: should a better one come, it was a reading.
struct Candidate {
    rank: usize,
    judged: JudgedTime,
    reading: Option<Reading>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(
        route: &'a Route,
        message: &'a Message,
        names: &'a mut Names,
    ) -> Result<Self, DecodeError> {
        let device = if route.device_rule().path().is_some() {
            None
        } else {
            let device = route.device_of(&message.topic, &message.origin, names);
            Some(device.ok_or_else(|| no_device(route))?)
        };
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
            decoded: Decoded::default(),
        })
    }

    /// What was gathered; gives back the space of the path.
    pub(super) fn finish(mut self) -> Decoded {
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

    /// Ends the object that is one sample.
    pub(super) fn end_sample(&mut self) -> Result<(), DecodeError> {
        let time = self.time.take();
        let device_sent = self.device_sent.take();
        let has_id = std::mem::take(&mut self.has_id);
        if self.readings.is_empty() {
            return Ok(());
        }
        let device = self.device.clone().or(device_sent).ok_or_else(|| no_device(self.route))?;
        let judged =
            time.map_or_else(|| self.route.time().judge(None, self.message.received_at), |time| time.judged);
        let mut readings = std::mem::take(&mut self.readings);
        self.readings_before += readings.len();
        keep_last(&mut readings);
        self.decoded.notes |= judged.notes;
        let flags = flags(judged.flags, self.message, has_id);
        self.decoded.samples.push(Sample { device, time: judged.time, flags, readings });
        Ok(())
    }

    /// How good a time the field at hand would be; `None` when it is none.
    fn time_rank(&self, at_top: bool) -> Option<usize> {
        match &self.route.time().field {
            Some(field) => (*field == self.path).then_some(0),
            None if at_top => TIME_FIELDS.iter().position(|field| field.eq_ignore_ascii_case(&self.path)),
            None => None,
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
            .channel(&self.path)
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
fn keep_last(readings: &mut Vec<Reading>) {
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
