//! How the API refuses: a problem document (RFC 9457), and the one table from [`Kind`] to HTTP status.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::Kind;
use serde::Serialize;

/// A refusal as the client sees it.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    code: &'static str,
    detail: String,
    hint: Option<String>,
    /// Where HTTP has a status of its own for it.
    status: Option<StatusCode>,
    retry_after_s: Option<u64>,
}

#[derive(Serialize)]
struct Document<'a> {
    /// A slug that is never reused, as a relative reference.
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl Problem {
    /// A refusal with its code (`room.reason`, never reused) and what was wrong.
    pub(crate) fn new(kind: Kind, code: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, code, detail: detail.into(), hint: None, status: None, retry_after_s: None }
    }

    /// With a status that HTTP has for it alone.
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// With what the reader can do about it.
    pub(crate) fn hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }

    /// With how long to wait, in seconds (RFC 9110, section 10.2.3).
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Its code.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }
}

/// The HTTP status of each kind.
fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::TooMuch => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Broken => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status.unwrap_or_else(|| status(self.kind));
        if self.kind == Kind::Broken {
            tracing::error!(code = self.code, detail = self.detail, "request failed");
        }
        let document = Document {
            r#type: format!("/problems/{}", self.code),
            title: status.canonical_reason().unwrap_or("Refused"),
            status: status.as_u16(),
            detail: &self.detail,
            hint: self.hint.as_deref(),
        };
        let mut answer = (status, Json(document)).into_response();
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }
}
