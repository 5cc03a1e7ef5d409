//! Sealing: the content of members under the archive's data key.
//!
//! ```text
//! member n = chunk 0 │ chunk 1 │ …      chunk = up to 64 KiB of content, encrypted, and a tag of 16 bytes
//!
//! AES-256-GCM; nonce = n (u32, big-endian) ‖ number of the chunk (u64, big-endian)
//!              associated data = the member's name ‖ 1 for its last chunk, 0 for the others
//! ```
//!
//! The data key is used for one archive alone, so no nonce comes twice. Name and place are bound, so that chunks cannot
//! change places, and the end is, so that none can be left out. An empty member is one empty chunk.
//!
//! The manifest's tag is what the cipher gives for no content with the header and the manifest as associated data,
//! under the nonce of a member that no archive has. Not here: which members there are.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use host::DataKey;

use super::error::{hex, unhex};

/// Content of one chunk.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;
/// What sealing adds to a chunk.
pub(crate) const TAG_BYTES: usize = 16;

/// The length of `bytes` bytes of content once they are sealed.
pub(crate) fn sealed_bytes(bytes: u64) -> u64 {
    bytes + bytes.div_ceil(CHUNK_BYTES as u64).max(1) * TAG_BYTES as u64
}

/// Seals and opens under one archive's key.
pub(crate) struct Seal {
    key: LessSafeKey,
}

impl Seal {
    /// With the archive's data key.
    pub(crate) fn new(key: &DataKey) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &**key).expect("32 bytes are an AES-256 key");
        Self { key: LessSafeKey::new(key) }
    }

    /// Seals a chunk in place.
    pub(crate) fn close(&self, place: &Place<'_>, chunk: &mut Vec<u8>) {
        let aad = Aad::from(place.bound());
        self.key
            .seal_in_place_append_tag(place.nonce(), aad, chunk)
            .expect("a chunk is far below the cipher's bound");
    }

    /// Opens a chunk in place. `false`: it is not what was sealed here.
    pub(crate) fn open(&self, place: &Place<'_>, chunk: &mut Vec<u8>) -> bool {
        let aad = Aad::from(place.bound());
        let Ok(opened) = self.key.open_in_place(place.nonce(), aad, chunk).map(|opened| opened.len()) else {
            return false;
        };
        chunk.truncate(opened);
        true
    }

    /// The tag of a manifest: hex.
    pub(crate) fn tag(&self, header: &[u8], manifest: &[u8]) -> String {
        let tag = self
            .key
            .seal_in_place_separate_tag(manifest_nonce(), Aad::from([header, manifest].concat()), &mut [])
            .expect("no content is below the cipher's bound");
        hex(tag.as_ref())
    }

    /// Whether a manifest's tag is right.
    pub(crate) fn is_tag_of(&self, tag: &str, header: &[u8], manifest: &[u8]) -> bool {
        let Some(mut tag) = unhex(tag) else { return false };
        let aad = Aad::from([header, manifest].concat());
        self.key.open_in_place(manifest_nonce(), aad, &mut tag).is_ok_and(|opened| opened.is_empty())
    }
}

/// Where a chunk belongs.
pub(crate) struct Place<'a> {
    /// Number of the member.
    pub(crate) member: u32,
    /// Its name.
    pub(crate) name: &'a str,
    /// Number of the chunk in it.
    pub(crate) chunk: u64,
    /// Whether it is the member's last.
    pub(crate) is_last: bool,
}

impl Place<'_> {
    fn nonce(&self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.member.to_be_bytes());
        nonce[4..].copy_from_slice(&self.chunk.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    fn bound(&self) -> Vec<u8> {
        let mut bound = self.name.as_bytes().to_vec();
        bound.push(u8::from(self.is_last));
        bound
    }
}

fn manifest_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0xff; 12])
}
