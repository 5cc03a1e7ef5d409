//! What can go wrong, and what the reader can do about it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use model::Kind;
use mqtt::Reason;

use crate::EndpointError;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody knows where to connect.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The address is not `HOST:PORT`.
    #[error("`{address}` is not HOST:PORT")]
    Address {
        /// What was given.
        address: String,
    },
    /// Nothing listens there.
    #[error("connection refused by `{address}`")]
    Refused {
        /// Where.
        address: String,
    },
    /// The address cannot be resolved or reached.
    #[error("cannot reach `{address}`")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no TLS with it.
    #[error("no TLS with `{address}`")]
    Tls {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No answer in time.
    #[error("no answer from `{address}` within {} s", after.as_secs_f64())]
    Silent {
        /// Where.
        address: String,
        /// How long it was waited.
        after: Duration,
    },
    /// The other side hung up before it answered CONNECT.
    #[error("`{address}` closed the connection without an answer")]
    HungUp {
        /// Where.
        address: String,
    },
    /// The server refused CONNECT.
    #[error("{reason}: refused by `{address}`{}", text.as_ref().map_or(String::new(), |text| format!(" ({text})")))]
    Refusal {
        /// Where.
        address: String,
        /// Why.
        reason: Reason,
        /// What the server said to a person.
        text: Option<String>,
    },
    /// What came back is not MQTT.
    #[error("`{address}` does not speak {version}: {what}")]
    Protocol {
        /// Where.
        address: String,
        /// What was spoken.
        version: mqtt::Version,
        /// What was wrong.
        what: String,
    },
}

impl ConnectError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Address { .. } | Self::Protocol { .. } => Kind::Invalid,
            Self::Tls { source, .. } if crate::tls::is_final(source) => Kind::Invalid,
            Self::Endpoint(_)
            | Self::Tls { .. }
            | Self::Refused { .. }
            | Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::HungUp { .. } => Kind::Unavailable,
            Self::Refusal { reason, .. } => kind_of(*reason),
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Address { .. } => Some("write it as 192.168.1.10:1883 or [::1]:1883"),
            Self::Refused { .. } => Some("is `godwit serve` running, and is this the address it printed?"),
            Self::Unreachable { .. } | Self::Silent { .. } => {
                Some("check the address, the network and the firewall between here and there")
            }
            Self::HungUp { .. } | Self::Protocol { .. } => Some(
                "is this a plain MQTT port? One for TLS (8883: give --ca, --cert and --key) or HTTP (8080) answers like this",
            ),
            Self::Tls { .. } => Some(
                "--ca is the `ca.pem` of the server's data directory; the name or address must be one of its certificate; port 8883 asks for --cert and --key",
            ),
            Self::Refusal { reason: Reason::BadUserNameOrPassword | Reason::NotAuthorized, .. } => Some(
                "give --user and --password (`godwit device add NAME --password` makes one), or --data DIR on the server's machine",
            ),
            Self::Refusal { reason: Reason::UnsupportedProtocolVersion, .. } => Some("try --mqtt 3.1.1"),
            Self::Refusal { .. } | Self::Endpoint(_) => None,
        }
    }

    /// Whether the server said no to who we are: trying again with the same words is useless.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Refusal { .. } => !self.kind().is_retryable(),
            Self::Address { .. } | Self::Protocol { .. } => true,
            Self::Tls { source, .. } => crate::tls::is_final(source),
            _ => false,
        }
    }
}

/// Why the client no longer runs although nobody closed it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EndError {
    /// The connection was lost and could not be made again.
    #[error("connection to `{address}` lost ({lost}) and not regained within {} s", patience.as_secs_f64())]
    GaveUp {
        /// Where.
        address: String,
        /// How it was lost.
        lost: String,
        /// How long it was tried.
        patience: Duration,
        /// How the last attempt failed.
        #[source]
        last: Option<Arc<ConnectError>>,
    },
    /// The connection was lost, and the server does not want us back.
    #[error("connection to `{address}` lost ({lost}), and the server does not take this client back")]
    NotTakenBack {
        /// Where.
        address: String,
        /// How it was lost.
        lost: String,
        /// Its refusal.
        #[source]
        refusal: Arc<ConnectError>,
    },
    /// The server ended the connection for a reason that another attempt would meet again.
    #[error("`{address}` ended the connection: {reason}{}", text.as_ref().map_or(String::new(), |text| format!(" ({text})")))]
    Dismissed {
        /// Where.
        address: String,
        /// Its reason.
        reason: Reason,
        /// What the server said to a person.
        text: Option<String>,
    },
    /// It was closed.
    #[error("the client was closed")]
    Closed,
}

