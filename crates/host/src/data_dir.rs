//! The data directory: whose it is, which version wrote it, and how often it was started.
//!
//! ```text
//! <data>/FORMAT        JSON: {"format": 3, "id": "…", "boot": 7}    replaced atomically on every start
//! <data>/KEYRING       the ring's keys, wrapped by the master key (`keys`)
//! <data>/lock          held locked while a process serves the directory
//! <data>/journal/      segments (crate `journal`)
//! <data>/series/       column files and their manifest (crate `series`)
//! <data>/catalog.db    the SQL database (crate `catalog`)
//! <data>/server.json   addresses and the local token, mode 0600, while a process serves
//! <data>/temp/         what is of use for a moment only; emptied on every start
//! <data>/RESTORING     there while a backup is put in place (`restoring`): such a directory is not served
//! <data>.key           the master key, beside the directory unless `[keys] file` says otherwise
//! ```
//!
//! | format | what changed |
//! |---|---|
//! | 1 | the first |
//! | 2 | column files may be encrypted (manifest of the columns, version 2) |
//! | 3 | data keys are wrapped by the keys of `KEYRING`, no longer by the master key itself |
//!
//! The upgrade from an older format is the number in `FORMAT`, replaced atomically before any room opens its files: a
//! room reads what any older version wrote and writes today's version from then on. A crash at any moment leaves either
//! the old number and nothing new, or the new number and rooms that read both.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use model::Timestamp;

use crate::keys::{KEYRING, KeySource, KeyStore, RecoveryCode};
use crate::{Disk, KeyError, KeyRing, Random};

/// The version of the data directory that this program writes. Older ones are upgraded, newer ones refused.
pub const FORMAT_VERSION: u32 = 3;

/// The file that says what the directory is.
pub(crate) const FORMAT: &str = "FORMAT";

/// The file that says that a restore is not finished.
pub(crate) const RESTORING: &str = "RESTORING";

/// The directory of what is of use for a moment only.
const TEMP: &str = "temp";

const FORMAT_BYTES_MAX: u64 = 64 * 1024;

/// Why a data directory cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made, read or written.
    #[error("cannot use data directory `{}`", path.display())]
    Io {
        /// The directory or the file in it.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process serves it.
    #[error("data directory `{}` is served by another process{}", path.display(), pid.map_or(String::new(), |pid| format!(" (pid {pid})")))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// That process, as far as it said.
        pid: Option<u32>,
    },
    /// A newer version wrote it.
    #[error("data directory `{}` has format {found}; this version of Godwit knows formats up to {FORMAT_VERSION}", path.display())]
    Newer {
        /// The directory.
        path: PathBuf,
        /// The format found.
        found: u32,
    },
    /// `FORMAT` is something else.
    #[error("`{}` is malformed", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The directory holds files, but none of ours.
    #[error("`{}` is not a Godwit data directory: it holds other files and no FORMAT", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// There is no data directory.
    #[error("there is no Godwit data directory at `{}`", path.display())]
    Absent {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A restore was cut off.
    #[error("data directory `{}` holds half of a backup: a restore was cut off", path.display())]
    Restoring {
        /// The directory.
        path: PathBuf,
    },
    /// The key cannot be had.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl DataDirError {
    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Some(
                "give the user that runs Godwit the right to write there, or name another directory with --data",
            ),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => Some(
                "the volume is mounted read-only: mount it for writing, or name another directory with --data",
            ),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("make room on the volume, or name another directory with --data")
            }
            Self::Locked { .. } => Some("stop the other process, or name another directory with --data"),
            Self::Newer { .. } => Some("start the version of Godwit that wrote it, or a newer one"),
            Self::Foreign { .. } => Some("name an empty or new directory with --data"),
            Self::Malformed { .. } => Some("restore the directory from a backup"),
            Self::Absent { .. } => Some("name the directory that `godwit serve` uses with --data"),
            Self::Restoring { .. } => Some("run `godwit restore` on it again: it starts over"),
            Self::Key(error) => error.hint(),
            Self::Io { .. } => None,
        }
    }
}

