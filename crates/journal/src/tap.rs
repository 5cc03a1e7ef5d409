//! The tail of the journal in memory: what readers get that keep up.
//!
//! Holds rows of records as the writer made them; readers share them. Bounded in bytes: the oldest rows go first,
//! and who had not read them goes to the disk.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::chain::{Chain, Chains};
use crate::{Record, Records};

/// The tail.
pub(crate) struct Tap {
    rows: VecDeque<Row>,
    bytes: usize,
    bytes_max: usize,
    /// Every record with a higher `seq` is in here.
    floor: u64,
}

struct Row {
    chain: Chain,
    last: u64,
    bytes: usize,
    records: Arc<Vec<Record>>,
}

impl Tap {
    /// A tail of nothing, after `floor`.
    pub(crate) fn new(floor: u64, bytes_max: usize) -> Self {
        Self { rows: VecDeque::new(), bytes: 0, bytes_max, floor }
    }

    /// Every record with a higher `seq` is here.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Adds records that became durable, which took `bytes` on the disk; their seqs follow those that are here. Rows
    /// that had to make room are given back, to be dropped outside of the lock.
    pub(crate) fn push(
        &mut self,
        chain: Chain,
        bytes: usize,
        records: Arc<Vec<Record>>,
    ) -> Vec<Arc<Vec<Record>>> {
        let Some(last) = records.last().map(|record| record.seq) else { return Vec::new() };
        // What the texts and payloads take, and what stands around them in memory.
        let bytes = bytes + records.len() * size_of::<Record>();
        self.rows.push_back(Row { chain, last, bytes, records });
        self.bytes += bytes;
        let mut gone = Vec::new();
        // The newest row stays, however large: a reader that waits for it must not have to go to the disk.
        while self.bytes > self.bytes_max && self.rows.len() > 1 {
            let row = self.rows.pop_front().expect("more than one");
            self.bytes -= row.bytes;
            self.floor = row.last;
            gone.push(row.records);
        }
        gone
    }

    /// The first row from `from` on that `chains` wants. `from` must be above the floor.
    pub(crate) fn get(&self, from: u64, chains: Chains) -> Option<Records> {
        debug_assert!(from > self.floor);
        let at = self.rows.partition_point(|row| row.last < from);
        let row = self.rows.range(at..).find(|row| chains.has(row.chain))?;
        let skip = row.records.partition_point(|record| record.seq < from);
        Some(Records::new(Arc::clone(&row.records), skip..row.records.len()))
    }

    /// When the first record from `from` on was received, if it is here.
    pub(crate) fn time_of(&self, from: u64) -> Option<i64> {
        if from <= self.floor {
            return None;
        }
        self.get(from, Chains::Both)?.first().map(|record| record.message.received_at.micros())
    }
}
