//! The certificates in memory: what a handshake and a change of rights ask for.
//!
//! Not here: the table (`mod`). The law: this copy changes after the catalog's commit, on the writer's thread.

use catalog::{Connection, SqlError, params};
use hashbrown::HashMap;
use model::{DeviceName, Timestamp};
use parking_lot::RwLock;

use super::{CertificateId, CertificateStatus};

/// What is kept in memory of a certificate: about 150 bytes.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) device: Option<DeviceName>,
    pub(crate) status: CertificateStatus,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) last_seen: Option<Timestamp>,
    /// The one before it, as long as that has not retired.
    pub(crate) replaces: Option<CertificateId>,
}

/// Every certificate that is known. Lock order: never held together with another.
#[derive(Default)]
pub(crate) struct Register {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<CertificateId, Kept>,
    of_device: HashMap<DeviceName, Vec<CertificateId>>,
}

impl Known {
    fn put(&mut self, id: CertificateId, kept: Kept) {
        if let Some(device) = &kept.device {
            self.of_device.entry_ref(device).or_default().push(id);
        }
        self.by_id.insert(id, kept);
    }
}

impl Register {
    /// Reads all of them.
    pub(crate) fn read(connection: &Connection<'_>) -> Result<Self, SqlError> {
        let rows = connection.query(
            "SELECT c.id, c.device, c.status, c.not_before, c.not_after, c.last_seen,
                 (SELECT p.id FROM certificates p WHERE p.id = c.replaces AND p.status = 'active')
             FROM certificates c",
            params![],
            |row| {
                let (id, status): (String, String) = (row.get(0)?, row.get(2)?);
                let replaces: Option<String> = row.get(6)?;
                let kept = Kept {
                    device: row.get(1)?,
                    status: CertificateStatus::from_name(&status).expect("the table's check allows these"),
                    not_before: row.get(3)?,
                    not_after: row.get(4)?,
                    last_seen: row.get(5)?,
                    replaces: replaces.as_deref().and_then(CertificateId::parse),
                };
                Ok((CertificateId::parse(&id).expect("ids are written by this crate"), kept))
            },
        )?;
        let register = Self::default();
        {
            let mut known = register.known.write();
            rows.into_iter().for_each(|(id, kept)| known.put(id, kept));
        }
        Ok(register)
    }

    pub(crate) fn get(&self, id: &CertificateId) -> Option<Kept> {
        self.known.read().by_id.get(id).cloned()
    }

    /// Those of a device that may be used.
    pub(crate) fn active_of(&self, device: &DeviceName) -> Vec<CertificateId> {
        let known = self.known.read();
        let is_active = |id: &&CertificateId| {
            known.by_id.get(*id).is_some_and(|kept| kept.status == CertificateStatus::Active)
        };
        known.of_device.get(device).into_iter().flatten().filter(is_active).copied().collect()
    }

    /// When the last of those of a device that may be used ends.
    pub(crate) fn until(&self, device: &DeviceName) -> Option<Timestamp> {
        let known = self.known.read();
        let own = known.of_device.get(device).into_iter().flatten().filter_map(|id| known.by_id.get(id));
        own.filter(|kept| kept.status == CertificateStatus::Active).map(|kept| kept.not_after).max()
    }

    /// Takes in a new one.
    pub(crate) fn put(&self, id: CertificateId, kept: Kept) {
        self.known.write().put(id, kept);
    }

    /// The device was removed: none of its certificates is good any more.
    pub(crate) fn revoke_of(&self, device: &DeviceName) {
        let known = &mut *self.known.write();
        for id in known.of_device.get(device).into_iter().flatten() {
            if let Some(kept) = known.by_id.get_mut(id) {
                kept.status = CertificateStatus::Revoked;
            }
        }
    }

    /// One that waited is a device's, or nobody's and in use.
    pub(crate) fn assign(&self, id: &CertificateId, device: Option<&DeviceName>, status: CertificateStatus) {
        let known = &mut *self.known.write();
        if let Some(kept) = known.by_id.remove(id) {
            known.put(*id, Kept { device: device.cloned(), status, ..kept });
        }
    }

    /// One that waited, of no device, is there no more.
    pub(crate) fn forget(&self, id: &CertificateId) {
        self.known.write().by_id.remove(id);
    }

    /// Changes one that is there.
    pub(crate) fn change(&self, id: &CertificateId, change: impl FnOnce(&mut Kept)) {
        if let Some(kept) = self.known.write().by_id.get_mut(id) {
            change(kept);
        }
    }

    /// One has done its service, and `by` follows it.
    pub(crate) fn retire(&self, old: &CertificateId, by: &CertificateId) {
        let known = &mut *self.known.write();
        if let Some(kept) = known.by_id.get_mut(old).filter(|kept| kept.status == CertificateStatus::Active) {
            kept.status = CertificateStatus::Inactive;
        }
        if let Some(kept) = known.by_id.get_mut(by) {
            kept.replaces = None;
        }
    }

    /// How many of devices that may be used end before each of these times, which rise. Claims are meant to.
    pub(crate) fn expiring(&self, before: &[Timestamp]) -> Vec<u64> {
        let mut counts = vec![0; before.len()];
        for kept in self.known.read().by_id.values() {
            if kept.status == CertificateStatus::Active
                && kept.device.is_some()
                && let Some(week) = before.iter().position(|end| kept.not_after < *end)
            {
                counts[week] += 1;
            }
        }
        counts
    }

    /// Whether a session that this certificate opened for `device` may go on. That it ended meanwhile is no reason to
    /// cut: it asks for a new one over the connection that it has.
    pub(crate) fn stands(&self, id: &CertificateId, device: Option<&DeviceName>) -> bool {
        self.known
            .read()
            .by_id
            .get(id)
            .is_some_and(|kept| kept.status == CertificateStatus::Active && kept.device.as_ref() == device)
    }
}
