//! Groups: named sets of devices, nested by path, and who is a member of them.
//!
//! A device has one home (`placement`) and any number of memberships, up to a bound. Not here: what a group permits. The
//! laws: what a group is in is a group too; a group that somebody is in, or that groups are in, is not removed.

use catalog::{Connection, SqlError, Transaction, WriteError, params};
use model::{DeviceName, GroupPath, Timestamp};
use serde_json::json;

use crate::audit::{self, Entry};
use crate::device::Device;
use crate::device::change::IfVersion;
use crate::policy::{self, Target};
use crate::{Actor, ChangeError, Identity};

/// Most groups: one for each of the devices that one machine is meant for.
pub const GROUPS_MAX: usize = 100_000;

/// Most groups that a device is a member of beside its home. AWS IoT has 10 in all.
pub const MEMBERSHIPS_MAX: usize = 32;

/// Most groups on one page.
pub const PAGE_GROUPS_MAX: usize = 1000;

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its path.
    pub path: GroupPath,
    /// When it was made.
    pub created: Timestamp,
    /// Devices whose home it is or a group below it.
    pub devices: u64,
    /// Devices that are members of it or of a group below it.
    pub members: u64,
}

/// One page of groups, by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// The groups.
    pub groups: Vec<Group>,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<GroupPath>,
}

impl Identity {
    /// Makes a group, and what it is in if that is not there; those that were made, from the top.
    ///
    /// # Errors
    /// [`ChangeError::GroupExists`], [`ChangeError::TooManyGroups`].
    pub async fn add_group(&self, by: &Actor, path: &GroupPath) -> Result<Vec<GroupPath>, ChangeError> {
        let (by, path) = (by.clone(), path.clone());
        let clock = std::sync::Arc::clone(&self.parts.host.clock);
        self.parts
            .catalog
            .write(move |transaction| {
                let made = make(transaction, &by, &path, clock.now())?;
                Ok(match made {
                    Some(made) if made.is_empty() => Err(ChangeError::GroupExists(path)),
                    Some(made) => Ok(made),
                    None => Err(ChangeError::TooManyGroups),
                })
            })
            .await?
    }

    /// Removes a group that nobody is in. Placements of the past keep its name.
    ///
    /// # Errors
    /// [`ChangeError::UnknownGroup`], [`ChangeError::GroupInUse`].
    pub async fn remove_group(&self, by: &Actor, path: &GroupPath) -> Result<(), ChangeError> {
        let (by, path) = (by.clone(), path.clone());
        let clock = std::sync::Arc::clone(&self.parts.host.clock);
        let (parts, gone) = (std::sync::Arc::clone(&self.parts), Target::Group(path.clone()));
        let removed = self.parts.catalog.write_then(
            move |transaction| {
                let Some(group) = one(transaction, &path)? else {
                    return Ok(Err(ChangeError::UnknownGroup(path)));
                };
                let below = below(transaction, &path)?;
                if group.devices + group.members + below > 0 {
                    let Group { devices, members, .. } = group;
                    return Ok(Err(ChangeError::GroupInUse { path, groups: below, devices, members }));
                }
                transaction.execute("DELETE FROM device_groups WHERE path = $1", params![path])?;
                policy::forget_target(transaction, &Target::Group(path.clone()), None)?;
                let entry = Entry::done(&by, "group.remove", format!("group:{path}"))
                    .before(json!({ "created": group.created.to_string() }));
                audit::append(transaction, clock.now(), &entry)?;
                Ok(Ok(()))
            },
            move |removed| {
                if removed.is_ok() {
                    parts.policies.forget(&gone, None);
                }
            },
        );
        removed.await?
    }

    /// Makes a device a member of a group, beside its home.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn join_group(
        &self,
        by: &Actor,
        name: &DeviceName,
        path: &GroupPath,
        if_version: IfVersion,
    ) -> Result<Device, ChangeError> {
        let path = path.clone();
        self.change(by, name, if_version, "group.join", move |transaction, device, _| {
            must_exist(transaction, &path)?;
            join(device, &path)
        })
        .await
    }

    /// Ends a membership.
    ///
    /// # Errors
    /// [`ChangeError::NoMember`] when there is none.
    pub async fn leave_group(
        &self,
        by: &Actor,
        name: &DeviceName,
        path: &GroupPath,
        if_version: IfVersion,
    ) -> Result<Device, ChangeError> {
        let path = path.clone();
        self.change(by, name, if_version, "group.leave", move |_, device, _| {
            match device.memberships.binary_search(&path) {
                Ok(at) => {
                    device.memberships.remove(at);
                    Ok(())
                }
                Err(_) => Err(ChangeError::NoMember { name: device.name.clone(), group: path }),
            }
        })
        .await
    }

    /// The group of this path.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn group(&self, path: &GroupPath) -> Result<Option<Group>, catalog::ReadError> {
        let path = path.clone();
        self.parts.catalog.read_async(move |connection| Ok(one(connection, &path)?)).await
    }

    /// A page of groups by path: all, or those in `within` at any depth.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn groups(
        &self,
        within: Option<GroupPath>,
        after: Option<GroupPath>,
        limit: usize,
    ) -> Result<Groups, catalog::ReadError> {
        let limit = limit.clamp(1, PAGE_GROUPS_MAX);
        self.parts
            .catalog
            .read_async(move |connection| {
                let (from, to) = within.as_ref().map_or((String::new(), "~".to_owned()), range_below);
                let mut paths: Vec<GroupPath> = connection.query(
                    "SELECT path FROM device_groups WHERE path > $1 AND path >= $2 AND path < $3
                     ORDER BY path LIMIT $4",
                    params![after.as_deref().unwrap_or(""), from, to, limit + 1],
                    |row| row.get(0),
                )?;
                let has_more = paths.len() > limit;
                paths.truncate(limit);
                let next = paths.last().filter(|_| has_more).cloned();
                let mut groups = Vec::with_capacity(paths.len());
                for path in &paths {
                    groups.extend(one(connection, path)?);
                }
                Ok(Groups { groups, next })
            })
            .await
    }
}

