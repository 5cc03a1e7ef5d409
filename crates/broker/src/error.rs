//! Why the door does not open.

use std::io;
use std::net::SocketAddr;

use model::Kind;

/// Why the door does not open.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on `{bind}`")]
    Bind {
        /// The address.
        bind: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A listener without passwords that other machines could reach.
    #[error("listener `{bind}` lets everybody in without a name, and is not on loopback")]
    AnonymousAnywhere {
        /// Its address.
        bind: SocketAddr,
    },
    /// A listener that says both.
    #[error("listener `{bind}` says both `auth = \"password\"` and `anonymous = true`")]
    TwoAuths {
        /// Its address.
        bind: SocketAddr,
    },
    /// A path where none can be, or no path.
    #[error("listener `{bind}` cannot have the path `{path}`")]
    Path {
        /// Its address.
        bind: SocketAddr,
        /// What was given.
        path: String,
    },
    /// A listener with TLS, and no certificate to show.
    #[error("listener `{bind}` says `tls = true`, and there is no server certificate")]
    NoCertificate {
        /// Its address.
        bind: SocketAddr,
    },
    /// A listener that asks for client certificates in another way than it can.
    #[error("listener `{bind}` asks for client certificates and {instead}")]
    ClientCertificates {
        /// Its address.
        bind: SocketAddr,
        /// What it also says.
        instead: &'static str,
    },
    /// TLS cannot be had.
    #[error("listener `{bind}` cannot have TLS")]
    Tls {
        /// Its address.
        bind: SocketAddr,
        /// Why.
        #[source]
        source: Box<identity::AuthorityError>,
    },
    /// A setting out of its bounds.
    #[error("setting `{name}` is {value}; it must be {min} to {max}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What it is.
        value: usize,
        /// The least it may be.
        min: usize,
        /// The most it may be.
        max: usize,
    },
    /// The retained messages cannot be read.
    #[error("cannot read the retained messages")]
    Retained(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The sessions cannot be brought back.
    #[error("cannot bring the sessions back")]
    Sessions(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StartError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Bind { .. } | Self::Tls { .. } | Self::Retained(_) | Self::Sessions(_) => Kind::Broken,
            _ => Kind::Invalid,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Bind { source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => Some(
                    "stop the program that listens there (`ss -ltnp`), or choose another port with `bind`",
                ),
                io::ErrorKind::PermissionDenied => {
                    Some("ports below 1024 need a right of their own: choose a higher one")
                }
                io::ErrorKind::AddrNotAvailable => Some("this machine has no such address: see `ip addr`"),
                _ => None,
            },
            Self::AnonymousAnywhere { .. } => {
                Some("use `auth = \"password\"`, bind to 127.0.0.1, or set `allow_anonymous_anywhere = true`")
            }
            Self::TwoAuths { .. } => Some("keep one of the two"),
            Self::Path { .. } => {
                Some("`path` goes with `door = \"websocket\"` and begins with `/`, as in `path = \"/mqtt\"`")
            }
            Self::NoCertificate { .. } => Some("remove `tls`"),
            Self::ClientCertificates { .. } => {
                Some("`client_certificates` goes with `tls = true`; \"required\" with no other `auth`")
            }
            Self::Tls { source, .. } => source.hint(),
            Self::Setting { .. } | Self::Retained(_) | Self::Sessions(_) => None,
        }
    }
}
