//! How the connection stands, for those who show it to a person.

use std::sync::Arc;

/// How the connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Messages pass.
    Connected {
        /// Where.
        address: Arc<str>,
        /// How often the connection was made, this time included.
        times: u64,
    },
    /// The connection is lost; it is tried again.
    Lost {
        /// Where it was.
        address: Arc<str>,
        /// How it was lost, or how the last attempt failed.
        why: Arc<str>,
        /// Attempts since.
        attempts: u32,
    },
    /// The client has ended.
    Ended,
}
