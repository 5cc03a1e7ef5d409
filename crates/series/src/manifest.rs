//! The manifest: which column files are live, and up to which record everything here has had its effect.
//!
//! ```text
//! <data>/series/MANIFEST        replaced atomically; at most MANIFEST_BYTES_MAX bytes
//!
//! godwit-series 2 sealed\n               the version; what follows is sealed (see `files::seal`) under the name "MANIFEST 2"
//! godwit-series 2 crc32c=0a1b2c3d\n      or, with `[series] encrypt = false`, plain, and this is its checksum
//! {
//!   "position": 8143,                    every record up to this seq has had its effect
//!   "next_file": 17,                     number of the next column file
//!   "files": [                           the live files; a file that is not named here does not exist
//!     { "name": "2015-02-04-00000003-5f2e9a1c.parquet.sealed", "day": 16470, "rows": 2214, "bytes": 9232, "sealed": true,
//!       "checksums": [],                 of a plain file: CRC32C of each 256 KiB
//!       "seq_from": 1, "seq_to": 8143,   its generation
//!       "first": {"device": "office-1", "channel": "co2", "time": 1423072260000000}, "last": {…},
//!       "time_min": …, "time_max": …, "received_max": … }        microseconds
//!   ],
//!   "latest": {"name": "latest-00000016-….parquet.sealed", "seq": 8143, …},  newest readings as of that seq, or null
//!   "doubt": ["…"],                      objects of the remote store that are to be removed unless a file above names them
//!   "rollups": [{"day": 16470, "covers": ["2015-02-04-00000003-….parquet.sealed"], "stored": ["1h"],
//!     "files": [{"name": "rollup-1h-2015-02-04-00000018-….parquet.sealed", …}], …}],
//!   "sparkplug": {"name": "nodes-00000018-….parquet.sealed", "seq": 8143, …},  what is known of edge nodes; absent without them
//!   "tally": {…}                         what was counted up to `position`
//! }
//! ```
//!
//! Effect and position move together because both are in this one file. It is sealed because it names devices and
//! channels, and because the tally keeps samples of payloads. Version 1 was never sealed and had no `sealed`; it is read,
//! and written as version 2 by the next flush. Not here: the files themselves. The laws: a manifest of a newer version is
//! refused; one that is not what was written is refused and never written over.
//!
//! It is written whole each time: 10,000 files are some 4 MB, which takes less than the sync of one column file.

use std::io;
use std::path::Path;
use std::sync::Arc;

use host::{Disk, Host, KeyRing};
use serde::{Deserialize, Serialize};

use crate::error::OpenError;
use crate::files::{self, Files, SealError, Stored};
use crate::rollup::{Resolution, RollupDay};
use crate::rows::Key;
use crate::store::LiveFile;
use crate::tally::Tally;

/// The version this program writes; older ones are upgraded, newer refused.
pub(crate) const VERSION: u32 = 2;

/// Its name in the directory.
pub(crate) const NAME: &str = "MANIFEST";

/// What its content is sealed under: a column file cannot stand in its place.
const SEALED_NAME: &str = "MANIFEST 2";

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
    /// CRC32C of each 256 KiB of it; none when it is sealed.
    pub checksums: Vec<u32>,
    /// Whether it is sealed; version 1 had plain files only.
    #[serde(default)]
    pub sealed: bool,
    /// Whether it is in the remote store.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remote: bool,
    /// The rules of retention by which rows were taken out of it, or none had to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept: Option<String>,
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
    /// Its bytes.
    pub(crate) fn stored(&self) -> Stored {
        Stored { remote: self.remote, ..Stored::here(&self.name, self.bytes, &self.checksums, self.sealed) }
    }

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
    /// CRC32C of each 256 KiB of it; none when it is sealed.
    pub checksums: Vec<u32>,
    /// Whether it is sealed; version 1 had plain files only.
    #[serde(default)]
    pub sealed: bool,
    /// Readings of every record up to this `seq` are in it.
    pub seq: u64,
}

impl LatestEntry {
    /// Its bytes.
    pub(crate) fn stored(&self) -> Stored {
        Stored::here(&self.name, self.bytes, &self.checksums, self.sealed)
    }
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
    /// Objects that may be in the remote store and that no file above names: begun to be written, or to be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubt: Vec<String>,
    /// The rollups of days.
    #[serde(default)]
    pub rollups: Vec<RollupDay>,
    /// The file of what is known of Sparkplug's edge nodes, as of `position`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparkplug: Option<LatestEntry>,
    /// What was counted.
    pub tally: Tally,
}

impl Manifest {
    /// Reads the manifest of a directory; a new one when there is none.
    pub(crate) fn read(dir: &Path, host: &Host) -> Result<Self, OpenError> {
        match Self::raw(dir, host.disk.as_ref())? {
            Some(bytes) => Self::parse(&bytes, &dir.join(NAME), &host.keys),
            None => Ok(Self::default()),
        }
    }

    /// The bytes of the manifest of a directory as they stand there; `None` when there is none.
    pub(crate) fn raw(dir: &Path, disk: &dyn Disk) -> Result<Option<Vec<u8>>, OpenError> {
        let path = dir.join(NAME);
        match disk.read(&path, MANIFEST_BYTES_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(OpenError::Io { path, source }),
        }
    }

