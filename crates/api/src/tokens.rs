//! Tokens of users, as the API shows, makes and removes them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use identity::{Actor, NewToken, RightsError, Scope, UserName};
use serde::{Deserialize, Serialize};

use crate::Parts;
use crate::body::{self, Body};
use crate::page::Page;
use crate::problem::Problem;
use crate::users::refusal;

#[derive(Serialize, Deserialize)]
pub(crate) struct Token {
    id: String,
    user: String,
    name: String,
    scopes: Vec<String>,
    created: String,
    expires: Option<String>,
    /// In the answer that made it, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl From<identity::Token> for Token {
    fn from(token: identity::Token) -> Self {
        Self {
            id: token.id,
            user: token.user.to_string(),
            name: token.name,
            scopes: token.scopes.iter().map(ToString::to_string).collect(),
            created: token.created.to_string(),
            expires: token.expires.map(|expires| expires.to_string()),
            token: None,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Tokens {
    tokens: Vec<Token>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A page of tokens, by id.
pub(crate) async fn list(State(parts): State<Arc<Parts>>, Query(page): Query<Page>) -> Json<impl Serialize> {
    let mut all = parts.identity.tokens();
    all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let (tokens, next) = page.of(all, |token| token.id.clone());
    Json(Tokens { tokens: tokens.into_iter().map(Token::from).collect(), next })
}

/// A token to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    user: String,
    name: String,
    scopes: Vec<String>,
    /// How long it works, in seconds; without it until it is removed.
    life_s: Option<u64>,
}

/// Makes a token, which this answer alone shows.
pub(crate) async fn add(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    body: Body<New>,
) -> Result<Response, Problem> {
    let New { user, name, scopes, life_s } = body::read(body)?;
    let scopes: Result<Vec<Scope>, RightsError> = scopes.iter().map(|text| text.parse()).collect();
    let new = NewToken {
        user: UserName::parse(&user).map_err(refusal)?,
        name,
        scopes: scopes.map_err(|error| refusal(error.into()))?,
        life: life_s.map(Duration::from_secs),
    };
    let (token, secret) = parts.identity.add_token(&by, new).await.map_err(refusal)?;
    tracing::info!(user = %token.user, token = token.name, by = by.name(), "a token was made");
    let shown = Token { token: Some(secret.reveal().to_owned()), ..Token::from(token) };
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// Removes a token.
pub(crate) async fn remove(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    parts.identity.remove_token(&by, &id).await.map_err(refusal)?;
    Ok(StatusCode::NO_CONTENT)
}
