//! Sessions and retained messages as the API shows them, and what operators do to them.
//!
//! They are the MQTT door's, and a door never imports a door: what is asked of it comes in as functions
//! ([`Operators`]). Here is their JSON.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use futures::future::BoxFuture;
use identity::{Actor, Role};
use model::{DeviceName, Kind, TopicFilter, TopicName};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Parts;
use crate::audit::{note, notice_payloads};
use crate::caller::{Caller, home};
use crate::problem::Problem;

/// Most entries of a page.
const PAGE_MAX: usize = 1_000;

/// Longest piece of a payload in a list, in bytes; one topic alone is shown whole.
const PREVIEW_BYTES: usize = 256;

/// A question to the door, and its answer.
pub type Ask<Question, Answer> = Box<dyn Fn(Question) -> Answer + Send + Sync>;

/// Ends the connections of a client id, of those devices that are meant; `false`: they have none.
pub type Kick = Box<dyn Fn(&str, &dyn Fn(Option<&DeviceName>) -> bool) -> bool + Send + Sync>;

/// What becomes of retained messages that are to be taken away: how many were.
pub type Clearing = BoxFuture<'static, Result<usize, NotCleared>>;

/// What the door is asked.
pub struct Operators {
    /// Every session, by client id.
    pub sessions: Box<dyn Fn() -> Vec<Session> + Send + Sync>,
    /// The sessions of a client id with their subscriptions: each principal may have one.
    pub session: Ask<String, Vec<Session>>,
    /// Ends the connections of a client id, of those devices, or of no device, that are meant; `false`: they have none.
    pub kick: Kick,
    /// Ends the sessions of a device that was removed, and what waits for it.
    pub end_sessions_of: Box<dyn Fn(&DeviceName) + Send + Sync>,
    /// The retained messages that a filter matches, by topic.
    pub retained: Ask<TopicFilter, Vec<Retained>>,
    /// Takes the retained messages of topics away, durably.
    pub clear: Ask<Vec<TopicName>, Clearing>,
}

/// Why retained messages were not taken away.
#[derive(Debug)]
pub struct NotCleared {
    /// Whose fault it is.
    pub kind: Kind,
    /// What happened.
    pub text: String,
    /// What can be done.
    pub hint: Option<String>,
}

/// A session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    /// Its client id.
    pub client_id: String,
    /// Who connected last, in words: `anonymous`, `user:local`, `device:office-1`.
    pub principal: String,
    /// The device that it belongs to; to the principal when there is none. The same client id of another owner is another session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Its device is in quarantine or its certificate is expired: what it has beside this waits in another session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confined: bool,
    /// Its connection, if it has one.
    pub connection: Option<Connection>,
    /// How many subscriptions it has.
    pub subscriptions: usize,
    /// They, when one session is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<Vec<Filter>>,
    /// Messages that wait in memory.
    pub queued_messages: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Messages that wait in the journal.
    pub left_messages: usize,
    /// Messages sent and not acknowledged.
    pub inflight_messages: usize,
    /// How long it outlives its connection, in seconds.
    pub expiry_s: u32,
}

/// A connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Connection {
    /// Where it comes from.
    pub peer: String,
    /// What it speaks: `5` or `3.1.1`.
    pub version: String,
    /// Since when, RFC 3339.
    pub connected_at: String,
    /// It is a bridge of another broker.
    pub bridge: bool,
}

/// A subscription.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Filter {
    /// Which topics.
    pub filter: String,
    /// The highest QoS of its deliveries.
    pub qos: u8,
    /// What its own client publishes is left out.
    pub no_local: bool,
    /// The retain flag is passed on as it was published.
    pub retain_as_published: bool,
    /// Its identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
}

/// A retained message.
#[derive(Debug, Clone)]
pub struct Retained {
    /// Where.
    pub topic: TopicName,
    /// What.
    pub payload: bytes::Bytes,
    /// At which QoS it was published.
    pub qos: u8,
    /// When it was received, RFC 3339.
    pub received_at: String,
    /// Its record.
    pub seq: u64,
}

/// Which page of sessions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedSessions {
    /// Only client ids after this one: `next` of the page before.
    #[serde(default)]
    after: String,
    /// Only client ids that begin with this.
    #[serde(default)]
    prefix: String,
    /// Only those with a connection, or only those without.
    connected: Option<bool>,
    #[serde(default = "hundred")]
    limit: usize,
}

