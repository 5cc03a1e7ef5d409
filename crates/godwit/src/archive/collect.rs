//! Gathers what a backup holds, in the order that makes it consistent: consumer stores first, the journal last.
//!
//! ```text
//! hold the journal      nothing is dropped from here on …
//! catalog               as of now
//! columns               manifest of now, at position P; its files stay readable
//! hold the journal at P … and from here on only what lies behind P is held
//! segments up to P      newest first: what retention drops meanwhile is the oldest, and leaves no hole
//! segments behind P     oldest first, up to what is durable now
//! ```
//!
//! Every message that was acknowledged before the first line is in the copy: in its columns when it lies before P, in
//! its journal when it lies behind, from where a restore takes it into the columns. That is what a start after a crash
//! does, and the copy is what a crash at its last moment would have left. Not here: the archive's form.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::{Disk, File, HeldKey, Host, KeyStore};
use journal::{Chain, Hold, SegmentExtract};
use model::Timestamp;

use super::error::hex;
use super::form::{self, Derivation, Header, KeyUnderPassphrase, Manifest};
use super::seal::{Seal, sealed_bytes};
use super::{ArchiveWriter, writer::BLOCK_BYTES};

/// Name of the journal's consumer that holds segments for a backup.
const CONSUMER: &str = "backup";

