//! What `doctor` says of certificates: those of devices that are over or end soon, and the issuing authority's own end.

use serde::Deserialize;

use super::Finding;

/// Certificates that end within so many weeks are worth a word: a device that renews does so long before.
const WEEKS_SOON: usize = 4;

/// The authority, as the server tells of it.
#[derive(Debug, Deserialize)]
pub(super) struct Authority {
    expired: u64,
    expiring_by_week: Vec<u64>,
}

impl Authority {
    pub(super) fn finding(&self) -> Finding {
        let soon: u64 = self.expiring_by_week.iter().take(WEEKS_SOON).sum();
        let expired = self.expired;
        let todo = "give these devices new ones: `godwit ca expiry`, `godwit device certificate list`, docs/certificates.md";
        match (expired, soon) {
            (0, 0) => {
                Finding::fine("certificates", format!("none of a device ends within {WEEKS_SOON} weeks"))
            }
            (0, soon) => Finding::warning(
                "certificates",
                format!("{soon} of devices end within {WEEKS_SOON} weeks"),
                todo,
            ),
            (expired, soon) => Finding::warning(
                "certificates",
                format!("{expired} of devices are over, and {soon} end within {WEEKS_SOON} weeks"),
                todo,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn what_ends_soon_is_said_and_what_ends_later_is_not() {
        let level = |expired, weeks: [u64; 6]| {
            Authority { expired, expiring_by_week: weeks.to_vec() }.finding().level
        };
        assert_eq!(level(0, [0, 0, 0, 0, 9, 9]), Level::Fine);
        assert_eq!(level(0, [0, 0, 0, 1, 0, 0]), Level::Warning);
        assert_eq!(level(1, [0; 6]), Level::Warning);
    }
}
