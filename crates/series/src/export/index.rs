//! `_latest.json`: which files of a lake are whole, and how far they go. The position of a schedule stands with its
//! effect: in the lake itself, replaced after each day.
//!
//! ```text
//! {"format": 1, "partitions": {"2015-02-04": {"files": [{"name": "date=2015-02-04/readings.parquet", "rows": 8143,
//!   "bytes": 51200}], "seq_from": 1, "seq_to": 8143, "finished": true}}}
//! ```
//!
//! Not here: the files. The law: a file is named here only when it is whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lake::{Lake, LakeError};

/// Its name.
pub(super) const NAME: &str = "_latest.json";
/// The version this program writes.
const FORMAT: u32 = 1;

/// What is in a lake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    format: u32,
    pub(super) partitions: BTreeMap<String, Partition>,
}

/// The files of one day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Partition {
    pub(super) files: Vec<Written>,
    /// Generations of our own column files that are in it.
    pub(super) seq_from: u64,
    pub(super) seq_to: u64,
    /// Whether the day was over when it was written.
    pub(super) finished: bool,
}

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) name: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Index {
    /// The one of the lake; an empty one when there is none.
    pub(super) async fn read(lake: &Lake) -> Result<Self, LakeError> {
        let empty = Self { format: FORMAT, partitions: BTreeMap::new() };
        let Some(bytes) = lake.read(NAME).await? else { return Ok(empty) };
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(index) if index.format == FORMAT => Ok(index),
            // Every day is written again: that is right, if not quick.
            _ => {
                tracing::warn!(file = NAME, "cannot be understood: every day is exported anew");
                Ok(empty)
            }
        }
    }

    /// Puts it into the lake.
    pub(super) async fn write(&self, lake: &Lake) -> Result<(), LakeError> {
        let mut file = lake.begin(NAME);
        let text = serde_json::to_vec_pretty(self).expect("texts and numbers become JSON");
        file.write(&text).await?;
        file.finish().await.map(|_| ())
    }
}
