//! What `doctor`, the metrics and the API ask of this room.

use std::collections::BTreeMap;

use model::Timestamp;

use crate::tally::Tally;

/// Most devices whose clock offset is listed, the largest first.
pub(crate) const OFFSETS_MAX: usize = 1_000;

/// How the room stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// Every record up to this `seq` has had its effect, in memory at least.
    pub applied: u64,
    /// Every record up to this `seq` has had its effect on disk.
    pub durable: u64,
    /// Readings in memory only.
    pub memory_readings: u64,
    /// Live column files.
    pub files: u64,
    /// Readings in them. A reading that was replaced counts twice until its files are merged.
    pub file_readings: u64,
    /// Bytes of those on the volume.
    pub file_bytes: u64,
    /// The earliest time in them.
    pub oldest: Option<Timestamp>,
    /// Devices that ever had a reading, as far as readings are kept.
    pub devices: u64,
    /// Channels of all devices.
    pub channels: u64,
    /// Device time minus receipt in microseconds, of the devices that are furthest off, the furthest first.
    pub clock_offsets: Vec<(String, i64)>,
    /// Files that were found damaged or missing since the start, with why. Queries that need one of them fail.
    pub faulty: BTreeMap<String, String>,
    /// How full the volume is.
    pub disk: DiskStats,
    /// The remote store, if there is one.
    pub remote: Option<RemoteStats>,
    /// What was counted.
    pub tally: Tally,
}

/// How the remote store stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteStats {
    /// Its URL.
    pub url: String,
    /// Column files in it.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Ranges read from it since the start.
    pub reads: u64,
    /// Calls that failed since the start.
    pub failures: u64,
    /// Why the last call failed; `None` when it succeeded.
    pub last_error: Option<String>,
}

/// How full the volume is with Godwit's own files, when it was looked at last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Bytes of column files and journal.
    pub used: u64,
    /// Bytes at which the oldest raw readings go; 0 before the first look.
    pub budget: u64,
    /// Whether a warning stands: seven eighths of the budget are used.
    pub is_nearly_full: bool,
    /// Bytes of column files that a day brings, by those received in the last seven days.
    pub growth_per_day: u64,
    /// Days until the budget is reached at this growth; `None` when that is more than ten years.
    pub days_left: Option<u64>,
}
