//! Shelly, second generation and later: notifications on `<id>/events/rpc`.
//!
//! A status is partial: what did not change is not there, and nothing is made up for it. Channels are the component and
//! the name inside it: `switch:0.apower` in W, `switch:0.aenergy.total` in Wh.

use serde_json::{Map, Value};

use super::tree::{self, last, leaves, put, put_leaf};
use super::{Part, health};
use crate::decode::DecodeError;
use crate::decode::collect::{Collector, Scalar};
use crate::device_time::SentTime;

/// Components that speak of the device itself; what of them is its health is taken out before.
const OWN: [&str; 9] = ["sys", "wifi", "eth", "cloud", "mqtt", "ws", "ble", "knx", "matter"];

pub(super) fn notification(part: Part, out: &mut Collector<'_>) -> Result<(), DecodeError> {
    let object = tree::object(part, out)?;
    let params = match object.get("params") {
        Some(Value::Object(params)) => params,
        _ => return Ok(()),
    };
    match tree::text(&object, "method") {
        Some("NotifyStatus" | "NotifyFullStatus") => status(out, params),
        Some("NotifyEvent") => events(out, params),
        // Answers to whoever asked; other notifications carry no readings.
        _ => Ok(()),
    }
}

fn status(out: &mut Collector<'_>, params: &Map<String, Value>) -> Result<(), DecodeError> {
    tree::time(out, params.get("ts"));
    put(out, params, "wifi.rssi", (health::RSSI, "dB[mW]"))?;
    put(out, params, "sys.uptime", (health::UPTIME, "s"))?;
    put(out, params, "sys.ram_free", (health::HEAP_FREE, "By"))?;
    put(out, params, "devicepower:0.battery.percent", (health::BATTERY, "%"))?;
    let components = params
        .iter()
        .filter(|(name, _)| *name != "ts" && !OWN.contains(&name.as_str()) && !name.starts_with("script:"));
    for (component, value) in components {
        leaves(out, component, value, &mut |out, name, value| {
            let inside = name.get(component.len() + 1..).unwrap_or_default();
            let is_health = name == "devicepower:0.battery.percent";
            // Numbers of the component, who switched it, the minutes behind a total, and Fahrenheit beside Celsius.
            let is_beside = matches!(inside, "id" | "source" | "transition")
                || inside.contains(".by_minute")
                || inside.ends_with(".minute_ts")
                || last(inside) == "tF";
            if is_health || is_beside {
                return Ok(());
            }
            put_leaf(out, name, tree::scalar(value), unit(last(inside)))
        })?;
    }
    Ok(())
}

/// Each event is a text on `<component>.event`, at its own time.
fn events(out: &mut Collector<'_>, params: &Map<String, Value>) -> Result<(), DecodeError> {
    let Some(Value::Array(events)) = params.get("events") else { return Ok(()) };
    for (n, event) in events.iter().filter_map(Value::as_object).enumerate() {
        let (Some(component), Some(name)) = (tree::text(event, "component"), tree::text(event, "event"))
        else {
            continue;
        };
        let ts = event.get("ts").or_else(|| params.get("ts")).and_then(Value::as_f64);
        if let Some(ts) = ts {
            // Two of one moment are two: a microsecond apart.
            out.set_time(SentTime::Number(ts + n as f64 / 1e6));
        }
        out.put(&format!("{component}.event"), Scalar::Text(name))?;
        out.end_sample()?;
    }
    Ok(())
}

/// The unit of a name inside a component.
fn unit(name: &str) -> Option<&'static str> {
    Some(match name {
        "apower" => "W",
        "total" => "W.h",
        "tC" => "Cel",
        "rh" | "percent" | "brightness" | "current_pos" => "%",
        "lux" => "lx",
        "V" => "V",
        name if name.ends_with("act_power") => "W",
        name if name.ends_with("aprt_power") => "V.A",
        name if name.ends_with("act_energy") || name.ends_with("act_ret_energy") => "W.h",
        name if name.ends_with("voltage") => "V",
        name if name.ends_with("current") => "A",
        name if name.ends_with("freq") => "Hz",
        name if name.ends_with("pf") => "1",
        _ => return None,
    })
}
