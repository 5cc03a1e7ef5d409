//! Devices that somebody should look at.

use serde::Deserialize;

use super::Finding;

/// A flag that devices have.
#[derive(Debug, Deserialize)]
pub(super) struct Flagged {
    flag: String,
    count: usize,
    names: Vec<String>,
}

impl Flagged {
    pub(super) fn finding(&self) -> Option<Finding> {
        if self.count == 0 {
            return None;
        }
        let (subject, what, todo) = match self.flag.as_str() {
            "cloned_identity" => (
                "cloned",
                "two hosts take turns with the identity of",
                "see both with `godwit device show NAME`; give the device a new certificate or password, then `godwit device clear NAME`",
            ),
            _ => (
                "rate",
                "far more messages than usual came from",
                "see what was usual with `godwit device show NAME`; then `godwit device quarantine NAME REASON` or `godwit device clear NAME`",
            ),
        };
        let more = if self.count > self.names.len() { ", …" } else { "" };
        let found = format!("{what} {} devices: {}{more}", self.count, self.names.join(", "));
        Some(Finding::warning(subject, found, todo))
    }
}
