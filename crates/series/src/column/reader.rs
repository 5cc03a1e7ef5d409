//! Reads column files through `host::Disk` for DataFusion: open files and their metadata, kept while they are used.
//!
//! Not here: what is in the files. The laws: a file that a scan may still read is not removed; an error names its
//! file; what is kept open and in memory is bounded.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetFileReaderFactory;
use datafusion::error::Result;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use hashbrown::HashMap;
use host::{Disk, File};
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

/// Most files that are kept open, with their metadata: one of a million rows has some 100 kB of page index.
const OPEN_MAX: usize = 512;

/// A column file on disk that may be read. Removed when the last user lets go, once it is [`doomed`](Self::doom).
pub(crate) struct FileReader {
    name: String,
    path: PathBuf,
    bytes: u64,
    checksums: Vec<u32>,
    disk: Arc<dyn Disk>,
    cache: Arc<FileCache>,
    doomed: AtomicBool,
}

impl fmt::Debug for FileReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A file that is open.
struct Open {
    file: Box<dyn File>,
    /// Per block: whether it was found to be what was written.
    verified: Vec<AtomicBool>,
    metadata: Arc<ParquetMetaData>,
}

/// Bytes that one checksum covers: few enough to be read for a page, enough to keep the manifest short.
const BLOCK_BYTES: u64 = 256 * 1024;

/// The checksums of a file's blocks: CRC32C of each [`BLOCK_BYTES`].
pub(crate) fn checksums(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(BLOCK_BYTES as usize).map(crc32c::crc32c).collect()
}

/// Files that are open, by name.
#[derive(Default)]
pub(crate) struct FileCache {
    open: Mutex<Cached>,
}

#[derive(Default)]
struct Cached {
    files: HashMap<String, (u64, Arc<Open>)>,
    /// Counts uses, so that the one not used for longest can be found.
    uses: u64,
}

