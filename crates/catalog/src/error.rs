//! What can go wrong with the database, in words an operator can act on.
//!
//! Not here: the engine's own error type. The law: an error names the file or the statement, says whose fault it is
//! ([`model::Kind`]) and, where the reader can do something, what.

use std::io;
use std::path::{Path, PathBuf};

use model::Kind;

/// What the engine said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Cause {
    text: String,
}

impl Cause {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
}

/// Why a statement failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// The volume, or the database's own bound, is full.
    #[error("no room to write catalog `{}`", path.display())]
    Full {
        /// The database file.
        path: PathBuf,
        /// What the engine said.
        #[source]
        source: Cause,
    },
    /// The file or its volume cannot be written.
    #[error("catalog `{}` cannot be written: it is read-only", path.display())]
    ReadOnly {
        /// The database file.
        path: PathBuf,
        /// What the engine said.
        #[source]
        source: Cause,
    },
    /// The file is no database, or parts of it are not what was written.
    #[error("catalog `{}` is damaged", path.display())]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What the engine said.
        #[source]
        source: Cause,
    },
    /// The disk failed.
    #[error("cannot read or write catalog `{}`", path.display())]
    Disk {
        /// The database file.
        path: PathBuf,
        /// What the engine said.
        #[source]
        source: Cause,
    },
    /// Another process holds the database.
    #[error("catalog `{}` is held by another process", path.display())]
    Held {
        /// The database file.
        path: PathBuf,
        /// What the engine said.
        #[source]
        source: Cause,
    },
    /// A key that exists already, a reference to nothing, a value that a check forbids.
    #[error("the catalog's rules forbid `{statement}`")]
    Constraint {
        /// The statement's beginning.
        statement: String,
        /// What the engine said.
        #[source]
        source: Cause,
    },
    /// The statement is malformed, or its parameters do not fit it: a mistake in the room.
    #[error("the catalog cannot run `{statement}`")]
    Statement {
        /// The statement's beginning.
        statement: String,
        /// What the engine said.
        #[source]
        source: Cause,
    },
    /// A column holds something else than what was asked for.
    #[error("column {column} holds {found}, not {wanted}")]
    Column {
        /// The column, counted from 0.
        column: usize,
        /// What was asked for.
        wanted: &'static str,
        /// What is there.
        found: &'static str,
    },
}

impl SqlError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Full { .. } => Kind::TooMuch,
            Self::Held { .. } => Kind::Unavailable,
            Self::Constraint { .. } => Kind::Conflict,
            Self::ReadOnly { .. }
            | Self::Damaged { .. }
            | Self::Disk { .. }
            | Self::Statement { .. }
            | Self::Column { .. } => Kind::Broken,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Full { .. } => Some("make room on the volume; nothing that was acknowledged is lost"),
            Self::ReadOnly { .. } => Some(
                "give the user that runs Godwit the right to write there, or mount the volume for writing",
            ),
            Self::Damaged { .. } => Some("restore the catalog from a backup, and look after the disk"),
            Self::Disk { .. } => Some("look at the volume and at the kernel's log"),
            Self::Held { .. } => Some("end the other program that has the file open"),
            Self::Constraint { .. } | Self::Statement { .. } | Self::Column { .. } => None,
        }
    }

    pub(crate) fn of(error: &rusqlite::Error, path: &Path, sql: &str) -> Self {
        use rusqlite::ErrorCode as Code;
        let source = Cause::new(error.to_string());
        let path = path.to_owned();
        let statement = || beginning(sql);
        match error.sqlite_error_code() {
            Some(Code::DiskFull) => Self::Full { path, source },
            Some(Code::ReadOnly | Code::PermissionDenied) => Self::ReadOnly { path, source },
            Some(Code::DatabaseCorrupt | Code::NotADatabase) => Self::Damaged { path, source },
            Some(Code::SystemIoFailure | Code::CannotOpen) => Self::Disk { path, source },
            Some(Code::DatabaseBusy | Code::DatabaseLocked | Code::FileLockingProtocolFailed) => {
                Self::Held { path, source }
            }
            Some(Code::ConstraintViolation) => Self::Constraint { statement: statement(), source },
            _ => Self::Statement { statement: statement(), source },
        }
    }
}

/// Enough of a statement to find it in the code.
pub(crate) fn beginning(sql: &str) -> String {
    const SHOWN: usize = 80;
    let mut words = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = words.char_indices().nth(SHOWN) {
        words.truncate(at);
        words.push('…');
    }
    words
}

/// Why the catalog cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be made or opened.
    #[error("cannot open catalog `{}`", path.display())]
    File {
        /// The database file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The engine refused it.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A newer version of Godwit wrote it.
    #[error("catalog `{}` has version {found} of the tables of `{room}`; this version of Godwit knows versions up to {known}", path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Whose tables.
        room: String,
        /// The version found.
        found: u32,
        /// The newest version known; 0 when this version of Godwit has no such room.
        known: u32,
    },
    /// A migration failed. All were undone.
    #[error("cannot bring the tables of `{room}` to version {version}")]
    Migration {
        /// Whose tables.
        room: &'static str,
        /// To which version.
        version: u32,
        /// Why.
        #[source]
        source: SqlError,
    },
}

impl OpenError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => Kind::TooMuch,
            Self::Sql(error) => error.kind(),
            Self::Migration { source, .. } => source.kind(),
            Self::File { .. } | Self::Newer { .. } => Kind::Broken,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => Some(
                    "give the user that runs Godwit the right to write there, or name another directory with --data",
                ),
                io::ErrorKind::ReadOnlyFilesystem => Some(
                    "the volume is mounted read-only: mount it for writing, or name another directory with --data",
                ),
                io::ErrorKind::StorageFull => {
                    Some("make room on the volume, or name another directory with --data")
                }
                io::ErrorKind::NotFound => Some("make the directory first"),
                _ => None,
            },
            Self::Sql(error) => error.hint(),
            Self::Newer { .. } => Some("start the version of Godwit that wrote it, or a newer one"),
            Self::Migration { source, .. } => source.hint(),
        }
    }
}

/// Why a write did not happen. Nothing of it was stored, unless the disk failed in the very moment of the commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A statement failed, or the commit of all who were written together.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The catalog is closed or closing.
    #[error("the catalog is closed")]
    Closed,
    /// The operation panicked: a bug. Others go on.
    #[error("a write to the catalog panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
}

impl WriteError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Sql(error) => error.kind(),
            Self::Closed => Kind::Unavailable,
            Self::Panicked { .. } => Kind::Broken,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Sql(error) => error.hint(),
            Self::Closed => Some("Godwit is stopping: try again when it has started"),
            Self::Panicked { .. } => Some("report it as a bug, with the log around it"),
        }
    }
}

/// Why a read gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A statement failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The catalog is closed.
    #[error("the catalog is closed")]
    Closed,
    /// The operation panicked: a bug.
    #[error("a read of the catalog panicked")]
    Panicked,
}

impl ReadError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Sql(error) => error.kind(),
            Self::Closed => Kind::Unavailable,
            Self::Panicked => Kind::Broken,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Sql(error) => error.hint(),
            Self::Closed => Some("Godwit is stopping: try again when it has started"),
            Self::Panicked => Some("report it as a bug, with the log around it"),
        }
    }
}

/// The queue of the writer is full ([`crate::QUEUE_MAX`]) or closed: the operation was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the catalog's queue takes no more: {} operations wait", crate::QUEUE_MAX)]
pub struct QueueFull;

impl QueueFull {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::TooMuch
    }
}
