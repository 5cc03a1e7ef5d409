//! How to connect: where, as whom, and how patient to be.
//!
//! Not here: flags and files of the command line; it hands in an [`Endpoint`], or a [`Lookup`] that finds one anew
//! before each attempt (a server that was restarted may listen elsewhere and have another token).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use host::{Clock, Random};
use mqtt::{Version, Will};

use crate::Tls;

/// Messages on their way by default: enough to hide a disk sync of 2 ms behind the next 20,000 messages a second.
pub const WINDOW_DEFAULT: usize = 64;

/// Most messages on their way: half of the 65,535 packet ids, so that an id is never taken that is still in use
/// when acknowledgements come out of order.
pub const WINDOW_MAX: usize = 32_767;

/// Deliveries that may wait for a reader by default.
const DELIVERIES_DEFAULT: usize = 1_024;

/// Where to connect and as whom.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// `HOST:PORT`; an IPv6 address in brackets.
    pub address: String,
    /// User name.
    pub username: Option<ByteString>,
    /// Password. Never shown by `Debug`.
    pub password: Option<Bytes>,
    /// TLS, if it is spoken.
    pub tls: Option<Tls>,
}

impl Endpoint {
    /// The endpoint at `address`, as nobody in particular.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), ..Self::default() }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("address", &self.address)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "hidden"))
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

/// Why there is no endpoint just now, in words for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EndpointError(pub String);

/// Finds the endpoint anew before each attempt to connect.
pub type Lookup = Arc<dyn Fn() -> Result<Endpoint, EndpointError> + Send + Sync>;

/// What the client needs of the machine.
#[derive(Clone)]
pub struct Machine {
    /// Measures acknowledgements and patience.
    pub clock: Arc<dyn Clock>,
    /// Spreads the attempts of many clients after a server's restart.
    pub random: Arc<dyn Random>,
}

impl Machine {
    /// The machine itself.
    #[must_use]
    pub fn system() -> Self {
        Self { clock: Arc::new(host::SystemClock::start()), random: Arc::new(host::SystemRandom) }
    }
}

/// How to connect and how to behave then.
#[derive(Clone)]
pub struct Options {
    /// Finds where to connect and as whom.
    pub lookup: Lookup,
    /// The protocol version spoken. Default: MQTT 5.
    pub version: Version,
    /// The client id. Empty: the server chooses one (and no session survives a lost connection).
    pub client_id: ByteString,
    /// Whether the first connection forgets a session that the server kept. Default true. Later ones never do.
    pub clean_start: bool,
    /// How long the server keeps the session after the connection is lost, in seconds. Default 0. In MQTT 3.1.1
    /// anything but 0 means: until the next clean start.
    pub session_expiry_s: u32,
    /// The longest silence of this client in seconds; 0: no bound. Default 30.
    pub keep_alive_s: u16,
    /// What the server publishes when this client goes without a word.
    pub will: Option<Will>,
    /// Most messages on their way, 1 to [`WINDOW_MAX`]; a server that takes fewer is obeyed. Default
    /// [`WINDOW_DEFAULT`].
    pub window: usize,
    /// Most deliveries that wait for a reader. Default 1,024.
    pub deliveries: usize,
    /// The largest packet taken, in bytes. Default: [`model::limit::PACKET_BYTES_DEFAULT`].
    pub packet_bytes_max: usize,
    /// How long one attempt to connect may last, CONNACK included. Default 10 s.
    pub attempt: Duration,
    /// How long to go on trying after a connection is lost, until one makes progress again. Zero: not at all.
    /// Default 60 s. The first connection is tried once.
    pub patience: Duration,
}

impl Options {
    /// The defaults, for a fixed endpoint.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self::looking_up(Arc::new(move || Ok(endpoint.clone())))
    }

    /// The defaults, for an endpoint that is found anew before each attempt.
    #[must_use]
    pub fn looking_up(lookup: Lookup) -> Self {
        Self {
            lookup,
            version: Version::V5,
            client_id: ByteString::new(),
            clean_start: true,
            session_expiry_s: 0,
            keep_alive_s: 30,
            will: None,
            window: WINDOW_DEFAULT,
            deliveries: DELIVERIES_DEFAULT,
            packet_bytes_max: model::limit::PACKET_BYTES_DEFAULT,
            attempt: Duration::from_secs(10),
            patience: Duration::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let endpoint = Endpoint { password: Some(Bytes::from_static(b"s3cret")), ..Endpoint::new("a:1") };
        assert!(!format!("{endpoint:?}").contains("s3cret"));
    }
}
