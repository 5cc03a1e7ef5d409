//! The state of a fold as bytes, to be kept over a restart.
//!
//! Not here: where the bytes are kept. Laws: what was written reads back as the same state; bytes of another version, or of
//! a rule with other windows, are refused and never half read.
//!
//! ```text
//! version u8 | machine u8, its times and count | newest: 0, or 1 time print | device: 0, or 1 text
//! | standing: 0, or 1 count values | windows: count, each (dropped: 0, or 1 time; count; times, f64s)
//! | lasts: count, each (0, or 1 time value)
//! times: zigzag varint, the first from 1970, each further one from the one before; counts: varint; f64: 8 bytes little-endian
//! ```

use bytestring::ByteString;
use model::{DeviceName, Timestamp, Value};

use crate::expr::Extent;
use crate::fold::Fold;
use crate::limits::WINDOW_SAMPLES_MAX;
use crate::machine::Machine;
use crate::rule::Rule;
use crate::window::Window;

/// The first byte: raised when the layout changes.
const STATE_VERSION: u8 = 1;

/// Bytes that are no state of this rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no state of this rule")]
pub struct StateError;

impl Fold {
    /// The state as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer { bytes: vec![STATE_VERSION], before: 0 };
        match self.machine {
            Machine::Idle => w.bytes.push(0),
            Machine::Run { start, last, count } => {
                w.bytes.push(1);
                w.time(start.micros());
                w.time(last.micros());
                w.number(u64::from(count));
            }
            Machine::Firing { start, fired_at } => {
                w.bytes.push(2);
                w.time(start.micros());
                w.time(fired_at.micros());
            }
        }
        w.optional(self.newest.as_ref(), |w, (time, print)| {
            w.time(time.micros());
            w.bytes.extend(print.to_le_bytes());
        });
        w.optional(self.device.as_ref(), |w, device| w.text(device));
        w.optional(self.standing.as_ref(), |w, standing| {
            w.number(standing.len() as u64);
            for value in standing {
                w.optional(value.as_ref(), Writer::value);
            }
        });
        w.number(self.windows.len() as u64);
        for window in &self.windows {
            w.optional(window.dropped_micros.as_ref(), |w, micros| w.time(*micros));
            w.number(window.items.len() as u64);
            for (time, value) in &window.items {
                w.time(*time);
                w.bytes.extend(value.to_le_bytes());
            }
        }
        w.number(self.lasts.len() as u64);
        for last in &self.lasts {
            w.optional(last.newest.as_ref(), |w, (time, value)| {
                w.time(*time);
                w.value(value);
            });
        }
        w.bytes
    }

    /// Reads what [`Self::to_bytes`] wrote for this version of the rule.
    ///
    /// # Errors
    /// [`StateError`] for anything else.
    pub fn from_bytes(rule: &Rule, bytes: &[u8]) -> Result<Self, StateError> {
        if rule.plan().is_none() {
            return Err(StateError);
        }
        let mut fold = Self::new(rule);
        let mut reader = Reader { bytes, before: 0 };
        reader.fold(rule, &mut fold).ok_or(StateError)?;
        if reader.bytes.is_empty() { Ok(fold) } else { Err(StateError) }
    }
}

struct Writer {
    bytes: Vec<u8>,
    before: i64,
}

impl Writer {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn time(&mut self, micros: i64) {
        let step = micros.wrapping_sub(self.before);
        self.before = micros;
        self.number(((step << 1) ^ (step >> 63)) as u64);
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes.extend(text.as_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Number(number) => {
                self.bytes.push(0);
                self.bytes.extend(number.to_le_bytes());
            }
            Value::Text(text) => {
                self.bytes.push(1);
                self.text(text);
            }
            Value::BigInteger(number, text) => {
                self.bytes.push(2);
                self.bytes.extend(number.to_le_bytes());
                self.text(text);
            }
        }
    }

    fn optional<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.bytes.push(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    before: i64,
}

impl Reader<'_> {
    fn fold(&mut self, rule: &Rule, fold: &mut Fold) -> Option<()> {
        if self.byte()? != STATE_VERSION {
            return None;
        }
        fold.machine = match self.byte()? {
            0 => Machine::Idle,
            1 => {
                let (start, last) = (self.timestamp()?, self.timestamp()?);
                Machine::Run { start, last, count: u32::try_from(self.number()?).ok()? }
            }
            2 => Machine::Firing { start: self.timestamp()?, fired_at: self.timestamp()? },
            _ => return None,
        };
        fold.newest = self.optional(|r| Some((r.timestamp()?, r.word()?)))?;
        fold.device = self.optional(|r| Some(Box::new(DeviceName::parse(r.text()?).ok()?)))?;
        let channels = rule.channels().len();
        fold.standing = self.optional(|r| {
            let count = r.count(channels)?;
            let values: Option<Vec<Option<Value>>> = (0..count).map(|_| r.optional(Self::value)).collect();
            values.filter(|values| values.len() == channels).map(Vec::into_boxed_slice)
        })?;
        if self.count(fold.windows.len())? != fold.windows.len() {
            return None;
        }
        for window in &mut fold.windows {
            self.window(window)?;
        }
        if self.count(fold.lasts.len())? != fold.lasts.len() {
            return None;
        }
        for last in &mut fold.lasts {
            last.newest = self.optional(|r| Some((r.time()?, r.value()?)))?;
        }
        Some(())
    }

    fn window(&mut self, window: &mut Window) -> Option<()> {
        window.dropped_micros = self.optional(Self::time)?;
        let most = match window.extent {
            Extent::Samples(samples) => samples,
            Extent::Span(_) => WINDOW_SAMPLES_MAX,
        };
        for _ in 0..self.count(most)? {
            let time = self.time()?;
            let value = f64::from_bits(self.word()?);
            if !value.is_finite() {
                return None;
            }
            window.items.push_back((time, value));
        }
        Some(())
    }

    fn take(&mut self, bytes: usize) -> Option<&[u8]> {
        let (taken, rest) = self.bytes.split_at_checked(bytes)?;
        self.bytes = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn word(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            number |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn count(&mut self, most: usize) -> Option<usize> {
        usize::try_from(self.number()?).ok().filter(|count| *count <= most)
    }

    fn time(&mut self) -> Option<i64> {
        let coded = self.number()?;
        let step = (coded >> 1) as i64 ^ -((coded & 1) as i64);
        self.before = self.before.wrapping_add(step);
        Some(self.before)
    }

    fn timestamp(&mut self) -> Option<Timestamp> {
        self.time().map(Timestamp::from_micros)
    }

    fn text(&mut self) -> Option<ByteString> {
        let length = usize::try_from(self.number()?).ok()?;
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        Some(ByteString::from(text))
    }

    fn value(&mut self) -> Option<Value> {
        match self.byte()? {
            0 => Some(Value::Number(f64::from_bits(self.word()?))),
            1 => Some(Value::Text(self.text()?)),
            2 => {
                let number = f64::from_bits(self.word()?);
                Some(Value::BigInteger(number, self.text()?))
            }
            _ => None,
        }
    }

    /// `None`: malformed; `Some(None)`: not there.
    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }
}
