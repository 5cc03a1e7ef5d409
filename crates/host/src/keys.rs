//! The key ring: one key-encryption key that wraps the data keys of segments, column files and values.
//!
//! Every file has a random data key of its own; only its wrapped form is stored beside the data. To rotate
//! the key-encryption key is to wrap anew, never to rewrite data. Sources: a key file now; an environment
//! variable and Vault Transit come later.
//!
//! A wrapped key, 68 bytes:
//!
//! ```text
//! 0       8         20            52       68
//! | key id | nonce   | ciphertext  | tag    |      AES-256-GCM; associated data = the caller's context
//! ```
//!
//! The nonce is random: a key-encryption key wraps far fewer than 2^32 data keys in its life, the bound at which
//! random nonces stop being safe (NIST SP 800-38D, section 8.3).

use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::{Disk, Random};

/// Length of a wrapped data key.
pub const WRAPPED_KEY_BYTES: usize = 68;

/// A data key as it is stored: useless without the key ring.
pub type WrappedKey = [u8; WRAPPED_KEY_BYTES];

/// The key of one file or value, wiped from memory when dropped.
pub type DataKey = Zeroizing<[u8; 32]>;

const KEY_FILE_BYTES_MAX: u64 = 4096;

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key file is not there, but data is.
    #[error("key file `{}` is missing, and the data in `{}` cannot be read without it", path.display(), data.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// The data directory.
        data: PathBuf,
    },
    /// The key file cannot be read or made.
    #[error("cannot use key file `{}`", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The key file is something else.
    #[error("key file `{}` is malformed: it must hold 64 hexadecimal digits", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// A data key was wrapped by another key.
    #[error("data was encrypted under key `{wanted}`, but the key file holds key `{present}`")]
    OtherKey {
        /// Id of the key that wrapped it.
        wanted: String,
        /// Id of the key that is loaded.
        present: String,
    },
    /// The wrapped key was changed, or belongs to something else.
    #[error("a wrapped data key is damaged or belongs to another file")]
    Damaged,
    /// Another key is where one is to be put.
    #[error("key file `{}` holds another key: `{present}`; to be put there is `{wanted}`", path.display())]
    Occupied {
        /// Which file.
        path: PathBuf,
        /// Id of the key that is there.
        present: String,
        /// Id of the key that was to be put there.
        wanted: String,
    },
}

impl KeyError {
    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing { .. } => {
                Some("put the key file back from its backup, or name it with `[keys] file`")
            }
            Self::OtherKey { .. } => Some("name the right key file with `[keys] file`"),
            Self::Malformed { .. } => Some("restore the key file from its backup"),
            Self::Occupied { .. } => {
                Some("data may depend on the key that is there: name another place for the new one")
            }
            Self::File { .. } | Self::Damaged => None,
        }
    }
}

/// Wraps and unwraps data keys.
pub struct KeyRing {
    id: [u8; 8],
    key: LessSafeKey,
    /// The key-encryption key itself, for a backup that takes it along, wrapped.
    raw: DataKey,
}

