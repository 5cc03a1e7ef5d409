//! The manifest: which column files are live, and up to which record everything here has had its effect.
//!
//! ```text
//! <data>/series/MANIFEST        replaced atomically; at most MANIFEST_BYTES_MAX bytes
//!
//! godwit-series 1 crc32c=0a1b2c3d\n      the version, and the checksum of what follows
//! {
//!   "position": 8143,                    every record up to this seq has had its effect
//!   "next_file": 17,                     number of the next column file
//!   "files": [                           the live files; a file that is not named here does not exist
//!     { "name": "2015-02-04-00000003.parquet", "day": 16470, "rows": 2214, "bytes": 9120, "checksums": [2868034071],
//!       "seq_from": 1, "seq_to": 8143,   its generation
//!       "first": {"device": "office-1", "channel": "co2", "time": 1423072260000000}, "last": {…},
//!       "time_min": …, "time_max": …, "received_max": … }        microseconds
//!   ],
//!   "latest": {"name": "latest-00000016.parquet", "seq": 8143, …},  newest readings as of that seq, or null
//!   "tally": {…}                         what was counted up to `position`
//! }
//! ```
//!
//! Effect and position move together because both are in this one file. Not here: the files themselves. The laws: a
//! manifest of a newer version is refused; one whose checksum is wrong is refused and never written over.

use std::io;
use std::path::{Path, PathBuf};

use host::Disk;
use serde::{Deserialize, Serialize};

use crate::error::OpenError;
use crate::rows::Key;
use crate::tally::Tally;

/// The version this program writes; older ones are upgraded, newer refused.
pub(crate) const VERSION: u32 = 1;

/// Its name in the directory.
pub(crate) const NAME: &str = "MANIFEST";

/// Largest manifest: some 500,000 files.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// A live column file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    /// Its name in the directory.
    pub name: String,
    /// Day of the readings' times, counted from 1970-01-01.
    pub day: i64,
    /// Readings in it.
    pub rows: u64,
    /// Its length.
    pub bytes: u64,
    /// CRC32C of each 256 KiB of it.
    pub checksums: Vec<u32>,
    /// First `seq` of its generation.
    pub seq_from: u64,
    /// Last `seq` of its generation.
    pub seq_to: u64,
    /// Identity of its first row.
    pub first: Key,
    /// Identity of its last row.
    pub last: Key,
    /// Earliest time in microseconds.
    pub time_min: i64,
    /// Latest time in microseconds.
    pub time_max: i64,
    /// Latest receipt in microseconds.
    pub received_max: i64,
    /// Whether a channel of it keeps different values of one time side by side.
    #[serde(default)]
    pub appends: bool,
}

impl FileEntry {
    /// The later of the newest time and the newest receipt, by which age is counted.
    pub(crate) fn newest(&self) -> i64 {
        self.time_max.max(self.received_max)
    }
}

/// The file of newest readings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LatestEntry {
    /// Its name in the directory.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// CRC32C of each 256 KiB of it.
    pub checksums: Vec<u32>,
    /// Readings of every record up to this `seq` are in it.
    pub seq: u64,
}

/// What is durable.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Every record up to this `seq` has had its effect.
    pub position: u64,
    /// Number of the next file.
    pub next_file: u64,
    /// The live files.
    pub files: Vec<FileEntry>,
    /// The file of newest readings.
    pub latest: Option<LatestEntry>,
    /// What was counted.
    pub tally: Tally,
}

impl Manifest {
    /// Reads the manifest of a directory; a new one when there is none.
    pub(crate) fn read(dir: &Path, disk: &dyn Disk) -> Result<Self, OpenError> {
        let path = dir.join(NAME);
        let bytes = match disk.read(&path, MANIFEST_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(OpenError::Io { path, source }),
        };
        Self::parse(&bytes, &path)
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, OpenError> {
        let damaged = |reason: String| OpenError::Manifest { path: path.to_owned(), reason };
        let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
        let head = String::from_utf8_lossy(&bytes[..end.min(80)]);
        let body = bytes.get(end + 1..).unwrap_or_default();
        let mut words = head.split(' ');
        let (Some("godwit-series"), Some(version), Some(checksum), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(damaged("it does not start with `godwit-series`".to_owned()));
        };
        let version: u32 = match version.parse() {
            Ok(version) if version > 0 => version,
            _ => return Err(damaged(format!("`{version}` is no version"))),
        };
        // Before the checksum: a newer version may compute another.
        if version > VERSION {
            return Err(OpenError::Newer { path: path.to_owned(), found: version });
        }
        let found = format!("crc32c={:08x}", crc32c::crc32c(body));
        if found != checksum {
            return Err(damaged(format!("its content has {found}, its first line says {checksum}")));
        }
        serde_json::from_slice(body).map_err(|error| damaged(error.to_string()))
    }

    /// Puts it in place of the one that is there.
    pub(crate) fn write(&self, dir: &Path, disk: &dyn Disk) -> io::Result<()> {
        disk.replace(&dir.join(NAME), &self.bytes())
    }

    fn bytes(&self) -> Vec<u8> {
        let body = serde_json::to_vec(self).expect("numbers, texts and lists become JSON");
        let mut bytes =
            format!("godwit-series {VERSION} crc32c={:08x}\n", crc32c::crc32c(&body)).into_bytes();
        bytes.extend(body);
        bytes
    }

    /// Whether the directory's file `name` is one that this manifest, or any, would name.
    pub(crate) fn owns(name: &str) -> bool {
        name.ends_with(".parquet") || name == format!("{NAME}.new")
    }

    /// Every file it names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.files
            .iter()
            .map(|file| file.name.as_str())
            .chain(self.latest.as_ref().map(|latest| latest.name.as_str()))
    }
}

/// Name of a column file.
pub(crate) fn file_name(day: i64, number: u64) -> String {
    let time = model::Timestamp::from_micros(day.saturating_mul(model::Timestamp::DAY)).to_string();
    let date = time.split('T').next().unwrap_or("day");
    format!("{date}-{number:08}.parquet")
}

/// Where a file of the directory is.
pub(crate) fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_comes_back_and_damage_is_noticed() {
        let manifest = Manifest { position: 7, next_file: 3, ..Manifest::default() };
        let bytes = manifest.bytes();
        let path = Path::new("series/MANIFEST");
        assert_eq!(Manifest::parse(&bytes, path).expect("whole"), manifest);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Manifest::parse(&damaged, path).is_err(), "byte {at}");
        }
        let cut = Manifest::parse(&bytes[..bytes.len() - 1], path).expect_err("cut").to_string();
        assert!(cut.starts_with("`series/MANIFEST` is damaged"), "{cut}");
    }

    #[test]
    fn a_newer_version_is_refused() {
        let newer = b"godwit-series 2 sha3=00\n\x01\x02";
        let error = Manifest::parse(newer, Path::new("MANIFEST")).expect_err("refused");
        assert!(matches!(error, OpenError::Newer { found: 2, .. }));
    }

    #[test]
    fn a_file_is_named_after_its_day() {
        assert_eq!(file_name(16_470, 3), "2015-02-04-00000003.parquet");
    }
}