fn hundred() -> usize {
    100
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Sessions {
    sessions: Vec<Session>,
    next: Option<String>,
}

/// A page of sessions, by client id.
pub(crate) async fn list(
    State(parts): State<Arc<Parts>>,
    Extension(caller): Extension<Caller>,
    Query(wanted): Query<WantedSessions>,
) -> Json<impl Serialize> {
    let all = (parts.operators.sessions)();
    let mut found = all.into_iter().filter(|session| {
        may_look(&parts, &caller, session)
            && session.client_id.as_str() > wanted.after.as_str()
            && session.client_id.starts_with(&wanted.prefix)
            && wanted.connected.is_none_or(|connected| session.connection.is_some() == connected)
    });
    let mut sessions: Vec<_> = found.by_ref().take(wanted.limit.clamp(1, PAGE_MAX)).collect();
    let mut found = found.peekable();
    // One client id may have a session of each owner: a page ends behind all of them.
    while let Some(same) =
        found.next_if(|next| sessions.last().is_some_and(|last| last.client_id == next.client_id))
    {
        sessions.push(same);
    }
    let next = found.next().and_then(|_| sessions.last()).map(|last| last.client_id.clone());
    Json(Sessions { sessions, next })
}

/// Which of several sessions of one client id.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedSession {
    /// The device that it belongs to, or the principal when it is no device's, as the list has them.
    owner: Option<String>,
}

impl Session {
    fn owner(&self) -> &str {
        self.device.as_ref().unwrap_or(&self.principal)
    }
}

/// One session with its subscriptions.
pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    Extension(caller): Extension<Caller>,
    Path(client_id): Path<String>,
    Query(wanted): Query<WantedSession>,
) -> Result<Json<impl Serialize>, Problem> {
    let mut found = (parts.operators.session)(client_id.clone());
    found.retain(|session| {
        may_look(&parts, &caller, session)
            && wanted.owner.as_deref().is_none_or(|owner| session.owner() == owner)
    });
    // What a confined device has now, and not what waits for it.
    found.sort_by_key(|session| (session.owner().to_owned(), !session.confined));
    found.dedup_by(|later, kept| later.owner() == kept.owner());
    match found.len() {
        0 => Err(unknown(&client_id)),
        1 => Ok(Json(found.remove(0))),
        _ => {
            let owners: Vec<String> = found.iter().map(|session| format!("`{}`", session.owner())).collect();
            let said = format!("`{client_id}` is the client id of several: {}", owners.join(", "));
            let hint = "name one of them: `?owner=`, `--owner`";
            Err(Problem::new(Kind::Conflict, "broker.several_sessions", said).hint(Some(hint)))
        }
    }
}

/// Whether the caller looks at this one: everywhere at all, in groups at those of the devices there.
fn may_look(parts: &Parts, caller: &Caller, session: &Session) -> bool {
    let device = session.device.as_ref().and_then(|device| DeviceName::parse(device.clone()).ok());
    caller.holds_at(&parts.identity, Role::Viewer, device.as_ref())
}

/// Ends the connections of a client id; its sessions stay. Whoever holds the role in groups ends those of the devices there.
pub(crate) async fn kick(
    State(parts): State<Arc<Parts>>,
    Extension(caller): Extension<Caller>,
    Extension(by): Extension<Actor>,
    Path(client_id): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut seen = (parts.operators.session)(client_id.clone());
    seen.retain(|session| may_look(&parts, &caller, session));
    if seen.is_empty() {
        return Err(unknown(&client_id));
    }
    let may_end = |device: Option<&DeviceName>| caller.holds_at(&parts.identity, Role::Operator, device);
    if (parts.operators.kick)(&client_id, &may_end) {
        tracing::info!(client_id, by = by.name(), "an operator ended a connection");
        note(&parts, &by, "session.kick", format!("session:{client_id}"), None).await;
        return Ok(StatusCode::NO_CONTENT);
    }
    for session in &seen {
        let device = session.device.as_ref().and_then(|device| DeviceName::parse(device.clone()).ok());
        caller.require(Role::Operator, &home(&parts.identity, device.as_ref()))?;
    }
    let said = format!("`{client_id}` is not connected");
    Err(Problem::new(Kind::Conflict, "broker.not_connected", said))
}