impl FileReader {
    /// The file `name` of `bytes` bytes, whose blocks have these checksums.
    pub(crate) fn new(
        dir: &Path,
        name: &str,
        (bytes, checksums): (u64, &[u32]),
        disk: &Arc<dyn Disk>,
        cache: &Arc<FileCache>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            path: dir.join(name),
            bytes,
            checksums: checksums.to_vec(),
            disk: Arc::clone(disk),
            cache: Arc::clone(cache),
            doomed: AtomicBool::new(false),
        })
    }

    /// It is live no more: removed when nobody reads it.
    pub(crate) fn doom(&self) {
        self.doomed.store(true, Ordering::Relaxed);
    }

    fn fault(&self, error: impl fmt::Display) -> ParquetError {
        // `QueryError` reads the name from between the marks.
        ParquetError::General(format!("{FAULT_MARK}{}{FAULT_MARK}{error}", self.name))
    }

    fn open(&self) -> Result<Arc<Open>, ParquetError> {
        {
            let mut cached = self.cache.open.lock();
            cached.uses += 1;
            let now = cached.uses;
            if let Some((used, open)) = cached.files.get_mut(&self.name) {
                *used = now;
                return Ok(Arc::clone(open));
            }
        }
        let file = self.disk.open(&self.path).map_err(|error| self.fault(error))?;
        let bytes = file.bytes().map_err(|error| self.fault(error))?;
        if bytes != self.bytes || self.checksums.len() as u64 != bytes.div_ceil(BLOCK_BYTES) {
            return Err(self.fault(format!("it has {bytes} bytes; {} were written", self.bytes)));
        }
        let verified: Vec<_> = self.checksums.iter().map(|_| AtomicBool::new(false)).collect();
        let metadata = self.read_metadata(file.as_ref(), &verified)?;
        let open = Arc::new(Open { file, verified, metadata: Arc::new(metadata) });
        let mut cached = self.cache.open.lock();
        if cached.files.len() >= OPEN_MAX {
            let oldest = cached.files.iter().min_by_key(|(_, (used, _))| *used).map(|(name, _)| name.clone());
            oldest.map(|name| cached.files.remove(&name));
        }
        let now = cached.uses;
        cached.files.insert(self.name.clone(), (now, Arc::clone(&open)));
        Ok(open)
    }

    fn read(&self, range: &Range<u64>) -> Result<Bytes, ParquetError> {
        let open = self.open()?;
        self.read_verified(open.file.as_ref(), &open.verified, range)
    }

    /// Reads `range`; what is read for the first time is compared with its checksums.
    fn read_verified(
        &self,
        file: &dyn File,
        verified: &[AtomicBool],
        range: &Range<u64>,
    ) -> Result<Bytes, ParquetError> {
        if range.end > self.bytes || range.start >= range.end {
            return Err(self.fault(format!("it has {} bytes; needed are {range:?}", self.bytes)));
        }
        let blocks = range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES);
        let known = |block: u64| verified[block as usize].load(Ordering::Relaxed);
        if blocks.clone().all(known) {
            return read_exactly(file, range).map_err(|error| self.fault(error));
        }
        let start = blocks.start * BLOCK_BYTES;
        let whole = start..(blocks.end * BLOCK_BYTES).min(self.bytes);
        let bytes = read_exactly(file, &whole).map_err(|error| self.fault(error))?;
        for (block, bytes) in blocks.zip(bytes.chunks(BLOCK_BYTES as usize)) {
            if crc32c::crc32c(bytes) != self.checksums[block as usize] {
                let at = block * BLOCK_BYTES;
                let to = at + bytes.len() as u64;
                return Err(self.fault(format!("bytes {at} to {to} are not what was written")));
            }
            verified[block as usize].store(true, Ordering::Relaxed);
        }
        Ok(bytes.slice((range.start - start) as usize..(range.end - start) as usize))
    }

    /// The footer and the page index.
    fn read_metadata(
        &self,
        file: &dyn File,
        verified: &[AtomicBool],
    ) -> Result<ParquetMetaData, ParquetError> {
        let mut tail_bytes = self.bytes.min(BLOCK_BYTES);
        loop {
            let tail = self.read_verified(file, verified, &(self.bytes - tail_bytes..self.bytes))?;
            let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
            match reader.try_parse_sized(&tail, self.bytes) {
                Ok(()) => return reader.finish(),
                Err(ParquetError::NeedMoreData(needed)) if tail_bytes < self.bytes => {
                    tail_bytes = self.bytes.min((needed as u64).max(tail_bytes * 2));
                }
                Err(error) => return Err(self.fault(error)),
            }
        }
    }
}

impl Drop for FileReader {
    fn drop(&mut self) {
        if *self.doomed.get_mut() {
            self.cache.open.lock().files.remove(&self.name);
            if let Err(error) = self.disk.remove(&self.path) {
                // Removed at the next start: no manifest names it.
                tracing::warn!(file = self.name, %error, "column file not removed");
            }
        }
    }
}

/// Stands around the file's name in errors on their way through the engine.
pub(crate) const FAULT_MARK: char = '\u{1}';

fn read_exactly(file: &dyn File, range: &Range<u64>) -> std::io::Result<Bytes> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let read = file.read_at(range.start, &mut bytes)?;
    if read < bytes.len() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::UnexpectedEof,
            format!("it ends at byte {}, needed are {range:?}", range.start + read as u64),
        ));
    }
    Ok(bytes.into())
}

/// Hands DataFusion the readers of live files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReaderFactory;

impl ParquetFileReaderFactory for ReaderFactory {
    fn create_reader(
        &self,
        _partition: usize,
        file: PartitionedFile,
        _metadata_size_hint: Option<usize>,
        _metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let reader = file.extension::<Arc<FileReader>>().expect("every scanned file carries its reader");
        Ok(Box::new(Handle(Arc::clone(reader))))
    }
}

/// Reads are short and mostly from the page cache: they run on the query's own threads.
struct Handle(Arc<FileReader>);

impl AsyncFileReader for Handle {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        std::future::ready(self.0.read(&range)).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        std::future::ready(self.0.open().map(|open| Arc::clone(&open.metadata))).boxed()
    }
}
