//! The one word "stop", heard by every task.

use tokio::sync::watch;

/// Says once that the process is to stop. Cheap to clone; every clone hears it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    said: watch::Sender<bool>,
}

impl Shutdown {
    /// Nobody has said it yet.
    #[must_use]
    pub fn new() -> Self {
        Self { said: watch::Sender::new(false) }
    }

    /// Says it. Saying it again changes nothing.
    pub fn stop(&self) {
        self.said.send_replace(true);
    }

    /// Whether it was said.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        *self.said.borrow()
    }

    /// Waits until it is said. Safe to drop and call again.
    pub async fn stopping(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.said.subscribe().wait_for(|said| *said).await;
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}
