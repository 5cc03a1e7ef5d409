//! The devices that are known, as the catalog holds them.
//!
//! ```text
//! (nothing) ──spoken of──→ seen ──added──→ active ──removed or replaced──→ removed ──added──→ active
//!                            ↑ └──────────────┴──quarantined ⇄ released          │
//!                            └──────────────────spoken of again──────────────────┘
//! ```
//!
//! A quarantine lies over what a device is otherwise, and leaves it as it was. A device that was removed keeps its row:
//! its name still stands in readings, placements and the audit log. Nothing renames a device: its name is in its topics,
//! in its readings and on the device itself; `replace` is for what a rename is wanted for.
//!
//! Here are the rows. The changes are in `device/`, where a device is in `placement`, who is with whom in `group`. The law:
//! whatever changes a device raises its version by one.

pub(crate) mod change;
pub(crate) mod fleet;
pub(crate) mod import;
pub(crate) mod list;

use catalog::{Connection, Migration, Row, SqlError, Transaction, params};
use model::{DeviceName, GroupPath, Timestamp};

use crate::Attributes;

/// The first tables of this room. What was released is never edited: a change is a further step.
pub(crate) const MIGRATION: Migration = Migration {
    room: "identity",
    version: 1,
    sql: "
        CREATE TABLE devices (
            name TEXT PRIMARY KEY,
            state TEXT NOT NULL CHECK (state IN ('seen', 'active')),
            created BIGINT NOT NULL
        );
        CREATE TABLE device_passwords (
            device TEXT PRIMARY KEY REFERENCES devices (name) ON DELETE CASCADE,
            -- Counts the passwords that the device had, so that a session knows whether its own still stands.
            version BIGINT NOT NULL,
            salt BYTEA NOT NULL,
            hash BYTEA NOT NULL,
            created BIGINT NOT NULL
        );
    ",
};

/// What a device is to whoever looks after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceState {
    /// Somebody permitted spoke of it; nobody added it.
    Seen,
    /// It was added, or given a way to prove itself.
    Active,
    /// It may speak of its own condition and nothing else.
    Quarantined,
    /// It was removed or replaced: it proves itself by nothing any more; what it said stays.
    Removed,
}

impl DeviceState {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Seen, Self::Active, Self::Quarantined, Self::Removed];

    /// Its name in SQL and in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Active => "active",
            Self::Quarantined => "quarantined",
            Self::Removed => "removed",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// Why and since when a device is quarantined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// Since when.
    pub since: Timestamp,
    /// Why, in the words of whoever did it.
    pub reason: String,
}

/// When a device was removed, and what took its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// When.
    pub at: Timestamp,
    /// The device that replaced it.
    pub successor: Option<DeviceName>,
}

/// A device that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: DeviceName,
    /// Whether somebody added it; else it was only seen.
    pub is_added: bool,
    /// When it came to be known.
    pub created: Timestamp,
    /// Counts its changes, from 1.
    pub version: u64,
    /// Where it is: its home group.
    pub group: Option<GroupPath>,
    /// The groups it is a member of beside, sorted.
    pub memberships: Vec<GroupPath>,
    /// What is said of it.
    pub attributes: Attributes,
    /// Its quarantine, if it is in one.
    pub quarantine: Option<Quarantine>,
    /// Its removal, if it was removed.
    pub removal: Option<Removal>,
    /// Whether it has a password.
    pub has_password: bool,
}

impl Device {
    /// What it is to whoever looks after it.
    #[must_use]
    pub fn state(&self) -> DeviceState {
        match self {
            Self { removal: Some(_), .. } => DeviceState::Removed,
            Self { quarantine: Some(_), .. } => DeviceState::Quarantined,
            Self { is_added: true, .. } => DeviceState::Active,
            Self { .. } => DeviceState::Seen,
        }
    }

    /// One that nobody knows yet.
    fn new(name: DeviceName, now: Timestamp) -> Self {
        Self {
            name,
            is_added: false,
            created: now,
            version: 0,
            group: None,
            memberships: Vec::new(),
            attributes: Attributes::default(),
            quarantine: None,
            removal: None,
            has_password: false,
        }
    }
}

const COLUMNS: &str = "d.name, d.state, d.created, d.version, d.group_path, d.attributes, d.quarantined,
    d.quarantine_reason, d.removed, d.successor, p.device IS NOT NULL
    FROM devices d LEFT JOIN device_passwords p ON p.device = d.name";

/// The device of this name, whatever its state.
pub(crate) fn one(connection: &Connection<'_>, name: &DeviceName) -> Result<Option<Device>, SqlError> {
    let sql = format!("SELECT {COLUMNS} WHERE d.name = $1");
    let Some(mut device) = connection.query_one(&sql, params![name], device)? else { return Ok(None) };
    device.memberships = connection.query(
        "SELECT group_path FROM memberships WHERE device = $1 ORDER BY group_path",
        params![name],
        |row| row.get(0),
    )?;
    Ok(Some(device))
}

/// All of them, without memberships.
pub(crate) fn all(connection: &Connection<'_>) -> Result<Vec<Device>, SqlError> {
    connection.query(&format!("SELECT {COLUMNS}"), params![], device)
}

/// Writes the row of a device that changed: the row alone, not what is kept beside it.
pub(crate) fn put(transaction: &Transaction<'_>, device: &Device) -> Result<(), SqlError> {
    let (quarantine, removal) = (device.quarantine.as_ref(), device.removal.as_ref());
    transaction.execute(
        "INSERT INTO devices (name, state, created, version, group_path, attributes, quarantined,
           quarantine_reason, removed, successor)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (name) DO UPDATE SET state = excluded.state, version = excluded.version,
           group_path = excluded.group_path, attributes = excluded.attributes,
           quarantined = excluded.quarantined, quarantine_reason = excluded.quarantine_reason,
           removed = excluded.removed, successor = excluded.successor",
        params![
            device.name,
            if device.is_added { "active" } else { "seen" },
            device.created,
            device.version,
            device.group,
            device.attributes.as_stored(),
            quarantine.map(|quarantine| quarantine.since),
            quarantine.map(|quarantine| quarantine.reason.as_str()),
            removal.map(|removal| removal.at),
            removal.and_then(|removal| removal.successor.as_ref()),
        ],
    )?;
    Ok(())
}

fn device(row: &Row<'_>) -> Result<Device, SqlError> {
    let state: String = row.get(1)?;
    let quarantined: Option<Timestamp> = row.get(6)?;
    let reason: Option<String> = row.get(7)?;
    let removed: Option<Timestamp> = row.get(8)?;
    let successor = row.get(9)?;
    Ok(Device {
        name: row.get(0)?,
        is_added: state == "active",
        created: row.get(2)?,
        version: row.get(3)?,
        group: row.get(4)?,
        memberships: Vec::new(),
        attributes: Attributes::from_stored(row.get(5)?),
        quarantine: quarantined.map(|since| Quarantine { since, reason: reason.unwrap_or_default() }),
        removal: removed.map(|at| Removal { at, successor }),
        has_password: row.get(10)?,
    })
}
