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

/// Those that end after `since`, by their ends; the last of them, when there are more than `limit`.
pub(crate) fn ending_after(
    connection: &Connection<'_>,
    host: &Host,
    since: Timestamp,
    limit: usize,
) -> Result<Vec<Silence>, SqlError> {
    ending_after_of(connection, host, since, limit, |_| true)
}

/// The same of those that are meant: the limit is of these.
pub(crate) fn ending_after_of(
    connection: &Connection<'_>,
    host: &Host,
    since: Timestamp,
    limit: usize,
    is_meant: impl Fn(&Silence) -> bool,
) -> Result<Vec<Silence>, SqlError> {
    let sql = format!(
        "SELECT {COLUMNS} WHERE ends_at > $1 AND (ends_at < $2 OR (ends_at = $2 AND id < $3))
         ORDER BY ends_at DESC, id DESC LIMIT $4"
    );
    let (mut found, mut before) = (Vec::new(), (Timestamp::from_micros(i64::MAX), String::new()));
    loop {
        let rows = connection.query(&sql, params![since, before.0, before.1, limit], |row| {
            Ok((row.get(4)?, row.get(0)?, silence(host, row)?))
        })?;
        let is_last = rows.len() < limit;
        if let Some((ends_at, id, _)) = rows.last() {
            before = (*ends_at, String::clone(id));
        }
        found.extend(rows.into_iter().filter_map(|(_, _, silence)| silence.filter(&is_meant)));
        if is_last || found.len() >= limit {
            found.truncate(limit);
            found.reverse();
            return Ok(found);
        }
    }
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

#[cfg(test)]
mod tests {
    use catalog::{Catalog, ReadError, WriteError};
    use host::sim::Machine;

    use super::*;

    #[tokio::test]
    async fn a_limit_is_of_the_silences_that_are_meant_and_those_that_end_last_are_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let host = Host { disk: std::sync::Arc::new(host::SystemDisk), ..Machine::new(1).host() };
        let file = dir.path().join("catalog.db");
        let catalog = Catalog::open(&file, crate::MIGRATIONS, &host).expect("a catalog");
        let at = Timestamp::from_micros;
        let silence = move |n: i64| Silence {
            id: format!("{n:04}"),
            matchers: Vec::new(),
            groups: vec![if n % 10 == 0 { "own" } else { "other" }.to_owned()],
            author: "gina".to_owned(),
            reason: "work".to_owned(),
            created_at: at(0),
            starts_at: at(0),
            // Several end together.
            ends_at: at(n / 5),
        };
        let with = host.clone();
        let made = catalog.write(move |tx| {
            (0..100).try_for_each(|n| insert(tx, &with, &silence(n)))?;
            Ok::<_, WriteError>(())
        });
        made.await.expect("made");
        let found = |since: i64, limit: usize, group: &'static str| {
            let of = move |silence: &Silence| group.is_empty() || silence.groups == [group];
            let found = catalog.read::<_, ReadError>(|connection| {
                Ok(ending_after_of(connection, &host, at(since), limit, of)?)
            });
            found.expect("read").into_iter().map(|silence| silence.id).collect::<Vec<_>>()
        };
        assert_eq!(found(-1, 4, "own"), ["0060", "0070", "0080", "0090"]);
        assert_eq!(found(15, 4, "own"), ["0080", "0090"]);
        assert_eq!(found(-1, 100, "own").len(), 10);
        assert_eq!(found(-1, 3, ""), ["0097", "0098", "0099"]);
        let all: Vec<String> = (0..100).map(|n| format!("{n:04}")).collect();
        assert_eq!(found(-1, 1_000, ""), all);
    }
}
