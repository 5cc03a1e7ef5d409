//! Why the journal refuses: one enum per operation, each with what a door or an operator needs to know.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use model::{Kind, Message};

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or the directory cannot be made, read or written.
    #[error("cannot use `{}` of the journal", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A newer version of Godwit wrote a file.
    #[error("`{}` has version {found}; this version of Godwit knows versions up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u16,
        /// The newest version that is known.
        known: u16,
    },
    /// A segment's key cannot be had.
    #[error("cannot read journal segment `{}`", path.display())]
    Key {
        /// The segment.
        path: PathBuf,
        /// Why.
        #[source]
        source: host::KeyError,
    },
    /// A segment of another journal lies among ours.
    #[error("journal segment `{}` belongs to another journal", path.display())]
    Foreign {
        /// The segment.
        path: PathBuf,
    },
    /// The writer's thread cannot be started.
    #[error("cannot start the journal's writer")]
    Thread {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::Broken
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("make room on the volume of the data directory")
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("give the user that runs Godwit the right to read and write the data directory")
            }
            Self::Newer { .. } => Some("start the version of Godwit that wrote it, or a newer one"),
            Self::Key { source, .. } => source.hint(),
            Self::Foreign { .. } => Some("move the file out of the journal's directory"),
            Self::Io { .. } | Self::Thread { .. } => None,
        }
    }
}

/// Why messages were not appended. Nothing of the batch will appear in the journal, except where it says so.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The bound on the journal's size is reached, and consumers or age hold what is there.
    #[error("journal is full: {used_bytes} of {limit_bytes} bytes used")]
    Full {
        /// Bytes in use.
        used_bytes: u64,
        /// Bytes at which appends are refused: 90 % of `bytes_max`.
        limit_bytes: u64,
    },
    /// A file could not be made or written; what was written of it was taken back.
    #[error("cannot write journal segment `{}`", path.display())]
    Write {
        /// The segment.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// An earlier sync failed: what the disk holds is in doubt, and nothing more is written until a restart. For
    /// the batch whose sync failed it is in doubt whether it appears after the restart.
    #[error("journal takes no more messages since a sync failed: {reason}")]
    Poisoned {
        /// What failed.
        reason: Arc<str>,
    },
    /// The journal was closed.
    #[error("journal is closed")]
    Closed,
    /// A message is larger than a record may be.
    #[error("message takes {bytes} bytes in the journal; the most is {bytes_max}")]
    TooLarge {
        /// Its size as a record.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
}

impl AppendError {
    /// Whose fault it is, and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Full { .. } => Kind::TooMuch,
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => Kind::TooMuch,
            Self::Write { .. } | Self::Poisoned { .. } => Kind::Broken,
            Self::Closed => Kind::Unavailable,
            Self::TooLarge { .. } => Kind::Invalid,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Full { .. } => Some(
                "raise `journal.bytes_max`, shorten `journal.keep`, or see in `godwit doctor` which consumer lags",
            ),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("make room on the volume of the data directory")
            }
            Self::Poisoned { .. } => Some("check the disk (dmesg, smartctl), then restart Godwit"),
            Self::TooLarge { .. } => Some("send smaller messages"),
            Self::Write { .. } | Self::Closed => None,
        }
    }
}

/// The queue is full: the batch comes back untouched. Wait for [`Journal::room`](crate::Journal::room).
pub struct Busy<F> {
    /// What was to be appended.
    pub batch: Vec<Message>,
    /// What was to be called.
    pub done: F,
}

impl<F> fmt::Debug for Busy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Busy").field("messages", &self.batch.len()).finish_non_exhaustive()
    }
}

impl<F> fmt::Display for Busy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the journal's queue is full; {} messages were not taken", self.batch.len())
    }
}

impl<F> std::error::Error for Busy<F> {}

/// Why a reader has nothing more to give.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A segment cannot be read. The reader stays where it was; the same call may succeed later.
    #[error("cannot read journal segment `{}`", path.display())]
    Io {
        /// The segment.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The journal was closed, and everything in it was read.
    #[error("journal is closed")]
    Closed,
}

impl ReadError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io { .. } => Kind::Broken,
            Self::Closed => Kind::Unavailable,
        }
    }
}
