//! Certificates of devices: making, registering, listing, turning off.
//!
//! A private key that was made here stands in the answer to the request that asked for it, and nowhere else.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use identity::{
    Actor, Certificate, CertificateFilter, CertificateId, CertificateStatus, Issued, NewKey, Role,
};
use model::{DeviceName, Kind};
use serde::{Deserialize, Serialize};

use crate::Parts;
use crate::body::{self, Body};
use crate::caller::{Caller, home};
use crate::devices::one::reached;
use crate::problem::Problem;

/// The register cannot be read: a problem document of it. (`api` does not know the catalog's types by name.)
macro_rules! unread {
    () => {
        |error| Problem::new(error.kind(), "identity.read", error.to_string()).hint(error.hint())
    };
}

/// A certificate as the API shows it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Shown {
    id: String,
    device: Option<String>,
    status: String,
    origin: String,
    subject: String,
    not_before: String,
    not_after: String,
    created: String,
    last_seen: Option<String>,
    replaces: Option<String>,
    retired_by: Option<String>,
    certificate: String,
}

impl From<Certificate> for Shown {
    fn from(certificate: Certificate) -> Self {
        let pem = certificate.pem();
        Self {
            id: certificate.id.to_string(),
            device: certificate.device.map(|name| name.to_string()),
            status: certificate.status.name().to_owned(),
            origin: certificate.origin.name().to_owned(),
            subject: certificate.subject,
            not_before: certificate.not_before.to_string(),
            not_after: certificate.not_after.to_string(),
            created: certificate.created.to_string(),
            last_seen: certificate.last_seen.map(|at| at.to_string()),
            replaces: certificate.replaces.map(|id| id.to_string()),
            retired_by: certificate.retired_by.map(|id| id.to_string()),
            certificate: pem,
        }
    }
}

/// A certificate that was just made, and what its holder needs beside it.
#[derive(Debug, Serialize)]
pub(crate) struct Made {
    #[serde(flatten)]
    shown: Shown,
    #[serde(flatten)]
    beside: Beside,
}

/// What its holder needs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Beside {
    /// Shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<String>,
    /// What the device trusts.
    ca: Option<String>,
}

impl Made {
    pub(crate) fn of(parts: &Parts, issued: Issued) -> Self {
        let private_key = issued.private_key.map(|key| key.reveal().to_owned());
        let beside = Beside { private_key, ca: parts.identity.root_pem() };
        Self { shown: issued.certificate.into(), beside }
    }
}

/// Which certificates are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Only ids after this one: `next` of the page before.
    #[serde(default)]
    after: String,
    device: Option<String>,
    status: Option<String>,
    /// At most so many.
    #[serde(default = "hundred")]
    limit: usize,
}

