//! The journal as other rooms see it.

use crate::*;
use model::{Message, Timestamp};
use std::path::Path;
use std::time::Duration;

/// How a consumer holds retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// A built-in consumer: what it has not read is never dropped.
    Builtin,
    /// A sink: what it has not read is kept at most this long after its age or the size bound would drop it; then cut, and the cut reported.
    Sink(Duration),
}
/// Records that were dropped before a sink read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Their chain.
    pub chain: Chain,
    /// The first `seq`.
    pub from: u64,
    /// The last `seq`.
    pub to: u64,
}
/// A tail that a crash left half written: never acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// Its chain.
    pub chain: Chain,
    /// Its segment.
    pub segment: u64,
    /// Where the tail begins in the file.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
}
/// What was found on opening.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// Whether the journal was closed in good order (or is new).
    pub clean: bool,
    /// Records that are durable: the last `seq`.
    pub last_seq: u64,
    /// Segment files found.
    pub segments: usize,
    /// Half-written tails: nothing in them was acknowledged.
    pub torn: Vec<Torn>,
    /// Acknowledged records that are lost.
    pub damage: Vec<Damage>,
}
/// The journal. Cheap to clone.
#[derive(Clone)]
pub struct Journal {}
/// Reads records in the order of `seq`.
pub struct Reader {}
/// A named reader's place, as far as retention and lag need it. Dropped: no longer holds.
pub struct Consumer {}
#[allow(missing_docs, unused_variables, clippy::unused_async)]
impl Journal {
    pub fn open(dir: &Path, settings: &Settings, host: &host::Host) -> Result<(Self, Recovery), OpenError> {
        unimplemented!()
    }
    pub async fn append(&self, batch: Vec<Message>) -> Result<Vec<Outcome>, AppendError> {
        unimplemented!()
    }
    pub fn submit<F>(&self, batch: Vec<Message>, done: F) -> Result<(), Busy<F>>
    where
        F: FnOnce(Result<Vec<Outcome>, AppendError>) + Send + 'static,
    {
        unimplemented!()
    }
    pub async fn room(&self) {
        unimplemented!()
    }
    pub fn reader(&self, from: u64, chains: Chains) -> Reader {
        unimplemented!()
    }
    pub fn consumer(&self, name: &str, hold: Hold) -> Consumer {
        unimplemented!()
    }
    pub fn durable_seq(&self) -> u64 {
        unimplemented!()
    }
    pub fn first_seq(&self) -> u64 {
        unimplemented!()
    }
    pub fn seq_at(&self, time: Timestamp) -> u64 {
        unimplemented!()
    }
    pub fn status(&self) -> Status {
        unimplemented!()
    }
    pub async fn trim(&self) {
        unimplemented!()
    }
    pub async fn close(&self) {
        unimplemented!()
    }
}
#[allow(missing_docs, unused_variables, clippy::unused_async)]
impl Reader {
    pub async fn next(&mut self) -> Result<Batch, ReadError> {
        unimplemented!()
    }
    pub fn try_next(&mut self) -> Result<Option<Batch>, ReadError> {
        unimplemented!()
    }
    pub fn position(&self) -> u64 {
        unimplemented!()
    }
}
#[allow(missing_docs, unused_variables)]
impl Consumer {
    pub fn report(&self, position: u64) {
        unimplemented!()
    }
    pub fn cuts(&self) -> Vec<Cut> {
        unimplemented!()
    }
}
