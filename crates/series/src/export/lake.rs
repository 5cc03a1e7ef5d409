//! A folder or a bucket that others read: files appear in it whole or not at all.
//!
//! In a folder a file grows in `_unfinished/` (readers of such folders pass over what begins with `_`), is synced and
//! takes its name by a rename; in a bucket an upload of many parts becomes an object at its end. Not here: what the
//! files hold. The law: whatever ends the process, no name leads to half a file.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use host::Disk;
use model::Kind;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Place;
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use crate::files::s3;
use crate::settings::{RemoteSettings, Secret};

/// Where files of a folder grow.
const UNFINISHED: &str = "_unfinished";

/// Bytes of one part of an upload: ten thousand of them are what S3 takes.
const PART_BYTES: usize = 16 << 20;

/// How a bucket is reached, as `[series.remote]` says it. What is not said is taken from the environment
/// (`AWS_ACCESS_KEY_ID`, …).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// Address of a service that speaks S3. Default: the one of AWS.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Access key.
    pub access_key: Option<String>,
    /// Secret of the access key.
    pub secret_key: Option<Secret>,
}

/// Why a file cannot be put there.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// It is neither a folder nor a bucket.
    #[error("`{to}` is no place for files: {reason}")]
    Place {
        /// What was given.
        to: String,
        /// What is wrong.
        reason: String,
    },
    /// It cannot be written to or read from.
    #[error("cannot use `{to}`: {reason}")]
    Use {
        /// The folder or bucket.
        to: String,
        /// Why.
        reason: String,
    },
}

impl LakeError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Place { .. } => Kind::Invalid,
            Self::Use { .. } => Kind::Unavailable,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Place { .. } => Some("name a folder, or a bucket as s3://bucket/prefix"),
            Self::Use { .. } => None,
        }
    }
}

/// A folder or a bucket.
#[derive(Clone)]
pub struct Lake {
    to: String,
    store: Arc<dyn ObjectStore>,
    prefix: Place,
    /// The folder, when it is one, and the disk it is on.
    folder: Option<(PathBuf, Arc<dyn Disk>)>,
}

impl Lake {
    /// The folder `to`, made when it is not there, or the bucket `s3://bucket/prefix`.
    ///
    /// # Errors
    /// [`LakeError`] names it.
    pub fn open(to: &str, access: &Access, disk: &Arc<dyn Disk>) -> Result<Self, LakeError> {
        let wrong = |reason: String| LakeError::Place { to: to.to_owned(), reason };
        if let Some(rest) = to.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(wrong("it names no bucket".to_owned()));
            }
            let Access { endpoint, region, access_key, secret_key } = access.clone();
            let remote =
                RemoteSettings { endpoint, region, access_key, secret_key, ..RemoteSettings::default() };
            let store = s3(bucket, &remote).map_err(wrong)?;
            let prefix = Place::parse(prefix.trim_matches('/')).map_err(|error| wrong(error.to_string()))?;
            return Ok(Self { to: to.to_owned(), store: Arc::new(store), prefix, folder: None });
        }
        if let Some((scheme, _)) = to.split_once("://") {
            return Err(wrong(format!("`{scheme}` is not known")));
        }
        let folder = PathBuf::from(to);
        disk.create_dir(&folder).map_err(|error| wrong(error.to_string()))?;
        let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| wrong(error.to_string()))?;
        let folder = Some((folder, Arc::clone(disk)));
        Ok(Self { to: to.to_owned(), store: Arc::new(store), prefix: Place::default(), folder })
    }

    fn failed(&self, error: impl std::fmt::Display) -> LakeError {
        LakeError::Use { to: self.to.clone(), reason: error.to_string() }
    }

    fn place(&self, name: &str) -> Place {
        name.split('/').fold(self.prefix.clone(), Place::join)
    }

    /// Begins a file; what has its name stays until [`LakeFile::finish`].
    #[must_use]
    pub fn begin(&self, name: &str) -> LakeFile {
        let at = match &self.folder {
            Some(_) => self.place(&format!("{UNFINISHED}/{}", name.replace('/', "-"))),
            None => self.place(name),
        };
        let writer = BufWriter::with_capacity(Arc::clone(&self.store), at.clone(), PART_BYTES);
        LakeFile { lake: self.clone(), name: name.to_owned(), at, writer, bytes: 0 }
    }

    /// A whole small file; `None` when it is not there.
    ///
    /// # Errors
    /// [`LakeError::Use`].
    pub async fn read(&self, name: &str) -> Result<Option<Bytes>, LakeError> {
        match self.store.get(&self.place(name)).await {
            Ok(found) => Ok(Some(found.bytes().await.map_err(|error| self.failed(error))?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Whether a file has this name.
    ///
    /// # Errors
    /// [`LakeError::Use`].
    pub async fn has(&self, name: &str) -> Result<bool, LakeError> {
        match self.store.head(&self.place(name)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Removes what an interrupted process left unfinished in a folder.
    ///
    /// # Errors
    /// [`LakeError::Use`].
    pub async fn clean(&self) -> Result<(), LakeError> {
        if self.folder.is_none() {
            return Ok(());
        }
        let left: Vec<_> = self
            .store
            .list(Some(&self.place(UNFINISHED)))
            .try_collect()
            .await
            .map_err(|error| self.failed(error))?;
        for file in left {
            self.store.delete(&file.location).await.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }
}

/// A file that grows. Dropped, it never was.
pub struct LakeFile {
    lake: Lake,
    name: String,
    /// Where it grows.
    at: Place,
    writer: BufWriter,
    bytes: u64,
}

impl LakeFile {
    /// Adds to it.
    ///
    /// # Errors
    /// [`LakeError::Use`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), LakeError> {
        self.bytes += bytes.len() as u64;
        self.writer.write_all(bytes).await.map_err(|error| self.lake.failed(error))
    }

    /// Puts it in place of what has its name; how many bytes it has.
    ///
    /// # Errors
    /// [`LakeError::Use`]: what had the name is as it was.
    pub async fn finish(mut self) -> Result<u64, LakeError> {
        let lake = &self.lake;
        self.writer.shutdown().await.map_err(|error| lake.failed(error))?;
        if let Some((folder, disk)) = &lake.folder {
            let grown = folder.join(self.at.as_ref());
            // On stable storage before it has its name.
            disk.open(&grown).and_then(|mut file| file.sync()).map_err(|error| lake.failed(error))?;
            let place = lake.place(&self.name);
            lake.store.rename(&self.at, &place).await.map_err(|error| lake.failed(error))?;
            let above = folder.join(place.as_ref());
            let above = above.parent().unwrap_or(folder);
            disk.sync_dir(above).map_err(|error| lake.failed(error))?;
        }
        Ok(self.bytes)
    }
}
