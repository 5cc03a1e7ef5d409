//! Trying rules before they are trusted: on what was recorded (`backtest`), and on made-up readings with the episodes that
//! must come out (`cases`).
//!
//! Not here: files and servers, where recordings come from. The law: what is tried is the same fold that the server runs.

mod backtest;
mod cases;
mod order;
mod sparse;

pub use backtest::{Backtest, KeyReport, Notices, Report};
pub use cases::{CaseResult, TestFile};
pub use order::in_order;
pub use sparse::{Intervals, Sparse};
