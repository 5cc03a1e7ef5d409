//! Every accepted message in order, durable before it is acknowledged; everything else reads the journal.

mod batch;
mod chain;
mod error;
mod journal;
mod settings;
mod status;

pub use batch::{Batch, Outcome, Record, Records, SkipReason, Skipped};
pub use chain::{Chain, Chains};
pub use error::{AppendError, Busy, OpenError, ReadError};
pub use journal::{Consumer, Cut, Hold, Journal, Reader, Recovery, Torn};
pub use settings::Settings;
pub use status::{ConsumerStatus, Damage, Status, SyncLatency};
