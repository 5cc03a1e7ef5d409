//! What a start must know of what was: unsettled episodes, what was told of them, groups, chapters of incidents.
//!
//! Not here: what follows from it (`machine`). The law: the machine of a start stands where the one before stood.

use catalog::{Connection, SqlError, params};
use hashbrown::HashMap;
use host::Host;
use model::Timestamp;

use super::episodes::{COLUMNS, Stored, stored};
use crate::EpisodeId;
use crate::machine::SaidRow;
use crate::machine::group::Heard;

/// How long after its last notice a group's past still matters: longer than any `repeat_interval` people set.
pub(crate) const GROUP_MICROS: i64 = 30 * Timestamp::DAY;

/// Most resolved episodes that are remembered for those that may follow them soon.
const CHAPTERS_MAX: u32 = 20_000;

/// How many notices each group made, and when the last. A time that lies ahead, because the clock was set back, is now.
pub(crate) fn groups(
    connection: &Connection<'_>,
    now: Timestamp,
) -> Result<HashMap<String, (u64, Timestamp)>, SqlError> {
    let rows = connection.query(
        "SELECT key, notices, sent_at FROM alert_groups WHERE sent_at > $1",
        params![now.plus_micros(-GROUP_MICROS)],
        |row| Ok((row.get(0)?, (row.get(1)?, row.get::<Timestamp>(2)?.min(now)))),
    )?;
    Ok(rows.into_iter().collect())
}

/// The episodes of which something may still be to be said.
pub(crate) fn unsettled(connection: &Connection<'_>, host: &Host) -> Result<Vec<Stored>, SqlError> {
    let sql = format!("SELECT {COLUMNS} FROM alert_episodes WHERE settled = $1 ORDER BY turn");
    connection.query(&sql, params![false], |row| stored(host, row))
}

/// What was told of an episode, in order.
pub(crate) fn said(connection: &Connection<'_>, episode: EpisodeId) -> Result<Vec<SaidRow>, SqlError> {
    connection.query(
        "SELECT generation, receiver, transition, group_key FROM alert_said WHERE episode = $1 ORDER BY turn",
        params![episode],
        |row| {
            Ok(SaidRow {
                episode,
                generation: row.get(0)?,
                receiver: row.get(1)?,
                heard: Heard::from_name(&row.get::<String>(2)?),
                group: row.get(3)?,
            })
        },
    )
}

/// Episodes that are over since then, with the receivers that were told of them.
pub(crate) fn chapters(
    connection: &Connection<'_>,
    host: &Host,
    since: Timestamp,
) -> Result<Vec<(Stored, Vec<String>)>, SqlError> {
    let sql = format!(
        "SELECT {COLUMNS}, settled FROM alert_episodes
         WHERE state = 'resolved' AND changed_at > $1 AND late = $2 ORDER BY turn DESC LIMIT $3"
    );
    let over = connection.query(&sql, params![since, false, CHAPTERS_MAX], |row| {
        Ok((stored(host, row)?, row.get::<bool>(16)?))
    })?;
    let mut chapters = Vec::with_capacity(over.len());
    for (episode, is_settled) in over {
        // Where its end is still to be told, it is no past chapter yet.
        let said = said(connection, episode.id)?.into_iter();
        let said = said.filter(|row| row.generation == episode.generation);
        let told =
            said.filter(|row| is_settled || row.heard == Heard::Resolved).map(|row| row.receiver).collect();
        chapters.push((episode, told));
    }
    Ok(chapters)
}
