//! A sealed file: content encrypted in chunks, so that any range of it can be read without the rest.
//!
//! ```text
//! 0         chunk 0: 65,536 bytes of content, encrypted | tag, 16 bytes
//! 65,552    chunk 1: the same
//! …         the last chunk: 1 to 65,536 bytes of content, encrypted | tag
//! n - 96    trailer, 96 bytes; n is the length of the file
//!           0   8   magic "GwSealed"
//!           8   1   version 1
//!           9   1   algorithm: 1 AES-256-GCM
//!           10  2   0
//!           12  4   bytes of content in a chunk: 65,536
//!           16  8   bytes of content in all
//!           24  68  data key, wrapped by the key ring; its context is "series/" and the file's name
//!           92  4   CRC32C of bytes 0..92: tells damage without the key
//! ```
//!
//! All numbers are little-endian. Every file has a random data key of its own and is written once, so the nonce is the
//! number of the chunk (four zeros, then eight bytes). Associated data of each chunk are bytes 0..24 of the trailer,
//! the number of the chunk (eight bytes) and the file's name: a chunk that was changed, moved within the file, cut off,
//! or taken from another file does not open. The wrapped key is not among them, so that the key ring can wrap it anew
//! without a change to the chunks. The trailer is at the end, where Parquet has its footer: one read finds both.
//!
//! Not here: where the bytes are kept (`files`). The law: what opens is what was sealed under this name, to the bit.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use host::{DataKey, KeyError, KeyRing, Random, WRAPPED_KEY_BYTES, WrappedKey};

/// Bytes of content in a chunk: what is decrypted to read one page of a column.
pub(crate) const CHUNK_BYTES: u64 = 64 * 1024;
/// Bytes that a whole chunk takes in the file.
pub(crate) const SEALED_CHUNK_BYTES: u64 = CHUNK_BYTES + TAG_BYTES;
/// Length of the trailer.
pub(crate) const TRAILER_BYTES: u64 = 96;

const TAG_BYTES: u64 = 16;
const MAGIC: &[u8; 8] = b"GwSealed";
const VERSION: u8 = 1;
const ALGORITHM_AES_256_GCM: u8 = 1;
/// Bytes of the trailer that every chunk is bound to.
const BOUND_BYTES: usize = 24;

/// Why a sealed file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    /// It is not what was written.
    #[error("{0}")]
    Damaged(String),
    /// It is whole, but the key ring holds another key.
    #[error(transparent)]
    Key(KeyError),
}

/// Seals `content` under `name`: the bytes of the file. An empty content has no chunk.
pub(crate) fn seal(name: &str, content: &[u8], keys: &KeyRing, random: &dyn Random) -> Vec<u8> {
    let (data_key, wrapped) = keys.new_data_key(&context(name), random);
    let head = head(content.len() as u64);
    let key = ChunkKey::new(&data_key, &head, name);
    let mut file = Vec::with_capacity(sealed_bytes(content.len() as u64) as usize);
    for (number, chunk) in content.chunks(CHUNK_BYTES as usize).enumerate() {
        let at = file.len();
        file.extend_from_slice(chunk);
        key.seal(number as u64, &mut file, at);
    }
    let at = file.len();
    file.extend_from_slice(&head);
    file.extend_from_slice(&wrapped);
    let crc = crc32c::crc32c(&file[at..]);
    file.extend_from_slice(&crc.to_le_bytes());
    file
}

/// The content of a whole sealed file.
pub(crate) fn unseal(name: &str, file: &[u8], keys: &KeyRing) -> Result<Vec<u8>, SealError> {
    let damaged = |what: String| SealError::Damaged(what);
    let at = file.len().checked_sub(TRAILER_BYTES as usize);
    let at = at.ok_or_else(|| damaged("it is too short to be a sealed file".to_owned()))?;
    let opener = Opener::new(name, &file[at..], file.len() as u64, keys)?;
    let mut content = Vec::with_capacity(opener.content_bytes() as usize);
    opener
        .open_run(0, &file[..at], &mut content)
        .map_err(|number| damaged(damaged_chunk(number, file.len() as u64)))?;
    Ok(content)
}

/// Which bytes of the file a chunk that does not open has.
pub(crate) fn damaged_chunk(number: u64, file_bytes: u64) -> String {
    let from = number * SEALED_CHUNK_BYTES;
    let to = (from + SEALED_CHUNK_BYTES).min(file_bytes - TRAILER_BYTES);
    format!("bytes {from} to {to} are not what was written")
}

