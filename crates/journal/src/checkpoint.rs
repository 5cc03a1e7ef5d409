//! The file `checkpoint`: how the journal was closed, and the message-id window at some moment.
//!
//! ```text
//! 0    8   magic "GODWITC\0"
//! 8    2   version: 1
//! 10   1   1: closed in good order, nothing was written after it
//! 11   5   0
//! 16   16  journal id
//! 32   8   next seq: no seq from here on had been given out
//! 40   8   ids up to this seq are in the window below
//! 48   64  per chain, urgent first: number of the newest segment (0: none), where its frames end, last seq,
//!          largest `received_at` in that segment (i64::MIN: none)
//! 112  68  data key, wrapped; its context is bytes 0..112
//! 180  n   window, AES-256-GCM, nonce 0, then the tag; associated data are bytes 0..180
//! ```
//!
//! The window: per id, oldest first: length of the owner's name (u16), name, digest of the id (u64), digest of
//! topic and payload (16 bytes), seq (u64), received at (i64). It is replaced as a whole; without it nothing is
//! lost: the segments are read instead, and seqs are left out as after an unclean end.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytestring::ByteString;
use host::{DataKey, WRAPPED_KEY_BYTES, WrappedKey};

use crate::Settings;
use crate::ids::{Ids, Seen};
use crate::segment::{Extent, Segment};

/// Its name in the journal's directory.
pub(crate) const NAME: &str = "checkpoint";
/// The version that this program writes, and the newest that it reads.
pub(crate) const VERSION: u16 = 1;
/// Largest file that is read: many times the default window.
pub(crate) const BYTES_MAX: u64 = 1024 * 1024 * 1024;
const MAGIC: &[u8; 8] = b"GODWITC\0";
const KEY_AT: usize = 112;
const BODY_AT: usize = KEY_AT + WRAPPED_KEY_BYTES;

/// What it says, the window aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) clean: bool,
    pub(crate) journal: [u8; 16],
    pub(crate) next_seq: u64,
    pub(crate) ids_to: u64,
    pub(crate) chains: [ChainEnd; 2],
}

/// Where a chain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChainEnd {
    pub(crate) number: u64,
    pub(crate) data_end: u64,
    pub(crate) last_seq: u64,
    pub(crate) time_max: i64,
}

impl ChainEnd {
    /// Where a chain ends whose newest segment is this one.
    pub(crate) fn of(newest: Option<&Arc<Segment>>) -> Self {
        match newest {
            Some(segment) => {
                let extent = segment.extent();
                let Extent { data_end, last_seq, time_max, .. } = extent;
                Self { number: segment.number, data_end, last_seq, time_max }
            }
            None => Self { number: 0, data_end: 0, last_seq: 0, time_max: i64::MIN },
        }
    }
}

/// Why a file is no checkpoint.
#[derive(Debug)]
pub(crate) enum Fault {
    Newer(u16),
    Key(host::KeyError),
    Damaged,
}

impl Checkpoint {
    fn head(&self) -> [u8; KEY_AT] {
        let mut bytes = [0; KEY_AT];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10] = u8::from(self.clean);
        bytes[16..32].copy_from_slice(&self.journal);
        let [urgent, regular] = self.chains;
        let numbers = [
            self.next_seq,
            self.ids_to,
            urgent.number,
            urgent.data_end,
            urgent.last_seq,
            urgent.time_max.cast_unsigned(),
            regular.number,
            regular.data_end,
            regular.last_seq,
            regular.time_max.cast_unsigned(),
        ];
        for (at, number) in (32..).step_by(8).zip(numbers) {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// The file's bytes with this window.
    pub(crate) fn to_bytes(self, ids: &Ids, host: &host::Host) -> Vec<u8> {
        let head = self.head();
        let (key, wrapped) = host.keys.new_data_key(&head, &*host.random);
        let mut bytes = Vec::with_capacity(BODY_AT + ids.len() * 64);
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&wrapped);
        for (owner, seen) in ids.entries() {
            // A client id is an MQTT string: its length fits.
            bytes.extend_from_slice(&u16::try_from(owner.len()).unwrap_or(u16::MAX).to_le_bytes());
            bytes.extend_from_slice(&owner.as_bytes()[..owner.len().min(usize::from(u16::MAX))]);
            bytes.extend_from_slice(&seen.id.to_le_bytes());
            bytes.extend_from_slice(&seen.content);
            bytes.extend_from_slice(&seen.seq.to_le_bytes());
            bytes.extend_from_slice(&seen.time.to_le_bytes());
        }
        let (head, body) = bytes.split_at_mut(BODY_AT);
        let tag = cipher(&key)
            .seal_in_place_separate_tag(nonce(), Aad::from(&*head), body)
            .expect("a window is far below the cipher's bound");
        bytes.extend_from_slice(tag.as_ref());
        bytes
    }

    /// Reads the file's bytes.
    pub(crate) fn parse(
        bytes: &[u8],
        settings: &Settings,
        keys: &host::KeyRing,
    ) -> Result<(Self, Ids), Fault> {
        if bytes.len() < 10 || &bytes[..8] != MAGIC {
            return Err(Fault::Damaged);
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version > VERSION {
            return Err(Fault::Newer(version));
        }
        if version != VERSION || bytes.len() < BODY_AT {
            return Err(Fault::Damaged);
        }
        let wrapped: WrappedKey = bytes[KEY_AT..BODY_AT].try_into().expect("a wrapped key");
        let key = match keys.unwrap(&wrapped, &bytes[..KEY_AT]) {
            Ok(key) => key,
            Err(host::KeyError::Damaged) => return Err(Fault::Damaged),
            Err(error) => return Err(Fault::Key(error)),
        };
        let mut body = bytes[BODY_AT..].to_vec();
        let window = cipher(&key)
            .open_in_place(nonce(), Aad::from(&bytes[..BODY_AT]), &mut body)
            .map_err(|_| Fault::Damaged)?;
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let end = |at| ChainEnd {
            number: number(at),
            data_end: number(at + 8),
            last_seq: number(at + 16),
            time_max: number(at + 24).cast_signed(),
        };
        let checkpoint = Self {
            clean: bytes[10] == 1,
            journal: bytes[16..32].try_into().expect("sixteen bytes"),
            next_seq: number(32),
            ids_to: number(40),
            chains: [end(48), end(80)],
        };
        Ok((checkpoint, window_of(window, settings).ok_or(Fault::Damaged)?))
    }
}

fn window_of(mut rest: &[u8], settings: &Settings) -> Option<Ids> {
    fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
        let (taken, left) = rest.split_at_checked(bytes)?;
        *rest = left;
        Some(taken)
    }
    let mut ids = Ids::new(settings);
    while !rest.is_empty() {
        let name_bytes = u16::from_le_bytes(take(&mut rest, 2)?.try_into().ok()?);
        let owner = ByteString::from(str::from_utf8(take(&mut rest, usize::from(name_bytes))?).ok()?);
        let id = u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
        let content = take(&mut rest, 16)?.try_into().ok()?;
        let seq = u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
        let time = i64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
        ids.insert(owner, Seen { id, content, seq, time });
    }
    Some(ids)
}

fn cipher(key: &DataKey) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &**key).expect("32 bytes are an AES-256 key"))
}

/// Each checkpoint has a key of its own, which encrypts once.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}
