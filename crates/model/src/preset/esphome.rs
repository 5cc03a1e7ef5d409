//! ESPHome: `<node>/<kind>/<id>/state`.
//!
//! The channel of a sensor is its id; of anything else its kind and id, for a switch and a sensor may have the same:
//! `temperature`, `switch.heater`. `nan` and `None` are no reading. The sensors that ESPHome has for signal and uptime
//! are the device's health.

use super::tree::{leaves, put_leaf, switched};
use super::{Part, health, text, word};
use crate::decode::DecodeError;
use crate::decode::collect::{Collector, Scalar};

pub(super) fn value(_part: Part, out: &mut Collector<'_>) -> Result<(), DecodeError> {
    let topic = out.message.topic.clone();
    let mut levels = topic.rsplit('/').skip(1);
    let (id, kind) = (levels.next().unwrap_or_default(), levels.next().unwrap_or_default());
    let text = text(out.message)?;
    let channel = format!("{kind}.{id}");
    match kind {
        "sensor" => {
            let value = word(text);
            let is_number = matches!(value, Scalar::Written(..));
            match health_of(id).filter(|_| is_number) {
                Some((channel, unit)) => out.put_with(channel, value, unit),
                None => out.put(id, value),
            }
        }
        "text_sensor" if matches!(id, "version" | "esphome_version") => {
            out.put(health::FIRMWARE, Scalar::Text(text))
        }
        "text_sensor" | "select" if text.is_empty() => Ok(()),
        "text_sensor" | "select" => out.put(&channel, Scalar::Text(text)),
        _ if text.starts_with('{') => match serde_json::from_str(text) {
            Ok(tree) => leaves(out, &channel, &tree, &mut |out, name, value| {
                put_leaf(out, name, switched(value), None)
            }),
            Err(_) => out.put(&channel, Scalar::Text(text)),
        },
        _ => out.put(&channel, word(text)),
    }
}

/// The channel of a sensor by which a node speaks of itself. An id may start with the node's name.
fn health_of(id: &str) -> Option<(&'static str, &'static str)> {
    let ends =
        |name: &str| id.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('_'));
    if ["wifi_signal", "wifi_signal_db", "wifi_signal_strength"].into_iter().any(ends) {
        Some((health::RSSI, "dB[mW]"))
    } else if ["uptime", "uptime_sensor"].into_iter().any(ends) {
        Some((health::UPTIME, "s"))
    } else if ["battery_level", "battery_percentage"].into_iter().any(ends) {
        Some((health::BATTERY, "%"))
    } else {
        None
    }
}
