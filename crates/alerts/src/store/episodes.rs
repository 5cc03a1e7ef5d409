//! Episodes read from their rows.
//!
//! Not here: their changes (`store`). The law: a document that does not open costs its episode labels and annotations,
//! never the episode: it is logged, and the alarm is told without them.

use std::collections::BTreeMap;

use catalog::{Connection, Place, Row, SqlError, params, unseal};
use host::Host;
use model::Timestamp;

use crate::document::Document;
use crate::{Episode, EpisodeId};

/// The columns that [`stored`] reads, in its order.
pub(crate) const COLUMNS: &str =
    "id, rule, version, key, state, late, started_at, fired_at, resolved_at, learnt_at,
    changed_at, turn, generation, acknowledged_at, acknowledged_by, document";

/// An episode as its row has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub(crate) id: EpisodeId,
    pub(crate) episode: Episode,
    /// `firing`, `resolved`, `withdrawn` or `retracted`.
    pub(crate) state: String,
    pub(crate) changed_at: Timestamp,
    pub(crate) turn: u64,
    pub(crate) generation: u64,
    pub(crate) acknowledged: Option<(Timestamp, String)>,
    /// The group where it is now: no row says that, so it is empty as read.
    pub(crate) place: String,
}

/// Reads a row of [`COLUMNS`].
pub(crate) fn stored(host: &Host, row: &Row<'_>) -> Result<Stored, SqlError> {
    let id: EpisodeId = row.get(0)?;
    let key: String = row.get(3)?;
    let sealed: Vec<u8> = row.get(15)?;
    let document = document(host, id, &sealed);
    let (at, by): (Option<Timestamp>, Option<String>) = (row.get(13)?, row.get(14)?);
    let episode = Episode {
        rule: row.get(1)?,
        version: row.get(2)?,
        key: serde_json::from_str::<BTreeMap<String, String>>(&key).unwrap_or_default(),
        labels: document.labels.clone(),
        annotations: document.annotations.clone(),
        values: document.into_values(),
        started_at: row.get(6)?,
        fired_at: row.get(7)?,
        resolved_at: row.get(8)?,
        learnt_at: row.get(9)?,
        late: row.get(5)?,
    };
    Ok(Stored {
        id,
        episode,
        state: row.get(4)?,
        changed_at: row.get(10)?,
        turn: row.get(11)?,
        generation: row.get(12)?,
        acknowledged: at.zip(by),
        place: String::new(),
    })
}

/// Opens what an episode says.
pub(crate) fn document(host: &Host, id: EpisodeId, sealed: &[u8]) -> Document {
    let row = id.to_string();
    let place = Place { table: "alert_episodes", column: "document", row: &row };
    let opened = unseal(host, place, sealed);
    let document = opened.as_ref().ok().and_then(|bytes| Document::parse(bytes));
    document.unwrap_or_else(|| {
        tracing::error!(episode = %id, error = opened.err().map(|error| error.to_string()), "the document of an episode does not open: it is told without labels and annotations");
        Document::default()
    })
}

/// One episode, whatever its state.
pub(crate) fn one(
    connection: &Connection<'_>,
    host: &Host,
    id: EpisodeId,
) -> Result<Option<Stored>, SqlError> {
    let sql = format!("SELECT {COLUMNS} FROM alert_episodes WHERE id = $1");
    connection.query_one(&sql, params![id], |row| stored(host, row))
}

/// Those that changed after `turn`, at most `limit`, in the order of their changes; the settled ones too, since a change
/// unsettles them.
pub(crate) fn since(
    connection: &Connection<'_>,
    host: &Host,
    turn: u64,
    limit: usize,
) -> Result<Vec<Stored>, SqlError> {
    let sql = format!("SELECT {COLUMNS} FROM alert_episodes WHERE turn > $1 ORDER BY turn LIMIT $2");
    connection.query(&sql, params![turn, limit], |row| stored(host, row))
}
