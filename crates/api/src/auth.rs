//! Who asks, and may they: the gate before every handler.
//!
//! A token comes as `Authorization: Bearer …` (RFC 6750, section 2.1). The laws: what has no row in the table is
//! refused; a handler runs only for a caller who holds the least role of its row.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use identity::Actor;
use model::Kind;

use crate::Parts;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::routes::{Access, Place, Row};

/// Lets a request through when its row permits it; handlers find an [`Actor`] and a [`Caller`] among its extensions.
pub(crate) async fn judged(row: Row, mut request: Request, next: Next) -> Response {
    match judge(&row, &mut request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn judge(row: &Row, request: &mut Request) -> Result<(), Problem> {
    if row.access == Access::Public {
        return Ok(());
    }
    let identity =
        request.extensions().get::<Arc<Parts>>().expect("the router hands them in").identity.clone();
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = header.and_then(|value| value.strip_prefix("Bearer ")) else {
        return Err(unproven("a token is needed: `Authorization: Bearer TOKEN`"));
    };
    let who = identity
        .authenticate_token(token.trim())
        .map_err(|_| unproven("the token is not, or no longer, right"))?;
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let by = Actor::of(&who, address);
    let caller = Caller::new(by.clone(), identity.rights(&who));
    if let Access::Least { role, place, area } = row.access {
        caller.require_scope(area, row.verb())?;
        match place {
            Place::Everywhere => caller.require(role, "")?,
            Place::Group => caller.require_somewhere(role)?,
        }
    }
    request.extensions_mut().insert(by);
    request.extensions_mut().insert(caller);
    Ok(())
}

fn unproven(detail: &str) -> Problem {
    Problem::new(Kind::Unauthenticated, "api.token", detail).hint(Some(
        "the token of a server is in `server.json` of its data directory; it changes with each start",
    ))
}