/// Why a backup cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollectError {
    /// The catalog cannot be copied.
    #[error(transparent)]
    Catalog(#[from] catalog::OpenError),
    /// The columns cannot be read.
    #[error(transparent)]
    Series(#[from] series::OpenError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// No moment of the journal could be found.
    #[error("the journal is in the middle of a write that does not end")]
    Journalling,
    /// A file cannot be read.
    #[error("cannot read `{name}`")]
    Read {
        name: String,
        #[source]
        source: std::io::Error,
    },
    /// The keys cannot be wrapped.
    #[error(transparent)]
    Keys(#[from] host::KeyError),
    /// The archive cannot be written.
    #[error("cannot write the backup")]
    Write(#[source] std::io::Error),
}

/// Which data directory it is.
#[derive(Clone)]
pub(crate) struct About {
    /// Format of its files.
    pub(crate) format: u32,
    /// Its id.
    pub(crate) id: String,
    /// How often it was started.
    pub(crate) boot: u32,
    /// Where a copy may lie for a moment.
    pub(crate) temp: PathBuf,
    /// Its keys.
    pub(crate) keys: Arc<KeyStore>,
}

impl About {
    /// What a held directory says of itself; `format` is that of its files.
    pub(crate) fn of(dir: &host::DataDir, format: u32) -> Self {
        Self { format, id: dir.id().to_owned(), boot: dir.boot(), temp: dir.temp(), keys: dir.key_store() }
    }
}

/// Where everything is.
pub(crate) enum Rooms<'a> {
    /// In a server that runs.
    Open { catalog: &'a catalog::Catalog, journal: &'a journal::Journal, series: &'a series::Series },
    /// In a directory that this process holds and nobody serves.
    AtRest { data: &'a Path },
}

/// What the ring's keys go under besides the master key; without it, whoever restores must have that.
pub(crate) type Wrapping = Option<(Derivation, host::DataKey)>;

/// Writes a backup to `out`.
///
/// # Errors
/// [`CollectError`]; what was written is then no backup, and says so when it can.
pub(crate) fn collect(
    out: impl Write,
    rooms: &Rooms<'_>,
    about: &About,
    wrapping: &Wrapping,
    host: &Host,
) -> Result<(), CollectError> {
    let mut out = out;
    let time = host.clock.now();
    let seconds = u64::try_from(time.micros() / 1_000_000).unwrap_or(0);
    let result = write(&mut out, rooms, about, wrapping, host, time, seconds);
    if let Err(error) = &result
        && !matches!(error, CollectError::Write(_))
    {
        // Whoever reads it finds no manifest in any case; this tells why.
        let _ = ArchiveWriter::fail(&mut out, &model::in_one_line(error), seconds);
    }
    result
}

fn write(
    out: &mut impl Write,
    rooms: &Rooms<'_>,
    about: &About,
    wrapping: &Wrapping,
    host: &Host,
    time: Timestamp,
    seconds: u64,
) -> Result<(), CollectError> {
    // Before anything is looked at: what was acknowledged until now must be in it.
    let held = match rooms {
        Rooms::Open { journal, .. } => Some(journal.consumer(CONSUMER, Hold::Builtin)),
        Rooms::AtRest { .. } => None,
    };
    let catalog = CatalogCopy::make(rooms, about, host)?;
    let columns = match rooms {
        Rooms::Open { series, .. } => series.extract()?,
        Rooms::AtRest { data } => series::Extract::at_rest(&data.join("series"), host)?,
    };
    if let Some(held) = &held {
        held.report(columns.position);
    }
    let journal = Segments::look(rooms, host)?;

    let (header, seal) = header(about, wrapping, host, time, {
        let files = columns.files.iter().map(series::FileExtract::bytes).sum::<u64>();
        let members = (columns.files.len() + journal.segments.len() + 3) as u64;
        let content =
            catalog.bytes + files + columns.manifest.as_ref().map_or(0, Vec::len) as u64 + journal.bytes();
        sealed_bytes(content) + members * 2 * BLOCK_BYTES as u64
    })?;
    let mut archive = ArchiveWriter::begin(&mut *out, &header, seal, seconds).map_err(CollectError::Write)?;
    // Reading and writing fail with the same type: what a file lacks is told apart by its kind.
    let failed = |name: &str, source: std::io::Error| match source.kind() {
        std::io::ErrorKind::UnexpectedEof => CollectError::Read { name: name.to_owned(), source },
        _ => CollectError::Write(source),
    };

    archive.file("catalog.db", catalog.bytes, &*catalog.file).map_err(|error| failed("catalog.db", error))?;
    drop(catalog);

    let mut manifest = Manifest {
        position: columns.position,
        readings: columns.readings,
        remote_files: columns.remote_files,
        remote_bytes: columns.remote_bytes,
        devices: match rooms {
            Rooms::Open { series, .. } => Some(series.stats().devices),
            Rooms::AtRest { .. } => None,
        },
        ..Manifest::default()
    };
    for file in columns.files {
        let (name, bytes) = (format!("series/{}", file.name()), file.bytes());
        let opened = file.open(&*host.disk).and_then(|file| {
            let found = file.bytes()?;
            let short = || format!("it has {found} bytes; {bytes} were written");
            if found < bytes { Err(std::io::Error::other(short())) } else { Ok(file) }
        });
        match opened {
            Ok(file) => archive.file(&name, bytes, &*file).map_err(|error| failed(&name, error))?,
            // One that is lost does not cost the others: the restored columns answer without it, as these do.
            Err(error) => {
                tracing::error!(file = name, %error, "a column file is left out of the backup");
                manifest.left_out.push(format!("{name}: {error}"));
            }
        }
    }
    if let Some(bytes) = &columns.manifest {
        let name = format!("series/{}", series::Extract::MANIFEST);
        archive.bytes(&name, bytes).map_err(|error| failed(&name, error))?;
    }

    if let Some(checkpoint) = &journal.checkpoint {
        let name = format!("journal/{}", journal::Extract::CHECKPOINT);
        archive.bytes(&name, checkpoint).map_err(|error| failed(&name, error))?;
    }
    let durable_seq = journal.write(rooms, columns.position, host, &mut |name, bytes, file| {
        archive.file(name, bytes, file).map_err(|error| failed(name, error))
    })?;
    drop(held);
    let finished_at = host.clock.now().to_string();
    archive.finish(Manifest { durable_seq, finished_at, ..manifest }).map_err(CollectError::Write)?;
    Ok(())
}

fn header(
    about: &About,
    wrapping: &Wrapping,
    host: &Host,
    time: Timestamp,
    bytes: u64,
) -> Result<(Header, Seal), CollectError> {
    let mut header = Header {
        godwit_backup: form::VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        begun_at: time.to_string(),
        data_format: about.format,
        data_id: about.id.clone(),
        boot: about.boot,
        key_id: host.keys.id(),
        data_key: String::new(),
        key: None,
        ring: None,
        bytes,
    };
    let (data_key, wrapped) = host.keys.new_data_key(&header.context("data"), &*host.random);
    header.data_key = hex(&wrapped);
    header.key = wrapping.as_ref().map(|(derivation, key)| {
        let under = host::KeyRing::new(key);
        let wrapped = host.keys.escrow(&under, &header.context("key"), &*host.random);
        KeyUnderPassphrase { derivation: derivation.clone(), wrapped: hex(&wrapped) }
    });
    header.ring = ring(about, wrapping, host)?;
    Ok((header, Seal::new(&data_key)))
}

/// The ring as it leaves the machine: the recovery code opens the data directory, and no copy of it.
fn ring(about: &About, wrapping: &Wrapping, host: &Host) -> Result<Option<host::RingDocument>, CollectError> {
    let Some(document) = about.keys.document() else { return Ok(None) };
    let mut document = document.without_recovery();
    if let Some((_, key)) = wrapping {
        document.wrap_for(&host.keys, &HeldKey::new(key.clone()), &*host.random)?;
    }
    Ok(Some(document))
}

/// A copy of the catalog; removed in the end.
struct CatalogCopy<'h> {
    path: PathBuf,
    file: Box<dyn File>,
    bytes: u64,
    disk: &'h dyn Disk,
}

impl<'h> CatalogCopy<'h> {
    fn make(rooms: &Rooms<'_>, about: &About, host: &'h Host) -> Result<Self, CollectError> {
        let disk = &*host.disk;
        let path = about.temp.join(format!("catalog-{:016x}.db", host.random.number()));
        let failed = |source| CollectError::Read { name: path.display().to_string(), source };
        let copied = match rooms {
            Rooms::Open { catalog, .. } => catalog.copy_to(&path, disk),
            Rooms::AtRest { data } => catalog::copy(&data.join("catalog.db"), &path, disk),
        };
        let opened = copied.map_err(CollectError::from).and_then(|()| {
            let file = disk.open(&path).map_err(failed)?;
            let bytes = file.bytes().map_err(failed)?;
            Ok((file, bytes))
        });
        match opened {
            Ok((file, bytes)) => Ok(Self { path, file, bytes, disk }),
            Err(error) => {
                // Half a copy; the next start would remove it too.
                let _ = disk.remove(&path);
                Err(error)
            }
        }
    }
}

impl Drop for CatalogCopy<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.disk.remove(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the catalog's copy is not removed; the next start removes it");
        }
    }
}

/// Adds the first so many bytes of a file under a name.
type Add<'a> = dyn FnMut(&str, u64, &dyn File) -> Result<(), CollectError> + 'a;

/// The journal as it is when the columns have been looked at.
struct Segments {
    checkpoint: Option<Vec<u8>>,
    segments: Vec<SegmentExtract>,
    durable_seq: u64,
    /// The newest of each chain, open: even when it is the newest no more and is dropped, it is in the copy.
    newest: Vec<(SegmentExtract, Box<dyn File>)>,
}

impl Segments {
    fn look(rooms: &Rooms<'_>, host: &Host) -> Result<Self, CollectError> {
        let failed = |source| CollectError::Read { name: "journal".to_owned(), source };
        // Before the segments: it may say less than they do, never more.
        let (checkpoint, extract) = match rooms {
            Rooms::Open { journal, .. } => {
                (journal.checkpoint().map_err(failed)?, journal.extract().ok_or(CollectError::Journalling)?)
            }
            Rooms::AtRest { data } => {
                let dir = data.join("journal");
                let checkpoint = journal::Extract::checkpoint_at_rest(&dir, &*host.disk).map_err(failed)?;
                (checkpoint, journal::Extract::at_rest(&dir, &journal::Settings::default(), host)?)
            }
        };
        let mut newest = Vec::new();
        for segment in extract.segments.iter().filter(|segment| segment.is_newest()) {
            let file = segment
                .open(&*host.disk)
                .map_err(|source| CollectError::Read { name: segment.name(), source })?;
            newest.push((segment.clone(), file));
        }
        let journal::Extract { durable_seq, segments } = extract;
        Ok(Self { checkpoint, segments, durable_seq, newest })
    }

    fn bytes(&self) -> u64 {
        let checkpoint = self.checkpoint.as_ref().map_or(0, Vec::len) as u64;
        checkpoint + self.segments.iter().map(SegmentExtract::bytes).sum::<u64>()
    }

    /// Writes the segments and says up to which `seq` everything is in them. `position` is that of the columns.
    fn write(
        self,
        rooms: &Rooms<'_>,
        position: u64,
        host: &Host,
        archive: &mut Add<'_>,
    ) -> Result<u64, CollectError> {
        let name = |segment: &SegmentExtract| format!("journal/{}", segment.name());
        let mut newest = self.newest;
        for chain in Chain::ALL {
            let old = self.segments.iter().rev().filter(|segment| {
                segment.chain() == chain && !segment.is_newest() && segment.last_seq() <= position
            });
            for segment in old {
                let file = match segment.open(&*host.disk) {
                    Ok(file) => file,
                    // Retention was quicker: with it everything older is gone.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
                    Err(source) => return Err(CollectError::Read { name: name(segment), source }),
                };
                archive(&name(segment), segment.bytes(), &*file)?;
            }
        }
        let last = match rooms {
            Rooms::Open { journal, .. } => journal.extract().ok_or(CollectError::Journalling)?,
            Rooms::AtRest { .. } => {
                journal::Extract { durable_seq: self.durable_seq, segments: self.segments }
            }
        };
        for chain in Chain::ALL {
            let pinned = newest.iter().position(|(segment, _)| segment.chain() == chain);
            let pinned = pinned.map(|at| newest.swap_remove(at));
            let from = pinned.as_ref().map_or(0, |(segment, _)| segment.number());
            let mut rest: Vec<_> = last
                .segments
                .iter()
                .filter(|segment| {
                    segment.chain() == chain && (segment.number() >= from || segment.last_seq() > position)
                })
                .cloned()
                .collect();
            if let Some((segment, _)) = &pinned
                && rest.iter().all(|other| other.number() != from)
            {
                // Dropped since: what came after it may build on it.
                rest.insert(rest.partition_point(|other| other.number() < from), segment.now());
            }
            let mut pinned = pinned.map(|(_, file)| file);
            for segment in rest {
                let file = match pinned.take_if(|_| segment.number() == from) {
                    Some(file) => file,
                    None => segment
                        .open(&*host.disk)
                        .map_err(|source| CollectError::Read { name: name(&segment), source })?,
                };
                archive(&name(&segment), segment.bytes(), &*file)?;
            }
        }
        Ok(last.durable_seq)
    }
}
