//! An MQTT client on our own codec, for `send`, `tail`, `replay`, `load`, simulated fleets and uplinks.
//!
//! ```text
//!  Publisher ──┐  publish(..).await: room in the window      ┌─> Ticket: resolves with the PUBACK
//!  Client ─────┼─ orders ──> the task (task.rs) ── Wire ── TCP, TLS
//!  Messages <──┘  deliveries   │ flight.rs: what is not acknowledged, in order
//!                              └ reconnects with back-off, resumes, gives up when its patience ends
//! ```
//!
//! Not here: what a message means, files.
//! The laws it keeps:
//!
//! - **Order.** Messages of one caller leave in the order of its calls, and what must be sent again is sent again
//!   in that order, flagged as a repeat, before anything new.
//! - **Nothing is forgotten in silence.** Each [`Ticket`] resolves: with the server's answer, or with an error
//!   that says why there is none.
//! - **Bounded.** At most [`Options::window`] messages are on their way, and at most
//!   [`Options::deliveries`] wait for a reader; beyond that the caller waits, or the socket is no longer read.

mod backoff;
mod error;
mod flight;
mod handshake;
mod life;
mod messages;
mod options;
mod packets;
mod plain;
mod publisher;
mod state;
mod task;
mod tls;
mod transport;
mod wire;

pub use error::{ConnectError, EndError, PublishError, SubscribeError};
pub use messages::{Messages, Received};
pub use options::{Endpoint, EndpointError, Lookup, Machine, Options, WINDOW_DEFAULT, WINDOW_MAX};
pub use plain::Plain;
pub use publisher::{Acknowledged, Outgoing, Publisher, Ticket};
pub use state::State;
pub use task::Client;
pub use tls::{Tls, TlsError};
pub use transport::Transport;
