//! Readers: connections of their own, each look at one moment.
//!
//! Not here: writing; these connections cannot. The law: a read never waits for the writer, only for a free
//! connection, of which there are [`crate::READERS_MAX`].

use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::Catalog;
use crate::error::{ReadError, SqlError};
use crate::statement::{self, Connection};

pub(crate) struct Readers {
    path: Arc<Path>,
    pool: Mutex<Pool>,
    freed: Condvar,
}

struct Pool {
    idle: Vec<rusqlite::Connection>,
    /// Connections that exist, idle or lent.
    open: usize,
    closed: bool,
}

impl Catalog {
    /// Runs `op` on a snapshot of the database: whatever it asks, the answers belong together, and everything that
    /// was acknowledged before is in them. Blocks the thread for as long as `op` runs and while all
    /// [`crate::READERS_MAX`] connections are lent; within `op`, do not read again from the catalog itself.
    ///
    /// # Errors
    /// [`ReadError`], or whatever `op` makes of it.
    pub fn read<T, E: From<ReadError>>(
        &self,
        op: impl FnOnce(&Connection<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let readers = &self.parts.readers;
        let lent = readers.lend()?;
        let raw = lent.raw.as_ref().expect("lent until dropped");
        let batch = |sql: &str| {
            raw.execute_batch(sql).map_err(|error| ReadError::Sql(SqlError::of(&error, &readers.path, sql)))
        };
        batch("BEGIN")?;
        let answer = op(&Connection::new(raw, &readers.path));
        // Ends the snapshot, without which the log could not be folded in.
        batch("ROLLBACK")?;
        answer
    }

    /// As [`Catalog::read`], on a thread that may block: for tasks of a tokio runtime.
    ///
    /// # Errors
    /// [`ReadError`], or whatever `op` makes of it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn read_async<T, E>(
        &self,
        op: impl FnOnce(&Connection<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<ReadError> + Send + 'static,
    {
        let catalog = self.clone();
        match tokio::task::spawn_blocking(move || catalog.read(op)).await {
            Ok(answer) => answer,
            Err(ended) if ended.is_panic() => Err(ReadError::Panicked.into()),
            Err(_) => Err(ReadError::Closed.into()),
        }
    }
}

impl Catalog {
    /// The database file.
    pub(crate) fn path(&self) -> &Path {
        &self.parts.readers.path
    }
}

impl Readers {
    pub(crate) fn new(path: Arc<Path>) -> Self {
        let pool = Mutex::new(Pool { idle: Vec::new(), open: 0, closed: false });
        Self { path, pool, freed: Condvar::new() }
    }

    fn lend(&self) -> Result<Lent<'_>, ReadError> {
        let mut pool = self.pool.lock();
        loop {
            if pool.closed {
                return Err(ReadError::Closed);
            }
            if let Some(raw) = pool.idle.pop() {
                return Ok(Lent { readers: self, raw: Some(raw) });
            }
            if pool.open < crate::READERS_MAX {
                pool.open += 1;
                drop(pool);
                // Counted and guarded before it exists, so that a failure gives its place back.
                let mut lent = Lent { readers: self, raw: None };
                lent.raw = Some(statement::open_for_reading(&self.path)?);
                return Ok(lent);
            }
            self.freed.wait(&mut pool);
        }
    }

    /// Closes what is idle; what is lent closes when it comes back.
    pub(crate) fn close(&self) {
        let mut pool = self.pool.lock();
        pool.closed = true;
        pool.open -= pool.idle.len();
        pool.idle.clear();
        self.freed.notify_all();
    }
}

struct Lent<'a> {
    readers: &'a Readers,
    raw: Option<rusqlite::Connection>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut pool = self.readers.pool.lock();
        match self.raw.take() {
            // One that is still inside a transaction (its reader panicked) is not lent again.
            Some(raw) if raw.is_autocommit() && !pool.closed => pool.idle.push(raw),
            _ => pool.open -= 1,
        }
        self.readers.freed.notify_one();
    }
}
