//! A data directory that is being made from a backup: empty before, refused by [`DataDir`](crate::DataDir) while it is
//! half made, a directory like any other after.
//!
//! ```text
//! begin    lock, RESTORING          from here on nobody serves it, and a restore may start over
//!          … files are written and synced …
//! finish   FORMAT, then RESTORING is removed
//! ```
//!
//! Not here: what is put into it. The laws: a directory in which somebody's files lie is never touched; a crash at any
//! moment leaves a directory that is either refused by name or whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::data_dir::{self, Format, RESTORING};
use crate::keys::KEYRING;
use crate::{DataDirError, Disk, FORMAT_VERSION, Random};

/// Why a backup cannot be put into a directory.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Something is in it.
    #[error("`{}` is not empty: it holds `{found}`", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// One of the names in it.
        found: String,
    },
    /// A newer version wrote what is to be restored.
    #[error(
        "the backup is of a data directory of format {found}; this version of Godwit knows formats up to {FORMAT_VERSION}"
    )]
    Newer {
        /// The format found.
        found: u32,
    },
    /// It cannot be made, locked or written.
    #[error(transparent)]
    Dir(#[from] DataDirError),
}

impl RestoreError {
    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotEmpty { .. } => {
                Some("name a directory that is empty or not there yet: a restore never writes over data")
            }
            Self::Newer { .. } => Some("restore it with the version of Godwit that wrote it, or a newer one"),
            Self::Dir(error) => error.hint(),
        }
    }
}

/// What the new directory continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredFrom {
    /// The format of the files that were put into it.
    pub format: u32,
    /// The id of the directory that the backup was made of.
    pub id: String,
    /// How often that one had been started: the starts of the new one are counted on from here.
    pub boot: u32,
}

/// A directory that is being made. Dropped before [`Self::finish`] it stays half made, and is refused.
pub struct Restoring {
    path: PathBuf,
    /// Held for its lock.
    _lock: fs::File,
}

impl Restoring {
    /// Says what stands in the way of [`Self::begin`]. Makes nothing.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn check(path: &Path, from: &RestoredFrom) -> Result<(), RestoreError> {
        if from.format > FORMAT_VERSION {
            return Err(RestoreError::Newer { found: from.format });
        }
        refuse_filled(path)
    }

    /// Takes an absent or empty directory, or one in which a restore was cut off; what that one left is removed.
    ///
    /// # Errors
    /// [`RestoreError`]; nothing was changed then.
    pub fn begin(path: &Path, from: &RestoredFrom, disk: &dyn Disk) -> Result<Self, RestoreError> {
        // Looked at before anything is made in it.
        Self::check(path, from)?;
        let failed = |source| DataDirError::Io { path: path.to_owned(), source };
        disk.create_dir(path).map_err(failed)?;
        let lock = data_dir::lock(path)?;
        // Once more, for nobody else can come now.
        refuse_filled(path)?;
        disk.replace(&path.join(RESTORING), b"a restore is under way, or was cut off\n").map_err(failed)?;
        remove_all(path).map_err(failed)?;
        disk.sync_dir(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it a data directory of its own: with an id of its own, for what was sent to the old one since the backup is
    /// not in this one. Everything in it must be on stable storage.
    ///
    /// # Errors
    /// [`DataDirError::Io`]; the directory is then still refused.
    pub fn finish(
        self,
        from: &RestoredFrom,
        disk: &dyn Disk,
        random: &dyn Random,
    ) -> Result<(), DataDirError> {
        let failed = |source| DataDirError::Io { path: self.path.clone(), source };
        let format = Format {
            format: from.format,
            id: data_dir::random_id(random),
            boot: from.boot,
            restored_from: Some(from.id.clone()),
            ring: self.path.join(KEYRING).exists(),
        };
        data_dir::write_format(&self.path, &format, disk).map_err(failed)?;
        disk.remove(&self.path.join(RESTORING)).map_err(failed)?;
        disk.sync_dir(&self.path).map_err(failed)
    }
}

/// Refuses a directory in which files lie, unless a restore that was cut off left them.
fn refuse_filled(path: &Path) -> Result<(), RestoreError> {
    let failed = |source| DataDirError::Io { path: path.to_owned(), source };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error).into()),
    };
    let mut found = None;
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        if name == RESTORING {
            return Ok(());
        }
        if name != "lock" && name != "lost+found" && name != "RESTORING.new" {
            found.get_or_insert(name);
        }
    }
    match found {
        Some(name) => {
            let found = name.to_string_lossy().into_owned();
            Err(RestoreError::NotEmpty { path: path.to_owned(), found })
        }
        None => Ok(()),
    }
}

/// Removes what a restore that was cut off left.
fn remove_all(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == RESTORING || name == "lock" || name == "lost+found" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataDir, SystemDisk, SystemRandom};

    fn from(format: u32) -> RestoredFrom {
        RestoredFrom { format, id: "old".to_owned(), boot: 7 }
    }

    fn open(path: &Path) -> Result<DataDir, DataDirError> {
        DataDir::open(path, &crate::KeySource::File(None), &SystemDisk, &SystemRandom)
    }

    #[test]
    fn a_half_made_directory_is_refused_until_a_restore_was_finished() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("data");
        fs::write(home.path().join("data.key"), "00".repeat(32)).expect("a key");
        let half = Restoring::begin(&path, &from(1), &SystemDisk).expect("begun");
        fs::create_dir(path.join("journal")).expect("made");
        fs::write(path.join("journal/half"), "half").expect("written");
        drop(half);
        assert!(matches!(open(&path), Err(DataDirError::Restoring { .. })));

        let again = Restoring::begin(&path, &from(1), &SystemDisk).expect("starts over");
        assert!(!path.join("journal").exists(), "what was cut off is gone");
        again.finish(&from(1), &SystemDisk, &SystemRandom).expect("finished");
        let opened = open(&path).expect("a directory like any other");
        assert_eq!((opened.boot(), opened.found_format()), (8, 1), "starts are counted on");
        assert_ne!(opened.id(), "old", "it is not the directory that the backup was made of");
    }

    #[test]
    fn what_lies_in_a_directory_is_never_touched() {
        let home = tempfile::tempdir().expect("a directory");
        fs::write(home.path().join("photo.jpg"), "").expect("written");
        let refused = Restoring::begin(home.path(), &from(1), &SystemDisk).err().expect("refused");
        assert!(refused.to_string().ends_with("is not empty: it holds `photo.jpg`"), "{refused}");
        assert_eq!(fs::read_dir(home.path()).expect("listed").count(), 1, "nothing was added");

        let data = home.path().join("data");
        drop(open(&data).expect("made"));
        assert!(matches!(Restoring::begin(&data, &from(1), &SystemDisk), Err(RestoreError::NotEmpty { .. })));
        assert!(open(&data).is_ok());
    }

    #[test]
    fn a_newer_format_and_a_directory_in_use_are_refused() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("data");
        let newer = Restoring::begin(&path, &from(FORMAT_VERSION + 1), &SystemDisk);
        assert!(matches!(newer, Err(RestoreError::Newer { .. })));
        let _held = Restoring::begin(&path, &from(2), &SystemDisk).expect("begun");
        let second = Restoring::begin(&path, &from(2), &SystemDisk).err().expect("refused");
        assert!(matches!(second, RestoreError::Dir(DataDirError::Locked { .. })), "{second}");
    }
}