impl KeyRing {
    /// A ring of this one key-encryption key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        let mut id = [0; 8];
        // The id tells keys apart in messages; eight bytes of a hash give nothing of the key away.
        id.copy_from_slice(&digest(&SHA256, key).as_ref()[..8]);
        let raw = DataKey::new(*key);
        let key = UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are an AES-256 key");
        Self { id, key: LessSafeKey::new(key), raw }
    }

    /// Reads the key file at `path`, or makes it when `first_start` says that there is no data yet.
    ///
    /// # Errors
    /// [`KeyError::Missing`] when there is data but no key; the others as they say.
    pub fn from_file(
        path: &Path,
        data: &Path,
        first_start: bool,
        disk: &dyn Disk,
        random: &dyn Random,
    ) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        match disk.read(path, KEY_FILE_BYTES_MAX) {
            Ok(text) => {
                let text = Zeroizing::new(text);
                let key = parse_hex(&text).ok_or_else(|| KeyError::Malformed { path: path.to_owned() })?;
                Ok(Self::new(&key))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && first_start => {
                let mut key = Zeroizing::new([0; 32]);
                random.fill(&mut *key);
                write_key(path, &key, disk).map_err(failed)?;
                Ok(Self::new(&key))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(KeyError::Missing { path: path.to_owned(), data: data.to_owned() })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The id of the key-encryption key, in hexadecimal digits. Not a secret.
    #[must_use]
    pub fn id(&self) -> String {
        hex(&self.id)
    }

    /// Makes a new data key and its wrapped form. `context` (a file's name, a value's place) is bound to it.
    #[must_use]
    pub fn new_data_key(&self, context: &[u8], random: &dyn Random) -> (DataKey, WrappedKey) {
        let mut data_key = DataKey::new([0; 32]);
        random.fill(&mut *data_key);
        let wrapped = self.wrap(&data_key, context, random);
        (data_key, wrapped)
    }

    /// The key-encryption key itself as another ring wraps it, to leave the machine: a backup takes it along under
    /// a passphrase. `under` opens it again by [`Self::unwrap`].
    #[must_use]
    pub fn escrow(&self, under: &Self, context: &[u8], random: &dyn Random) -> WrappedKey {
        under.wrap(&self.raw, context, random)
    }

    /// Wraps a key. `context` is bound to it.
    fn wrap(&self, key: &DataKey, context: &[u8], random: &dyn Random) -> WrappedKey {
        let mut nonce = [0; 12];
        random.fill(&mut nonce);
        let mut wrapped = [0; WRAPPED_KEY_BYTES];
        wrapped[..8].copy_from_slice(&self.id);
        wrapped[8..20].copy_from_slice(&nonce);
        wrapped[20..52].copy_from_slice(&**key);
        let tag = self
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
        if wrapped[..8] != self.id {
            return Err(KeyError::OtherKey { wanted: hex(&wrapped[..8]), present: self.id() });
        }
        let nonce = Nonce::try_assume_unique_for_key(&wrapped[8..20]).expect("twelve bytes");
        let mut sealed = Zeroizing::new(wrapped[20..].to_vec());
        let opened =
            self.key.open_in_place(nonce, Aad::from(context), &mut sealed).map_err(|_| KeyError::Damaged)?;
        let mut data_key = DataKey::new([0; 32]);
        data_key.copy_from_slice(opened);
        Ok(data_key)
    }
}

/// Puts a key-encryption key into the file `path`, mode 0600. One that is there already is fine when it is the same.
///
/// # Errors
/// [`KeyError::Occupied`] when another key is there: it is never written over.
pub fn place_key(path: &Path, key: &DataKey, disk: &dyn Disk) -> Result<(), KeyError> {
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    match disk.read(path, KEY_FILE_BYTES_MAX).map(Zeroizing::new) {
        Ok(text) => {
            let present = parse_hex(&text).ok_or_else(|| KeyError::Malformed { path: path.to_owned() })?;
            let (present, wanted) = (KeyRing::new(&present).id(), KeyRing::new(key).id());
            if present == wanted {
                return Ok(());
            }
            Err(KeyError::Occupied { path: path.to_owned(), present, wanted })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                disk.create_dir(parent).map_err(failed)?;
            }
            write_key(path, key, disk).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

fn write_key(path: &Path, key: &[u8; 32], disk: &dyn Disk) -> std::io::Result<()> {
    let mut text = Zeroizing::new(hex(key));
    text.push('\n');
    disk.replace(path, text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_hex(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let text = text.trim_ascii();
    let mut key = Zeroizing::new([0; 32]);
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
    fn a_key_file_is_made_on_first_start_and_missed_later() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("data.key");
        let open = |first| KeyRing::from_file(&path, dir.path(), first, &SystemDisk, &SystemRandom);
        assert!(matches!(open(false), Err(KeyError::Missing { .. })));
        let made = open(true).expect("made").id();
        assert_eq!(open(false).expect("read").id(), made);
        SystemDisk.replace(&path, b"not a key").expect("written");
        assert!(matches!(open(false), Err(KeyError::Malformed { .. })));
        assert!(matches!(open(true), Err(KeyError::Malformed { .. })), "a damaged key is never replaced");
    }

    #[test]
    fn a_key_leaves_wrapped_and_never_takes_the_place_of_another() {
        let (ours, passphrase) = (KeyRing::new(&[7; 32]), KeyRing::new(&[9; 32]));
        let wrapped = ours.escrow(&passphrase, b"backup", &SystemRandom);
        assert!(!wrapped.windows(32).any(|window| window == [7; 32]), "never in the clear");
        let key = passphrase.unwrap(&wrapped, b"backup").expect("opens");
        assert_eq!(*key, [7; 32]);
        assert!(KeyRing::new(&[8; 32]).unwrap(&wrapped, b"backup").is_err());

        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("made/data.key");
        place_key(&path, &key, &SystemDisk).expect("put there");
        place_key(&path, &key, &SystemDisk).expect("the same is fine");
        let read = KeyRing::from_file(&path, dir.path(), false, &SystemDisk, &SystemRandom).expect("read");
        assert_eq!(read.id(), ours.id());
        let other = place_key(&path, &DataKey::new([1; 32]), &SystemDisk).expect_err("refused");
        assert!(matches!(other, KeyError::Occupied { .. }), "{other}");
    }
}
