//! Reading the audit log: pages that filters narrow, and the whole for who verifies it.

use std::collections::BTreeMap;

use catalog::{Connection, ReadError, Row, SqlError, params};
use model::Timestamp;

use super::Outcome;
use super::chain::{Judge, Recorded, Verdict};
use crate::Identity;

/// Most entries of a page.
pub const AUDIT_PAGE_MAX: usize = 1_000;

/// Entries that are read at once to verify all.
const PIECE: u64 = 4_096;

/// Which entries are asked for.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// By an actor whose name begins so: `user:alice`.
    pub actor: String,
    /// Of an action that begins so: `user.`, `policy.attach`.
    pub action: String,
    /// On an object whose name begins so: `device:pump-1`.
    pub object: String,
    /// Of this outcome.
    pub outcome: Option<Outcome>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

/// Which part of them.
#[derive(Debug, Clone, Copy)]
pub struct AuditPage {
    /// Oldest first, rather than newest.
    pub is_oldest_first: bool,
    /// Behind this number, in that order.
    pub after: Option<u64>,
    /// At most so many, and at most [`AUDIT_PAGE_MAX`].
    pub limit: usize,
}

const COLUMNS: &str = "number, at, actor, address, action, object, before, after, outcome, hash FROM audit";

fn recorded(row: &Row<'_>) -> Result<Recorded, SqlError> {
    Ok(Recorded {
        number: row.get(0)?,
        at: row.get(1)?,
        actor: row.get(2)?,
        address: row.get(3)?,
        action: row.get(4)?,
        object: row.get(5)?,
        before: row.get(6)?,
        after: row.get(7)?,
        outcome: row.get(8)?,
        hash: row.get(9)?,
    })
}

impl Identity {
    /// A page of the log, and the number behind which the next one begins.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn audit(
        &self,
        filter: AuditFilter,
        page: AuditPage,
    ) -> Result<(Vec<Recorded>, Option<u64>), ReadError> {
        self.parts.catalog.read_async(move |connection| Ok(entries(connection, &filter, page)?)).await
    }

    /// Judges the whole log beside what is known of it from elsewhere: number and hash of entries, and how many were cut off
    /// at the beginning. Reads all of it: about
    /// a second for a million entries.
    ///
    /// # Errors
    /// What the catalog says; also when a row is not even readable as an entry.
    pub async fn judge_audit(
        &self,
        anchors: BTreeMap<u64, [u8; 32]>,
        cut: Option<u64>,
    ) -> Result<Verdict, ReadError> {
        self.parts
            .catalog
            .read_async(move |connection| {
                let mut judge = Judge::new(anchors).cut_at_most(cut);
                let mut behind: i64 = i64::MIN;
                loop {
                    let sql = format!("SELECT {COLUMNS} WHERE number > $1 ORDER BY number LIMIT $2");
                    let piece = connection.query(&sql, params![behind, PIECE], recorded)?;
                    let Some(last) = piece.last() else { return Ok(judge.judged()) };
                    behind = i64::try_from(last.number).unwrap_or(i64::MAX);
                    piece.iter().for_each(|entry| judge.see(entry));
                }
            })
            .await
    }

    /// The number and the hash of the last entry; 0 before the first.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn audit_head(&self) -> Result<(u64, [u8; 32]), ReadError> {
        self.parts.catalog.read_async(move |connection| Ok(super::head(connection)?)).await
    }
}

fn entries(
    connection: &Connection<'_>,
    filter: &AuditFilter,
    page: AuditPage,
) -> Result<(Vec<Recorded>, Option<u64>), SqlError> {
    let limit = page.limit.clamp(1, AUDIT_PAGE_MAX);
    let (compare, order, end) = match page.is_oldest_first {
        true => (">", "ASC", 0),
        false => ("<", "DESC", u64::try_from(i64::MAX).unwrap_or(0)),
    };
    let since = filter.since.map_or(i64::MIN, Timestamp::micros);
    let until = filter.until.map_or(i64::MAX, Timestamp::micros);
    let outcome = filter.outcome.map_or("", Outcome::name);
    let sql = format!(
        "SELECT {COLUMNS}
         WHERE number {compare} $1 AND at >= $2 AND at < $3
           AND substr(actor, 1, length($4)) = $4 AND substr(action, 1, length($5)) = $5
           AND substr(object, 1, length($6)) = $6 AND ($7 = '' OR outcome = $7)
         ORDER BY number {order} LIMIT $8"
    );
    // One more than asked for tells whether there is a next page.
    let mut found = connection.query(
        &sql,
        params![
            page.after.unwrap_or(end),
            since,
            until,
            filter.actor,
            filter.action,
            filter.object,
            outcome,
            limit + 1
        ],
        recorded,
    )?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_more).map(|entry| entry.number);
    Ok((found, next))
}
