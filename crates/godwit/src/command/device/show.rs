//! `godwit device show`: all that is known of one device.

use std::io::Write;

use reqwest::Method;
use serde::Deserialize;

use super::shown::Device;
use crate::command::session::shown;
use crate::http::{ServerArgs, encoded};

/// What `--help` says behind the flags.
const HELP: &str = "Examples:
  godwit device show pump-7
  godwit device show pump-7 --json | jq .placements    # where it was, from when until when";

/// Arguments of `godwit device show`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Its name
    name: String,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Whole {
    #[serde(flatten)]
    device: Device,
    placements: Vec<Placement>,
    sessions: Vec<Session>,
    last_reading: Option<String>,
    flags: Vec<Flag>,
    certificates: Vec<Certificate>,
    policies: Vec<String>,
    refused: Option<Refused>,
}

#[derive(Debug, Deserialize)]
struct Certificate {
    id: String,
    status: String,
    not_after: String,
}

#[derive(Debug, Deserialize)]
struct Refused {
    times: u64,
    last_action: String,
    last_topic: String,
    last_at: String,
}

#[derive(Debug, Deserialize)]
struct Flag {
    flag: String,
    first: String,
    last: String,
    times: u64,
    detail: serde_json::Value,
}

#[derive(Debug, Deserialize)]
struct Placement {
    group: String,
    from: String,
    to: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Session {
    client_id: String,
    connection: Option<Connection>,
}

#[derive(Debug, Deserialize)]
struct Connection {
    peer: String,
    connected_at: String,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let path = format!("/api/v1/devices/{}", encoded(&args.name));
    let value: serde_json::Value = args.server.find()?.json(Method::GET, &path, None).await?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{value}")?;
        return Ok(());
    }
    let whole: Whole = serde_json::from_value(value)?;
    let Whole { device, placements, sessions, last_reading, flags, .. } = whole;
    let mut line = |what: &str, said: String| writeln!(out, "{what:<14}{said}");
    line("name", device.name)?;
    line("state", device.state)?;
    if let Some(quarantine) = device.quarantine {
        line("quarantined", format!("since {}: {}", quarantine.since, shown(&quarantine.reason)))?;
    }
    if let Some(removed) = device.removed {
        let successor = removed.successor.map_or(String::new(), |name| format!(", replaced by {name}"));
        line("removed", format!("{}{successor}", removed.at))?;
    }
    for Flag { flag, first, last, times, detail } in flags {
        let times = if times == 1 { first } else { format!("{times} times from {first} to {last}") };
        line("flag", format!("{flag}, {times}: {}", shown(&detail.to_string())))?;
    }
    line("version", device.version.to_string())?;
    line("created", device.created)?;
    line("password", if device.password { "yes" } else { "no" }.to_owned())?;
    for Certificate { id, status, not_after } in whole.certificates {
        line("certificate", format!("{id}, {status}, until {not_after}"))?;
    }
    for policy in whole.policies {
        line("policy", policy)?;
    }
    if let Some(Refused { times, last_action, last_topic, last_at }) = whole.refused {
        line(
            "refused",
            format!("{times} times, the last at {last_at}: {last_action} {}", shown(&last_topic)),
        )?;
    }
    line("last reading", last_reading.unwrap_or_else(|| "none".to_owned()))?;
    line("group", device.group.unwrap_or_else(|| "-".to_owned()))?;
    for group in device.groups {
        line("member of", group)?;
    }
    for (key, value) in device.attributes {
        line("attribute", format!("{key}={}", shown(&value)))?;
    }
    for Placement { group, from, to } in placements {
        line("placement", format!("{group}, {from} to {}", to.as_deref().unwrap_or("now")))?;
    }
    for Session { client_id, connection } in sessions {
        let from = connection.map_or("away".to_owned(), |connection| {
            format!("from {} since {}", connection.peer, connection.connected_at)
        });
        line("session", format!("{}, {from}", shown(&client_id)))?;
    }
    Ok(())
}