    fn parse(bytes: &[u8], path: &Path, keys: &KeyRing) -> Result<Self, OpenError> {
        let damaged = |reason: String| OpenError::Manifest { path: path.to_owned(), reason };
        let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
        let head = String::from_utf8_lossy(&bytes[..end.min(80)]);
        let body = bytes.get(end + 1..).unwrap_or_default();
        let mut words = head.split(' ');
        let (Some("godwit-series"), Some(version), Some(form), None) =
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
        let unsealed;
        let body = if form == "sealed" && version > 1 {
            unsealed = files::unseal(SEALED_NAME, body, keys).map_err(|error| match error {
                SealError::Damaged(reason) => damaged(reason),
                SealError::Key(reason) => OpenError::Key { path: path.to_owned(), reason },
            })?;
            &unsealed
        } else {
            let found = format!("crc32c={:08x}", crc32c::crc32c(body));
            if found != form {
                return Err(damaged(format!("its content has {found}, its first line says {form}")));
            }
            body
        };
        serde_json::from_slice(body).map_err(|error| damaged(error.to_string()))
    }

    /// Puts it in place of the one that is there, sealed or plain.
    pub(crate) fn write(&self, dir: &Path, host: &Host, is_sealing: bool) -> io::Result<()> {
        host.disk.replace(&dir.join(NAME), &self.bytes(host, is_sealing))
    }

    fn bytes(&self, host: &Host, is_sealing: bool) -> Vec<u8> {
        let body = serde_json::to_vec(self).expect("numbers, texts and lists become JSON");
        let (form, body) = if is_sealing {
            ("sealed".to_owned(), files::seal(SEALED_NAME, &body, &host.keys, host.random.as_ref()))
        } else {
            (format!("crc32c={:08x}", crc32c::crc32c(&body)), body)
        };
        let mut bytes = format!("godwit-series {VERSION} {form}\n").into_bytes();
        bytes.extend(body);
        bytes
    }

    /// Whether the directory's file `name` is one that this manifest, or any, would name.
    pub(crate) fn owns(name: &str) -> bool {
        Files::owns(name) || name == format!("{NAME}.new")
    }

    /// Column files were replaced or dropped: which of them rollups are folded from, and what is frozen.
    pub(crate) fn replace_in_rollups(
        &mut self,
        old: &[LiveFile],
        new: &[LiveFile],
        is_drop: bool,
        rules: u64,
    ) {
        let days: std::collections::BTreeSet<i64> = old.iter().map(|file| file.entry.day).collect();
        for day in days {
            let of_day = |files: &[LiveFile]| -> Vec<Arc<FileEntry>> {
                files
                    .iter()
                    .filter(|file| file.entry.day == day)
                    .map(|file| Arc::clone(&file.entry))
                    .collect()
            };
            let (old, new) = (of_day(old), of_day(new));
            let names = |files: &[Arc<FileEntry>]| -> Vec<String> {
                files.iter().map(|file| file.name.clone()).collect()
            };
            if is_drop && !self.rollups.iter().any(|known| known.day == day) {
                // They could not be rolled up: nothing may be made of what is left.
                self.rollups.push(RollupDay::new(day, rules));
            }
            let Some(known) = self.rollups.iter_mut().find(|known| known.day == day) else { continue };
            if is_drop {
                old.iter().for_each(|file| known.freeze(&file.first, &file.last));
            }
            known.replace(&names(&old), &names(&new));
        }
    }

    /// Every local file it names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.files
            .iter()
            .filter(|file| !file.remote)
            .map(|file| file.name.as_str())
            .chain(self.latest.as_ref().map(|latest| latest.name.as_str()))
            .chain(self.rollups.iter().flat_map(|day| day.files.iter().map(|file| file.name.as_str())))
            .chain(self.sparkplug.as_ref().map(|sparkplug| sparkplug.name.as_str()))
    }
}

/// How the name of a column file begins.
pub(crate) fn file_stem(day: i64, number: u64) -> String {
    format!("{}-{number:08}", date(day))
}

/// How the name of a rollup file begins.
pub(crate) fn rollup_stem(day: i64, resolution: Resolution, number: u64) -> String {
    format!("rollup-{}-{}-{number:08}", resolution.name(), date(day))
}

/// A day as people write it.
pub(crate) fn date(day: i64) -> String {
    let time = model::Timestamp::from_micros(day.saturating_mul(model::Timestamp::DAY)).to_string();
    time.split('T').next().unwrap_or("day").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_comes_back_and_damage_is_noticed() {
        let manifest = Manifest { position: 7, next_file: 3, ..Manifest::default() };
        let host = host::sim::Machine::new(1).host();
        let path = Path::new("series/MANIFEST");
        for is_sealing in [false, true] {
            let bytes = manifest.bytes(&host, is_sealing);
            assert_eq!(Manifest::parse(&bytes, path, &host.keys).expect("whole"), manifest);
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                assert!(Manifest::parse(&damaged, path, &host.keys).is_err(), "byte {at}");
            }
            let cut = Manifest::parse(&bytes[..bytes.len() - 1], path, &host.keys);
            let cut = cut.expect_err("cut").to_string();
            assert!(cut.starts_with("`series/MANIFEST` is damaged"), "{cut}");
        }
    }

    #[test]
    fn a_newer_version_is_refused() {
        let newer = b"godwit-series 3 sha3=00\n\x01\x02";
        let keys = KeyRing::new(&[1; 32]);
        let error = Manifest::parse(newer, Path::new("MANIFEST"), &keys).expect_err("refused");
        assert!(matches!(error, OpenError::Newer { found: 3, .. }));
    }

    #[test]
    fn a_file_is_named_after_its_day() {
        assert_eq!(file_stem(16_470, 3), "2015-02-04-00000003");
    }
}
