//! Files that may change while the server runs: what they said when they were looked at last, and what is wrong with what they
//! say now.
//!
//! Not here: which files, and what they mean. The law: what is wrong leaves what stands in force, and is said once.

use std::time::Duration;

use parking_lot::Mutex;

/// How often it is seen whether files changed.
pub(crate) const LOOK: Duration = Duration::from_secs(2);

/// What was seen: `S` says what is in the files, or tells them apart.
pub(crate) struct Watched<S> {
    /// As messages call them.
    what: &'static str,
    seen: Mutex<Option<S>>,
    problem: Mutex<Option<String>>,
}

impl<S: PartialEq> Watched<S> {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, seen: Mutex::default(), problem: Mutex::default() }
    }

    /// What is in force is made of this.
    pub(crate) fn begin(&self, seen: S) {
        *self.seen.lock() = Some(seen);
    }

    /// Whether the files are as they were looked at last.
    pub(crate) fn is_seen(&self, now: impl FnOnce(&S) -> bool) -> bool {
        self.seen.lock().as_ref().is_some_and(now)
    }

    /// Takes note of what the files have become; gives what is to be in force now, if it is right.
    pub(crate) fn see<T>(&self, seen: S, read: Result<T, String>) -> Option<T> {
        *self.seen.lock() = Some(seen);
        match read {
            Ok(right) => {
                *self.problem.lock() = None;
                Some(right)
            }
            Err(problem) => {
                tracing::error!(problem, "{} not right: what was in force before stays so", self.what);
                *self.problem.lock() = Some(problem);
                None
            }
        }
    }

    /// What is wrong with the files as they are now, if what is in force is older for it.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }
}
