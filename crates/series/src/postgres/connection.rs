//! One connection, from the first byte to the last.
//!
//! Not here: what its messages do (`login`, `handler`). The laws: waiting is bounded (until logged in, between
//! statements, while a client does not read); an error before the client is in ends the connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use pgwire::api::{ClientInfo, DefaultClient, NoopHandler, PgWireConnectionState};
use pgwire::error::{ErrorInfo, PgWireError};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::{PgWireMessageServerCodec, process_error, process_message};
use tokio::net::TcpStream;
use tokio_util::codec::{Framed, FramedParts};

use super::fault::Fault;
use super::handler::Handler;
use super::login::Login;
use super::planned::Ready;
use super::session::Session;
use super::socket::{Io, Opening, Socket, TooLong, open};
use super::{Shared, SqlAsk};

/// Largest message before the client is in: a startup message with its parameters.
const LOGIN_MESSAGE_BYTES_MAX: usize = 10_000;

/// Added to the time of a query: so much longer a client may take to read its answer.
const READING_SLACK: Duration = Duration::from_secs(30);

/// How long a last word may take.
const LAST_WORD: Duration = Duration::from_secs(1);

type Wire = Framed<Io, PgWireMessageServerCodec<Ready>>;

/// Serves a client until it leaves or breaks a bound.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, waiting: host::Place) {
    let _ = stream.set_nodelay(true);
    let socket = Socket::new(stream);
    let patience = shared.settings.startup_timeout;
    let opening = tokio::select! {
        opening = tokio::time::timeout(patience, open(socket.clone(), shared.tls.clone())) => opening,
        // Nothing was begun: nobody is told.
        () = shared.shutdown.stopping() => return,
    };
    let (io, first) = match opening {
        Ok(Ok(Opening::Session(io, first))) => (io, first),
        Ok(Ok(Opening::Cancel { pid, key })) => {
            let outcome = if shared.registry.cancel(pid, &key) { "done" } else { "refused" };
            metrics::counter!("godwit_postgres_cancels_total", "outcome" => outcome).increment(1);
            return;
        }
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "a PostgreSQL client did not get as far as logging in");
            return;
        }
        Err(_) => return,
    };
    let client = DefaultClient::new(peer, io.is_secure());
    let mut parts = FramedParts::new(io, PgWireMessageServerCodec::new(client));
    parts.read_buf = first;
    let mut wire: Wire = Framed::from_parts(parts);
    wire.set_state(PgWireConnectionState::AwaitingStartup);
    if let Err(fault) = talk(&shared, socket, &mut wire, waiting).await {
        let info: ErrorInfo = fault.into();
        let last = async {
            let _ = wire.send(PgWireBackendMessage::ErrorResponse(info.into())).await;
            let _ = wire.close().await;
        };
        let _ = tokio::time::timeout(LAST_WORD, last).await;
    }
}

/// Ends with `Err` when the client is to be told why.
async fn talk(
    shared: &Arc<Shared>,
    socket: Socket,
    wire: &mut Wire,
    waiting: host::Place,
) -> Result<(), Fault> {
    let session = Arc::new(Session::new(socket, &shared.settings));
    let login = Arc::new(Login::new(Arc::clone(shared), Arc::clone(&session)));
    let log_in = log_in(shared, wire, &login);
    match tokio::time::timeout(shared.settings.startup_timeout, log_in).await {
        Ok(done) => done?,
        Err(_) => return Err(Fault::fatal("57014", "logging in took too long")),
    }
    drop(waiting);
    let over = over(shared, &session);
    tokio::pin!(over);
    let handler = Arc::new(Handler::new(Arc::clone(shared), Arc::clone(&session)));
    let nothing = Arc::new(NoopHandler);
    let answer_time = shared.series.query_limits().time.saturating_add(READING_SLACK);
    loop {
        let next = next(shared, wire, shared.settings.message_bytes_max, shared.settings.idle_timeout);
        let message = tokio::select! {
            message = next => message?,
            fault = &mut over => return Err(fault),
        };
        let Some(message) = message else {
            return Ok(());
        };
        if matches!(message, PgWireFrontendMessage::Terminate(_)) {
            return Ok(());
        }
        let is_extended = message.is_extended_query();
        let done = process_message(
            message,
            wire,
            Arc::clone(&login),
            Arc::clone(&handler),
            Arc::clone(&handler),
            Arc::clone(&nothing),
            Arc::clone(&nothing),
        );
        let done = tokio::select! {
            done = tokio::time::timeout(answer_time, done) => done,
            fault = &mut over => return Err(fault),
            () = shared.shutdown.stopping() => return Err(stopping()),
        };
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                shared.count_error();
                if process_error(wire, plain(error), is_extended).await.is_err() {
                    return Ok(());
                }
            }
            // Whoever does not read his answer for so long does not read the reason either.
            Err(_) => return Ok(()),
        }
    }
}

