//! `POST /topics/{topic}?qos=1`: the body is the payload.
//!
//! | header | means |
//! |---|---|
//! | `Idempotency-Key` | the message's id: a repeat of it is answered as the first was, and not stored again |
//! | `Content-Type` | kept with the message, unless it is what HTTP clients put there for nothing |
//!
//! 200 `{"message": "OK", "traceId": …}` when it is durable. A refusal is `{"message": …, "hint": …}`, as AWS IoT words it. Not here: who is let
//! in (`identity`). The law: the order of judgement is certificate, topic, permission, bounds.

use std::sync::Arc;

use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use bytestring::ByteString;
use identity::policy::Circumstances;
use identity::{Action, CertificateRefusal, Decision, Refusal, Who};
use journal::Outcome;
use model::limit::MESSAGE_ID_BYTES_MAX;
use model::reserved::{self, PublishVerdict};
use model::{Door, Kind, Message, Names, Origin, Properties, Qos, Route, TopicName, partition};
use serde::Deserialize;
use serde_json::json;

use crate::Parts;
use crate::listener::Peer;

/// What `curl --data` says of every body.
const FORM: &str = "application/x-www-form-urlencoded";

/// The door's routes.
pub(crate) fn router(parts: Parts) -> Router {
    let body_bytes_max = parts.body_bytes_max;
    Router::new()
        .route("/topics/{*topic}", post(publish))
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .with_state(Arc::new(parts))
}

#[derive(Debug, Deserialize)]
struct Wanted {
    /// 0 or 1: both are answered when durable.
    #[serde(default)]
    qos: u8,
}

/// A refusal.
struct Refused {
    kind: Kind,
    detail: String,
    hint: Option<String>,
}

impl Refused {
    fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), hint: None }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self.kind {
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            // The journal is full (RFC 4918, section 11.5): what design and MQTT's 0x97 say.
            Kind::TooMuch => StatusCode::INSUFFICIENT_STORAGE,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({ "message": self.detail, "hint": self.hint }))).into_response()
    }
}

async fn publish(
    State(parts): State<Arc<Parts>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(topic): Path<String>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
    payload: Bytes,
) -> Response {
    let judged = judge(&parts, &peer, topic, &wanted, &headers, payload);
    let message = match judged {
        Ok(message) => message,
        Err(refused) => {
            metrics::counter!("godwit_ingress_messages_refused_total").increment(1);
            tracing::info!(address = %peer.address, why = refused.detail, hint = refused.hint, "HTTPS publish refused");
            return refused.into_response();
        }
    };
    let trace = format!("{:016x}", parts.host.random.number());
    match parts.journal.append(vec![message]).await {
        Ok(outcomes) => {
            metrics::counter!("godwit_ingress_messages_total").increment(1);
            let is_repeat = matches!(outcomes.first(), Some(Outcome::Repeated(_)));
            Json(json!({ "message": "OK", "traceId": trace, "repeated": is_repeat })).into_response()
        }
        Err(error) => Refused::new(error.kind(), error.to_string()).into_response(),
    }
}

/// Everything that is decided before the journal.
fn judge(
    parts: &Parts,
    peer: &Peer,
    topic: String,
    wanted: &Wanted,
    headers: &HeaderMap,
    payload: Bytes,
) -> Result<Message, Refused> {
    let who = enter(parts, peer)?;
    if wanted.qos > 1 {
        return Err(Refused::new(Kind::Invalid, format!("`qos` is {}; it must be 0 or 1", wanted.qos)));
    }
    let topic = TopicName::parse(topic).map_err(|error| Refused::new(Kind::Invalid, error.to_string()))?;
    match reserved::publish(&topic) {
        PublishVerdict::Ordinary => {}
        PublishVerdict::Refuse(why) => return Err(Refused::new(Kind::Invalid, why)),
        PublishVerdict::Drop | PublishVerdict::Question => {
            return Err(Refused::new(Kind::Invalid, "this topic is for MQTT clients"));
        }
    }
    // AWS's thing variables ask for a client id that is the device's name: here there is no other.
    let client_id = ByteString::from(who.device.as_ref().map_or("", model::DeviceName::as_str));
    let circumstances =
        Circumstances { address: Some(peer.address.ip()), ..Circumstances::of(client_id.clone()) };
    let permissions = parts.identity.permissions_of(&who, &circumstances);
    if let Decision::Refused(reason) = permissions.may(Action::Publish, &topic) {
        let hint = permissions.advice(reason, Action::Publish, &topic);
        return Err(Refused { kind: Kind::Forbidden, detail: reason.to_string(), hint: Some(hint) });
    }
    let message_id = match headers.get("idempotency-key").map(|value| value.to_str()) {
        None => None,
        Some(Ok(id)) if !id.is_empty() && id.len() <= MESSAGE_ID_BYTES_MAX => Some(ByteString::from(id)),
        Some(_) => {
            let most = MESSAGE_ID_BYTES_MAX;
            return Err(Refused::new(
                Kind::Invalid,
                format!("`Idempotency-Key` must be 1 to {most} visible characters"),
            ));
        }
    };
    let route = parts.routes.find(&topic);
    let origin = Arc::new(Origin {
        door: Door::Http,
        principal: who.principal.clone(),
        device: who.device.clone(),
        partition: partition(who.device.as_ref(), &client_id),
        client_id: ByteString::new(),
        connection: 0,
        boot: parts.host.boot,
    });
    if let Some(device) = route.and_then(|route| route.device_of(&topic, &origin, &mut Names::new())) {
        let _ = parts.identity.seen(&device);
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.filter(|kind| *kind != FORM && kind.len() <= 256).map(ByteString::from);
    let properties = Properties { content_type, ..Properties::default() };
    Ok(Message {
        qos: Qos::AtLeastOnce,
        lane: route.map_or_else(Default::default, Route::lane),
        received_at: parts.host.clock.now(),
        received_mono: parts.host.clock.mono_micros(),
        message_id: message_id.or_else(|| route.and_then(|route| route.message_id(&payload))),
        properties: (!properties.is_empty()).then(|| Arc::new(properties)),
        ..Message::new(topic, payload, origin)
    })
}

/// Who speaks, by the register of now.
fn enter(parts: &Parts, peer: &Peer) -> Result<Who, Refused> {
    let proved = match &peer.certificate {
        Some(certificate) => parts.identity.authenticate_certificate(certificate),
        None => Err(Refusal::Certificate { why: CertificateRefusal::Absent, device: None }),
    };
    proved.map_err(|refusal| {
        parts.identity.notice_refusal(&refusal, peer.address.ip());
        Refused { kind: refusal.kind(), detail: refusal.to_string(), hint: Some(refusal.hint("NAME")) }
    })
}
