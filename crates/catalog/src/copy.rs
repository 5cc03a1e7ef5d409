//! A copy of the whole database as it is at one moment, made while it is written to.
//!
//! Not here: where the copy goes after. The laws: everything that was acknowledged before the call is in it; nobody
//! who writes waits for it; it is one file, without a log beside it.

use std::path::Path;

use crate::Catalog;
use crate::error::{OpenError, SqlError};
use crate::statement;

impl Catalog {
    /// Writes a copy to `to`, a file that is not there yet; mode 0600. Blocks for as long as the database is read.
    ///
    /// # Errors
    /// As [`copy`].
    pub fn copy_to(&self, to: &Path, disk: &dyn host::Disk) -> Result<(), OpenError> {
        copy(self.path(), to, disk)
    }
}

/// Writes a copy of the database at `from`, whether a process has it open or not.
///
/// # Errors
/// [`OpenError::File`] when `to` is there already or cannot be made; [`OpenError::Sql`] when the database cannot be
/// read, or the copy not be written.
pub fn copy(from: &Path, to: &Path, disk: &dyn host::Disk) -> Result<(), OpenError> {
    // The engine would make it with the mode of the process; into an empty file it copies too.
    disk.create(to).map_err(|source| OpenError::File { path: to.to_owned(), source })?;
    // Not a reader's connection: that one could not write the copy either.
    let raw = statement::open(from)?;
    const COPY: &str = "VACUUM INTO $1";
    let to = to.to_string_lossy();
    raw.execute(COPY, [&to]).map_err(|error| SqlError::of(&error, from, COPY))?;
    Ok(())
}
