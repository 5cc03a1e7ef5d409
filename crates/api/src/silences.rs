//! Silences, as the API shows, makes and ends them.
//!
//! Not here: what they hush (room `alerts`). The laws: whose role is bound to groups makes silences that hush nothing outside
//! of these groups; a silence that reaches further than the caller is not shown to him, and not ended by him.

use std::sync::Arc;

use ::alerts::NewSilence;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use identity::{Actor, Role};
use model::{GroupPath, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Parts;
use crate::alerts::{refused, sight, unread};
use crate::body::{self, Body};
use crate::caller::Caller;
use crate::devices::shown::{group as parse, refused as group_refused};
use crate::export::moment;
use crate::problem::Problem;

/// A silence.
#[derive(Debug, Serialize, Deserialize)]
pub struct Silence {
    /// Its id.
    pub id: String,
    /// All must match.
    pub matchers: Vec<String>,
    /// It means alerts in these groups and those below them alone; none: wherever they are.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Who made it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When it was made.
    pub created_at: String,
    /// From when.
    pub starts_at: String,
    /// Until when.
    pub ends_at: String,
}

/// Silences, by their ends.
#[derive(Debug, Serialize, Deserialize)]
pub struct Silences {
    /// At most 1,000: those that end last.
    pub silences: Vec<Silence>,
}

/// Which silences.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedSilences {
    /// Those that are over too.
    #[serde(default)]
    all: bool,
}

/// A silence to be made. Either `ends_at` or `for_s` is given.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SilenceOrder {
    matchers: Vec<String>,
    /// Alerts in these groups alone. Whose role is bound to groups and names none means his.
    #[serde(default)]
    groups: Vec<String>,
    reason: String,
    #[serde(default)]
    starts_at: Option<String>,
    #[serde(default)]
    ends_at: Option<String>,
    #[serde(default)]
    for_s: Option<u32>,
}

/// Silences.
pub(crate) async fn list(
    State(parts): State<Arc<Parts>>,
    Extension(caller): Extension<Caller>,
    Query(wanted): Query<WantedSilences>,
) -> Result<Json<Silences>, Problem> {
    let sight = sight(&parts, &caller, Role::Viewer);
    let found = parts.alerts.silences(wanted.all, Some(sight)).await;
    let found = found.map_err(|error| unread(error.kind(), &error))?;
    Ok(Json(Silences { silences: found.into_iter().map(Silence::from).collect() }))
}

/// Makes a silence.
pub(crate) async fn make(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Extension(caller): Extension<Caller>,
    body: Body<SilenceOrder>,
) -> Result<Response, Problem> {
    let order = body::read(body)?;
    let groups = groups(&parts, &caller, &order.groups).await?;
    let starts_at = moment("starts_at", order.starts_at.as_ref())?;
    let from = starts_at.unwrap_or_else(|| parts.host.clock.now());
    let ends_at = match (moment("ends_at", order.ends_at.as_ref())?, order.for_s) {
        (Some(at), None) => at,
        (None, Some(seconds)) => from.plus_micros(i64::from(seconds) * Timestamp::SECOND),
        _ => {
            let wrong = "a silence has either `ends_at` or `for_s`";
            return Err(Problem::new(Kind::Invalid, "alerts.silence", wrong));
        }
    };
    let new = NewSilence { matchers: order.matchers, groups, reason: order.reason, starts_at, ends_at };
    let made = parts.alerts.silence(&by, new).await.map_err(|error| refused(&error))?;
    Ok((StatusCode::CREATED, Json(Silence::from(made))).into_response())
}

/// The groups that a silence means: those that were named, if the caller is operator there and they exist; else all of his.
async fn groups(parts: &Parts, caller: &Caller, named: &[String]) -> Result<Vec<GroupPath>, Problem> {
    if named.is_empty() {
        let held = sight(parts, caller, Role::Operator).groups();
        return held.iter().map(|group| parse(group)).collect();
    }
    let mut groups = Vec::with_capacity(named.len());
    for named in named {
        let group = parse(named)?;
        caller.require(Role::Operator, group.as_str())?;
        let known = parts.identity.group(&group).await;
        if known.map_err(|error| unread(error.kind(), &error))?.is_none() {
            return Err(group_refused(&identity::ChangeError::UnknownGroup(group)));
        }
        groups.push(group);
    }
    Ok(groups)
}

/// Ends a silence.
pub(crate) async fn expire(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    if caller.is_bound(Role::Operator) {
        let found = parts.alerts.one_silence(&id).await.map_err(|error| unread(error.kind(), &error))?;
        let (viewer, operator) = (Role::Viewer, Role::Operator);
        match found.filter(|found| sight(&parts, &caller, viewer).sees_silence(found)) {
            Some(found) if sight(&parts, &caller, operator).sees_silence(&found) => {}
            Some(_) => return Err(caller.lacks(operator, "in all groups of this silence")),
            None => return Err(refused(&::alerts::ActError::None { what: "silence", name: id })),
        }
    }
    parts.alerts.expire(&by, &id).await.map_err(|error| refused(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<::alerts::Silence> for Silence {
    fn from(silence: ::alerts::Silence) -> Self {
        Self {
            id: silence.id,
            matchers: silence.matchers.iter().map(ToString::to_string).collect(),
            groups: silence.groups,
            author: silence.author,
            reason: silence.reason,
            created_at: silence.created_at.to_string(),
            starts_at: silence.starts_at.to_string(),
            ends_at: silence.ends_at.to_string(),
        }
    }
}