/// Length of the file that seals `content_bytes` bytes.
pub(crate) fn sealed_bytes(content_bytes: u64) -> u64 {
    content_bytes + content_bytes.div_ceil(CHUNK_BYTES) * TAG_BYTES + TRAILER_BYTES
}

/// Opens the chunks of one file.
pub(crate) struct Opener {
    key: ChunkKey,
    content_bytes: u64,
}

impl Opener {
    /// From the trailer of the file `name` of `file_bytes` bytes.
    pub(crate) fn new(
        name: &str,
        trailer: &[u8],
        file_bytes: u64,
        keys: &KeyRing,
    ) -> Result<Self, SealError> {
        let damaged = |what: &str| SealError::Damaged(format!("its trailer {what}"));
        let trailer: &[u8; TRAILER_BYTES as usize] = trailer.try_into().map_err(|_| damaged("is cut off"))?;
        let crc = u32::from_le_bytes(trailer[92..].try_into().expect("four bytes"));
        if crc32c::crc32c(&trailer[..92]) != crc {
            return Err(damaged("is not what was written"));
        }
        let content_bytes = u64::from_le_bytes(trailer[16..24].try_into().expect("eight bytes"));
        // Version, algorithm and chunk size are what this program writes, or it cannot read on.
        let head = head(content_bytes);
        if trailer[..BOUND_BYTES] != head {
            return Err(damaged("is of a version or form that this version of Godwit does not know"));
        }
        let fits = content_bytes < file_bytes && sealed_bytes(content_bytes) == file_bytes;
        if !fits {
            return Err(SealError::Damaged(format!(
                "it has {file_bytes} bytes; its trailer speaks of {content_bytes} within"
            )));
        }
        let wrapped: WrappedKey =
            trailer[BOUND_BYTES..BOUND_BYTES + WRAPPED_KEY_BYTES].try_into().expect("a wrapped key");
        let data_key = keys.unwrap(&wrapped, &context(name)).map_err(|error| match error {
            KeyError::OtherKey { .. } => SealError::Key(error),
            _ => damaged("holds no data key of this file"),
        })?;
        Ok(Self { key: ChunkKey::new(&data_key, &head, name), content_bytes })
    }

    /// Bytes of content in all.
    pub(crate) fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// Opens chunks that follow each other in `run`, of which the first is number `first`, and appends their content
    /// to `into`. The error is the number of the chunk that is not what was written.
    pub(crate) fn open_run(&self, first: u64, run: &[u8], into: &mut Vec<u8>) -> Result<(), u64> {
        for (number, chunk) in (first..).zip(run.chunks(SEALED_CHUNK_BYTES as usize)) {
            let bytes = chunk.len().checked_sub(TAG_BYTES as usize).ok_or(number)?;
            let at = into.len();
            into.resize(at + bytes, 0);
            let (content, tag) = chunk.split_at(bytes);
            self.key.open(number, content, tag, &mut into[at..]).ok_or(number)?;
        }
        Ok(())
    }
}

/// The data key of one file with what its chunks are bound to.
struct ChunkKey {
    key: LessSafeKey,
    /// Head, eight bytes for the chunk's number, name.
    bound: Vec<u8>,
}

impl ChunkKey {
    fn new(data_key: &DataKey, head: &[u8; BOUND_BYTES], name: &str) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &**data_key).expect("32 bytes are an AES-256 key");
        let bound = [&head[..], &[0; 8], name.as_bytes()].concat();
        Self { key: LessSafeKey::new(key), bound }
    }

    fn bound(&self, number: u64) -> Aad<Vec<u8>> {
        let mut bound = self.bound.clone();
        bound[BOUND_BYTES..BOUND_BYTES + 8].copy_from_slice(&number.to_le_bytes());
        Aad::from(bound)
    }

    /// Encrypts `file[at..]` in place and appends the tag.
    fn seal(&self, number: u64, file: &mut Vec<u8>, at: usize) {
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(number), self.bound(number), &mut file[at..])
            .expect("a chunk is far below the cipher's bound");
        file.extend_from_slice(tag.as_ref());
    }

    fn open(&self, number: u64, content: &[u8], tag: &[u8], into: &mut [u8]) -> Option<()> {
        self.key.open_separate_gather(nonce(number), self.bound(number), content, tag, into).ok()
    }
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn context(name: &str) -> Vec<u8> {
    format!("series/{name}").into_bytes()
}

