//! Laws of the catalog, seen from outside.

// These tests look at the files as a stranger would, past `host`.
#![allow(clippy::disallowed_methods)]

mod copy;
mod damage;
mod migration;
mod model_based;
mod read;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use catalog::{Catalog, Migration, ReadError, params};
use host::{Host, KeyRing, SystemClock, SystemDisk, SystemRandom};

/// The tables of a room that exists only here.
const ROOM: &[Migration] = &[Migration {
    room: "test",
    version: 1,
    sql: "CREATE TABLE pairs (key TEXT PRIMARY KEY, value BIGINT NOT NULL CHECK (value >= 0), bytes BYTEA);
          CREATE TABLE notes (key TEXT NOT NULL REFERENCES pairs (key), note TEXT NOT NULL);",
}];

const PUT: &str =
    "INSERT INTO pairs (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";

fn host() -> Host {
    Host {
        clock: Arc::new(SystemClock::start()),
        disk: Arc::new(SystemDisk),
        random: Arc::new(SystemRandom),
        keys: Arc::new(KeyRing::new(&[7; 32])),
        boot: 1,
    }
}

fn open(dir: &Path) -> Catalog {
    Catalog::open(&dir.join("catalog.db"), ROOM, &host()).expect("opened")
}

fn fresh() -> (Catalog, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    (open(dir.path()), dir)
}

/// All pairs, by key.
fn pairs(catalog: &Catalog) -> Vec<(String, i64)> {
    catalog
        .read::<_, ReadError>(|connection| {
            Ok(connection.query("SELECT key, value FROM pairs ORDER BY key", params![], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?)
        })
        .expect("read")
}

/// Keeps the writer busy until the sender is dropped, so that what is handed over meanwhile becomes one group.
fn hold_writer(catalog: &Catalog) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (running, runs) = mpsc::channel();
    catalog
        .submit(
            move |_| {
                running.send(()).expect("the test waits");
                // Ends with an error when the sender is dropped: that is the sign.
                let _ = released.recv();
                Ok(())
            },
            |_| {},
        )
        .expect("taken");
    runs.recv().expect("the writer runs");
    release
}
