//! Readings on their way out: as files that anything reads, in the order of device, channel and time.
//!
//! [`Series::export`] streams one file of what is selected; [`Lake`] puts files into a folder or a bucket; the schedule
//! keeps such a folder up to date. Not here: how column files of our own look (`column`). The laws: what is exported is
//! what SQL would answer, each reading once with its newest value; a file appears whole or not at all; memory is bounded
//! by a batch and a row group.

mod day;
mod encoder;
mod index;
mod lake;
mod schedule;
mod settings;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use bytes::Bytes;
use model::Timestamp;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

pub use day::Day;
pub use lake::{Access, Lake, LakeError, LakeFile};
pub use schedule::ExportStatus;
pub use settings::ExportSettings;

use crate::error::QueryError;
use crate::query::{Part, parts};
use crate::schema;
use crate::service::{Inner, Series};
use crate::table::Wanted;
use encoder::Encoder;

/// Exports that run at once: each holds a row group in memory and a thread.
pub(crate) const AT_ONCE_MAX: usize = 2;

/// Pieces between the encoder and whoever takes them.
const PIECES_AHEAD: usize = 4;

/// How exported files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// Parquet with ordinary types and encodings, zstd.
    #[default]
    Parquet,
    /// A header line, RFC 3339 times: as queries write it.
    Csv,
    /// A JSON object a line.
    Jsonl,
}

impl FileFormat {
    /// What such files' names end with.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// Which readings are exported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Not before this time.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
    /// Of these devices; of all when there is none.
    pub devices: Vec<String>,
    /// Of these channels; of all when there is none.
    pub channels: Vec<String>,
}

impl Selection {
    pub(crate) fn wanted(&self) -> Wanted {
        let names =
            |names: &[String]| (!names.is_empty()).then(|| names.iter().cloned().collect::<BTreeSet<_>>());
        Wanted {
            devices: names(&self.devices),
            channels: names(&self.channels),
            from: self.from.map(Timestamp::micros),
            to: self.to.map(|to| to.micros().saturating_sub(1)),
        }
    }
}

/// A file on its way. Dropped, it is no longer made.
#[derive(Debug)]
pub struct Export {
    pieces: mpsc::Receiver<Result<(Bytes, u64), QueryError>>,
    rows: u64,
}

impl Export {
    /// The next bytes of the file; `None` after the last.
    ///
    /// # Errors
    /// [`QueryError`] when it breaks off: what came before is no whole file then.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, QueryError> {
        match self.pieces.recv().await {
            Some(Ok((bytes, rows))) => {
                self.rows = rows;
                Ok(Some(bytes))
            }
            Some(Err(error)) => Err(error),
            None => Ok(None),
        }
    }

    /// Readings in what was handed out.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

impl Series {
    /// The days (UTC) that may hold readings of `selection`, in order.
    #[must_use]
    pub fn days(&self, selection: &Selection) -> Vec<Day> {
        let wanted = selection.wanted();
        let parts = parts(self.inner.store.snapshot(&wanted), &wanted);
        let days: BTreeSet<i64> = parts.iter().flat_map(Part::days).collect();
        days.into_iter()
            .map(Day::new)
            .filter(|day| day.within(&wanted).from <= day.within(&wanted).to)
            .collect()
    }

    /// One file with the readings of `selection`: day by day, within a day by device, channel and time.
    ///
    /// # Errors
    /// [`QueryError::Busy`] when two others are being made.
    pub fn export(&self, selection: &Selection, format: FileFormat) -> Result<Export, QueryError> {
        let days = self.days(selection).into_iter().map(|day| (day, None)).collect();
        let permit = self.inner.exports.clone().try_acquire_owned();
        let permit = permit.map_err(|_| QueryError::Busy { limit: AT_ONCE_MAX })?;
        Ok(start(&self.inner, days, selection.wanted(), format, Some(permit)))
    }
}

/// Days, and the parts of each where they are not simply all.
type Days = Vec<(Day, Option<Vec<Part>>)>;

/// Makes one file of days, on a thread of the engine's.
fn start(
    inner: &Arc<Inner>,
    days: Days,
    wanted: Wanted,
    format: FileFormat,
    permit: Option<OwnedSemaphorePermit>,
) -> Export {
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    let work = Arc::clone(inner);
    inner.engine.spawn_blocking(move || {
        let _permit = permit;
        if let Err(failed) = make(&work, days, &wanted, format, &sender) {
            // The asker may be gone.
            let _ = sender.blocking_send(Err(failed));
        }
    });
    Export { pieces, rows: 0 }
}

/// Encodes the rows of days, one after the other.
fn make(
    inner: &Inner,
    days: Days,
    wanted: &Wanted,
    format: FileFormat,
    sender: &mpsc::Sender<Result<(Bytes, u64), QueryError>>,
) -> Result<(), QueryError> {
    let broken = |message: String| QueryError::Engine { message };
    let mut encoder = Encoder::new(format).map_err(broken)?;
    let (mut rows, mut is_gone) = (0, false);
    let hand_out = |bytes: Vec<u8>, rows: u64| -> bool {
        bytes.is_empty() || sender.blocking_send(Ok((bytes.into(), rows))).is_ok()
    };
    for (day, parts) in days {
        let wanted = day.within(wanted);
        // Of memory only the day at hand: a recording may hold years.
        let parts = parts.unwrap_or_else(|| crate::query::parts(inner.store.snapshot(&wanted), &wanted));
        let read = inner.engine.read_in_order(parts, inner.store.channels(), |batch| {
            let batch = selected(batch, &wanted).map_err(|error| error.to_string())?;
            rows += batch.num_rows() as u64;
            let bytes = encoder.add(&batch)?;
            is_gone = !hand_out(bytes, rows);
            if is_gone { Err(String::new()) } else { Ok(()) }
        });
        if is_gone {
            return Ok(());
        }
        read?;
    }
    let bytes = encoder.finish().map_err(broken)?;
    hand_out(bytes, rows);
    Ok(())
}

/// The rows of a batch that are exactly wanted.
fn selected(batch: &RecordBatch, wanted: &Wanted) -> Result<RecordBatch, arrow::error::ArrowError> {
    let times = wanted.times();
    let time = batch.column(schema::TIME).as_primitive::<TimestampMicrosecondType>();
    let device = batch.column(schema::DEVICE).as_string_view();
    let channel = batch.column(schema::CHANNEL).as_string_view();
    let among = |names: &Option<BTreeSet<String>>, name: &str| {
        names.as_ref().is_none_or(|names| names.contains(name))
    };
    let chosen: BooleanArray = (0..batch.num_rows())
        .map(|row| {
            Some(
                times.contains(&time.value(row))
                    && among(&wanted.devices, device.value(row))
                    && among(&wanted.channels, channel.value(row)),
            )
        })
        .collect();
    filter_record_batch(batch, &chosen)
}
