//! `GET /api/v1/me`: who the server takes the caller for, and what he may.

use axum::{Extension, Json};
use serde::Serialize;

use crate::caller::Caller;

/// The caller.
#[derive(Serialize)]
pub(crate) struct Me {
    /// As the audit log names him: `user:alice`.
    name: String,
    /// `viewer`, `operator@hq/floor-17`, …
    roles: Vec<String>,
    /// Of the token he came with; absent for one who is there himself.
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<String>>,
}

/// Says it.
pub(crate) async fn show(Extension(caller): Extension<Caller>) -> Json<Me> {
    let rights = caller.rights();
    Json(Me {
        name: caller.name().to_owned(),
        roles: rights.grants().iter().map(ToString::to_string).collect(),
        scopes: rights.scopes().map(|scopes| scopes.iter().map(ToString::to_string).collect()),
    })
}
