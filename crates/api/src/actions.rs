//! `/api/v1/actions`: how the actions of rules are doing, and what they gave up.
//!
//! Its shapes are read by `godwit action` too.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use identity::Actor;
use model::Kind;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Parts;
use crate::audit::note;
use crate::page::Page;
use crate::problem::Problem;

/// Every action.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Actions {
    /// In the order of the rules.
    pub actions: Vec<Action>,
}

/// An action of a rule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Action {
    /// `rule/kind-n`.
    pub name: String,
    /// The rule.
    pub rule: String,
    /// `publish` or `webhook`.
    pub kind: String,
    /// Where it goes, as the rule writes it.
    pub target: String,
    /// Every message up to this `seq` was delivered, given up, or is not for it.
    pub position: u64,
    /// Messages delivered since the start.
    pub delivered: u64,
    /// Messages given up since the start.
    pub failed: u64,
    /// What the rule's statement asked for and did not get, since the start.
    pub undefined: u64,
    /// What stands in the way now.
    pub trouble: Option<ActionTrouble>,
}

/// A receiver that takes no messages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ActionTrouble {
    /// Since when (RFC 3339).
    pub since: String,
    /// Attempts since then.
    pub attempts: u64,
    /// What the last one met.
    pub reason: String,
}

/// What actions gave up, newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ActionLetters {
    /// At most as many as were asked for.
    pub letters: Vec<ActionLetter>,
    /// `after` of the next page; absent on the last.
    pub next: Option<String>,
}

/// A range of messages that an action gave up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ActionLetter {
    /// Its number.
    pub id: i64,
    /// The action.
    pub action: String,
    /// Where it was to go.
    pub target: String,
    /// The first message's `seq`.
    pub from: u64,
    /// The last one's; between them are also messages that the rule is not about.
    pub to: u64,
    /// How many messages of the rule; absent where they were not looked at.
    pub messages: Option<u64>,
    /// `refused`, `held`, `trimmed`, `damaged`, `template`, `target`, `nothing`, `too_large` or `looped`.
    pub reason: String,
    /// What the receiver said, or which template it was.
    pub detail: String,
    /// When the first of them was given up, or the last attempt was made (RFC 3339).
    pub at: String,
}

/// What came of another attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ActionRetried {
    /// Messages that were delivered.
    pub delivered: u64,
    /// What is left of the letter; absent when it is off the list.
    pub left: Option<ActionLetter>,
}

impl From<sinks::SinkStatus> for Action {
    fn from(status: sinks::SinkStatus) -> Self {
        Self {
            name: status.name,
            rule: status.rule,
            kind: status.kind.to_owned(),
            target: status.target,
            position: status.position,
            delivered: status.delivered,
            failed: status.failed,
            undefined: status.undefined,
            trouble: status.trouble.map(|trouble| ActionTrouble {
                since: trouble.since.to_string(),
                attempts: trouble.attempts,
                reason: trouble.reason,
            }),
        }
    }
}

impl From<sinks::DeadLetter> for ActionLetter {
    fn from(letter: sinks::DeadLetter) -> Self {
        Self {
            id: letter.id,
            action: letter.sink,
            target: letter.target,
            from: letter.from,
            to: letter.to,
            messages: letter.messages,
            reason: letter.reason.name().to_owned(),
            detail: letter.detail,
            at: letter.at.to_string(),
        }
    }
}

/// How every action is doing.
pub(crate) async fn list(State(parts): State<Arc<Parts>>) -> Json<Actions> {
    Json(Actions { actions: parts.sinks.status().into_iter().map(Action::from).collect() })
}

/// What was given up.
pub(crate) async fn letters(
    State(parts): State<Arc<Parts>>,
    Query(page): Query<Page>,
) -> Result<Json<ActionLetters>, Problem> {
    let sinks = parts.sinks.clone();
    let before = page.after.as_deref().map(|after| {
        let wrong =
            || format!("`after` is the number of a dead letter, `next` of the page before, not `{after}`");
        after.parse::<i64>().map_err(|_| Problem::new(Kind::Invalid, "sinks.after", wrong()))
    });
    let (before, limit) = (before.transpose()?, page.limit());
    // One more than is shown says whether there are more.
    let most = u32::try_from(limit + 1).unwrap_or(u32::MAX);
    let read = tokio::task::spawn_blocking(move || sinks.dead_letters(before, most)).await;
    let read = read.map_err(|error| Problem::new(Kind::Broken, "sinks.read", error.to_string()))?;
    let mut letters =
        read.map_err(|error| Problem::new(error.kind(), "sinks.read", error.to_string()).hint(error.hint()))?;
    let has_more = letters.len() > limit;
    letters.truncate(limit);
    let next = letters.last().filter(|_| has_more).map(|last| last.id.to_string());
    Ok(Json(ActionLetters { letters: letters.into_iter().map(ActionLetter::from).collect(), next }))
}

/// Tries the messages of one again.
pub(crate) async fn retry(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Path(id): Path<i64>,
) -> Result<Json<ActionRetried>, Problem> {
    let retried = parts.sinks.retry(id).await.map_err(|error| {
        let code = match error {
            sinks::RetryError::NotFound(_) => "sinks.no_letter",
            sinks::RetryError::Busy(_) => "sinks.busy",
            sinks::RetryError::NoAction(_) => "sinks.no_action",
            _ => "sinks.retry",
        };
        Problem::new(error.kind(), code, error.to_string()).hint(error.hint())
    })?;
    let after = json!({ "delivered": retried.delivered, "left": retried.left.is_some() });
    note(&parts, &by, "action.retry", format!("letter:{id}"), Some(after)).await;
    Ok(Json(ActionRetried { delivered: retried.delivered, left: retried.left.map(ActionLetter::from) }))
}

/// Takes one off the list without trying it.
pub(crate) async fn discard(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    let discarded = parts.sinks.discard(id).await;
    let was_there = discarded
        .map_err(|error| Problem::new(error.kind(), "sinks.write", error.to_string()).hint(error.hint()))?;
    if !was_there {
        return Err(Problem::new(Kind::NotFound, "sinks.no_letter", format!("there is no dead letter {id}")));
    }
    note(&parts, &by, "action.discard", format!("letter:{id}"), None).await;
    Ok(StatusCode::NO_CONTENT)
}
