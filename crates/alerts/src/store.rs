//! The tables of this room, and the one door by which the evaluation changes them: [`transition`].
//!
//! An episode and what follows from it are one row: the row says where the episode stands, and `alert_said` says which
//! receiver was told what. What is still to be said is the difference between the two, so nothing can be told twice and
//! nothing is forgotten, wherever a crash falls. Not here: what is to be said and when (`machine`), how it gets there
//! (`delivery`). The laws:
//! - A transition is stored before the position of the evaluation that covers it.
//! - A transition that was stored before changes nothing: a replay inserts nothing twice.
//! - An episode is found by rule, version, key and start; its id is that of the start by which it was first known, and stays
//!   when late data moves the start: whoever was told of it, is told of its end under the same id.
//! - An episode once told as urgent is not demoted by what is learnt later.

pub(crate) mod episodes;
pub(crate) mod outbox;
pub(crate) mod past;
pub(crate) mod retention;
pub(crate) mod silences;

use catalog::{Migration, Place, Row, SqlError, Transaction, params, seal};
use host::Host;
use model::Timestamp;

use crate::document::Document;
use crate::{Episode, EpisodeId, State};

/// The tables of this room, for [`catalog::Catalog::open`].
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        room: "alerts",
        version: 1,
        sql: "
        -- Counters that outlive rows: `turn` numbers the changes of episodes.
        CREATE TABLE alert_counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
        INSERT INTO alert_counters (name, value) VALUES ('turn', 0);

        CREATE TABLE alert_episodes (
            id BYTEA PRIMARY KEY,
            rule TEXT NOT NULL,
            version BIGINT NOT NULL,
            -- JSON.
            key TEXT NOT NULL,
            -- firing | resolved | withdrawn (nobody has judged yet who must hear of it) | retracted
            state TEXT NOT NULL,
            late BOOLEAN NOT NULL,
            started_at BIGINT NOT NULL,
            fired_at BIGINT NOT NULL,
            resolved_at BIGINT,
            learnt_at BIGINT NOT NULL,
            -- When the server received what made the withdrawal known.
            withdrawn_at BIGINT,
            -- By the server's clock.
            changed_at BIGINT NOT NULL,
            turn BIGINT NOT NULL,
            -- How often it was withdrawn and came back.
            generation BIGINT NOT NULL,
            -- Whether there is nothing more to say of it.
            settled BOOLEAN NOT NULL,
            acknowledged_at BIGINT,
            acknowledged_by TEXT,
            -- Labels, annotations, values, sealed.
            document BYTEA NOT NULL
        );
        CREATE INDEX alert_episodes_by_turn ON alert_episodes (turn);
        CREATE INDEX alert_episodes_by_time ON alert_episodes (fired_at, id);
        CREATE INDEX alert_episodes_by_rule ON alert_episodes (rule, fired_at);
        CREATE INDEX alert_episodes_unsettled ON alert_episodes (settled);

        -- Which receiver was told what of which episode: once.
        CREATE TABLE alert_said (
            episode BYTEA NOT NULL,
            generation BIGINT NOT NULL,
            receiver TEXT NOT NULL,
            -- firing | resolved | retracted | reopened (not told: it continues what was told)
            transition TEXT NOT NULL,
            group_key TEXT NOT NULL,
            notice BYTEA NOT NULL,
            at BIGINT NOT NULL,
            -- Orders what was told.
            turn BIGINT NOT NULL,
            PRIMARY KEY (episode, generation, receiver, transition)
        );

        -- Why something was not told.
        CREATE TABLE alert_suppressed (
            episode BYTEA NOT NULL,
            receiver TEXT NOT NULL,
            reason TEXT NOT NULL,
            -- Sealed: a silence's reason, a label's value.
            detail BYTEA NOT NULL,
            first_at BIGINT NOT NULL,
            last_at BIGINT NOT NULL,
            times BIGINT NOT NULL,
            PRIMARY KEY (episode, receiver, reason)
        );

        CREATE TABLE alert_groups (
            key TEXT PRIMARY KEY,
            receiver TEXT NOT NULL,
            notices BIGINT NOT NULL,
            -- By the server's clock.
            sent_at BIGINT NOT NULL
        );

        CREATE TABLE alert_notices (
            id BYTEA PRIMARY KEY,
            group_key TEXT NOT NULL,
            receiver TEXT NOT NULL,
            -- news | repeat | retraction
            cause TEXT NOT NULL,
            firing BIGINT NOT NULL,
            resolved BIGINT NOT NULL,
            made_at BIGINT NOT NULL,
            -- What it says, sealed.
            body BYTEA NOT NULL
        );
        CREATE INDEX alert_notices_by_time ON alert_notices (made_at, id);

        -- The outbox: each notice, once per way to its receiver.
        CREATE TABLE alert_deliveries (
            notice BYTEA NOT NULL,
            -- `ops/email/0`
            way TEXT NOT NULL,
            -- email | webhook | slack | mqtt | inbox
            kind TEXT NOT NULL,
            -- waiting | sent | dead
            state TEXT NOT NULL,
            -- Orders those that wait for one way.
            turn BIGINT NOT NULL,
            made_at BIGINT NOT NULL,
            attempts BIGINT NOT NULL,
            -- By the server's clock: the last attempt, or when it got through.
            tried_at BIGINT,
            -- What the last attempt said, sealed: other systems write secrets into their errors.
            error BYTEA,
            PRIMARY KEY (notice, way)
        );
        CREATE INDEX alert_deliveries_by_state ON alert_deliveries (state, way, turn);

        CREATE TABLE alert_silences (
            id TEXT PRIMARY KEY,
            author TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            starts_at BIGINT NOT NULL,
            ends_at BIGINT NOT NULL,
            -- Matchers and reason, sealed.
            document BYTEA NOT NULL
        );
        CREATE INDEX alert_silences_by_end ON alert_silences (ends_at);
    ",
    },
    Migration {
        room: "alerts",
        version: 2,
        sql: "
        -- When the server received what moved the start; the id is that of the start as it was first known.
        ALTER TABLE alert_episodes ADD COLUMN moved_at BIGINT;
        CREATE INDEX alert_episodes_by_start ON alert_episodes (rule, key, started_at);
    ",
    },
    Migration {
        room: "alerts",
        version: 3,
        sql: "
        -- What is old is found by this, the oldest first.
        CREATE INDEX alert_episodes_by_change ON alert_episodes (changed_at);
    ",
    },
];

