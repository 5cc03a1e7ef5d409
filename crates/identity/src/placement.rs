//! Placements: which group is a device's home, from when until when.
//!
//! ```text
//! device    group_path           from_time   to_time
//! meter-1   hq/floor-17/room-3   09:00       11:30       replaced at 11:30 by
//! meter-9   hq/floor-17/room-3   11:30       -           so that readings of the place are one line
//! ```
//!
//! Not here: memberships, which have no history. The laws: placements of one device follow each other without overlap, the
//! last one open if the device is somewhere; none is ever changed but for the end of the open one.

use catalog::{Connection, Migration, SqlError, Transaction, WriteError, params};
use model::{DeviceName, GroupPath, Timestamp};

use crate::device::change::{IfVersion, remove, standing, store};
use crate::device::{Device, one};
use crate::{Actor, ChangeError, Identity, NewDevice, group};

/// The tables of devices, groups and placements.
pub(crate) const MIGRATION: Migration = Migration {
    room: "identity",
    version: 4,
    sql: "
        ALTER TABLE devices ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
        ALTER TABLE devices ADD COLUMN group_path TEXT;
        -- Lines of `key=value`, sorted.
        ALTER TABLE devices ADD COLUMN attributes TEXT NOT NULL DEFAULT '';
        -- When it was put there; over `state`, which it leaves as it is.
        ALTER TABLE devices ADD COLUMN quarantined BIGINT;
        ALTER TABLE devices ADD COLUMN quarantine_reason TEXT;
        ALTER TABLE devices ADD COLUMN removed BIGINT;
        ALTER TABLE devices ADD COLUMN successor TEXT;
        CREATE INDEX devices_by_group ON devices (group_path);
        CREATE TABLE device_groups (
            path TEXT PRIMARY KEY,
            created BIGINT NOT NULL
        );
        CREATE TABLE memberships (
            device TEXT NOT NULL REFERENCES devices (name) ON DELETE CASCADE,
            group_path TEXT NOT NULL REFERENCES device_groups (path),
            PRIMARY KEY (device, group_path)
        );
        CREATE INDEX memberships_by_group ON memberships (group_path);
        -- Without references: history outlives devices and groups, by name.
        CREATE TABLE placements (
            device TEXT NOT NULL,
            group_path TEXT NOT NULL,
            from_time BIGINT NOT NULL,
            to_time BIGINT,
            PRIMARY KEY (device, from_time)
        );
        CREATE INDEX placements_by_group ON placements (group_path, from_time);
    ",
};

/// Where a device was, or is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Which device.
    pub device: DeviceName,
    /// Where.
    pub group: GroupPath,
    /// From when, included.
    pub from: Timestamp,
    /// Until when, not included; `None`: it is there.
    pub to: Option<Timestamp>,
}

