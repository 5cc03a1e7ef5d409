//! The one home of stored bytes: files that are written once, read by ranges, and removed.
//!
//! ```text
//! <data>/series/2015-02-04-00000003-5f2e9a1c.parquet.sealed      a column file, sealed (see `seal`)
//! <data>/series/latest-00000016-77ab01d2.parquet.sealed          the newest readings
//! <data>/series/2015-02-04-00000003.parquet                      plain: `[series] encrypt = false`, or of version 1
//! <remote>/2014-11-30-00000001-90cc12ab.parquet.sealed           a cold file in the remote store (see `remote`)
//! ```
//!
//! A name is a stem, a random part, and the form; it is never used again, not even by a copy of this directory that
//! lives on elsewhere. A plain file is checked by the CRC32C of its blocks, which the manifest keeps; a sealed one by the
//! tags of its chunks. Not here: which files are live (`manifest`), and what is in them (`column`).
//!
//! The laws: what is read is what was written, or an error that names the file; content leaves this module for a disk
//! sealed, unless the settings say otherwise.

mod cache;
mod plain;
mod remote;
mod seal;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::try_join_all;
use hashbrown::HashMap;
use host::{File, Host};
use parking_lot::Mutex;

pub(crate) use remote::{Remote, RemoteError, s3};
pub(crate) use seal::{SealError, seal, unseal};

use crate::error::StoreError;
use crate::settings::Settings;
use cache::Cache;
use plain::{BLOCK_BYTES, Blocks, checksums};
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
    /// Whether it is in the remote store.
    pub remote: bool,
}

impl Stored {
    /// A file of the directory.
    pub(crate) fn here(name: &str, bytes: u64, checksums: &[u32], sealed: bool) -> Self {
        Self { name: name.to_owned(), bytes, checksums: checksums.to_vec(), sealed, remote: false }
    }
}

/// Why bytes of a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// It is missing, or not what was written.
    #[error("{0}")]
    Damaged(String),
    /// The remote store that has it does not answer.
    #[error("{0}")]
    Away(String),
}

impl From<RemoteError> for Fault {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Unavailable { .. } => Self::Away(error.to_string()),
            _ => Self::Damaged(error.to_string()),
        }
    }
}

impl Fault {
    fn io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Damaged("it is missing".to_owned()),
            _ => Self::Damaged(error.to_string()),
        }
    }
}

/// Keeps files in a directory, and in a remote store if there is one.
pub(crate) struct Files {
    dir: PathBuf,
    host: Host,
    is_sealing: bool,
    remote: Option<Arc<Remote>>,
    cache: Arc<Cache>,
    /// Objects of the remote store that nobody reads any more and no manifest names.
    leaving: Mutex<Vec<String>>,
    /// Files that were found damaged or missing, and why.
    faulty: Mutex<BTreeMap<String, String>>,
}

