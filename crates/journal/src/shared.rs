//! What the writer, the readers and the doors share. Each lock is held for a few lines and never with another.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::chain::{Chain, Chains};
use crate::queue::Queue;
use crate::retention::Places;
use crate::segment::Segment;
use crate::status::DAMAGE_ENTRIES_MAX;
use crate::tap::Tap;
use crate::{Damage, Settings, SkipReason, SyncLatency};

/// The shared parts.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) bytes_max: u64,
    pub(crate) dir: PathBuf,
    pub(crate) host: host::Host,
    pub(crate) queue: Queue,
    pub(crate) tap: Mutex<Tap>,
    /// The segments of each chain, oldest first.
    pub(crate) segments: Mutex<[Vec<Arc<Segment>>; 2]>,
    /// Seqs that never existed, as (first, last), lowest first.
    pub(crate) holes: Mutex<Vec<(u64, u64)>>,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) places: Places,
    pub(crate) health: Mutex<Health>,
}

/// How far the journal has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Every record up to this `seq` is durable.
    pub(crate) durable: u64,
    /// No more will come.
    pub(crate) closed: bool,
}

/// How the journal is.
#[derive(Default)]
pub(crate) struct Health {
    pub(crate) poisoned: Option<Arc<str>>,
    pub(crate) full: bool,
    pub(crate) damage: Vec<Damage>,
    pub(crate) sync: SyncLatency,
    pub(crate) ids: usize,
}

impl Shared {
    /// Every record up to this `seq` is durable.
    pub(crate) fn durable(&self) -> u64 {
        self.progress.borrow().durable
    }

    /// The segment of a chain that holds what follows `given`, and whether it is the chain's oldest.
    pub(crate) fn segment_after(&self, chain: Chain, given: u64) -> Option<(Arc<Segment>, bool)> {
        let segments = self.segments.lock();
        let row = &segments[chain.index()];
        let at = row.partition_point(|segment| segment.extent().last_seq <= given);
        row.get(at).map(|segment| (Arc::clone(segment), at == 0))
    }

    /// Whether retention has not dropped it.
    pub(crate) fn has_segment(&self, segment: &Arc<Segment>) -> bool {
        self.segments.lock()[segment.chain.index()].iter().any(|known| Arc::ptr_eq(known, segment))
    }

    /// Bytes of all segment files.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.lock().iter().flatten().map(|segment| segment.extent().bytes).sum()
    }

    /// The lowest `seq` that may still be there.
    pub(crate) fn first_seq(&self) -> u64 {
        let first = {
            let segments = self.segments.lock();
            segments.iter().filter_map(|row| row.first()).map(|segment| segment.first_seq).min()
        };
        first.unwrap_or_else(|| self.durable() + 1)
    }

    /// Remembers records that are lost, once.
    pub(crate) fn note_damage(&self, chain: Chain, segment: u64, from: u64, to: u64, reason: SkipReason) {
        let damage = Damage { chain, segment, from, to, reason };
        let mut health = self.health.lock();
        let known = health.damage.iter().any(|known| {
            (known.chain, known.segment) == (chain, segment) && known.from <= from && to <= known.to
        });
        if known {
            return;
        }
        if health.damage.len() >= DAMAGE_ENTRIES_MAX {
            health.damage.remove(0);
        }
        health.damage.push(damage);
        drop(health);
        tracing::error!(chain = chain.name(), segment, from, to, ?reason, "journal records lost");
    }

    /// How many seqs from `from` to `to` exist or existed.
    pub(crate) fn seqs_between(&self, from: u64, to: u64) -> u64 {
        if to < from {
            return 0;
        }
        let holes = self.holes.lock();
        let missing: u64 =
            holes.iter().map(|&(first, last)| (last.min(to) + 1).saturating_sub(first.max(from))).sum();
        (to - from + 1).saturating_sub(missing)
    }

    /// The first `seq` from `seq` on that exists or existed, or may one day.
    pub(crate) fn past_holes(&self, seq: u64) -> u64 {
        let holes = self.holes.lock();
        holes
            .iter()
            .fold(seq, |seq, &(first, last)| if (first..=last).contains(&seq) { last + 1 } else { seq })
    }

    /// When the first record from `from` on was received, to the precision of the segments' index.
    pub(crate) fn time_of(&self, from: u64) -> Option<i64> {
        if let Some(time) = self.tap.lock().time_of(from) {
            return Some(time);
        }
        let segments = self.segments.lock();
        segments
            .iter()
            .filter_map(|row| {
                let at = row.partition_point(|segment| segment.extent().last_seq < from);
                row.get(at).map(|segment| segment.created_at)
            })
            .min()
    }

    /// The records from `from` on that memory holds; `Err` when the disk must be asked.
    pub(crate) fn in_memory(&self, from: u64, chains: Chains) -> Result<Option<crate::Records>, u64> {
        let tap = self.tap.lock();
        if from > tap.floor() { Ok(tap.get(from, chains)) } else { Err(tap.floor()) }
    }
}
