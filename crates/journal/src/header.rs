//! The head of a segment file, version 1: 160 bytes, little-endian.
//!
//! ```text
//! 0    8   magic "GODWITJ\0"
//! 8    2   version: 1
//! 10   1   chain: 0 urgent, 1 regular
//! 11   1   0
//! 12   4   boot: which start of the process made it
//! 16   16  journal id: random, the same in all segments of one journal
//! 32   8   number of the segment in its chain, from 1 without a hole
//! 40   8   first seq: no record here has a lower one
//! 48   8   last seq of the chain before this segment; 0: none. What the segment before holds beyond it was never
//!          acknowledged and does not count; what it lacks up to it is lost
//! 56   8   largest `received_at` in the segment before; i64::MIN: none
//! 64   8   created at, microseconds since 1970 UTC
//! 72   8   run first: the first seq given out since the journal was last opened
//! 80   8   run before: the last seq before that; the seqs between the two never existed
//! 88   68  data key, wrapped by the key ring; its context is bytes 0..88, so that a header with another data key
//!          or a data key with another header does not open
//! 156  4   CRC32C of bytes 0..156
//! ```
//!
//! It is written and synced before any frame. To rotate the key-encryption key is to replace bytes 88..160.

use host::{WRAPPED_KEY_BYTES, WrappedKey};

use crate::chain::Chain;

/// Length of a header.
pub(crate) const HEADER_BYTES: usize = 160;
/// The version that this program writes, and the newest that it reads.
pub(crate) const VERSION: u16 = 1;
const MAGIC: &[u8; 8] = b"GODWITJ\0";
const KEY_AT: usize = 88;
const CRC_AT: usize = KEY_AT + WRAPPED_KEY_BYTES;

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) chain: Chain,
    pub(crate) boot: u32,
    pub(crate) journal: [u8; 16],
    pub(crate) number: u64,
    pub(crate) first_seq: u64,
    pub(crate) chain_last: u64,
    pub(crate) time_before: i64,
    pub(crate) created_at: i64,
    pub(crate) run_first: u64,
    pub(crate) run_before: u64,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// A later version wrote it.
    Newer(u16),
    /// It is damaged, cut short, or something else.
    Damaged,
}

impl Header {
    /// What the wrapped data key is bound to.
    pub(crate) fn context(&self) -> [u8; KEY_AT] {
        let mut bytes = [0; KEY_AT];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10] = self.chain as u8;
        bytes[12..16].copy_from_slice(&self.boot.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.journal);
        let numbers = [
            self.number,
            self.first_seq,
            self.chain_last,
            self.time_before.cast_unsigned(),
            self.created_at.cast_unsigned(),
            self.run_first,
            self.run_before,
        ];
        for (at, number) in (32..).step_by(8).zip(numbers) {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// The header's bytes with this wrapped key.
    pub(crate) fn to_bytes(&self, key: &WrappedKey) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..KEY_AT].copy_from_slice(&self.context());
        bytes[KEY_AT..CRC_AT].copy_from_slice(key);
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header and its wrapped key.
    pub(crate) fn parse(bytes: &[u8]) -> Result<(Self, WrappedKey), HeaderFault> {
        if bytes.len() < 10 || &bytes[..8] != MAGIC {
            return Err(HeaderFault::Damaged);
        }
        // The version comes first: a later one may have another length and another CRC.
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        let crc_holds = bytes.len() >= HEADER_BYTES
            && crc32c::crc32c(&bytes[..CRC_AT]).to_le_bytes() == bytes[CRC_AT..HEADER_BYTES];
        match version {
            VERSION if crc_holds => {}
            0 | VERSION => return Err(HeaderFault::Damaged),
            _ if is_version_1_with_a_flipped_version(bytes) => return Err(HeaderFault::Damaged),
            newer => return Err(HeaderFault::Newer(newer)),
        }
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let header = Self {
            chain: Chain::from_u8(bytes[10]).ok_or(HeaderFault::Damaged)?,
            boot: u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes")),
            journal: bytes[16..32].try_into().expect("sixteen bytes"),
            number: number(32),
            first_seq: number(40),
            chain_last: number(48),
            time_before: number(56).cast_signed(),
            created_at: number(64).cast_signed(),
            run_first: number(72),
            run_before: number(80),
        };
        Ok((header, bytes[KEY_AT..CRC_AT].try_into().expect("a wrapped key")))
    }
}

/// Whether the header is whole when its version is read as 1: then only the version's bytes were damaged, and it
/// is no newer version's.
fn is_version_1_with_a_flipped_version(bytes: &[u8]) -> bool {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return false };
    let mut as_one = *header;
    as_one[8..10].copy_from_slice(&VERSION.to_le_bytes());
    crc32c::crc32c(&as_one[..CRC_AT]).to_le_bytes() == as_one[CRC_AT..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            chain: Chain::Regular,
            boot: 3,
            journal: [9; 16],
            number: 7,
            first_seq: 100,
            chain_last: 90,
            time_before: -5,
            created_at: 1_767_225_600_000_000,
            run_first: 80,
            run_before: 12,
        }
    }

    #[test]
    fn a_header_reads_as_it_was_written_and_any_flipped_bit_damages_it() {
        let key = [0x5a; WRAPPED_KEY_BYTES];
        let bytes = header().to_bytes(&key);
        assert_eq!(Header::parse(&bytes), Ok((header(), key)));
        for bit in 0..HEADER_BYTES * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::parse(&damaged), Err(HeaderFault::Damaged), "bit {bit}");
        }
        assert_eq!(Header::parse(&bytes[..HEADER_BYTES - 1]), Err(HeaderFault::Damaged));
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut later = [0x77; 64];
        later[..8].copy_from_slice(MAGIC);
        later[8..10].copy_from_slice(&2u16.to_le_bytes());
        assert_eq!(Header::parse(&later), Err(HeaderFault::Newer(2)));
    }
}
