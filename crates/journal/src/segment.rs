//! One segment file as everybody but the writer sees it: what it holds, how far it counts, where to look in it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::SkipReason;
use crate::chain::Chain;
use crate::frame::FrameKey;
use crate::header::{HEADER_BYTES, Header};

/// Bytes between two entries of a segment's index: what a seek reads at most to find its frame.
const INDEX_BYTES: u64 = 64 * 1024;

/// A segment file.
pub(crate) struct Segment {
    pub(crate) chain: Chain,
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    /// No record here has a lower `seq`.
    pub(crate) first_seq: u64,
    /// The last `seq` of the chain before it.
    pub(crate) chain_last: u64,
    pub(crate) created_at: i64,
    /// The data key, or why nothing can be had of the segment: its header is damaged, or the file is gone.
    pub(crate) key: Result<FrameKey, SkipReason>,
    /// Where the frames end that count.
    data_end: AtomicU64,
    /// Length of the file.
    bytes: AtomicU64,
    /// The last `seq` of the chain up to the end of this segment.
    last_seq: AtomicU64,
    /// The largest `received_at` in it; i64::MIN: none.
    time_max: AtomicI64,
    index: Mutex<Vec<Mark>>,
}

/// A place in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Where a frame begins.
    pub(crate) offset: u64,
    /// Its first `seq`.
    pub(crate) seq: u64,
    /// The largest `received_at` in the segment before it.
    pub(crate) time_before: i64,
}

impl Segment {
    pub(crate) fn new(
        path: PathBuf,
        header: &Header,
        key: Result<FrameKey, SkipReason>,
        extent: Extent,
    ) -> Self {
        Self {
            chain: header.chain,
            number: header.number,
            path,
            first_seq: header.first_seq,
            chain_last: header.chain_last,
            created_at: header.created_at,
            key,
            data_end: AtomicU64::new(extent.data_end),
            bytes: AtomicU64::new(extent.bytes),
            last_seq: AtomicU64::new(extent.last_seq),
            time_max: AtomicI64::new(extent.time_max),
            index: Mutex::new(vec![Mark {
                offset: HEADER_BYTES as u64,
                seq: header.first_seq,
                time_before: i64::MIN,
            }]),
        }
    }

    /// A segment of which nothing can be had, for this reason: what its header would say, as far as that is known.
    pub(crate) fn lost(
        path: PathBuf,
        chain: Chain,
        number: u64,
        chain_last: u64,
        extent: Extent,
        reason: SkipReason,
    ) -> Self {
        let header = Header {
            chain,
            boot: 0,
            journal: [0; 16],
            number,
            first_seq: chain_last + 1,
            chain_last,
            time_before: i64::MIN,
            created_at: 0,
            run_first: 0,
            run_before: 0,
        };
        Self::new(path, &header, Err(reason), extent)
    }

    /// How far it counts. The last `seq` is read first: every frame up to it lies before the end that is read
    /// after it.
    pub(crate) fn extent(&self) -> Extent {
        let last_seq = self.last_seq.load(Ordering::Acquire);
        Extent {
            last_seq,
            data_end: self.data_end.load(Ordering::Acquire),
            bytes: self.bytes.load(Ordering::Relaxed),
            time_max: self.time_max.load(Ordering::Relaxed),
        }
    }

    /// How far it counts, last `seq` and end of one and the same moment: no frame behind that `seq` lies before the end.
    pub(crate) fn extent_at_once(&self) -> Extent {
        let _growing = self.index.lock();
        self.extent()
    }

    /// Lets everybody see frames that are durable. Only the writer calls it.
    pub(crate) fn grow(&self, extent: Extent) {
        let _whole = self.index.lock();
        self.time_max.fetch_max(extent.time_max, Ordering::Relaxed);
        self.bytes.store(extent.bytes, Ordering::Relaxed);
        self.data_end.store(extent.data_end, Ordering::Release);
        self.last_seq.store(extent.last_seq, Ordering::Release);
    }

    /// Remembers a place, when it is far enough behind the last one.
    pub(crate) fn mark(&self, mark: Mark) {
        let mut index = self.index.lock();
        if index.last().is_none_or(|last| mark.offset >= last.offset + INDEX_BYTES) {
            index.push(mark);
        }
    }

    /// The last place known of which this holds; the start of the frames if of none.
    pub(crate) fn last_mark(&self, holds: impl Fn(&Mark) -> bool) -> Mark {
        let index = self.index.lock();
        let after = index.partition_point(holds);
        index[after.saturating_sub(1)]
    }
}

/// How far a segment counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) last_seq: u64,
    pub(crate) data_end: u64,
    pub(crate) bytes: u64,
    pub(crate) time_max: i64,
}

/// The path of a segment: `regular-00000000000000000007.segment`.
pub(crate) fn path(dir: &Path, chain: Chain, number: u64) -> PathBuf {
    dir.join(chain.segment_name(number))
}

/// The chain and number that a file name says, if it is a segment's.
pub(crate) fn parse_name(name: &str) -> Option<(Chain, u64)> {
    let (chain, number) = name.strip_suffix(".segment")?.split_once('-')?;
    let chain = Chain::ALL.into_iter().find(|known| known.name() == chain)?;
    let digits = number.len() == 20 && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| number.parse().ok().map(|number| (chain, number)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_chain_and_number() {
        let name = path(Path::new(""), Chain::Urgent, 42);
        assert_eq!(parse_name(name.to_str().expect("text")), Some((Chain::Urgent, 42)));
        for other in [
            "urgent-1.segment",
            "urgent-0000000000000000004x.segment",
            "checkpoint",
            "bulk-00000000000000000001.segment",
        ] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
