//! Provisioning templates and their claims: put, listed, shown, removed; a claim's private key stands in the answer to the
//! request that asked for it, and nowhere else.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use identity::Actor;
use identity::provisioning::{Claim, ProvisionError, TemplateAbout, TemplateName, TemplatePut};
use serde::{Deserialize, Serialize};

use crate::Parts;
use crate::body::{Body, read};
use crate::problem::Problem;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Listed {
    templates: Vec<About>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct About {
    name: String,
    /// Counts how often it was put.
    version: u64,
    created: String,
    changed: String,
    /// The newest first.
    claims: Vec<ClaimShown>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ClaimShown {
    certificate: String,
    status: String,
    not_after: String,
    /// How many devices it has made.
    devices: u64,
    devices_max: u64,
}

impl From<Claim> for ClaimShown {
    fn from(claim: Claim) -> Self {
        Self {
            certificate: claim.certificate.to_string(),
            status: claim.status.name().to_owned(),
            not_after: claim.not_after.to_string(),
            devices: claim.devices,
            devices_max: claim.devices_max,
        }
    }
}

impl From<TemplateAbout> for About {
    fn from(about: TemplateAbout) -> Self {
        Self {
            name: about.name.to_string(),
            version: about.version,
            created: about.created.to_string(),
            changed: about.changed.to_string(),
            claims: about.claims.into_iter().map(ClaimShown::from).collect(),
        }
    }
}

/// Every template, by name.
pub(crate) async fn list(State(parts): State<Arc<Parts>>) -> Result<Json<impl Serialize>, Problem> {
    let templates = parts.identity.templates().await.map_err(problem)?;
    Ok(Json(Listed { templates: templates.into_iter().map(About::from).collect() }))
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Shown {
    template: About,
    /// As it was put.
    body: String,
}

/// A template and its text.
pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    Path(name): Path<String>,
) -> Result<Json<impl Serialize>, Problem> {
    let (about, body) = parts.identity.template(&parse(&name)?).await.map_err(problem)?;
    Ok(Json(Shown { template: about.into(), body }))
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Put {
    name: String,
    version: u64,
    /// What is probably not as it was meant.
    warnings: Vec<String>,
}

/// Puts a template; the body is the template itself.
pub(crate) async fn put(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Path(name): Path<String>,
    body: String,
) -> Result<Response, Problem> {
    let name = parse(&name)?;
    let TemplatePut { version, warnings } =
        parts.identity.put_template(&by, &name, &body).await.map_err(problem)?;
    tracing::info!(template = %name, version, "a provisioning template was put");
    let status = if version == 1 { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(Put { name: name.to_string(), version, warnings })).into_response())
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Removed {
    claims_revoked: usize,
}

/// Removes a template and revokes its claims.
pub(crate) async fn remove(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<Json<impl Serialize>, Problem> {
    let name = parse(&name)?;
    let claims_revoked = parts.identity.remove_template(&by, &name).await.map_err(problem)?;
    tracing::info!(template = %name, claims_revoked, "a provisioning template was removed");
    Ok(Json(Removed { claims_revoked }))
}

/// What the claim is to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// For how many days it is good.
    days: u64,
    /// How many devices it makes at most.
    devices: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Made {
    id: String,
    not_after: String,
    certificate: String,
    /// Shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<String>,
    /// What the device trusts.
    ca: Option<String>,
}

/// Makes a claim.
pub(crate) async fn claim(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Path(name): Path<String>,
    body: Body<Wanted>,
) -> Result<Response, Problem> {
    let (name, wanted) = (parse(&name)?, read(body)?);
    let made = parts.identity.make_claim(&by, &name, wanted.days, wanted.devices).await.map_err(problem)?;
    tracing::info!(template = %name, certificate = %made.certificate.id, "a provisioning claim was made");
    let made = Made {
        id: made.certificate.id.to_string(),
        not_after: made.certificate.not_after.to_string(),
        certificate: made.certificate.pem(),
        private_key: made.private_key.map(|key| key.reveal().to_owned()),
        ca: parts.identity.root_pem(),
    };
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

fn parse(name: &str) -> Result<TemplateName, Problem> {
    TemplateName::parse(name).map_err(problem)
}

fn problem(error: ProvisionError) -> Problem {
    let (hint, code) = (error.hint(), error.code());
    Problem::new(error.kind(), code, error.to_string()).hint(hint)
}
