//! Who may ask: whoever has a token, sent as `Authorization: Bearer …` (RFC 6750, section 2.1).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use identity::Actor;
use model::Kind;

use crate::Parts;
use crate::problem::Problem;

/// Lets a request through when its token is right; handlers find an [`Actor`] among its extensions.
pub(crate) async fn with_token(
    State(parts): State<Arc<Parts>>,
    mut request: Request,
    next: Next,
) -> Response {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = header.and_then(|value| value.strip_prefix("Bearer ")) else {
        return refusal("a token is needed: `Authorization: Bearer TOKEN`");
    };
    match parts.identity.authenticate_token(token.trim()) {
        Ok(who) => {
            let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
            request.extensions_mut().insert(Actor::of(&who, address));
            next.run(request).await
        }
        Err(_) => refusal("the token is not, or no longer, right"),
    }
}

fn refusal(detail: &str) -> Response {
    Problem::new(Kind::Unauthenticated, "api.token", detail)
        .hint(Some(
            "the token of a server is in `server.json` of its data directory; it changes with each start",
        ))
        .into_response()
}
