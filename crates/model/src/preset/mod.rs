//! What the devices that people own say: one file per maker, each from the maker's documented format.
//!
//! A preset stands for several routes ([`topics`]); each names its [`Part`], which says what the payload means. Not
//! here: where the topics are (`route::expand`), and how flattened names become readings (`decode`). The laws: every
//! fact is one channel, in the unit that docs/devices.md says; who is online is `health.online`, and what a device
//! says of its own health is on the standard `health.` channels and nowhere else.

mod chirpstack;
mod esphome;
mod shelly;
mod shelly_first;
mod tasmota;
mod topics;
mod tree;
mod ttn;
mod zigbee2mqtt;

use bytestring::ByteString;

use crate::decode::collect::{Collector, Scalar};
use crate::decode::{DecodeError, Decoded, pick, shown};
use crate::limit::NUMBER_BYTES_MAX;
use crate::route::Route;
use crate::{Message, Names};

pub(crate) use topics::{Family, Owner, PRESETS, Preset};

/// What the messages on some topics of a preset are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// Nothing to read: commands, answers, settings.
    Aside,
    /// Whether a device of the preset so called is there, as a word.
    Presence(&'static str),
    /// What Tasmota's sensors say.
    TasmotaSensor,
    /// What Tasmota says of itself and of its switches.
    TasmotaState,
    /// Tasmota's firmware, once after each start.
    TasmotaInfo,
    /// A device's state by zigbee2mqtt.
    Zigbee,
    /// Notifications of a Shelly of the second generation or later.
    ShellyRpc,
    /// One value of a Shelly of the first generation.
    ShellyFirst,
    /// What such a Shelly is.
    ShellyAnnounce,
    /// Its whole status.
    ShellyInfo,
    /// One value of ESPHome.
    Esphome,
    /// An uplink by The Things Stack v3.
    Ttn,
    /// An uplink by ChirpStack v4.
    Chirpstack,
    /// A device's battery by ChirpStack v4.
    ChirpstackStatus,
}

impl Part {
    /// The preset, as routes call it.
    #[must_use]
    pub fn preset(self) -> &'static str {
        match self {
            Self::Aside => "aside",
            Self::Presence(preset) => preset,
            Self::TasmotaSensor | Self::TasmotaState | Self::TasmotaInfo => "tasmota",
            Self::Zigbee => "zigbee2mqtt",
            Self::ShellyRpc | Self::ShellyFirst | Self::ShellyAnnounce | Self::ShellyInfo => "shelly",
            Self::Esphome => "esphome",
            Self::Ttn => "ttn",
            Self::Chirpstack | Self::ChirpstackStatus => "chirpstack",
        }
    }

    /// Whether its payloads are objects, in which `payload(…)` can name the device.
    pub(crate) fn has_fields(self) -> bool {
        !matches!(self, Self::Aside | Self::Presence(_) | Self::ShellyFirst | Self::Esphome)
    }

    /// Whether its payloads carry an id.
    pub(crate) fn has_id(self) -> bool {
        matches!(self, Self::Ttn | Self::Chirpstack | Self::ChirpstackStatus)
    }

    fn refused(self, reason: impl Into<String>) -> DecodeError {
        DecodeError::NotOfPreset { preset: self.preset(), reason: reason.into() }
    }
}

/// The id that a payload of `part` carries.
pub(crate) fn message_id(part: Part, payload: &[u8]) -> Option<ByteString> {
    match part {
        Part::Ttn => ttn::message_id(payload),
        Part::Chirpstack | Part::ChirpstackStatus => pick(payload, chirpstack::ID),
        _ => None,
    }
}

/// Decodes `message` as `part` says; see [`Route::decode`].
pub(crate) fn decode(
    part: Part,
    route: &Route,
    message: &Message,
    names: &mut Names,
) -> Result<Decoded, DecodeError> {
    let mut out = Collector::new(route, message, names)?;
    match part {
        Part::Aside => {}
        Part::Presence(_) => presence(part, &mut out)?,
        Part::TasmotaSensor => tasmota::sensor(part, &mut out)?,
        Part::TasmotaState => tasmota::state(part, &mut out)?,
        Part::TasmotaInfo => tasmota::info(part, &mut out)?,
        Part::Zigbee => zigbee2mqtt::state(part, &mut out)?,
        Part::ShellyRpc => shelly::notification(part, &mut out)?,
        Part::ShellyFirst => shelly_first::value(part, &mut out)?,
        Part::ShellyAnnounce => shelly_first::announce(part, &mut out)?,
        Part::ShellyInfo => shelly_first::info(part, &mut out)?,
        Part::Esphome => esphome::value(part, &mut out)?,
        Part::Ttn => ttn::uplink(part, &mut out)?,
        Part::Chirpstack => chirpstack::uplink(part, &mut out)?,
        Part::ChirpstackStatus => chirpstack::status(part, &mut out)?,
    }
    out.end_sample()?;
    Ok(out.finish())
}

/// `health.online`, from the words that makers use; also as `{"state": "online"}`.
fn presence(part: Part, out: &mut Collector<'_>) -> Result<(), DecodeError> {
    let text = text(out.message)?;
    let object = text.starts_with('{').then(|| tree::object(part, out)).transpose()?;
    let word = object.as_ref().map_or(text, |tree| tree::text(tree, "state").unwrap_or_default());
    let is = |words: [&str; 3]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
    let online = if is(["online", "true", "1"]) {
        true
    } else if is(["offline", "false", "0"]) {
        false
    } else {
        return Err(part.refused(format!("`{}` is neither online nor offline", shown(text))));
    };
    out.put(health::ONLINE, Scalar::Bool(online))
}

/// The standard channels of a device's health.
mod health {
    pub(super) const ONLINE: &str = "health.online";
    pub(super) const RSSI: &str = "health.rssi";
    pub(super) const UPTIME: &str = "health.uptime";
    pub(super) const BATTERY: &str = "health.battery";
    pub(super) const HEAP_FREE: &str = "health.heap_free";
    pub(super) const FIRMWARE: &str = "health.firmware";
}

/// The payload as text, without white space around it.
fn text(message: &Message) -> Result<&str, DecodeError> {
    let text = std::str::from_utf8(&message.payload);
    text.map(str::trim).map_err(|e| DecodeError::NotUtf8 { byte: e.valid_up_to() })
}

/// What a payload of one word or number says: switched on is 1, off is 0.
fn word(text: &str) -> Scalar<'_> {
    if let Some(on) = switched(text) {
        return Scalar::Bool(on);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && text.len() <= NUMBER_BYTES_MAX => Scalar::Written(text, number),
        _ if text.is_empty() => Scalar::Null,
        _ => Scalar::Text(text),
    }
}

/// `ON`, `off`, `true`, …: whether something is on; `None` for other words.
fn switched(text: &str) -> Option<bool> {
    let is = |words: [&str; 2]| words.iter().any(|known| text.eq_ignore_ascii_case(known));
    if is(["on", "true"]) {
        Some(true)
    } else if is(["off", "false"]) {
        Some(false)
    } else {
        None
    }
}
