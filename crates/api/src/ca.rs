//! The certificate authority: what it is made of, what ends when, and where the root's private key is.
//!
//! The law: no key leaves or comes in the clear; whoever asks brings the key that it goes under, which a passphrase became
//! on his own machine.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use host::DataKey;
use identity::{Actor, Authority, AuthorityError};
use model::Kind;
use serde::{Deserialize, Serialize};

use crate::Parts;
use crate::body::{self, Body};
use crate::problem::Problem;

/// Weeks that are looked ahead: a quarter.
const WEEKS: usize = 13;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Shown {
    certificates: Vec<One>,
    /// Of devices: how many that may be used are over.
    expired: u64,
    /// … and how many end in this week, the next, and so on.
    expiring_by_week: Vec<u64>,
    ca: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct One {
    name: String,
    id: String,
    not_after: String,
    key_is_here: bool,
}

/// What it is made of, and what ends when.
pub(crate) async fn show(State(parts): State<Arc<Parts>>) -> Result<Json<impl Serialize>, Problem> {
    let authority = authority(&parts)?;
    let one = |view: identity::AuthorityView| One {
        name: view.name.to_owned(),
        id: view.id.to_string(),
        not_after: view.not_after.to_string(),
        key_is_here: view.has_key,
    };
    let mut weeks = parts.identity.expiring_certificates(WEEKS);
    Ok(Json(Shown {
        certificates: authority.views().into_iter().map(one).collect(),
        expired: weeks.remove(0),
        expiring_by_week: weeks,
        ca: authority.root_pem(),
    }))
}

/// What is asked of the root's key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Export {
    /// What it is to go under: 64 hexadecimal digits.
    key: String,
    /// Take it away here.
    #[serde(default)]
    remove: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Exported {
    root: String,
    sealed: String,
}

/// Gives the root's private key out, sealed.
pub(crate) async fn export(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    body: Body<Export>,
) -> Result<Json<impl Serialize>, Problem> {
    let wanted = body::read(body)?;
    let authority = authority(&parts)?;
    let key = key(&wanted.key)?;
    let sealed = authority.export_root(&by, &key, wanted.remove).await.map_err(|error| refused(&error))?;
    tracing::warn!(by = by.name(), removed = wanted.remove, "the root's private key was exported");
    Ok(Json(Exported { root: authority.views()[0].id.to_string(), sealed: hex(&sealed) }))
}

/// What is brought back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Import {
    key: String,
    sealed: String,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Imported {
    /// Whether a certificate had waited for the key.
    renewed: bool,
}

/// Takes the root's private key back.
pub(crate) async fn import(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    body: Body<Import>,
) -> Result<Json<impl Serialize>, Problem> {
    let brought = body::read(body)?;
    let authority = authority(&parts)?;
    let sealed = unhex(&brought.sealed)
        .ok_or_else(|| Problem::new(Kind::Invalid, "identity.root", "`sealed` is not hexadecimal"))?;
    let key = key(&brought.key)?;
    authority.import_root(&by, &key, &sealed).await.map_err(|error| refused(&error))?;
    // What waited for it is made now.
    let renewed = authority.renew().await.map_err(|error| refused(&error))?;
    tracing::warn!(by = by.name(), renewed, "the root's private key was brought back");
    Ok(Json(Imported { renewed }))
}

fn authority(parts: &Parts) -> Result<&Authority, Problem> {
    let none =
        || Problem::new(Kind::Unavailable, "identity.no_authority", "this server signs no certificates");
    parts.identity.authority().ok_or_else(none)
}

fn refused(error: &AuthorityError) -> Problem {
    let kind = match error {
        // Another passphrase is the asker's affair, not this machine's.
        AuthorityError::Key { .. } => Kind::Invalid,
        error => error.kind(),
    };
    Problem::new(kind, "identity.root", model::in_one_line(error)).hint(error.hint())
}

fn key(digits: &str) -> Result<DataKey, Problem> {
    let bytes = unhex(digits).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.map(DataKey::new).ok_or_else(|| {
        Problem::new(Kind::Invalid, "identity.root", "`key` must be 32 bytes as hexadecimal digits")
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}
