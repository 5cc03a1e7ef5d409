//! ChirpStack v4: `application/<id>/device/<DevEUI>/event/up` and `status`, with the JSON marshaler.
//!
//! Channels are what the codec made (`object`); the best gateway's signal is `radio.rssi` and `radio.snr`.

use serde_json::Value;

use super::tree::{self, leaves, put, put_leaf};
use super::{Part, health, ttn};
use crate::decode::collect::Collector;
use crate::decode::{DecodeError, Notes};

/// The id of an uplink, over all gateways that heard it.
pub(super) const ID: &str = "deduplicationId";

pub(super) fn uplink(part: Part, out: &mut Collector<'_>) -> Result<(), DecodeError> {
    let object = tree::object(part, out)?;
    if !object.contains_key("deviceInfo") && !object.contains_key("rxInfo") {
        return Err(part.refused("it has neither `deviceInfo` nor `rxInfo`"));
    }
    if object.contains_key(ID) {
        out.set_id();
    }
    tree::time(out, object.get("time"));
    match object.get("object") {
        Some(payload @ Value::Object(_)) => {
            leaves(out, "", payload, &mut |out, name, value| put_leaf(out, name, tree::scalar(value), None))?;
        }
        _ if object.contains_key("data") => out.decoded.notes |= Notes::NOT_FORMATTED,
        _ => {}
    }
    ttn::radio(out, object.get("rxInfo"))
}

/// The device's answer about its battery.
pub(super) fn status(part: Part, out: &mut Collector<'_>) -> Result<(), DecodeError> {
    let object = tree::object(part, out)?;
    if object.contains_key(ID) {
        out.set_id();
    }
    tree::time(out, object.get("time"));
    let is = |name: &str| object.get(name).and_then(Value::as_bool).unwrap_or(false);
    if is("batteryLevelUnavailable") || is("externalPowerSource") {
        return Ok(());
    }
    put(out, &object, "batteryLevel", (health::BATTERY, "%"))
}
