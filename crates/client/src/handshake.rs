//! One attempt to connect: open the stream, CONNECT, CONNACK.
//!
//! Not here: when to try again. The law: what comes back is a connection the server has accepted, or the reason
//! why there is none.

use std::time::Duration;

use mqtt::{ConnAck, Connect, ConnectProperties, Packet, Reason, Version};

use crate::transport::tcp;
use crate::wire::Wire;
use crate::{ConnectError, Endpoint, Options, Transport};

/// A connection that the server has accepted.
pub(crate) struct Accepted {
    pub(crate) wire: Wire,
    pub(crate) address: String,
    /// The server goes on with the session of an earlier connection.
    pub(crate) session_present: bool,
    /// How many unacknowledged messages the server takes.
    pub(crate) receive_maximum: usize,
    /// The keep-alive that holds, in seconds; 0: none.
    pub(crate) keep_alive_s: u16,
}

/// Tries once, for at most `within`.
pub(crate) async fn attempt(
    options: &Options,
    clean_start: bool,
    within: Duration,
) -> Result<Accepted, ConnectError> {
    let endpoint = (options.lookup)()?;
    let address = endpoint.address.clone();
    match tokio::time::timeout(within, try_once(options, endpoint, clean_start)).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::Silent { address, after: within }),
    }
}

async fn try_once(
    options: &Options,
    endpoint: Endpoint,
    clean_start: bool,
) -> Result<Accepted, ConnectError> {
    let stream = tcp(&endpoint.address).await?;
    let stream: Box<dyn Transport> = match &endpoint.tls {
        None => Box::new(stream),
        Some(tls) => Box::new(tls.over(stream, &endpoint.address).await?),
    };
    let mut wire = Wire::new(stream, options.version, options.packet_bytes_max);
    let address = endpoint.address.clone();
    let protocol = |what: String| ConnectError::Protocol {
        address: endpoint.address.clone(),
        version: options.version,
        what,
    };
    let connect = connect(options, &endpoint, clean_start);
    wire.put(&Packet::Connect(Box::new(connect))).map_err(|error| protocol(error.to_string()))?;
    let answer = loop {
        if let Some(packet) = wire.next().map_err(|error| protocol(error.to_string()))? {
            break packet;
        }
        match wire.turn(true).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(ConnectError::HungUp { address }),
        }
    };
    match answer {
        Packet::ConnAck(answer) if answer.reason == Reason::Success => {
            Ok(accepted(*answer, wire, address, options))
        }
        Packet::ConnAck(answer) => Err(ConnectError::Refusal {
            address,
            reason: answer.reason,
            text: answer.properties.reason_string.map(|text| text.to_string()),
        }),
        other => Err(protocol(format!("it answered CONNECT with {}", other.packet_type()))),
    }
}

fn accepted(answer: ConnAck, mut wire: Wire, address: String, options: &Options) -> Accepted {
    let told = answer.properties;
    if let Some(bytes_max) = told.packet_bytes_max {
        wire.bound_packets(usize::try_from(bytes_max.get()).unwrap_or(usize::MAX));
    }
    Accepted {
        wire,
        address,
        session_present: answer.session_present,
        receive_maximum: usize::from(told.receive_maximum.get()),
        keep_alive_s: told.server_keep_alive_s.unwrap_or(options.keep_alive_s),
    }
}

fn connect(options: &Options, endpoint: &Endpoint, clean_start: bool) -> Connect {
    let (clean_start, properties) = match options.version {
        // There a clean session also ends with the connection: what is to survive cannot be asked for cleanly.
        Version::V311 => {
            (options.session_expiry_s == 0 || options.client_id.is_empty(), ConnectProperties::default())
        }
        Version::V5 => {
            let properties = ConnectProperties {
                session_expiry_s: options.session_expiry_s,
                packet_bytes_max: u32::try_from(options.packet_bytes_max)
                    .ok()
                    .and_then(std::num::NonZero::new),
                ..ConnectProperties::default()
            };
            (clean_start, properties)
        }
    };
    Connect {
        version: options.version,
        clean_start,
        keep_alive_s: options.keep_alive_s,
        client_id: options.client_id.clone(),
        will: options.will.clone(),
        username: endpoint.username.clone(),
        password: endpoint.password.clone(),
        properties,
    }
}
