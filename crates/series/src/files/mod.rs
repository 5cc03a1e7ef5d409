//! The one home of stored bytes: files that are written once, read by ranges, and removed.
//!
//! ```text
//! <data>/series/2015-02-04-00000003-5f2e9a1c.parquet.sealed      a column file, sealed (see `seal`)
//! <data>/series/latest-00000016-77ab01d2.parquet.sealed          the newest readings
//! <data>/series/2015-02-04-00000003.parquet                      plain: `[series] encrypt = false`, or of version 1
//! ```
//!
//! A name is a stem, a random part, and the form; it is never used again, not even by a copy of this directory that
//! lives on elsewhere. A plain file is checked by the CRC32C of its blocks, which the manifest keeps; a sealed one by the
//! tags of its chunks. Not here: which files are live (`manifest`), and what is in them (`column`).
//!
//! The laws: what is read is what was written, or an error that names the file; content leaves this module for a disk
//! sealed, unless the settings say otherwise.

mod plain;
mod seal;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use host::{File, Host};
use parking_lot::Mutex;

pub(crate) use seal::{SealError, seal, unseal};

use crate::error::StoreError;
use plain::{Blocks, checksums};
use seal::{CHUNK_BYTES, Opener, SEALED_CHUNK_BYTES, TRAILER_BYTES};

/// The end of a plain file's name.
const PLAIN: &str = ".parquet";
/// The end of a sealed file's name.
const SEALED: &str = ".parquet.sealed";

/// Most files that are remembered as damaged or missing, by name.
const FAULTY_MAX: usize = 1_000;

/// A file as it is stored: what an entry of the manifest says of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its name in the directory.
    pub name: String,
    /// Its length as it is stored.
    pub bytes: u64,
    /// CRC32C of each 256 KiB of it; none when it is sealed.
    pub checksums: Vec<u32>,
    /// Whether it is sealed.
    pub sealed: bool,
}

/// Why bytes of a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// It is missing, or not what was written.
    #[error("{0}")]
    Damaged(String),
}

impl Fault {
    fn io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Damaged("it is missing".to_owned()),
            _ => Self::Damaged(error.to_string()),
        }
    }
}

/// Keeps files in a directory.
pub(crate) struct Files {
    dir: PathBuf,
    host: Host,
    is_sealing: bool,
    /// Files that were found damaged or missing, and why.
    faulty: Mutex<BTreeMap<String, String>>,
}

impl Files {
    /// The files of `dir`; new ones are sealed when `is_sealing`.
    pub(crate) fn new(dir: &Path, host: &Host, is_sealing: bool) -> Self {
        Self { dir: dir.to_owned(), host: host.clone(), is_sealing, faulty: Mutex::default() }
    }

    /// Whether `name` is a name that [`Files::write`], of this version or an older one, may have given.
    pub(crate) fn owns(name: &str) -> bool {
        name.ends_with(PLAIN) || name.ends_with(SEALED)
    }

