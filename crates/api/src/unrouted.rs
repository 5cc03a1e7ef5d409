//! `GET /api/v1/unrouted`: what no route matched when it came, and the route that would fit.
//!
//! Its shapes are read by `godwit route unrouted` too.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use identity::Actor;
use serde::{Deserialize, Serialize};

use crate::Parts;
use crate::audit::notice_payloads;

/// What came without a route.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Unrouted {
    /// All such messages, those of no listed pattern too.
    pub count: u64,
    /// By pattern.
    pub patterns: Vec<UnroutedPattern>,
}

/// Messages on topics of one pattern.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnroutedPattern {
    /// The topics, with `+` for what looks like a name.
    pub pattern: String,
    /// How many messages.
    pub count: u64,
    /// The newest of them.
    pub sample: UnroutedSample,
    /// Whether a route matches the sample by now: `godwit reprocess` brings such messages to life.
    pub routed: bool,
    /// A `[[route]]` for `godwit.toml`.
    pub suggestion: String,
}

/// A message, to look at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnroutedSample {
    /// Its place in the journal.
    pub seq: u64,
    /// Its topic.
    pub topic: String,
    /// The start of its payload, as text.
    pub payload: String,
    /// When it was received (RFC 3339).
    pub received_at: String,
}

/// The patterns, the most frequent first.
pub(crate) async fn unrouted(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
) -> Json<impl Serialize> {
    notice_payloads(&parts, &by, "unrouted");
    let tally = parts.series.stats().tally;
    let mut kinds = tally.unrouted_kinds;
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.count));
    let shown = |kind: series::UnroutedKind| UnroutedPattern {
        routed: parts.series.has_route(&kind.sample.topic),
        pattern: kind.pattern,
        count: kind.count,
        suggestion: kind.suggestion,
        sample: UnroutedSample {
            received_at: kind.sample.received_at().to_string(),
            seq: kind.sample.seq,
            topic: kind.sample.topic,
            payload: kind.sample.payload,
        },
    };
    Json(Unrouted { count: tally.unrouted, patterns: kinds.into_iter().map(shown).collect() })
}