impl Files {
    /// The files of `dir`, new ones as the settings say. The error is what is wrong with the remote store's settings.
    pub(crate) fn new(dir: &Path, host: &Host, settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            dir: dir.to_owned(),
            host: host.clone(),
            is_sealing: settings.encrypt,
            remote: Remote::new(&settings.remote)?.map(Arc::new),
            cache: Arc::new(Cache::new(settings.remote.cache_bytes)),
            leaving: Mutex::default(),
            faulty: Mutex::default(),
        })
    }

    /// The remote store, if there is one.
    pub(crate) fn remote(&self) -> Option<&Arc<Remote>> {
        self.remote.as_ref()
    }

    /// Objects of the remote store that can be removed.
    pub(crate) fn leaving(&self) -> Vec<String> {
        self.leaving.lock().clone()
    }

    /// Nobody reads this object of the remote store any more, and no manifest names it.
    pub(crate) fn leave(&self, name: &str) {
        let mut leaving = self.leaving.lock();
        if !leaving.iter().any(|known| known == name) {
            leaving.push(name.to_owned());
        }
    }

    /// These objects are gone.
    pub(crate) fn left(&self, names: &[String]) {
        self.leaving.lock().retain(|name| !names.contains(name));
    }

    /// What of a local file goes to the remote store: its bytes, all of them checked, and how they are stored there. A
    /// plain file is sealed for the journey, under a new name.
    pub(crate) fn packed(&self, stored: &Stored) -> Result<(Stored, Bytes), Fault> {
        let content = self.read(stored)?;
        let (name, sealed, bytes) = if stored.sealed {
            let read = self.host.disk.read(&self.path(&stored.name), stored.bytes);
            (stored.name.clone(), true, Bytes::from(read.map_err(|error| Fault::io(&error))?))
        } else if self.is_sealing {
            let name = self.new_name(stored.name.trim_end_matches(PLAIN));
            let bytes = seal(&name, &content, &self.host.keys, self.host.random.as_ref());
            (name, true, Bytes::from(bytes))
        } else {
            (stored.name.clone(), false, content)
        };
        let checksums = if sealed { Vec::new() } else { stored.checksums.clone() };
        Ok((Stored { name, bytes: bytes.len() as u64, checksums, sealed, remote: true }, bytes))
    }

    fn new_name(&self, stem: &str) -> String {
        let mut random = [0; 4];
        self.host.random.fill(&mut random);
        let form = if self.is_sealing { SEALED } else { PLAIN };
        format!("{stem}-{:08x}{form}", u32::from_le_bytes(random))
    }

    /// Whether `name` is a name that [`Files::write`], of this version or an older one, may have given.
    pub(crate) fn owns(name: &str) -> bool {
        name.ends_with(PLAIN) || name.ends_with(SEALED)
    }

    /// Writes and syncs `content` as a new file, sealed unless the settings say otherwise. Its name begins with `stem`;
    /// it is durable after [`Files::sync_dir`].
    pub(crate) fn write(&self, stem: &str, content: &[u8]) -> Result<Stored, StoreError> {
        let name = self.new_name(stem);
        if self.is_sealing {
            let bytes = seal(&name, content, &self.host.keys, self.host.random.as_ref());
            self.put(&name, &bytes)?;
            Ok(Stored { name, bytes: bytes.len() as u64, checksums: Vec::new(), sealed: true, remote: false })
        } else {
            self.put(&name, content)?;
            let checksums = checksums(content);
            Ok(Stored { name, bytes: content.len() as u64, checksums, sealed: false, remote: false })
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

    /// Opens a file for reading. A local one is opened without waiting.
    pub(crate) async fn open(&self, stored: &Stored) -> Result<OpenFile, Fault> {
        let source = if stored.remote {
            let Some(remote) = &self.remote else {
                return Err(Fault::Away(
                    "it is in a remote store, and `series.remote.url` is not set".to_owned(),
                ));
            };
            let (remote, cache) = (Arc::clone(remote), Arc::clone(&self.cache));
            Source::Remote { remote, cache, name: stored.name.clone() }
        } else {
            let file = self.host.disk.open(&self.path(&stored.name)).map_err(|error| Fault::io(&error))?;
            let bytes = file.bytes().map_err(|error| Fault::io(&error))?;
            if bytes != stored.bytes {
                return Err(Fault::Damaged(format!("it has {bytes} bytes; {} were written", stored.bytes)));
            }
            Source::Local(file)
        };
        // Of a remote file all that is likely needed of its end comes with one call.
        let tail_bytes = if stored.remote { REMOTE_TAIL_BYTES } else { TRAILER_BYTES };
        let tail = stored.bytes.saturating_sub(tail_bytes)..stored.bytes;
        let form = if stored.sealed {
            let bytes = source.read(tail.clone(), stored.bytes).await?;
            let trailer_at = bytes.len().saturating_sub(TRAILER_BYTES as usize);
            let opener = Opener::new(&stored.name, &bytes[trailer_at..], stored.bytes, &self.host.keys);
            let open = OpenFile {
                source,
                bytes: stored.bytes,
                form: Form::Sealed(opener.map_err(|error| Fault::Damaged(error.to_string()))?),
            };
            if stored.remote {
                open.keep(&bytes, tail.start)?;
            }
            return Ok(open);
        } else {
            Form::Plain(Blocks::new(stored.bytes, &stored.checksums).map_err(Fault::Damaged)?)
        };
        Ok(OpenFile { source, bytes: stored.bytes, form })
    }

    /// The whole content of a local file.
    pub(crate) fn read(&self, stored: &Stored) -> Result<Bytes, Fault> {
        let read = async {
            let open = self.open(stored).await?;
            match open.content_bytes() {
                0 => Ok(Bytes::new()),
                bytes => open.read(0..bytes).await,
            }
        };
        read.now_or_never().expect("a local file is read without waiting")
    }

    /// Remembers that a file cannot be read.
    pub(crate) fn note_fault(&self, name: &str, fault: &Fault) {
        let Fault::Damaged(reason) = fault else { return };
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

/// Bytes at the end of a remote file that are read when it is opened: trailer, footer and page index of most files.
const REMOTE_TAIL_BYTES: u64 = 4 * SEALED_CHUNK_BYTES + TRAILER_BYTES;

/// A file that is open for reading.
pub(crate) struct OpenFile {
    source: Source,
    /// Its length as it is stored.
    bytes: u64,
    form: Form,
}

enum Source {
    Local(Box<dyn File>),
    Remote { remote: Arc<Remote>, cache: Arc<Cache>, name: String },
}

impl Source {
    /// Reads stored bytes of a file of `length` bytes.
    async fn read(&self, range: Range<u64>, length: u64) -> Result<Bytes, Fault> {
        match self {
            Self::Local(file) => read_exactly(file.as_ref(), &range),
            Self::Remote { remote, name, .. } => Ok(remote.get(name, range, length).await?),
        }
    }
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
    pub(crate) async fn read(&self, range: Range<u64>) -> Result<Bytes, Fault> {
        let content_bytes = self.content_bytes();
        if range.end > content_bytes || range.start >= range.end {
            return Err(Fault::Damaged(format!("it has {content_bytes} bytes; needed are {range:?}")));
        }
        match (&self.source, &self.form) {
            (Source::Remote { .. }, _) => {
                Ok(self.read_remote(std::slice::from_ref(&range)).await?.pop().unwrap_or_default())
            }
            (Source::Local(file), Form::Plain(blocks)) if blocks.are_verified(&range) => {
                read_exactly(file.as_ref(), &range)
            }
            (Source::Local(file), _) => {
                let pieces = range.start / self.piece()..range.end.div_ceil(self.piece());
                let from = pieces.start * self.piece();
                let run = read_exactly(file.as_ref(), &self.place(&pieces))?;
                let content = self.checked(pieces.start, run)?;
                Ok(content.slice((range.start - from) as usize..(range.end - from) as usize))
            }
        }
    }

    /// Reads several ranges, those of a remote file with as few calls as can be, side by side.
    pub(crate) async fn read_all(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Fault> {
        match &self.source {
            Source::Remote { .. } => self.read_remote(ranges).await,
            Source::Local(_) => try_join_all(ranges.iter().map(|range| self.read(range.clone()))).await,
        }
    }

    /// Bytes of content that are checked together.
    fn piece(&self) -> u64 {
        match &self.form {
            Form::Plain(_) => BLOCK_BYTES,
            Form::Sealed(_) => CHUNK_BYTES,
        }
    }

    /// Where pieces that follow each other are stored.
    fn place(&self, pieces: &Range<u64>) -> Range<u64> {
        let (piece, end) = match &self.form {
            Form::Plain(_) => (BLOCK_BYTES, self.bytes),
            Form::Sealed(_) => (SEALED_CHUNK_BYTES, self.bytes - TRAILER_BYTES),
        };
        pieces.start * piece..(pieces.end * piece).min(end)
    }

    /// The content of stored pieces that follow each other, checked.
    fn checked(&self, first: u64, run: Bytes) -> Result<Bytes, Fault> {
        match &self.form {
            Form::Plain(blocks) => blocks.verify(first, &run).map_err(Fault::Damaged).map(|()| run),
            Form::Sealed(opener) => {
                let mut content = Vec::with_capacity(run.len());
                let damaged = |number| Fault::Damaged(seal::damaged_chunk(number, self.bytes));
                opener.open_run(first, &run, &mut content).map_err(damaged)?;
                Ok(content.into())
            }
        }
    }

    /// Keeps the whole pieces among the bytes from `from` to the end of a remote file.
    fn keep(&self, bytes: &Bytes, from: u64) -> Result<(), Fault> {
        let Source::Remote { cache, name, .. } = &self.source else { return Ok(()) };
        let pieces = self.content_bytes().div_ceil(self.piece());
        for number in from.div_ceil(SEALED_CHUNK_BYTES)..pieces {
            let place = self.place(&(number..number + 1));
            let piece = bytes.slice((place.start - from) as usize..(place.end - from) as usize);
            cache.put(name, number, self.checked(number, piece)?);
        }
        Ok(())
    }

    async fn read_remote(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Fault> {
        let Source::Remote { cache, name, .. } = &self.source else { return Ok(Vec::new()) };
        let piece = self.piece();
        let mut have: HashMap<u64, Bytes> = HashMap::new();
        let mut missing: Vec<u64> = Vec::new();
        for range in ranges {
            for number in range.start / piece..range.end.div_ceil(piece) {
                match cache.get(name, number) {
                    Some(found) => drop(have.insert(number, found)),
                    None => missing.push(number),
                }
            }
        }
        missing.sort_unstable();
        missing.dedup();
        let runs = missing.chunk_by(|a, b| a + 1 == *b).map(|run| run[0]..run[run.len() - 1] + 1);
        let fetched = try_join_all(runs.map(|run| async move {
            let bytes = self.source.read(self.place(&run), self.bytes).await?;
            Ok::<_, Fault>((run.start, self.checked(run.start, bytes)?))
        }));
        for (first, content) in fetched.await? {
            for (number, start) in (first..).zip((0..content.len()).step_by(piece as usize)) {
                let end = (start + piece as usize).min(content.len());
                // A copy: what the cache drops must free memory.
                let one = Bytes::copy_from_slice(&content[start..end]);
                cache.put(name, number, one.clone());
                have.insert(number, one);
            }
        }
        let assembled = ranges.iter().map(|range| {
            let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
            for number in range.start / piece..range.end.div_ceil(piece) {
                let (content, at) = (&have[&number], number * piece);
                let from = range.start.saturating_sub(at) as usize;
                let to = ((range.end - at) as usize).min(content.len());
                bytes.extend_from_slice(&content[from..to]);
            }
            Bytes::from(bytes)
        });
        Ok(assembled.collect())
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
