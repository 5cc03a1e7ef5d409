//! A log with a bounded age: what is older is cut off at its beginning, and each cut is an entry.
//!
//! ```text
//! audit.cut audit {"from": 1, "to": 4711, "hash": "64 hexadecimal digits: the chain up to entry 4711"}
//! ```
//!
//! The first entry that is left hangs on that hash, so that the chain is judged from there (`chain`). Which cuts were ours is
//! said to the journal before they are made (`anchor`): a beginning that somebody else took away is missed. Not here: what is
//! old enough, which is a setting. The laws: nothing that is younger goes, nor the last entry; entries and what tells of their
//! end are one transaction.

use std::time::Duration;

use catalog::{ReadError, Transaction, params};
use journal::Journal;
use model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::anchor::from_hex;
use super::{Actor, AnchorError, Entry, Recorded, append, head};
use crate::Identity;

/// What a cut is called.
const ACTION: &str = "audit.cut";

/// Most entries that one cut takes: a transaction of some ten milliseconds.
const CUT_ENTRIES_MAX: u64 = 10_000;

/// How much older than it need be the oldest entry is when it goes: a log that is cut each minute tells of little else.
const SLACK: Duration = Duration::from_secs(86_400);

/// What an entry of a cut says.
#[derive(Serialize, Deserialize)]
struct Said {
    /// The first entry that went.
    from: u64,
    /// The last one.
    to: u64,
    /// The chain up to that.
    hash: String,
}

/// A cut, as an entry tells of it.
pub(super) struct Cut {
    /// The last entry that went.
    pub(super) to: u64,
    /// The chain up to that.
    pub(super) hash: [u8; 32],
}

/// What an entry tells of a cut.
pub(super) fn told(entry: &Recorded) -> Option<Cut> {
    if entry.action != ACTION {
        return None;
    }
    let said: Said = serde_json::from_str(entry.after.as_deref()?).ok()?;
    Some(Cut { to: said.to, hash: from_hex(&said.hash)? })
}

impl Identity {
    /// Cuts off what is older than `keep`, some of it if it is much; which entries went. To be called every minute.
    ///
    /// # Errors
    /// [`AnchorError`]; it is tried again with the next call.
    pub async fn cut_audit(
        &self,
        keep: Duration,
        journal: &Journal,
    ) -> Result<Option<(u64, u64)>, AnchorError> {
        let now = self.parts.host.clock.now();
        let Some((from, to)) = self.old_entries(now.minus(keep)).await? else { return Ok(None) };
        self.say_cut(to, journal).await?;
        let cut = move |transaction: &Transaction<'_>| {
            let hash =
                transaction.query_one("SELECT hash FROM audit WHERE number = $1", params![to], |row| {
                    row.get::<[u8; 32]>(0)
                })?;
            // Somebody was faster.
            let Some(hash) = hash else { return Ok(None) };
            transaction.execute("DELETE FROM audit WHERE number <= $1", params![to])?;
            let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            let by = Actor::inside();
            let entry = Entry::done(&by, ACTION, "audit".to_owned()).after(json!(Said { from, to, hash }));
            append(transaction, now, &entry)?;
            Ok(Some((from, to)))
        };
        let cut = self.parts.catalog.write(cut).await?;
        if let Some((from, to)) = cut {
            tracing::info!(
                from,
                to,
                "entries of the audit log are older than `[audit] keep` and were removed"
            );
        }
        Ok(cut)
    }

    /// The first and the last of the entries before `end` that are to go.
    async fn old_entries(&self, end: Timestamp) -> Result<Option<(u64, u64)>, AnchorError> {
        let read = self.parts.catalog.read_async(move |connection| {
            let first = "SELECT number, at FROM audit ORDER BY number LIMIT 1";
            let first = connection
                .query_one(first, params![], |row| Ok((row.get::<u64>(0)?, row.get::<Timestamp>(1)?)))?;
            let Some((from, _)) = first.filter(|(_, at)| *at < end.minus(SLACK)) else {
                return Ok::<_, ReadError>(None);
            };
            // The first that is young enough, and all behind it, stay: in whatever order clocks went.
            let stays = connection.query_one(
                "SELECT number FROM audit WHERE at >= $1 ORDER BY number LIMIT 1",
                params![end],
                |row| row.get::<u64>(0),
            )?;
            let (last, _) = head(connection)?;
            let to = (stays.unwrap_or(last) - 1).min(from + CUT_ENTRIES_MAX - 1);
            Ok((to >= from).then_some((from, to)))
        });
        Ok(read.await?)
    }
}
