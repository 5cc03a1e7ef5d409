//! What `replay` and `import` share: a file of measurements on one side, a server that acknowledges on the other.
//!
//! Not here: what a row means. The law: a row counts as done only when the server has acknowledged it.

pub(crate) mod cells;
pub(crate) mod delivery;
pub(crate) mod fields;
pub(crate) mod file;
pub(crate) mod lines;
pub(crate) mod meter;
pub(crate) mod payload;
pub(crate) mod progress;
pub(crate) mod sending;
pub(crate) mod times;
pub(crate) mod unreadable;

use jiff::tz::TimeZone;

/// Names of the time column or field, the first one that is there and holds times wins.
pub(crate) const TIME_NAMES: [&str; 4] = ["date", "time", "timestamp", "ts"];

/// A time zone as a flag names it.
pub(crate) fn zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).map_err(|_| "it is no time zone; write it as Europe/Berlin".to_owned())
}

/// A window as a flag names it.
pub(crate) fn window(text: &str) -> Result<usize, String> {
    let window = text.parse().ok().filter(|window| (1..=client::WINDOW_MAX).contains(window));
    window.ok_or_else(|| format!("it is a number from 1 to {}", client::WINDOW_MAX))
}

/// A device as a flag names it.
pub(crate) fn device(text: &str) -> Result<model::DeviceName, String> {
    model::DeviceName::parse(text.to_owned()).map_err(|error| error.to_string())
}

/// Spreadsheets put a byte order mark before UTF-8.
pub(crate) fn without_bom(head: &[u8]) -> &[u8] {
    head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head)
}
