//! A payload as a tree, for presets that look into it before they read it.
//!
//! Slower than flattening as it is parsed, and what these devices send comes a few times a minute. Whole numbers beyond
//! 64 bits lose their digits here. The law: the bounds of `decode` hold.

use serde_json::{Map, Value};

use super::Part;
use crate::decode::collect::{Collector, Scalar};
use crate::decode::json::{not_json, text as json_text};
use crate::decode::{DecodeError, Notes, shown};
use crate::device_time::SentTime;
use crate::limit::JSON_DEPTH_MAX;

/// The object that is the payload. Where the route's `device` is a field of it, it is found here.
pub(super) fn object(part: Part, out: &mut Collector<'_>) -> Result<Map<String, Value>, DecodeError> {
    let value: Value =
        serde_json::from_str(json_text(&out.message.payload)?).map_err(|e| not_json(&e, ""))?;
    let Value::Object(object) = value else {
        return Err(part.refused(format!("it is {}, not an object", what(&value))));
    };
    let device = out.route.device_rule().path().and_then(|path| at(&object, path));
    match device {
        Some(Value::String(text)) => out.set_device(text),
        Some(Value::Number(number)) => out.set_device(&number.to_string()),
        _ => {}
    }
    Ok(object)
}

/// What a value is, for people.
pub(super) fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The value at `path`, names joined with `.`.
pub(super) fn at<'t>(object: &'t Map<String, Value>, path: &str) -> Option<&'t Value> {
    if let Some(value) = object.get(path) {
        return Some(value);
    }
    path.match_indices('.').find_map(|(dot, _)| at(object.get(&path[..dot])?.as_object()?, &path[dot + 1..]))
}

/// The text at `path`.
pub(super) fn text<'t>(object: &'t Map<String, Value>, path: &str) -> Option<&'t str> {
    at(object, path)?.as_str()
}

/// A scalar of a tree; `None` for lists and objects.
pub(super) fn scalar(value: &Value) -> Option<Scalar<'_>> {
    Some(match value {
        Value::Null => Scalar::Null,
        Value::Bool(flag) => Scalar::Bool(*flag),
        Value::String(text) => Scalar::Text(text),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => Scalar::Integer(number),
            (_, Some(number), _) => Scalar::Unsigned(number),
            (_, _, number) => Scalar::Float(number.unwrap_or(f64::INFINITY)),
        },
        Value::Array(_) | Value::Object(_) => return None,
    })
}

/// A scalar in which what is switched on is 1, and what is off 0.
pub(super) fn switched(value: &Value) -> Option<Scalar<'_>> {
    match value {
        Value::String(text) => Some(super::switched(text).map_or(Scalar::Text(text), Scalar::Bool)),
        other => scalar(other),
    }
}

/// Says the time at `path`; whether there is one.
pub(super) fn time(out: &mut Collector<'_>, value: Option<&Value>) -> bool {
    let sent = match value {
        Some(Value::String(text)) if !text.is_empty() => SentTime::Text(text),
        Some(Value::Number(number)) => match number.as_i64() {
            // What counts from 1970 and says 0 has no time.
            Some(0) => return false,
            Some(number) => SentTime::Integer(number),
            None => SentTime::Number(number.as_f64().unwrap_or(f64::INFINITY)),
        },
        _ => return false,
    };
    out.set_time(sent);
    true
}

/// Puts the scalar at `path` of `object` on `channel`, if it is there.
pub(super) fn put(
    out: &mut Collector<'_>,
    object: &Map<String, Value>,
    path: &str,
    (channel, unit): (&str, &str),
) -> Result<(), DecodeError> {
    match at(object, path).and_then(scalar) {
        Some(scalar) if unit.is_empty() => out.put(channel, scalar),
        Some(scalar) => out.put_with(channel, scalar, unit),
        None => Ok(()),
    }
}

/// Hands every leaf below `value` to `leaf`, with the name joined from `name` on. As everywhere, objects in lists are
/// skipped and counted.
pub(super) fn leaves<'a>(
    out: &mut Collector<'a>,
    name: &str,
    value: &Value,
    leaf: &mut dyn FnMut(&mut Collector<'a>, &str, &Value) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    walk(out, name, value, 1, leaf)
}

fn walk<'a>(
    out: &mut Collector<'a>,
    name: &str,
    value: &Value,
    depth: usize,
    leaf: &mut dyn FnMut(&mut Collector<'a>, &str, &Value) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    if depth > JSON_DEPTH_MAX {
        return Err(DecodeError::TooDeep { field: shown(name) });
    }
    let below = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match value {
        Value::Object(object) => {
            object.iter().try_for_each(|(key, value)| walk(out, &below(key), value, depth + 1, leaf))
        }
        Value::Array(list) => list.iter().enumerate().try_for_each(|(n, value)| {
            if value.is_object() {
                out.decoded.objects_skipped += 1;
                out.decoded.notes |= Notes::OBJECTS_SKIPPED;
                return Ok(());
            }
            walk(out, &below(&n.to_string()), value, depth + 1, leaf)
        }),
        scalar => leaf(out, name, scalar),
    }
}

/// Puts a leaf on its own channel, with its unit where that is known.
pub(super) fn put_leaf(
    out: &mut Collector<'_>,
    channel: &str,
    scalar: Option<Scalar<'_>>,
    unit: Option<&str>,
) -> Result<(), DecodeError> {
    let Some(scalar) = scalar else { return Ok(()) };
    match unit {
        Some(unit) if !matches!(scalar, Scalar::Text(_)) => out.put_with(channel, scalar, unit),
        _ => out.put(channel, scalar),
    }
}

/// The last name of a path that is no number.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('.').find(|name| !name.bytes().all(|byte| byte.is_ascii_digit())).unwrap_or(path)
}
