//! A frame, version 1: some records, encrypted and checked together.
//!
//! ```text
//! 0    4   magic "GwF1"
//! 4    1   algorithm: 1 AES-256-GCM. 0, none, is reserved and refused: who accepts it lets anyone who can
//!          write to the file make up records
//! 5    3   0
//! 8    4   length of the content in bytes
//! 12   4   number of records
//! 16   8   number of the frame in its segment, from 0 without a hole; it is the nonce
//! 24   8   first seq; the records have this one and those that follow it
//! 32   8   commit: where in this file the group of frames begins that was synced together with this one.
//!          When this frame was written, everything before that offset was on stable storage
//! 40   8   largest `received_at` among the records, microseconds since 1970 UTC
//! 48   4   CRC32C of bytes 0..48
//! 52   4   CRC32C of bytes 56.. to the end of the tag: tells damage without the key
//! 56   n   content (see `record`), encrypted
//!      16  tag; associated data are bytes 0..52
//! ```
//!
//! Behind the last frame there may be zeros, written ahead for quicker syncs. All numbers are little-endian. A data key encrypts one segment, frame numbers grow by one in a segment, and a
//! segment is never opened again for writing: so no nonce repeats under a key. `commit` tells a tail that a crash
//! tore (nothing in it was acknowledged) from damage to what was synced.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use host::DataKey;

use crate::record::RECORD_BYTES_MAX;

/// Length of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 56;
/// Length of the tag behind the content.
pub(crate) const TAG_BYTES: usize = 16;
/// Largest frame of more than one record, header and tag included: what is lost to one flipped bit, and what a
/// reader decrypts to get at one record.
pub(crate) const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Largest content: one record of the largest size, with its tag and length.
pub(crate) const CONTENT_BYTES_MAX: usize = RECORD_BYTES_MAX + 16;

const MAGIC: [u8; 4] = *b"GwF1";
const ALGORITHM_AES_256_GCM: u8 = 1;

/// What a frame's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) content_bytes: u32,
    pub(crate) count: u32,
    pub(crate) number: u64,
    pub(crate) first_seq: u64,
    pub(crate) commit: u64,
    pub(crate) time_max: i64,
}

impl FrameHeader {
    /// The last `seq` in the frame.
    pub(crate) fn last_seq(&self) -> u64 {
        self.first_seq + u64::from(self.count) - 1
    }

    /// Length of the whole frame.
    pub(crate) fn frame_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.content_bytes as usize + TAG_BYTES
    }

    fn write(&self, into: &mut [u8]) {
        into[..4].copy_from_slice(&MAGIC);
        into[4..8].copy_from_slice(&[ALGORITHM_AES_256_GCM, 0, 0, 0]);
        into[8..12].copy_from_slice(&self.content_bytes.to_le_bytes());
        into[12..16].copy_from_slice(&self.count.to_le_bytes());
        into[16..24].copy_from_slice(&self.number.to_le_bytes());
        into[24..32].copy_from_slice(&self.first_seq.to_le_bytes());
        into[32..40].copy_from_slice(&self.commit.to_le_bytes());
        into[40..48].copy_from_slice(&self.time_max.to_le_bytes());
        let crc = crc32c::crc32c(&into[..48]);
        into[48..52].copy_from_slice(&crc.to_le_bytes());
    }

    /// The header at the start of `bytes`, if there is a whole and sensible one.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<FRAME_HEADER_BYTES>()?;
        if bytes[..4] != MAGIC || crc32c::crc32c(&bytes[..48]).to_le_bytes() != bytes[48..52] {
            return None;
        }
        let short = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let header = Self {
            content_bytes: short(8),
            count: short(12),
            number: long(16),
            first_seq: long(24),
            commit: long(32),
            time_max: long(40).cast_signed(),
        };
        // A record takes more than two bytes. A CRC is no signature: what it covers is still bounded here.
        let sensible = bytes[4] == ALGORITHM_AES_256_GCM
            && header.count > 0
            && header.count <= header.content_bytes / 2
            && header.content_bytes as usize <= CONTENT_BYTES_MAX
            && header.first_seq > 0
            && header.first_seq.checked_add(u64::from(header.count)).is_some();
        sensible.then_some(header)
    }

    /// Where in `bytes` the next header may begin, from `from` on: the first place that has the magic's start.
    pub(crate) fn find(bytes: &[u8], from: usize) -> Option<usize> {
        let at = bytes.get(from..)?.windows(MAGIC.len()).position(|window| window == MAGIC)?;
        Some(from + at)
    }
}

/// The data key of one segment, ready to use. Cheap to clone.
#[derive(Clone)]
pub(crate) struct FrameKey(Arc<LessSafeKey>);

impl FrameKey {
    pub(crate) fn new(key: &DataKey) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &**key).expect("32 bytes are an AES-256 key");
        Self(Arc::new(LessSafeKey::new(key)))
    }

    /// Encrypts the content in place and puts header and tag around it. `frame` has the length of the header,
    /// the content and the tag together.
    pub(crate) fn seal(&self, header: &FrameHeader, frame: &mut [u8]) {
        assert_eq!(frame.len(), header.frame_bytes());
        let (head, body) = frame.split_at_mut(FRAME_HEADER_BYTES);
        header.write(head);
        let (content, tag_place) = body.split_at_mut(header.content_bytes as usize);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce(header.number), Aad::from(&head[..52]), content)
            .expect("a frame is far below the cipher's bound");
        tag_place.copy_from_slice(tag.as_ref());
        let crc = crc32c::crc32c(body);
        head[52..56].copy_from_slice(&crc.to_le_bytes());
    }

    /// Decrypts a frame; `frame` begins with the header that was parsed as `header`. `None` when it is not what
    /// was written.
    pub(crate) fn open(&self, header: &FrameHeader, frame: &[u8]) -> Option<Vec<u8>> {
        let frame = frame.get(..header.frame_bytes())?;
        let (head, body) = frame.split_at(FRAME_HEADER_BYTES);
        if crc32c::crc32c(body).to_le_bytes() != head[52..56] {
            return None;
        }
        let mut content = body.to_vec();
        let bytes =
            self.0.open_in_place(nonce(header.number), Aad::from(&head[..52]), &mut content).ok()?.len();
        content.truncate(bytes);
        Some(content)
    }
}

/// The frame number, eight bytes, behind four zeros.
fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_of_a_frame_is_noticed() {
        let key = FrameKey::new(&DataKey::new([3; 32]));
        let header =
            FrameHeader { content_bytes: 40, count: 2, number: 5, first_seq: 9, commit: 160, time_max: 77 };
        let mut frame = vec![0; header.frame_bytes()];
        frame[FRAME_HEADER_BYTES..][..40].copy_from_slice(&[8; 40]);
        key.seal(&header, &mut frame);
        assert_eq!(FrameHeader::parse(&frame), Some(header));
        assert_eq!(key.open(&header, &frame).as_deref(), Some(&[8; 40][..]));
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let opened = FrameHeader::parse(&damaged).and_then(|header| key.open(&header, &damaged));
            assert_eq!(opened, None, "bit {bit}");
        }
    }
}
