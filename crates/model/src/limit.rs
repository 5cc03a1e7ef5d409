//! Every bound of the model, named once, each with its reason.
//!
//! Bounds that an operator may move are settings of the room that keeps them; these are the ceilings
//! and defaults that the words themselves have.

/// Longest device name in bytes: AWS IoT's bound for a thing name, so that names carry over.
pub const DEVICE_NAME_BYTES_MAX: usize = 128;

/// Longest channel name in bytes of UTF-8: nested JSON names joined with dots stay far below it.
pub const CHANNEL_NAME_BYTES_MAX: usize = 256;

/// Longest level of a group's path in bytes: AWS IoT's bound for the name of a thing group.
pub const GROUP_LEVEL_BYTES_MAX: usize = 128;

/// Most levels of a group's path: country, city, site, building, floor, room, rack and one to spare (AWS IoT has 7).
pub const GROUP_LEVELS_MAX: usize = 8;

/// Longest topic in bytes: the two-byte length of an MQTT string (MQTT 5.0, section 1.5.4).
pub const TOPIC_BYTES_MAX: usize = 65_535;

/// Most levels of a topic or filter: deeper ones have crashed brokers (CVE-2019-11779) and name nothing real.
pub const TOPIC_LEVELS_MAX: usize = 128;

/// Largest MQTT packet by default, in bytes; the setting `packet_bytes_max` moves it.
pub const PACKET_BYTES_DEFAULT: usize = 256 * 1024;

/// Largest value the setting `packet_bytes_max` may take, in bytes: one record of the journal holds the packet.
pub const PACKET_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Deepest nesting of a JSON payload.
pub const JSON_DEPTH_MAX: usize = 16;

/// Most readings that one message may carry.
pub const MESSAGE_READINGS_MAX: usize = 1_000;

/// Longest text reading in bytes; a longer one makes the message undecodable rather than half stored.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Longest client id in bytes: it is a key of maps and stands in every record of the connection. MQTT asks for 23.
pub const CLIENT_ID_BYTES_MAX: usize = 256;

/// Longest id a message may carry, in bytes.
pub const MESSAGE_ID_BYTES_MAX: usize = 256;

/// How far ahead of the receiver a device's clock may be before its time is not believed, in microseconds: 5 minutes.
pub const CLOCK_AHEAD_MICROS_MAX: i64 = 5 * 60 * 1_000_000;

/// Number of partitions: a label in the record by which consumers divide work.
pub const PARTITIONS: u8 = 16;

/// Largest JSON payload that is decoded, in bytes: a thousand readings with the longest names fit three times.
pub const JSON_BYTES_MAX: usize = 1024 * 1024;

/// Longest payload that `decode = "number"` reads, in bytes: the digits of any number a sensor has.
pub const NUMBER_BYTES_MAX: usize = 128;

/// Largest CBOR payload that is decoded, in bytes: what JSON may be, which is always longer.
pub const CBOR_BYTES_MAX: usize = JSON_BYTES_MAX;

/// Largest Cayenne LPP payload that is decoded, in bytes: radio frames have at most 242.
pub const CAYENNE_BYTES_MAX: usize = 4 * 1024;

/// Largest payload of log lines that is decoded, in bytes.
pub const LOG_BYTES_MAX: usize = 1024 * 1024;

/// Most entries of `rename` and of `ignore` of a route, each: every channel of a message may have one.
pub const RENAMES_MAX: usize = MESSAGE_READINGS_MAX;

/// Most routes in a configuration: a message walks the list, twice, on its way.
pub const ROUTES_MAX: usize = 256;

/// Most `[[channel]]` in a configuration: patterns among them are tried one by one for each new name.
pub const CHANNELS_MAX: usize = 1_000;

/// How far back a device's time must go before it is a step of its clock, in microseconds: 10 s. Readings of
/// one gateway overtake each other by less.
pub const CLOCK_STEP_MICROS_MIN: i64 = 10 * 1_000_000;

/// Largest Sparkplug payload that is decoded, in bytes: a birth of the most metrics, each with name and properties.
pub const SPARKPLUG_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most metrics of one Sparkplug message. A birth names all metrics of a node or device, thousands with a gateway of a
/// plant; to refuse it would be to understand nothing of what comes after.
pub const SPARKPLUG_METRICS_MAX: usize = 10_000;

/// Most Sparkplug edge nodes that are remembered.
pub const SPARKPLUG_NODES_MAX: usize = 10_000;

/// Most nodes, devices and metrics of Sparkplug that are remembered together: some 150 bytes of memory each.
pub const SPARKPLUG_ENTRIES_MAX: usize = 1_000_000;