/// What `FORMAT` says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Format {
    pub(crate) format: u32,
    pub(crate) id: String,
    pub(crate) boot: u32,
    /// The directory that a backup was made of, when this one was restored from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restored_from: Option<String>,
    /// Whether there is a `KEYRING`: one that is gone is missed by name.
    #[serde(default)]
    pub(crate) ring: bool,
}

/// A data directory that this process holds: nobody else can open it until this is dropped.
pub struct DataDir {
    path: PathBuf,
    id: String,
    boot: u32,
    /// The format as it was found.
    found: u32,
    keys: Arc<KeyStore>,
    /// Held for its lock.
    _lock: fs::File,
}

impl DataDir {
    /// Opens the directory, or makes it; counts the start; reads the key, or makes it on the first start.
    ///
    /// # Errors
    /// [`DataDirError`] says what stands in the way; nothing was changed then but, at most, an empty directory
    /// and its lock file made.
    pub fn open(
        path: &Path,
        source: &KeySource,
        disk: &dyn Disk,
        random: &dyn Random,
    ) -> Result<Self, DataDirError> {
        let io_at = |at: &Path| {
            let at = at.to_owned();
            move |source| DataDirError::Io { path: at, source }
        };
        disk.create_dir(path).map_err(io_at(path))?;
        let lock = lock(path)?;
        let format_path = path.join(FORMAT);
        let known = read_format(path, disk)?;
        if known.is_none() {
            refuse_foreign(path)?;
        }
        let has_ring = known.as_ref().is_some_and(|format| format.ring);
        let keys = KeyStore::open(path, source, (known.is_none(), has_ring, true), disk, random)?;
        let found = known.as_ref().map_or(FORMAT_VERSION, |format| format.format);
        let format = match known {
            // This is the upgrade too: from here on the number is today's, before anything of today's is written.
            Some(format) => Format {
                format: FORMAT_VERSION,
                boot: format.boot + 1,
                ring: keys.document().is_some(),
                ..format
            },
            None => {
                let id = random_id(random);
                Format { format: FORMAT_VERSION, id, boot: 1, restored_from: None, ring: true }
            }
        };
        write_format(path, &format, disk).map_err(io_at(&format_path))?;
        let temp = path.join(TEMP);
        clear(&temp).map_err(io_at(&temp))?;
        disk.create_dir(&temp).map_err(io_at(&temp))?;
        Ok(Self {
            path: path.to_owned(),
            id: format.id,
            boot: format.boot,
            found,
            keys: Arc::new(keys),
            _lock: lock,
        })
    }

    /// Takes a directory that no process serves, to read it as it lies there: no start is counted, and a format that is
    /// older stays what it is.
    ///
    /// # Errors
    /// [`DataDirError`]; nothing was changed then.
    pub fn hold(
        path: &Path,
        source: &KeySource,
        disk: &dyn Disk,
        random: &dyn Random,
    ) -> Result<Self, DataDirError> {
        let absent = || DataDirError::Absent { path: path.to_owned() };
        // Looked at before it is locked: a lock file is not left where no data is.
        read_format(path, disk)?.ok_or_else(absent)?;
        let lock = lock(path)?;
        let format = read_format(path, disk)?.ok_or_else(absent)?;
        let keys = KeyStore::open(path, source, (false, format.ring, false), disk, random)?;
        let temp = path.join(TEMP);
        disk.create_dir(&temp).map_err(|source| DataDirError::Io { path: temp, source })?;
        Ok(Self {
            path: path.to_owned(),
            id: format.id,
            boot: format.boot,
            found: format.format,
            keys: Arc::new(keys),
            _lock: lock,
        })
    }

    /// The format as it was found when it was opened; older than [`FORMAT_VERSION`] when it was upgraded.
    #[must_use]
    pub fn found_format(&self) -> u32 {
        self.found
    }

