//! SQL by the PostgreSQL wire protocol (version 3), for psql, Grafana and whatever else speaks it.
//!
//! ```text
//! socket (TLS?) → login (SCRAM-SHA-256) → connection: message → handler → statement → plan ─┐  threads of low priority
//!                                                        rows ←──────────── encoded ←───────┘
//! ```
//!
//! Messages are read and written by `pgwire`, values encoded by `arrow_pg`, `pg_catalog` is that of
//! `datafusion-pg-catalog`. The service that `datafusion-postgres` ships is not used: it lets anyone in, writes what it
//! is told to write, shares one session among all, and holds an answer in memory before it sends it.
//!
//! Not here: who may log in (a look-up is handed in), where certificates come from. The laws: nobody is heard before
//! he is in, nor once what he proved is worth nothing; a statement only reads; time, memory and rows of every query, and everything a client can gather, are
//! bounded; what is refused says why, with its SQLSTATE.

mod catalog;
mod connection;
mod extended;
mod fault;
mod handler;
mod login;
mod planned;
mod rows;
mod scram;
mod session;
mod settings;
mod simple;
mod socket;
mod statement;
mod text;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use datafusion::execution::context::SessionContext;
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use host::{Random, Shutdown};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::rustls::ServerConfig;

pub use scram::ScramVerifier;
pub use settings::PostgresSettings;

use crate::query::Engine;
use crate::service::Series;

/// So many more connections of one address may be logging in than may be in (`postgres.connections_max`): a pool that opens all
/// of its connections at once has room, and hears of those that are too many why. They are apart from those that are in, so that
/// whoever guesses keeps out none of these. Each holds a socket and 10 KB at most, for `startup_timeout`.
const PENDING_MORE: usize = 32;

/// Connections of all addresses together that may be logging in, at least: however few may be in, strangers do not keep out
/// the one who may. Else twice as many as of one address.
const PENDING_MAX: usize = 256;

/// The version that clients are told: what they use to choose their questions about the catalog.
const SERVER_VERSION: &str = "16.6";
const SERVER_VERSION_NUM: &str = "160006";

/// Finds the verifier of a name. For a name that nobody has it gives one that nothing satisfies
/// ([`ScramVerifier::is_known`]).
pub type VerifierFunction = Arc<dyn Fn(&str) -> ScramVerifier + Send + Sync>;

/// Who logs in or did, for [`PermitFunction`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlLogin {
    /// The name that was given.
    pub name: String,
    /// From where.
    pub address: IpAddr,
    /// By which secret of that name: [`ScramVerifier::secret`].
    pub secret: u64,
}

/// What a client is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlAsk<'a> {
    /// Log in, having proven the name.
    LogIn,
    /// Have its proof judged: asked before each one is, so that somebody can count how often.
    Try,
    /// It did not prove the name; the answer is of no matter.
    Unproven,
    /// Have a statement read and planned.
    Prepare(&'a str),
    /// Run what was prepared.
    Run,
    /// Stay connected; asked whenever [`PostgresParts::changes`] moves.
    Stay,
}

/// Why a client may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlRefusal {
    /// What is not so.
    pub text: String,
    /// What can be done.
    pub hint: String,
}

/// Says whether he may do it now: asked at the login and for every statement, so that a right that is taken away is gone
/// for connections that are open.
pub type PermitFunction = Arc<dyn Fn(&SqlLogin, SqlAsk<'_>) -> Result<(), SqlRefusal> + Send + Sync>;

/// What serving needs beside the settings.
pub struct PostgresParts {
    /// Offered to clients that ask for it; required from those on other machines.
    pub tls: Option<Arc<ServerConfig>>,
    /// Who may log in.
    pub verifier: VerifierFunction,
    /// Who may do what.
    pub permit: PermitFunction,
    /// Moves when somebody's secrets or rights changed: connections whose login is over end at once, also while they wait or
    /// are answered.
    pub changes: watch::Receiver<u64>,
    /// For nonces and keys.
    pub random: Arc<dyn Random>,
    /// Says when to stop.
    pub shutdown: Shutdown,
}

/// Why the protocol cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The address cannot be had.
    #[error("cannot listen for PostgreSQL clients on `{address}`")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It can be reached from the network, and there is no TLS.
    #[error("`{address}` can be reached from other machines, and answers would travel readable")]
    Plain {
        /// The address.
        address: SocketAddr,
    },
    /// The catalog cannot be set up: a fault of ours.
    #[error("cannot set up the tables of `pg_catalog`: {0}")]
    Catalog(String),
}

impl PostgresError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> model::Kind {
        match self {
            Self::Bind { .. } | Self::Plain { .. } => model::Kind::Invalid,
            Self::Catalog(_) => model::Kind::Broken,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => Some(
                "stop what listens there, name another address with `[postgres] bind`, or set `enabled = false` there",
            ),
            Self::Bind { .. } => Some("name an address of this machine with `[postgres] bind`"),
            Self::Plain { .. } => Some(
                "bind to 127.0.0.1 and use `ssh -L`, give the server a certificate, or set `postgres.allow_plain_anywhere`",
            ),
            Self::Catalog(_) => None,
        }
    }
}

/// An address that is taken, before anything is served on it.
#[derive(Debug)]
pub struct Postgres {
    listener: TcpListener,
    address: SocketAddr,
    settings: PostgresSettings,
}

