//! Cayenne Low Power Payload: a data channel, a type and a value, again and again.
//!
//! A reading's channel is the type's name and the data channel's number: `temperature.1`. Positions and axes have their
//! own names behind it: `gps.3.latitude`. All types of the documented table are known; a type that is not ends the
//! message, for nobody knows its length.

use super::collect::{Collector, Scalar};
use super::{DecodeError, Decoded};
use crate::device_time::SentTime;
use crate::limit::CAYENNE_BYTES_MAX;
use crate::route::Route;
use crate::{Message, Names};

/// One number of a type: its name behind the channel, its bytes, whether it has a sign, how many of it are one unit.
struct Part {
    name: &'static str,
    bytes: usize,
    signed: bool,
    per_unit: f64,
}

/// A type of the table.
struct Kind {
    number: u8,
    name: &'static str,
    unit: &'static str,
    parts: &'static [Part],
}

const fn part(name: &'static str, bytes: usize, signed: bool, per_unit: f64) -> Part {
    Part { name, bytes, signed, per_unit }
}

const fn kind(number: u8, name: &'static str, unit: &'static str, parts: &'static [Part]) -> Kind {
    Kind { number, name, unit, parts }
}

/// The type that is the time of what stands in the same message.
const UNIX_TIME: u8 = 133;

const KINDS: [Kind; 27] = [
    kind(0, "digital_input", "1", &[part("", 1, false, 1.0)]),
    kind(1, "digital_output", "1", &[part("", 1, false, 1.0)]),
    kind(2, "analog_input", "1", &[part("", 2, true, 100.0)]),
    kind(3, "analog_output", "1", &[part("", 2, true, 100.0)]),
    kind(100, "generic", "1", &[part("", 4, false, 1.0)]),
    kind(101, "illuminance", "lx", &[part("", 2, false, 1.0)]),
    kind(102, "presence", "1", &[part("", 1, false, 1.0)]),
    kind(103, "temperature", "Cel", &[part("", 2, true, 10.0)]),
    kind(104, "humidity", "%", &[part("", 1, false, 2.0)]),
    kind(
        113,
        "accelerometer",
        "[g]",
        &[part("x", 2, true, 1e3), part("y", 2, true, 1e3), part("z", 2, true, 1e3)],
    ),
    kind(115, "pressure", "hPa", &[part("", 2, false, 10.0)]),
    kind(116, "voltage", "V", &[part("", 2, false, 100.0)]),
    kind(117, "current", "A", &[part("", 2, false, 1e3)]),
    kind(118, "frequency", "Hz", &[part("", 4, false, 1.0)]),
    kind(120, "percentage", "%", &[part("", 1, false, 1.0)]),
    kind(121, "altitude", "m", &[part("", 2, true, 1.0)]),
    kind(122, "load", "kg", &[part("", 3, true, 1e3)]),
    kind(125, "concentration", "[ppm]", &[part("", 2, false, 1.0)]),
    kind(128, "power", "W", &[part("", 2, false, 1.0)]),
    kind(130, "distance", "m", &[part("", 4, false, 1e3)]),
    kind(131, "energy", "kW.h", &[part("", 4, false, 1e3)]),
    kind(132, "direction", "deg", &[part("", 2, false, 1.0)]),
    kind(UNIX_TIME, "time", "s", &[part("", 4, false, 1.0)]),
    kind(
        134,
        "gyrometer",
        "deg/s",
        &[part("x", 2, true, 100.0), part("y", 2, true, 100.0), part("z", 2, true, 100.0)],
    ),
    kind(
        135,
        "colour",
        "1",
        &[part("red", 1, false, 1.0), part("green", 1, false, 1.0), part("blue", 1, false, 1.0)],
    ),
    kind(
        136,
        "gps",
        "deg",
        &[part("latitude", 3, true, 1e4), part("longitude", 3, true, 1e4), part("altitude", 3, true, 100.0)],
    ),
    kind(142, "switch", "1", &[part("", 1, false, 1.0)]),
];

pub(super) fn decode(route: &Route, message: &Message, names: &mut Names) -> Result<Decoded, DecodeError> {
    let payload: &[u8] = &message.payload;
    if payload.len() > CAYENNE_BYTES_MAX {
        return Err(DecodeError::too_large("cayenne", payload.len(), CAYENNE_BYTES_MAX));
    }
    let mut out = Collector::new(route, message, names)?;
    let mut at = 0;
    while at < payload.len() {
        let refused = |byte, reason| Err(DecodeError::NotCayenne { byte, reason });
        let &[channel, number, ref rest @ ..] = &payload[at..] else {
            return refused(at, "a data channel without a type".to_owned());
        };
        let Some(kind) = KINDS.iter().find(|kind| kind.number == number) else {
            return refused(at + 1, format!("type {number} is not known, and so neither is its length"));
        };
        let bytes: usize = kind.parts.iter().map(|part| part.bytes).sum();
        let Some(mut value) = rest.get(..bytes) else {
            return refused(at + 2, format!("{} has {bytes} bytes, and {} are left", kind.name, rest.len()));
        };
        for part in kind.parts {
            let (own, after) = value.split_at(part.bytes);
            value = after;
            let whole = integer(own, part.signed);
            if kind.number == UNIX_TIME {
                out.set_time(SentTime::Integer(whole));
                continue;
            }
            // Divided, so that 272 tenths are 27.2 and not 27.200000000000003.
            let scalar = Scalar::Float(whole as f64 / part.per_unit);
            let (dot, name) = if part.name.is_empty() { ("", "") } else { (".", part.name) };
            let unit = if part.name == "altitude" { "m" } else { kind.unit };
            out.put_with(&format!("{}.{channel}{dot}{name}", kind.name), scalar, unit)?;
        }
        at += 2 + bytes;
    }
    out.end_sample()?;
    Ok(out.finish())
}

/// The whole number in at most four bytes, the highest first.
fn integer(bytes: &[u8], signed: bool) -> i64 {
    let number = bytes.iter().fold(0, |number, byte| number << 8 | i64::from(*byte));
    let bits = 8 * bytes.len();
    if signed && number >> (bits - 1) == 1 { number - (1 << bits) } else { number }
}
