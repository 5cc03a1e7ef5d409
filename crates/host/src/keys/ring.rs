//! The key ring in memory: wraps and unwraps data keys by the ring keys.
//!
//! A wrapped key, 68 bytes:
//!
//! ```text
//! 0       8         20            52       68
//! | key id | nonce   | ciphertext  | tag    |      AES-256-GCM; associated data = the caller's context
//! ```
//!
//! The nonce is random: a ring key wraps far fewer than 2^32 data keys in its life, the bound at which random nonces
//! stop being safe (NIST SP 800-38D, section 8.3). Not here: where ring keys are kept (`document`).

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::RwLock;
use zeroize::Zeroizing;

use super::{KeyError, hex};
use crate::Random;

/// Length of a wrapped data key.
pub const WRAPPED_KEY_BYTES: usize = 68;

/// A data key as it is stored: useless without the key ring.
pub type WrappedKey = [u8; WRAPPED_KEY_BYTES];

/// The key of one file or value, wiped from memory when dropped.
pub type DataKey = Zeroizing<[u8; 32]>;

/// Wraps and unwraps data keys. Shared by all rooms; a key that is added is used from then on.
pub struct KeyRing {
    /// Oldest first; never empty.
    keys: RwLock<Vec<Arc<RingKey>>>,
}

struct RingKey {
    id: [u8; 8],
    key: LessSafeKey,
    /// The key itself, for those who wrap it: the ring's document, a backup.
    raw: DataKey,
}

impl RingKey {
    fn new(key: &[u8; 32]) -> Self {
        let mut id = [0; 8];
        // The id tells keys apart in messages; eight bytes of a hash give nothing of the key away.
        id.copy_from_slice(&digest(&SHA256, key).as_ref()[..8]);
        let raw = DataKey::new(*key);
        let key = UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are an AES-256 key");
        Self { id, key: LessSafeKey::new(key), raw }
    }
}

impl KeyRing {
    /// A ring of this one key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self { keys: RwLock::new(vec![Arc::new(RingKey::new(key))]) }
    }

    /// Adds a key, which wraps from now on.
    pub(super) fn add(&self, key: &[u8; 32]) {
        self.keys.write().push(Arc::new(RingKey::new(key)));
    }

    fn newest(&self) -> Arc<RingKey> {
        Arc::clone(self.keys.read().last().expect("a ring has a key"))
    }

    /// The id of the newest key, in hexadecimal digits. Not a secret.
    #[must_use]
    pub fn id(&self) -> String {
        hex(&self.newest().id)
    }

    /// Every key with its id, oldest first: for who wraps them.
    pub(super) fn all(&self) -> Vec<(String, DataKey)> {
        self.keys.read().iter().map(|key| (hex(&key.id), key.raw.clone())).collect()
    }

    /// Makes a new data key and its wrapped form. `context` (a file's name, a value's place) is bound to it.
    #[must_use]
    pub fn new_data_key(&self, context: &[u8], random: &dyn Random) -> (DataKey, WrappedKey) {
        let mut data_key = DataKey::new([0; 32]);
        random.fill(&mut *data_key);
        let wrapped = self.wrap(&data_key, context, random);
        (data_key, wrapped)
    }

    /// The newest key itself as another ring wraps it, to leave the machine: a backup takes it along under a passphrase.
    /// `under` opens it again by [`Self::unwrap`].
    #[must_use]
    pub fn escrow(&self, under: &Self, context: &[u8], random: &dyn Random) -> WrappedKey {
        under.wrap(&self.newest().raw, context, random)
    }

    /// Wraps a key. `context` is bound to it.
    pub(super) fn wrap(&self, key: &DataKey, context: &[u8], random: &dyn Random) -> WrappedKey {
        let mut nonce = [0; 12];
        random.fill(&mut nonce);
        let by = self.newest();
        let mut wrapped = [0; WRAPPED_KEY_BYTES];
        wrapped[..8].copy_from_slice(&by.id);
        wrapped[8..20].copy_from_slice(&nonce);
        wrapped[20..52].copy_from_slice(&**key);
        let tag = by
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context),
                &mut wrapped[20..52],
            )
            .expect("32 bytes are far below the cipher's bound");
        wrapped[52..].copy_from_slice(tag.as_ref());
        wrapped
    }

    /// The data key that was wrapped with this `context`.
    ///
    /// # Errors
    /// [`KeyError::OtherKey`] or [`KeyError::Damaged`].
    pub fn unwrap(&self, wrapped: &WrappedKey, context: &[u8]) -> Result<DataKey, KeyError> {
        let by = self.keys.read().iter().rev().find(|key| wrapped[..8] == key.id).map(Arc::clone);
        let Some(by) = by else {
            return Err(KeyError::OtherKey { wanted: hex(&wrapped[..8]), present: self.id() });
        };
        let nonce = Nonce::try_assume_unique_for_key(&wrapped[8..20]).expect("twelve bytes");
        let mut sealed = Zeroizing::new(wrapped[20..].to_vec());
        let opened =
            by.key.open_in_place(nonce, Aad::from(context), &mut sealed).map_err(|_| KeyError::Damaged)?;
        let mut data_key = DataKey::new([0; 32]);
        data_key.copy_from_slice(opened);
        Ok(data_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRandom;

    #[test]
    fn a_wrapped_key_opens_only_with_its_key_and_its_context() {
        let ring = KeyRing::new(&[7; 32]);
        let (data_key, wrapped) = ring.new_data_key(b"segment 1", &SystemRandom);
        assert_eq!(*ring.unwrap(&wrapped, b"segment 1").expect("opens"), *data_key);
        assert!(matches!(ring.unwrap(&wrapped, b"segment 2"), Err(KeyError::Damaged)));
        let mut damaged = wrapped;
        damaged[30] ^= 1;
        assert!(matches!(ring.unwrap(&damaged, b"segment 1"), Err(KeyError::Damaged)));
        let other = KeyRing::new(&[8; 32]);
        assert!(matches!(other.unwrap(&wrapped, b"segment 1"), Err(KeyError::OtherKey { .. })));
    }

    #[test]
    fn the_newest_key_wraps_and_all_open() {
        let ring = KeyRing::new(&[7; 32]);
        let (first, old) = ring.new_data_key(b"a", &SystemRandom);
        ring.add(&[8; 32]);
        let (second, new) = ring.new_data_key(b"a", &SystemRandom);
        assert_eq!(*ring.unwrap(&old, b"a").expect("opens"), *first);
        assert_eq!(*ring.unwrap(&new, b"a").expect("opens"), *second);
        assert!(matches!(KeyRing::new(&[7; 32]).unwrap(&new, b"a"), Err(KeyError::OtherKey { .. })));
        assert_eq!(*KeyRing::new(&[8; 32]).unwrap(&new, b"a").expect("by the newest alone"), *second);
    }

    #[test]
    fn a_key_leaves_wrapped() {
        let (ours, passphrase) = (KeyRing::new(&[7; 32]), KeyRing::new(&[9; 32]));
        let wrapped = ours.escrow(&passphrase, b"backup", &SystemRandom);
        assert!(!wrapped.windows(32).any(|window| window == [7; 32]), "never in the clear");
        let key = passphrase.unwrap(&wrapped, b"backup").expect("opens");
        assert_eq!(*key, [7; 32]);
        assert!(KeyRing::new(&[8; 32]).unwrap(&wrapped, b"backup").is_err());
    }
}
