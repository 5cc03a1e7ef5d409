//! What a reader hands out: records in the order of `seq`, and what was passed over.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use model::Message;

use crate::Chain;

/// A message as the journal holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the order of the whole journal, from 1; never reused.
    pub seq: u64,
    /// The message.
    pub message: Message,
    /// Its id was used within the window by another message with another topic or payload.
    pub id_reused: bool,
}

/// What became of one message of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is durable under this `seq`.
    Appended(u64),
    /// It repeats the message with this `seq`, which is durable; it was neither stored nor is it delivered.
    Repeated(u64),
}

impl Outcome {
    /// The `seq` under which the message is in the journal.
    #[must_use]
    pub fn seq(self) -> u64 {
        match self {
            Self::Appended(seq) | Self::Repeated(seq) => seq,
        }
    }
}

/// A row of records that readers share: to clone it copies no record. Reads as a slice.
#[derive(Clone)]
pub struct Records {
    shared: Arc<Vec<Record>>,
    range: Range<usize>,
}

impl Records {
    pub(crate) fn new(shared: Arc<Vec<Record>>, range: Range<usize>) -> Self {
        debug_assert!(range.end <= shared.len());
        Self { shared, range }
    }

    /// No records.
    #[must_use]
    pub fn empty() -> Self {
        Self { shared: Arc::new(Vec::new()), range: 0..0 }
    }
}

impl From<Vec<Record>> for Records {
    fn from(records: Vec<Record>) -> Self {
        let range = 0..records.len();
        Self { shared: Arc::new(records), range }
    }
}

impl Deref for Records {
    type Target = [Record];
    fn deref(&self) -> &[Record] {
        &self.shared[self.range.clone()]
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = &'a Record;
    type IntoIter = std::slice::Iter<'a, Record>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Records that were dropped before a sink took them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cut {
    /// Their chain.
    pub chain: Chain,
    /// The first `seq`.
    pub from: u64,
    /// The last `seq`.
    pub to: u64,
}

/// Why records were passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// What the disk gave back is not what was written.
    Damaged,
    /// Their segment file is gone, and it was not retention that dropped it.
    Missing,
    /// They were dropped by retention before this reader came to them.
    Trimmed,
    /// A record of a kind that this version does not know.
    Unknown,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "what the disk gave back is not what was written",
            Self::Missing => "their segment file is gone",
            Self::Trimmed => "retention dropped them",
            Self::Unknown => "a newer version of Godwit wrote them",
        })
    }
}

/// Records that a reader could not hand out: every record of its chains with a `seq` in this range, and none that
/// is there. Seqs of a write that failed never existed; beside damage they may be in the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Skipped {
    /// The first `seq`.
    pub from: u64,
    /// The last `seq`.
    pub to: u64,
    /// Why.
    pub reason: SkipReason,
}

/// What a reader got at once.
#[derive(Debug, Clone)]
pub struct Batch {
    /// What was passed over since the last batch; lies before the first of `records`.
    pub skipped: Vec<Skipped>,
    /// The records, in the order of `seq`; empty only when something was passed over.
    pub records: Records,
}