impl Postgres {
    /// Takes the address. `None` when the settings switch the protocol off, or name no address and the default one is
    /// taken: then the rest is served without, and the log says so.
    ///
    /// # Errors
    /// [`PostgresError`] when an address was named and cannot be had.
    pub async fn bind(settings: &PostgresSettings) -> Result<Option<Self>, PostgresError> {
        if !settings.enabled {
            return Ok(None);
        }
        let address = settings.bind.unwrap_or(PostgresSettings::BIND_DEFAULT);
        let bound = TcpListener::bind(address).await.and_then(|listener| {
            let address = listener.local_addr()?;
            Ok((listener, address))
        });
        match bound {
            Ok((listener, address)) => Ok(Some(Self { listener, address, settings: settings.clone() })),
            Err(source) if settings.bind.is_none() && source.kind() == std::io::ErrorKind::AddrInUse => {
                tracing::warn!(
                    %address,
                    hint = "name another address with `[postgres] bind`, or set `[postgres] enabled = false`",
                    "the default address for PostgreSQL clients is taken: they are not served"
                );
                Ok(None)
            }
            Err(source) => Err(PostgresError::Bind { address, source }),
        }
    }

    /// The address taken: the port is known even when the settings said 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `series` until told to stop. Returns when every connection has ended.
    ///
    /// # Errors
    /// [`PostgresError`] before the first client: an address of the network without TLS, or a fault of ours.
    pub fn serve(
        self,
        series: Series,
        parts: PostgresParts,
    ) -> Result<impl Future<Output = ()> + Send + 'static, PostgresError> {
        if parts.tls.is_none() && !self.address.ip().is_loopback() {
            if !self.settings.allow_plain_anywhere {
                return Err(PostgresError::Plain { address: self.address });
            }
            tracing::warn!(address = %self.address, "PostgreSQL clients are served without TLS: answers travel readable");
        }
        let most = self.settings.connections_max;
        let context = catalog::context(&series.inner.engine)
            .map_err(|error| PostgresError::Catalog(error.to_string()))?;
        let shared = Arc::new(Shared {
            context,
            parser: PostgresCompatibilityParser::new(),
            series,
            settings: self.settings,
            tls: parts.tls,
            verifier: parts.verifier,
            permit: parts.permit,
            changes: parts.changes,
            random: parts.random,
            shutdown: parts.shutdown,
            registry: Arc::default(),
            pids: AtomicI32::new(1),
            places: host::Places::new(most, most),
            statements: AtomicU64::new(0),
        });
        Ok(accept(shared, self.listener))
    }
}

/// What all connections share.
struct Shared {
    series: Series,
    /// With `pg_catalog`; every connection makes its own of it.
    context: SessionContext,
    parser: PostgresCompatibilityParser,
    settings: PostgresSettings,
    tls: Option<Arc<ServerConfig>>,
    verifier: VerifierFunction,
    permit: PermitFunction,
    changes: watch::Receiver<u64>,
    random: Arc<dyn Random>,
    shutdown: Shutdown,
    registry: Arc<session::Registry>,
    pids: AtomicI32,
    /// Of those who are in: whoever proved who he is may take them all.
    places: host::Places,
    statements: AtomicU64,
}

impl Shared {
    fn engine(&self) -> &Engine {
        &self.series.inner.engine
    }

    fn allows_plain(&self, peer: SocketAddr) -> bool {
        peer.ip().is_loopback() || self.settings.allow_plain_anywhere
    }

    fn next_pid(&self) -> i32 {
        // Wraps after two thousand million connections; those are gone by then.
        self.pids.fetch_add(1, Ordering::Relaxed) & i32::MAX
    }

    fn count_statement(&self) {
        self.statements.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("godwit_postgres_statements_total").increment(1);
    }

    fn count_error(&self) {
        metrics::counter!("godwit_postgres_errors_total").increment(1);
    }

    /// A place among the connections that are in, unless all are taken.
    fn take_place(&self, peer: SocketAddr) -> Option<Place> {
        let place = self.places.take(peer.ip()).ok()?;
        metrics::gauge!("godwit_postgres_connections").increment(1.0);
        Some(Place { _place: place })
    }
}

/// One of them that is in, as long as it is.
struct Place {
    _place: host::Place,
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::gauge!("godwit_postgres_connections").decrement(1.0);
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    let per_address = shared.settings.connections_max.saturating_add(PENDING_MORE);
    let pending = host::Places::new(per_address.saturating_mul(2).max(PENDING_MAX), per_address);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            () = shared.shutdown.stopping() => break,
        };
        match accepted {
            Ok((stream, peer)) => match pending.take(peer.ip()) {
                Ok(waiting) => {
                    connections.spawn(connection::serve(Arc::clone(&shared), stream, peer, waiting));
                }
                // Nobody is told why, since telling would cost as much.
                Err(full) => {
                    metrics::counter!("godwit_postgres_connections_refused_total").increment(1);
                    tracing::debug!(%peer, ?full, "refused a PostgreSQL client: too many are logging in");
                }
            },
            Err(error) => {
                tracing::warn!(%error, "cannot take a PostgreSQL connection");
                // No more files may be open: closing some takes a moment.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    // Each hears the word itself, says so to its client and ends.
    while connections.join_next().await.is_some() {}
}
