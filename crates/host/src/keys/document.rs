//! `KEYRING`: the ring's keys as they lie in the data directory, wrapped by every master key that opens them.
//!
//! JSON: it is small, written seldom, and whoever looks at a directory without its master key should see what it lacks.
//!
//! ```json
//! {"version": 1, "master": "key:1f…",
//!  "keys": [{"id": "9c…", "created": "2026-11-22T10:00:00Z", "wrapped": {"key:1f…": "…", "key:77…": "…"}}],
//!  "recovery": {"master": "key:77…", "created": "…", "sealed": "…"}}
//! ```
//!
//! `sealed` is the recovery's own key, wrapped by the ring's newest key: so that keys that are added later can be wrapped
//! for it too, though nobody keeps the code. Not here: which master key is at hand (`store`). The law: every key is
//! wrapped for the same master keys, so that one that opens any opens all.

use std::collections::BTreeMap;
use std::path::Path;

use model::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DataKey, HeldKey, KeyError, KeyRing, MasterKey, RecoveryCode, hex, unhex};
use crate::{Disk, Random};

/// The file's name in the data directory.
pub const KEYRING: &str = "KEYRING";

/// Most keys of a ring: two rotations a week for two years.
pub const RING_KEYS_MAX: usize = 256;

const VERSION: u32 = 1;
/// Some 300 bytes for each key and master key.
const BYTES_MAX: u64 = 1024 * 1024;
/// What the recovery's key is bound to.
const RECOVERY: &[u8] = b"godwit recovery key";

