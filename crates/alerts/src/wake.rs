//! The bell by which whoever stored something says that there is something to do.
//!
//! Not here: what there is to do; the tables say that. The law: a ring between two looks is never lost, and many rings are
//! one.

use std::sync::Arc;

use tokio::sync::Notify;

/// Rings. Cheap to clone; all clones are one bell.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// Says that there may be something new. Never blocks; may be called from any thread.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Returns with the next ring, or at once when it rang since the last return. For one waiter.
    pub(crate) async fn rung(&self) {
        self.0.notified().await;
    }
}
