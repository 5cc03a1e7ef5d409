//! All devices in memory: where each is, what is said of it and what state it is in.
//!
//! Answers what a session's permissions are compiled from, and walks all devices for a page of those that a filter
//! wants. Not here: what only one who looks at one device wants to know (the catalog has it). The law: it changes after
//! the catalog's commit, on the writer's thread and in its order.
//!
//! About 150 bytes a device: groups are numbers into a list of paths, attributes are one text.

use std::collections::BTreeMap;
use std::ops::Bound;

use catalog::{Connection, SqlError, params};
use hashbrown::HashMap;
use model::{DeviceName, GroupPath};
use parking_lot::RwLock;

use super::{Device, DeviceState, all};
use crate::Attributes;

/// The copy in memory.
pub(crate) struct Fleet {
    /// Lock order: never held together with another.
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    paths: Paths,
    /// Sorted, so that a page starts where the one before ended.
    devices: BTreeMap<DeviceName, Kept>,
}

/// What is kept of a device.
struct Kept {
    attributes: Attributes,
    memberships: Box<[u32]>,
    home: Option<u32>,
    state: DeviceState,
}

/// What a walk over the devices sees of one.
pub(crate) struct Seen<'a> {
    /// Its name.
    pub(crate) name: &'a DeviceName,
    /// Its state.
    pub(crate) state: DeviceState,
    /// What is said of it.
    pub(crate) attributes: &'a Attributes,
    paths: &'a Paths,
    kept: &'a Kept,
}

impl Seen<'_> {
    /// Where it is.
    pub(crate) fn home(&self) -> Option<&GroupPath> {
        self.kept.home.map(|id| self.paths.path(id))
    }

    /// What it is a member of beside.
    pub(crate) fn memberships(&self) -> impl Iterator<Item = &GroupPath> {
        self.kept.memberships.iter().map(|id| self.paths.path(*id))
    }
}

/// Paths by number. A number is never given to another path.
#[derive(Default)]
struct Paths {
    by_id: Vec<GroupPath>,
    ids: HashMap<GroupPath, u32>,
}

impl Paths {
    fn id(&mut self, path: &GroupPath) -> u32 {
        if let Some(id) = self.ids.get(path) {
            return *id;
        }
        let id = u32::try_from(self.by_id.len()).expect("groups are far fewer than 2^32");
        self.by_id.push(path.clone());
        self.ids.insert(path.clone(), id);
        id
    }

    fn path(&self, id: u32) -> &GroupPath {
        &self.by_id[id as usize]
    }
}

impl Inner {
    fn put(&mut self, device: &Device) {
        let kept = Kept {
            attributes: device.attributes.clone(),
            memberships: device.memberships.iter().map(|path| self.paths.id(path)).collect(),
            home: device.group.as_ref().map(|path| self.paths.id(path)),
            state: device.state(),
        };
        match self.devices.get_mut(&device.name) {
            Some(known) => *known = kept,
            None => {
                self.devices.insert(device.name.clone(), kept);
            }
        }
    }
}

impl Fleet {
    /// Reads all devices.
    pub(crate) fn open(connection: &Connection<'_>) -> Result<Self, SqlError> {
        let mut inner = Inner::default();
        for device in all(connection)? {
            inner.put(&device);
        }
        let memberships: Vec<(DeviceName, GroupPath)> = connection.query(
            "SELECT device, group_path FROM memberships ORDER BY device, group_path",
            params![],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        for of_one in memberships.chunk_by(|one, other| one.0 == other.0) {
            let ids = of_one.iter().map(|(_, path)| inner.paths.id(path)).collect();
            if let Some(kept) = inner.devices.get_mut(&of_one[0].0) {
                kept.memberships = ids;
            }
        }
        Ok(Self { inner: RwLock::new(inner) })
    }

    /// The names of those that are not removed.
    pub(crate) fn known(&self) -> hashbrown::HashSet<DeviceName> {
        let inner = self.inner.read();
        let known = inner.devices.iter().filter(|(_, kept)| kept.state != DeviceState::Removed);
        known.map(|(name, _)| name.clone()).collect()
    }

    /// Takes over what devices are now.
    pub(crate) fn put<'a>(&self, devices: impl IntoIterator<Item = &'a Device>) {
        let mut inner = self.inner.write();
        for device in devices {
            inner.put(device);
        }
    }

    /// Takes over that devices were spoken of.
    pub(crate) fn see<'a>(&self, names: impl IntoIterator<Item = &'a DeviceName>) {
        let mut inner = self.inner.write();
        for name in names {
            match inner.devices.get_mut(name) {
                Some(kept) if kept.state == DeviceState::Removed => kept.state = DeviceState::Seen,
                Some(_) => {}
                None => {
                    let (attributes, memberships) = (Attributes::default(), Box::default());
                    let kept = Kept { attributes, memberships, home: None, state: DeviceState::Seen };
                    inner.devices.insert(name.clone(), kept);
                }
            }
        }
    }

    /// Every group that a device is in, each once: its home and its memberships, each with all above it.
    pub(crate) fn groups_of(&self, device: &DeviceName) -> Vec<GroupPath> {
        let inner = self.inner.read();
        let Some(kept) = inner.devices.get(device) else { return Vec::new() };
        let mut groups: Vec<GroupPath> = Vec::new();
        for id in kept.home.iter().chain(&kept.memberships) {
            for group in inner.paths.path(*id).with_ancestors() {
                if !groups.contains(&group) {
                    groups.push(group);
                }
            }
        }
        groups
    }

    /// The home of a device.
    pub(crate) fn home(&self, device: &DeviceName) -> Option<GroupPath> {
        let inner = self.inner.read();
        inner.devices.get(device)?.home.map(|id| inner.paths.path(id).clone())
    }

    /// What is said of a device.
    pub(crate) fn attributes(&self, device: &DeviceName) -> Attributes {
        let inner = self.inner.read();
        inner.devices.get(device).map(|kept| kept.attributes.clone()).unwrap_or_default()
    }

    /// The state of a device.
    pub(crate) fn state(&self, device: &DeviceName) -> Option<DeviceState> {
        self.inner.read().devices.get(device).map(|kept| kept.state)
    }

    /// Walks the devices behind `after` in the order of their names until `each` says that it is enough.
    pub(crate) fn walk(&self, after: Bound<&str>, mut each: impl FnMut(Seen<'_>) -> bool) {
        let inner = self.inner.read();
        for (name, kept) in inner.devices.range::<str, _>((after, Bound::Unbounded)) {
            let (state, attributes) = (kept.state, &kept.attributes);
            if !each(Seen { name, state, attributes, paths: &inner.paths, kept }) {
                return;
            }
        }
    }
}
