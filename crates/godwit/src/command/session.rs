//! `godwit session`: who is connected and what waits for whom.

use std::io::Write;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::http::{ServerArgs, encoded};

/// What `--help` says behind the flags.
const HELP: &str = r#"A session is what the server knows of one client id of one device or user: its subscriptions, and what is still to be
sent to it. It outlives its connection for as long as the client asked.

Examples:
  godwit session list
  godwit session list --away --json | jq -r .client_id   # who is not connected, and is waited for
  godwit session show office-1
  godwit session kick office-1   # ends the connection; the client may come back, its session stays"#;

/// The forms of `godwit session`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = HELP)]
pub(crate) enum Args {
    /// List sessions by client id, with what waits for them
    List(List),
    /// Show one session and its subscriptions
    Show(One),
    /// End the connections of a client id (MQTT 5: reason 0x98, administrative action)
    Kick(Kick),
}

/// Arguments of `godwit session list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only client ids that begin with this
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// Only those that are connected
    #[arg(long)]
    connected: bool,
    /// Only those that are not
    #[arg(long, conflicts_with = "connected")]
    away: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit session show`.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// The MQTT client id
    client_id: String,
    /// Of several sessions of this client id the one of this device, or principal
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit session kick`.
#[derive(Debug, clap::Args)]
pub(crate) struct Kick {
    /// The MQTT client id
    client_id: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Page {
    sessions: Vec<serde_json::Value>,
    next: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Session {
    client_id: String,
    principal: String,
    device: Option<String>,
    #[serde(default)]
    confined: bool,
    connection: Option<Connection>,
    subscriptions: usize,
    #[serde(default)]
    filters: Vec<Filter>,
    queued_messages: usize,
    queued_bytes: usize,
    left_messages: usize,
    inflight_messages: usize,
    expiry_s: u32,
}

#[derive(Debug, Deserialize, Serialize)]
struct Connection {
    peer: String,
    version: String,
    connected_at: String,
    bridge: bool,
}

#[derive(Debug, Deserialize, Serialize)]
struct Filter {
    filter: String,
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    id: Option<u32>,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::List(args) => list(args).await,
        Args::Show(args) => show(args).await,
        Args::Kick(args) => kick(args).await,
    }
}

async fn list(args: List) -> anyhow::Result<()> {
    let server = args.server.find()?;
    let mut out = std::io::stdout().lock();
    let connected = match (args.connected, args.away) {
        (true, _) => "&connected=true",
        (_, true) => "&connected=false",
        _ => "",
    };
    let mut after = String::new();
    loop {
        let (prefix, from) = (encoded(&args.prefix), encoded(&after));
        let path = format!("/api/v1/sessions?limit=1000&prefix={prefix}&after={from}{connected}");
        let page: Page = server.json(Method::GET, &path, None).await?;
        if !args.json && after.is_empty() {
            writeln!(
                out,
                "{:<32} {:<24} {:<22} {:>6} {:>8} {:>8} {:>8}",
                "client id", "principal", "from", "subs", "waiting", "journal", "inflight"
            )?;
        }
        for value in page.sessions {
            if args.json {
                writeln!(out, "{value}")?;
                continue;
            }
            let session: Session = serde_json::from_value(value)?;
            let from = session.connection.as_ref().map_or("-", |connection| connection.peer.as_str());
            writeln!(
                out,
                "{:<32} {:<24} {from:<22} {:>6} {:>8} {:>8} {:>8}",
                shown(&session.client_id),
                shown(&session.principal),
                session.subscriptions,
                session.queued_messages,
                session.left_messages,
                session.inflight_messages
            )?;
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(()),
        }
    }
}

async fn show(args: One) -> anyhow::Result<()> {
    let owner = args.owner.map(|owner| format!("?owner={}", encoded(&owner))).unwrap_or_default();
    let path = format!("/api/v1/sessions/{}{owner}", encoded(&args.client_id));
    let server = args.server.find()?;
    let value: serde_json::Value = server.json(Method::GET, &path, None).await?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{value}")?;
        return Ok(());
    }
    let session: Session = serde_json::from_value(value)?;
    let mut line = |what: &str, said: String| writeln!(out, "{what:<14}{said}");
    line("client id", shown(&session.client_id))?;
    line("principal", shown(&session.principal))?;
    if let Some(device) = &session.device {
        let confined = if session.confined { ", in quarantine or by an expired certificate" } else { "" };
        line("device", format!("{}{confined}", shown(device)))?;
    }
    match &session.connection {
        None => line("connection", format!("none; the session lives {} s without one", session.expiry_s))?,
        Some(Connection { peer, version, connected_at, bridge }) => {
            let bridge = if *bridge { ", a bridge of another broker" } else { "" };
            line("connection", format!("{peer}, {version}, since {connected_at}{bridge}"))?;
        }
    }
    line("in memory", format!("{} messages, {} bytes", session.queued_messages, session.queued_bytes))?;
    line("in the journal", format!("{} messages", session.left_messages))?;
    line("in flight", format!("{} messages", session.inflight_messages))?;
    for Filter { filter, qos, no_local, retain_as_published, id } in &session.filters {
        let mut said = format!("{} (QoS {qos}", shown(filter));
        for (is_so, word) in [(*no_local, "no local"), (*retain_as_published, "retain as published")] {
            if is_so {
                said = said + ", " + word;
            }
        }
        said += &id.map_or(String::new(), |id| format!(", id {id}"));
        line("subscribes to", said + ")")?;
    }
    Ok(())
}

async fn kick(args: Kick) -> anyhow::Result<()> {
    let path = format!("/api/v1/sessions/{}/kick", encoded(&args.client_id));
    args.server.find()?.ask(Method::POST, &path, "application/json", None).await?;
    writeln!(std::io::stdout().lock(), "ended the connection of {}", shown(&args.client_id))?;
    Ok(())
}

/// A text that a client chose, so that a terminal survives it.
pub(super) fn shown(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_debug().collect() } else { vec![c] }).collect()
}
