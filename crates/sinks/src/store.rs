//! The tables of this room: where each action stands, and what it gave up.
//!
//! Not here: when they are written (`sink`). The law: a position and what was given up on the way to it are one transaction.

use catalog::{Catalog, Migration, ReadError, Row, SqlError, Transaction, WriteError, params};
use model::Timestamp;

use crate::letter::{DeadLetter, Failure, Reason};

/// The tables of this room, for [`catalog::Catalog::open`].
pub const MIGRATIONS: &[Migration] = &[Migration {
    room: "sinks",
    version: 1,
    sql: "
        CREATE TABLE sink_positions (sink TEXT PRIMARY KEY, position BIGINT NOT NULL);
        CREATE TABLE sink_letters (
            id BIGINT PRIMARY KEY, sink TEXT NOT NULL, target TEXT NOT NULL, seq_from BIGINT NOT NULL,
            seq_to BIGINT NOT NULL, messages BIGINT, reason TEXT NOT NULL, detail TEXT NOT NULL, at BIGINT NOT NULL);
    ",
}];

/// Most dead letters that are kept; the oldest go first, counted.
pub(crate) const LETTERS_MAX: i64 = 10_000;

/// Where an action stands.
pub(crate) fn position(catalog: &Catalog, sink: &str) -> Result<Option<u64>, ReadError> {
    let sql = "SELECT position FROM sink_positions WHERE sink = $1";
    catalog.read(|connection| Ok(connection.query_one(sql, params![sink], |row| row.get(0))?))
}

/// Takes the positions away of actions that are in no rule any more.
pub(crate) async fn keep_only(catalog: &Catalog, sinks: Vec<String>) -> Result<(), WriteError> {
    catalog
        .write(move |transaction| {
            let names: Vec<String> =
                transaction.query("SELECT sink FROM sink_positions", params![], |row| row.get(0))?;
            for name in names.iter().filter(|name| !sinks.contains(name)) {
                transaction.execute("DELETE FROM sink_positions WHERE sink = $1", params![name])?;
            }
            Ok(())
        })
        .await
}

/// A step of an action: where it stands now, and what it gave up.
pub(crate) struct Step {
    pub(crate) sink: String,
    pub(crate) target: String,
    pub(crate) position: u64,
    pub(crate) failures: Vec<Failure>,
    /// The letter that the first failure may continue.
    pub(crate) open: Option<i64>,
    pub(crate) now: Timestamp,
}

/// Stores a step. Gives the letter that was written last, and how many old ones made room.
pub(crate) async fn advance(catalog: &Catalog, step: Step) -> Result<(Option<i64>, u64), WriteError> {
    catalog.write(move |transaction| write_step(transaction, &step)).await
}

fn write_step(transaction: &Transaction<'_>, step: &Step) -> Result<(Option<i64>, u64), WriteError> {
    transaction.execute(
        "INSERT INTO sink_positions (sink, position) VALUES ($1, $2)
           ON CONFLICT (sink) DO UPDATE SET position = excluded.position",
        params![step.sink, step.position],
    )?;
    let mut open = step.open;
    for failure in &step.failures {
        open = Some(match continued(transaction, open, step, failure)? {
            Some(id) => id,
            None => insert(transaction, step, failure)?,
        });
    }
    if step.failures.is_empty() {
        return Ok((open, 0));
    }
    let count: i64 =
        transaction.query_one("SELECT count(*) FROM sink_letters", params![], |row| row.get(0))?.unwrap_or(0);
    let dropped = transaction.execute(
        "DELETE FROM sink_letters WHERE id IN (SELECT id FROM sink_letters ORDER BY id LIMIT $1)",
        params![(count - LETTERS_MAX).max(0)],
    )?;
    Ok((open, dropped as u64))
}