/// What the fold said of an episode. Each carries all of the episode as it is now, so that the last one rules.
#[derive(Debug, Clone, PartialEq)]
pub enum Transition {
    /// It fired. Of an episode that is known already it changes nothing, unless that one was withdrawn before this was
    /// learnt: then it is there again.
    Fired(Episode),
    /// It is over; also when it is first learnt of as such.
    Resolved(Episode),
    /// It is as known, but something of it is otherwise now: its firing or resolution moved, it is open again after late data,
    /// its annotations read otherwise, or it is no longer late (`late` is only ever taken back).
    Changed(Episode),
    /// The same trouble has another start, for late data has drawn it out or in. It stays the same alert: nobody is told of it
    /// anew.
    Moved {
        /// Which.
        id: EpisodeId,
        /// What it is now.
        episode: Episode,
    },
    /// Late data, or the end of its rule's version, say that there is no such episode. Whether anybody must hear of that
    /// depends on whether anybody heard of it.
    Withdrawn {
        /// Which, by the id of its row.
        id: EpisodeId,
        /// When the server received what says so.
        learnt_at: Timestamp,
    },
}

/// What a transition did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is stored, and may be told.
    Stored,
    /// It was known: nothing changed.
    Known,
}

/// Stores a transition, before the position of what it was learnt by: read again after a crash, it is found known. `now` is the
/// server's clock. After the commit call [`crate::Wake::wake`], so that it is told without delay.
///
/// # Errors
/// What the catalog says; no position that covers it may be stored then.
pub fn transition(
    tx: &Transaction<'_>,
    host: &Host,
    now: Timestamp,
    transition: &Transition,
) -> Result<Applied, SqlError> {
    match transition {
        Transition::Fired(episode) | Transition::Resolved(episode) | Transition::Changed(episode) => {
            let row = match find(tx, episode)? {
                Found::Row(row) => row,
                Found::Free(id) => return insert(tx, host, now, id, episode),
                // Its start has moved since: only what was learnt after that, and fires, is another episode.
                Found::Moved(at) if at >= episode.learnt_at => return Ok(Applied::Known),
                Found::Moved(_) if !matches!(transition, Transition::Fired(_)) => return Ok(Applied::Known),
                Found::Moved(_) => return insert(tx, host, now, free(tx, episode.id())?, episode),
            };
            let id = row.id;
            if row.is_gone() {
                // What was withdrawn comes back only by what was learnt after that: a replay brings nothing back.
                if row.withdrawn_at.is_some_and(|at| at >= episode.learnt_at) {
                    return Ok(Applied::Known);
                }
                let generation = row.generation + u64::from(row.state == "retracted");
                return update(tx, host, now, id, episode, episode.late, generation);
            }
            let late = row.late && episode.late;
            if matches!(transition, Transition::Fired(_)) || row.says(host, episode, late) {
                return Ok(Applied::Known);
            }
            update(tx, host, now, id, episode, late, row.generation)
        }
        Transition::Moved { id, episode } => {
            let Some(row) = by_id(tx, *id)?.filter(|row| !row.is_gone()) else {
                return self::transition(tx, host, now, &Transition::Fired(episode.clone()));
            };
            let late = row.late && episode.late;
            if row.started_at == episode.started_at && row.says(host, episode, late) {
                return Ok(Applied::Known);
            }
            tx.execute(
                "UPDATE alert_episodes SET started_at = $2, moved_at = $3 WHERE id = $1",
                params![*id, episode.started_at, episode.learnt_at],
            )?;
            update(tx, host, now, *id, episode, late, row.generation)
        }
        Transition::Withdrawn { id, learnt_at } => {
            let turn = next_turn(tx)?;
            let changed = tx.execute(
                "UPDATE alert_episodes SET state = 'withdrawn', withdrawn_at = $2, changed_at = $3, turn = $4, settled = $5
                 WHERE id = $1 AND state IN ('firing', 'resolved')",
                params![*id, *learnt_at, now, turn, false],
            )?;
            Ok(if changed == 0 { Applied::Known } else { Applied::Stored })
        }
    }
}

