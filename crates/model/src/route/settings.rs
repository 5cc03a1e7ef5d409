//! Routes as the configuration writes them: `[[route]]` in `godwit.toml`.
//!
//! Text as it was written, nothing judged: that is [`Routes::new`](super::Routes::new), which reports everything
//! that is wrong at once.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One `[[route]]`: what the topics of a filter mean. The first route whose filter matches a topic is the topic's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteSettings {
    /// The topics, as an MQTT filter: `+` stands for one level, `#` for the rest. Required; with `preset` it may be
    /// left out, and the topics are those that the maker's settings have by default.
    pub filter: String,
    /// Whose readings these are: `connection` (who sent them), `topic(2)` (the second level), `topic(2..)` (from the
    /// second level on), `payload(path)` (a field), or a text such as `{topic(2)}-{topic(4)}`. Default: `connection`.
    pub device: Option<String>,
    /// What the payloads are: `json`, `senml`, `cbor`, `cayenne`, `number`, `text`, `log`, `sparkplug` or
    /// `raw` (kept, no readings). Default: `json`.
    pub decode: Option<String>,
    /// Priority class: `alarm`, `control`, `telemetry` or `bulk`. Default: `telemetry`.
    pub lane: Option<String>,
    /// What is kept: `all`, `journal` (no readings) or `none` (delivered to subscribers only). Default: `all`.
    pub keep: Option<String>,
    /// The time of the readings.
    pub time: Option<TimeSettings>,
    /// The zone of local times, such as `Europe/Berlin`: the same as `time.zone`. Default: none; a local time is then
    /// not used.
    pub zone: Option<String>,
    /// The field that carries the message's id, nested names joined with `.`; a message with an id that was seen
    /// before is not stored again. Default: none.
    pub id: Option<String>,
    /// The part of the payload that holds the readings, nested names joined with `.`: what is outside is none, and
    /// names start there. A list of objects at this place is one sample each. Default: the whole payload.
    pub channels: Option<String>,
    /// Other names for channels: `"ENERGY.Total" = "energy.total"`, or for all that start alike
    /// `"ENERGY.*" = "energy.*"`. A whole name goes before a pattern, a longer pattern before a shorter one.
    pub rename: BTreeMap<String, String>,
    /// Fields that are no readings: `"Wifi.SSId"`, or `"Wifi.*"`. As the payload names them, before `rename`.
    pub ignore: Vec<String>,
    /// A ready-made route for a known kind of device: `tasmota`, `zigbee2mqtt`, `shelly`, `esphome`, `ttn` or
    /// `chirpstack`. May be combined with `filter`, `device`, `lane`, `keep`, `zone`, `rename` and `ignore`.
    pub preset: Option<String>,
}

/// The time of a route's readings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeSettings {
    /// The field that carries it, nested names joined with `.`. Default: `ts`, else `time`, else `timestamp`, in any
    /// case.
    pub field: Option<String>,
    /// The unit of numbers: `auto`, `s`, `ms`, `us` or `ns`. Default: `auto`.
    pub unit: Option<String>,
    /// The zone of local times, such as `Europe/Berlin`. Default: none; a local time is then not used.
    pub zone: Option<String>,
    /// Times before it are not believed: a date such as `2000-01-08` or RFC 3339. Default: 2000-01-08.
    pub not_before: Option<String>,
}
