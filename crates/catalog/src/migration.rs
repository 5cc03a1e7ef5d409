//! The tables of the rooms, brought up to date when the catalog opens.
//!
//! Every room owns its tables and hands the steps that made them, numbered from 1. Not here: going back. The laws:
//! a step that was released is never edited (a new one follows it); all steps of an opening happen, or none; tables
//! that a newer version made are refused by name.
//!
//! ```sql
//! CREATE TABLE catalog_migrations (room TEXT, version BIGINT, applied BIGINT, PRIMARY KEY (room, version))
//! ```

use std::path::Path;

use model::Timestamp;

use crate::error::{OpenError, SqlError};
use crate::params;
use crate::statement::{Connection, Transaction};

/// One step of a room's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Whose tables: the crate's name.
    pub room: &'static str,
    /// The step, counted from 1 within the room.
    pub version: u32,
    /// Its statements, each ended by `;`.
    pub sql: &'static str,
}

/// # Panics
/// When a room's versions are not 1, 2, 3, … in this order.
pub(crate) fn check(migrations: &[Migration]) {
    for (at, migration) in migrations.iter().enumerate() {
        let before = migrations[..at].iter().filter(|other| other.room == migration.room).count();
        assert_eq!(
            migration.version as usize,
            before + 1,
            "the migrations of `{}` must be numbered 1, 2, 3, … in order",
            migration.room
        );
    }
}

pub(crate) fn apply(
    raw: &rusqlite::Connection,
    path: &Path,
    migrations: &[Migration],
    now: Timestamp,
) -> Result<(), OpenError> {
    let batch = |sql: &str| raw.execute_batch(sql).map_err(|error| SqlError::of(&error, path, sql));
    batch("BEGIN IMMEDIATE")?;
    let applied = apply_all(&Transaction::new(raw, path), path, migrations, now, &batch)
        .and_then(|()| Ok(batch("COMMIT")?));
    if applied.is_err() && !raw.is_autocommit() {
        // The error that is reported is the first one; a rollback that fails too leaves the same file behind.
        let _ = batch("ROLLBACK");
    }
    applied
}

fn apply_all(
    transaction: &Transaction<'_>,
    path: &Path,
    migrations: &[Migration],
    now: Timestamp,
    batch: &dyn Fn(&str) -> Result<(), SqlError>,
) -> Result<(), OpenError> {
    transaction.execute(
        "CREATE TABLE IF NOT EXISTS catalog_migrations (
           room TEXT NOT NULL, version BIGINT NOT NULL, applied BIGINT NOT NULL, PRIMARY KEY (room, version))",
        params![],
    )?;
    let present = versions(transaction)?;
    for (room, found) in &present {
        let known = migrations.iter().filter(|m| m.room == room).map(|m| m.version).max().unwrap_or(0);
        if *found > known {
            return Err(OpenError::Newer { path: path.to_owned(), room: room.clone(), found: *found, known });
        }
    }
    for migration in migrations {
        let have = present.iter().find(|(room, _)| room == migration.room).map_or(0, |(_, version)| *version);
        if migration.version <= have {
            continue;
        }
        let failed =
            |source| OpenError::Migration { room: migration.room, version: migration.version, source };
        batch(migration.sql).map_err(failed)?;
        transaction
            .execute(
                "INSERT INTO catalog_migrations (room, version, applied) VALUES ($1, $2, $3)",
                params![migration.room, migration.version, now],
            )
            .map_err(failed)?;
        tracing::info!(
            room = migration.room,
            version = migration.version,
            "catalog tables brought up to date"
        );
    }
    Ok(())
}

/// The newest version of every room's tables.
fn versions(connection: &Connection<'_>) -> Result<Vec<(String, u32)>, SqlError> {
    connection.query("SELECT room, max(version) FROM catalog_migrations GROUP BY room", params![], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}
