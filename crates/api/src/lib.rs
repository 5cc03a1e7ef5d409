//! REST, metrics, health: the one home of the public JSON.
//!
//! What the rooms know is turned into JSON here and nowhere else; no room is `Serialize` for the API's sake. What a
//! door owns (sessions, connections) comes in as functions, because a door never imports a door.
//!
//! | request | answer | least role |
//! |---|---|---|
//! | `GET /healthz` | `ok`, or 503 with the reason | none |
//! | `GET /metrics` | Prometheus text | none |
//! | `POST /api/v1/login`, `/logout` | a cookie for a password, and its end | none, any |
//! | `POST /api/v1/setup` | the first user, by the code of the setup link | none |
//! | `GET /setup` | a page that asks for it | none |
//! | `GET /api/v1/me` | who the server takes the caller for, and what he may | any |
//! | `GET /api/v1/openapi.json` | this API by OpenAPI 3.1: made of the table of routes and the types of the handlers | any |
//! | `GET`, `POST /api/v1/users`; `GET`, `DELETE …/{name}` | users | admin |
//! | `PUT …/{name}/roles`, `POST …/{name}/password` | what they are trusted with, and a new password | admin |
//! | `GET /api/v1/logins`, `DELETE …/{id}` | who is logged in | admin |
//! | `GET /api/v1/audit`, `…/verify` | who did what, and whether the log of it is as it was written | admin |
//! | `GET`, `POST /api/v1/tokens`, `DELETE …/{id}` | tokens of users | admin |
//! | `POST /api/v1/query` | rows: table, CSV or JSON, as `Accept` asks | viewer |
//! | `POST /api/v1/backup` | the data directory as an archive, streamed | admin |
//! | `GET /api/v1/status` | every room's numbers | viewer |
//! | `GET /api/v1/devices` | a page of devices | viewer |
//! | `POST /api/v1/devices` | a new device, with its password | operator |
//! | `POST /api/v1/devices/import` | a batch of new devices, and what became of each row | operator |
//! | `GET, PATCH, DELETE /api/v1/devices/{name}` | one device; moved, with other attributes; removed | viewer, operator |
//! | `POST /api/v1/devices/{name}/replace` | another device in its place | operator |
//! | `PUT, DELETE /api/v1/devices/{name}/quarantine` | into quarantine, and out of it | operator |
//! | `DELETE /api/v1/devices/{name}/flags` | its flags cleared | operator |
//! | `PUT, DELETE /api/v1/devices/{name}/groups/{path}` | a membership | operator |
//! | `GET, POST /api/v1/groups`, `GET, DELETE /api/v1/groups/{path}` | groups | viewer, operator |
//! | `GET /api/v1/devices/{name}/children` | the devices that a gateway speaks for | viewer |
//! | `PUT /api/v1/devices/{name}/children` | lists them anew | admin |
//! | `GET /api/v1/policies` | a page of policies, with their versions and what they are attached to | viewer |
//! | `GET /api/v1/policies/{name}` | one, with its document; `?version=` | viewer |
//! | `PUT /api/v1/policies/{name}` | a new version; the body is the policy; `If-Match`, `?activate=false` | admin |
//! | `DELETE /api/v1/policies/{name}` | removes one that is attached to nothing | admin |
//! | `POST /api/v1/policies/{name}/activate` | lets another version count | admin |
//! | `PUT`, `DELETE /api/v1/policies/{name}/targets/{target}` | attaches, detaches | admin |
//! | `POST /api/v1/decisions` | whether a device may, and which statement decides | viewer |
//! | `GET /api/v1/alerts` | a page of alerts | viewer |
//! | `GET /api/v1/alerts/{id}` | one: what was told to whom, what was not, and why | viewer |
//! | `GET /api/v1/alerts/{id}/readings` | what it rests on: the samples around it as its rule saw them | viewer |
//! | `POST /api/v1/alerts/{id}/acknowledge` | takes it on | operator |
//! | `GET, POST /api/v1/silences`, `DELETE …/{id}` | silences | viewer, operator |
//! | `GET /api/v1/inbox` | a page of notices to the inbox | viewer |
//! | `GET /api/v1/receivers` | the ways to receivers, and what lies on them | viewer |
//! | `GET /api/v1/dead-letters`, `POST …/retry` | notices that could not be delivered, and again | viewer, operator |
//! | `GET /api/v1/sessions` | a page of MQTT sessions | viewer |
//! | `GET /api/v1/sessions/{client id}` | one, with its subscriptions | viewer |
//! | `POST /api/v1/sessions/{client id}/kick` | ends its connection | operator |
//! | `GET /api/v1/retained` | a page of retained messages that a filter matches | viewer |
//! | `DELETE /api/v1/retained` | takes those that a filter matches away | operator |
//! | `GET /api/v1/unrouted` | messages without a route, by pattern, with routes that would fit | viewer |
//! | `POST /api/v1/export/days` | the days that hold what is selected | viewer |
//! | `POST /api/v1/export` | one file of what is selected: Parquet, CSV or JSON lines | viewer |
//! | `GET /api/v1/rules` | the rules in force | viewer |
//! | `GET /api/v1/rules/{name}` | one, with every text it has had | viewer |
//! | `POST /api/v1/backtest` | what rules would have done with the readings there are, streamed | viewer |
//! | `GET /api/v1/actions` | how the actions of rules are doing | viewer |
//! | `GET /api/v1/actions/dead-letters` | what they gave up | viewer |
//! | `POST …/dead-letters/{id}/retry`, `DELETE …/{id}` | tries it again, takes it off the list | operator |
//! | `POST /api/v1/reprocess` | starts running messages through today's routes | operator |
//! | `GET /api/v1/reprocess` | how far that is, and what came of it | viewer |
//!
//! Which role and which scope each needs is written in `routes`, in one table. A refusal is a problem document
//! (RFC 9457) with a `hint` where the reader can do something.

