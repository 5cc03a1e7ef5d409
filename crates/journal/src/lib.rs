//! Every accepted message in order, durable before it is acknowledged; everything else reads the journal.
//!
//! Not here: what a message means (routes and decoders are `model`'s), who may send it, who gets it. The laws:
//!
//! - What [`Journal::append`] says is durable is there after any crash, once, under its `seq`.
//! - A `seq` is never given out twice, an encryption nonce never used twice under one key.
//! - What is lost is told by its exact range; nothing is skipped in silence.
//! - A failed sync ends all writing: nobody can know what the disk then holds.
//!
//! On the disk, in one directory (the file formats are drawn in `header`, `frame`, `record` and `checkpoint`):
//!
//! ```text
//! urgent-00000000000000000001.segment     lanes alarm and control    ┐ header │ frame │ frame │ …
//! regular-00000000000000000001.segment    lanes telemetry and bulk   ┘
//! regular-00000000000000000002.segment    …the chain goes on
//! checkpoint                              how it was closed; the message-id window
//!
//! header   version, chain, number, journal, first seq, last seq of the chain before, wrapped data key, CRC
//! frame    algorithm, length, count, number (the nonce), first seq, commit, time, CRCs │ encrypted records │ tag
//! record   protobuf: topic, payload, times, who sent it, …
//! ```
//!
//! ```text
//! doors ─ submit ─→ queue (encodes, bounded) ─→ writer: number, encrypt, write, fdatasync ─┬→ tap ─→ readers
//!                                                                                          └→ done: acknowledge
//! ```

mod assembly;
mod batch;
mod chain;
mod checkpoint;
mod cursor;
mod error;
mod extract;
mod frame;
mod header;
mod ids;
mod journal;
mod log;
mod meters;
mod queue;
mod reader;
mod record;
mod recovery;
mod retention;
mod segment;
mod settings;
mod shared;
mod status;
mod tap;
mod walk;
mod wire;
mod writer;

pub use batch::{Batch, Cut, Outcome, Record, Records, SkipReason, Skipped};
pub use chain::{Chain, Chains};
pub use error::{AppendError, Busy, OpenError, ReadError};
pub use extract::{Extract, SegmentExtract};
pub use journal::Journal;
pub use reader::Reader;
pub use recovery::{Recovery, Torn};
pub use retention::{Consumer, Hold};
pub use settings::Settings;
pub use status::{ConsumerStatus, Damage, Status, SyncLatency};
