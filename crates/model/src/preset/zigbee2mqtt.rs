//! zigbee2mqtt: `zigbee2mqtt/<friendly name>`.
//!
//! Every message repeats what is cached, and after a restart all of it comes again. `last_seen` is when the device really
//! spoke: it is the time, and by it a repeat is known ([`Repeats::NotNewer`]). Without it nobody can tell, and the
//! readings say so ([`Flags::POSSIBLY_CACHED`]).

use serde_json::{Map, Value};

use super::tree::{self, last, leaves, put, put_leaf};
use super::{Part, health};
use crate::Flags;
use crate::decode::collect::Collector;
use crate::decode::{DecodeError, Repeats};

pub(super) fn state(part: Part, out: &mut Collector<'_>) -> Result<(), DecodeError> {
    let mut object = tree::object(part, out)?;
    if tree::time(out, object.remove("last_seen").as_ref()) {
        out.decoded.repeats = Repeats::NotNewer;
    } else {
        out.set_flag(Flags::POSSIBLY_CACHED);
    }
    put(out, &object, "battery", (health::BATTERY, "%"))?;
    let firmware = ["device.softwareBuildID", "update.installed_version"];
    if let Some(path) =
        firmware.into_iter().find(|path| tree::at(&object, path).is_some_and(|at| !at.is_null()))
    {
        // A version is a name, also where it is written as a number.
        let version =
            tree::at(&object, path).map(|at| at.as_str().map_or_else(|| at.to_string(), str::to_owned));
        out.put(health::FIRMWARE, crate::decode::collect::Scalar::Text(&version.unwrap_or_default()))?;
    }
    let voltage = voltage(&object);
    // What stands elsewhere already, and what the bridge knows of the device.
    for name in ["battery", "device", "update", "update_available"] {
        object.remove(name);
    }
    leaves(out, "", &Value::Object(object), &mut |out, name, value| {
        if value.as_str() == Some("") {
            return Ok(());
        }
        let unit = if name == "voltage" { voltage } else { unit(last(name)) };
        put_leaf(out, name, tree::switched(value), unit)
    })
}

/// The unit of `voltage`: millivolts of a battery, volts of the mains, as zigbee2mqtt defines both. Which of them it is
/// shows by what else the device has; by how large the number is would be a guess.
fn voltage(object: &Map<String, Value>) -> Option<&'static str> {
    let has = |names: &[&str]| names.iter().any(|name| object.contains_key(*name));
    match (has(&["battery", "battery_low"]), has(&["power", "current", "energy"])) {
        (true, false) => Some("mV"),
        (false, true) => Some("V"),
        // A UPS has both, and says nowhere which voltage it means.
        _ => None,
    }
}

/// The unit of a value that is in the same for every device.
fn unit(name: &str) -> Option<&'static str> {
    Some(match name {
        "temperature"
        | "device_temperature"
        | "local_temperature"
        | "current_heating_setpoint"
        | "occupied_heating_setpoint" => "Cel",
        "humidity" | "soil_moisture" => "%",
        "pressure" => "hPa",
        "power" => "W",
        "energy" => "kW.h",
        "current" => "A",
        "illuminance" | "illuminance_lux" => "lx",
        "co2" => "[ppm]",
        "pm25" => "ug/m3",
        _ => return None,
    })
}
