//! A remote store of files: any object store, with bounds of time on everything, and what it said last.
//!
//! ```text
//! <url>/2015-02-04-00000003-5f2e9a1c.parquet.sealed      the same bytes as the local file had
//! ```
//!
//! Not here: which files move there and when (`tiers`). The laws: a call ends within its bound; only objects whose name
//! the caller gives are touched, and the store is never listed, so that several directories may share a bucket.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use host::{Disk, SystemDisk};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ClientOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt, RetryConfig};
use parking_lot::Mutex;

use crate::settings::RemoteSettings;

/// The slowest way to a store that an upload is given time for, in bytes per second.
const SLOWEST_BYTES_PER_S: u64 = 100_000;

/// How often one call is tried by itself before the caller hears of it.
const TRIES: usize = 2;

/// Longest text of a fault that is kept, in characters: stores answer with pages.
const REASON_CHARS_MAX: usize = 300;

/// Bytes at the end of an object that are read back after it was written.
const READ_BACK_BYTES: u64 = 64 * 1024;

/// Why the store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RemoteError {
    /// There is no such object.
    #[error("it is missing in `{0}`")]
    Missing(String),
    /// The object is there and other than it should be.
    #[error("in `{store}` it has {found} bytes; {expected} were written")]
    Other { store: String, found: u64, expected: u64 },
    /// The store does not answer, or refuses.
    #[error("`{store}` does not answer: {reason}")]
    Unavailable { store: String, reason: String },
}

/// A store that is reached by its URL.
pub(crate) struct Remote {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The URL, which holds no secret.
    url: String,
    timeout: Duration,
    /// Of a store that is a directory: objects are synced there.
    dir: Option<PathBuf>,
    last_error: Mutex<Option<String>>,
    pub(super) reads: AtomicU64,
    failures: AtomicU64,
}

impl Remote {
    /// The store that the settings name. Nothing is asked of it yet.
    pub(crate) fn new(settings: &RemoteSettings) -> Result<Option<Self>, String> {
        let Some(url) = &settings.url else { return Ok(None) };
        let url = url.trim_end_matches('/').to_owned();
        let wrong =
            || format!("`series.remote.url` is `{url}`; write `s3://bucket/prefix` or `file:///a/directory`");
        let (store, prefix, dir): (Arc<dyn ObjectStore>, Path, _) =
            if let Some(place) = url.strip_prefix("s3://") {
                let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
                if bucket.is_empty() {
                    return Err(wrong());
                }
                (Arc::new(s3(bucket, settings)?), Path::from(prefix), None)
            } else if let Some(place) = url.strip_prefix("file://")
                && place.starts_with('/')
            {
                let prefix = Path::from_absolute_path(place).map_err(|error| error.to_string())?;
                (Arc::new(object_store::local::LocalFileSystem::new()), prefix, Some(place.into()))
            } else {
                return Err(wrong());
            };
        Ok(Some(Self {
            store,
            prefix,
            url,
            timeout: settings.timeout.max(Duration::from_millis(100)),
            dir,
            last_error: Mutex::default(),
            reads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }))
    }

    /// Its URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it said last, when that was no success.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }

    /// Calls that failed since the start.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Ranges that were read since the start.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Writes an object, and looks that it is there: its length, and its last bytes.
    pub(crate) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), RemoteError> {
        let length = bytes.len() as u64;
        let time = self.timeout + Duration::from_secs(length / SLOWEST_BYTES_PER_S);
        let path = self.path(name);
        if !self.is_there() {
            // A volume that is not mounted: what is written to its place would be on another one.
            return Err(self.unavailable("the directory is not there"));
        }
        self.bounded(time, self.store.put(&path, bytes.clone().into())).await?;
        if let Some(dir) = &self.dir {
            // What is renamed into place is not on stable storage before it is synced.
            let synced = SystemDisk.open(&dir.join(name)).and_then(|mut file| file.sync());
            synced
                .and_then(|()| SystemDisk.sync_dir(dir))
                .map_err(|error| self.unavailable(&error.to_string()))?;
        }
        let tail = length.saturating_sub(READ_BACK_BYTES)..length;
        if self.get(name, tail.clone(), length).await? != bytes.slice(tail.start as usize..) {
            return Err(self.unavailable("it gives back other bytes than it was given"));
        }
        Ok(())
    }

    /// Reads `range` of an object that has `length` bytes.
    pub(crate) async fn get(&self, name: &str, range: Range<u64>, length: u64) -> Result<Bytes, RemoteError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let time = self.timeout + Duration::from_secs((range.end - range.start) / SLOWEST_BYTES_PER_S);
        let path = self.path(name);
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let read = async {
            let found = self.store.get_opts(&path, options).await?;
            Ok((found.meta.size, found.bytes().await?))
        };
        let (found, bytes) = self.bounded(time, read).await?;
        if found != length {
            return Err(RemoteError::Other { store: self.url.clone(), found, expected: length });
        }
        Ok(bytes)
    }

    /// Removes an object. One that is not there is fine.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), RemoteError> {
        match self.bounded(self.timeout, self.store.delete(&self.path(name))).await {
            Err(RemoteError::Missing(_)) => Ok(()),
            result => result,
        }
    }

    /// Whether a store that is a directory is there at all.
    fn is_there(&self) -> bool {
        self.dir.as_ref().is_none_or(|dir| SystemDisk.list(dir).is_ok())
    }

    fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    async fn bounded<T>(
        &self,
        time: Duration,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, RemoteError> {
        match tokio::time::timeout(time, work).await {
            Ok(Ok(done)) => {
                *self.last_error.lock() = None;
                Ok(done)
            }
            Ok(Err(object_store::Error::NotFound { .. })) if self.is_there() => {
                Err(RemoteError::Missing(self.url.clone()))
            }
            Ok(Err(error)) => Err(self.unavailable(&crate::store::chain(&error))),
            Err(_) => Err(self.unavailable(&format!("nothing came for {time:?}"))),
        }
    }

    fn unavailable(&self, reason: &str) -> RemoteError {
        let reason: String = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        *self.last_error.lock() = Some(reason.clone());
        self.failures.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("godwit_series_remote_failures_total").increment(1);
        RemoteError::Unavailable { store: self.url.clone(), reason }
    }
}

/// A bucket of S3, or of what speaks like it.
pub(crate) fn s3(bucket: &str, settings: &RemoteSettings) -> Result<object_store::aws::AmazonS3, String> {
    let is_plain = settings.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let client = ClientOptions::new()
        .with_allow_http(is_plain)
        .with_connect_timeout(settings.timeout.min(Duration::from_secs(5)))
        // Each call has its own bound, by its length.
        .with_timeout_disabled();
    let retry = RetryConfig { max_retries: TRIES, retry_timeout: settings.timeout, ..RetryConfig::default() };
    // AWS_ACCESS_KEY_ID and its kin, where the settings say nothing.
    let mut builder =
        AmazonS3Builder::from_env().with_bucket_name(bucket).with_client_options(client).with_retry(retry);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false);
    }
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    if let Some(key) = &settings.access_key {
        builder = builder.with_access_key_id(key);
    }
    if let Some(key) = &settings.secret_key {
        builder = builder.with_secret_access_key(key.expose());
    }
    builder.build().map_err(|error| error.to_string())
}
