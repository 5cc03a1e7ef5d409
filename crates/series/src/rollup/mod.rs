//! Rollups: what readings come to by minute, five minutes and hour, kept beside them and after them.
//!
//! ```text
//! column files of a day ──┬── named in `covers`: folded ──────→ rollup files of the day ──┬─→ readings_1h
//!                         └── not named there: their hours are touched ─┐                  │
//! memory ───────────────────────────────────────────────────────────────┴→ folded when asked
//! ```
//!
//! The manifest names for each day the rollup files and the column files that they are made of (`covers`). What is not
//! among these - a file of late readings, one that a merge made of old and new, memory - *is* the mark: the hours of
//! channels that it has readings of are touched, and are folded from all raw readings until upkeep has redone them. So
//! no mark can be forgotten, and a mark costs nothing at ingest: nothing is rolled up on the way in, but in the
//! background once a day has come to rest, or half of it is new.
//!
//! A table is stored for a day where that pays: the hours when a channel has two readings or more in an hour on average,
//! five minutes from 24, minutes from 120; else its rows are folded when asked. Before raw readings are dropped the
//! hours of their day are stored in any case. Then the hours of what was dropped are *frozen*: their rows stay as they
//! are. A later reading for a frozen hour is counted (`late_to_frozen`) and reported; it is among the readings, and in
//! no rollup. With other rules for channels (`[[channel]]`: kind, hold, rollover, conflicts) all but what is frozen is
//! redone.
//!
//! Not here: SQL (`query::rollups`). The law: a rollup table answers what a fold of all raw readings would, whatever
//! came in which order, was merged, or was lost in a crash; of frozen hours, what it would have answered before.

mod bucket;
mod buckets;
mod columns;
mod files;
mod redo;
mod rows;
mod sum;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use bucket::{Bucket, Counted, HOUR, Resolution, Rules};
pub(crate) use buckets::{Buckets, is_frozen};
pub(crate) use columns::{RollupAdapterFactory, encode};
pub(crate) use files::{LiveRollup, RollupDay, RollupFile};
pub(crate) use redo::{Redone, redo, to_redo};
pub(crate) use rows::{CHANNEL, DEVICE, FROZEN, RollupRows, TIME, key_at, rollup_schema, times};
pub(crate) use sum::ExactSum;

/// What tells which hours are frozen: device, channel, time, whether it is.
pub(crate) const FROZEN_KEYS: [usize; 4] = [DEVICE, CHANNEL, TIME, FROZEN];

/// Rollups of days, by day.
pub(crate) type Rollups = Arc<BTreeMap<i64, Arc<LiveRollup>>>;
