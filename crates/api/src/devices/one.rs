//! `/api/v1/devices/{name}` and what is below it: one device, and changes of it.
//!
//! A role that is bound to a group reaches the devices whose home is in it. The law: what was judged is what is changed; for
//! a caller whose role is bound, a device that moves meanwhile is a conflict.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::{Extension, Json};
use identity::{Actor, AttributeChange, Attributes, IfVersion, Role};
use model::{DeviceName, GroupPath};
use serde::{Deserialize, Deserializer, Serialize};

use super::shown::{self, Device, Flag, Placement, refused};
use crate::Parts;
use crate::body::{self, Body};
use crate::caller::Caller;
use crate::etag::{if_match, tagged};
use crate::problem::Problem;
use crate::sessions::Session;

/// All that is known of a device.
#[derive(Debug, Serialize)]
struct Whole {
    #[serde(flatten)]
    device: Device,
    #[serde(flatten)]
    beside: Beside,
}

/// What is shown of one device beside what lists show.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Beside {
    /// Where it was, oldest first.
    placements: Vec<Placement>,
    /// Its sessions at the MQTT door.
    sessions: Vec<Session>,
    /// The newest time of a reading that it sent.
    last_reading: Option<String>,
    /// What somebody should look at.
    flags: Vec<Flag>,
    certificates: Vec<Certificate>,
    /// Policies that are attached to the device itself; those of its groups count beside.
    policies: Vec<String>,
    /// What it was refused since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Refused>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Certificate {
    id: String,
    status: String,
    not_after: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Refused {
    times: u64,
    last_action: String,
    last_topic: String,
    last_at: String,
}

/// One device.
pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let device = reached(&parts, &caller, Role::Viewer, &shown::name(&text)?).await?;
    let placements =
        parts.identity.placements(&device.name).await.map_err(|error| {
            Problem::new(error.kind(), "identity.read", error.to_string()).hint(error.hint())
        })?;
    let flags =
        parts.identity.flags(Some(device.name.clone())).await.map_err(|error| {
            Problem::new(error.kind(), "identity.read", error.to_string()).hint(error.hint())
        })?;
    let policies = parts.identity.policies_of(&identity::policy::Target::Device(device.name.clone()));
    let sessions = (parts.operators.sessions)();
    let of_device = |session: &Session| session.device.as_deref() == Some(device.name.as_str());
    let beside = Beside {
        placements: placements.into_iter().map(Placement::from).collect(),
        sessions: sessions.into_iter().filter(of_device).collect(),
        last_reading: last_reading(&parts, &device.name).await,
        flags: flags.into_iter().map(Flag::from).collect(),
        certificates: certificates(&parts, &device.name).await,
        policies: policies.iter().map(ToString::to_string).collect(),
        refused: parts.identity.refusals(&device.name).map(|refused| Refused {
            times: refused.counts.sum(),
            last_action: refused.action.name().to_owned(),
            last_topic: refused.topic.to_string(),
            last_at: refused.at.to_string(),
        }),
    };
    Ok(tagged(device.version, Whole { device: Device::of(&parts.identity, device), beside }))
}

/// The certificates of a device.
async fn certificates(parts: &Parts, name: &DeviceName) -> Vec<Certificate> {
    let filter = identity::CertificateFilter {
        device: Some(name.clone()),
        limit: identity::PAGE_CERTIFICATES_MAX,
        ..identity::CertificateFilter::default()
    };
    let shown = |one: identity::Certificate| Certificate {
        id: one.id.to_string(),
        status: one.status.name().to_owned(),
        not_after: one.not_after.to_string(),
    };
    parts.identity.certificates(filter).await.unwrap_or_default().into_iter().map(shown).collect()
}

/// The newest time of a reading; of a device that sent none, and when SQL cannot be asked now, none.
async fn last_reading(parts: &Parts, name: &DeviceName) -> Option<String> {
    // No character of a device's name ends a text in SQL.
    let sql = format!("SELECT max(time) AS time FROM latest WHERE device = '{name}'");
    let answer = parts.series.query(&sql, parts.series.query_limits()).await.ok()?;
    let json = answer.whole(series::Format::Json).await.ok()?;
    let rows: Vec<BTreeMap<String, Option<String>>> = serde_json::from_str(&json).ok()?;
    rows.into_iter().next()?.remove("time")?
}

/// What is to be changed of a device: what is absent stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Patch {
    /// Where it is to be; `null`: nowhere.
    #[serde(default, deserialize_with = "present")]
    group: Option<Option<String>>,
    /// Attributes to set; those that are `null` are removed (as in RFC 7396).
    #[serde(default)]
    attributes: BTreeMap<String, Option<String>>,
}

/// Tells `null` from absence.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// Moves a device and changes its attributes.
pub(crate) async fn change(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
    headers: HeaderMap,
    body: Body<Patch>,
) -> Result<Response, Problem> {
    let patch = body::read(body)?;
    let (name, version) = judged(&parts, &caller, &text, &headers).await?;
    let set = patch.attributes.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
    let invalid =
        |error: identity::AttributeError| Problem::new(error.kind(), "identity.attribute", error.to_string());
    let set = Attributes::new(set).map_err(invalid)?;
    let remove = patch.attributes.into_iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key);
    let change = AttributeChange { set, remove: remove.collect() };
    let changed = match patch.group {
        None => parts.identity.set_attributes(&by, &name, change, version).await,
        Some(to) => {
            let to = to.as_deref().map(shown::group).transpose()?;
            // Who takes a device in answers for it there too.
            caller.require(Role::Operator, to.as_deref().unwrap_or_default())?;
            parts.identity.move_and_set(&by, &name, to, change, version).await
        }
    };
    answered(&parts, changed)
}

