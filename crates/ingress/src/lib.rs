//! The HTTPS door of devices: `POST /topics/{topic}?qos=1`, with the device's certificate, as AWS IoT has it on port 8443.
//!
//! ```text
//! TLS handshake ─> certificate ─> who speaks, by the register of now ─> may it publish? ─> journal ─> durable ─> 200
//! ```
//!
//! Not here: MQTT, and delivery: subscribers get what the journal has. The laws: 200 means durable, whatever `qos` says; a
//! certificate that was revoked is refused at its next request, on a connection that is open too; whatever is larger than
//! its bound is refused with the bound.

mod connection;
mod listener;
mod publish;

pub use listener::{BindError, Https};

use std::sync::Arc;

use host::{Host, Shutdown};
use identity::Identity;
use journal::Journal;
use model::Routes;

/// What the door stands on.
pub struct Parts {
    /// Clock.
    pub host: Host,
    /// Where messages become durable.
    pub journal: Journal,
    /// Who may what.
    pub identity: Identity,
    /// What topics mean.
    pub routes: Arc<Routes>,
    /// Largest body in bytes.
    pub body_bytes_max: usize,
    /// Says when to stop.
    pub shutdown: Shutdown,
}
