//! What is looked after each minute: logins and tokens whose time is over, the setup link, both ends of the audit log, the past
//! of alerts.
//!
//! Not here: what is done (`identity`, `alerts`). The law: what fails is tried again with the next minute, and stops nothing.

use std::sync::Arc;
use std::time::Duration;

use alerts::{Alerts, Forgotten};
use host::Host;
use identity::Identity;
use journal::Journal;

use crate::setup_link::SetupLink;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(60);

/// How long the past is kept.
pub(crate) struct Kept {
    /// Entries of the audit log; for ever, when it is not said.
    pub(crate) audit: Option<Duration>,
    /// Alerts that are over, and notices.
    pub(crate) alerts: alerts::Keep,
}

/// Looks after it until aborted.
pub(crate) async fn keep(
    identity: Identity,
    setup: Arc<SetupLink>,
    journal: Journal,
    host: Host,
    kept: Kept,
    alerts: Alerts,
) {
    loop {
        anchor(&identity, &journal).await;
        tokio::time::sleep(LOOK).await;
        setup.look(&identity, &*host.disk);
        if let Err(error) = identity.upkeep().await {
            tracing::warn!(%error, "what is over was not forgotten; it is tried again in a minute");
        }
        if let Some(audit) = kept.audit
            && let Err(error) = identity.cut_audit(audit, &journal).await
        {
            tracing::warn!(%error, "old entries of the audit log were not removed; it is tried again in a minute");
        }
        match alerts.forget(kept.alerts).await {
            Ok(Forgotten { episodes: 0, notices: 0 }) => {}
            Ok(Forgotten { episodes, notices }) => {
                tracing::info!(
                    episodes,
                    notices,
                    "alerts and notices were older than they are kept: removed"
                );
            }
            Err(error) => {
                tracing::warn!(%error, "old alerts were not removed; it is tried again in a minute");
            }
        }
    }
}

/// Says the end of the audit log to the journal, so that it cannot be cut off unseen.
pub(crate) async fn anchor(identity: &Identity, journal: &Journal) {
    if let Err(error) = identity.anchor_audit(journal).await {
        tracing::warn!(%error, "the audit log was not anchored; it is tried again in a minute");
    }
}
