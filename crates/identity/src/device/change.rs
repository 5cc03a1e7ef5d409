//! Changes of devices: each reads the device, judges, writes what differs and says so in the audit log, in one
//! transaction.
//!
//! Not here: which change (`placement`, `group`, `quarantine`, and at the end of this file what is neither). The law: a
//! change that changes nothing writes nothing; one that does raises the version by one and moves `changes`.

use std::sync::Arc;

use catalog::{Connection, SqlError, Transaction, WriteError, params};
use model::{DeviceName, GroupPath, Timestamp};
use serde_json::{Map, Value, json};

use super::{Device, DeviceState, Removal, one, put};
use crate::audit::{self, Entry};
use crate::policy::{self, Target};
use crate::{Actor, Attributes, ChangeError, Identity, group, placement};

/// A device that is to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// Its name.
    pub name: DeviceName,
    /// Where it is; a group that exists. `None`: nowhere yet, or where it was when it was only seen.
    pub group: Option<GroupPath>,
    /// What is said of it, beside what is said already.
    pub attributes: Attributes,
    /// Only if it is of this version; 0 for a name that nobody knows.
    pub if_version: IfVersion,
}

impl From<&DeviceName> for NewDevice {
    fn from(name: &DeviceName) -> Self {
        Self { name: name.clone(), group: None, attributes: Attributes::default(), if_version: None }
    }
}

/// Which of a device's attributes change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttributeChange {
    /// These are put, over others of the same keys.
    pub set: Attributes,
    /// The attributes of these keys are taken away.
    pub remove: Vec<String>,
}

/// When something is to be changed only if nobody else changed it meanwhile: the version that was read.
pub type IfVersion = Option<u64>;

