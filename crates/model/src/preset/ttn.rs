//! The Things Stack v3: `v3/<application>/devices/<device>/up`.
//!
//! Channels are what the payload formatter made; the best gateway's signal is `radio.rssi` and `radio.snr`. Fields that
//! are zero are not sent at all: a missing `f_cnt` is the first uplink of its session, a missing `snr` is 0 dB.

use bytestring::ByteString;
use serde_json::{Map, Value};

use super::tree::{self, leaves, put, put_leaf};
use super::{Part, health};
use crate::decode::collect::{Collector, Scalar};
use crate::decode::{DecodeError, Notes, pick};

/// The session's key and the frame's number in it: no other uplink has both.
pub(super) fn message_id(payload: &[u8]) -> Option<ByteString> {
    let session = pick(payload, "uplink_message.session_key_id")?;
    let count = pick(payload, "uplink_message.f_cnt");
    Some(id(&session, count.as_deref()))
}

fn id(session: &str, count: Option<&str>) -> ByteString {
    format!("{session}:{}", count.unwrap_or("0")).into()
}

pub(super) fn uplink(part: Part, out: &mut Collector<'_>) -> Result<(), DecodeError> {
    let object = tree::object(part, out)?;
    let Some(Value::Object(uplink)) = object.get("uplink_message") else {
        return Err(part.refused("it has no `uplink_message`"));
    };
    if uplink.contains_key("session_key_id") {
        out.set_id();
    }
    // When the network server heard it; the application server a little later.
    tree::time(out, uplink.get("received_at").or_else(|| object.get("received_at")));
    match uplink.get("decoded_payload") {
        Some(payload) => {
            leaves(out, "", payload, &mut |out, name, value| put_leaf(out, name, tree::scalar(value), None))?;
        }
        None if uplink.contains_key("frm_payload") => out.decoded.notes |= Notes::NOT_FORMATTED,
        None => {}
    }
    radio(out, uplink.get("rx_metadata"))?;
    put(out, uplink, "last_battery_percentage.value", (health::BATTERY, "%"))
}

/// The signal at the gateway that heard best: the highest ratio of signal to noise, then the strongest.
pub(super) fn radio(out: &mut Collector<'_>, heard: Option<&Value>) -> Result<(), DecodeError> {
    let Some(Value::Array(heard)) = heard else { return Ok(()) };
    let number =
        |gateway: &Map<String, Value>, name: &str| gateway.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let signal = |gateway: &Map<String, Value>| (number(gateway, "snr"), number(gateway, "rssi"));
    let gateways = heard.iter().filter_map(Value::as_object).filter(|gateway| gateway.contains_key("rssi"));
    let best = gateways.map(signal).max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let Some((snr, rssi)) = best else { return Ok(()) };
    out.put_with("radio.rssi", Scalar::Float(rssi), "dB[mW]")?;
    out.put_with("radio.snr", Scalar::Float(snr), "dB")
}