/// Resolves when what the client proved is worth nothing any more.
async fn over(shared: &Shared, session: &Session) -> Fault {
    let mut changes = shared.changes.clone();
    loop {
        if changes.changed().await.is_err() {
            // Whoever could change something is gone.
            return std::future::pending().await;
        }
        let stays = session.login().map(|login| (shared.permit)(login, SqlAsk::Stay));
        if let Some(Err(refusal)) = stays {
            metrics::counter!("godwit_postgres_connections_ended_total").increment(1);
            return Fault::fatal("57P01", refusal.text).with_hint(refusal.hint);
        }
    }
}

/// Only messages of logging in are heard until the client is in.
async fn log_in(shared: &Shared, wire: &mut Wire, login: &Arc<Login>) -> Result<(), Fault> {
    use pgwire::api::auth::StartupHandler;
    while !login.is_done() {
        let Some(message) = next(shared, wire, LOGIN_MESSAGE_BYTES_MAX, Duration::MAX).await? else {
            return Err(Fault::fatal("08006", "the client is gone"));
        };
        if let Err(error) = login.on_startup(wire, message).await {
            let info: ErrorInfo = plain(error).into();
            let mut fault = Fault::fatal("08P01", info.message);
            fault.hint = info.hint;
            fault.state = KNOWN_STATES.iter().find(|state| **state == info.code).unwrap_or(&"08P01");
            return Err(fault);
        }
    }
    Ok(())
}

/// States of refusals at login.
const KNOWN_STATES: &[&str] = &["28P01", "28000", "0A000", "08P01", "42501", "53300"];

/// The next message; `None` when the client has left.
async fn next(
    shared: &Shared,
    wire: &mut Wire,
    bytes_max: usize,
    patience: Duration,
) -> Result<Option<PgWireFrontendMessage>, Fault> {
    wire.get_mut().allow(bytes_max);
    let message = tokio::select! {
        message = tokio::time::timeout(patience.min(FOREVER), wire.next()) => message,
        () = shared.shutdown.stopping() => return Err(stopping()),
    };
    match message {
        Err(_) => Err(Fault::fatal("57P05", "the connection was idle for too long")
            .with_hint("connect again, or raise `postgres.idle_timeout`")),
        Ok(None) => Ok(None),
        Ok(Some(Ok(message))) => Ok(Some(message)),
        Ok(Some(Err(PgWireError::IoError(error)))) if is_too_long(&error) => {
            metrics::counter!("godwit_postgres_messages_refused_total").increment(1);
            Err(Fault::fatal("54000", format!("message is longer than {bytes_max} bytes"))
                .with_hint("raise `postgres.message_bytes_max`, or send less at once"))
        }
        Ok(Some(Err(PgWireError::IoError(_)))) => Ok(None),
        Ok(Some(Err(error))) => Err(Fault::fatal("08P01", error.to_string().to_lowercase())),
    }
}

/// A year: longer than any connection lasts, and short enough to be added to a moment.
const FOREVER: Duration = Duration::from_secs(365 * 86_400);

fn is_too_long(error: &std::io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<TooLong>()).is_some()
}

fn stopping() -> Fault {
    Fault::fatal("57P01", "the server is stopping")
}

/// An error of the protocol library in our way of saying things; nobody is shown the engine's own.
fn plain(error: PgWireError) -> PgWireError {
    match error {
        PgWireError::ApiError(error) => {
            let said: String =
                error.to_string().lines().next().unwrap_or_default().chars().take(300).collect();
            Fault::new("XX000", said).into()
        }
        PgWireError::FailedToParseParameter(error) => {
            Fault::new("22P02", format!("value of a parameter cannot be read: {error}")).into()
        }
        PgWireError::InvalidRustTypeForParameter(kind) => {
            Fault::new("42804", format!("a parameter of type `{kind}` is not known here"))
                .with_hint("send it as text, with a cast: `$1::text`")
                .into()
        }
        PgWireError::StatementNotFound(name) => {
            Fault::new("26000", format!("there is no prepared statement `{name}`")).into()
        }
        PgWireError::PortalNotFound(name) => {
            Fault::new("34000", format!("there is no portal `{name}`")).into()
        }
        other => other,
    }
}
