//! The audit log, as the API shows it: pages, and whether it is as it was written.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use identity::{Actor, AuditFilter, AuditPage, Outcome};
use model::Kind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Parts;
use crate::export::moment;
use crate::problem::Problem;

/// Notices that somebody is shown payloads, while there are classified channels: whatever they are of, a channel's values may be
/// among them.
pub(crate) fn notice_payloads(parts: &Parts, by: &Actor, what: &str) {
    if parts.is_classified {
        let what = what.chars().take(500).collect();
        parts.identity.notice(by, "readings.read", what, Outcome::Done, None);
    }
}

/// Which entries.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// By an actor whose name begins so.
    #[serde(default)]
    actor: String,
    /// Of an action that begins so.
    #[serde(default)]
    action: String,
    /// On an object whose name begins so.
    #[serde(default)]
    object: String,
    /// `done` or `refused`.
    outcome: Option<String>,
    /// Not before this time (RFC 3339).
    since: Option<String>,
    /// Before this time.
    until: Option<String>,
    /// `newest` first, which is the default, or `oldest`.
    #[serde(default)]
    order: Order,
    /// Behind this number: `next` of the page before.
    after: Option<u64>,
    /// At most so many.
    #[serde(default = "hundred")]
    limit: usize,
}

fn hundred() -> usize {
    100
}

#[derive(Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    #[default]
    Newest,
    Oldest,
}

/// An entry. `before` and `after` are JSON as it was written, as text: the hash is over it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuditEntry {
    /// 1, 2, 3, …
    pub number: u64,
    /// When (RFC 3339).
    pub at: String,
    /// Who.
    pub actor: String,
    /// From where.
    pub address: Option<String>,
    /// What.
    pub action: String,
    /// On what.
    pub object: String,
    /// How it was.
    pub before: Option<String>,
    /// How it is.
    pub after: Option<String>,
    /// `done` or `refused`.
    pub outcome: String,
    /// The chain up to here, hexadecimal.
    pub hash: String,
}

/// A page of the log.
#[derive(Debug, Serialize, Deserialize)]
pub struct AuditEntries {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// Where the next page begins; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Whether the log is as it was written.
#[derive(Debug, Serialize, Deserialize)]
pub struct AuditVerdict {
    /// Nothing is wrong.
    pub sound: bool,
    /// How many entries there are.
    pub entries: u64,
    /// The number of the last.
    pub last: u64,
    /// Its hash, hexadecimal.
    pub hash: String,
    /// How many entries the journal has anchored.
    pub anchors: u64,
    /// The newest of them.
    pub anchored: Option<u64>,
    /// How many entries were cut off at the beginning because they were old.
    pub cut: u64,
    /// What is wrong, at most the first hundred.
    pub faults: Vec<String>,
    /// How much is wrong in all.
    pub fault_count: u64,
}

/// Writes down what an operator did by another room. It happened whether or not it can be written down: what cannot is said
/// in the log.
pub(crate) async fn note(
    parts: &Parts,
    by: &Actor,
    action: &'static str,
    object: String,
    after: Option<Value>,
) {
    if let Err(error) = parts.identity.note(by, action, object, after).await {
        tracing::error!(%error, action, by = by.name(), "an entry of the audit log was not written");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A page of entries.
pub(crate) async fn list(
    State(parts): State<Arc<Parts>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<AuditEntries>, Problem> {
    let outcome = match wanted.outcome.as_deref() {
        None => None,
        Some(name) => Some(Outcome::from_name(name).ok_or_else(|| {
            Problem::new(Kind::Invalid, "api.outcome", format!("`{name}` is no outcome"))
                .hint(Some("it is `done` or `refused`"))
        })?),
    };
    let filter = AuditFilter {
        actor: wanted.actor,
        action: wanted.action,
        object: wanted.object,
        outcome,
        since: moment("since", wanted.since.as_ref())?,
        until: moment("until", wanted.until.as_ref())?,
    };
    let is_oldest_first = wanted.order == Order::Oldest;
    let page = AuditPage { is_oldest_first, after: wanted.after, limit: wanted.limit };
    let found = parts.identity.audit(filter, page).await;
    let (entries, next) = found
        .map_err(|error| Problem::new(error.kind(), "identity.read", error.to_string()).hint(error.hint()))?;
    let shown = |entry: identity::Recorded| AuditEntry {
        number: entry.number,
        at: entry.at.to_string(),
        actor: entry.actor,
        address: entry.address,
        action: entry.action,
        object: entry.object,
        before: entry.before,
        after: entry.after,
        outcome: entry.outcome,
        hash: hex(&entry.hash),
    };
    Ok(Json(AuditEntries { entries: entries.into_iter().map(shown).collect(), next }))
}

/// Recomputes the chain and compares it with what the journal knows.
pub(crate) async fn verify(State(parts): State<Arc<Parts>>) -> Result<Json<AuditVerdict>, Problem> {
    let verdict = parts.identity.verify_audit(&parts.journal).await;
    let verdict = verdict.map_err(|error| Problem::new(error.kind(), "identity.audit", error.to_string()))?;
    let (last, hash) = verdict.head.clone().unwrap_or_default();
    if !verdict.is_sound() {
        tracing::error!(faults = verdict.fault_count, "the audit log is not as it was written");
    }
    Ok(Json(AuditVerdict {
        sound: verdict.is_sound(),
        entries: verdict.entries,
        last,
        hash: hex(&hash),
        anchors: verdict.anchors,
        anchored: verdict.anchored,
        cut: verdict.cut,
        faults: verdict.faults.iter().map(ToString::to_string).collect(),
        fault_count: verdict.fault_count,
    }))
}
