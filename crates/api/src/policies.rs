//! Policies as the API shows and changes them, and what they decide.
//!
//! A policy's version that counts is its ETag; a change made with `If-Match` against another one is refused with 412 (RFC 9110, section 13.1.1).

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use identity::policy::{
    Answer, AnswerBy, Effect, Expected, PolicyAbout, PolicyError, PolicyName, Question, Target,
};
use identity::{Action, Actor};
use model::limit::CLIENT_ID_BYTES_MAX;
use model::{DeviceName, Kind, TopicFilter, TopicName};
use serde::{Deserialize, Serialize};

use crate::Parts;
use crate::body::{self, Body};
use crate::etag;
use crate::problem::Problem;

/// Which policies are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Only names after this one: `next` of the page before.
    #[serde(default)]
    after: String,
    /// At most so many.
    #[serde(default = "hundred")]
    limit: usize,
}

fn hundred() -> usize {
    100
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Listed {
    policies: Vec<About>,
    next: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct About {
    name: String,
    /// The version that counts.
    active: u32,
    versions: Vec<Version>,
    /// `device:NAME`, `group:PATH`, `certificate:HEX`.
    targets: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Version {
    version: u32,
    created: String,
}

fn about(about: PolicyAbout) -> About {
    let version =
        |(version, created): (u32, model::Timestamp)| Version { version, created: created.to_string() };
    About {
        name: about.name.to_string(),
        active: about.active,
        versions: about.versions.into_iter().map(version).collect(),
        targets: about.targets.iter().map(ToString::to_string).collect(),
    }
}

/// A page of policies, by name.
pub(crate) async fn list(
    State(parts): State<Arc<Parts>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<impl Serialize>, Problem> {
    let after = match wanted.after.as_str() {
        "" => None,
        name => Some(parse(name)?),
    };
    let page = parts.identity.policies(after, wanted.limit).await.map_err(problem)?;
    let policies = page.policies.into_iter().map(about).collect();
    Ok(Json(Listed { policies, next: page.next.map(|name| name.to_string()) }))
}

/// Which version is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    version: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    about: About,
    #[serde(flatten)]
    beside: Beside,
}

/// One of its versions.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Beside {
    /// Which version `document` is.
    version: u32,
    /// As it was put.
    document: String,
}

/// A policy and one of its versions.
pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    Path(name): Path<String>,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let name = parse(&name)?;
    let known = parts.identity.policy(&name).await.map_err(problem)?;
    let (version, document) = parts.identity.policy_text(&name, which.version).await.map_err(problem)?;
    let active = known.active;
    let shown = Shown { about: about(known), beside: Beside { version, document } };
    Ok(etag::tagged(active.into(), shown))
}

/// How it is put.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    /// It counts at once.
    #[serde(default = "yes")]
    activate: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Put {
    name: String,
    version: u32,
    active: bool,
    /// The version that had to go for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<u32>,
    /// What is probably not as it was meant.
    warnings: Vec<String>,
}

/// Puts a new version; the body is the policy itself.
pub(crate) async fn put(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Path(name): Path<String>,
    Query(how): Query<How>,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Problem> {
    let (name, expected) = (parse(&name)?, expected(&headers)?);
    let put = parts.identity.put_policy(&by, &name, &body, expected, how.activate).await.map_err(problem)?;
    tracing::info!(policy = %name, version = put.version, active = put.is_active, "a policy was put");
    let active = match put.is_active {
        true => put.version,
        false => parts.identity.policy(&name).await.map_err(problem)?.active,
    };
    let status = if put.version == 1 { StatusCode::CREATED } else { StatusCode::OK };
    let said = Put {
        name: name.to_string(),
        version: put.version,
        active: put.is_active,
        dropped: put.dropped,
        warnings: put.warnings,
    };
    Ok((status, etag::tagged(active.into(), said)).into_response())
}

/// Which version is to count.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Activated {
    version: u32,
}

/// Lets another version count.
pub(crate) async fn activate(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body<Activated>,
) -> Result<Response, Problem> {
    let Activated { version } = body::read(body)?;
    let (name, expected) = (parse(&name)?, expected(&headers)?);
    parts.identity.activate_policy(&by, &name, version, expected).await.map_err(problem)?;
    tracing::info!(policy = %name, version, "another version of a policy counts");
    Ok((StatusCode::NO_CONTENT, [etag::of(version.into())]).into_response())
}

/// Removes a policy that is attached to nothing.
pub(crate) async fn remove(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let (name, expected) = (parse(&name)?, expected(&headers)?);
    parts.identity.remove_policy(&by, &name, expected).await.map_err(problem)?;
    tracing::info!(policy = %name, "a policy was removed");
    Ok(StatusCode::NO_CONTENT)
}

/// Attaches a policy. 201 when it was not attached before.
pub(crate) async fn attach(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Path((name, target)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (name, target) = (parse(&name)?, parse_target(&target)?);
    let is_new = parts.identity.attach_policy(&by, &name, &target).await.map_err(problem)?;
    tracing::info!(policy = %name, %target, "a policy was attached");
    Ok(if is_new { StatusCode::CREATED } else { StatusCode::NO_CONTENT })
}

/// Detaches a policy.
pub(crate) async fn detach(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Path((name, target)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (name, target) = (parse(&name)?, parse_target(&target)?);
    if !parts.identity.detach_policy(&by, &name, &target).await.map_err(problem)? {
        let detail = format!("policy `{name}` is not attached to `{target}`");
        return Err(Problem::new(Kind::NotFound, "identity.policy_not_attached", detail)
            .hint(Some("`godwit policy list` shows what is attached")));
    }
    tracing::info!(policy = %name, %target, "a policy was detached");
    Ok(StatusCode::NO_CONTENT)
}

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    device: String,
    /// `publish`, `iot:Publish`, …
    action: String,
    /// The topic, the filter or the client id.
    topic: String,
    client_id: Option<String>,
    address: Option<std::net::IpAddr>,
    /// The SHA-256 of the certificate by which it would connect.
    certificate: Option<String>,
    /// Judge by this policy alone.
    policy: Option<String>,
    /// Judge by this text alone, before it is put.
    document: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Decided {
    permitted: bool,
    reason: String,
    by: Option<By>,
    /// What was asked.
    policies: Vec<Judge>,
    advice: String,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Judge {
    policy: String,
    /// 0 for a text that is not put yet.
    version: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct By {
    policy: String,
    version: u32,
    /// From 1.
    statement: usize,
    sid: Option<String>,
    effect: String,
    text: String,
}

/// Says whether a device may, and which statement decides.
pub(crate) async fn decide(
    State(parts): State<Arc<Parts>>,
    body: Body<Asked>,
) -> Result<Json<impl Serialize>, Problem> {
    let asked = body::read(body)?;
    let device = device(&asked.device)?;
    let action = Action::from_name(&asked.action).ok_or_else(|| {
        let names = Action::ALL.map(Action::name).join(", ");
        let detail = format!("`{}` is no action; there are {names}", asked.action);
        Problem::new(Kind::Invalid, "identity.action", detail)
    })?;
    let asked_of = |error: model::TopicError| Problem::new(Kind::Invalid, "api.topic", error.to_string());
    match action {
        Action::Connect => client_id(&asked.topic)?,
        Action::Subscribe => drop(TopicFilter::parse(asked.topic.as_str()).map_err(asked_of)?),
        _ => drop(TopicName::parse(asked.topic.as_str()).map_err(asked_of)?),
    }
    asked.client_id.as_deref().map_or(Ok(()), client_id)?;
    let certificate = match &asked.certificate {
        None => None,
        Some(hex) => match parse_target(&format!("certificate:{hex}"))? {
            Target::Certificate(id) => Some(id),
            _ => None,
        },
    };
    let (mut policy, mut warnings) = (None, Vec::new());
    if let Some(text) = &asked.document {
        let name = parse(asked.policy.as_deref().unwrap_or("draft"))?;
        let (draft, found) = parts
            .identity
            .draft_policy(&name, text)
            .map_err(|error| problem(PolicyError::Document(error)))?;
        (policy, warnings) = (Some(draft), found);
    } else if let Some(name) = &asked.policy {
        let name = parse(name)?;
        let active =
            parts.identity.active_policy(&name).ok_or_else(|| problem(PolicyError::Unknown(name)))?;
        policy = Some(active);
    }
    let question = Question {
        device,
        certificate,
        action,
        topic: asked.topic,
        client_id: asked.client_id.map(Into::into),
        address: asked.address,
        policy,
    };
    let Answer { is_permitted, reason, by, policies, advice } = parts.identity.why(&question).await;
    let by = by.map(|AnswerBy { policy, version, statement, sid, effect, text }| By {
        policy: policy.to_string(),
        version,
        statement,
        sid,
        effect: match effect {
            Effect::Allow => "Allow".to_owned(),
            Effect::Deny => "Deny".to_owned(),
        },
        text,
    });
    let judge = |(policy, version): (PolicyName, u32)| Judge { policy: policy.to_string(), version };
    let policies = policies.into_iter().map(judge).collect();
    Ok(Json(Decided { permitted: is_permitted, reason, by, policies, advice, warnings }))
}

/// As the MQTT door takes it.
fn client_id(text: &str) -> Result<(), Problem> {
    if text.len() <= CLIENT_ID_BYTES_MAX && !text.contains('\0') {
        return Ok(());
    }
    let bytes = text.len();
    let said = format!("client id is {bytes} bytes, or has U+0000; the most is {CLIENT_ID_BYTES_MAX}");
    Err(Problem::new(Kind::Invalid, "api.client_id", said))
}

/// The devices behind a gateway.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Children {
    children: Vec<String>,
}

/// The devices that a gateway speaks for.
pub(crate) async fn children(
    State(parts): State<Arc<Parts>>,
    Path(name): Path<String>,
) -> Result<Json<Children>, Problem> {
    let children = parts.identity.children(&device(&name)?);
    Ok(Json(Children { children: children.iter().map(ToString::to_string).collect() }))
}

/// Lists the devices that a gateway speaks for.
pub(crate) async fn set_children(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Path(name): Path<String>,
    body: Body<Children>,
) -> Result<StatusCode, Problem> {
    let Children { children } = body::read(body)?;
    let gateway = device(&name)?;
    let children = children.iter().map(|child| device(child)).collect::<Result<Vec<_>, _>>()?;
    parts.identity.set_children(&by, &gateway, &children).await.map_err(problem)?;
    tracing::info!(%gateway, children = children.len(), "a gateway's devices were listed");
    Ok(StatusCode::NO_CONTENT)
}

/// What the caller expects (RFC 9110, section 13.1).
fn expected(headers: &HeaderMap) -> Result<Expected, Problem> {
    let none = headers.get(header::IF_NONE_MATCH).map(|value| value.to_str().unwrap_or_default().trim());
    match (etag::if_match(headers)?.map(u32::try_from), none) {
        (None, None) => Ok(Expected::Anything),
        (None, Some("*")) => Ok(Expected::Nothing),
        (Some(Ok(version)), None) => Ok(Expected::Active(version)),
        _ => Err(Problem::new(
            Kind::Invalid,
            "api.if_match",
            "write `If-Match: \"VERSION\"` or `If-None-Match: *`",
        )),
    }
}

fn parse(name: &str) -> Result<PolicyName, Problem> {
    PolicyName::parse(name.to_owned())
        .map_err(|error| Problem::new(Kind::Invalid, "identity.policy_name", error.to_string()))
}

fn parse_target(text: &str) -> Result<Target, Problem> {
    text.parse::<Target>()
        .map_err(|error| Problem::new(Kind::Invalid, "identity.policy_target", error.to_string()))
}

fn device(name: &str) -> Result<DeviceName, Problem> {
    DeviceName::parse(name.to_owned())
        .map_err(|error| Problem::new(Kind::Invalid, "identity.device_name", error.to_string()))
}

fn problem(error: PolicyError) -> Problem {
    let (hint, code) = (error.hint(), error.code());
    let problem = Problem::new(error.kind(), code, error.to_string()).hint(hint);
    match error {
        PolicyError::Stale { .. } => problem.status(StatusCode::PRECONDITION_FAILED),
        _ => problem,
    }
}
