//! Silences in their table.
//!
//! Not here: what they hush (`machine`). The law: matchers and reason are sealed; an expired silence stays, as history, until
//! `retention` forgets it.

use catalog::{Connection, Place, Row, SqlError, Transaction, params, seal, unseal};
use host::Host;
use model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Matcher, Silence};

#[derive(Serialize, Deserialize)]
struct Document {
    matchers: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
    reason: String,
}

const COLUMNS: &str = "id, author, created_at, starts_at, ends_at, document FROM alert_silences";

fn silence(host: &Host, row: &Row<'_>) -> Result<Option<Silence>, SqlError> {
    let id: String = row.get(0)?;
    let sealed: Vec<u8> = row.get(5)?;
    let opened = unseal(host, Place { table: "alert_silences", column: "document", row: &id }, &sealed).ok();
    let document: Option<Document> = opened.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let matchers = document.as_ref().and_then(|document| {
        document.matchers.iter().map(|text| Matcher::parse(text).ok()).collect::<Option<Vec<_>>>()
    });
    let (Some(document), Some(matchers)) = (document, matchers) else {
        // One that cannot be read hushes nobody: too loud is better than too quiet.
        tracing::error!(silence = id, "a silence does not open: it is not in force");
        return Ok(None);
    };
    Ok(Some(Silence {
        id,
        matchers,
        groups: document.groups,
        author: row.get(1)?,
        reason: document.reason,
        created_at: row.get(2)?,
        starts_at: row.get(3)?,
        ends_at: row.get(4)?,
    }))
}

/// Those that end after `since`, by their ends.
pub(crate) fn ending_after(
    connection: &Connection<'_>,
    host: &Host,
    since: Timestamp,
    limit: usize,
) -> Result<Vec<Silence>, SqlError> {
    let sql = format!("SELECT {COLUMNS} WHERE ends_at > $1 ORDER BY ends_at, id LIMIT $2");
    let found = connection.query(&sql, params![since, limit], |row| silence(host, row))?;
    Ok(found.into_iter().flatten().collect())
}

pub(crate) fn one(connection: &Connection<'_>, host: &Host, id: &str) -> Result<Option<Silence>, SqlError> {
    let sql = format!("SELECT {COLUMNS} WHERE id = $1");
    Ok(connection.query_one(&sql, params![id], |row| silence(host, row))?.flatten())
}

pub(crate) fn insert(tx: &Transaction<'_>, host: &Host, silence: &Silence) -> Result<(), SqlError> {
    let document = Document {
        matchers: silence.matchers.iter().map(ToString::to_string).collect(),
        groups: silence.groups.clone(),
        reason: silence.reason.clone(),
    };
    let document = serde_json::to_vec(&document).expect("texts are JSON");
    let place = Place { table: "alert_silences", column: "document", row: &silence.id };
    tx.execute(
        "INSERT INTO alert_silences (id, author, created_at, starts_at, ends_at, document)
         VALUES ($1, $2, $3, $4, $5, $6)",
        params![
            silence.id,
            silence.author,
            silence.created_at,
            silence.starts_at,
            silence.ends_at,
            seal(host, place, &document)
        ],
    )?;
    Ok(())
}

/// Ends one now; `false` when it had ended already or is not there.
pub(crate) fn expire(tx: &Transaction<'_>, id: &str, now: Timestamp) -> Result<bool, SqlError> {
    let sql = "UPDATE alert_silences SET ends_at = $2 WHERE id = $1 AND ends_at > $2";
    Ok(tx.execute(sql, params![id, now])? > 0)
}
