//! Alerts, the inbox and dead letters, as the API shows them.
//!
//! Not here: what becomes of them and who sees them (room `alerts`), silences (`silences`). The laws: a cursor is taken as it
//! was given; times are RFC 3339; of an alert that the caller does not see nobody says whether it is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::alerts::{ActError, EpisodeFilter, EpisodeId, NoticeId, Sight, State as Standing};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use identity::{Actor, Role};
use model::{Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Parts;
use crate::body::{self, Body};
use crate::caller::Caller;
use crate::export::moment;
use crate::problem::Problem;

/// Which alerts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// `firing`, `resolved` or `retracted`; firing and resolved ones when it is not said.
    state: Option<String>,
    /// Of this rule.
    rule: Option<String>,
    /// Of this device.
    device: Option<String>,
    /// `true`: late ones; `false`: those that are not.
    late: Option<bool>,
    /// `true`: those that somebody took on; `false`: the others.
    acknowledged: Option<bool>,
    /// Fired not before this time.
    since: Option<String>,
    /// Fired before this time.
    until: Option<String>,
    /// Behind this: `next` of the page before.
    after: Option<String>,
    /// At most so many.
    #[serde(default = "hundred")]
    limit: usize,
}

/// Which page.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paged {
    /// Behind this: `next` of the page before.
    after: Option<String>,
    /// At most so many.
    #[serde(default = "hundred")]
    limit: usize,
}

fn hundred() -> usize {
    100
}

/// An alert: one episode of a rule for a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Alert {
    /// Made of rule, version, key and start.
    pub id: String,
    /// The rule's name.
    pub rule: String,
    /// Which text of it: 16 hexadecimal digits, as rules show it.
    pub version: String,
    /// For what.
    pub key: BTreeMap<String, String>,
    /// `firing`, `resolved` or `retracted`.
    pub state: String,
    /// It pages nobody: it was over, or old, when it was learnt.
    pub late: bool,
    /// Since when the condition held.
    pub started_at: String,
    /// When it fired, by event time.
    pub fired_at: String,
    /// When it resolved, by event time.
    pub resolved_at: Option<String>,
    /// When the server learnt of it.
    pub learnt_at: String,
    /// When it last changed, by the server's clock.
    pub changed_at: String,
    /// When somebody took it on.
    pub acknowledged_at: Option<String>,
    /// Who.
    pub acknowledged_by: Option<String>,
    /// By which it is routed.
    pub labels: BTreeMap<String, String>,
    /// What people read.
    pub annotations: BTreeMap<String, String>,
    /// The newest values that its verdict rests on, as text.
    pub values: BTreeMap<String, String>,
}

/// A page of alerts.
#[derive(Debug, Serialize, Deserialize)]
pub struct Alerts {
    /// The last fired first.
    pub alerts: Vec<Alert>,
    /// Where the next page begins; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An alert, with everything that was and was not said of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Explained {
    /// The alert.
    pub alert: Alert,
    /// What each receiver was told, in order.
    pub said: Vec<AlertSaid>,
    /// What was not told, and why.
    pub suppressed: Vec<AlertSuppressed>,
}

/// What a receiver was told.
#[derive(Debug, Serialize, Deserialize)]
pub struct AlertSaid {
    /// Whom.
    pub receiver: String,
    /// `firing`, `resolved`, `retracted`, or `reopened`: nothing new.
    pub transition: String,
    /// When.
    pub at: String,
    /// By which notice.
    pub notice: Option<String>,
    /// What became of it.
    pub deliveries: Vec<NoticeDelivery>,
}

/// A notice on one way.
#[derive(Debug, Serialize, Deserialize)]
pub struct NoticeDelivery {
    /// Which notice.
    pub notice: String,
    /// Which way: `ops/email/0`.
    pub way: String,
    /// `waiting`, `sent` or `dead`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u64,
    /// When it was made.
    pub made_at: String,
    /// When it was last tried.
    pub tried_at: Option<String>,
    /// What the last attempt said.
    pub error: Option<String>,
}

