//! Logging in: the startup message, SCRAM-SHA-256, and what a client is told first.
//!
//! Not here: the exchange itself (`scram`), whose verifier a name has (the look-up that is handed in). The laws: no
//! message but those of logging in is looked at before it is done; no proof is judged that was not permitted to be
//! tried; an unknown name and a wrong password get the same answer after the same time; every refusal is counted and
//! logged with what to do, and without what is nobody's name.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{Sink, SinkExt};
use parking_lot::Mutex;
use pgwire::api::auth::{protocol_negotiation, save_startup_parameters_to_metadata};
use pgwire::api::{ClientInfo, METADATA_USER, PgWireConnectionState};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::response::{ReadyForQuery, TransactionStatus};
use pgwire::messages::startup::{Authentication, BackendKeyData, ParameterStatus, SecretKey};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage, ProtocolVersion};

use super::fault::Fault;
use super::scram::{Exchange, ScramError};
use super::session::{Registered, Session};
use super::{Place, Shared, SqlAsk, SqlLogin};

/// How long a refusal waits, so that guessing is slow: a connection guesses once.
const REFUSAL_DELAY: Duration = Duration::from_millis(500);

const MECHANISM: &str = "SCRAM-SHA-256";

/// How far a client has come.
enum Stage {
    Startup,
    First {
        user: String,
    },
    Final {
        login: SqlLogin,
        is_known: bool,
        exchange: Box<Exchange>,
    },
    /// In, and known to the registry as long as the connection lives.
    In {
        _registered: Registered,
        _place: Place,
    },
    Refused,
}

/// Logs one connection in.
pub(crate) struct Login {
    shared: Arc<Shared>,
    session: Arc<Session>,
    stage: Mutex<Stage>,
}

impl Login {
    pub(crate) fn new(shared: Arc<Shared>, session: Arc<Session>) -> Self {
        Self { shared, session, stage: Mutex::new(Stage::Startup) }
    }

    /// Whether the client is in.
    pub(crate) fn is_done(&self) -> bool {
        matches!(*self.stage.lock(), Stage::In { .. })
    }

    /// Takes the stage; whatever fails on the way leaves the connection refused.
    fn take(&self) -> Stage {
        std::mem::replace(&mut *self.stage.lock(), Stage::Refused)
    }

    async fn refuse(
        &self,
        reason: &'static str,
        peer: std::net::SocketAddr,
        user: Option<&str>,
        fault: Fault,
    ) -> PgWireError {
        metrics::counter!("godwit_postgres_logins_refused_total", "reason" => reason).increment(1);
        // A name that nobody has may be a password that was typed into the wrong field.
        let user = user.unwrap_or("?");
        tracing::warn!(
            %peer,
            user,
            reason,
            hint = "log in as a user with his password, as `USER:TOKEN` with that token, or as `local` with the token of server.json",
            "refused a PostgreSQL client"
        );
        tokio::time::sleep(REFUSAL_DELAY).await;
        fault.into()
    }
}

/// The name, if it is somebody's.
fn known(is_known: bool, user: &str) -> Option<&str> {
    is_known.then_some(user)
}

/// What a wrong name and a wrong password are told.
fn wrong(user: &str) -> Fault {
    let user: String = user.chars().take(64).collect();
    Fault::fatal("28P01", format!("password authentication failed for user `{user}`"))
        .with_hint("log in as a user with his password, as `USER:TOKEN` with that token, or as `local` with the token of server.json")
}

fn malformed(reason: impl Into<String>) -> Fault {
    Fault::fatal("08P01", reason)
}