fn hundred() -> usize {
    100
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Page {
    certificates: Vec<Shown>,
    next: Option<String>,
}

/// A page of certificates, by id.
pub(crate) async fn list(
    State(parts): State<Arc<Parts>>,
    Extension(caller): Extension<Caller>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<impl Serialize>, Problem> {
    let device = wanted.device.as_deref().map(name).transpose()?;
    if let Some(device) = &device {
        may_look(&parts, &caller, device).await?;
    }
    page(&parts, &caller, wanted, device).await
}

/// A page of the certificates of one device.
pub(crate) async fn list_of(
    State(parts): State<Arc<Parts>>,
    Extension(caller): Extension<Caller>,
    Path(device): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<impl Serialize>, Problem> {
    let device = name(&device)?;
    may_look(&parts, &caller, &device).await?;
    page(&parts, &caller, wanted, Some(device)).await
}

/// Whoever looks everywhere looks at names that nobody knows too: certificates outlive their devices.
async fn may_look(parts: &Parts, caller: &Caller, device: &DeviceName) -> Result<(), Problem> {
    if caller.is_bound(Role::Viewer) {
        reached(parts, caller, Role::Viewer, device).await?;
    }
    Ok(())
}

/// A page of those that the caller may see: whose role is bound to groups, those of the devices there.
async fn page(
    parts: &Parts,
    caller: &Caller,
    wanted: Wanted,
    device: Option<DeviceName>,
) -> Result<Json<Page>, Problem> {
    let mut after = match wanted.after.as_str() {
        "" => None,
        text => Some(id(text)?),
    };
    let status = wanted.status.as_deref().map(status).transpose()?;
    let limit = wanted.limit.clamp(1, identity::PAGE_CERTIFICATES_MAX);
    let read = if caller.is_bound(Role::Viewer) { identity::PAGE_CERTIFICATES_MAX } else { limit + 1 };
    let read = read.min(identity::PAGE_CERTIFICATES_MAX);
    // One more than is shown says whether there are more. What he may not look at is not named by `next` either.
    let mut seen: Vec<Certificate> = Vec::new();
    while seen.len() <= limit {
        let device = device.clone();
        let filter = CertificateFilter { device, status, after, limit: read, ..CertificateFilter::default() };
        let found = parts.identity.certificates(filter).await.map_err(unread!())?;
        let is_last = found.len() < read;
        after = found.last().map(|certificate| certificate.id);
        let may_look = |certificate: &Certificate| {
            let device = certificate.device.as_ref();
            caller.holds_at(&parts.identity, Role::Viewer, device)
        };
        seen.extend(found.into_iter().filter(may_look));
        if is_last {
            break;
        }
    }
    let has_more = seen.len() > limit;
    seen.truncate(limit);
    let next = seen.last().filter(|_| has_more).map(|last| last.id.to_string());
    Ok(Json(Page { certificates: seen.into_iter().map(Shown::from).collect(), next }))
}

/// One certificate.
pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
) -> Result<Json<impl Serialize>, Problem> {
    let (certificate, _) = seen(&parts, &caller, id(&text)?).await?;
    Ok(Json(Shown::from(certificate)))
}

/// The certificate, and where its device is: one of a device that the caller may not look at is, for him, none.
async fn seen(parts: &Parts, caller: &Caller, id: CertificateId) -> Result<(Certificate, String), Problem> {
    let found = parts.identity.certificate(&id).await.map_err(unread!())?;
    let found = found.map(|certificate| {
        let home = home(&parts.identity, certificate.device.as_ref());
        (certificate, home)
    });
    let found = found.filter(|(_, home)| caller.rights().holds(Role::Viewer, home));
    found.ok_or_else(|| refused(&identity::CertificateError::Unknown(id)))
}

/// What is asked for: one of three ways.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    /// A request (CSR), as PEM: its key stays where it is.
    csr: Option<String>,
    /// A certificate that was made elsewhere, as PEM: it is registered.
    certificate: Option<String>,
}

/// A further certificate for a device that is known; with an empty object its key is made here.
pub(crate) async fn add(
    State(parts): State<Arc<Parts>>,
    Extension(caller): Extension<Caller>,
    Extension(by): Extension<Actor>,
    Path(device): Path<String>,
    body: Body<New>,
) -> Result<Response, Problem> {
    let new = body::read(body)?;
    let device = name(&device)?;
    reached(&parts, &caller, Role::Operator, &device).await?;
    let identity = &parts.identity;
    let made = match (&new.csr, &new.certificate) {
        (Some(_), Some(_)) => {
            return Err(Problem::new(
                Kind::Invalid,
                "identity.certificate",
                "a request carries `csr` or `certificate`, not both",
            ));
        }
        (None, Some(pem)) => identity
            .register_certificate(&by, pem.as_bytes(), &device)
            .await
            .map(|certificate| Issued { certificate, private_key: None }),
        (csr, None) => identity.add_certificate(&by, &device, key(csr.as_deref())).await,
    };
    let made = made.map_err(|error| refused(&error))?;
    tracing::info!(%device, certificate = %made.certificate.id, "a device got a certificate");
    Ok((StatusCode::CREATED, Json(Made::of(&parts, made))).into_response())
}

/// What is to change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    status: String,
    /// When it is revoked: `revoke` or `keep` what was had by it through renewal. Default: `revoke`; of one that retired it has
    /// to be said.
    #[serde(default)]
    followers: Option<Fate>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fate {
    Revoke,
    Keep,
}

/// A certificate that was changed, and those that were had by it through renewal.
#[derive(Debug, Serialize)]
pub(crate) struct Changed {
    #[serde(flatten)]
    shown: Shown,
    #[serde(flatten)]
    followers: Followers,
}

/// Certificates that were had by another through renewal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Followers {
    /// Revoked with it.
    revoked: Vec<String>,
    /// Not revoked.
    standing: Vec<String>,
}

/// Turns a certificate on or off, or revokes it: its sessions are cut before the answer is there.
pub(crate) async fn change(
    State(parts): State<Arc<Parts>>,
    Extension(caller): Extension<Caller>,
    Extension(by): Extension<Actor>,
    Path(text): Path<String>,
    body: Body<Change>,
) -> Result<Json<impl Serialize>, Problem> {
    let change = body::read(body)?;
    let (id, status) = (id(&text)?, status(&change.status)?);
    let (_, home) = seen(&parts, &caller, id).await?;
    caller.require(Role::Operator, &home)?;
    let fate = change.followers.map_or(identity::Followers::Unsaid, |fate| match fate {
        Fate::Revoke => identity::Followers::Revoke,
        Fate::Keep => identity::Followers::Keep,
    });
    let changed = parts.identity.set_certificate_status(&by, &id, status, fate).await;
    let changed = changed.map_err(|error| refused(&error))?;
    tracing::info!(certificate = %id, status = status.name(), "a certificate changed");
    let ids = |ids: Vec<CertificateId>| ids.iter().map(CertificateId::to_string).collect();
    let followers = Followers { revoked: ids(changed.revoked), standing: ids(changed.standing) };
    Ok(Json(Changed { shown: changed.certificate.into(), followers }))
}

/// The key of a request, or one that is made here.
pub(crate) fn key(csr: Option<&str>) -> NewKey<'_> {
    csr.map_or(NewKey::Made, |pem| NewKey::Request(pem.as_bytes()))
}

pub(crate) fn refused(error: &identity::CertificateError) -> Problem {
    Problem::new(error.kind(), "identity.certificate", model::in_one_line(error)).hint(error.hint())
}

fn name(text: &str) -> Result<DeviceName, Problem> {
    DeviceName::parse(text.to_owned())
        .map_err(|error| Problem::new(Kind::Invalid, "identity.device_name", error.to_string()))
}

fn id(text: &str) -> Result<CertificateId, Problem> {
    CertificateId::parse(text).ok_or_else(|| {
        Problem::new(
            Kind::Invalid,
            "identity.certificate_id",
            format!("`{}` is no id of a certificate", text.escape_debug()),
        )
        .hint(Some(
            "it is the SHA-256 of its DER: 64 hexadecimal digits. See: godwit device certificate list",
        ))
    })
}

fn status(text: &str) -> Result<CertificateStatus, Problem> {
    CertificateStatus::from_name(text).ok_or_else(|| {
        Problem::new(
            Kind::Invalid,
            "identity.certificate_status",
            format!("`{}` is no status", text.escape_debug()),
        )
        .hint(Some("one of `active`, `inactive`, `pending`, `revoked`"))
    })
}
