//! Tasmota: `tele/<topic>/SENSOR`, `STATE`, `INFO1`.
//!
//! Sensors are nested by their name: `DS18B20-1.Temperature`, `ENERGY.Total`. `Time` is local time without a zone, so the
//! route must say `zone`. What a device says of its units is the unit of its channels, not a channel of its own.

use serde_json::{Map, Value};

use super::tree::{self, last, leaves, put, put_leaf};
use super::{Part, health};
use crate::decode::DecodeError;
use crate::decode::collect::{Collector, Scalar};

/// `tele/<topic>/SENSOR`.
pub(super) fn sensor(part: Part, out: &mut Collector<'_>) -> Result<(), DecodeError> {
    let mut object = tree::object(part, out)?;
    tree::time(out, object.remove("Time").as_ref());
    let temperature = match object.remove("TempUnit").as_ref().and_then(Value::as_str) {
        Some("F") => "[degF]",
        _ => "Cel",
    };
    let pressure = match object.remove("PressureUnit").as_ref().and_then(Value::as_str) {
        Some("mmHg") => "mm[Hg]",
        Some("inHg") => "[in_i'Hg]",
        _ => "hPa",
    };
    object.remove("SpeedUnit");
    leaves(out, "", &Value::Object(object), &mut |out, name, value| {
        let unit = match last(name) {
            // Which sensor of its kind it is; since when it counts.
            "Id" | "TotalStartTime" => return Ok(()),
            "Temperature" | "DewPoint" => Some(temperature),
            "Pressure" | "SeaPressure" => Some(pressure),
            other => unit(other),
        };
        put_leaf(out, name, tree::switched(value), unit)
    })
}

/// The unit of a value that is always in the same.
fn unit(name: &str) -> Option<&'static str> {
    Some(match name {
        "Humidity" => "%",
        "Total" | "Yesterday" | "Today" | "ExportActive" | "ImportActive" => "kW.h",
        "Power" | "ActivePower" => "W",
        "ApparentPower" => "V.A",
        "ReactivePower" => "var",
        "Factor" => "1",
        "Voltage" => "V",
        "Current" => "A",
        "Frequency" => "Hz",
        "CarbonDioxide" | "eCO2" => "[ppm]",
        "Illuminance" => "lx",
        "PM1" | "PM2.5" | "PM10" => "ug/m3",
        _ => return None,
    })
}

/// `tele/<topic>/STATE`: switches and lights; what it says of the device itself is its health.
pub(super) fn state(part: Part, out: &mut Collector<'_>) -> Result<(), DecodeError> {
    let mut object = tree::object(part, out)?;
    tree::time(out, object.remove("Time").as_ref());
    match object.get("UptimeSec") {
        Some(_) => put(out, &object, "UptimeSec", (health::UPTIME, "s"))?,
        None => {
            if let Some(seconds) = tree::text(&object, "Uptime").and_then(uptime) {
                out.put_with(health::UPTIME, Scalar::Integer(seconds), "s")?;
            }
        }
    }
    put(out, &object, "Wifi.Signal", (health::RSSI, "dB[mW]"))?;
    // The device counts in KiB.
    if let Some(kib) = object.get("Heap").and_then(Value::as_f64) {
        out.put_with(health::HEAP_FREE, Scalar::Float(kib * 1024.0), "By")?;
    }
    const OWN: [&str; 11] = [
        "Uptime",
        "UptimeSec",
        "Heap",
        "SleepMode",
        "Sleep",
        "LoadAvg",
        "MqttCount",
        "Wifi",
        "Berry",
        "Hostname",
        "IPAddress",
    ];
    object.retain(|name, _| !OWN.contains(&name.as_str()));
    leaves(out, "", &Value::Object(object), &mut |out, name, value| {
        put_leaf(out, name, tree::switched(value), (name == "Vcc").then_some("V"))
    })
}

/// `1T02:03:04`: days, hours, minutes and seconds, as seconds.
fn uptime(text: &str) -> Option<i64> {
    let (days, clock) = text.split_once('T')?;
    let mut parts = clock.split(':').map(str::parse::<u32>);
    let (hours, minutes, seconds) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let days: u32 = days.parse().ok()?;
    Some(i64::from(days) * 86_400 + i64::from(hours) * 3_600 + i64::from(minutes) * 60 + i64::from(seconds))
}

/// `tele/<topic>/INFO1`: the firmware, once after each start.
pub(super) fn info(part: Part, out: &mut Collector<'_>) -> Result<(), DecodeError> {
    let object: Map<String, Value> = tree::object(part, out)?;
    let path = if object.contains_key("Info1") { "Info1.Version" } else { "Version" };
    put(out, &object, path, (health::FIRMWARE, ""))
}
