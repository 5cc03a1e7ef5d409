//! How the actions are doing, for `doctor`, the API and the dashboard.

use std::sync::atomic::{AtomicU64, Ordering};

use model::Timestamp;
use parking_lot::Mutex;

/// One action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkStatus {
    /// `rule/kind-n`.
    pub name: String,
    /// The rule.
    pub rule: String,
    /// `publish` or `webhook`.
    pub kind: &'static str,
    /// Where it goes, as the rule writes it.
    pub target: String,
    /// Every message up to this `seq` was delivered, given up, or is not for it.
    pub position: u64,
    /// Messages delivered since the start.
    pub delivered: u64,
    /// Messages given up since the start.
    pub failed: u64,
    /// What a statement asked for and did not get, since the start.
    pub undefined: u64,
    /// What stands in the way now.
    pub trouble: Option<Trouble>,
}

/// A receiver that does not take messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Since when.
    pub since: Timestamp,
    /// Attempts since then.
    pub attempts: u64,
    /// What the last one met.
    pub reason: String,
}

/// The live numbers of an action.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    pub(crate) position: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) undefined: AtomicU64,
    trouble: Mutex<Option<Trouble>>,
}

impl Gauge {
    /// An attempt met something that will pass.
    pub(crate) fn met(&self, reason: &str, now: Timestamp) {
        let mut trouble = self.trouble.lock();
        let trouble =
            trouble.get_or_insert_with(|| Trouble { since: now, attempts: 0, reason: String::new() });
        trouble.attempts += 1;
        reason.clone_into(&mut trouble.reason);
    }

    /// The receiver answered. What was in the way until now.
    pub(crate) fn clear(&self) -> Option<Trouble> {
        self.trouble.lock().take()
    }

    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }

    pub(crate) fn count(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}
