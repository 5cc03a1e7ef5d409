//! What can go wrong, said shortly, with whose fault it is and what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use model::Kind;

/// Why the columns of a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or the directory cannot be made, read or written.
    #[error("cannot use `{}`", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A newer version wrote it.
    #[error("`{}` has version {found}; this version of Godwit knows versions up to {}", path.display(), crate::manifest::VERSION)]
    Newer {
        /// The manifest.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// It is not what was written.
    #[error("`{}` is damaged: {reason}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It was written under another key-encryption key.
    #[error("`{}` was encrypted under key `{}`, but the key file holds key `{}`", path.display(), keys(reason).0, keys(reason).1)]
    Key {
        /// The manifest.
        path: PathBuf,
        /// What the key ring says.
        reason: host::KeyError,
    },
    /// The settings of the remote store are not right.
    #[error("{0}")]
    Remote(String),
    /// Threads cannot be started.
    #[error("cannot start the threads of `series`")]
    Threads(#[source] io::Error),
    /// The query engine cannot be set up: a fault of ours.
    #[error("cannot set up the query engine: {0}")]
    Engine(String),
}

/// The key that is wanted, and the one that is there.
fn keys(error: &host::KeyError) -> (&str, &str) {
    match error {
        host::KeyError::OtherKey { wanted, present } => (wanted, present),
        _ => ("?", "?"),
    }
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
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("give the user that runs Godwit the right to read and write there")
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("make room on the volume")
            }
            Self::Key { reason, .. } => reason.hint(),
            Self::Newer { .. } => Some("start the version of Godwit that wrote it, or a newer one"),
            Self::Manifest { .. } => Some(
                "restore `series/` from a backup, or move it away: what the journal still holds is then stored anew",
            ),
            _ => None,
        }
    }
}

/// Why readings could not be written as columns. They stay in memory and in the journal, and writing is tried again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Readings cannot be encoded: a fault of ours.
    #[error("cannot encode column file `{name}`: {reason}")]
    Encode {
        /// The file.
        name: String,
        /// Why.
        reason: String,
    },
    /// A column file cannot be moved to the remote store. It stays where it is.
    #[error("cannot move column file `{name}`: {reason}")]
    Remote {
        /// The file.
        name: String,
        /// What the store, which is named, said.
        reason: String,
    },
    /// Readings that were to be rolled up cannot be read.
    #[error("cannot roll up {day}: {reason}")]
    Fold {
        /// Their day.
        day: String,
        /// Why, with the file's name.
        reason: String,
    },
    /// A column file of which rows are too old cannot be read.
    #[error("cannot take old readings out of `{name}`: {reason}")]
    Sweep {
        /// The file.
        name: String,
        /// Why.
        reason: String,
    },
    /// Column files that were to be merged cannot be read.
    #[error("cannot merge column files of {day}: {reason}")]
    Merge {
        /// Their day.
        day: String,
        /// Why, with the file's name.
        reason: String,
    },
}

impl StoreError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => Kind::TooMuch,
            Self::Remote { .. } => Kind::Unavailable,
            _ => Kind::Broken,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("make room on the volume, or lower `series.disk_budget`; nothing is lost meanwhile")
            }
            Self::Merge { .. } | Self::Fold { .. } => {
                Some("restore the file from a backup; all other readings are served meanwhile")
            }
            _ => None,
        }
    }
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is no SQL, or names what there is not.
    #[error("{message}")]
    Invalid {
        /// What is wrong, in one line.
        message: String,
        /// What would be right, if that can be guessed.
        hint: Option<String>,
    },
    /// It would change something.
    #[error("`{statement}` is not allowed: queries only read")]
    NotARead {
        /// The first word of the statement.
        statement: String,
    },
    /// It took too long.
    #[error("query took longer than {limit:?}")]
    Time {
        /// The bound.
        limit: Duration,
    },
    /// It needs too much memory.
    #[error("query needs more than {limit_bytes} bytes of memory")]
    Memory {
        /// The bound.
        limit_bytes: usize,
    },
    /// The answer is too long.
    #[error("answer has more than {limit_rows} rows")]
    Rows {
        /// The bound.
        limit_rows: usize,
    },
    /// A column file cannot be read.
    #[error("cannot read column file `{name}`: {reason}")]
    File {
        /// Its name in `series/`.
        name: String,
        /// Why.
        reason: String,
    },
    /// A column file is in a remote store that does not answer.
    #[error("cannot read column file `{name}`: {reason}")]
    Away {
        /// Its name in the store.
        name: String,
        /// What the store, which is named, said.
        reason: String,
    },
    /// More within a second than is held at once.
    #[error("one second of {day} has more than {limit} to be looked at; the one too many is of `{device}`")]
    Dense {
        /// The device at which it was too much.
        device: String,
        /// The day, UTC.
        day: String,
        /// The bound, in words.
        limit: String,
    },
    /// Too many exports run.
    #[error("{limit} exports are being made already")]
    Busy {
        /// How many may run at once.
        limit: usize,
    },
    /// The server is stopping.
    #[error("the server is stopping")]
    Closed,
    /// The engine failed: a fault of ours.
    #[error("query failed: {message}")]
    Engine {
        /// What it says, in one line.
        message: String,
    },
}

impl QueryError {
    /// The code of the reason; never reused for another.
    #[must_use]
    pub fn slug(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "query.invalid",
            Self::NotARead { .. } => "query.not_a_read",
            Self::Time { .. } => "query.time",
            Self::Memory { .. } => "query.memory",
            Self::Rows { .. } => "query.rows",
            Self::File { .. } => "query.file",
            Self::Away { .. } => "query.away",
            Self::Dense { .. } => "query.dense",
            Self::Busy { .. } => "query.busy",
            Self::Closed => "query.closed",
            Self::Engine { .. } => "query.engine",
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid { .. } => Kind::Invalid,
            Self::NotARead { .. } => Kind::Forbidden,
            // The same query meets the same bound again.
            Self::Time { .. } | Self::Memory { .. } | Self::Rows { .. } | Self::Dense { .. } => Kind::Invalid,
            Self::Closed | Self::Away { .. } => Kind::Unavailable,
            Self::Busy { .. } => Kind::TooMuch,
            Self::File { .. } | Self::Engine { .. } => Kind::Broken,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Invalid { hint, .. } => hint.as_deref(),
            Self::NotARead { .. } => Some("there are SELECT, EXPLAIN, SHOW and DESCRIBE"),
            Self::Time { .. } => Some(
                "ask for fewer days or devices with a WHERE on `time` or `device`, or raise `series.query.time`",
            ),
            Self::Memory { .. } => Some(
                "ask for fewer days or devices, group by fewer columns, or raise `series.query.memory_bytes`",
            ),
            Self::Rows { .. } => Some("add a LIMIT, or raise `series.query.rows`"),
            Self::File { .. } => {
                Some("restore the file from a backup; queries that do not need it are answered meanwhile")
            }
            Self::Away { .. } => Some(
                "younger readings are answered: ask for them with a WHERE on `time`, or try again when the store is back",
            ),
            Self::Dense { .. } => {
                Some("ask for a time without that second, or look at fewer channels at a time")
            }
            Self::Busy { .. } => Some("wait for one of them to end"),
            Self::Closed | Self::Engine { .. } => None,
        }
    }
}
