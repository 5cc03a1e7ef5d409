//! Users, their roles and passwords, and who is logged in, as the API shows and changes them.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use identity::{Actor, Grant, NewPassword, UserError, UserName};
use serde::{Deserialize, Serialize};

use crate::body::{self, Body, Secret};
use crate::page::Page;
use crate::problem::Problem;
use crate::{Parts, etag};

/// How a refusal of people looks; a stale `If-Match` is 412.
pub(crate) fn refusal(error: UserError) -> Problem {
    let problem = Problem::new(error.kind(), error.code(), error.to_string()).hint(error.hint());
    match error {
        UserError::Revision { .. } => problem.status(StatusCode::PRECONDITION_FAILED),
        UserError::Throttled { wait_s } => problem.retry_after(wait_s),
        _ => problem,
    }
}

fn parse(name: &str) -> Result<UserName, Problem> {
    UserName::parse(name).map_err(refusal)
}

fn roles(texts: &[String]) -> Result<Vec<Grant>, Problem> {
    let parsed: Result<_, _> = texts.iter().map(|text| text.parse()).collect();
    parsed.map_err(|error: identity::RightsError| refusal(error.into()))
}

#[derive(Serialize, Deserialize)]
pub(crate) struct User {
    name: String,
    roles: Vec<String>,
    revision: u64,
    created: String,
    tokens: usize,
}

impl From<identity::User> for User {
    fn from(user: identity::User) -> Self {
        Self {
            name: user.name.to_string(),
            roles: user.roles.iter().map(ToString::to_string).collect(),
            revision: user.revision,
            created: user.created.to_string(),
            tokens: user.tokens,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Users {
    users: Vec<User>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A page of users, by name.
pub(crate) async fn list(State(parts): State<Arc<Parts>>, Query(page): Query<Page>) -> Json<impl Serialize> {
    let (users, next) = page.of(parts.identity.users(), |user| user.name.to_string());
    Json(Users { users: users.into_iter().map(User::from).collect(), next })
}

/// One user; `ETag` is the revision.
pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let found = parts.identity.user(&name);
    let user = found.ok_or_else(|| refusal(UserError::Unknown(name.chars().take(64).collect())))?;
    Ok(etag::tagged(user.revision, User::from(user)))
}

/// A user to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    name: String,
    #[serde(default)]
    roles: Vec<String>,
    /// Without one, one is made and shown in the answer alone.
    password: Option<Secret>,
}

/// A password that was made here.
#[derive(Serialize, Deserialize)]
pub(crate) struct Made {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

fn new_password(given: Option<Secret>) -> NewPassword {
    given.map_or(NewPassword::Made, |Secret(password)| NewPassword::Chosen(password))
}

/// Adds a user.
pub(crate) async fn add(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    body: Body<New>,
) -> Result<Response, Problem> {
    let New { name, roles: given, password } = body::read(body)?;
    let name = parse(&name)?;
    let made =
        parts.identity.add_user(&by, &name, roles(&given)?, new_password(password)).await.map_err(refusal)?;
    tracing::info!(user = %name, by = by.name(), "a user was added");
    let made = Made { name: name.to_string(), password: made.map(|made| made.reveal().to_owned()) };
    Ok((StatusCode::CREATED, [etag::of(1)], Json(made)).into_response())
}

/// The roles somebody is to have, and no others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Roles {
    roles: Vec<String>,
}

/// Gives a user roles; `If-Match` names the revision that is meant.
pub(crate) async fn set_roles(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body<Roles>,
) -> Result<Response, Problem> {
    let expected = etag::if_match(&headers)?;
    let Roles { roles: given } = body::read(body)?;
    let name = parse(&name)?;
    let revision = parts.identity.set_roles(&by, &name, roles(&given)?, expected).await.map_err(refusal)?;
    tracing::info!(user = %name, roles = ?given, by = by.name(), "a user has other roles");
    Ok((StatusCode::NO_CONTENT, [etag::of(revision)]).into_response())
}

/// A password somebody is to have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Password {
    /// Without one, one is made and shown in the answer alone.
    password: Option<Secret>,
}

/// Gives a user a new password.
pub(crate) async fn set_password(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Path(name): Path<String>,
    body: Body<Password>,
) -> Result<Json<impl Serialize>, Problem> {
    let Password { password } = body::read(body)?;
    let name = parse(&name)?;
    let made = parts.identity.set_user_password(&by, &name, new_password(password)).await.map_err(refusal)?;
    tracing::info!(user = %name, by = by.name(), "a user has another password");
    Ok(Json(Made { name: name.to_string(), password: made.map(|made| made.reveal().to_owned()) }))
}

/// Removes a user; `If-Match` names the revision that is meant.
pub(crate) async fn remove(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let name = parse(&name)?;
    parts.identity.remove_user(&by, &name, etag::if_match(&headers)?).await.map_err(refusal)?;
    tracing::info!(user = %name, by = by.name(), "a user was removed");
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, Deserialize)]
struct Login {
    id: String,
    user: String,
    address: Option<String>,
    created: String,
    seen: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Logins {
    logins: Vec<Login>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A page of those who are logged in.
pub(crate) async fn logins(
    State(parts): State<Arc<Parts>>,
    Query(page): Query<Page>,
) -> Json<impl Serialize> {
    let mut all = parts.identity.logins();
    all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let (logins, next) = page.of(all, |login| login.id.clone());
    let shown = |login: identity::Login| Login {
        id: login.id,
        user: login.user.to_string(),
        address: login.address.map(|address| address.to_string()),
        created: login.created.to_string(),
        seen: login.seen.to_string(),
    };
    Json(Logins { logins: logins.into_iter().map(shown).collect(), next })
}

/// Ends a login.
pub(crate) async fn end_login(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    parts.identity.remove_login(&by, &id).await.map_err(refusal)?;
    Ok(StatusCode::NO_CONTENT)
}