/// Why something was not told.
#[derive(Debug, Serialize, Deserialize)]
pub struct AlertSuppressed {
    /// To whom.
    pub receiver: String,
    /// `silenced`, `inhibited`, `muted`, `acknowledged`, `reopened`, `short` or `told_already`.
    pub reason: String,
    /// By what.
    pub detail: String,
    /// First when.
    pub first_at: String,
    /// Last when.
    pub last_at: String,
}

/// A notice in the inbox.
#[derive(Debug, Serialize, Deserialize)]
pub struct InboxNotice {
    /// Its id.
    pub notice: String,
    /// To whom.
    pub receiver: String,
    /// `news`, `repeat` or `retraction`.
    pub cause: String,
    /// When it was made.
    pub made_at: String,
    /// How many of its alerts were firing.
    pub firing: u64,
    /// How many were over.
    pub resolved: u64,
    /// In one line.
    pub title: String,
    /// A line per alert.
    pub lines: Vec<String>,
}

/// A page of the inbox.
#[derive(Debug, Serialize, Deserialize)]
pub struct Inbox {
    /// Newest first.
    pub notices: Vec<InboxNotice>,
    /// Where the next page begins; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Who is told, and how that goes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Receivers {
    /// Those of the configuration in force; then others on which something lies.
    pub ways: Vec<ReceiverWay>,
    /// What is wrong with the files as they are now; absent when nothing is. The configuration in force is older then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A way to a receiver.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReceiverWay {
    /// Whose it is; absent when the configuration has it no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<String>,
    /// Its name: `ops/email/0`.
    pub way: String,
    /// `email`, `webhook`, `slack`, `mqtt` or `inbox`.
    pub kind: String,
    /// Notices that wait for it.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
}

/// What could not be delivered.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeadLetters {
    /// Oldest first, at most 1,000.
    pub deliveries: Vec<NoticeDelivery>,
}

/// What is to be tried again: all of it when nothing is named.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryOrder {
    #[serde(default)]
    notice: Option<String>,
    #[serde(default)]
    way: Option<String>,
}

/// How many deliveries are tried again.
#[derive(Debug, Serialize, Deserialize)]
pub struct Retried {
    /// So many.
    pub deliveries: u64,
}

/// A page of alerts.
pub(crate) async fn list(
    State(parts): State<Arc<Parts>>,
    Extension(caller): Extension<Caller>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Alerts>, Problem> {
    let state = match wanted.state.as_deref() {
        None => None,
        Some(name) => Some(Standing::from_name(name).ok_or_else(|| {
            Problem::new(Kind::Invalid, "api.state", format!("`{name}` is no state of an alert"))
                .hint(Some("it is `firing`, `resolved` or `retracted`"))
        })?),
    };
    let filter = EpisodeFilter {
        state,
        rule: wanted.rule,
        device: wanted.device,
        late: wanted.late,
        acknowledged: wanted.acknowledged,
        since: moment("since", wanted.since.as_ref())?,
        until: moment("until", wanted.until.as_ref())?,
        sight: Some(sight(&parts, &caller, Role::Viewer)),
    };
    let after = wanted.after.as_deref().map(|text| cursor(text, EpisodeId::parse)).transpose()?;
    let (found, next) = parts
        .alerts
        .episodes(filter, after, wanted.limit)
        .await
        .map_err(|error| unread(error.kind(), &error))?;
    let next = next.map(|(at, id)| format!("{}.{id}", at.micros()));
    Ok(Json(Alerts { alerts: found.into_iter().map(Alert::from).collect(), next }))
}

/// One alert, explained.
pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
) -> Result<Json<Explained>, Problem> {
    let found = seen(&parts, &caller, episode(&text)?).await?;
    Ok(Json(Explained {
        alert: found.shown.into(),
        said: found.said.into_iter().map(AlertSaid::from).collect(),
        suppressed: found.suppressed.into_iter().map(AlertSuppressed::from).collect(),
    }))
}

