//! Values on their way into and out of the database.
//!
//! Five kinds, which every SQL database has. Not here: dates, decimals or JSON; rooms keep times as microseconds in
//! a `BIGINT` and documents as `TEXT` or `BYTEA`. The law: a value that does not fit is an error, never a near one.

use bytestring::ByteString;
use model::{DeviceName, GroupPath, Timestamp};

/// One value as the database holds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Nothing.
    Null,
    /// A whole number; booleans are 0 and 1.
    Integer(i64),
    /// A number.
    Real(f64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl Value<'_> {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Integer(_) => "a whole number",
            Self::Real(_) => "a number",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
        }
    }
}

/// What a statement takes as a parameter.
pub trait ToValue {
    /// The value, or `None` when the database cannot hold it (a number above `i64::MAX`, a NaN, which SQLite would
    /// turn into NULL).
    fn to_value(&self) -> Option<Value<'_>>;
}

/// What a column is read as.
pub trait FromValue: Sized {
    /// What was asked for, in words.
    const KIND: &'static str;

    /// Reads the value, or `None` when it is something else.
    fn from_value(value: Value<'_>) -> Option<Self>;
}

/// The parameters `$1`, `$2`, … of a statement, by reference: `params![name, 7_u32, at]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$(&$value as &dyn $crate::ToValue),*] as &[&dyn $crate::ToValue]
    };
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self) -> Option<Value<'_>> {
        (**self).to_value()
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(&self) -> Option<Value<'_>> {
        self.as_ref().map_or(Some(Value::Null), ToValue::to_value)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    const KIND: &'static str = T::KIND;

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl ToValue for $number {
            fn to_value(&self) -> Option<Value<'_>> {
                i64::try_from(*self).ok().map(Value::Integer)
            }
        }
        impl FromValue for $number {
            const KIND: &'static str = concat!("a whole number that fits `", stringify!($number), "`");

            fn from_value(value: Value<'_>) -> Option<Self> {
                match value {
                    Value::Integer(number) => number.try_into().ok(),
                    _ => None,
                }
            }
        }
    )*};
}
whole_numbers!(i64, u64, i32, u32, u16, u8, usize);

impl ToValue for bool {
    fn to_value(&self) -> Option<Value<'_>> {
        Some(Value::Integer((*self).into()))
    }
}

impl FromValue for bool {
    const KIND: &'static str = "true or false";

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Integer(0) => Some(false),
            Value::Integer(1) => Some(true),
            _ => None,
        }
    }
}

impl ToValue for f64 {
    fn to_value(&self) -> Option<Value<'_>> {
        (!self.is_nan()).then_some(Value::Real(*self))
    }
}

impl FromValue for f64 {
    const KIND: &'static str = "a number";

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Real(number) => Some(number),
            _ => None,
        }
    }
}

impl ToValue for Timestamp {
    fn to_value(&self) -> Option<Value<'_>> {
        Some(Value::Integer(self.micros()))
    }
}

impl FromValue for Timestamp {
    const KIND: &'static str = "a time in microseconds";

    fn from_value(value: Value<'_>) -> Option<Self> {
        i64::from_value(value).map(Self::from_micros)
    }
}

macro_rules! texts {
    ($($text:ty),*) => {$(
        impl ToValue for $text {
            fn to_value(&self) -> Option<Value<'_>> {
                Some(Value::Text(self))
            }
        }
    )*};
}
texts!(str, String, ByteString, DeviceName, GroupPath);

macro_rules! texts_that_are_read {
    ($($text:ty),*) => {$(
        impl FromValue for $text {
            const KIND: &'static str = "text";

            fn from_value(value: Value<'_>) -> Option<Self> {
                match value {
                    Value::Text(text) => Some(text.into()),
                    _ => None,
                }
            }
        }
    )*};
}
texts_that_are_read!(String, ByteString);

impl FromValue for DeviceName {
    const KIND: &'static str = "a device name";

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Text(text) => Self::parse(text).ok(),
            _ => None,
        }
    }
}

impl FromValue for GroupPath {
    const KIND: &'static str = "a path of a group";

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Text(text) => Self::parse(text).ok(),
            _ => None,
        }
    }
}

impl ToValue for [u8] {
    fn to_value(&self) -> Option<Value<'_>> {
        Some(Value::Bytes(self))
    }
}

impl ToValue for Vec<u8> {
    fn to_value(&self) -> Option<Value<'_>> {
        Some(Value::Bytes(self))
    }
}

impl<const N: usize> ToValue for [u8; N] {
    fn to_value(&self) -> Option<Value<'_>> {
        Some(Value::Bytes(self))
    }
}

impl FromValue for Vec<u8> {
    const KIND: &'static str = "bytes";

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => Some(bytes.to_vec()),
            _ => None,
        }
    }
}

impl<const N: usize> FromValue for [u8; N] {
    const KIND: &'static str = "bytes of a fixed length";

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => bytes.try_into().ok(),
            _ => None,
        }
    }
}
