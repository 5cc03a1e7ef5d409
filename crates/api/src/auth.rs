//! Who asks, and may they: the gate before every handler.
//!
//! A token comes as `Authorization: Bearer …` (RFC 6750, section 2.1), a login as a cookie. The laws: what has no row
//! in the table is refused; a handler runs only for a caller who holds the least role of its row; a change that comes
//! by a cookie has beside it what only our own pages can know; a refusal is in the audit log; a change that was begun is
//! done to its end, whoever hangs up.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::Method;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use identity::{Actor, Outcome, Verb, Who};
use model::Kind;
use serde_json::json;

use crate::Parts;
use crate::caller::Caller;
use crate::client::Client;
use crate::cookie::CSRF_HEADER;
use crate::deeds::Deeds;
use crate::problem::Problem;
use crate::routes::{Access, Place, Row};

/// Lets a request through when its row permits it; handlers find an [`Actor`] and a [`Caller`] among its extensions.
pub(crate) async fn judged(row: Row, mut request: Request, next: Next) -> Response {
    let parts = Arc::clone(request.extensions().get::<Arc<Parts>>().expect("the router hands them in"));
    let client = Client::of(&parts.settings.trusted_proxies, request.headers(), request.extensions());
    request.extensions_mut().insert(client);
    if row.access == Access::Public {
        return to_its_end(&row, next, request).await;
    }
    let address = client.address;
    let (by, judged) = match proven(&parts, &request, client) {
        Ok(who) => {
            let by = Actor::of(&who, address);
            let caller = Caller::new(by.clone(), parts.identity.rights(&who));
            let judged = permitted(&row, &caller).map(|()| caller);
            (by, judged)
        }
        Err(problem) => (Actor::of(&Who::anonymous(), address), Err(problem)),
    };
    let refused = |problem: Problem| {
        // Whoever came without anything to show has told nothing worth an entry.
        if problem.code() != NO_TOKEN {
            let what = format!("route:{} {}", row.method, row.path);
            let why = Some(json!({ "why": problem.code() }));
            parts.identity.notice(&by, "api.refuse", what, Outcome::Refused, why);
        }
        problem.into_response()
    };
    match judged {
        Ok(caller) => {
            request.extensions_mut().insert(by);
            request.extensions_mut().insert(caller);
            to_its_end(&row, next, request).await
        }
        Err(problem) => refused(problem),
    }
}

/// Runs a handler. One that changes something runs in a task of its own: a client that hangs up would end it where it waits,
/// between the deed and what belongs to it, such as its entry in the audit log. A stop waits for it.
async fn to_its_end(row: &Row, next: Next, request: Request) -> Response {
    if row.verb() == Verb::Read {
        return next.run(request).await;
    }
    let deed = request.extensions().get::<Deeds>().expect("the router hands them in").begin();
    let doing = async move {
        let response = next.run(request).await;
        drop(deed);
        response
    };
    match tokio::spawn(doing).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, method = %row.method, path = row.path, "a request was not answered");
            Problem::new(Kind::Broken, "api.broken", "the server failed to answer; its log says why")
                .into_response()
        }
    }
}

/// Who it is.
fn proven(parts: &Parts, request: &Request, client: Client) -> Result<Who, Problem> {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(token) = header.and_then(|value| value.strip_prefix("Bearer ")) {
        let who = parts
            .identity
            .authenticate_token(token.trim())
            .map_err(|_| unproven("api.token", "the token is not, or no longer, right"))?;
        if parts.wire(client).private(client.address).is_err() {
            warn_of_plain_token();
        }
        return Ok(who);
    }
    let Some(cookie) = parts.wire(client).sent(request.headers()) else {
        return Err(unproven(NO_TOKEN, "a token is needed: `Authorization: Bearer TOKEN`"));
    };
    let presence = parts
        .identity
        .authenticate_login(cookie)
        .map_err(|_| unproven("api.login", "this login is over: log in again"))?;
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD);
    let beside = request.headers().get(CSRF_HEADER).and_then(|value| value.to_str().ok());
    if is_change && !beside.is_some_and(|beside| presence.csrf.is(beside)) {
        let detail = format!("a change that comes by a cookie needs the header `{CSRF_HEADER}`");
        return Err(Problem::new(Kind::Forbidden, "api.csrf", detail)
            .hint(Some("send `csrf` of the answer to the login, or of GET /api/v1/me")));
    }
    Ok(presence.who)
}

/// Whether he may.
fn permitted(row: &Row, caller: &Caller) -> Result<(), Problem> {
    let Access::Least { role, place, area } = row.access else { return Ok(()) };
    caller.require_scope(area, row.verb())?;
    match place {
        Place::Everywhere => caller.require(role, ""),
        Place::Group => caller.require_somewhere(role),
    }
}

/// The code of a request that shows nothing.
const NO_TOKEN: &str = "api.no_token";

fn unproven(code: &'static str, detail: &str) -> Problem {
    Problem::new(Kind::Unauthenticated, code, detail).hint(Some(
        "make one with `godwit token add`; that of `server.json` in the data directory changes with each start",
    ))
}

/// Says it once: whoever sends a token in the clear sends it every second.
fn warn_of_plain_token() {
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| {
        tracing::warn!("a token came over plain HTTP from another machine: whoever listens there has it now; come by `ssh -L` or through a proxy that speaks TLS");
    });
}