#[async_trait]
impl pgwire::api::auth::StartupHandler for Login {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let peer = client.socket_addr();
        let next = match (self.take(), message) {
            (Stage::Startup, PgWireFrontendMessage::Startup(startup)) => {
                protocol_negotiation(client, &startup).await?;
                save_startup_parameters_to_metadata(client, &startup);
                let user = client.metadata().get(METADATA_USER).cloned().unwrap_or_default();
                if !client.is_secure() && !self.shared.allows_plain(peer) {
                    let fault = Fault::fatal("28000", "connections from other machines need TLS")
                        .with_hint("connect with sslmode=require, or set `postgres.allow_plain_anywhere`");
                    return Err(self.refuse("plain", peer, None, fault).await);
                }
                if user.is_empty() {
                    return Err(self.refuse("no_name", peer, None, malformed("a user name is needed")).await);
                }
                if client.metadata().get("replication").is_some_and(|on| on != "false" && on != "off") {
                    let fault = Fault::fatal("0A000", "there is no replication by this protocol");
                    return Err(self.refuse("replication", peer, None, fault).await);
                }
                client.set_state(PgWireConnectionState::AuthenticationInProgress);
                let offer = Authentication::SASL(vec![MECHANISM.to_owned()]);
                client.send(PgWireBackendMessage::Authentication(offer)).await?;
                Stage::First { user }
            }
            (Stage::First { user }, PgWireFrontendMessage::PasswordMessageFamily(message)) => {
                let first = message.into_sasl_initial_response()?;
                let data = first.data.unwrap_or_default();
                let verifier = (self.shared.verifier)(&user);
                let is_known = verifier.is_known;
                let login = SqlLogin { name: user.clone(), address: peer.ip(), secret: verifier.secret };
                let started = if first.auth_method == MECHANISM {
                    Exchange::start(&data, verifier, &*self.shared.random)
                } else {
                    Err(ScramError::Malformed("only SCRAM-SHA-256 is offered"))
                };
                let (exchange, answer) = match started {
                    Ok(started) => started,
                    Err(error) => {
                        return Err(self
                            .refuse("malformed", peer, known(is_known, &user), malformed(error.to_string()))
                            .await);
                    }
                };
                let answer = Authentication::SASLContinue(answer.into());
                client.send(PgWireBackendMessage::Authentication(answer)).await?;
                Stage::Final { login, is_known, exchange: Box::new(exchange) }
            }
            (
                Stage::Final { login, is_known, exchange },
                PgWireFrontendMessage::PasswordMessageFamily(message),
            ) => {
                let data = message.into_sasl_response()?.data;
                let user = login.name.clone();
                // Judged and given back in one go, so that a pool that opens many connections at once is not held up.
                if let Err(refusal) = (self.shared.permit)(&login, SqlAsk::Try) {
                    let fault = Fault::fatal("28000", refusal.text).with_hint(refusal.hint);
                    return Err(self.refuse("throttled", peer, known(is_known, &user), fault).await);
                }
                let answer = match exchange.finish(&data) {
                    // The keys of a name that nobody has are random: nothing is their proof. Said twice all the same.
                    Ok(answer) if is_known => answer,
                    Ok(_) | Err(ScramError::Wrong) => {
                        let reason = if is_known { "password" } else { "name" };
                        let _ = (self.shared.permit)(&login, SqlAsk::Unproven);
                        return Err(self.refuse(reason, peer, known(is_known, &user), wrong(&user)).await);
                    }
                    Err(error) => {
                        return Err(self
                            .refuse("malformed", peer, known(is_known, &user), malformed(error.to_string()))
                            .await);
                    }
                };
                if let Err(refusal) = (self.shared.permit)(&login, SqlAsk::LogIn) {
                    let fault = Fault::fatal("42501", refusal.text).with_hint(refusal.hint);
                    return Err(self.refuse("rights", peer, Some(&user), fault).await);
                }
                let answer = Authentication::SASLFinal(answer.into());
                client.send(PgWireBackendMessage::Authentication(answer)).await?;
                let Some(place) = self.shared.take_place(peer) else {
                    let most = self.shared.settings.connections_max;
                    metrics::counter!("godwit_postgres_connections_refused_total").increment(1);
                    tracing::warn!(%peer, most, "refused a PostgreSQL client: `postgres.connections_max` are connected");
                    return Err(Fault::fatal("53300", format!("there are {most} connections already"))
                        .with_hint("close some, let the pool open fewer, or raise `postgres.connections_max`")
                        .into());
                };
                Stage::In { _registered: self.welcome(client, login).await?, _place: place }
            }
            _ => return Err(malformed("this is no message of logging in").into()),
        };
        *self.stage.lock() = next;
        Ok(())
    }
}

impl Login {
    async fn welcome<C>(&self, client: &mut C, login: SqlLogin) -> PgWireResult<Registered>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let user = login.name.clone();
        self.session.logged_in(login);
        apply_startup(&self.session, client.metadata());
        client.feed(PgWireBackendMessage::Authentication(Authentication::Ok)).await?;
        for (name, value) in self.session.reported() {
            client.feed(PgWireBackendMessage::ParameterStatus(ParameterStatus::new(name, value))).await?;
        }
        let pid = self.shared.next_pid();
        // Four bytes in protocol 3.0; later ones have room for a key that cannot be guessed.
        let is_old = client.protocol_version() == ProtocolVersion::PROTOCOL3_0;
        let mut key = vec![0; if is_old { 4 } else { 32 }];
        self.shared.random.fill(&mut key);
        let secret = match <[u8; 4]>::try_from(key.as_slice()) {
            Ok(four) => SecretKey::I32(i32::from_be_bytes(four)),
            Err(_) => SecretKey::Bytes(key.clone().into()),
        };
        let registered = self.shared.registry.add(pid, key, &self.session);
        client.set_pid_and_secret_key(pid, secret.clone());
        client.feed(PgWireBackendMessage::BackendKeyData(BackendKeyData::new(pid, secret))).await?;
        client.send(PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(TransactionStatus::Idle))).await?;
        client.set_state(PgWireConnectionState::ReadyForQuery);
        metrics::counter!("godwit_postgres_logins_total").increment(1);
        tracing::debug!(peer = %client.socket_addr(), user, "a PostgreSQL client logged in");
        Ok(registered)
    }
}

/// Sets what the startup message asks for. What is not known is passed over, as drivers send much.
fn apply_startup(session: &Session, metadata: &std::collections::HashMap<String, String>) {
    for (name, value) in metadata {
        if name == "options" {
            // `-c name=value`, also `-cname=value` and `--name=value`.
            let words =
                value.split_whitespace().map(|word| word.trim_start_matches("-c").trim_start_matches("--"));
            for (name, value) in words.filter_map(|word| word.split_once('=')) {
                let _ = session.set(name, Some(value));
            }
        } else if !matches!(name.as_str(), "user" | "database" | "replication") {
            let _ = session.set(name, Some(value));
        }
    }
}
