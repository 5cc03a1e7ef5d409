//! `GET /api/v1/me`: who the server takes the caller for, and what he may.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use crate::Parts;
use crate::caller::Caller;
use crate::client::Client;

/// The caller.
#[derive(Serialize, Deserialize)]
pub(crate) struct Me {
    /// As the audit log names him: `user:alice`.
    name: String,
    /// `viewer`, `operator@hq/floor-17`, …
    roles: Vec<String>,
    /// Of the token he came with; absent for one who is there himself.
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<String>>,
    /// For the header `x-godwit-csrf`, when he came by a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf: Option<String>,
}

/// Says it.
pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    Extension(caller): Extension<Caller>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Json<Me> {
    let rights = caller.rights();
    let login =
        parts.wire(client).sent(&headers).and_then(|cookie| parts.identity.authenticate_login(cookie).ok());
    Json(Me {
        name: caller.name().to_owned(),
        roles: rights.grants().iter().map(ToString::to_string).collect(),
        scopes: rights.scopes().map(|scopes| scopes.iter().map(ToString::to_string).collect()),
        csrf: login.map(|login| login.csrf.reveal().to_owned()),
    })
}