/// Makes a group and what it is in, as far as it is not there; those that were made, from the top. `None`: there are too
/// many, and nothing was made.
pub(crate) fn make(
    transaction: &Transaction<'_>,
    by: &Actor,
    path: &GroupPath,
    now: Timestamp,
) -> Result<Option<Vec<GroupPath>>, WriteError> {
    let mut missing = Vec::new();
    for group in path.with_ancestors() {
        if exists(transaction, &group)? {
            break;
        }
        missing.push(group);
    }
    if missing.is_empty() {
        return Ok(Some(missing));
    }
    let count = "SELECT count(*) FROM device_groups";
    let there: u64 = transaction.query_one(count, params![], |row| row.get(0))?.unwrap_or(0);
    if there + missing.len() as u64 > GROUPS_MAX as u64 {
        return Ok(None);
    }
    missing.reverse();
    for group in &missing {
        transaction
            .execute("INSERT INTO device_groups (path, created) VALUES ($1, $2)", params![group, now])?;
        audit::append(transaction, now, &Entry::done(by, "group.add", format!("group:{group}")))?;
    }
    Ok(Some(missing))
}

/// Refuses a group that is not there.
pub(crate) fn must_exist(connection: &Connection<'_>, path: &GroupPath) -> Result<(), ChangeError> {
    if exists(connection, path).map_err(WriteError::from)? {
        return Ok(());
    }
    Err(ChangeError::UnknownGroup(path.clone()))
}

/// Whether there is this group.
pub(crate) fn exists(connection: &Connection<'_>, path: &GroupPath) -> Result<bool, SqlError> {
    let found =
        connection.query_one("SELECT 1 FROM device_groups WHERE path = $1", params![path], |row| {
            row.get::<i64>(0)
        })?;
    Ok(found.is_some())
}

/// Makes a device a member; one that is so stays so.
pub(crate) fn join(device: &mut Device, path: &GroupPath) -> Result<(), ChangeError> {
    let Err(at) = device.memberships.binary_search(path) else { return Ok(()) };
    if device.memberships.len() >= MEMBERSHIPS_MAX {
        return Err(ChangeError::TooManyMemberships(device.name.clone()));
    }
    device.memberships.insert(at, path.clone());
    Ok(())
}

/// Writes what differs between the memberships of a device.
pub(crate) fn store_memberships(
    transaction: &Transaction<'_>,
    device: &DeviceName,
    before: &[GroupPath],
    after: &[GroupPath],
) -> Result<(), SqlError> {
    for left in before.iter().filter(|group| !after.contains(group)) {
        let sql = "DELETE FROM memberships WHERE device = $1 AND group_path = $2";
        transaction.execute(sql, params![device, left])?;
    }
    for joined in after.iter().filter(|group| !before.contains(group)) {
        let sql = "INSERT INTO memberships (device, group_path) VALUES ($1, $2)";
        transaction.execute(sql, params![device, joined])?;
    }
    Ok(())
}

/// Between which texts the paths below a group are: `0` is the character behind `/`.
fn range_below(path: &GroupPath) -> (String, String) {
    (format!("{path}/"), format!("{path}0"))
}

fn below(connection: &Connection<'_>, path: &GroupPath) -> Result<u64, SqlError> {
    let (from, to) = range_below(path);
    let sql = "SELECT count(*) FROM device_groups WHERE path >= $1 AND path < $2";
    Ok(connection.query_one(sql, params![from, to], |row| row.get(0))?.unwrap_or(0))
}

fn one(connection: &Connection<'_>, path: &GroupPath) -> Result<Option<Group>, SqlError> {
    let (from, to) = range_below(path);
    connection.query_one(
        "SELECT path, created,
           (SELECT count(*) FROM devices WHERE group_path = $1)
             + (SELECT count(*) FROM devices WHERE group_path >= $2 AND group_path < $3),
           (SELECT count(DISTINCT device) FROM memberships
             WHERE group_path = $1 OR (group_path >= $2 AND group_path < $3))
         FROM device_groups WHERE path = $1",
        params![path, from, to],
        |row| {
            Ok(Group { path: row.get(0)?, created: row.get(1)?, devices: row.get(2)?, members: row.get(3)? })
        },
    )
}
