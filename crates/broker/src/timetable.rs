//! When sessions without a connection are to be looked at: for their will, for their end.
//!
//! Pure but for its lock: the housekeeper asks what is due. The law: a session that goes on takes its entries along,
//! so that one that comes and goes all day has no more entries than one that does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::session::Session;
use crate::sessions::Dues;
use crate::trie::Key;

/// Times to come, by the monotonic clock in microseconds.
#[derive(Default)]
pub(crate) struct Timetable(Mutex<BTreeMap<(u64, Key), Arc<Session>>>);

impl Timetable {
    /// Sets the times of a session.
    pub(crate) fn set(&self, session: &Arc<Session>, dues: Dues) {
        if dues == Dues::default() {
            return;
        }
        let mut times = self.0.lock();
        for due in [dues.will, dues.end].into_iter().flatten() {
            times.insert((due, session.key), Arc::clone(session));
        }
    }

    /// Takes the times of a session back.
    pub(crate) fn forget(&self, key: Key, dues: Dues) {
        if dues == Dues::default() {
            return;
        }
        let mut times = self.0.lock();
        for due in [dues.will, dues.end].into_iter().flatten() {
            times.remove(&(due, key));
        }
    }

    /// Takes the sessions whose time has come.
    pub(crate) fn take_due(&self, now_mono: u64) -> Vec<Arc<Session>> {
        let mut times = self.0.lock();
        let later = times.split_off(&(now_mono + 1, 0));
        std::mem::replace(&mut *times, later).into_values().collect()
    }
}
