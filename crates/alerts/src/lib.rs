//! Episodes and who hears of them: grouping, inhibition, silences, routes, receivers, the durable outbox.
//!
//! The evaluation stores what the fold of a rule says ([`store::transition`]), then how far it has read. From there on this crate decides who hears of it and when, writes that down, and brings it there.
//!
//! Not here: conditions over samples (`rules`), the public JSON (`api`). The laws this crate keeps:
//! - Nobody is told the same twice, and nothing that is to be told is lost, wherever a crash falls. Only towards a receiver
//!   that took a notice while we crashed it may come again, under the same id.
//! - A receiver that hangs or fails delays nobody else.
//! - What is not told has a reason that is kept.

mod act;
mod alerts;
mod at_work;
mod config;
mod delivery;
mod dispatcher;
mod document;
mod episode;
mod evaluate;
mod look_up;
mod machine;
mod sight;
mod steady;
pub mod store;
mod wake;

pub use act::{ActError, NewSilence, SILENCE_MATCHERS_MAX, SILENCE_MICROS_MAX, SILENCE_REASON_BYTES_MAX};
pub use alerts::{Alerts, Forgotten, Keep, StartError};
pub use config::matcher::{Labels, MATCHER_BYTES_MAX, Matcher, REGEX_BYTES_MAX};
pub use config::problem::{ConfigError, Place, Problem};
pub use config::{CONFIG_BYTES_MAX, Config, INBOX, SHIPPED};
pub use delivery::TRY_FOR_MICROS;
pub use dispatcher::SILENCES_MAX;
pub use episode::{Episode, EpisodeId, State};
pub use evaluate::{
    Against, Compared, ConnectedFunction, EVALUATION_MIGRATIONS, EvaluateError, EvaluateParts, Evaluation,
    GROUNDS_SHOWN, Ground, Grounds, GroundsError, Picture, RuleStatus, RuleVersion, Says, Status, TRIALS_MAX,
    Tally, Trial, TrialError, Tried, TriedRule, URGENT_WITHIN,
};
pub use look_up::{
    Delivery, EpisodeFilter, Explained, InboxEntry, PAGE_MAX, Said, Shown, Suppressed, WayStatus,
};
pub use machine::notice::{Cause, NOTICE_ALERTS_MAX, NoticeId, Why};
pub use machine::silence::Silence;
pub use sight::Sight;
pub use store::outbox::WAITING_MAX;
pub use store::{Applied, MIGRATIONS, Transition};
pub use wake::Wake;
