//! The keys of the data directory as the API shows and rotates them.
//!
//! Not here: what they wrap (`host`). The law: a secret that an answer holds is in that answer alone: it is not logged, and
//! cannot be asked for again.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use identity::Actor;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Parts;
use crate::audit::note;
use crate::problem::Problem;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Where the master key is kept.
    place: String,
    /// Its id.
    master: String,
    /// The master key that the next start needs, when it is another one.
    next_master: Option<String>,
    /// The ring's keys, oldest first; the last wraps what is sealed from now on.
    ring: Vec<Key>,
    /// When the recovery code was made.
    recovery_code_made: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Key {
    id: String,
    created: String,
}

/// What is known of the keys; no secret.
pub(crate) async fn show(State(parts): State<Arc<Parts>>) -> Json<Status> {
    let status = parts.keys.status();
    Json(Status {
        place: status.place,
        master: status.master,
        next_master: status.next_master,
        ring: status.keys.into_iter().map(|(id, created)| Key { id, created }).collect(),
        recovery_code_made: status.recovery,
    })
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rotated {
    master: String,
    ring_key: String,
    /// The new master key, when the operator must put it in place: in this answer alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    master_key: Option<String>,
}

/// Makes a new master key and a new ring key.
pub(crate) async fn rotate(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
) -> Result<Json<Rotated>, Problem> {
    let store = Arc::clone(&parts.keys);
    let host = parts.host.clone();
    // It writes files, and a keeper is asked over the network.
    let rotated = blocking(move || store.rotate(host.clock.now(), &*host.disk, &*host.random)).await?;
    let after = json!({ "master": rotated.master, "ring_key": rotated.ring_key });
    note(&parts, &by, "keys.rotate", "keys".to_owned(), Some(after)).await;
    tracing::info!(master = rotated.master, ring_key = rotated.ring_key, "the keys were rotated");
    Ok(Json(Rotated {
        master: rotated.master,
        ring_key: rotated.ring_key,
        master_key: rotated.to_place.map(|key| key.reveal().to_string()),
    }))
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Recovery {
    recovery_code: String,
}

/// Makes a new recovery code, which this answer alone shows.
pub(crate) async fn recovery(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
) -> Result<Json<Recovery>, Problem> {
    let store = Arc::clone(&parts.keys);
    let host = parts.host.clone();
    let code =
        blocking(move || store.new_recovery_code(host.clock.now(), &*host.disk, &*host.random)).await?;
    note(&parts, &by, "keys.recovery", "keys".to_owned(), None).await;
    Ok(Json(Recovery { recovery_code: code.reveal().to_string() }))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, host::KeyError> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| Problem::new(model::Kind::Broken, "keys.failed", error.to_string()))?;
    done.map_err(|error| {
        let kind = match error {
            host::KeyError::Full | host::KeyError::NotPlaced { .. } => model::Kind::Conflict,
            host::KeyError::Keeper { .. } => model::Kind::Unavailable,
            _ => model::Kind::Broken,
        };
        Problem::new(kind, "keys.refused", model::in_one_line(&error)).hint(error.hint())
    })
}
