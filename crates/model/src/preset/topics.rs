//! Which topics the devices of a preset publish on, and what each of them is.
//!
//! Data only: `route::expand` makes routes of it. The law: what a maker's device publishes by default is either read or
//! put aside by name, so that nothing of a known device is listed as unrouted.

use super::Part;

/// A known kind of device.
pub(crate) struct Preset {
    /// As routes call it.
    pub name: &'static str,
    pub families: &'static [Family],
}

/// Topics with a common start.
pub(crate) struct Family {
    /// The start, as a filter that ends in `#`.
    pub base: &'static str,
    /// The level by which a filter of the user's own is known to be of this family; `None`: of any.
    pub marker: Option<&'static str>,
    /// Whose readings these are.
    pub device: Owner,
    /// What stands in place of the `#`, and what it is; the first that matches. A `#` before further levels stands for
    /// one level or more.
    pub parts: &'static [(&'static str, Part)],
}

/// Whose readings a family's messages carry, where the route does not say.
#[derive(Clone, Copy)]
pub(crate) enum Owner {
    /// The base's last `+`, else its last level.
    Level,
    /// All levels after the base: a name may have slashes.
    Rest,
    /// A field of the payload, else as [`Owner::Level`].
    Payload(&'static str),
}

pub(crate) const PRESETS: [Preset; 6] = [
    Preset {
        name: "tasmota",
        families: &[
            Family {
                base: "tele/+/#",
                marker: None,
                device: Owner::Level,
                parts: &[
                    ("SENSOR", Part::TasmotaSensor),
                    ("STATE", Part::TasmotaState),
                    ("LWT", Part::Presence("tasmota")),
                    ("INFO1", Part::TasmotaInfo),
                    ("INFO2", Part::Aside),
                    ("INFO3", Part::Aside),
                ],
            },
            // Commands and their answers: the state that follows comes as STATE.
            Family {
                base: "stat/+/#",
                marker: Some("stat"),
                device: Owner::Level,
                parts: &[("#", Part::Aside)],
            },
            Family {
                base: "cmnd/+/#",
                marker: Some("cmnd"),
                device: Owner::Level,
                parts: &[("#", Part::Aside)],
            },
        ],
    },
    Preset {
        name: "zigbee2mqtt",
        families: &[Family {
            base: "zigbee2mqtt/#",
            marker: None,
            device: Owner::Rest,
            parts: &[
                ("bridge/#", Part::Aside),
                ("#/set", Part::Aside),
                ("#/set/+", Part::Aside),
                ("#/get", Part::Aside),
                ("#/get/+", Part::Aside),
                ("#/availability", Part::Presence("zigbee2mqtt")),
                ("#", Part::Zigbee),
            ],
        }],
    },
    Preset {
        name: "shelly",
        families: &[
            Family {
                base: "+/#",
                marker: None,
                device: Owner::Level,
                parts: &[("events/rpc", Part::ShellyRpc), ("online", Part::Presence("shelly"))],
            },
            Family {
                base: "shellies/#",
                marker: Some("shellies"),
                device: Owner::Level,
                parts: &[("announce", Part::Aside), ("command", Part::Aside)],
            },
            Family {
                base: "shellies/+/#",
                marker: Some("shellies"),
                device: Owner::Level,
                parts: &[
                    ("online", Part::Presence("shelly")),
                    ("announce", Part::ShellyAnnounce),
                    ("info", Part::ShellyInfo),
                    ("command", Part::Aside),
                    ("#/command", Part::Aside),
                    ("#/set", Part::Aside),
                    ("+/#", Part::ShellyFirst),
                ],
            },
        ],
    },
    Preset {
        name: "esphome",
        families: &[
            Family {
                base: "homeassistant/#",
                marker: Some("homeassistant"),
                device: Owner::Level,
                parts: &[("#", Part::Aside)],
            },
            Family {
                base: "+/#",
                marker: None,
                device: Owner::Level,
                parts: &[
                    ("sensor/+/state", Part::Esphome),
                    ("binary_sensor/+/state", Part::Esphome),
                    ("switch/+/state", Part::Esphome),
                    ("text_sensor/+/state", Part::Esphome),
                    ("number/+/state", Part::Esphome),
                    ("select/+/state", Part::Esphome),
                    ("light/+/state", Part::Esphome),
                    ("fan/+/state", Part::Esphome),
                    ("cover/+/state", Part::Esphome),
                    ("status", Part::Presence("esphome")),
                ],
            },
        ],
    },
    Preset {
        name: "ttn",
        families: &[Family {
            base: "v3/+/devices/+/#",
            marker: None,
            device: Owner::Payload("end_device_ids.device_id"),
            parts: &[("up", Part::Ttn), ("#", Part::Aside)],
        }],
    },
    Preset {
        name: "chirpstack",
        families: &[Family {
            base: "application/+/device/+/#",
            marker: None,
            device: Owner::Level,
            parts: &[
                ("event/up", Part::Chirpstack),
                ("event/status", Part::ChirpstackStatus),
                ("#", Part::Aside),
            ],
        }],
    },
];
