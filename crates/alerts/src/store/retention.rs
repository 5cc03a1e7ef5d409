//! How long the past is kept: episodes that are over, what was told of them, notices and what became of them.
//!
//! Not here: when it is looked (`upkeep` of the room). The laws: what is open is never forgotten, nor what still waits to be
//! told or delivered; an episode goes with everything that hangs on it, in one transaction; a transaction is small.

use catalog::{SqlError, Transaction, params};
use model::Timestamp;

use crate::{EpisodeId, NoticeId};

/// Episodes or notices that go in one transaction.
pub(crate) const AT_ONCE: usize = 200;

/// Forgets episodes that were over and said before `before`, the oldest first: at most [`AT_ONCE`]. How many.
pub(crate) fn forget_episodes(tx: &Transaction<'_>, before: Timestamp) -> Result<usize, SqlError> {
    let over: Vec<EpisodeId> = tx.query(
        "SELECT id FROM alert_episodes
         WHERE changed_at < $1 AND settled = $2 AND state IN ('resolved', 'retracted')
         ORDER BY changed_at LIMIT $3",
        params![before, true, AT_ONCE],
        |row| row.get(0),
    )?;
    for id in &over {
        tx.execute("DELETE FROM alert_said WHERE episode = $1", params![*id])?;
        tx.execute("DELETE FROM alert_suppressed WHERE episode = $1", params![*id])?;
        tx.execute("DELETE FROM alert_episodes WHERE id = $1", params![*id])?;
    }
    Ok(over.len())
}

/// Forgets notices that were made before `before`, with their deliveries, dead ones too: at most [`AT_ONCE`]. How many.
pub(crate) fn forget_notices(tx: &Transaction<'_>, before: Timestamp) -> Result<usize, SqlError> {
    let old: Vec<NoticeId> = tx.query(
        "SELECT id FROM alert_notices n
         WHERE made_at < $1
           AND NOT EXISTS (SELECT 1 FROM alert_deliveries d
                           WHERE d.notice = n.id AND (d.state = 'waiting' OR d.made_at >= $1))
         ORDER BY made_at LIMIT $2",
        params![before, AT_ONCE],
        |row| row.get(0),
    )?;
    for id in &old {
        tx.execute("DELETE FROM alert_deliveries WHERE notice = $1", params![*id])?;
        tx.execute("DELETE FROM alert_notices WHERE id = $1", params![*id])?;
    }
    Ok(old.len())
}

/// Forgets groups of notices of which none was made since `before`. How many.
pub(crate) fn forget_groups(tx: &Transaction<'_>, before: Timestamp) -> Result<usize, SqlError> {
    tx.execute("DELETE FROM alert_groups WHERE sent_at < $1", params![before])
}

/// Forgets silences that ended before `before`. How many.
pub(crate) fn forget_silences(tx: &Transaction<'_>, before: Timestamp) -> Result<usize, SqlError> {
    tx.execute("DELETE FROM alert_silences WHERE ends_at < $1", params![before])
}
