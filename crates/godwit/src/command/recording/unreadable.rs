//! Why a file cannot be read as rows at all.
//!
//! Not here: single rows, which are named and passed over.

use std::io;

/// Why a file cannot be replayed or imported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// It cannot be read.
    #[error("cannot read it")]
    Io(#[from] io::Error),
    /// There is no row.
    #[error("it has no rows")]
    Empty,
    /// No column holds times.
    #[error("no column holds times; the columns are {columns}, the first row is {row}")]
    NoTime { columns: String, row: String },
    /// A column that is named is not there.
    #[error("there is no column `{name}`; the columns are {columns}")]
    NoSuchColumn { name: String, columns: String },
    /// Nothing says whose rows they are.
    #[error("no column names the device; the columns are {columns}")]
    NoDevice { columns: String },
    /// Nothing is left to be measured.
    #[error("no column is left for values; the columns are {columns}")]
    NoValues { columns: String },
    /// Two columns would become one channel.
    #[error("columns `{first}` and `{second}` would both become `{name}`")]
    SameName { first: String, second: String, name: String },
}

impl Unreadable {
    /// What the reader can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoTime { .. } => Some(
                "name the column with --time; times are RFC 3339, 2015-02-04 17:51:00, or seconds, milliseconds, \
                 microseconds or nanoseconds since 1970",
            ),
            Self::NoDevice { .. } => {
                Some("name the column with --device, or the one device of the file with --as")
            }
            Self::NoValues { .. } => Some("a file of one value a row needs --channel and --value"),
            Self::SameName { .. } => Some("rename one of them in the file's first line"),
            Self::Empty => Some("a CSV needs a header line and at least one row"),
            Self::NoSuchColumn { .. } | Self::Io(_) => None,
        }
    }
}