/// Makes the open letter longer, when this is its continuation.
fn continued(
    transaction: &Transaction<'_>,
    open: Option<i64>,
    step: &Step,
    failure: &Failure,
) -> Result<Option<i64>, WriteError> {
    let Some(id) = open else { return Ok(None) };
    // The number of a letter that was taken off the list may be another's by now.
    let Some(mut letter) = letter(transaction, id)?.filter(|letter| letter.sink == step.sink) else {
        return Ok(None);
    };
    let mut whole = Failure {
        from: letter.from,
        to: letter.to,
        messages: letter.messages,
        reason: letter.reason,
        detail: std::mem::take(&mut letter.detail),
    };
    if failure.from <= letter.to || !whole.takes(failure) {
        return Ok(None);
    }
    transaction.execute(
        "UPDATE sink_letters SET seq_to = $1, messages = $2 WHERE id = $3",
        params![whole.to, whole.messages, id],
    )?;
    Ok(Some(id))
}

fn insert(transaction: &Transaction<'_>, step: &Step, failure: &Failure) -> Result<i64, WriteError> {
    let last: Option<i64> =
        transaction.query_one("SELECT max(id) FROM sink_letters", params![], |row| row.get(0))?.flatten();
    let id = last.unwrap_or(0) + 1;
    transaction.execute(
        "INSERT INTO sink_letters (id, sink, target, seq_from, seq_to, messages, reason, detail, at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        params![
            id,
            step.sink,
            step.target,
            failure.from,
            failure.to,
            failure.messages,
            failure.reason.name(),
            failure.detail,
            step.now
        ],
    )?;
    Ok(id)
}

const COLUMNS: &str =
    "SELECT id, sink, target, seq_from, seq_to, messages, reason, detail, at FROM sink_letters";

fn read(row: &Row<'_>) -> Result<DeadLetter, SqlError> {
    let reason: String = row.get(6)?;
    Ok(DeadLetter {
        id: row.get(0)?,
        sink: row.get(1)?,
        target: row.get(2)?,
        from: row.get(3)?,
        to: row.get(4)?,
        messages: row.get(5)?,
        reason: Reason::of(&reason),
        detail: row.get(7)?,
        at: row.get(8)?,
    })
}

fn letter(transaction: &Transaction<'_>, id: i64) -> Result<Option<DeadLetter>, WriteError> {
    Ok(transaction.query_one(&format!("{COLUMNS} WHERE id = $1"), params![id], read)?)
}

/// One dead letter.
pub(crate) fn one(catalog: &Catalog, id: i64) -> Result<Option<DeadLetter>, ReadError> {
    let sql = format!("{COLUMNS} WHERE id = $1");
    catalog.read(|connection| Ok(connection.query_one(&sql, params![id], read)?))
}

/// The newest dead letters, of those whose number is below `before`.
pub(crate) fn newest(catalog: &Catalog, before: i64, limit: u32) -> Result<Vec<DeadLetter>, ReadError> {
    let sql = format!("{COLUMNS} WHERE id < $1 ORDER BY id DESC LIMIT $2");
    catalog.read(|connection| Ok(connection.query(&sql, params![before, limit], read)?))
}

/// Takes a letter off the list; whether it was there.
pub(crate) async fn discard(catalog: &Catalog, id: i64) -> Result<bool, WriteError> {
    catalog
        .write(move |transaction| {
            Ok(transaction.execute("DELETE FROM sink_letters WHERE id = $1", params![id])? > 0)
        })
        .await
}

/// Makes a letter shorter: what comes before `failure` was delivered.
pub(crate) async fn shorten(
    catalog: &Catalog,
    id: i64,
    failure: Failure,
    now: Timestamp,
) -> Result<(), WriteError> {
    catalog
        .write(move |transaction| {
            transaction.execute(
                "UPDATE sink_letters SET seq_from = $1, messages = NULL, reason = $2, detail = $3, at = $4 WHERE id = $5",
                params![failure.from, failure.reason.name(), failure.detail, now, id],
            )?;
            Ok(())
        })
        .await
}
