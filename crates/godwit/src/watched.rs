//! Files that may change while the server runs: what they said when they were looked at last, and what is wrong with what they
//! say now.
//!
//! Not here: which files, and what they mean. The laws: what two looks running find the same counts, so that a file that is gone for
//! a moment or half written, as editors and `git checkout` leave them, changes nothing; what is wrong leaves what stands in force,
//! and is said once.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// How often it is seen whether files changed.
const LOOK: Duration = Duration::from_secs(1);

/// What was seen: `S` says what is in the files, or tells them apart.
pub(crate) struct Watched<S> {
    /// As messages call them.
    what: &'static str,
    seen: Mutex<Seen<S>>,
    problem: Mutex<Option<String>>,
}

struct Seen<S> {
    /// What is in force, or was found wrong.
    judged: Option<S>,
    /// What the look before found otherwise.
    otherwise: Option<S>,
}

impl<S: PartialEq> Watched<S> {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, seen: Mutex::new(Seen { judged: None, otherwise: None }), problem: Mutex::default() }
    }

    /// What is in force is made of this.
    pub(crate) fn begin(&self, seen: S) {
        *self.seen.lock() = Seen { judged: Some(seen), otherwise: None };
    }

    /// Whether the files are as they were judged last.
    pub(crate) fn is_judged(&self, now: impl FnOnce(&S) -> bool) -> bool {
        let mut seen = self.seen.lock();
        let is_judged = seen.judged.as_ref().is_some_and(now);
        if is_judged {
            seen.otherwise = None;
        }
        is_judged
    }

    /// Takes note of what a look found otherwise. When the look before found the same, it is judged: gives what is to be in force now, if
    /// it is right.
    pub(crate) fn see<T>(&self, now: S, read: impl FnOnce(&S) -> Result<T, String>) -> Option<T> {
        let mut seen = self.seen.lock();
        if seen.otherwise.as_ref() != Some(&now) {
            seen.otherwise = Some(now);
            return None;
        }
        let read = read(&now);
        *seen = Seen { judged: Some(now), otherwise: None };
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

/// Looks until a look gives something. To be waited for to its end: what a look gave is given once.
///
/// A look reads a disk, which may take its time: it is made where it holds up no door.
pub(crate) async fn changed<B, T>(book: &Arc<B>, look: fn(&B) -> Option<T>) -> T
where
    B: Send + Sync + 'static,
    T: Send + 'static,
{
    loop {
        tokio::time::sleep(LOOK).await;
        let book = Arc::clone(book);
        match tokio::task::spawn_blocking(move || look(&book)).await {
            Ok(Some(other)) => return other,
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "a look at files that may change ended badly"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_look_alone_finds_changes_nothing() {
        let watched = Watched::new("the files are");
        watched.begin("a");
        let look = |now: &'static str| {
            if watched.is_judged(|judged| *judged == now) {
                return None;
            }
            watched.see(now, |now| if *now == "wrong" { Err((*now).to_owned()) } else { Ok(*now) })
        };
        assert_eq!([look(""), look("a"), look(""), look("a")], [None; 4], "gone for a moment, twice");
        assert_eq!([look("b"), look("c"), look("c"), look("c")], [None, None, Some("c"), None]);
        assert_eq!([look("wrong"), look("c")], [None; 2]);
        assert_eq!(watched.problem(), None);
        assert_eq!([look("wrong"), look("wrong")], [None; 2]);
        assert_eq!(watched.problem().as_deref(), Some("wrong"));
        assert_eq!([look("c"), look("c")], [None, Some("c")]);
        assert_eq!(watched.problem(), None);
    }
}