/// Takes an alert on.
pub(crate) async fn acknowledge(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = episode(&text)?;
    if caller.is_bound(Role::Operator) {
        let found = seen(&parts, &caller, id).await?;
        if !sight(&parts, &caller, Role::Operator).sees(&found.shown.episode.key) {
            return Err(caller.lacks(Role::Operator, "where this alert is"));
        }
    }
    parts.alerts.acknowledge(&by, id).await.map_err(|error| refused(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// How far the caller sees by this role.
pub(crate) fn sight(parts: &Parts, caller: &Caller, role: Role) -> Sight {
    Sight::of(parts.identity.clone(), caller.rights().clone(), role)
}

/// An alert, if the caller sees it.
pub(crate) async fn seen(
    parts: &Parts,
    caller: &Caller,
    id: EpisodeId,
) -> Result<::alerts::Explained, Problem> {
    let found = parts.alerts.explain(id).await.map_err(|error| unread(error.kind(), &error))?;
    let sight = sight(parts, caller, Role::Viewer);
    found.filter(|found| sight.sees(&found.shown.episode.key)).ok_or_else(|| {
        Problem::new(Kind::NotFound, "alerts.none", format!("there is no alert `{id}`"))
            .hint(Some("list alerts to see which there are; one that late data took back before it was told leaves no trace"))
    })
}

/// A page of the inbox.
pub(crate) async fn inbox(
    State(parts): State<Arc<Parts>>,
    Extension(caller): Extension<Caller>,
    Query(wanted): Query<Paged>,
) -> Result<Json<Inbox>, Problem> {
    let after = wanted.after.as_deref().map(|text| cursor(text, NoticeId::parse)).transpose()?;
    let sight = sight(&parts, &caller, Role::Viewer);
    let found = parts.alerts.inbox(Some(sight), after, wanted.limit).await;
    let (found, next) = found.map_err(|error| unread(error.kind(), &error))?;
    let shown = |entry: ::alerts::InboxEntry| InboxNotice {
        notice: entry.notice.to_string(),
        receiver: entry.receiver,
        cause: entry.cause.name().to_owned(),
        made_at: entry.made_at.to_string(),
        firing: entry.firing,
        resolved: entry.resolved,
        title: entry.title,
        lines: entry.lines,
    };
    let next = next.map(|(at, id)| format!("{}.{id}", at.micros()));
    Ok(Json(Inbox { notices: found.into_iter().map(shown).collect(), next }))
}

/// The ways to receivers.
pub(crate) async fn receivers(State(parts): State<Arc<Parts>>) -> Result<Json<Receivers>, Problem> {
    let found = parts.alerts.ways().await.map_err(|error| unread(error.kind(), &error))?;
    let way = |one: ::alerts::WayStatus| ReceiverWay {
        receiver: one.receiver,
        way: one.way,
        kind: one.kind,
        waiting: one.waiting,
        dead: one.dead,
    };
    Ok(Json(Receivers { ways: found.into_iter().map(way).collect(), problem: (parts.alerts_problem)() }))
}

/// What could not be delivered.
pub(crate) async fn dead_letters(State(parts): State<Arc<Parts>>) -> Result<Json<DeadLetters>, Problem> {
    let found = parts.alerts.dead_letters().await.map_err(|error| unread(error.kind(), &error))?;
    Ok(Json(DeadLetters { deliveries: found.into_iter().map(NoticeDelivery::from).collect() }))
}

/// Tries dead letters again.
pub(crate) async fn retry(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    body: Body<RetryOrder>,
) -> Result<Json<Retried>, Problem> {
    let order = body::read(body)?;
    let notice = order.notice.as_deref().map(|text| {
        NoticeId::parse(text).ok_or_else(|| {
            Problem::new(Kind::Invalid, "alerts.notice", format!("`{text}` is no id of a notice"))
                .hint(Some("it is 32 hexadecimal digits, as the list of dead letters shows it"))
        })
    });
    let tried =
        parts.alerts.retry(&by, notice.transpose()?, order.way).await.map_err(|error| refused(&error))?;
    Ok(Json(Retried { deliveries: tried as u64 }))
}

pub(crate) fn unread(kind: Kind, error: &dyn std::error::Error) -> Problem {
    Problem::new(kind, "alerts.read", error.to_string())
}

pub(crate) fn refused(error: &ActError) -> Problem {
    let code = match error {
        ActError::Catalog(_) => "alerts.catalog",
        ActError::None { .. } => "alerts.none",
        ActError::Over { .. } => "alerts.over",
        ActError::Silence(_) => "alerts.silence",
        ActError::TooMany => "alerts.silences",
    };
    Problem::new(error.kind(), code, error.to_string()).hint(error.hint())
}

pub(crate) fn episode(text: &str) -> Result<EpisodeId, Problem> {
    EpisodeId::parse(text).ok_or_else(|| {
        Problem::new(Kind::Invalid, "alerts.id", format!("`{text}` is no id of an alert"))
            .hint(Some("it is a UUID, as the list of alerts shows it"))
    })
}

/// Reads a cursor: microseconds, a dot, an id.
fn cursor<T>(text: &str, id: impl Fn(&str) -> Option<T>) -> Result<(Timestamp, T), Problem> {
    let parts = text.split_once('.');
    let read = parts.and_then(|(at, behind)| Some((Timestamp::from_micros(at.parse().ok()?), id(behind)?)));
    read.ok_or_else(|| {
        Problem::new(Kind::Invalid, "api.after", format!("`{text}` is no `next` of a page"))
            .hint(Some("give `after` as the page before said it in `next`"))
    })
}

impl From<::alerts::Shown> for Alert {
    fn from(shown: ::alerts::Shown) -> Self {
        let episode = shown.episode;
        let text = |value: &model::Value| match value {
            model::Value::Number(number) => number.to_string(),
            model::Value::Text(text) | model::Value::BigInteger(_, text) => text.to_string(),
        };
        let (acknowledged_at, acknowledged_by) = shown.acknowledged.unzip();
        Self {
            id: shown.id.to_string(),
            rule: episode.rule,
            version: format!("{:016x}", episode.version),
            key: episode.key,
            state: shown.state.name().to_owned(),
            late: episode.late,
            started_at: episode.started_at.to_string(),
            fired_at: episode.fired_at.to_string(),
            resolved_at: episode.resolved_at.map(|at| at.to_string()),
            learnt_at: episode.learnt_at.to_string(),
            changed_at: shown.changed_at.to_string(),
            acknowledged_at: acknowledged_at.map(|at| at.to_string()),
            acknowledged_by,
            labels: episode.labels,
            annotations: episode.annotations,
            values: episode.values.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        }
    }
}

impl From<::alerts::Said> for AlertSaid {
    fn from(said: ::alerts::Said) -> Self {
        Self {
            receiver: said.receiver,
            transition: said.transition,
            at: said.at.to_string(),
            notice: said.notice.map(|notice| notice.to_string()),
            deliveries: said.deliveries.into_iter().map(NoticeDelivery::from).collect(),
        }
    }
}

impl From<::alerts::Suppressed> for AlertSuppressed {
    fn from(one: ::alerts::Suppressed) -> Self {
        Self {
            receiver: one.receiver,
            reason: one.why.name().to_owned(),
            detail: one.detail,
            first_at: one.first_at.to_string(),
            last_at: one.last_at.to_string(),
        }
    }
}

impl From<::alerts::Delivery> for NoticeDelivery {
    fn from(delivery: ::alerts::Delivery) -> Self {
        Self {
            notice: delivery.notice.to_string(),
            way: delivery.way,
            state: delivery.state,
            attempts: delivery.attempts,
            made_at: delivery.made_at.to_string(),
            tried_at: delivery.tried_at.map(|at| at.to_string()),
            error: delivery.error,
        }
    }
}