impl Identity {
    /// Sets and removes attributes; the device as it is now.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn set_attributes(
        &self,
        by: &Actor,
        name: &DeviceName,
        change: AttributeChange,
        if_version: IfVersion,
    ) -> Result<Device, ChangeError> {
        self.change(by, name, if_version, "device.set", move |_, device, _| {
            device.attributes = device.attributes.changed(&change.set, &change.remove)?;
            Ok(())
        })
        .await
    }

    /// Moves a device and changes its attributes, in one step; the device as it is now.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn move_and_set(
        &self,
        by: &Actor,
        name: &DeviceName,
        to: Option<GroupPath>,
        change: AttributeChange,
        if_version: IfVersion,
    ) -> Result<Device, ChangeError> {
        self.change(by, name, if_version, "device.move", move |transaction, device, _| {
            if let Some(group) = &to {
                group::must_exist(transaction, group)?;
            }
            device.group = to;
            device.attributes = device.attributes.changed(&change.set, &change.remove)?;
            Ok(())
        })
        .await
    }

    /// Removes a device: it proves itself by nothing any more, its sessions are cut, it is nowhere. Its readings, its
    /// placements until now and its name stay; spoken of again, it is one that was seen.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn remove_device(
        &self,
        by: &Actor,
        name: &DeviceName,
        if_version: IfVersion,
    ) -> Result<Device, ChangeError> {
        self.change(by, name, if_version, "device.remove", |_, device, now| {
            remove(device, now, None);
            Ok(())
        })
        .await
    }

    /// Changes one device that is not removed; the device as it is now.
    pub(crate) async fn change(
        &self,
        by: &Actor,
        name: &DeviceName,
        if_version: IfVersion,
        action: &'static str,
        judge: impl FnOnce(&Transaction<'_>, &mut Device, Timestamp) -> Result<(), ChangeError> + Send + 'static,
    ) -> Result<Device, ChangeError> {
        let (by, name) = (by.clone(), name.clone());
        let changed = self
            .change_some(move |transaction, now| {
                let before = standing(transaction, &name)?;
                if let Some(expected) = if_version
                    && expected != before.version
                {
                    return Err(ChangeError::Stale { name, expected, actual: before.version });
                }
                let mut after = before.clone();
                judge(transaction, &mut after, now)?;
                store(transaction, &by, action, now, Some(&before), &mut after)?;
                Ok(vec![after])
            })
            .await?;
        Ok(changed.into_iter().next().expect("one was changed"))
    }

    /// Runs a change of any devices in one transaction, then takes over what they are now. `change` writes nothing
    /// before it refuses.
    pub(crate) async fn change_some(
        &self,
        change: impl FnOnce(&Transaction<'_>, Timestamp) -> Result<Vec<Device>, ChangeError> + Send + 'static,
    ) -> Result<Vec<Device>, ChangeError> {
        let parts = Arc::clone(&self.parts);
        let clock = Arc::clone(&self.parts.host.clock);
        self.parts
            .catalog
            .write_then(
                move |transaction| match change(transaction, clock.now()) {
                    // What failed on the way is undone; what was refused has changed nothing.
                    Err(ChangeError::Catalog(error)) => Err(error),
                    judged => Ok(judged),
                },
                move |judged| {
                    if let Ok(devices) = judged {
                        parts.take_over(devices);
                    }
                },
            )
            .await?
    }
}

impl crate::identity::Parts {
    /// After a commit: memory is what the catalog is, and whoever has a session is looked at again.
    pub(crate) fn take_over(&self, devices: &[Device]) {
        self.keep(devices);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// After a commit: memory is what the catalog is.
    pub(crate) fn keep(&self, devices: &[Device]) {
        self.fleet.put(devices);
        for device in devices {
            if let Some(removal) = &device.removal {
                let target = Target::Device(device.name.clone());
                self.policies.forget(&target, removal.successor.as_ref());
                self.forget_proofs(&device.name);
                self.register.forget(&device.name);
            } else {
                self.register.add(&device.name);
            }
        }
    }
}

/// The device of this name, unless it was removed.
pub(crate) fn standing(transaction: &Transaction<'_>, name: &DeviceName) -> Result<Device, ChangeError> {
    match one(transaction, name).map_err(WriteError::from)? {
        None => Err(ChangeError::Unknown(name.clone())),
        Some(device) if device.removal.is_some() => Err(ChangeError::Removed(name.clone())),
        Some(device) => Ok(device),
    }
}

/// Adds a device, or makes one that was only seen or removed active, and puts it where it is to be. How it was, if
/// anybody knew it, and how it is now; not yet written.
pub(crate) fn enlisted(
    connection: &Connection<'_>,
    new: &NewDevice,
    now: Timestamp,
) -> Result<(Option<Device>, Device), ChangeError> {
    let before = one(connection, &new.name).map_err(WriteError::from)?;
    let mut after = before.clone().unwrap_or_else(|| Device::new(new.name.clone(), now));
    if let Some(expected) = new.if_version
        && before.as_ref().map_or(0, |before| before.version) != expected
    {
        return Err(ChangeError::Stale { name: new.name.clone(), expected, actual: after.version });
    }
    after.is_added = true;
    after.removal = None;
    if let Some(group) = &new.group {
        group::must_exist(connection, group)?;
        after.group = Some(group.clone());
    }
    after.attributes = after.attributes.changed(&new.attributes, &[])?;
    Ok((before, after))
}

/// Makes a removed device of it.
pub(crate) fn remove(device: &mut Device, now: Timestamp, successor: Option<DeviceName>) {
    device.group = None;
    device.memberships.clear();
    device.quarantine = None;
    device.has_password = false;
    device.removal = Some(Removal { at: now, successor });
}

/// Writes what differs between a device as it was and as it is to be, and says so in the audit log. Raises the version
/// of `after`; nothing is written when nothing differs.
pub(crate) fn store(
    transaction: &Transaction<'_>,
    by: &Actor,
    action: &'static str,
    now: Timestamp,
    before: Option<&Device>,
    after: &mut Device,
) -> Result<(), WriteError> {
    if before == Some(after) {
        return Ok(());
    }
    after.version += 1;
    put(transaction, after)?;
    let was_at = before.and_then(|before| before.group.as_ref());
    if was_at != after.group.as_ref() {
        let is_new = before.is_none();
        placement::turn(transaction, &after.name, after.group.as_ref(), is_new, now)?;
    }
    let members_before = before.map_or(&[][..], |before| &before.memberships);
    group::store_memberships(transaction, &after.name, members_before, &after.memberships)?;
    if let Some(removal) = &after.removal {
        forget_proofs(transaction, &after.name)?;
        let target = Target::Device(after.name.clone());
        policy::forget_target(transaction, &target, removal.successor.as_ref())?;
    }
    let (was, is) = difference(before, after);
    let mut entry = Entry::done(by, action, format!("device:{}", after.name)).after(is);
    if before.is_some() {
        entry = entry.before(was);
    }
    audit::append(transaction, now, &entry)?;
    Ok(())
}

/// Takes away everything by which a device proves itself.
fn forget_proofs(transaction: &Transaction<'_>, name: &DeviceName) -> Result<(), SqlError> {
    transaction.execute("DELETE FROM device_passwords WHERE device = $1", params![name])?;
    transaction.execute("UPDATE certificates SET status = 'revoked' WHERE device = $1", params![name])?;
    Ok(())
}

/// What the audit log says: of each of the two only what differs.
fn difference(before: Option<&Device>, after: &Device) -> (Value, Value) {
    let (before, after) = (before.map(said).unwrap_or_default(), said(after));
    let differing = |one: &Map<String, Value>, other: &Map<String, Value>| {
        let differs = |(key, value): &(&String, &Value)| other.get(*key) != Some(*value);
        Value::Object(one.iter().filter(differs).map(|(key, value)| (key.clone(), value.clone())).collect())
    };
    (differing(&before, &after), differing(&after, &before))
}

fn said(device: &Device) -> Map<String, Value> {
    let mut said = Map::new();
    let mut say = |key: &str, value: Value| {
        said.insert(key.to_owned(), value);
    };
    say("state", json!(device.state().name()));
    say("version", json!(device.version));
    if let Some(group) = &device.group {
        say("group", json!(group.as_str()));
    }
    if !device.memberships.is_empty() {
        say("memberships", device.memberships.iter().map(|group| json!(group.as_str())).collect());
    }
    if !device.attributes.is_empty() {
        let pairs = device.attributes.iter().map(|(key, value)| (key.to_owned(), json!(value)));
        say("attributes", Value::Object(pairs.collect()));
    }
    if device.has_password {
        say("password", json!(true));
    }
    if let Some(quarantine) = &device.quarantine {
        say("reason", json!(quarantine.reason));
    }
    if let Some(successor) = device.removal.as_ref().and_then(|removal| removal.successor.as_ref()) {
        say("successor", json!(successor.as_str()));
    }
    said
}

impl Identity {
    /// Every group that a device is in: its home, then its memberships, each with all above it, each once. A look into
    /// memory.
    #[must_use]
    pub fn groups_of(&self, device: &DeviceName) -> Vec<GroupPath> {
        self.parts.fleet.groups_of(device)
    }

    /// Where a device is: its home group. A look into memory.
    #[must_use]
    pub fn home(&self, device: &DeviceName) -> Option<GroupPath> {
        self.parts.fleet.home(device)
    }

    /// The names of all devices that are not removed, in no order. A look into memory.
    #[must_use]
    pub fn known_devices(&self) -> Vec<DeviceName> {
        self.parts.fleet.known().into_iter().collect()
    }

    /// What is said of a device. A look into memory.
    #[must_use]
    pub fn attributes(&self, device: &DeviceName) -> Attributes {
        self.parts.fleet.attributes(device)
    }

    /// The state of a device, if anybody knows it. A look into memory.
    #[must_use]
    pub fn state(&self, device: &DeviceName) -> Option<DeviceState> {
        self.parts.fleet.state(device)
    }
}
