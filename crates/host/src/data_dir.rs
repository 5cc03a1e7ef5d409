//! The data directory: whose it is, which version wrote it, and how often it was started.
//!
//! ```text
//! <data>/FORMAT        JSON: {"format": 1, "id": "…", "boot": 7}    replaced atomically on every start
//! <data>/lock          held locked while a process serves the directory
//! <data>/journal/      segments (crate `journal`)
//! <data>/series/       column files and their manifest (crate `series`)
//! <data>/catalog.db    the SQL database (crate `catalog`)
//! <data>/server.json   addresses and the local token, mode 0600, while a process serves
//! <data>.key           the key-encryption key, beside the directory unless `[keys] file` says otherwise
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Disk, KeyError, KeyRing, Random};

/// The version of the data directory that this program writes. Older ones are upgraded, newer ones refused.
pub const FORMAT_VERSION: u32 = 1;

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
            Self::Key(error) => error.hint(),
            Self::Io { .. } => None,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Format {
    format: u32,
    id: String,
    boot: u32,
}

/// A data directory that this process holds: nobody else can open it until this is dropped.
pub struct DataDir {
    path: PathBuf,
    id: String,
    boot: u32,
    keys: Arc<KeyRing>,
    key_path: PathBuf,
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
        key_file: Option<&Path>,
        disk: &dyn Disk,
        random: &dyn Random,
    ) -> Result<Self, DataDirError> {
        let io_at = |at: &Path| {
            let at = at.to_owned();
            move |source| DataDirError::Io { path: at, source }
        };
        disk.create_dir(path).map_err(io_at(path))?;
        let lock = lock(path)?;
        let format_path = path.join("FORMAT");
        let known = match disk.read(&format_path, FORMAT_BYTES_MAX) {
            Ok(text) => Some(parse_format(&text, path, &format_path)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(DataDirError::Io { path: format_path, source }),
        };
        if known.is_none() {
            refuse_foreign(path)?;
        }
        let key_path = key_file.map_or_else(|| default_key_path(path), Path::to_owned);
        let keys = KeyRing::from_file(&key_path, path, known.is_none(), disk, random)?;
        let format = match known {
            Some(format) => Format { boot: format.boot + 1, ..format },
            None => Format { format: FORMAT_VERSION, id: random_id(random), boot: 1 },
        };
        let text = serde_json::to_vec_pretty(&format).expect("three fields become JSON");
        disk.replace(&format_path, &text).map_err(io_at(&format_path))?;
        Ok(Self {
            path: path.to_owned(),
            id: format.id,
            boot: format.boot,
            keys: Arc::new(keys),
            key_path,
            _lock: lock,
        })
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

    /// Where its key file is.
    #[must_use]
    pub fn key_path(&self) -> &Path {
        &self.key_path
    }

    /// The keys of everything in it.
    #[must_use]
    pub fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.keys)
    }
}

/// Where the key file is when the settings name none: `<data>.key`, beside the directory.
#[must_use]
pub fn default_key_path(data: &Path) -> PathBuf {
    let mut name = data.file_name().unwrap_or("godwit".as_ref()).to_owned();
    name.push(".key");
    data.with_file_name(name)
}

fn random_id(random: &dyn Random) -> String {
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
fn lock(path: &Path) -> Result<fs::File, DataDirError> {
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
        // A first start cut off before FORMAT was in place leaves these two.
        if name != "lock" && name != "FORMAT.new" && name != "lost+found" {
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
        DataDir::open(path, None, &SystemDisk, &SystemRandom)
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

        fs::write(path.join("FORMAT"), br#"{"format": 2, "shape": "unknown"}"#).expect("written");
        let newer = open(&path).err().expect("refused").to_string();
        assert!(newer.ends_with("has format 2; this version of Godwit knows formats up to 1"), "{newer}");

        fs::write(path.join("FORMAT"), b"garbage").expect("written");
        assert!(matches!(open(&path), Err(DataDirError::Malformed { .. })));

        let foreign = home.path().join("photos");
        fs::create_dir(&foreign).expect("made");
        fs::write(foreign.join("holiday.jpg"), b"").expect("written");
        assert!(matches!(open(&foreign), Err(DataDirError::Foreign { .. })));
    }
}