mod actions;
mod alerts;
mod audit;
mod auth;
mod backtest;
mod backup;
mod body;
mod ca;
mod caller;
mod certificates;
mod client;
mod cookie;
mod deeds;
mod devices;
mod etag;
mod export;
mod grounds;
mod groups;
mod health;
mod keys;
mod login;
mod me;
mod openapi;
mod page;
mod policies;
mod problem;
mod provisioning;
mod query;
mod reprocess;
mod routes;
mod rules;
mod sessions;
mod silences;
mod status;
mod tokens;
mod unrouted;
mod users;

pub use actions::{Action, ActionLetter, ActionLetters, ActionRetried, ActionTrouble, Actions};
pub use alerts::{
    Alert, AlertSaid, AlertSuppressed, Alerts, DeadLetters, Explained, Inbox, InboxNotice, NoticeDelivery,
    ReceiverWay, Receivers, Retried,
};
pub use audit::{AuditEntries, AuditEntry, AuditVerdict};
pub use backtest::{
    BacktestAgainst, BacktestDifference, BacktestDifferenceKind, BacktestDone, BacktestEpisode,
    BacktestFailed, BacktestFile, BacktestKey, BacktestLine, BacktestOrder, BacktestProgress, BacktestRule,
};
pub use backup::{Backup, BackupBusy, BackupKey, BackupOrder};
pub use grounds::{AlertPicture, AlertReadings, AlertSample};
pub use reprocess::{ReprocessOrder, Reprocessed, ReprocessedReason, ReprocessedRoute, ReprocessedState};
pub use rules::{Rule, RuleHistory, RuleText, Rules};
pub use sessions::{Ask, Clearing, Connection, Filter, Kick, NotCleared, Operators, Retained, Session};
pub use silences::{Silence, Silences};
pub use unrouted::{Unrouted, UnroutedPattern, UnroutedSample};

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use serde::Deserialize;
use tokio::net::TcpListener;

use deeds::Deeds;

