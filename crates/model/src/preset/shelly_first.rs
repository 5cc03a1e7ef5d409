//! Shelly, first generation: one value per topic below `shellies/<id>/`.
//!
//! The channel is the rest of the topic, joined with `.`: `relay.0`, `emeter.1.voltage`. On is 1 and off is 0. These
//! devices count energy in watt-minutes (of meters, `total` in watt-hours): here everything is Wh, a sixtieth of it.

use super::tree::{self, leaves, put, put_leaf};
use super::{Part, health, text, word};
use crate::decode::DecodeError;
use crate::decode::collect::{Collector, Scalar};
use crate::route::Route;

/// Watt-minutes of a watt-hour.
const MINUTES: f64 = 60.0;

/// One value.
pub(super) fn value(_part: Part, out: &mut Collector<'_>) -> Result<(), DecodeError> {
    let topic = out.message.topic.clone();
    let levels: Vec<&str> = topic.split('/').skip(levels_of_device(out.route)).collect();
    let channel = levels.join(".");
    let text = text(out.message)?;
    match levels.as_slice() {
        ["sensor", "battery"] => out.put_with(health::BATTERY, word(text), "%"),
        // The same in Fahrenheit, and lists of what comes one by one.
        ["temperature_f" | "ext_temperatures" | "ext_humidities"] | ["ext_temperature_f", ..] => Ok(()),
        [.., "energy" | "returned_energy"] => match text.parse::<f64>() {
            Ok(minutes) => out.put_with(&channel, Scalar::Float(minutes / MINUTES), "W.h"),
            Err(_) => put_leaf(out, &channel, Some(word(text)), None),
        },
        _ if text.starts_with(['{', '[']) => match serde_json::from_str(text) {
            Ok(tree) => leaves(out, &channel, &tree, &mut |out, name, value| {
                // What `light/0` and `light/0/power` say already.
                if matches!(tree::last(name), "ison" | "power" | "energy") {
                    return Ok(());
                }
                put_leaf(out, name, tree::switched(value), None)
            }),
            Err(_) => out.put(&channel, Scalar::Text(text)),
        },
        levels => put_leaf(out, &channel, Some(word(text)), unit(levels)),
    }
}

/// How many levels of the topics stand up to the device, and are no part of the channel.
fn levels_of_device(route: &Route) -> usize {
    let filter = route.filter();
    let levels: Vec<&str> = filter.split('/').collect();
    match levels.as_slice() {
        [before @ .., "+", "#"] => before.len(),
        levels => {
            let plus = levels.iter().position(|level| *level == "+");
            let mark = levels.iter().position(|level| *level == "shellies").map(|at| at + 1);
            plus.or(mark).map_or(0, |at| at + 1)
        }
    }
}

/// The unit of a value.
fn unit(levels: &[&str]) -> Option<&'static str> {
    Some(match *levels.last()? {
        "power" => "W",
        "reactive_power" => "var",
        "voltage" => "V",
        "current" => "A",
        "pf" => "1",
        "total" | "total_returned" => "W.h",
        "temperature" => "Cel",
        "humidity" | "pos" => "%",
        "lux" => "lx",
        _ if levels.first() == Some(&"ext_temperature") => "Cel",
        _ if levels.first() == Some(&"ext_humidity") => "%",
        _ => return None,
    })
}

/// `shellies/<id>/announce`: what the device is, after each start.
pub(super) fn announce(part: Part, out: &mut Collector<'_>) -> Result<(), DecodeError> {
    let object = tree::object(part, out)?;
    put(out, &object, "fw_ver", (health::FIRMWARE, ""))
}

/// `shellies/<id>/info`: its whole status. Its values come on topics of their own; its health only here.
pub(super) fn info(part: Part, out: &mut Collector<'_>) -> Result<(), DecodeError> {
    let object = tree::object(part, out)?;
    tree::time(out, object.get("unixtime"));
    put(out, &object, "wifi_sta.rssi", (health::RSSI, "dB[mW]"))?;
    put(out, &object, "uptime", (health::UPTIME, "s"))?;
    put(out, &object, "ram_free", (health::HEAP_FREE, "By"))?;
    put(out, &object, "bat.value", (health::BATTERY, "%"))?;
    put(out, &object, "update.old_version", (health::FIRMWARE, ""))
}