/// Removes a device. Its readings, its placements and its name stay.
pub(crate) async fn remove(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (name, version) = judged(&parts, &caller, &text, &headers).await?;
    let removed = parts.identity.remove_device(&by, &name, version).await;
    if removed.is_ok() {
        (parts.operators.end_sessions_of)(&name);
        tracing::info!(device = %name, by = by.name(), "a device was removed");
    }
    answered(&parts, removed)
}

/// What a device is replaced by.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replacement {
    /// The name of the device that takes its place.
    by: String,
}

/// Puts another device in the place of this one; shows the other.
pub(crate) async fn replace(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
    headers: HeaderMap,
    body: Body<Replacement>,
) -> Result<Response, Problem> {
    let body = body::read(body)?;
    let (old, version) = judged(&parts, &caller, &text, &headers).await?;
    let new = shown::name(&body.by)?;
    let new_version = successor(&parts, &caller, &new).await?;
    let replaced = parts.identity.replace_device(&by, &old, &new, version, new_version).await;
    if replaced.is_ok() {
        (parts.operators.end_sessions_of)(&old);
        tracing::info!(device = %old, successor = %new, by = by.name(), "a device was replaced");
    }
    answered(&parts, replaced)
}

/// Looks whether the caller may put this device somewhere else, and as what he may: for one whose role is bound, as it is
/// now, or as one that nobody knows.
async fn successor(parts: &Parts, caller: &Caller, new: &DeviceName) -> Result<IfVersion, Problem> {
    let known =
        parts.identity.device(new).await.map_err(|error| {
            Problem::new(error.kind(), "identity.read", error.to_string()).hint(error.hint())
        })?;
    if let Some(known) = &known {
        caller.require_at(Role::Operator, new, Some(known.group.as_deref().unwrap_or_default()))?;
    }
    Ok(caller.is_bound(Role::Operator).then(|| known.map_or(0, |known| known.version)))
}

/// Why a device is quarantined.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    /// In a sentence.
    reason: String,
}

/// Puts a device into quarantine.
pub(crate) async fn quarantine(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
    headers: HeaderMap,
    body: Body<Reason>,
) -> Result<Response, Problem> {
    let body = body::read(body)?;
    let (name, version) = judged(&parts, &caller, &text, &headers).await?;
    let changed = parts.identity.quarantine_device(&by, &name, &body.reason, version).await;
    if changed.is_ok() {
        tracing::warn!(device = %name, by = by.name(), reason = body.reason, "a device was quarantined");
    }
    answered(&parts, changed)
}

/// Ends the quarantine of a device.
pub(crate) async fn release(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (name, version) = judged(&parts, &caller, &text, &headers).await?;
    let changed = parts.identity.release_device(&by, &name, version).await;
    if changed.is_ok() {
        tracing::info!(device = %name, by = by.name(), "a device was released from quarantine");
    }
    answered(&parts, changed)
}

/// Makes a device a member of a group.
pub(crate) async fn join(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Extension(caller): Extension<Caller>,
    Path((text, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (name, path, version) = judged_both(&parts, &caller, &text, &path, &headers).await?;
    answered(&parts, parts.identity.join_group(&by, &name, &path, version).await)
}

/// Ends a membership.
pub(crate) async fn leave(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Extension(caller): Extension<Caller>,
    Path((text, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (name, path, version) = judged_both(&parts, &caller, &text, &path, &headers).await?;
    answered(&parts, parts.identity.leave_group(&by, &name, &path, version).await)
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cleared {
    /// How many flags there were.
    cleared: usize,
}

/// Clears the flags of a device.
pub(crate) async fn clear(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
) -> Result<Json<impl Serialize>, Problem> {
    let device = reached(&parts, &caller, Role::Operator, &shown::name(&text)?).await?;
    let cleared = parts.identity.clear_flags(&by, &device.name).await.map_err(|error| refused(&error))?;
    Ok(Json(Cleared { cleared }))
}

fn answered(
    parts: &Parts,
    changed: Result<identity::Device, identity::ChangeError>,
) -> Result<Response, Problem> {
    let device = changed.map_err(|error| refused(&error))?;
    Ok(tagged(device.version, Device::of(&parts.identity, device)))
}

/// The device, if there is one and the caller holds the role where it is.
pub(crate) async fn reached(
    parts: &Parts,
    caller: &Caller,
    role: Role,
    name: &DeviceName,
) -> Result<identity::Device, Problem> {
    let device =
        parts.identity.device(name).await.map_err(|error| {
            Problem::new(error.kind(), "identity.read", error.to_string()).hint(error.hint())
        })?;
    let home = device.as_ref().map(|device| device.group.as_deref().unwrap_or_default());
    caller.require_at(role, name, home)?;
    device.ok_or_else(|| refused(&identity::ChangeError::Unknown(name.clone())))
}

/// The device that an operator wants to change, and of which version.
async fn judged(
    parts: &Parts,
    caller: &Caller,
    text: &str,
    headers: &HeaderMap,
) -> Result<(DeviceName, IfVersion), Problem> {
    let (name, asked) = (shown::name(text)?, if_match(headers)?);
    let device = reached(parts, caller, Role::Operator, &name).await?;
    Ok((name, asked.or_else(|| caller.is_bound(Role::Operator).then_some(device.version))))
}

/// The same for a device and a group.
async fn judged_both(
    parts: &Parts,
    caller: &Caller,
    text: &str,
    path: &str,
    headers: &HeaderMap,
) -> Result<(DeviceName, GroupPath, IfVersion), Problem> {
    let path = shown::group(path)?;
    // Policies of the group would count for the device, and devices of the group would have company.
    caller.require(Role::Operator, &path)?;
    let (name, version) = judged(parts, caller, text, headers).await?;
    Ok((name, path, version))
}
