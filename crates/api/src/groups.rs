//! Groups as the API shows, makes and removes them. Who is in one is asked of the devices (`?group=`).

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use identity::{Actor, Role};
use model::Kind;
use serde::{Deserialize, Serialize};

use crate::Parts;
use crate::body::{self, Body};
use crate::caller::Caller;
use crate::devices::shown::{group as parse, refused};
use crate::problem::Problem;

/// Which groups are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Only paths after this one: `next` of the page before.
    after: Option<String>,
    /// Only groups in this one, at any depth.
    within: Option<String>,
    /// At most so many.
    #[serde(default = "hundred")]
    limit: usize,
}

fn hundred() -> usize {
    100
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Groups {
    groups: Vec<Group>,
    next: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Group {
    path: String,
    created: String,
    /// Devices whose home it is or a group below it.
    devices: u64,
    /// Devices that are members of it or of a group below it.
    members: u64,
}

impl From<identity::Group> for Group {
    fn from(group: identity::Group) -> Self {
        Self {
            path: group.path.to_string(),
            created: group.created.to_string(),
            devices: group.devices,
            members: group.members,
        }
    }
}

fn unread<E: std::error::Error>(kind: Kind, error: &E) -> Problem {
    Problem::new(kind, "identity.read", error.to_string())
}

/// A page of groups, by path: those that the caller may look into.
pub(crate) async fn list(
    State(parts): State<Arc<Parts>>,
    Extension(caller): Extension<Caller>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<impl Serialize>, Problem> {
    let mut after = wanted.after.as_deref().filter(|after| !after.is_empty()).map(parse).transpose()?;
    let within = wanted.within.as_deref().map(parse).transpose()?;
    let limit = wanted.limit.clamp(1, identity::PAGE_GROUPS_MAX);
    let page = if caller.is_bound(Role::Viewer) { identity::PAGE_GROUPS_MAX } else { limit + 1 };
    // One more than is shown says whether there are more. What he may not look into is not named by `next` either.
    let mut shown: Vec<identity::Group> = Vec::new();
    while shown.len() <= limit {
        let found = parts.identity.groups(within.clone(), after, page).await;
        let found = found.map_err(|error| unread(error.kind(), &error))?;
        shown.extend(
            found.groups.into_iter().filter(|group| caller.rights().holds(Role::Viewer, &group.path)),
        );
        after = found.next;
        if after.is_none() {
            break;
        }
    }
    let has_more = shown.len() > limit;
    shown.truncate(limit);
    let next = shown.last().filter(|_| has_more).map(|last| last.path.to_string());
    Ok(Json(Groups { next, groups: shown.into_iter().map(Group::from).collect() }))
}

/// One group.
pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
) -> Result<Json<impl Serialize>, Problem> {
    let path = parse(&text)?;
    caller.require(Role::Viewer, &path)?;
    let group = parts.identity.group(&path).await.map_err(|error| unread(error.kind(), &error))?;
    group
        .map(|group| Json(Group::from(group)))
        .ok_or_else(|| refused(&identity::ChangeError::UnknownGroup(path)))
}

/// What is to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    path: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Made {
    /// What was made, from the top: the group, and what it is in.
    groups: Vec<String>,
}

/// Makes a group, and what it is in.
pub(crate) async fn add(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Extension(caller): Extension<Caller>,
    body: Body<New>,
) -> Result<Response, Problem> {
    let new = body::read(body)?;
    let path = parse(&new.path)?;
    caller.require(Role::Operator, &path)?;
    let made = parts.identity.add_group(&by, &path).await.map_err(|error| refused(&error))?;
    let made = Made { groups: made.iter().map(ToString::to_string).collect() };
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

/// Removes a group that nobody is in.
pub(crate) async fn remove(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
) -> Result<StatusCode, Problem> {
    let path = parse(&text)?;
    caller.require(Role::Operator, &path)?;
    parts.identity.remove_group(&by, &path).await.map_err(|error| refused(&error))?;
    Ok(StatusCode::NO_CONTENT)
}
