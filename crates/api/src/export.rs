//! `POST /api/v1/export`: readings as a file, streamed as it is made.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures::stream::{self, StreamExt};
use identity::Actor;
use model::{Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Parts;
use crate::audit::notice_payloads;
use crate::body;
use crate::problem::Problem;

/// Most devices, and most channels, that a selection names.
const NAMES_MAX: usize = 10_000;

/// What a file may be, as [`series::FileFormat`] names them.
pub(crate) const MEDIA: &[&str] = &[PARQUET, CSV, JSONL];
const PARQUET: &str = "application/vnd.apache.parquet";
const CSV: &str = "text/csv; charset=utf-8";
const JSONL: &str = "application/x-ndjson";

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// Not before this time (RFC 3339).
    since: Option<String>,
    /// Before this time.
    until: Option<String>,
    /// Of these devices; of all when there is none.
    #[serde(default)]
    devices: Vec<String>,
    /// Of these channels; of all when there is none.
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default)]
    format: series::FileFormat,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Days {
    days: Vec<Day>,
}

#[derive(Serialize, Deserialize)]
struct Day {
    date: String,
    /// Its first moment, and that of the next.
    from: String,
    to: String,
}

/// A moment as the API takes it.
pub(crate) fn moment(name: &str, text: Option<&String>) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text else { return Ok(None) };
    Timestamp::parse(text)
        .map(Some)
        .map_err(|error| Problem::new(Kind::Invalid, "api.time", format!("`{name}` is no time: {error}")))
}

fn selection(body: body::Body<Question>) -> Result<(series::Selection, series::FileFormat), Problem> {
    let question = body::read(body)?;
    let names = question.devices.len().max(question.channels.len());
    if names > NAMES_MAX {
        let detail = format!("{names} names are selected; the most is {NAMES_MAX}");
        return Err(Problem::new(Kind::Invalid, "api.names", detail));
    }
    let selection = series::Selection {
        from: moment("since", question.since.as_ref())?,
        to: moment("until", question.until.as_ref())?,
        devices: question.devices,
        channels: question.channels,
    };
    Ok((selection, question.format))
}

fn refusal(error: series::QueryError) -> Problem {
    Problem::new(error.kind(), error.slug(), error.to_string()).hint(error.hint())
}

/// Which days there are: a file of an export each. Waits until everything acknowledged before is among them.
pub(crate) async fn days(
    State(parts): State<Arc<Parts>>,
    body: body::Body<Question>,
) -> Result<Json<impl Serialize>, Problem> {
    let (selection, _) = selection(body)?;
    parts.series.caught_up(parts.journal.durable_seq()).await;
    let shown = |day: series::Day| Day {
        date: day.to_string(),
        from: day.start().to_string(),
        to: day.end().to_string(),
    };
    Ok(Json(Days { days: parts.series.days(&selection).into_iter().map(shown).collect() }))
}

/// The file.
pub(crate) async fn export(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    body: body::Body<Question>,
) -> Result<Response, Problem> {
    let (selection, format) = selection(body)?;
    let list = |names: &[String]| if names.is_empty() { "all".to_owned() } else { names.join(",") };
    let what = format!("export:readings of {} on {}", list(&selection.channels), list(&selection.devices));
    notice_payloads(&parts, &by, &what);
    let mut export = parts.series.export(&selection, format).map_err(refusal)?;
    // The first piece is waited for: what fails before it is still a problem document, not a broken file.
    let first = export.chunk().await.map_err(refusal)?;
    let rest = stream::try_unfold(export, move |mut export| async move {
        let piece =
            export.chunk().await.inspect_err(|error| tracing::warn!(%error, "an export broke off"))?;
        Ok::<_, series::QueryError>(piece.map(|piece| (piece, export)))
    });
    let mut response = Body::from_stream(stream::iter(first.map(Ok)).chain(rest)).into_response();
    let content_type = match format {
        series::FileFormat::Parquet => PARQUET,
        series::FileFormat::Csv => CSV,
        series::FileFormat::Jsonl => JSONL,
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}
