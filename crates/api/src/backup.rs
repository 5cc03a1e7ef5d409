//! `POST /api/v1/backup`: the whole data directory as one archive, streamed while the server works.
//!
//! What is in the archive is the composition root's. The law: no key leaves in the clear; whoever asks either brings
//! the key it goes under or says that it is to stay behind.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use futures::stream;
use host::DataKey;
use identity::Actor;
use model::Kind;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use crate::Parts;
use crate::audit::note;
use crate::problem::Problem;

/// What is to be backed up, and how.
pub struct BackupOrder {
    /// The key that the key-encryption key goes under; `None` leaves it out.
    pub key: Option<BackupKey>,
}

/// A key that a passphrase became, and how it did: the archive says so to whoever restores it.
pub struct BackupKey {
    /// How: `argon2id`.
    pub kdf: String,
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
    /// Salt, hexadecimal.
    pub salt: String,
    /// The key.
    pub key: DataKey,
}

/// A backup is under way already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a backup is under way already")]
pub struct BackupBusy;

/// Begins a backup and gives its bytes in pieces. What ends without its manifest is none.
pub type Backup = Box<dyn Fn(BackupOrder) -> Result<mpsc::Receiver<Bytes>, BackupBusy> + Send + Sync>;

/// What is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    key: Option<Key>,
    #[serde(default)]
    without_key: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    kdf: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    key: String,
}

/// Streams it.
pub(crate) async fn backup(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    body: Result<Json<Wanted>, JsonRejection>,
) -> Result<Response, Problem> {
    let invalid = |detail: &str| Problem::new(Kind::Invalid, "api.body", detail);
    let Json(wanted) = body.map_err(|error| invalid(&error.body_text()))?;
    let key = match (wanted.key, wanted.without_key) {
        (Some(key), false) => {
            let Key { kdf, memory_kib, passes, lanes, salt, key } = key;
            let key = parse_key(&key).ok_or_else(|| invalid("`key.key` must be 64 hexadecimal digits"))?;
            Some(BackupKey { kdf, memory_kib, passes, lanes, salt, key })
        }
        (None, true) => None,
        _ => return Err(invalid("give `key`, or `\"without_key\": true` to leave the data's key out")),
    };
    let after = json!({ "with_key": key.is_some() });
    let pieces = (parts.backup)(BackupOrder { key }).map_err(|busy| {
        Problem::new(Kind::Conflict, "backup.busy", busy.to_string())
            .hint(Some("wait until it is done; one whose reader is gone ends within two minutes"))
    })?;
    note(&parts, &by, "backup.begin", "data".to_owned(), Some(after)).await;
    let pieces = stream::unfold(pieces, |mut pieces| async {
        let piece = pieces.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), pieces))
    });
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-tar"));
    Ok(response)
}

fn parse_key(text: &str) -> Option<DataKey> {
    let mut key = DataKey::new([0; 32]);
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(key)
}
