//! The `[postgres]` section. Data only; the parts that obey it are beside it.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

/// The `[postgres]` section: SQL by the PostgreSQL wire protocol.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresSettings {
    /// Whether it is served at all. Default: yes.
    pub enabled: bool,
    /// Address to listen on. Default: `127.0.0.1:5433`, and where that is taken the rest is served without, with a
    /// warning. An address that is named here must be had.
    pub bind: Option<SocketAddr>,
    /// Lets an address of the network be served without TLS: the password is never sent readable, the answers are.
    /// Default: no.
    pub allow_plain_anywhere: bool,
    /// Most connections that have logged in. A dashboard of 20 panels uses about 20. Of one address 32 more may be logging in at
    /// one time, of all together twice as many as of one (at least 256); further ones are closed at once. Default: 100.
    pub connections_max: usize,
    /// Longest time from connecting to being logged in. Default: 10 seconds.
    #[serde(with = "humantime_serde")]
    pub startup_timeout: Duration,
    /// Longest time without a statement; connection pools open a new one when they need it. Default: 1 hour.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Largest message of a client in bytes: a statement with its parameters. Default: 1 MiB.
    pub message_bytes_max: usize,
    /// Most prepared statements of a connection. Drivers keep some hundreds. Default: 500.
    pub statements_max: usize,
    /// Most open portals and cursors of a connection. Default: 100.
    pub portals_max: usize,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            bind: None,
            allow_plain_anywhere: false,
            connections_max: 100,
            startup_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(3_600),
            message_bytes_max: 1 << 20,
            statements_max: 500,
            portals_max: 100,
        }
    }
}

impl PostgresSettings {
    /// The address that is taken when none is named.
    pub const BIND_DEFAULT: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5433);
}