fn head(content_bytes: u64) -> [u8; BOUND_BYTES] {
    let mut head = [0; BOUND_BYTES];
    head[..8].copy_from_slice(MAGIC);
    head[8] = VERSION;
    head[9] = ALGORITHM_AES_256_GCM;
    head[12..16].copy_from_slice(&(CHUNK_BYTES as u32).to_le_bytes());
    head[16..24].copy_from_slice(&content_bytes.to_le_bytes());
    head
}

#[cfg(test)]
mod tests {
    use host::SystemRandom;
    use proptest::prelude::*;

    use super::*;

    fn keys() -> KeyRing {
        KeyRing::new(&[7; 32])
    }

    fn some_bytes(count: usize) -> Vec<u8> {
        (0..count).map(|n| (n * 31 + n / 251) as u8).collect()
    }

    #[test]
    fn what_was_sealed_opens_and_its_length_is_known() {
        let chunk = CHUNK_BYTES as usize;
        for count in [0, 1, 15, chunk - 1, chunk, chunk + 1, 3 * chunk, 3 * chunk + 77] {
            let content = some_bytes(count);
            let file = seal("a", &content, &keys(), &SystemRandom);
            assert_eq!(file.len() as u64, sealed_bytes(count as u64), "{count} bytes");
            assert_eq!(unseal("a", &file, &keys()).expect("opens"), content, "{count} bytes");
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let file = seal("a", &some_bytes(70_000), &keys(), &SystemRandom);
        let ends = (0..40).chain(65_530..65_600).chain(file.len() - 130..file.len());
        for at in ends {
            for bit in [0, 7] {
                let mut damaged = file.clone();
                damaged[at] ^= 1 << bit;
                assert!(unseal("a", &damaged, &keys()).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_chunk_that_was_moved_cut_off_or_taken_from_elsewhere_does_not_open() {
        let size = SEALED_CHUNK_BYTES as usize;
        let one = seal("a", &some_bytes(3 * CHUNK_BYTES as usize), &keys(), &SystemRandom);
        let two = seal("b", &some_bytes(3 * CHUNK_BYTES as usize), &keys(), &SystemRandom);
        let mut swapped = one.clone();
        swapped[..2 * size].rotate_left(size);
        let mut foreign = one.clone();
        foreign[..size].copy_from_slice(&two[..size]);
        let cut = [&one[..2 * size], &one[3 * size..]].concat();
        let mut shortened = cut.clone();
        let at = shortened.len() - TRAILER_BYTES as usize;
        // One who can write a trailer that fits, but has no key.
        shortened[at + 16..at + 24].copy_from_slice(&(2 * CHUNK_BYTES).to_le_bytes());
        let crc = crc32c::crc32c(&shortened[at..at + 92]);
        shortened[at + 92..].copy_from_slice(&crc.to_le_bytes());
        for (what, file) in
            [("swapped", &swapped), ("foreign", &foreign), ("cut", &cut), ("shortened", &shortened)]
        {
            assert!(unseal("a", file, &keys()).is_err(), "{what}");
        }
        assert!(unseal("b", &one, &keys()).is_err(), "a file under another's name");
        assert!(unseal("a", &one, &KeyRing::new(&[8; 32])).is_err(), "another key ring");
        assert!(unseal("a", &one, &keys()).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn any_run_of_chunks_opens_alone(first in 0_u64..4, count in 1_u64..4) {
            let content = some_bytes(3 * CHUNK_BYTES as usize + 1_000);
            let file = seal("a", &content, &keys(), &SystemRandom);
            let at = file.len() - TRAILER_BYTES as usize;
            let opener = Opener::new("a", &file[at..], file.len() as u64, &keys()).expect("whole");
            let clip = |number: u64, size: u64, all: usize| ((number * size) as usize).min(all);
            let run = &file[clip(first, SEALED_CHUNK_BYTES, at)..clip(first + count, SEALED_CHUNK_BYTES, at)];
            let mut opened = Vec::new();
            opener.open_run(first, run, &mut opened).expect("opens");
            let (from, to) = (clip(first, CHUNK_BYTES, content.len()), clip(first + count, CHUNK_BYTES, content.len()));
            prop_assert_eq!(&opened[..], &content[from..to]);
        }
    }
}