impl EndError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::GaveUp { .. } => Kind::Unavailable,
            Self::NotTakenBack { refusal, .. } => refusal.kind(),
            Self::Dismissed { reason, .. } => kind_of(*reason),
            Self::Closed => Kind::Conflict,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::GaveUp { last, .. } => last.as_ref().and_then(|last| last.hint()),
            Self::NotTakenBack { refusal, .. } => refusal.hint(),
            Self::Dismissed { reason: Reason::SessionTakenOver, .. } => {
                Some("another client uses the same client id: give each its own with --client-id")
            }
            Self::Dismissed { .. } | Self::Closed => None,
        }
    }
}

/// Why a message was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// The server answered, and refused.
    #[error("the server refused the message: {reason}{}", text.as_ref().map_or(String::new(), |text| format!(" ({text})")))]
    Refused {
        /// Its reason.
        reason: Reason,
        /// What it said to a person.
        text: Option<String>,
    },
    /// The packet is larger than the server takes.
    #[error("message is {bytes} bytes as a packet; the server takes at most {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// It cannot be written as a packet.
    #[error("message cannot be sent: {0}")]
    Invalid(String),
    /// A QoS 0 message was being written when the connection was lost; nobody knows whether it arrived.
    #[error("connection lost while a QoS 0 message was on its way")]
    Lost,
    /// The client ended before an answer came.
    #[error(transparent)]
    Ended(#[from] EndError),
}

impl PublishError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Refused { reason, .. } => kind_of(*reason),
            Self::TooLarge { .. } | Self::Invalid(_) => Kind::Invalid,
            Self::Lost => Kind::Unavailable,
            Self::Ended(end) => end.kind(),
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Refused { reason: Reason::NotAuthorized, .. } => Some(
                "this principal may not publish to that topic: see its permissions, or use another --user",
            ),
            Self::Refused { reason: Reason::QuotaExceeded, .. } => {
                Some("the server's journal is full: free space there, or raise `journal.bytes_max`")
            }
            Self::Refused { reason: Reason::QosNotSupported, .. } => Some("use --qos 1"),
            Self::TooLarge { .. } => {
                Some("send less in one message, or raise `packet_bytes_max` on the server")
            }
            Self::Lost => Some("use QoS 1 to have messages sent again"),
            Self::Ended(end) => end.hint(),
            Self::Refused { .. } | Self::Invalid(_) => None,
        }
    }
}

/// Why there is no subscription.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubscribeError {
    /// The server refused a filter.
    #[error("the server refused to subscribe to `{filter}`: {reason}")]
    Refused {
        /// The filter.
        filter: String,
        /// Its reason.
        reason: Reason,
    },
    /// The packet cannot be written.
    #[error("subscription cannot be sent: {0}")]
    Invalid(String),
    /// The client ended before an answer came.
    #[error(transparent)]
    Ended(#[from] EndError),
}

impl SubscribeError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Refused { reason, .. } => kind_of(*reason),
            Self::Invalid(_) => Kind::Invalid,
            Self::Ended(end) => end.kind(),
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Refused { reason: Reason::NotAuthorized, .. } => {
                Some("this principal may not subscribe to that: see its permissions, or use another --user")
            }
            Self::Ended(end) => end.hint(),
            _ => None,
        }
    }
}

/// What a reason code says of the retry.
pub(crate) fn kind_of(reason: Reason) -> Kind {
    match reason {
        Reason::BadUserNameOrPassword | Reason::BadAuthenticationMethod => Kind::Unauthenticated,
        Reason::NotAuthorized | Reason::Banned => Kind::Forbidden,
        Reason::QuotaExceeded | Reason::MessageRateTooHigh | Reason::ReceiveMaximumExceeded => Kind::TooMuch,
        Reason::ServerUnavailable
        | Reason::ServerBusy
        | Reason::ServerShuttingDown
        | Reason::KeepAliveTimeout
        | Reason::AdministrativeAction
        | Reason::Unspecified => Kind::Unavailable,
        Reason::SessionTakenOver => Kind::Conflict,
        _ => Kind::Invalid,
    }
}