/// The ring, wrapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingDocument {
    version: u32,
    /// Id of the master key of today.
    master: String,
    /// Oldest first; the last wraps new data keys.
    keys: Vec<WrappedRingKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recovery: Option<Recovery>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct WrappedRingKey {
    id: String,
    created: String,
    /// By id of the master key.
    wrapped: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Recovery {
    master: String,
    created: String,
    sealed: String,
}

/// What a ring key's wrapping is bound to.
fn context(id: &str) -> Vec<u8> {
    format!("godwit ring key {id}").into_bytes()
}

impl RingDocument {
    /// A ring without keys yet, of this master key.
    pub(super) fn new(master: &dyn MasterKey) -> Self {
        Self { version: VERSION, master: master.id(), keys: Vec::new(), recovery: None }
    }

    /// Reads `KEYRING` of the data directory `dir`; `None` when there is none.
    ///
    /// # Errors
    /// [`KeyError::File`], [`KeyError::Ring`].
    pub fn read(dir: &Path, disk: &dyn Disk) -> Result<Option<Self>, KeyError> {
        let path = dir.join(KEYRING);
        let text = match disk.read(&path, BYTES_MAX) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(KeyError::File { path, source }),
        };
        let ring = |reason: String| KeyError::Ring { path: path.clone(), reason };
        let document: Self = serde_json::from_slice(&text).map_err(|error| ring(error.to_string()))?;
        if document.version != VERSION {
            return Err(ring(format!("version {} is not known here", document.version)));
        }
        if document.keys.is_empty() || document.keys.len() > RING_KEYS_MAX {
            return Err(ring(format!("{} keys", document.keys.len())));
        }
        Ok(Some(document))
    }

    /// Puts it into the data directory `dir`, atomically, mode 0600.
    ///
    /// # Errors
    /// [`KeyError::File`]: what was there is there.
    pub fn write(&self, dir: &Path, disk: &dyn Disk) -> Result<(), KeyError> {
        let path = dir.join(KEYRING);
        let text = serde_json::to_vec_pretty(self).expect("texts become JSON");
        disk.replace(&path, &text).map_err(|source| KeyError::File { path, source })
    }

    /// The ring that this master key opens.
    ///
    /// # Errors
    /// [`KeyError::OtherMaster`] names those that do; [`KeyError::Damaged`].
    pub fn unlock(&self, by: &dyn MasterKey) -> Result<KeyRing, KeyError> {
        let id = by.id();
        let mut ring: Option<KeyRing> = None;
        for kept in &self.keys {
            let Some(wrapped) = kept.wrapped.get(&id) else {
                return Err(KeyError::OtherMaster { wanted: self.masters(), present: id });
            };
            let key = by.unwrap(wrapped, &context(&kept.id))?;
            match &ring {
                None => ring = Some(KeyRing::new(&key)),
                Some(ring) => ring.add(&key),
            }
        }
        ring.ok_or(KeyError::Damaged)
    }

    /// Ids of the master keys that open it; the recovery's is not among them.
    #[must_use]
    pub fn masters(&self) -> Vec<String> {
        let first = self.keys.first().into_iter().flat_map(|key| key.wrapped.keys());
        first.filter(|id| !self.is_recovery(id)).cloned().collect()
    }

    fn is_recovery(&self, id: &str) -> bool {
        self.recovery.as_ref().is_some_and(|recovery| recovery.master == id)
    }

    /// The master key of today.
    #[must_use]
    pub fn master(&self) -> &str {
        &self.master
    }

    /// Says which master key the next start needs; the others still open it.
    pub(super) fn set_master(&mut self, id: &str) {
        id.clone_into(&mut self.master);
    }

    /// When each key was made, by id, oldest first.
    pub(super) fn keys(&self) -> Vec<(String, String)> {
        self.keys.iter().map(|key| (key.id.clone(), key.created.clone())).collect()
    }

    /// When the recovery code was made, if there is one.
    pub(super) fn recovery_created(&self) -> Option<&str> {
        self.recovery.as_ref().map(|recovery| recovery.created.as_str())
    }

    /// Adds a ring key that is not in it yet, wrapped for each of `masters` and for the recovery.
    pub(super) fn add(
        &mut self,
        ring: &KeyRing,
        (id, key): (&str, &DataKey),
        now: Timestamp,
        masters: &[&dyn MasterKey],
        random: &dyn Random,
    ) -> Result<(), KeyError> {
        if self.keys.len() >= RING_KEYS_MAX {
            return Err(KeyError::Full);
        }
        let mut wrapped = BTreeMap::new();
        for master in masters {
            wrapped.insert(master.id(), master.wrap(key, &context(id), random)?);
        }
        if let Some(recovery) = self.recovery_key(ring)? {
            wrapped.insert(recovery.id(), recovery.wrap(key, &context(id), random)?);
        }
        self.keys.push(WrappedRingKey { id: id.to_owned(), created: now.to_string(), wrapped });
        Ok(())
    }

    /// Wraps every key of `ring` for one more master key, or anew for one that it is wrapped for.
    ///
    /// # Errors
    /// What the master key says.
    pub fn wrap_for(
        &mut self,
        ring: &KeyRing,
        master: &dyn MasterKey,
        random: &dyn Random,
    ) -> Result<(), KeyError> {
        let id = master.id();
        for (key_id, key) in ring.all() {
            let wrapped = master.wrap(&key, &context(&key_id), random)?;
            if let Some(kept) = self.keys.iter_mut().find(|kept| kept.id == key_id) {
                kept.wrapped.insert(id.clone(), wrapped);
            }
        }
        Ok(())
    }

    /// Makes `master` the one of today; no other but the recovery opens it any more. Whether that changed anything.
    pub fn keep_only(&mut self, master: &str) -> bool {
        let before = self.clone();
        master.clone_into(&mut self.master);
        let recovery = self.recovery.as_ref().map(|recovery| recovery.master.clone());
        for key in &mut self.keys {
            key.wrapped.retain(|id, _| id == master || Some(id) == recovery.as_ref());
        }
        *self != before
    }

    /// Takes the recovery away: for a copy that leaves the machine.
    #[must_use]
    pub fn without_recovery(mut self) -> Self {
        if let Some(recovery) = self.recovery.take() {
            for key in &mut self.keys {
                key.wrapped.remove(&recovery.master);
            }
        }
        self
    }

    /// Makes `code` the recovery; the one before opens nothing any more.
    pub(super) fn set_recovery(
        &mut self,
        ring: &KeyRing,
        code: &RecoveryCode,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<(), KeyError> {
        let mut next = self.clone().without_recovery();
        let key = code.key();
        next.wrap_for(ring, &key, random)?;
        let sealed = ring.wrap(&DataKey::new(*key.bytes()), RECOVERY, random);
        next.recovery = Some(Recovery { master: key.id(), created: now.to_string(), sealed: hex(&sealed) });
        *self = next;
        Ok(())
    }

    /// The recovery's own key, by the ring.
    fn recovery_key(&self, ring: &KeyRing) -> Result<Option<HeldKey>, KeyError> {
        let Some(recovery) = &self.recovery else { return Ok(None) };
        let sealed =
            unhex(&recovery.sealed).and_then(|bytes| bytes.try_into().ok()).ok_or(KeyError::Damaged)?;
        Ok(Some(HeldKey::new(ring.unwrap(&sealed, RECOVERY)?)))
    }
}
