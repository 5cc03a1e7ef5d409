//! Conditions over samples, in event time: rule text -> plan -> episodes. Pure: no I/O, no clock.
//!
//! ```text
//! rule files --RuleSet::load--> Rule (or every Fault at once)
//! (Rule, Key): samples in (time, device) order --Fold::step--> Transitions      live, server and edge
//!              samples of a stretch of time   --refold-------> Episodes         when one came late
//!              known episodes, new episodes   --difference---> what changed
//!              receipts and the server's clock --Silence-----> Transitions      `absent_for`
//! ```
//!
//! Not here: where samples come from, where state is kept, who is told. The laws: the episodes of a key are a function of
//! its samples, not of the order in which they arrived; samples and time come in, verdicts and state go out.

mod action;
mod document;
mod duration;
mod episode;
mod expr;
mod fault;
mod file;
mod fold;
mod judged;
mod key;
mod limits;
mod machine;
mod operator;
mod refold;
mod rule;
mod silence;
pub mod sql;
mod state;
mod sum;
mod template;
mod trial;
mod value;
mod window;

pub use action::{ACTIONS_MAX, Action, ActionRule, Publish, Secret, Webhook};
pub use document::{Content, FILE_BYTES_MAX, Node};
pub use duration::{SPAN_MICROS_MAX, shown as span_shown};
pub use episode::{Difference, Episode, Transition, difference};
pub use expr::{Counts, FUNCTION_NAMES};
pub use fault::{Fault, FileFault, did_you_mean};
pub use file::{ACTIONS_OF_ALL_MAX, RULES_MAX, RuleSet};
pub use fold::{Fold, Step};
pub use judged::Judged;
pub use key::{By, Circumstances, Key, Subject};
pub use limits::{Limits, WINDOW_SAMPLES_MAX};
pub use refold::{Changed, NeedEarlier, Refolded, refold};
pub use rule::{LookBack, Rule, Version};
pub use silence::{AbsentFor, INTERVAL_MICROS_MIN, INTERVAL_MICROS_UNKNOWN, Presence, Silence};
pub use state::StateError;
pub use template::{Facts, TEMPLATE_BYTES_MAX, Written};
pub use trial::{Backtest, CaseResult, Intervals, KeyReport, Notices, Report, Sparse, TestFile, in_order};
