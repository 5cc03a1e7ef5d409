//! `/api/v1/reprocess`: messages of the journal once more, through today's routes.
//!
//! Its shapes are read by `godwit reprocess` too.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use identity::Actor;
use model::{Kind, TopicFilter};
use serde::{Deserialize, Serialize};
use serde_json::json;
use series::{ReprocessState, Reprocessing};

use crate::Parts;
use crate::audit::note;
use crate::body::{self, Body};
use crate::export::moment;
use crate::problem::Problem;

/// What is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReprocessOrder {
    /// Messages received at this time or later (RFC 3339).
    pub since: String,
    /// Messages received before this time.
    pub until: Option<String>,
    /// Messages on topics of this filter alone.
    pub filter: Option<String>,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
}

/// How it stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reprocessed {
    /// Whether it runs, is done, or broke off.
    pub state: ReprocessedState,
    /// Why it broke off.
    pub error: Option<String>,
    /// Whether it only counts.
    pub dry_run: bool,
    /// The first seq.
    pub from: u64,
    /// How far it is.
    pub at: u64,
    /// The seq behind the last.
    pub to: u64,
    /// Messages that were looked at.
    pub messages: u64,
    /// Of these, those that no route matches.
    pub unrouted: u64,
    /// Messages that the journal could not hand out.
    pub lost: u64,
    /// What came of the others, by route.
    pub routes: Vec<ReprocessedRoute>,
}

/// Whether it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReprocessedState {
    /// It is under way.
    Running,
    /// It came to its end.
    Done,
    /// It broke off.
    Failed,
}

/// What came of a route's messages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReprocessedRoute {
    /// The route's filter.
    pub filter: String,
    /// Messages.
    pub messages: u64,
    /// Readings they carry.
    pub readings: u64,
    /// Readings that were not there.
    pub new: u64,
    /// Readings that took the place of another.
    pub replaced: u64,
    /// Readings that were there already.
    pub repeated: u64,
    /// Readings that gave way to newer ones.
    pub outdated: u64,
    /// Readings of more channels than a device may have.
    pub beyond: u64,
    /// Messages that cannot be decoded.
    pub undecodable: u64,
    /// Why they cannot.
    pub reasons: Vec<ReprocessedReason>,
}

/// Why messages cannot be decoded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReprocessedReason {
    /// The code of the reason.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// One of them, in words.
    pub detail: String,
}

fn shown(status: Reprocessing) -> Reprocessed {
    let reason = |(reason, count, detail)| ReprocessedReason { reason, count, detail };
    let route = |route: series::RouteCount| ReprocessedRoute {
        filter: route.filter,
        messages: route.messages,
        readings: route.readings,
        new: route.new,
        replaced: route.replaced,
        repeated: route.repeated,
        outdated: route.outdated,
        beyond: route.beyond,
        undecodable: route.undecodable,
        reasons: route.reasons.into_iter().map(reason).collect(),
    };
    Reprocessed {
        state: match status.state {
            ReprocessState::Running => ReprocessedState::Running,
            ReprocessState::Done => ReprocessedState::Done,
            ReprocessState::Failed => ReprocessedState::Failed,
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
    Extension(by): Extension<Actor>,
    body: Body<ReprocessOrder>,
) -> Result<Response, Problem> {
    let order = body::read(body)?;
    let after = json!({
        "since": order.since, "until": order.until, "filter": order.filter, "dry_run": order.dry_run,
    });
    let filter = order.filter.map(TopicFilter::parse).transpose();
    let filter = filter
        .map_err(|error| Problem::new(Kind::Invalid, "api.filter", format!("`filter` is none: {error}")))?;
    let since = moment("since", Some(&order.since))?.unwrap_or_default();
    let until = moment("until", order.until.as_ref())?;
    let what = series::Reprocess { since, until, filter, dry_run: order.dry_run };
    parts.series.reprocess(what).map_err(|error| {
        Problem::new(error.kind(), "series.reprocess", error.to_string()).hint(error.hint())
    })?;
    note(&parts, &by, "reprocess.start", "messages".to_owned(), Some(after)).await;
    let status = parts.series.reprocessing().map(shown);
    Ok((StatusCode::ACCEPTED, Json(status)).into_response())
}

/// How the one that runs, or ran last, stands; `null` when there was none since the start.
pub(crate) async fn how_far(State(parts): State<Arc<Parts>>) -> Json<impl Serialize> {
    Json(parts.series.reprocessing().map(shown))
}