fn unknown(client_id: &str) -> Problem {
    Problem::new(Kind::NotFound, "broker.no_session", format!("there is no session of `{client_id}`"))
        .hint(Some("`godwit session list` shows the client ids"))
}

/// Which retained messages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedRetained {
    /// Which topics. Default: all.
    #[serde(default = "everything")]
    filter: String,
    /// Only topics after this one: `next` of the page before.
    after: Option<String>,
    #[serde(default = "hundred")]
    limit: usize,
    /// Whole payloads, not their beginnings.
    #[serde(default)]
    whole: bool,
}

fn everything() -> String {
    "#".to_owned()
}

#[derive(Serialize, Deserialize)]
pub(crate) struct RetainedPage {
    retained: Vec<RetainedMessage>,
    next: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct RetainedMessage {
    topic: String,
    /// Text as it is, the rest as hexadecimal digits.
    payload: String,
    /// `utf-8` or `hex`.
    payload_encoding: String,
    payload_bytes: usize,
    /// The payload goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    qos: u8,
    received_at: String,
    seq: u64,
}

/// A page of retained messages, by topic.
pub(crate) async fn retained(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Query(wanted): Query<WantedRetained>,
) -> Result<Json<impl Serialize>, Problem> {
    let filter = parse(&wanted.filter)?;
    notice_payloads(&parts, &by, &format!("retained:{}", filter.as_str()));
    let mut all = (parts.operators.retained)(filter);
    all.sort_unstable_by(|a, b| a.topic.cmp(&b.topic));
    let after = wanted.after.as_deref();
    let mut found = all.into_iter().filter(|kept| after.is_none_or(|after| kept.topic.as_str() > after));
    let bytes_max = if wanted.whole { usize::MAX } else { PREVIEW_BYTES };
    let retained: Vec<_> =
        found.by_ref().take(wanted.limit.clamp(1, PAGE_MAX)).map(|kept| shown(kept, bytes_max)).collect();
    let next = found.next().and_then(|_| retained.last()).map(|last| last.topic.clone());
    Ok(Json(RetainedPage { retained, next }))
}

fn shown(kept: Retained, bytes_max: usize) -> RetainedMessage {
    let payload_bytes = kept.payload.len();
    let cut = payload_bytes > bytes_max;
    let part = &kept.payload[..payload_bytes.min(bytes_max)];
    // What is cut in the middle of a character is text all the same.
    let text = match std::str::from_utf8(part) {
        Ok(text) => Some(text),
        Err(error) if cut && error.error_len().is_none() => {
            std::str::from_utf8(&part[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    let (payload, payload_encoding) = match text {
        Some(text) => (text.to_owned(), "utf-8"),
        None => (part.iter().map(|byte| format!("{byte:02x}")).collect(), "hex"),
    };
    RetainedMessage {
        topic: kept.topic.to_string(),
        payload,
        payload_encoding: payload_encoding.to_owned(),
        payload_bytes,
        cut,
        qos: kept.qos,
        received_at: kept.received_at,
        seq: kept.seq,
    }
}

/// Which retained messages are to go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unwanted {
    filter: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Cleared {
    cleared: usize,
}

/// Takes the retained messages that a filter matches away.
pub(crate) async fn clear(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Query(unwanted): Query<Unwanted>,
) -> Result<Json<impl Serialize>, Problem> {
    let filter = parse(&unwanted.filter)?;
    let topics = (parts.operators.retained)(filter.clone()).into_iter().map(|kept| kept.topic).collect();
    let cleared = (parts.operators.clear)(topics)
        .await
        .map_err(|error| Problem::new(error.kind, "broker.not_cleared", error.text).hint(error.hint))?;
    tracing::info!(
        filter = filter.as_str(),
        cleared,
        by = by.name(),
        "an operator cleared retained messages"
    );
    let object = format!("retained:{}", filter.as_str());
    note(&parts, &by, "retained.clear", object, Some(json!({ "cleared": cleared }))).await;
    Ok(Json(Cleared { cleared }))
}

fn parse(filter: &str) -> Result<TopicFilter, Problem> {
    TopicFilter::parse(filter.to_owned())
        .map_err(|error| Problem::new(Kind::Invalid, "api.filter", error.to_string()))
}
