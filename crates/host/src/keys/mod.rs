//! Keys in three levels: a master key wraps ring keys, a ring key wraps data keys, a data key seals one file or value.
//!
//! ```text
//! master key     (the key-encryption key) in a key file, an environment variable, or Vault; never in the data directory
//!   └─ ring keys     in <data>/KEYRING, wrapped; the newest wraps new data keys, older ones open what they wrapped
//!        └─ data keys    one for each segment, column file and sealed value, wrapped, beside what they seal
//! ```
//!
//! To rotate is to wrap the ring keys (a few hundred bytes) by a new master key, and to add a new ring key for what is
//! sealed from now on: no data is rewritten, and nobody stops. A ring key is wrapped once for each master key that opens
//! it: for the one of today, for the next one while it is being put in place, and for the recovery code. Not here:
//! what is sealed. The laws: a master key is never in the data directory; whatever the moment of a crash, the master
//! key that is in place opens the ring.

mod document;
mod master;
mod recovery;
mod ring;
mod store;

pub use document::{KEYRING, RING_KEYS_MAX, RingDocument};
pub use master::{HeldKey, MasterKey, place_key};
pub use recovery::RecoveryCode;
pub use ring::{DataKey, KeyRing, WRAPPED_KEY_BYTES, WrappedKey};
pub use store::{KeySource, KeyStatus, KeyStore, Rotated};

use std::path::PathBuf;

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
    /// A file of keys cannot be read or made.
    #[error("cannot use `{}`", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A master key is something else.
    #[error("{place} is malformed: it must hold 64 hexadecimal digits")]
    Malformed {
        /// The key file, or the variable.
        place: String,
    },
    /// The ring is not what was written.
    #[error("`{}` is damaged: {reason}", path.display())]
    Ring {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The ring is gone.
    #[error("`{}` is missing, and the data cannot be read without it", path.display())]
    NoRing {
        /// Where it was.
        path: PathBuf,
    },
    /// The ring is wrapped by other master keys.
    #[error("the data needs master key {}, but the one given is `{present}`", wanted.join(" or "))]
    OtherMaster {
        /// Ids of those that open it.
        wanted: Vec<String>,
        /// Id of the one at hand.
        present: String,
    },
    /// A data key was wrapped by a key that the ring does not have.
    #[error("data was encrypted under key `{wanted}`, but the ring's key is `{present}`")]
    OtherKey {
        /// Id of the key that wrapped it.
        wanted: String,
        /// Id of the ring's newest key.
        present: String,
    },
    /// The wrapped key was changed, or belongs to something else.
    #[error("a wrapped key is damaged or belongs to another file")]
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
    /// Who keeps the master key does not wrap or unwrap.
    #[error("{place} does not answer as it should: {reason}")]
    Keeper {
        /// Who: `Vault at …`.
        place: String,
        /// What came instead.
        reason: String,
    },
    /// The key of the last rotation was not handed over yet.
    #[error("master key `{wanted}`, which the last rotation gave, is not in place yet")]
    NotPlaced {
        /// Its id.
        wanted: String,
    },
    /// The ring cannot take another key.
    #[error("the ring has {RING_KEYS_MAX} keys, and takes no more")]
    Full,
    /// The code is not one of this directory.
    #[error("the recovery code is not the one of this data directory")]
    Recovery,
}

impl KeyError {
    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing { .. } => Some(
                "put the key file back from its backup, or name it with `[keys] file`; with the recovery code: `godwit keys recover`",
            ),
            Self::OtherMaster { .. } => {
                Some("name the right one in `[keys]`; with the recovery code: `godwit keys recover`")
            }
            Self::NotPlaced { .. } => Some(
                "put it where `[keys]` takes the master key from and start again; if it is lost: `godwit keys move`",
            ),
            Self::OtherKey { .. } => Some("name the right key file with `[keys] file`"),
            Self::Malformed { .. } => {
                Some("restore it from its backup; a new key is made by `openssl rand -hex 32`")
            }
            Self::Ring { .. } | Self::NoRing { .. } => {
                Some("restore the file from a backup of the data directory")
            }
            Self::Occupied { .. } => {
                Some("data may depend on the key that is there: name another place for the new one")
            }
            Self::Keeper { .. } => {
                Some("look at `[keys.vault]`: the URL, the name of the key, and what the token may do")
            }
            Self::Full => Some("move the data to a new directory: `godwit export`, then `godwit import`"),
            Self::Recovery => Some("it was shown once, when it was made; a newer one takes its place"),
            Self::File { .. } | Self::Damaged => None,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}
