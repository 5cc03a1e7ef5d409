//! Master keys: what wraps the ring's keys, and where it comes from.
//!
//! Not here: which of them a directory needs (`document`), and Vault, which is asked over a network (the binary's). The
//! law: a key file is made only where there is no data yet, and no other key is written over.

use std::path::Path;

use zeroize::Zeroizing;

use super::{DataKey, KeyError, KeyRing, WRAPPED_KEY_BYTES, hex, unhex};
use crate::{Disk, Random};

const KEY_FILE_BYTES_MAX: u64 = 4096;

/// A key-encryption key: held by this process, or asked for over a network.
pub trait MasterKey: Send + Sync {
    /// Which one it is: `key:` and 16 hexadecimal digits, `vault:` and the key's path. Not a secret.
    fn id(&self) -> String;

    /// Wraps a ring key as text. `context` is bound to it.
    ///
    /// # Errors
    /// [`KeyError::Keeper`] when whoever keeps the master key does not answer.
    fn wrap(&self, key: &DataKey, context: &[u8], random: &dyn Random) -> Result<String, KeyError>;

    /// The ring key that was wrapped with this `context`.
    ///
    /// # Errors
    /// [`KeyError::Damaged`]; [`KeyError::Keeper`].
    fn unwrap(&self, wrapped: &str, context: &[u8]) -> Result<DataKey, KeyError>;

    /// Makes a new version of the key, where somebody else keeps it: what is wrapped from then on is wrapped by the new
    /// one, and what was wrapped before still opens. A key that this process holds has no versions: another takes its
    /// place.
    ///
    /// # Errors
    /// [`KeyError::Keeper`].
    fn renew(&self) -> Result<(), KeyError> {
        Ok(())
    }
}

/// A master key in this process' memory, wiped when dropped.
#[derive(Clone)]
pub struct HeldKey(DataKey);

impl HeldKey {
    /// Of these bytes.
    #[must_use]
    pub fn new(key: DataKey) -> Self {
        Self(key)
    }

    /// A new one.
    #[must_use]
    pub fn generate(random: &dyn Random) -> Self {
        let mut key = DataKey::new([0; 32]);
        random.fill(&mut *key);
        Self(key)
    }

    /// Of 64 hexadecimal digits, white space around them allowed; `place` is named when it is something else.
    ///
    /// # Errors
    /// [`KeyError::Malformed`].
    pub fn parse(text: &[u8], place: &str) -> Result<Self, KeyError> {
        parse_hex(text).map(Self).ok_or_else(|| KeyError::Malformed { place: place.to_owned() })
    }

    /// Reads the key file at `path`; `None` when there is none.
    ///
    /// # Errors
    /// [`KeyError::File`], [`KeyError::Malformed`].
    pub fn read(path: &Path, disk: &dyn Disk) -> Result<Option<Self>, KeyError> {
        match disk.read(path, KEY_FILE_BYTES_MAX).map(Zeroizing::new) {
            Ok(text) => Self::parse(&text, &format!("key file `{}`", path.display())).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(KeyError::File { path: path.to_owned(), source }),
        }
    }

    /// Writes it to `path`, mode 0600, in place of what is there.
    pub(super) fn write(&self, path: &Path, disk: &dyn Disk) -> Result<(), KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            disk.create_dir(parent).map_err(failed)?;
        }
        let mut text = self.reveal();
        text.push('\n');
        disk.replace(path, text.as_bytes()).map_err(failed)
    }

    /// Its 64 hexadecimal digits, for the one place where they belong.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(hex(&*self.0))
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The ring of a directory from before there were rings: this was its only key.
    #[must_use]
    pub fn ring_of_before(&self) -> KeyRing {
        KeyRing::new(&self.0)
    }
}

impl MasterKey for HeldKey {
    fn id(&self) -> String {
        format!("key:{}", self.ring_of_before().id())
    }

    fn wrap(&self, key: &DataKey, context: &[u8], random: &dyn Random) -> Result<String, KeyError> {
        Ok(hex(&self.ring_of_before().wrap(key, context, random)))
    }

    fn unwrap(&self, wrapped: &str, context: &[u8]) -> Result<DataKey, KeyError> {
        let wrapped: [u8; WRAPPED_KEY_BYTES] =
            unhex(wrapped).and_then(|bytes| bytes.try_into().ok()).ok_or(KeyError::Damaged)?;
        self.ring_of_before().unwrap(&wrapped, context).map_err(|_| KeyError::Damaged)
    }
}

/// Puts a master key into the file `path`, mode 0600. One that is there already is fine when it is the same.
///
/// # Errors
/// [`KeyError::Occupied`] when another key is there: it is never written over.
pub fn place_key(path: &Path, key: &HeldKey, disk: &dyn Disk) -> Result<(), KeyError> {
    match HeldKey::read(path, disk)? {
        Some(present) if present.id() == key.id() => Ok(()),
        Some(present) => {
            Err(KeyError::Occupied { path: path.to_owned(), present: present.id(), wanted: key.id() })
        }
        None => key.write(path, disk),
    }
}

fn parse_hex(text: &[u8]) -> Option<DataKey> {
    let text = text.trim_ascii();
    let mut key = DataKey::new([0; 32]);
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(text.chunks_exact(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SystemDisk, SystemRandom};

    #[test]
    fn a_master_key_opens_what_it_wrapped_for_its_context_alone() {
        let (key, other) = (HeldKey::generate(&SystemRandom), HeldKey::generate(&SystemRandom));
        let secret = DataKey::new([5; 32]);
        let wrapped = key.wrap(&secret, b"one", &SystemRandom).expect("wrapped");
        assert_eq!(*key.unwrap(&wrapped, b"one").expect("opens"), *secret);
        assert!(key.unwrap(&wrapped, b"two").is_err());
        assert!(other.unwrap(&wrapped, b"one").is_err());
        assert!(key.unwrap("zz", b"one").is_err() && key.unwrap("", b"one").is_err());
        assert!(!wrapped.contains(&hex(&*secret)));
        assert_ne!(key.id(), other.id());
    }

    #[test]
    fn a_key_file_never_takes_the_place_of_another() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("made/data.key");
        let key = HeldKey::generate(&SystemRandom);
        assert!(HeldKey::read(&path, &SystemDisk).expect("looked").is_none());
        place_key(&path, &key, &SystemDisk).expect("put there");
        place_key(&path, &key, &SystemDisk).expect("the same is fine");
        let read = HeldKey::read(&path, &SystemDisk).expect("read").expect("there");
        assert_eq!(read.id(), key.id());
        let other = place_key(&path, &HeldKey::generate(&SystemRandom), &SystemDisk).expect_err("refused");
        assert!(matches!(other, KeyError::Occupied { .. }), "{other}");
        SystemDisk.replace(&path, b"not a key").expect("written");
        let malformed = HeldKey::read(&path, &SystemDisk).err().expect("refused");
        assert!(malformed.to_string().contains("64 hexadecimal digits"), "{malformed}");
    }
}
