//! Reads column files for DataFusion: open files and their metadata, kept while they are used.
//!
//! Not here: where their bytes are and how they are checked (`files`), what is in them. The laws: a file that a scan may
//! still read is not removed; an error names its file; what is kept open and in memory is bounded.

use std::fmt;
use std::ops::Range;
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
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use crate::files::{Fault, Files, OpenFile, Stored};

/// Most files that are kept open, with their metadata: one of a million rows has some 100 kB of page index.
const OPEN_MAX: usize = 512;

/// A column file that may be read. Removed when the last user lets go, once it is [`doomed`](Self::doom).
pub(crate) struct FileReader {
    stored: Stored,
    /// Of its open file in the cache: a file that moves is another one.
    key: String,
    files: Arc<Files>,
    cache: Arc<FileCache>,
    doomed: AtomicBool,
}

impl fmt::Debug for FileReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stored.name)
    }
}

/// A file that is open.
struct Open {
    file: OpenFile,
    metadata: Arc<ParquetMetaData>,
}

/// Bytes at the end that are read first: they hold the footer and the page index of most files.
const TAIL_BYTES: u64 = 64 * 1024;

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
    /// Reads the file that is stored like this.
    pub(crate) fn new(stored: Stored, files: &Arc<Files>, cache: &Arc<FileCache>) -> Arc<Self> {
        let (files, cache) = (Arc::clone(files), Arc::clone(cache));
        let key = if stored.remote { format!("remote {}", stored.name) } else { stored.name.clone() };
        Arc::new(Self { stored, key, files, cache, doomed: AtomicBool::new(false) })
    }

    /// It is live no more: removed when nobody reads it.
    pub(crate) fn doom(&self) {
        self.doomed.store(true, Ordering::Relaxed);
    }

    fn fault(&self, fault: &Fault) -> ParquetError {
        self.files.note_fault(&self.stored.name, fault);
        // `QueryError` reads the name from between the marks, and whether it is the file's fault from the one after.
        let away = if matches!(fault, Fault::Away(_)) { AWAY_MARK.to_string() } else { String::new() };
        ParquetError::General(format!("{FAULT_MARK}{}{FAULT_MARK}{away}{fault}", self.stored.name))
    }

    async fn open(&self) -> Result<Arc<Open>, ParquetError> {
        {
            let mut cached = self.cache.open.lock();
            cached.uses += 1;
            let now = cached.uses;
            if let Some((used, open)) = cached.files.get_mut(&self.key) {
                *used = now;
                return Ok(Arc::clone(open));
            }
        }
        let open = async {
            let file = self.files.open(&self.stored).await?;
            let metadata = Arc::new(read_metadata(&file).await?);
            Ok(Arc::new(Open { file, metadata }))
        };
        let open = open.await.map_err(|fault| self.fault(&fault))?;
        let mut cached = self.cache.open.lock();
        if cached.files.len() >= OPEN_MAX {
            let oldest = cached.files.iter().min_by_key(|(_, (used, _))| *used).map(|(name, _)| name.clone());
            oldest.map(|name| cached.files.remove(&name));
        }
        let now = cached.uses;
        cached.files.insert(self.key.clone(), (now, Arc::clone(&open)));
        Ok(open)
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes, ParquetError> {
        self.open().await?.file.read(range).await.map_err(|fault| self.fault(&fault))
    }

    async fn read_all(&self, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>, ParquetError> {
        self.open().await?.file.read_all(&ranges).await.map_err(|fault| self.fault(&fault))
    }
}

/// The footer and the page index.
async fn read_metadata(file: &OpenFile) -> Result<ParquetMetaData, Fault> {
    let bytes = file.content_bytes();
    let mut tail_bytes = bytes.min(TAIL_BYTES);
    loop {
        let tail = file.read(bytes - tail_bytes..bytes).await?;
        let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
        let parsed = reader.try_parse_sized(&tail, bytes).and_then(|()| reader.finish());
        match parsed {
            Ok(metadata) => return Ok(metadata),
            Err(ParquetError::NeedMoreData(needed)) if tail_bytes < bytes => {
                tail_bytes = bytes.min((needed as u64).max(tail_bytes * 2));
            }
            Err(error) => return Err(Fault::Damaged(error.to_string())),
        }
    }
}

impl Drop for FileReader {
    fn drop(&mut self) {
        if *self.doomed.get_mut() {
            self.cache.open.lock().files.remove(&self.key);
            if self.stored.remote {
                self.files.leave(&self.stored.name);
            } else {
                self.files.remove(&self.stored.name);
            }
        }
    }
}

/// Stands around the file's name in errors on their way through the engine.
pub(crate) const FAULT_MARK: char = '\u{1}';

/// Stands before the reason when the file is in a remote store that does not answer.
pub(crate) const AWAY_MARK: char = '\u{2}';

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

/// Reads of local files are short and mostly from the page cache: they run on the query's own threads.
struct Handle(Arc<FileReader>);

impl AsyncFileReader for Handle {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        self.0.read(range).boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        self.0.read_all(ranges).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async { Ok(Arc::clone(&self.0.open().await?.metadata)) }.boxed()
    }
}
