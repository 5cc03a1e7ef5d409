//! Frames in the making: records are encoded where they will be written, with room left for headers and tags.
//!
//! Doors encode into it as they submit; the writer puts in numbers, encrypts in place and hands the whole to the
//! disk in one call. No record is copied on the way, save the one that opens a new frame.

use crate::frame::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameHeader, FrameKey, TAG_BYTES};

/// What a used buffer may keep of its memory: what a busy group commit needs.
const KEEP_BYTES: usize = 1024 * 1024;

/// The frames of one group commit on one chain.
#[derive(Default)]
pub(crate) struct Assembly {
    bytes: Vec<u8>,
    frames: Vec<Span>,
}

/// A frame: where it begins, and what its header will say.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    count: u32,
    time_max: i64,
}

impl Assembly {
    /// Adds a record that `encode` appends, received at `time`.
    pub(crate) fn push(&mut self, time: i64, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.frames.is_empty() {
            self.open_frame(time);
        }
        let record_at = self.bytes.len();
        encode(&mut self.bytes);
        let frame = self.frames.last_mut().expect("just opened");
        if frame.count > 0 && self.bytes.len() - frame.start + TAG_BYTES > FRAME_BYTES_MAX {
            // It does not fit with the others: it moves behind a tag and a header.
            let record = record_at..self.bytes.len();
            let moved_by = TAG_BYTES + FRAME_HEADER_BYTES;
            self.bytes.resize(record.end + moved_by, 0);
            self.bytes.copy_within(record.clone(), record.start + moved_by);
            self.frames.push(Span { start: record.start + TAG_BYTES, count: 0, time_max: time });
        }
        let frame = self.frames.last_mut().expect("just opened");
        frame.count += 1;
        frame.time_max = frame.time_max.max(time);
    }

    fn open_frame(&mut self, time: i64) {
        self.frames.push(Span { start: self.bytes.len(), count: 0, time_max: time });
        self.bytes.resize(self.bytes.len() + FRAME_HEADER_BYTES, 0);
    }

    /// What it takes on the disk.
    pub(crate) fn bytes(&self) -> usize {
        if self.frames.is_empty() { 0 } else { self.bytes.len() + TAG_BYTES }
    }

    /// Number of frames.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.len() as u64
    }

    /// The largest time of a record.
    pub(crate) fn time_max(&self) -> i64 {
        self.frames.iter().map(|frame| frame.time_max).max().unwrap_or(i64::MIN)
    }

    /// Numbers the frames from `number` and the records from `first_seq`, encrypts, and gives the bytes to be
    /// written at `offset` of the segment.
    pub(crate) fn seal(&mut self, key: &FrameKey, number: u64, first_seq: u64, offset: u64) -> &[u8] {
        self.bytes.resize(self.bytes.len() + TAG_BYTES, 0);
        let mut seq = first_seq;
        for (at, span) in self.frames.iter().enumerate() {
            let end = self.frames.get(at + 1).map_or(self.bytes.len(), |next| next.start);
            let content_bytes = end - span.start - FRAME_HEADER_BYTES - TAG_BYTES;
            let header = FrameHeader {
                content_bytes: u32::try_from(content_bytes).expect("a frame is bounded"),
                count: span.count,
                number: number + at as u64,
                first_seq: seq,
                commit: offset,
                time_max: span.time_max,
            };
            key.seal(&header, &mut self.bytes[span.start..end]);
            seq += u64::from(span.count);
        }
        &self.bytes
    }

    /// Makes it empty for the next group; gives memory back that only a burst needed.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEEP_BYTES);
        self.frames.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::DataKey;

    #[test]
    fn frames_hold_what_was_pushed_and_only_a_lone_record_exceeds_the_bound() {
        let sizes = [10, 30_000, 30_000, 5_000, 200_000, 1, 65_000, 65_000, 7];
        let mut assembly = Assembly::default();
        for (at, &bytes) in sizes.iter().enumerate() {
            assembly.push(at as i64, |out| out.resize(out.len() + bytes, at as u8));
        }
        let expected_bytes = assembly.bytes();
        let key = FrameKey::new(&DataKey::new([1; 32]));
        let bytes = assembly.seal(&key, 4, 100, 160);
        assert_eq!(bytes.len(), expected_bytes);
        let (mut at, mut seq, mut number, mut content) = (0, 100, 4, Vec::new());
        while at < bytes.len() {
            let header = FrameHeader::parse(&bytes[at..]).expect("a frame");
            assert_eq!((header.first_seq, header.number, header.commit), (seq, number, 160));
            assert!(header.frame_bytes() <= FRAME_BYTES_MAX || header.count == 1);
            content.extend(key.open(&header, &bytes[at..]).expect("opens"));
            seq += u64::from(header.count);
            number += 1;
            at += header.frame_bytes();
        }
        assert_eq!(seq, 100 + sizes.len() as u64);
        let pushed: Vec<u8> =
            sizes.iter().enumerate().flat_map(|(at, &bytes)| std::iter::repeat_n(at as u8, bytes)).collect();
        assert_eq!(content, pushed);
        assert_eq!(assembly.time_max(), 8);
    }
}