impl Identity {
    /// Moves a device to a group, or to nowhere: its placement ends and the next one begins, now.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn move_device(
        &self,
        by: &Actor,
        name: &DeviceName,
        to: Option<GroupPath>,
        if_version: IfVersion,
    ) -> Result<Device, ChangeError> {
        self.change(by, name, if_version, "device.move", move |transaction, device, _| {
            if let Some(group) = &to {
                group::must_exist(transaction, group)?;
            }
            device.group = to;
            Ok(())
        })
        .await
    }

    /// Puts a device in the place of another: the new one takes the home, the memberships and the attributes of the old
    /// one (its own attributes stay where both have one), the old one is removed. Both in the same moment, so that the
    /// place was never empty. A new one that nobody knows is added; `if_new_version` is 0 where that is meant.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn replace_device(
        &self,
        by: &Actor,
        old: &DeviceName,
        new: &DeviceName,
        if_version: IfVersion,
        if_new_version: IfVersion,
    ) -> Result<Device, ChangeError> {
        crate::identity::refuse_reserved(new)?;
        if old == new {
            return Err(ChangeError::Itself(old.clone()));
        }
        let (by, old, new) = (by.clone(), old.clone(), new.clone());
        let new_device = NewDevice { if_version: if_new_version, ..NewDevice::from(&new) };
        let changed = self
            .change_some(move |transaction, now| {
                let before = standing(transaction, &old)?;
                if let Some(expected) = if_version
                    && expected != before.version
                {
                    return Err(ChangeError::Stale { name: old, expected, actual: before.version });
                }
                let (new_before, mut after) = crate::device::change::enlisted(transaction, &new_device, now)?;
                after.group.clone_from(&before.group);
                for group in &before.memberships {
                    group::join(&mut after, group)?;
                }
                after.attributes = before.attributes.changed(&after.attributes, &[])?;
                let mut retired = before.clone();
                remove(&mut retired, now, Some(new));
                // From here on it is written.
                store(transaction, &by, "device.replace", now, Some(&before), &mut retired)?;
                store(transaction, &by, "device.replace", now, new_before.as_ref(), &mut after)?;
                Ok(vec![after, retired])
            })
            .await?;
        Ok(changed.into_iter().next().expect("two were changed"))
    }

    /// Where a device was, oldest first; also one that was removed.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn placements(&self, name: &DeviceName) -> Result<Vec<Placement>, catalog::ReadError> {
        let name = name.clone();
        self.parts
            .catalog
            .read_async(move |connection| {
                let sql = format!("SELECT {COLUMNS} WHERE device = $1 ORDER BY from_time");
                Ok(connection.query(&sql, params![name], placement)?)
            })
            .await
    }

    /// All devices, removed ones too, without their memberships. Blocks.
    ///
    /// # Errors
    /// What the catalog says.
    pub fn all_devices(&self) -> Result<Vec<Device>, catalog::ReadError> {
        self.parts.catalog.read(|connection: &Connection<'_>| Ok(crate::device::all(connection)?))
    }

    /// All memberships, by device and group. Blocks.
    ///
    /// # Errors
    /// What the catalog says.
    pub fn all_memberships(&self) -> Result<Vec<(DeviceName, GroupPath)>, catalog::ReadError> {
        self.parts.catalog.read(|connection: &Connection<'_>| {
            let sql = "SELECT device, group_path FROM memberships ORDER BY device, group_path";
            Ok(connection.query(sql, params![], |row| Ok((row.get(0)?, row.get(1)?)))?)
        })
    }

    /// All placements there are and were, by device and time. Blocks.
    ///
    /// # Errors
    /// What the catalog says.
    pub fn all_placements(&self) -> Result<Vec<Placement>, catalog::ReadError> {
        self.parts.catalog.read(|connection: &Connection<'_>| {
            let sql = format!("SELECT {COLUMNS} ORDER BY device, from_time");
            Ok(connection.query(&sql, params![], placement)?)
        })
    }
}

const COLUMNS: &str = "device, group_path, from_time, to_time FROM placements";

fn placement(row: &catalog::Row<'_>) -> Result<Placement, SqlError> {
    Ok(Placement { device: row.get(0)?, group: row.get(1)?, from: row.get(2)?, to: row.get(3)? })
}

/// Ends the placement of a device and begins the next one, if it is to be somewhere. One that is new was nowhere.
pub(crate) fn turn(
    transaction: &Transaction<'_>,
    device: &DeviceName,
    to: Option<&GroupPath>,
    is_new: bool,
    now: Timestamp,
) -> Result<(), WriteError> {
    let now = if is_new { now } else { end(transaction, device, now)? };
    if let Some(group) = to {
        transaction.execute(
            "INSERT INTO placements (device, group_path, from_time, to_time) VALUES ($1, $2, $3, NULL)",
            params![device, group, now],
        )?;
    }
    Ok(())
}

/// Ends the open placement of a device; when that was.
fn end(transaction: &Transaction<'_>, device: &DeviceName, now: Timestamp) -> Result<Timestamp, WriteError> {
    let last: Option<Timestamp> = transaction
        .query_one(
            "SELECT max(coalesce(to_time, from_time + 1)) FROM placements WHERE device = $1",
            params![device],
            |row| row.get(0),
        )?
        .flatten();
    // A clock that was set back turns no placement around.
    let now = last.map_or(now, |last| last.max(now));
    transaction.execute(
        "UPDATE placements SET to_time = $2 WHERE device = $1 AND to_time IS NULL",
        params![device, now],
    )?;
    Ok(now)
}

impl Identity {
    /// The device called `name`, whatever its state.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn device(&self, name: &DeviceName) -> Result<Option<Device>, catalog::ReadError> {
        let name = name.clone();
        self.parts.catalog.read_async(move |connection| Ok(one(connection, &name)?)).await
    }
}
