//! Logging in and out: a password once, a cookie from then on.
//!
//! | request | answer |
//! |---|---|
//! | `POST /api/v1/login` | a cookie, and what must come beside it in the header `x-godwit-csrf` with every change |
//! | `POST /api/v1/logout` | ends it |
//! | `POST /api/v1/me/password` | a new password for whoever is logged in and knows the old one |
//! | `POST /api/v1/setup` | makes the first user by the code of the setup link |
//! | `GET /setup` | a page that asks for it |

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::{Extension, Json};
use identity::{Actor, LoginError, UserName, Who};
use model::Kind;
use serde::{Deserialize, Serialize};

use crate::Parts;
use crate::body::{self, Body, Secret};
use crate::client::Client;
use crate::problem::Problem;
use crate::users::refusal;

/// A name and a password.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    name: String,
    password: Secret,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct LoggedIn {
    name: String,
    roles: Vec<String>,
    /// For the header `x-godwit-csrf`.
    csrf: String,
}

/// Where nobody knows: it has a bucket of its own.
const NOWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

/// Logs in.
pub(crate) async fn log_in(
    State(parts): State<Arc<Parts>>,
    Extension(client): Extension<Client>,
    body: Body<Credentials>,
) -> Result<Response, Problem> {
    let address = client.address;
    parts.wire(client).private(address)?;
    let Credentials { name, password: Secret(password) } = body::read(body)?;
    let login = parts.identity.log_in(&name, password, address.unwrap_or(NOWHERE)).await;
    let login = login.map_err(|error| {
        let code = match &error {
            LoginError::Wrong => "identity.login",
            LoginError::Throttled { .. } => "identity.login_throttled",
            LoginError::Busy => "identity.busy",
            LoginError::Catalog(_) => "identity.write",
        };
        let problem = Problem::new(error.kind(), code, error.to_string()).hint(error.hint());
        match error {
            LoginError::Throttled { wait_s } => problem.retry_after(wait_s),
            _ => problem,
        }
    })?;
    let roles = parts.identity.rights(&login.who).grants().iter().map(ToString::to_string).collect();
    tracing::info!(user = name, "logged in");
    let answer = LoggedIn { name, roles, csrf: login.csrf.reveal().to_owned() };
    let mut response = Json(answer).into_response();
    let headers = response.headers_mut();
    headers.insert(header::SET_COOKIE, parts.wire(client).set(&login.cookie));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn no_login() -> Problem {
    Problem::new(Kind::Invalid, "api.no_login", "this request came without the cookie of a login")
}

/// Logs out. A token is not a login, and stays.
pub(crate) async fn log_out(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(cookie) = parts.wire(client).sent(&headers) else {
        return Err(no_login().hint(Some("a token is removed with `godwit token remove`")));
    };
    parts.identity.log_out(&by, cookie).await.map_err(refusal)?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(header::SET_COOKIE, parts.wire(client).clear());
    Ok(response)
}

/// A password in the place of another.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// The one of today.
    password: Secret,
    /// The one from now on.
    new: Secret,
}

/// Gives the caller a new password. For logins alone: a token is no proof of knowing the old one, nor has it one.
pub(crate) async fn change_password(
    State(parts): State<Arc<Parts>>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    body: Body<Change>,
) -> Result<StatusCode, Problem> {
    let address = client.address;
    parts.wire(client).private(address)?;
    let cookie = parts.wire(client).sent(&headers).ok_or_else(|| {
        no_login()
            .hint(Some("log in first; an admin gives others a new password with `godwit user reset NAME`"))
    })?;
    let Change { password: Secret(old), new: Secret(new) } = body::read(body)?;
    let changed = parts.identity.change_own_password(cookie, old, new, address.unwrap_or(NOWHERE)).await;
    changed.map_err(refusal)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The first user.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct First {
    code: Secret,
    name: String,
    password: Secret,
}

/// Makes the first user, an admin.
pub(crate) async fn set_up(
    State(parts): State<Arc<Parts>>,
    Extension(client): Extension<Client>,
    body: Body<First>,
) -> Result<StatusCode, Problem> {
    let address = client.address;
    parts.wire(client).private(address)?;
    let First { code: Secret(code), name, password: Secret(password) } = body::read(body)?;
    let name = UserName::parse(&name).map_err(refusal)?;
    let by = Actor::of(&Who::anonymous(), address);
    parts.identity.finish_setup(&by, code.trim(), &name, password).await.map_err(refusal)?;
    tracing::info!(user = %name, "the first user was made by the setup link");
    Ok(StatusCode::CREATED)
}

/// The page behind the setup link. The code is behind `#`: no log of a server or proxy has it.
pub(crate) async fn setup_page() -> Response {
    let headers = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
             form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(include_str!("setup.html"))).into_response()
}
