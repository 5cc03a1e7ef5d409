//! `/api/v1/reprocess`: messages of the journal once more, through today's routes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::{Kind, TopicFilter};
use serde::{Deserialize, Serialize};
use series::{ReprocessState, Reprocessing};

use crate::Parts;
use crate::export::moment;
use crate::problem::Problem;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// Messages received at this time or later (RFC 3339).
    since: String,
    /// Messages received before this time.
    until: Option<String>,
    /// Messages on topics of this filter alone.
    filter: Option<String>,
    /// Only count.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Shown {
    state: &'static str,
    error: Option<String>,
    dry_run: bool,
    from: u64,
    at: u64,
    to: u64,
    messages: u64,
    unrouted: u64,
    lost: u64,
    routes: Vec<Route>,
}

#[derive(Serialize)]
struct Route {
    filter: String,
    messages: u64,
    readings: u64,
    new: u64,
    replaced: u64,
    repeated: u64,
    outdated: u64,
    beyond: u64,
    undecodable: u64,
    reasons: Vec<Reason>,
}

#[derive(Serialize)]
struct Reason {
    reason: String,
    count: u64,
    detail: String,
}

fn shown(status: Reprocessing) -> Shown {
    let route = |route: series::RouteCount| Route {
        filter: route.filter,
        messages: route.messages,
        readings: route.readings,
        new: route.new,
        replaced: route.replaced,
        repeated: route.repeated,
        outdated: route.outdated,
        beyond: route.beyond,
        undecodable: route.undecodable,
        reasons: route
            .reasons
            .into_iter()
            .map(|(reason, count, detail)| Reason { reason, count, detail })
            .collect(),
    };
    Shown {
        state: match status.state {
            ReprocessState::Running => "running",
            ReprocessState::Done => "done",
            ReprocessState::Failed => "failed",
        },
        error: status.error,
        dry_run: status.dry_run,
        from: status.from,
        at: status.at,
        to: status.to,
        messages: status.messages,
        unrouted: status.unrouted,
        lost: status.lost,
        routes: status.routes.into_iter().filter(|route| route.messages > 0).map(route).collect(),
    }
}

/// Begins; 202, and how it stands.
pub(crate) async fn start(
    State(parts): State<Arc<Parts>>,
    body: Result<Json<Order>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(order) = body.map_err(|error| Problem::new(Kind::Invalid, "api.body", error.body_text()))?;
    let filter = order.filter.map(TopicFilter::parse).transpose();
    let filter = filter
        .map_err(|error| Problem::new(Kind::Invalid, "api.filter", format!("`filter` is none: {error}")))?;
    let since = moment("since", Some(&order.since))?.unwrap_or_default();
    let until = moment("until", order.until.as_ref())?;
    let what = series::Reprocess { since, until, filter, dry_run: order.dry_run };
    parts.series.reprocess(what).map_err(|error| {
        Problem::new(error.kind(), "series.reprocess", error.to_string()).hint(error.hint())
    })?;
    let status = parts.series.reprocessing().map(shown);
    Ok((StatusCode::ACCEPTED, Json(status)).into_response())
}

/// How the one that runs, or ran last, stands; `null` when there was none since the start.
pub(crate) async fn how_far(State(parts): State<Arc<Parts>>) -> Json<impl Serialize> {
    Json(parts.series.reprocessing().map(shown))
}