/// What is known of an episode.
struct Standing {
    id: EpisodeId,
    state: String,
    late: bool,
    started_at: Timestamp,
    fired_at: Timestamp,
    resolved_at: Option<Timestamp>,
    withdrawn_at: Option<Timestamp>,
    moved_at: Option<Timestamp>,
    generation: u64,
    document: Vec<u8>,
}

impl Standing {
    fn is_gone(&self) -> bool {
        State::from_name(&self.state).is_none_or(|state| state == State::Retracted)
    }

    /// Whether it says already what `episode` says.
    fn says(&self, host: &Host, episode: &Episode, late: bool) -> bool {
        let times = self.fired_at == episode.fired_at && self.resolved_at == episode.resolved_at;
        times
            && self.late == late
            && episodes::document(host, self.id, &self.document) == Document::of(episode)
    }
}

/// Where an episode is.
enum Found {
    /// Here.
    Row(Standing),
    /// Nowhere: this id is its own.
    Free(EpisodeId),
    /// It was known by this start, and begins elsewhere since what was received then.
    Moved(Timestamp),
}

fn find(tx: &Transaction<'_>, episode: &Episode) -> Result<Found, SqlError> {
    if let Some(row) = by_start(tx, episode)? {
        return Ok(Found::Row(row));
    }
    let id = episode.id();
    Ok(match by_id(tx, id)? {
        None => Found::Free(id),
        Some(row) => Found::Moved(row.moved_at.unwrap_or(episode.learnt_at)),
    })
}

