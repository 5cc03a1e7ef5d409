//! `GET /api/v1/unrouted`: what no route matched when it came, and the route that would fit.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::Parts;

#[derive(Serialize)]
struct Unrouted {
    /// All such messages, those of no listed pattern too.
    count: u64,
    patterns: Vec<Pattern>,
}

#[derive(Serialize)]
struct Pattern {
    pattern: String,
    count: u64,
    sample: Sample,
    /// Whether a route matches the sample by now: `godwit reprocess` brings such messages to life.
    routed: bool,
    /// A `[[route]]` for `godwit.toml`.
    suggestion: String,
}

#[derive(Serialize)]
struct Sample {
    seq: u64,
    topic: String,
    payload: String,
    received_at: String,
}

/// The patterns, the most frequent first.
pub(crate) async fn unrouted(State(parts): State<Arc<Parts>>) -> Json<impl Serialize> {
    let tally = parts.series.stats().tally;
    let mut kinds = tally.unrouted_kinds;
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.count));
    let shown = |kind: series::UnroutedKind| Pattern {
        routed: parts.series.has_route(&kind.sample.topic),
        pattern: kind.pattern,
        count: kind.count,
        suggestion: kind.suggestion,
        sample: Sample {
            received_at: kind.sample.received_at().to_string(),
            seq: kind.sample.seq,
            topic: kind.sample.topic,
            payload: kind.sample.payload,
        },
    };
    Json(Unrouted { count: tally.unrouted, patterns: kinds.into_iter().map(shown).collect() })
}
