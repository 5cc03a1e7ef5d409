//! What an archive says of itself: its header, its manifest, and which names its members may have.
//!
//! Not here: bytes on their way. The law: a name becomes a path only when [`is_member_name`] says so.

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::ArchiveError;
use super::error::hex;

/// The version of archives that this program writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 2;
/// Name of the first member.
pub(crate) const HEADER: &str = "godwit-backup.json";
/// Name of the last member of a whole archive.
pub(crate) const MANIFEST: &str = "manifest";
/// Name of the last member of one that could not be finished.
pub(crate) const FAILED: &str = "failed";

/// A header has a dozen short fields.
pub(crate) const HEADER_BYTES_MAX: u64 = 64 * 1024;
/// Some two million members.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 256 << 20;
/// A reason is a line or two.
pub(crate) const FAILED_BYTES_MAX: u64 = 16 * 1024;
/// Longest name of a member: what one header block of tar holds.
const NAME_BYTES_MAX: usize = 99;
/// `series/` may have folders within folders, but not many.
const NAME_PARTS_MAX: usize = 4;
/// What the first line of a manifest starts with.
const MANIFEST_MARK: &str = "godwit-backup-manifest";

/// What it is a backup of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Version of the archive.
    pub(crate) godwit_backup: u32,
    /// Version of the program that wrote it.
    pub(crate) version: String,
    /// When it was begun, RFC 3339: everything acknowledged before is in it.
    pub(crate) begun_at: String,
    /// Format of the data directory.
    pub(crate) data_format: u32,
    /// Id of the data directory.
    pub(crate) data_id: String,
    /// How often it had been started.
    pub(crate) boot: u32,
    /// Id of the ring's newest key; before there were rings, of the master key.
    pub(crate) key_id: String,
    /// The archive's data key, wrapped by that key: hex.
    pub(crate) data_key: String,
    /// That key, wrapped by a passphrase.
    pub(crate) key: Option<KeyUnderPassphrase>,
    /// Every key of the ring, wrapped by the master key, and by the passphrase if there is one. `None` in an archive of
    /// version 1, and of a directory from before there were rings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ring: Option<host::RingDocument>,
    /// About how many bytes follow.
    pub(crate) bytes: u64,
}

/// A key as a passphrase wraps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyUnderPassphrase {
    /// How the passphrase becomes a key.
    #[serde(flatten)]
    pub(crate) derivation: Derivation,
    /// The wrapped key: hex.
    pub(crate) wrapped: String,
}

/// How a passphrase becomes a key (RFC 9106).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Derivation {
    /// `argon2id`.
    pub(crate) kdf: String,
    /// Memory in KiB.
    pub(crate) memory_kib: u32,
    /// Passes over it.
    pub(crate) passes: u32,
    /// Lanes.
    pub(crate) lanes: u32,
    /// Salt: hex.
    pub(crate) salt: String,
}

impl Header {
    /// What the wrapped keys are bound to: this backup of this directory.
    pub(crate) fn context(&self, what: &str) -> Vec<u8> {
        format!("godwit backup {what} {} {}", self.data_id, self.begun_at).into_bytes()
    }

    /// Its bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("texts and numbers become JSON");
        bytes.push(b'\n');
        bytes
    }

    /// Reads it; the version first, for a newer one may have other fields.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ArchiveError> {
        #[derive(Deserialize)]
        struct Version {
            godwit_backup: u32,
        }
        let version: Version = serde_json::from_slice(bytes).map_err(|_| ArchiveError::Foreign)?;
        if version.godwit_backup > VERSION {
            return Err(ArchiveError::Newer { found: version.godwit_backup, known: VERSION });
        }
        let damaged =
            |error: serde_json::Error| ArchiveError::Damaged { what: format!("`{HEADER}`: {error}") };
        serde_json::from_slice(bytes).map_err(damaged)
    }
}

/// A member as the manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Its name, which is its place in the data directory.
    pub(crate) name: String,
    /// Length of what is in the archive.
    pub(crate) bytes: u64,
    /// SHA-256 of that: hex.
    pub(crate) sha256: String,
}

/// What is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// SHA-256 of the header: hex.
    pub(crate) header_sha256: String,
    /// When it was finished, RFC 3339.
    pub(crate) finished_at: String,
    /// Every message up to this `seq` is in it.
    pub(crate) durable_seq: u64,
    /// Every message up to this `seq` is in the columns; a restore replays the rest.
    pub(crate) position: u64,
    /// Readings in the columns.
    pub(crate) readings: u64,
    /// Devices that had readings; unknown when no server ran.
    pub(crate) devices: Option<u64>,
    /// All members, in their order.
    pub(crate) members: Vec<Member>,
    /// Column files that stay in the remote store: the columns' manifest names them.
    #[serde(default)]
    pub(crate) remote_files: u64,
    /// Bytes of those.
    #[serde(default)]
    pub(crate) remote_bytes: u64,
    /// Column files that could not be taken along, with why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) left_out: Vec<String>,
}

impl Manifest {
    /// The JSON that the tag is made of.
    pub(crate) fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers become JSON")
    }

    /// The member's bytes.
    pub(crate) fn to_bytes(body: &[u8], tag: &str) -> Vec<u8> {
        let sum = Self::sum(tag, body);
        let mut bytes = format!("{MANIFEST_MARK} {VERSION} tag={tag} sha256={sum}\n").into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    /// Reads the member's bytes: the manifest, its JSON, its tag.
    pub(crate) fn parse(bytes: &[u8]) -> Result<(Self, &[u8], &str), ArchiveError> {
        let damaged = |what: &str| ArchiveError::Damaged { what: format!("its manifest {what}") };
        let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
        let body = bytes.get(end + 1..).unwrap_or_default();
        let line = str::from_utf8(&bytes[..end]).unwrap_or_default();
        let words: Vec<&str> = line.split(' ').collect();
        let version = VERSION.to_string();
        let &[MANIFEST_MARK, found, tag, sum] = words.as_slice() else {
            return Err(damaged("does not start as one"));
        };
        let (Some(tag), Some(sum)) = (tag.strip_prefix("tag="), sum.strip_prefix("sha256=")) else {
            return Err(damaged("does not start as one"));
        };
        if found != version || sum != Self::sum(tag, body) {
            return Err(damaged("is not what was written"));
        }
        let manifest =
            serde_json::from_slice(body).map_err(|error| damaged(&format!("is malformed: {error}")))?;
        Ok((manifest, body, tag))
    }

    /// What anybody can check a manifest by; the tag is for those who have the key.
    fn sum(tag: &str, body: &[u8]) -> String {
        let mut sum = Context::new(&SHA256);
        sum.update(tag.as_bytes());
        sum.update(body);
        hex(sum.finish().as_ref())
    }
}

/// Whether a member may have this name, and a file of a data directory with it.
pub(crate) fn is_member_name(name: &str) -> bool {
    let mut parts = name.split('/');
    let is_part = |part: &str| {
        !part.starts_with('.')
            && !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._=-".contains(&byte))
    };
    let count = name.split('/').count();
    name.len() <= NAME_BYTES_MAX
        && name.split('/').all(is_part)
        && match parts.next() {
            Some("catalog.db") => count == 1,
            Some("journal") => count == 2,
            Some("series") => (2..=NAME_PARTS_MAX).contains(&count),
            _ => false,
        }
}

/// Whether an archive has anything of this name.
pub(crate) fn is_known_name(name: &str) -> bool {
    [HEADER, MANIFEST, FAILED].contains(&name) || is_member_name(name)
}
