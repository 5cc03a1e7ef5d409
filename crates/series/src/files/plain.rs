//! A plain file: its bytes as they are, checked by the checksums that the manifest keeps.
//!
//! Not here: reading them. The law: what is handed out for the first time was compared with what was written.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes that one checksum covers: few enough to be read for a page, enough to keep the manifest short.
pub(crate) const BLOCK_BYTES: u64 = 256 * 1024;

/// The checksums of a file's blocks: CRC32C of each [`BLOCK_BYTES`].
pub(crate) fn checksums(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(BLOCK_BYTES as usize).map(crc32c::crc32c).collect()
}

/// The blocks of one open file.
pub(crate) struct Blocks {
    checksums: Vec<u32>,
    /// Per block: whether it was found to be what was written.
    verified: Vec<AtomicBool>,
}

impl Blocks {
    /// The blocks of a file of `bytes` bytes.
    pub(crate) fn new(bytes: u64, checksums: &[u32]) -> Result<Self, String> {
        if checksums.len() as u64 != bytes.div_ceil(BLOCK_BYTES) {
            return Err(format!("it has {bytes} bytes, and {} checksums", checksums.len()));
        }
        let verified = checksums.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(Self { checksums: checksums.to_vec(), verified })
    }

    /// Whether all of `range` was compared before.
    pub(crate) fn are_verified(&self, range: &Range<u64>) -> bool {
        let mut blocks = range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES);
        blocks.all(|block| self.verified[block as usize].load(Ordering::Relaxed))
    }

    /// Compares whole blocks, the first of which is number `first`, with their checksums.
    pub(crate) fn verify(&self, first: u64, bytes: &[u8]) -> Result<(), String> {
        for (block, bytes) in (first..).zip(bytes.chunks(BLOCK_BYTES as usize)) {
            if crc32c::crc32c(bytes) != self.checksums[block as usize] {
                let at = block * BLOCK_BYTES;
                let to = at + bytes.len() as u64;
                return Err(format!("bytes {at} to {to} are not what was written"));
            }
            self.verified[block as usize].store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}