    /// Writes and syncs `content` as a new file, sealed unless the settings say otherwise. Its name begins with `stem`;
    /// it is durable after [`Files::sync_dir`].
    pub(crate) fn write(&self, stem: &str, content: &[u8]) -> Result<Stored, StoreError> {
        let mut random = [0; 4];
        self.host.random.fill(&mut random);
        let form = if self.is_sealing { SEALED } else { PLAIN };
        let name = format!("{stem}-{:08x}{form}", u32::from_le_bytes(random));
        if self.is_sealing {
            let bytes = seal(&name, content, &self.host.keys, self.host.random.as_ref());
            self.put(&name, &bytes)?;
            Ok(Stored { name, bytes: bytes.len() as u64, checksums: Vec::new(), sealed: true })
        } else {
            self.put(&name, content)?;
            let checksums = checksums(content);
            Ok(Stored { name, bytes: content.len() as u64, checksums, sealed: false })
        }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name);
        let write = || {
            let mut file = self.host.disk.create(&path)?;
            file.append(bytes)?;
            file.sync()
        };
        write().map_err(|source| {
            // What is half written has a name that is never used again; the next start removes it.
            let _ = self.host.disk.remove(&path);
            StoreError::Write { path: path.clone(), source }
        })
    }

    /// Makes the names of written files durable.
    pub(crate) fn sync_dir(&self) -> Result<(), StoreError> {
        let failed = |source| StoreError::Write { path: self.dir.clone(), source };
        self.host.disk.sync_dir(&self.dir).map_err(failed)
    }

    /// Removes a file that no manifest names.
    pub(crate) fn remove(&self, name: &str) {
        self.faulty.lock().remove(name);
        match self.host.disk.remove(&self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file = name, %error, "file not removed; the next start removes it");
            }
            _ => {}
        }
    }

    /// Opens a file for reading.
    pub(crate) fn open(&self, stored: &Stored) -> Result<OpenFile, Fault> {
        let file = self.host.disk.open(&self.path(&stored.name)).map_err(|error| Fault::io(&error))?;
        let bytes = file.bytes().map_err(|error| Fault::io(&error))?;
        if bytes != stored.bytes {
            return Err(Fault::Damaged(format!("it has {bytes} bytes; {} were written", stored.bytes)));
        }
        let form = if stored.sealed {
            let trailer = read_exactly(file.as_ref(), &(bytes.saturating_sub(TRAILER_BYTES)..bytes))?;
            let opener = Opener::new(&stored.name, &trailer, bytes, &self.host.keys);
            Form::Sealed(opener.map_err(|error| Fault::Damaged(error.to_string()))?)
        } else {
            Form::Plain(Blocks::new(bytes, &stored.checksums).map_err(Fault::Damaged)?)
        };
        Ok(OpenFile { file, bytes, form })
    }

    /// The whole content of a file.
    pub(crate) fn read(&self, stored: &Stored) -> Result<Bytes, Fault> {
        let open = self.open(stored)?;
        match open.content_bytes() {
            0 => Ok(Bytes::new()),
            bytes => open.read(&(0..bytes)),
        }
    }

    /// Remembers that a file cannot be read.
    pub(crate) fn note_fault(&self, name: &str, fault: &Fault) {
        let Fault::Damaged(reason) = fault;
        let mut faulty = self.faulty.lock();
        if faulty.len() < FAULTY_MAX && !faulty.contains_key(name) {
            tracing::error!(file = name, reason, "a file of readings cannot be read");
            metrics::counter!("godwit_series_faulty_files_total").increment(1);
            faulty.insert(name.to_owned(), reason.clone());
        }
    }

    /// Files that were found damaged or missing since the start, with why.
    pub(crate) fn faulty(&self) -> BTreeMap<String, String> {
        self.faulty.lock().clone()
    }

    /// Whether a file was found damaged or missing.
    pub(crate) fn is_faulty(&self, name: &str) -> bool {
        self.faulty.lock().contains_key(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// A file that is open for reading.
pub(crate) struct OpenFile {
    file: Box<dyn File>,
    /// Its length as it is stored.
    bytes: u64,
    form: Form,
}

enum Form {
    Plain(Blocks),
    Sealed(Opener),
}

impl OpenFile {
    /// Length of its content.
    pub(crate) fn content_bytes(&self) -> u64 {
        match &self.form {
            Form::Plain(_) => self.bytes,
            Form::Sealed(opener) => opener.content_bytes(),
        }
    }

    /// Reads a range of its content, which is not empty.
    pub(crate) fn read(&self, range: &Range<u64>) -> Result<Bytes, Fault> {
        let content_bytes = self.content_bytes();
        if range.end > content_bytes || range.start >= range.end {
            return Err(Fault::Damaged(format!("it has {content_bytes} bytes; needed are {range:?}")));
        }
        match &self.form {
            Form::Plain(blocks) if blocks.are_verified(range) => read_exactly(self.file.as_ref(), range),
            Form::Plain(blocks) => {
                let (first, whole) = blocks.around(range);
                let bytes = read_exactly(self.file.as_ref(), &whole)?;
                blocks.verify(first, &bytes).map_err(Fault::Damaged)?;
                Ok(bytes.slice((range.start - whole.start) as usize..(range.end - whole.start) as usize))
            }
            Form::Sealed(opener) => {
                let first = range.start / CHUNK_BYTES;
                let end = range.end.div_ceil(CHUNK_BYTES) * SEALED_CHUNK_BYTES;
                let run = first * SEALED_CHUNK_BYTES..end.min(self.bytes - TRAILER_BYTES);
                let run = read_exactly(self.file.as_ref(), &run)?;
                let mut content = Vec::with_capacity(run.len());
                let damaged = |number| Fault::Damaged(seal::damaged_chunk(number, self.bytes));
                opener.open_run(first, &run, &mut content).map_err(damaged)?;
                let from = first * CHUNK_BYTES;
                Ok(Bytes::from(content).slice((range.start - from) as usize..(range.end - from) as usize))
            }
        }
    }
}

fn read_exactly(file: &dyn File, range: &Range<u64>) -> Result<Bytes, Fault> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let read = file.read_at(range.start, &mut bytes).map_err(|error| Fault::io(&error))?;
    if read < bytes.len() {
        let end = range.start + read as u64;
        return Err(Fault::Damaged(format!("it ends at byte {end}, needed are {range:?}")));
    }
    Ok(bytes.into())
}