/// Largest body of a request, in bytes: a statement or a device, with room to spare.
const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// `[http]`: where the API listens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address of REST, metrics and health. Default: `127.0.0.1:8080`.
    pub bind: SocketAddr,
    /// Take passwords over plain HTTP from other machines too: for a proxy in front that speaks TLS. Default: no.
    pub allow_plain: bool,
    /// Addresses of proxies in front: of these, and of nobody else, `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    /// Without, all that come through a proxy are one address, also for those who guess passwords. Default: none.
    pub trusted_proxies: Vec<std::net::IpAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 8080)),
            allow_plain: false,
            trusted_proxies: Vec::new(),
        }
    }
}

/// What the API shows.
pub struct Parts {
    /// `[http]`.
    pub settings: Settings,
    /// Some channels are classified: who reads is written down.
    pub is_classified: bool,
    /// The durable record.
    pub journal: journal::Journal,
    /// Readings as columns.
    pub series: series::Series,
    /// Rules at work.
    pub rules: ::alerts::Evaluation,
    /// Why not all is in force as the rule files say now; `None`: it is.
    pub rules_problem: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// What is wrong with alerts.yaml as it is now; `None`: nothing.
    pub alerts_problem: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// The actions of rules.
    pub sinks: sinks::Sinks,
    /// Alerts and who hears of them.
    pub alerts: ::alerts::Alerts,
    /// Devices and who may ask.
    pub identity: identity::Identity,
    /// The MQTT door's numbers, as a map of names to numbers or maps of them.
    pub door: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// What operators may see of the MQTT door, and do to it.
    pub operators: Operators,
    /// Everything that counts, as Prometheus text (exposition format 0.0.4).
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Begins a backup.
    pub backup: Backup,
    /// The keys of the data directory.
    pub keys: Arc<host::KeyStore>,
    /// What the machine lends.
    pub host: host::Host,
    /// Says when to stop.
    pub shutdown: host::Shutdown,
}

impl Parts {
    fn wire(&self, client: client::Client) -> cookie::Wire {
        cookie::Wire { tls: client.tls, allow_plain: self.settings.allow_plain }
    }
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be had.
    #[error("cannot listen for HTTP on `{address}`")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl ServeError {
    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                Some("stop what listens there, or name another address with `[http] bind`")
            }
            Self::Bind { .. } => Some("name an address of this machine with `[http] bind`"),
        }
    }
}

/// An address that is taken, before anything is served on it.
pub struct Api {
    listener: TcpListener,
    address: SocketAddr,
}

impl Api {
    /// Takes the address.
    ///
    /// # Errors
    /// [`ServeError::Bind`] names it.
    pub async fn bind(settings: &Settings) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Bind { address: settings.bind, source };
        let listener = TcpListener::bind(settings.bind).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address taken: the port is known even when the settings said 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the shutdown is said, then lets the requests under way end, and the changes of those who hung up.
    pub async fn serve(self, parts: Parts) {
        let (deeds, done) = Deeds::new();
        let shutdown = parts.shutdown.clone();
        let stopping = async move { shutdown.stopping().await };
        let service = router(Arc::new(parts), deeds).into_make_service_with_connect_info::<SocketAddr>();
        let served = axum::serve(self.listener, service).with_graceful_shutdown(stopping).await;
        if let Err(error) = served {
            tracing::error!(%error, "the HTTP API ended");
        }
        done.all().await;
    }
}

fn router(parts: Arc<Parts>, deeds: Deeds) -> Router {
    let (told, routes) = routes::all();
    routes
        .layer(axum::Extension(openapi::Document::of(&told)))
        .layer(axum::Extension(Arc::clone(&parts)))
        .layer(axum::Extension(deeds))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .fallback(unknown)
        .with_state(parts)
}

async fn unknown(uri: axum::http::Uri) -> problem::Problem {
    problem::Problem::new(
        model::Kind::NotFound,
        "api.unknown_path",
        format!("there is nothing at `{}`", uri.path()),
    )
}
