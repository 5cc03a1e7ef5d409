//! The SQL database of everything that is looked up by name: devices, passwords, sessions, retained messages.
//!
//! One OS thread writes. Whatever waits for it is committed together, each operation in a savepoint of its own, and
//! every caller hears when its part is on stable storage. Readers have connections of their own and wait for nobody.
//!
//! Not here: any table. Tables belong to the rooms; each hands its [`Migration`]s to [`Catalog::open`].
//!
//! The laws this crate keeps:
//! - A write that was answered is durable (WAL, `synchronous = FULL`); one that failed changed nothing, and fails alone.
//! - Nobody else learns which database this is: values, rows and errors are types of this crate. The SQL is what
//!   SQLite and PostgreSQL share: parameters are `$1`, `$2`, …; `ON CONFLICT` and `RETURNING` are fine; column types
//!   are `BIGINT`, `DOUBLE PRECISION`, `TEXT`, `BYTEA` and `BOOLEAN`.

mod copy;
mod error;
mod migration;
mod read;
mod sealed;
mod statement;
mod value;
mod write;
mod writer;

pub use copy::copy;
pub use error::{Cause, OpenError, QueueFull, ReadError, SqlError, WriteError};
pub use migration::Migration;
pub use sealed::{Place, SEALED_BYTES_MORE, seal, unseal};
pub use statement::{Connection, Row, Transaction};
pub use value::{FromValue, ToValue, Value};

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::read::Readers;
use crate::writer::{Order, Writer};

/// Most operations that wait for the writer; more wait before its door. Some seconds of work on a slow disk.
pub const QUEUE_MAX: usize = 4096;

/// Most operations in one transaction: enough that the sync is shared by all who wait, few enough that nobody
/// waits long for the others' statements.
pub const GROUP_MAX: usize = 1024;

/// Most connections that read at once.
pub const READERS_MAX: usize = 4;

/// How long a statement waits for another process (a backup, a person with `sqlite3`) to let go of the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The SQL database. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Catalog {
    parts: Arc<Parts>,
}

struct Parts {
    queue: mpsc::Sender<Order>,
    readers: Readers,
}

impl Catalog {
    /// Opens the database at `path`, or makes it with mode 0600, and brings the tables of all rooms up to date in one
    /// transaction. Starts the writer's thread. Blocks; call it at start.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way; the database is then as it was.
    ///
    /// # Panics
    /// When the versions of a room's migrations are not 1, 2, 3, … in this order: a mistake in the room.
    pub fn open(path: &Path, migrations: &[Migration], host: &host::Host) -> Result<Self, OpenError> {
        migration::check(migrations);
        make_file(path, &*host.disk)?;
        let path: Arc<Path> = path.into();
        let raw = statement::open_for_writing(&path)?;
        migration::apply(&raw, &path, migrations, host.clock.now())?;
        let (queue, orders) = mpsc::channel(QUEUE_MAX);
        Writer::new(raw, Arc::clone(&path), orders, Arc::clone(&host.clock))
            .start()
            .map_err(|source| OpenError::File { path: path.to_path_buf(), source })?;
        Ok(Self { parts: Arc::new(Parts { queue, readers: Readers::new(path) }) })
    }

    /// Ends gracefully: refuses new writes, commits those that wait, folds the log into the database file.
    /// Returns when the files are closed; calling it again changes nothing.
    pub async fn close(&self) {
        let (closed, wait) = oneshot::channel();
        // A writer that is gone already has nothing left to close.
        if self.parts.queue.send(Order::Close(closed)).await.is_ok() {
            self.parts.readers.close();
            let _ = wait.await;
        }
    }
}

/// The database file itself; the files beside it (`-wal`, `-shm`) get the mode of this one.
fn make_file(path: &Path, disk: &dyn host::Disk) -> Result<(), OpenError> {
    let failed = |source| OpenError::File { path: path.to_owned(), source };
    match disk.create(path) {
        Ok(_) => disk.sync_dir(path.parent().unwrap_or(Path::new("."))).map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
