//! How the rules stand, for whoever shows it.
//!
//! Not here: episodes. The law: it is a picture of one moment, not older than some seconds.

use rules::Counts;

use super::book::{Entry, Tally};

/// How the evaluation stands.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The rules in force, in the order of files and text.
    pub rules: Vec<RuleStatus>,
    /// Records that were read and wait to be judged.
    pub backlog: usize,
    /// Whether everything was judged that was there at the start.
    pub is_caught_up: bool,
}

/// How one rule stands.
#[derive(Debug, Clone)]
pub struct RuleStatus {
    /// Its name.
    pub name: String,
    /// The group it stands in.
    pub group: String,
    /// The file it stands in.
    pub file: String,
    /// 16 hexadecimal digits.
    pub version: String,
    /// Keys that it knows.
    pub keys: usize,
    /// Keys whose condition holds, and not long enough yet.
    pub pending: usize,
    /// Keys that are firing.
    pub firing: usize,
    /// What became of samples since the start.
    pub tally: Tally,
    /// How often data made it Undefined since the start, by cause.
    pub undefined: Counts,
}

impl RuleStatus {
    pub(super) fn of(entry: &Entry) -> Self {
        let rule = &entry.rule;
        let folds = || entry.folds.values();
        let firing = folds().filter(|standing| standing.state.firing().is_some()).count();
        let silent = entry.silences.values().filter(|standing| standing.state.fired_at().is_some()).count();
        Self {
            name: rule.name().to_owned(),
            group: rule.group().to_owned(),
            file: rule.file().to_owned(),
            version: rule.version().to_string(),
            keys: entry.folds.len() + entry.silences.len(),
            pending: folds().filter(|standing| standing.state.pending_since().is_some()).count(),
            firing: firing + silent,
            tally: entry.tally,
            undefined: entry.counts,
        }
    }
}
