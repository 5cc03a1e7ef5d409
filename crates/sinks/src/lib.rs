//! What rules tell other systems: republish and webhook, each a consumer with a position of its own.
//!
//! ```text
//! journal ─ reader ─ statement ─→ job ─ deliver ─┬→ position + dead letters, in one transaction ─→ report to the journal
//!   (one of these rows per action)               └→ error action
//! ```
//!
//! Not here: what a statement means (`rules`), rule files. The laws:
//!
//! - An action is a consumer: one that is slow, down or wrong holds up no other, and no door.
//! - A message is given up only by name: what a receiver refuses, or does not take within [`Settings::hold`], is a dead letter with its
//!   exact range of `seq`, told to the error action, and can be tried again while the journal has it.
//! - At least once, with an id that is the same each time; what is published again is appended once.
//! - Messages of one device reach a receiver in the order in which they were accepted.

mod deliver;
mod error;
mod job;
mod letter;
mod pace;
mod publish;
mod service;
mod settings;
mod sink;
mod status;
mod store;
mod webhook;

pub use error::{RetryError, StartError};
pub use letter::{DeadLetter, Reason};
pub use publish::{HOPS_MAX, HOPS_PROPERTY};
pub use service::{Parts, Retried, Sinks};
pub use settings::Settings;
pub use status::{SinkStatus, Trouble};
pub use store::MIGRATIONS;