    /// A directory for what is of use for a moment only. The next start empties it.
    #[must_use]
    pub fn temp(&self) -> PathBuf {
        self.path.join(TEMP)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The random id it got when it was made, 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How often it was started, this time included.
    #[must_use]
    pub fn boot(&self) -> u32 {
        self.boot
    }

    /// The keys of everything in it.
    #[must_use]
    pub fn keys(&self) -> Arc<KeyRing> {
        self.keys.ring()
    }

    /// Where they come from, and how they are rotated.
    #[must_use]
    pub fn key_store(&self) -> Arc<KeyStore> {
        Arc::clone(&self.keys)
    }

    /// Gives a directory from before there were rings its ring. Call it when every room has opened its data: the key
    /// is the right one then. Whether it did something.
    ///
    /// # Errors
    /// [`DataDirError`]; the directory then goes on as it was.
    pub fn adopt_keys(
        &self,
        now: Timestamp,
        disk: &dyn Disk,
        random: &dyn Random,
    ) -> Result<bool, DataDirError> {
        let adopted = self.keys.adopt(now, disk, random)?;
        if adopted {
            let format = read_format(&self.path, disk)?;
            let format = format.ok_or_else(|| DataDirError::Absent { path: self.path.clone() })?;
            write_format(&self.path, &Format { ring: true, ..format }, disk)
                .map_err(|source| DataDirError::Io { path: self.path.join(FORMAT), source })?;
        }
        Ok(adopted)
    }

    /// Opens the ring of a directory that no process serves by its recovery code, and makes `source` its master key.
    ///
    /// # Errors
    /// [`DataDirError`]; nothing was changed then but, at most, a new key file made.
    pub fn recover(
        path: &Path,
        code: &RecoveryCode,
        source: &KeySource,
        disk: &dyn Disk,
        random: &dyn Random,
    ) -> Result<Arc<KeyStore>, DataDirError> {
        let absent = || DataDirError::Absent { path: path.to_owned() };
        read_format(path, disk)?.ok_or_else(absent)?;
        let _lock = lock(path)?;
        Ok(Arc::new(KeyStore::recover(path, code, source, disk, random)?))
    }
}

/// Where the key file is when the settings name none: `<data>.key`, beside the directory.
#[must_use]
pub fn default_key_path(data: &Path) -> PathBuf {
    let mut name = data.file_name().unwrap_or("godwit".as_ref()).to_owned();
    name.push(".key");
    data.with_file_name(name)
}

/// What `FORMAT` says; `None` when there is none.
fn read_format(path: &Path, disk: &dyn Disk) -> Result<Option<Format>, DataDirError> {
    let failed = |path: PathBuf, source| DataDirError::Io { path, source };
    let marker = path.join(RESTORING);
    match disk.read(&marker, FORMAT_BYTES_MAX) {
        Ok(_) => return Err(DataDirError::Restoring { path: path.to_owned() }),
        Err(error) if is_absent(&error) => {}
        Err(source) => return Err(failed(marker, source)),
    }
    let format_path = path.join(FORMAT);
    match disk.read(&format_path, FORMAT_BYTES_MAX) {
        Ok(text) => parse_format(&text, path, &format_path).map(Some),
        Err(error) if is_absent(&error) => Ok(None),
        Err(source) => Err(failed(format_path, source)),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

pub(crate) fn write_format(path: &Path, format: &Format, disk: &dyn Disk) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(format).expect("a few fields become JSON");
    disk.replace(&path.join(FORMAT), &text)
}

/// Removes a directory and all that is in it. One that is not there is fine.
pub(crate) fn clear(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

pub(crate) fn random_id(random: &dyn Random) -> String {
    format!("{:016x}{:016x}", random.number(), random.number())
}

fn parse_format(text: &[u8], path: &Path, format_path: &Path) -> Result<Format, DataDirError> {
    let malformed = |source| DataDirError::Malformed { path: format_path.to_owned(), source };
    // The version is read first, by itself: a newer format may have other fields.
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let version: Version = serde_json::from_slice(text).map_err(malformed)?;
    if version.format > FORMAT_VERSION {
        return Err(DataDirError::Newer { path: path.to_owned(), found: version.format });
    }
    serde_json::from_slice(text).map_err(malformed)
}

/// Locks `<data>/lock`. The lock goes with the process, however it ends.
pub(crate) fn lock(path: &Path) -> Result<fs::File, DataDirError> {
    let lock_path = path.join("lock");
    let failed = |source| DataDirError::Io { path: lock_path.clone(), source };
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&lock_path).ok().and_then(|text| text.trim().parse().ok());
            return Err(DataDirError::Locked { path: path.to_owned(), pid });
        }
        Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0).map_err(failed)?;
    io::Write::write_all(&mut &file, std::process::id().to_string().as_bytes()).map_err(failed)?;
    Ok(file)
}