/// The first id from `id` on that no row has.
fn free(tx: &Transaction<'_>, mut id: EpisodeId) -> Result<EpisodeId, SqlError> {
    while by_id(tx, id)?.is_some() {
        id = id.next();
    }
    Ok(id)
}

const STANDING: &str =
    "SELECT id, state, late, started_at, fired_at, resolved_at, withdrawn_at, moved_at, generation, document
     FROM alert_episodes";

/// The episode with this start: the one that stands, if there are others that were taken back.
fn by_start(tx: &Transaction<'_>, episode: &Episode) -> Result<Option<Standing>, SqlError> {
    let key = serde_json::to_string(&episode.key).expect("texts are JSON");
    tx.query_one(
        &format!(
            "{STANDING} WHERE rule = $1 AND key = $2 AND version = $3 AND started_at = $4
             ORDER BY CASE WHEN state IN ('firing', 'resolved') THEN 0 ELSE 1 END, id LIMIT 1"
        ),
        params![episode.rule, key, episode.version, episode.started_at],
        standing,
    )
}

fn by_id(tx: &Transaction<'_>, id: EpisodeId) -> Result<Option<Standing>, SqlError> {
    tx.query_one(&format!("{STANDING} WHERE id = $1"), params![id], standing)
}

fn standing(row: &Row<'_>) -> Result<Standing, SqlError> {
    Ok(Standing {
        id: row.get(0)?,
        state: row.get(1)?,
        late: row.get(2)?,
        started_at: row.get(3)?,
        fired_at: row.get(4)?,
        resolved_at: row.get(5)?,
        withdrawn_at: row.get(6)?,
        moved_at: row.get(7)?,
        generation: row.get(8)?,
        document: row.get(9)?,
    })
}

fn insert(
    tx: &Transaction<'_>,
    host: &Host,
    now: Timestamp,
    id: EpisodeId,
    episode: &Episode,
) -> Result<Applied, SqlError> {
    let key = serde_json::to_string(&episode.key).expect("texts are JSON");
    tx.execute(
        "INSERT INTO alert_episodes (id, rule, version, key, state, late, started_at, fired_at, resolved_at, learnt_at,
                                     changed_at, turn, generation, settled, document)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, $13, $14)",
        params![
            id,
            episode.rule,
            episode.version,
            key,
            episode.state().name(),
            episode.late,
            episode.started_at,
            episode.fired_at,
            episode.resolved_at,
            episode.learnt_at,
            now,
            next_turn(tx)?,
            false,
            sealed(host, id, episode)
        ],
    )?;
    Ok(Applied::Stored)
}

fn update(
    tx: &Transaction<'_>,
    host: &Host,
    now: Timestamp,
    id: EpisodeId,
    episode: &Episode,
    late: bool,
    generation: u64,
) -> Result<Applied, SqlError> {
    tx.execute(
        "UPDATE alert_episodes SET state = $2, late = $3, fired_at = $4, resolved_at = $5, changed_at = $6, turn = $7,
                                   generation = $8, settled = $9, document = $10, withdrawn_at = NULL
         WHERE id = $1",
        params![
            id,
            episode.state().name(),
            late,
            episode.fired_at,
            episode.resolved_at,
            now,
            next_turn(tx)?,
            generation,
            false,
            sealed(host, id, episode)
        ],
    )?;
    Ok(Applied::Stored)
}

fn sealed(host: &Host, id: EpisodeId, episode: &Episode) -> Vec<u8> {
    let row = id.to_string();
    let place = Place { table: "alert_episodes", column: "document", row: &row };
    seal(host, place, &Document::of(episode).bytes())
}

/// The number of the change that is being made.
pub(crate) fn next_turn(tx: &Transaction<'_>) -> Result<u64, SqlError> {
    let turn = tx.query_one(
        "UPDATE alert_counters SET value = value + 1 WHERE name = 'turn' RETURNING value",
        params![],
        |row| row.get(0),
    )?;
    Ok(turn.expect("the migration made this row"))
}
