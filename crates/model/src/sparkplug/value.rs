//! From a value on the wire and its declared type to the value of a reading (Sparkplug 3.0, section 6.4.16, "Datatypes").
//!
//! The wire has fewer types than the declaration: signed numbers travel as unsigned ones of the same bits, and without
//! a declaration nobody knows which they are. Not here: whose value it is.

use bytestring::ByteString;

use super::wire;
use crate::Value;
use crate::decode::whole;
use crate::limit::TEXT_BYTES_MAX;

/// `Boolean` among the numbers of the types.
pub(super) const BOOLEAN: u32 = 11;

const INT8: u32 = 1;
const INT16: u32 = 2;
const INT32: u32 = 3;
const INT64: u32 = 4;
const UINT8: u32 = 5;
const UINT16: u32 = 6;
const DATE_TIME: u32 = 13;
const DATA_SET: u32 = 16;

/// `File`, `Template`, `PropertySet`, `PropertySetList` and all arrays follow it.
const FIRST_COMPOSED: u32 = DATA_SET;

/// A value as it was sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Sent {
    /// None, or `is_null`.
    Null,
    Int(u32),
    Long(u64),
    /// A number whose type the wire tells.
    Number(f64),
    Text(ByteString),
    /// Of a type that is no reading.
    Composed,
}

/// What a value becomes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Became {
    Value(Value),
    /// No value.
    Nothing,
    /// Of a type that is no reading.
    Skipped,
    /// A whole number of which nobody knows whether it is signed.
    Undeclared,
}

impl Sent {
    pub(super) fn of(metric: &mut wire::Metric) -> Self {
        if metric.is_null == Some(true) {
            return Self::Null;
        }
        match metric.value.take() {
            None => Self::Null,
            Some(wire::Value::Int(number)) => Self::Int(number),
            Some(wire::Value::Long(number)) => Self::Long(number),
            Some(wire::Value::Float(number)) => Self::Number(shortest(number)),
            Some(wire::Value::Double(number)) => Self::Number(number),
            Some(wire::Value::Boolean(truth)) => Self::Number(f64::from(u8::from(truth))),
            Some(wire::Value::Text(text)) if text.len() <= TEXT_BYTES_MAX => Self::Text(text.into()),
            Some(_) => Self::Composed,
        }
    }

    /// As a whole number, for the metrics that are part of the protocol.
    pub(super) fn unsigned(&self) -> Option<u64> {
        match self {
            Self::Int(number) => Some(u64::from(*number)),
            Self::Long(number) => Some(*number),
            _ => None,
        }
    }

    /// The value of a reading, by the type that was declared.
    pub(super) fn read(self, datatype: Option<u32>) -> Became {
        if datatype.is_some_and(|datatype| datatype >= FIRST_COMPOSED) {
            return if self == Self::Null { Became::Nothing } else { Became::Skipped };
        }
        Became::Value(match self {
            Self::Null => return Became::Nothing,
            Self::Composed => return Became::Skipped,
            Self::Number(number) if number.is_finite() => Value::Number(number),
            Self::Number(_) => return Became::Nothing,
            Self::Text(text) => Value::Text(text),
            Self::Int(number) => match datatype {
                // Senders fill the upper bits with the sign or with zeros: the lower ones say it all.
                Some(INT8) => Value::Number(f64::from(number as u8 as i8)),
                Some(INT16) => Value::Number(f64::from(number as u16 as i16)),
                Some(INT32 | INT64) => Value::Number(f64::from(number as i32)),
                Some(UINT8) => Value::Number(f64::from(number as u8)),
                Some(UINT16) => Value::Number(f64::from(number as u16)),
                Some(_) => Value::Number(f64::from(number)),
                None if i32::try_from(number).is_ok() => Value::Number(f64::from(number)),
                None => return Became::Undeclared,
            },
            Self::Long(number) => match datatype {
                Some(INT8 | INT16 | INT32 | INT64 | DATE_TIME) => whole(i128::from(number as i64)),
                Some(_) => whole(i128::from(number)),
                None if i64::try_from(number).is_ok() => whole(i128::from(number)),
                None => return Became::Undeclared,
            },
        })
    }
}

/// The shortest decimal that names the number, as a number: what was written `21.3` is 21.3 again.
fn shortest(number: f32) -> f64 {
    // Every finite f32 is written as digits that an f64 reads; the others stay what they are.
    if number.is_finite() {
        number.to_string().parse().unwrap_or(f64::from(number))
    } else {
        f64::from(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(sent: Sent, datatype: u32) -> f64 {
        match sent.read(Some(datatype)) {
            Became::Value(value) => value.number().expect("a number"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn signed_numbers_are_read_by_their_declared_width() {
        assert_eq!(number(Sent::Int(0xff), INT8), -1.0, "zeros above");
        assert_eq!(number(Sent::Int(0xffff_ffff), INT8), -1.0, "the sign above");
        assert_eq!(number(Sent::Int(0xffff_fffe), INT16), -2.0);
        assert_eq!(number(Sent::Int(0xffff_fffd), INT32), -3.0);
        assert_eq!(number(Sent::Long(u64::MAX), INT64), -1.0);
        assert_eq!(number(Sent::Long(u64::MAX), INT32), -1.0);
        assert_eq!(number(Sent::Int(200), UINT8), 200.0);
        assert_eq!(number(Sent::Int(0xffff_ffff), 7), 4_294_967_295.0);
        assert_eq!(number(Sent::Long(1_790_000_000_000), DATE_TIME), 1_790_000_000_000.0);
    }

    #[test]
    fn a_number_beyond_the_exact_ones_keeps_its_digits() {
        let Became::Value(value) = Sent::Long(u64::MAX).read(Some(8)) else { panic!("a value") };
        assert_eq!(value.text().map(|text| &**text), Some("18446744073709551615"));
        let Became::Value(value) = Sent::Long(i64::MIN as u64).read(Some(INT64)) else { panic!("a value") };
        assert_eq!(value.text().map(|text| &**text), Some("-9223372036854775808"));
    }

    #[test]
    fn a_float_is_what_was_written() {
        let read = |value| {
            let mut metric = wire::Metric { value: Some(value), ..wire::Metric::default() };
            Sent::of(&mut metric).read(None)
        };
        assert_eq!(read(wire::Value::Float(21.3)), Became::Value(Value::Number(21.3)));
        assert_eq!(read(wire::Value::Float(1e-45)), Became::Value(Value::Number(1e-45)));
        assert_eq!(read(wire::Value::Float(f32::NAN)), Became::Nothing);
        assert_eq!(read(wire::Value::Double(f64::INFINITY)), Became::Nothing);
        assert_eq!(read(wire::Value::Boolean(true)), Became::Value(Value::Number(1.0)));
    }

    #[test]
    fn what_is_no_reading_is_skipped_and_what_nobody_declared_is_not_guessed() {
        assert_eq!(Sent::Composed.read(None), Became::Skipped);
        assert_eq!(Sent::Int(3).read(Some(17)), Became::Skipped);
        assert_eq!(Sent::Null.read(Some(DATA_SET)), Became::Nothing);
        assert_eq!(Sent::Int(0xffff_fff0).read(None), Became::Undeclared);
        assert_eq!(Sent::Long(u64::MAX).read(None), Became::Undeclared);
        assert_eq!(Sent::Int(7).read(None), Became::Value(Value::Number(7.0)));
    }
}
