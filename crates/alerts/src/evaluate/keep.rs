//! The tables of the evaluation: states of keys, and how far the journal was read.
//!
//! Not here: episodes (`store`), which commit at once. The laws: a position is stored in or after the transaction of the
//! states it covers, never before; a state that is newer than the position is harmless, because what is read again
//! changes nothing; what a state holds of readings is sealed.

use catalog::{Connection, Migration, Place, SqlError, Transaction, params, seal, unseal};
use host::Host;
use model::Timestamp;
use rules::{Key, Rule};

use crate::EpisodeId;

/// Tables, for [`catalog::Catalog::open`]; after [`crate::MIGRATIONS`].
pub const EVALUATION_MIGRATIONS: &[Migration] = &[
    Migration {
        room: "evaluation",
        version: 1,
        sql: "
        CREATE TABLE rule_states (
            rule TEXT NOT NULL,
            version BIGINT NOT NULL,
            -- JSON.
            key TEXT NOT NULL,
            -- Sealed: windows hold readings.
            state BYTEA NOT NULL,
            PRIMARY KEY (rule, version, key)
        );
        -- One row a number: how far each chain of the journal was read, when this was last known to run.
        CREATE TABLE rule_marks (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
        -- When the server was not there, by its clock: silence does not run then.
        CREATE TABLE rule_absences (from_time BIGINT PRIMARY KEY, to_time BIGINT NOT NULL);
        -- Every text of a rule that was ever in force.
        CREATE TABLE rule_versions (
            rule TEXT NOT NULL,
            version BIGINT NOT NULL,
            first_at BIGINT NOT NULL,
            last_at BIGINT NOT NULL,
            file TEXT NOT NULL,
            text TEXT NOT NULL,
            PRIMARY KEY (rule, version)
        );
        CREATE INDEX alert_episodes_by_key ON alert_episodes (rule, key, started_at);
    ",
    },
    Migration {
        room: "evaluation",
        version: 2,
        sql: "DROP INDEX alert_episodes_by_key; -- the room that owns the table has it now",
    },
];

/// How far the evaluation is.
#[derive(Debug, Clone, Default)]
pub(super) struct Marks {
    /// The last `seq` of alarms and control that was read.
    pub(super) urgent: u64,
    /// The last of telemetry and bulk.
    pub(super) regular: u64,
    /// When this was last known to run; `None` before the first time.
    pub(super) alive_at: Option<Timestamp>,
    /// From and to of the server's absences.
    pub(super) absences: Vec<(Timestamp, Timestamp)>,
}

/// The state of a key.
pub(super) struct StoredState {
    pub(super) rule: String,
    pub(super) version: u64,
    pub(super) key: String,
    pub(super) state: Vec<u8>,
}

/// A version of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleVersion {
    /// 16 hexadecimal digits.
    pub version: String,
    /// When it first came into force.
    pub first_at: Timestamp,
    /// When it was last seen in force.
    pub last_at: Timestamp,
    /// The file it stood in.
    pub file: String,
    /// Its text.
    pub text: String,
}

