//! The devices that are known, as the catalog holds them.
//!
//! Not here: what they send, or where they are (groups and placements come as further tables). The law: a device is
//! `seen` until somebody adds it, and never goes back.

use catalog::{Connection, Migration, Row, SqlError, params};
use model::{DeviceName, Timestamp};

/// Most devices on one page.
pub const PAGE_DEVICES_MAX: usize = 1000;

/// The tables of this room. What was released is never edited: a change is a further step.
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

/// How a device came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceState {
    /// Somebody permitted spoke of it; nobody added it.
    Seen,
    /// It was added, or given a way to prove itself.
    Active,
}

impl DeviceState {
    /// Its name in SQL and in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Active => "active",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Seen, Self::Active].into_iter().find(|state| state.name() == name)
    }
}

/// A device that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: DeviceName,
    /// How it came to be known.
    pub state: DeviceState,
    /// When it came to be known.
    pub created: Timestamp,
    /// Whether it has a password.
    pub has_password: bool,
}

/// Which devices are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceFilter {
    /// Only those in this state.
    pub state: Option<DeviceState>,
    /// Only those whose name begins with this.
    pub name_prefix: Option<String>,
}

/// Which part of the devices is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Only names after this one: [`Devices::next`] of the page before.
    pub after: Option<DeviceName>,
    /// At most so many; held between 1 and [`PAGE_DEVICES_MAX`].
    pub limit: usize,
}

impl Default for Page {
    fn default() -> Self {
        Self { after: None, limit: 100 }
    }
}

/// One page of devices, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices {
    /// The devices.
    pub devices: Vec<Device>,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<DeviceName>,
}

const COLUMNS: &str = "d.name, d.state, d.created, p.device IS NOT NULL
    FROM devices d LEFT JOIN device_passwords p ON p.device = d.name";

pub(crate) fn one(connection: &Connection<'_>, name: &DeviceName) -> Result<Option<Device>, SqlError> {
    connection.query_one(&format!("SELECT {COLUMNS} WHERE d.name = $1"), params![name], device)
}

pub(crate) fn page(
    connection: &Connection<'_>,
    filter: &DeviceFilter,
    page: &Page,
) -> Result<Devices, SqlError> {
    let limit = page.limit.clamp(1, PAGE_DEVICES_MAX);
    let after = page.after.as_ref().map_or("", DeviceName::as_str);
    let state = filter.state.map_or("", DeviceState::name);
    let prefix = filter.name_prefix.as_deref().unwrap_or("");
    // One more than asked for tells whether there is a next page.
    let mut devices = connection.query(
        &format!(
            "SELECT {COLUMNS}
             WHERE d.name > $1 AND ($2 = '' OR d.state = $2) AND substr(d.name, 1, length($3)) = $3
             ORDER BY d.name LIMIT $4"
        ),
        params![after, state, prefix, limit + 1],
        device,
    )?;
    let has_more = devices.len() > limit;
    devices.truncate(limit);
    let next = devices.last().filter(|_| has_more).map(|device| device.name.clone());
    Ok(Devices { devices, next })
}

fn device(row: &Row<'_>) -> Result<Device, SqlError> {
    let state: String = row.get(1)?;
    Ok(Device {
        name: row.get(0)?,
        state: DeviceState::from_name(&state).expect("the table's check allows these two"),
        created: row.get(2)?,
        has_password: row.get(3)?,
    })
}
