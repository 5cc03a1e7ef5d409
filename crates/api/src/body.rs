//! Bodies of requests: JSON, checked while it is read.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use model::Kind;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::problem::Problem;

/// A body as a handler takes it, so that a malformed one is a problem document like every other refusal.
pub(crate) type Body<T> = Result<Json<T>, JsonRejection>;

/// A password in a body: wiped from memory when dropped, and never shown.
#[derive(Deserialize)]
#[serde(from = "String")]
pub(crate) struct Secret(pub(crate) Zeroizing<String>);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

/// What is in it.
///
/// # Errors
/// 400 `api.body` says where it is wrong.
pub(crate) fn read<T>(body: Body<T>) -> Result<T, Problem> {
    match body {
        Ok(Json(read)) => Ok(read),
        Err(error) => Err(Problem::new(Kind::Invalid, "api.body", error.body_text())),
    }
}