/// A directory with files but no FORMAT is somebody else's, or lost its FORMAT: neither is to be written over.
fn refuse_foreign(path: &Path) -> Result<(), DataDirError> {
    let failed = |source| DataDirError::Io { path: path.to_owned(), source };
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        // A first start cut off before FORMAT was in place leaves these.
        let is_ours =
            ["lock", "FORMAT.new", KEYRING, "KEYRING.new", "lost+found"].iter().any(|own| name == *own);
        if !is_ours {
            return Err(DataDirError::Foreign { path: path.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SystemDisk, SystemRandom};

    fn open(path: &Path) -> Result<DataDir, DataDirError> {
        DataDir::open(path, &KeySource::File(None), &SystemDisk, &SystemRandom)
    }

    #[test]
    fn starts_are_counted_and_the_identity_stays() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("data");
        let first = open(&path).expect("made");
        assert_eq!(first.boot(), 1);
        let id = first.id().to_owned();
        drop(first);
        let second = open(&path).expect("opened");
        assert_eq!((second.boot(), second.id()), (2, id.as_str()));
        assert!(home.path().join("data.key").exists(), "the key is beside the directory, not in it");
    }

    #[test]
    fn a_second_process_is_refused_by_name() {
        let home = tempfile::tempdir().expect("a directory");
        let _held = open(home.path().join("d").as_path()).expect("made");
        let refused = open(home.path().join("d").as_path()).err().expect("refused");
        assert!(matches!(refused, DataDirError::Locked { pid: Some(pid), .. } if pid == std::process::id()));
    }

    #[test]
    fn a_newer_format_a_foreign_directory_and_a_missing_key_are_refused() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("d");
        drop(open(&path).expect("made"));

        fs::remove_file(home.path().join("d.key")).expect("removed");
        let missing = open(&path).err().expect("refused");
        assert!(matches!(missing, DataDirError::Key(KeyError::Missing { .. })));

        fs::write(path.join("FORMAT"), br#"{"format": 4, "shape": "unknown"}"#).expect("written");
        let newer = open(&path).err().expect("refused").to_string();
        assert!(newer.ends_with("has format 4; this version of Godwit knows formats up to 3"), "{newer}");

        fs::write(path.join("FORMAT"), b"garbage").expect("written");
        assert!(matches!(open(&path), Err(DataDirError::Malformed { .. })));

        let foreign = home.path().join("photos");
        fs::create_dir(&foreign).expect("made");
        fs::write(foreign.join("holiday.jpg"), b"").expect("written");
        assert!(matches!(open(&foreign), Err(DataDirError::Foreign { .. })));
    }

    #[test]
    fn an_older_format_becomes_todays_and_keeps_its_identity() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("d");
        drop(open(&path).expect("made"));
        let older = br#"{"format": 1, "id": "a1", "boot": 3}"#;
        fs::write(path.join("FORMAT"), older).expect("written");
        let held = DataDir::hold(&path, &KeySource::File(None), &SystemDisk, &SystemRandom).expect("held");
        assert_eq!((held.found_format(), held.boot(), held.id()), (1, 3, "a1"));
        drop(held);
        assert_eq!(fs::read(path.join("FORMAT")).expect("read"), older, "to look at it changes nothing");
        for boot in [4, 5] {
            let opened = open(&path).expect("opened");
            assert_eq!((opened.boot(), opened.id()), (boot, "a1"));
            assert_eq!(opened.found_format(), if boot == 4 { 1 } else { FORMAT_VERSION });
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_not_made_by_looking_at_it() {
        let home = tempfile::tempdir().expect("a directory");
        for path in [home.path().join("none"), home.path().to_owned()] {
            let refused = DataDir::hold(&path, &KeySource::File(None), &SystemDisk, &SystemRandom)
                .err()
                .expect("refused");
            assert!(matches!(refused, DataDirError::Absent { .. }), "{refused}");
        }
        assert_eq!(fs::read_dir(home.path()).expect("listed").count(), 0);
    }
}
