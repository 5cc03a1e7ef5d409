//! `POST /api/v1/query`: SQL in, rows out, as `Accept` asks; streamed as they come.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, StreamExt};
use identity::Actor;
use model::Kind;
use serde::Deserialize;

use crate::Parts;
use crate::body;
use crate::problem::Problem;

/// How long a query waits by default for what was acknowledged before it came, in milliseconds: the promise is that
/// it is visible within a second.
const WAIT_MS_DEFAULT: u64 = 1_000;
/// The longest such wait, in milliseconds.
const WAIT_MS_MAX: u64 = 600_000;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// The statement.
    sql: String,
    /// How long to wait, at most, until everything acknowledged before is visible.
    #[serde(default = "wait_default")]
    wait_ms: u64,
}

fn wait_default() -> u64 {
    WAIT_MS_DEFAULT
}

/// The forms of an answer.
fn form(headers: &HeaderMap) -> Result<(series::Format, &'static str), Problem> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    let wanted = accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
    for part in wanted {
        match part {
            "application/json" | "application/*" | "*/*" => {
                return Ok((series::Format::Json, "application/json"));
            }
            "text/csv" => return Ok((series::Format::Csv, "text/csv; charset=utf-8")),
            "text/plain" => return Ok((series::Format::Table, "text/plain; charset=utf-8")),
            _ => {}
        }
    }
    Err(Problem::new(Kind::Invalid, "api.accept", format!("an answer cannot be had as `{accept}`"))
        .hint(Some("ask for application/json, text/csv or text/plain")))
}

fn refusal(error: series::QueryError) -> Problem {
    Problem::new(error.kind(), error.slug(), error.to_string()).hint(error.hint())
}

/// Answers. `godwit-behind: N` in the head says that the newest N messages are not in the answer yet.
pub(crate) async fn query(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    headers: HeaderMap,
    body: body::Body<Question>,
) -> Result<Response, Problem> {
    let question = body::read(body)?;
    let (format, content_type) = form(&headers)?;
    if parts.is_classified {
        parts.identity.notice_sql(&by, &question.sql);
    }
    let acknowledged = parts.journal.durable_seq();
    let wait = Duration::from_millis(question.wait_ms.min(WAIT_MS_MAX));
    // An answer now beats a refusal: what is missing is said in the head.
    let _ = tokio::time::timeout(wait, parts.series.caught_up(acknowledged)).await;
    let behind = acknowledged.saturating_sub(parts.series.applied());
    let mut answer = parts.series.query(&question.sql, parts.series.query_limits()).await.map_err(refusal)?;
    // The first piece is waited for: what fails before it is still a problem document, not a broken answer.
    let first = answer.chunk(format).await.map_err(refusal)?;
    let rest = stream::try_unfold(answer, move |mut answer| async move {
        let chunk =
            answer.chunk(format).await.inspect_err(|error| tracing::warn!(%error, "an answer broke off"))?;
        Ok::<_, series::QueryError>(chunk.map(|chunk| (chunk, answer)))
    });
    let whole = stream::iter(first.map(Ok)).chain(rest);
    let mut response = Body::from_stream(whole).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    if behind > 0 {
        response.headers_mut().insert("godwit-behind", header::HeaderValue::from(behind));
    }
    Ok(response)
}
