//! Statements and the rows they give: the thin coat over the engine.
//!
//! Not here: when a statement runs and on which connection ([`crate::Catalog::write`], [`crate::Catalog::read`]).
//! The law: `$n` is the n-th parameter wherever it stands in the statement, and a statement that names a parameter
//! it was not given, or is given one it does not name, is refused rather than run with a NULL.

use std::ops::Deref;
use std::path::Path;

use rusqlite::OpenFlags;
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::error::{Cause, SqlError, beginning};
use crate::value::{FromValue, ToValue, Value};

/// Compiled statements kept per connection; all statements of all rooms fit.
const STATEMENTS_KEPT: usize = 256;

/// How large the log may stay, in bytes, once its content is in the database file.
const LOG_BYTES_KEPT: u32 = 16 * 1024 * 1024;

/// A look at the database as it was at one moment.
pub struct Connection<'c> {
    raw: &'c rusqlite::Connection,
    path: &'c Path,
}

/// The right to change the database, until the operation it was lent to returns.
pub struct Transaction<'c>(Connection<'c>);

/// One row of an answer.
pub struct Row<'r> {
    raw: &'r rusqlite::Row<'r>,
}

impl<'c> Connection<'c> {
    pub(crate) fn new(raw: &'c rusqlite::Connection, path: &'c Path) -> Self {
        Self { raw, path }
    }

    /// Runs a statement and makes a `T` of every row. The statement is compiled once per connection.
    ///
    /// # Errors
    /// [`SqlError`]; also the first error of `each`.
    pub fn query<T>(
        &self,
        sql: &str,
        params: &[&dyn ToValue],
        mut each: impl FnMut(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        let failed = |error: rusqlite::Error| SqlError::of(&error, self.path, sql);
        let mut statement = self.bound(sql, params)?;
        let mut rows = statement.raw_query();
        let mut made = Vec::new();
        while let Some(raw) = rows.next().map_err(failed)? {
            made.push(each(&Row { raw })?);
        }
        Ok(made)
    }

    /// As [`Connection::query`], for statements that give at most one row; further rows are not looked at.
    ///
    /// # Errors
    /// [`SqlError`]; also the error of `each`.
    pub fn query_one<T>(
        &self,
        sql: &str,
        params: &[&dyn ToValue],
        each: impl FnOnce(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Option<T>, SqlError> {
        let failed = |error: rusqlite::Error| SqlError::of(&error, self.path, sql);
        let mut statement = self.bound(sql, params)?;
        let mut rows = statement.raw_query();
        rows.next().map_err(failed)?.map(|raw| each(&Row { raw })).transpose()
    }

    fn bound(&self, sql: &str, params: &[&dyn ToValue]) -> Result<rusqlite::CachedStatement<'c>, SqlError> {
        let failed = |error: rusqlite::Error| SqlError::of(&error, self.path, sql);
        let mistake =
            |text: String| SqlError::Statement { statement: beginning(sql), source: Cause::new(text) };
        let mut statement = self.raw.prepare_cached(sql).map_err(failed)?;
        // SQLite numbers `$n` by first appearance, PostgreSQL by n: go by the name.
        let named = statement.parameter_count();
        if named != params.len() {
            return Err(mistake(format!("it names {named} parameters and was given {}", params.len())));
        }
        for position in 1..=named {
            let number =
                statement.parameter_name(position).and_then(|name| name.strip_prefix('$')?.parse().ok());
            let Some(param) = number.and_then(|number: usize| params.get(number.checked_sub(1)?)) else {
                return Err(mistake(format!("its parameters must be `$1` to `${named}`")));
            };
            let Some(value) = param.to_value() else {
                return Err(mistake(format!("parameter {position} does not fit a column")));
            };
            statement.raw_bind_parameter(position, Bound(value)).map_err(failed)?;
        }
        Ok(statement)
    }
}

impl<'c> Transaction<'c> {
    /// Runs a statement that gives no rows; the number of rows it changed.
    ///
    /// # Errors
    /// [`SqlError`]; the operation may go on after it, what this statement did is undone.
    pub fn execute(&self, sql: &str, params: &[&dyn ToValue]) -> Result<usize, SqlError> {
        self.bound(sql, params)?.raw_execute().map_err(|error| SqlError::of(&error, self.path, sql))
    }

    pub(crate) fn new(raw: &'c rusqlite::Connection, path: &'c Path) -> Self {
        Self(Connection::new(raw, path))
    }
}

impl<'c> Deref for Transaction<'c> {
    type Target = Connection<'c>;

    fn deref(&self) -> &Connection<'c> {
        &self.0
    }
}

impl Row<'_> {
    /// The value of a column, counted from 0.
    ///
    /// # Errors
    /// [`SqlError::Column`] when there is none, or it holds something else.
    pub fn get<T: FromValue>(&self, column: usize) -> Result<T, SqlError> {
        let wrong = |found| SqlError::Column { column, wanted: T::KIND, found };
        let value = match self.raw.get_ref(column).map_err(|_| wrong("nothing: there is no such column"))? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Integer(number),
            ValueRef::Real(number) => Value::Real(number),
            ValueRef::Text(bytes) => Value::Text(str::from_utf8(bytes).map_err(|_| wrong("bytes"))?),
            ValueRef::Blob(bytes) => Value::Bytes(bytes),
        };
        T::from_value(value).ok_or_else(|| wrong(value.kind()))
    }
}

struct Bound<'a>(Value<'a>);

impl rusqlite::ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(number),
            Value::Real(number) => ValueRef::Real(number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// The writer's connection: WAL, so that readers wait for nobody; every commit synced.
pub(crate) fn open_for_writing(path: &Path) -> Result<rusqlite::Connection, SqlError> {
    let raw = open(path)?;
    let failed = |error: rusqlite::Error| SqlError::of(&error, path, "PRAGMA");
    let mode: String =
        raw.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        let source = Cause::new(format!("it has no write-ahead log here, but journal mode `{mode}`"));
        return Err(SqlError::Disk { path: path.to_owned(), source });
    }
    raw.pragma_update(None, "synchronous", "full").map_err(failed)?;
    // What is taken away is overwritten in the pages that are written anyway: a key that left is not found in their free parts.
    raw.pragma_update(None, "secure_delete", "fast").map_err(failed)?;
    raw.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT).map_err(failed)?;
    Ok(raw)
}

/// A reader's connection: whatever runs on it cannot change anything.
pub(crate) fn open_for_reading(path: &Path) -> Result<rusqlite::Connection, SqlError> {
    let raw = open(path)?;
    raw.pragma_update(None, "query_only", true).map_err(|error| SqlError::of(&error, path, "PRAGMA"))?;
    Ok(raw)
}

/// A connection as the others have it before they are told what they are for.
pub(crate) fn open(path: &Path) -> Result<rusqlite::Connection, SqlError> {
    let failed = |error: rusqlite::Error| SqlError::of(&error, path, "PRAGMA");
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let raw = rusqlite::Connection::open_with_flags(path, flags).map_err(failed)?;
    raw.busy_timeout(crate::BUSY_TIMEOUT).map_err(failed)?;
    raw.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    // A database that somebody else prepared must not run functions of its own choice.
    raw.pragma_update(None, "trusted_schema", false).map_err(failed)?;
    // Damage is found when a page is read, not when its nonsense was copied on.
    raw.pragma_update(None, "cell_size_check", true).map_err(failed)?;
    raw.pragma_update(None, "temp_store", "memory").map_err(failed)?;
    raw.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(raw)
}
