//! What a backup takes of the columns: the manifest of one moment, and the files it names.
//!
//! Not here: the copying. The law: a file of an extract can be read until the extract is dropped, whatever is merged
//! or dropped meanwhile; files in the remote store are counted only; together with the records behind `position` it is all that is needed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::{Disk, File, Host};

use crate::Series;
use crate::column::FileReader;
use crate::error::OpenError;
use crate::manifest::{self, Manifest};

/// The columns at one moment.
pub struct Extract {
    /// Every record up to this `seq` has had its effect in these files.
    pub position: u64,
    /// Rows of all files.
    pub readings: u64,
    /// The manifest's bytes as they are on the disk; `None` before the first flush.
    pub manifest: Option<Vec<u8>>,
    /// The files that it names and that lie in the directory.
    pub files: Vec<FileExtract>,
    /// How many it names that lie in the remote store.
    pub remote_files: u64,
    /// Bytes of those.
    pub remote_bytes: u64,
}

/// A file that a manifest names.
pub struct FileExtract {
    name: String,
    bytes: u64,
    path: PathBuf,
    /// Keeps the file from being removed.
    pin: Option<Pin>,
}

enum Pin {
    /// A column file goes with its last reader.
    Reader(Arc<FileReader>),
    /// The file of newest readings goes when the next one is written; one that is open can be read on.
    File(Box<dyn File>),
}

impl FileExtract {
    /// Its name in the directory of the columns.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its length.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Opens it; it can be read as long as what is returned lives.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(self, disk: &dyn Disk) -> io::Result<Box<dyn File>> {
        match self.pin {
            Some(Pin::File(file)) => Ok(file),
            Some(Pin::Reader(reader)) => {
                let opened = disk.open(&self.path);
                // Not before: with its last reader a file that was merged away goes. One that is open can be read on.
                drop(reader);
                opened
            }
            None => disk.open(&self.path),
        }
    }
}

impl Extract {
    /// Name of the manifest in the directory of the columns.
    pub const MANIFEST: &str = manifest::NAME;

    /// The columns of a directory that nobody has open.
    ///
    /// # Errors
    /// [`OpenError`] when the manifest is not what was written.
    pub fn at_rest(dir: &Path, host: &Host) -> Result<Self, OpenError> {
        let manifest = Manifest::read(dir, host)?;
        let files = named(&manifest).map(|(name, bytes)| FileExtract {
            name: name.to_owned(),
            bytes,
            path: dir.join(name),
            pin: None,
        });
        Self::of(&manifest, files.collect(), dir, &*host.disk)
    }

    fn of(
        manifest: &Manifest,
        files: Vec<FileExtract>,
        dir: &Path,
        disk: &dyn Disk,
    ) -> Result<Self, OpenError> {
        let remote = || manifest.files.iter().filter(|file| file.remote);
        Ok(Self {
            remote_files: remote().count() as u64,
            remote_bytes: remote().map(|file| file.bytes).sum(),
            position: manifest.position,
            readings: manifest.files.iter().map(|file| file.rows).sum(),
            // Not written anew: what stands there is what a restore reads.
            manifest: Manifest::raw(dir, disk)?,
            files,
        })
    }
}

impl Series {
    /// The columns at this moment.
    ///
    /// # Errors
    /// [`OpenError::Io`] when the manifest cannot be read.
    pub fn extract(&self) -> Result<Extract, OpenError> {
        self.inner.store.at_one_moment(|manifest, live, dir, disk| {
            let mut files: Vec<_> = live
                .iter()
                .filter(|file| !file.entry.remote)
                .map(|file| FileExtract {
                    name: file.entry.name.clone(),
                    bytes: file.entry.bytes,
                    path: dir.join(&file.entry.name),
                    pin: Some(Pin::Reader(Arc::clone(&file.reader))),
                })
                .collect();
            for live in self.inner.store.rollups().values() {
                files.extend(live.day.files.iter().zip(&live.readers).map(|(file, reader)| FileExtract {
                    name: file.name.clone(),
                    bytes: file.bytes,
                    path: dir.join(&file.name),
                    pin: Some(Pin::Reader(Arc::clone(reader))),
                }));
            }
            if let Some(latest) = &manifest.latest {
                let path = dir.join(&latest.name);
                // One that is missing is told of when it is to be read.
                let pin = disk.open(&path).ok().map(Pin::File);
                files.push(FileExtract { name: latest.name.clone(), bytes: latest.bytes, path, pin });
            }
            Extract::of(manifest, files, dir, disk)
        })
    }
}

/// Every file of the directory that a manifest names, with its length.
fn named(manifest: &Manifest) -> impl Iterator<Item = (&str, u64)> {
    let here = manifest.files.iter().filter(|file| !file.remote);
    let files = here.map(|file| (file.name.as_str(), file.bytes));
    let rollups = manifest.rollups.iter().flat_map(|day| &day.files);
    files
        .chain(manifest.latest.iter().map(|latest| (latest.name.as_str(), latest.bytes)))
        .chain(rollups.map(|file| (file.name.as_str(), file.bytes)))
}
