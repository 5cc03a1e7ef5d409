//! Durable upserts: one caller who waits for each, and a thousand who wait together.

use std::sync::Arc;

use catalog::{Catalog, Migration, ReadError, params};
use divan::Bencher;
use divan::counter::ItemsCount;
use futures::future::join_all;
use host::{Host, KeyRing, SystemClock, SystemDisk, SystemRandom};

const ROOM: &[Migration] = &[Migration {
    room: "bench",
    version: 1,
    sql: "CREATE TABLE sessions (client TEXT PRIMARY KEY, state BYTEA NOT NULL, changed BIGINT NOT NULL);",
}];

const UPSERT: &str = "INSERT INTO sessions (client, state, changed) VALUES ($1, $2, $3)
    ON CONFLICT (client) DO UPDATE SET state = excluded.state, changed = excluded.changed";

/// Rows that exist: as many as a fleet has.
const ROWS: usize = 10_000;

fn main() {
    divan::main();
}

fn open() -> (Catalog, tempfile::TempDir) {
    // Beside the build, not in a directory that may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let host = Host {
        clock: Arc::new(SystemClock::start()),
        disk: Arc::new(SystemDisk),
        random: Arc::new(SystemRandom),
        keys: Arc::new(KeyRing::new(&[7; 32])),
        boot: 1,
    };
    (Catalog::open(&dir.path().join("catalog.db"), ROOM, &host).expect("opened"), dir)
}

async fn upsert(catalog: &Catalog, n: usize) {
    let write = move |tx: &catalog::Transaction<'_>| {
        Ok(tx.execute(UPSERT, params![format!("client-{}", n * 7919 % ROWS), vec![7_u8; 100], n])?)
    };
    catalog.write::<usize>(write).await.expect("written");
}

/// `waiting` callers at once, each waiting for its own commit.
#[divan::bench(args = [1, 10, 100, 1_000], sample_count = 50)]
fn durable_upserts(bencher: Bencher<'_, '_>, waiting: usize) {
    let (catalog, _dir) = open();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut next = 0;
    bencher.counter(ItemsCount::new(waiting)).bench_local(|| {
        runtime.block_on(join_all((next..next + waiting).map(|n| upsert(&catalog, n))));
        next += waiting;
    });
}

/// One row by its key, by a reader.
#[divan::bench]
fn look_up(bencher: Bencher<'_, '_>) {
    let (catalog, _dir) = open();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(join_all((0..ROWS).map(|n| upsert(&catalog, n))));
    bencher.bench_local(|| {
        catalog.read::<_, ReadError>(|connection| {
            Ok(connection.query_one(
                "SELECT changed FROM sessions WHERE client = $1",
                params!["client-77"],
                |row| row.get::<usize>(0),
            )?)
        })
    });
}