pub(super) fn marks(connection: &Connection<'_>) -> Result<Marks, SqlError> {
    let mut marks = Marks::default();
    let rows: Vec<(String, i64)> =
        connection
            .query("SELECT name, value FROM rule_marks", params![], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (name, value) in rows {
        let seq = u64::try_from(value).unwrap_or_default();
        match name.as_str() {
            "urgent" => marks.urgent = seq,
            "regular" => marks.regular = seq,
            _ => marks.alive_at = Some(Timestamp::from_micros(value)),
        }
    }
    marks.absences = connection.query(
        "SELECT from_time, to_time FROM rule_absences ORDER BY from_time",
        params![],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(marks)
}

/// Stores how far it is.
pub(super) fn save_marks(tx: &Transaction<'_>, marks: &Marks) -> Result<(), SqlError> {
    let put = |name: &str, value: i64| {
        tx.execute(
            "INSERT INTO rule_marks (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2",
            params![name, value],
        )
    };
    put("urgent", i64::try_from(marks.urgent).unwrap_or(i64::MAX))?;
    put("regular", i64::try_from(marks.regular).unwrap_or(i64::MAX))?;
    if let Some(at) = marks.alive_at {
        put("alive_at", at.micros())?;
    }
    tx.execute("DELETE FROM rule_absences", params![])?;
    for (from, to) in &marks.absences {
        tx.execute("INSERT INTO rule_absences (from_time, to_time) VALUES ($1, $2)", params![*from, *to])?;
    }
    Ok(())
}

pub(super) fn states(connection: &Connection<'_>, host: &Host) -> Result<Vec<StoredState>, SqlError> {
    let rows: Vec<StoredState> =
        connection.query("SELECT rule, version, key, state FROM rule_states", params![], |row| {
            Ok(StoredState { rule: row.get(0)?, version: row.get(1)?, key: row.get(2)?, state: row.get(3)? })
        })?;
    let opened = rows.into_iter().filter_map(|row| {
        let name = place_row(&row.rule, row.version, &row.key);
        match unseal(host, place(&name), &row.state) {
            Ok(state) => Some(StoredState { state: state.to_vec(), ..row }),
            Err(error) => {
                tracing::error!(rule = row.rule, key = row.key, %error, "the state of a rule does not open: it is made anew");
                None
            }
        }
    });
    Ok(opened.collect())
}

/// Seals a state for its row.
pub(super) fn sealed(host: &Host, rule: &Rule, key: &Key, state: &[u8]) -> StoredState {
    let (name, version, key) = (rule.name().to_owned(), rule.version().0, key.to_string());
    let state = seal(host, place(&place_row(&name, version, &key)), state);
    StoredState { rule: name, version, key, state }
}

pub(super) fn save_states(tx: &Transaction<'_>, states: &[StoredState]) -> Result<(), SqlError> {
    for row in states {
        tx.execute(
            "INSERT INTO rule_states (rule, version, key, state) VALUES ($1, $2, $3, $4)
             ON CONFLICT (rule, version, key) DO UPDATE SET state = $4",
            params![row.rule, row.version, row.key, row.state],
        )?;
    }
    Ok(())
}

/// Forgets the state of one key.
pub(super) fn forget_key(tx: &Transaction<'_>, rule: &Rule, key: &Key) -> Result<(), SqlError> {
    tx.execute(
        "DELETE FROM rule_states WHERE rule = $1 AND version = $2 AND key = $3",
        params![rule.name(), rule.version().0, key.to_string()],
    )?;
    Ok(())
}

/// Forgets the states of a version that is no more in force.
pub(super) fn forget(tx: &Transaction<'_>, rule: &str, version: u64) -> Result<(), SqlError> {
    tx.execute("DELETE FROM rule_states WHERE rule = $1 AND version = $2", params![rule, version])?;
    Ok(())
}

/// Writes down that these are in force.
pub(super) fn note_versions(
    tx: &Transaction<'_>,
    rules: &[(String, u64, String, String)],
    now: Timestamp,
) -> Result<(), SqlError> {
    for (rule, version, file, text) in rules {
        tx.execute(
            "INSERT INTO rule_versions (rule, version, first_at, last_at, file, text) VALUES ($1, $2, $3, $3, $4, $5)
             ON CONFLICT (rule, version) DO UPDATE SET last_at = $3, file = $4",
            params![rule, *version, now, file, text],
        )?;
    }
    Ok(())
}

/// The versions of a rule, newest first.
pub(super) fn versions(connection: &Connection<'_>, rule: &str) -> Result<Vec<RuleVersion>, SqlError> {
    connection.query(
        "SELECT version, first_at, last_at, file, text FROM rule_versions WHERE rule = $1
         ORDER BY last_at DESC, first_at DESC",
        params![rule],
        |row| {
            Ok(RuleVersion {
                version: rules::Version(row.get(0)?).to_string(),
                first_at: row.get(1)?,
                last_at: row.get(2)?,
                file: row.get(3)?,
                text: row.get(4)?,
            })
        },
    )
}

/// The episodes of a key that stand, with a start in between, and the ids of their rows.
pub(super) fn known_episodes(
    connection: &Connection<'_>,
    (rule, version, key): (&str, u64, &str),
    after: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Result<Vec<(EpisodeId, rules::Episode)>, SqlError> {
    connection.query(
        "SELECT id, started_at, fired_at, resolved_at FROM alert_episodes
         WHERE rule = $1 AND key = $2 AND version = $3 AND state IN ('firing', 'resolved')
           AND started_at > $4 AND started_at < $5
         ORDER BY started_at",
        params![
            rule,
            key,
            version,
            after.unwrap_or(Timestamp::from_micros(i64::MIN)),
            until.unwrap_or(Timestamp::from_micros(i64::MAX))
        ],
        |row| {
            let episode = rules::Episode {
                start: row.get(1)?,
                fired_at: row.get(2)?,
                resolved_at: row.get(3)?,
                values: Vec::new(),
            };
            Ok((row.get(0)?, episode))
        },
    )
}

/// An episode that is firing.
pub(super) struct Open {
    pub(super) rule: String,
    pub(super) version: u64,
    /// As the table of episodes has it.
    pub(super) key: String,
    pub(super) episode: rules::Episode,
    pub(super) is_late: bool,
}

/// What is firing.
pub(super) fn firing(connection: &Connection<'_>) -> Result<Vec<Open>, SqlError> {
    connection.query(
        "SELECT rule, version, key, started_at, fired_at, late FROM alert_episodes WHERE state = 'firing'",
        params![],
        |row| {
            let episode = rules::Episode {
                start: row.get(3)?,
                fired_at: row.get(4)?,
                resolved_at: None,
                values: Vec::new(),
            };
            let (rule, version, key, is_late) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(5)?);
            Ok(Open { rule, version, key, episode, is_late })
        },
    )
}

/// Id, rule, version and firing of what is firing.
pub(super) fn firing_ids(
    connection: &Connection<'_>,
) -> Result<Vec<(EpisodeId, String, u64, Timestamp)>, SqlError> {
    connection.query(
        "SELECT id, rule, version, fired_at FROM alert_episodes WHERE state = 'firing'",
        params![],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
    )
}

/// Id and firing of what is firing for one key, by one version.
pub(super) fn firing_of(
    connection: &Connection<'_>,
    (rule, version, key): (&str, u64, &str),
) -> Result<Vec<(EpisodeId, Timestamp)>, SqlError> {
    connection.query(
        "SELECT id, fired_at FROM alert_episodes WHERE rule = $1 AND version = $2 AND key = $3 AND state = 'firing'",
        params![rule, version, key],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// Rules and versions of which there are states.
pub(super) fn kept_versions(connection: &Connection<'_>) -> Result<Vec<(String, u64)>, SqlError> {
    let sql = "SELECT DISTINCT rule, version FROM rule_states";
    connection.query(sql, params![], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Rules and versions that were in force last. One that was in force before them has no states any more: when it comes back,
/// it is new.
pub(super) fn last_versions(connection: &Connection<'_>) -> Result<Vec<(String, u64)>, SqlError> {
    let sql =
        "SELECT rule, version FROM rule_versions WHERE last_at = (SELECT max(last_at) FROM rule_versions)";
    connection.query(sql, params![], |row| Ok((row.get(0)?, row.get(1)?)))
}

fn place_row(rule: &str, version: u64, key: &str) -> String {
    format!("{rule}/{version:016x}/{key}")
}

fn place(row: &str) -> Place<'_> {
    Place { table: "rule_states", column: "state", row }
}
