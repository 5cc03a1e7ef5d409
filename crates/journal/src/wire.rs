//! Protobuf's wire format by hand: varints, tags, length-delimited fields.
//!
//! By hand because the record is on the path of every message: one pass, no intermediate structs, slices of the
//! frame instead of copies. What is written here `protoc --decode_raw` reads.

/// A varint of at most ten bytes (protobuf encoding, "Base 128 Varints").
pub(crate) const VARINT: u64 = 0;
/// Eight bytes, little-endian.
pub(crate) const FIXED64: u64 = 1;
/// A varint length and that many bytes.
pub(crate) const BYTES: u64 = 2;
/// Four bytes, little-endian.
pub(crate) const FIXED32: u64 = 5;

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_tag(out: &mut Vec<u8>, field: u64, wire_type: u64) {
    put_varint(out, field << 3 | wire_type);
}

/// A number that is absent when it is zero.
pub(crate) fn put_number(out: &mut Vec<u8>, field: u64, value: u64) {
    if value != 0 {
        put_tag(out, field, VARINT);
        put_varint(out, value);
    }
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    put_tag(out, field, BYTES);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// A length-delimited field whose content `write` appends. The length is put in afterwards; two bytes are kept
/// for it, which is right for all but the shortest and the longest records.
pub(crate) fn put_nested(out: &mut Vec<u8>, field: u64, write: impl FnOnce(&mut Vec<u8>)) {
    put_tag(out, field, BYTES);
    let at = out.len();
    out.extend_from_slice(&[0, 0]);
    write(out);
    let bytes = out.len() - at - 2;
    if (0x80..0x4000).contains(&bytes) {
        out[at] = bytes as u8 | 0x80;
        out[at + 1] = (bytes >> 7) as u8;
    } else {
        let mut length = Vec::with_capacity(10);
        put_varint(&mut length, bytes as u64);
        out.splice(at..at + 2, length);
    }
}

/// What follows is no protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// One field as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    pub(crate) fn number(self) -> Result<u64, Malformed> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Bytes(_) => Err(Malformed),
        }
    }

    pub(crate) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) => Err(Malformed),
        }
    }
}

/// Reads field after field.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and value; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            VARINT => Value::Number(self.varint()?),
            FIXED64 => Value::Number(u64::from_le_bytes(self.array()?)),
            FIXED32 => Value::Number(u64::from(u32::from_le_bytes(self.array()?))),
            BYTES => {
                let bytes = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                let (value, rest) = self.rest.split_at_checked(bytes).ok_or(Malformed)?;
                self.rest = rest;
                Value::Bytes(value)
            }
            _ => return Err(Malformed),
        };
        Ok(Some((tag >> 3, value)))
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (at, &byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (value, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_length_is_minimal_whatever_it_is() {
        for bytes in [0, 1, 127, 128, 16_383, 16_384, 3_000_000] {
            let mut out = Vec::new();
            put_nested(&mut out, 1, |out| out.resize(out.len() + bytes, 7));
            let mut expected = vec![0x0a];
            put_varint(&mut expected, bytes as u64);
            assert_eq!(out.len(), expected.len() + bytes, "{bytes}");
            assert_eq!(out[..expected.len()], expected, "{bytes}");
            let value = Fields::of(&out).next().expect("well formed").expect("a field");
            assert_eq!(value, (1, Value::Bytes(&vec![7; bytes])));
        }
    }

    #[test]
    fn what_is_cut_or_overlong_is_malformed() {
        let check = |bytes: &[u8]| assert_eq!(Fields::of(bytes).next(), Err(Malformed), "{bytes:?}");
        check(&[0x08]);
        check(&[0x0a, 5, 1, 2]);
        check(&[0x09, 1, 2, 3]);
        check(&[0xff; 11]);
        check(&[0x0b]);
    }
}
