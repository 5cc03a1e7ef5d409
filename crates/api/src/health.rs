//! For those who watch: is it well, and what does it count.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::Parts;

/// `ok`, or 503 and why: a poisoned or full journal takes no message.
pub(crate) async fn health(State(parts): State<Arc<Parts>>) -> Response {
    let status = parts.journal.status();
    if let Some(reason) = status.poisoned {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("journal is poisoned: {reason}\n")).into_response();
    }
    if status.full {
        // Full by its own bound or by the volume's: either way nothing is taken.
        let (used, most) = (status.bytes, status.bytes_max);
        let text = format!("journal refuses messages: no room ({used} of at most {most} bytes used)\n");
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    "ok\n".into_response()
}

/// Prometheus text.
pub(crate) async fn metrics(State(parts): State<Arc<Parts>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (parts.metrics)()).into_response()
}
