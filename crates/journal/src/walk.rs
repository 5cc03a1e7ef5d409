//! From frame to frame through a segment file, over whatever is damaged.
//!
//! After bytes that are no frame the walk goes on at the next whole header, however far that is: bounded by the
//! file, which is bounded by `segment_bytes`. Bodies are neither read nor decrypted unless asked for.

use std::io;
use std::sync::Arc;

use host::File;

use crate::frame::{FRAME_HEADER_BYTES, FrameHeader};

/// Bytes read at once: one frame of the usual largest size.
const READ_BYTES: usize = 64 * 1024;

/// A frame's header where it was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) offset: u64,
    pub(crate) header: FrameHeader,
    /// Where bytes begin that are no frame and lie before this one.
    pub(crate) bad_from: Option<u64>,
    /// The file ends before the frame does.
    pub(crate) cut: bool,
}

/// Walks through one file.
pub(crate) struct Walk {
    file: Arc<dyn File>,
    at: u64,
    /// Where to stop: bytes from here on do not count.
    end: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl Walk {
    /// A walk from `at`, where a frame begins, to `end`.
    pub(crate) fn new(file: Arc<dyn File>, at: u64, end: u64) -> Self {
        Self { file, at, end, buffer: Vec::new(), buffer_at: 0 }
    }

    /// Lets the walk go on to a later end.
    pub(crate) fn extend(&mut self, end: u64) {
        if end > self.end {
            self.end = end;
            // What was beyond the old end may have changed since it was read.
            self.buffer.clear();
        }
    }

    /// Goes back to `offset`, where a frame begins.
    pub(crate) fn back_to(&mut self, offset: u64) {
        self.at = offset;
    }

    /// Where the walk stands.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The next frame; `None` at the end. Bytes at the end that are no frame are told by [`Walk::at`]: it is then
    /// where they begin.
    pub(crate) fn next(&mut self) -> io::Result<Option<Step>> {
        let begin = self.at;
        let mut at = begin;
        loop {
            let left = self.end.saturating_sub(at);
            if left < FRAME_HEADER_BYTES as u64 {
                return Ok(None);
            }
            let bytes = self.bytes(at, FRAME_HEADER_BYTES)?;
            if bytes.len() < FRAME_HEADER_BYTES {
                return Ok(None);
            }
            if let Some(header) = FrameHeader::parse(bytes) {
                let cut = (header.frame_bytes() as u64) > left;
                // Behind a header whose frame is cut, only the header is passed: whole frames may follow.
                self.at = at + if cut { FRAME_HEADER_BYTES } else { header.frame_bytes() } as u64;
                let bad_from = (at > begin).then_some(begin);
                return Ok(Some(Step { offset: at, header, bad_from, cut }));
            }
            at += match FrameHeader::find(bytes, 1) {
                Some(ahead) => ahead as u64,
                // The magic may begin in the last three bytes.
                None => (bytes.len() - 3) as u64,
            };
        }
    }

    /// How many bytes from `offset` on are not the zeros at the end of the file.
    pub(crate) fn written_behind(&mut self, offset: u64) -> io::Result<u64> {
        let (mut at, mut last) = (offset, offset);
        loop {
            let bytes = self.bytes(at, READ_BYTES)?;
            if bytes.is_empty() {
                return Ok(last - offset);
            }
            if let Some(place) = bytes.iter().rposition(|&byte| byte != 0) {
                last = at + place as u64 + 1;
            }
            at += bytes.len() as u64;
        }
    }

    /// The bytes of a whole frame; fewer when the file is shorter than thought.
    pub(crate) fn frame(&mut self, step: &Step) -> io::Result<&[u8]> {
        let bytes = step.header.frame_bytes();
        let got = self.bytes(step.offset, bytes)?;
        Ok(&got[..got.len().min(bytes)])
    }

    /// At least `wanted` bytes from `offset`, if the file has them, and what else is at hand, within the end.
    fn bytes(&mut self, offset: u64, wanted: usize) -> io::Result<&[u8]> {
        let have = self.buffer_at..self.buffer_at + self.buffer.len() as u64;
        let left = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let needed = wanted.min(left);
        if offset < have.start || offset + needed as u64 > have.end {
            let bytes = wanted.max(READ_BYTES).min(left);
            self.buffer.resize(bytes, 0);
            let got = self.file.read_at(offset, &mut self.buffer);
            self.buffer.truncate(got.as_ref().map_or(0, |&got| got));
            self.buffer_at = offset;
            got?;
        }
        // Within the buffer by the lines above.
        let from = (offset - self.buffer_at) as usize;
        Ok(&self.buffer[from.min(self.buffer.len())..])
    }
}
