//! `godwit retained`: what is kept for later subscribers.

use std::io::Write;

use anyhow::bail;
use reqwest::Method;
use serde::Deserialize;

use super::session::shown;
use crate::fault::with_hint;
use crate::http::{ServerArgs, encoded};

/// What `--help` says behind the flags.
const HELP: &str = r#"The server keeps the last message of a topic that was published with the retain flag, and sends it to whoever
subscribes later. Clearing is what publishing an empty retained message does.

Examples:
  godwit retained list
  godwit retained list 'tele/+/LWT' --json
  godwit retained show zigbee2mqtt/bridge/devices > devices.json
  godwit retained list '$SYS/#'   # the server's own numbers
  godwit retained clear 'homeassistant/sensor/old-plug/#'"#;

/// The forms of `godwit retained`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = HELP)]
pub(crate) enum Args {
    /// List retained messages by topic, with the beginnings of their payloads
    List(List),
    /// Print the whole payload of one topic
    Show(Show),
    /// Take retained messages away; subscribers see an empty message
    Clear(Clear),
}

/// Arguments of `godwit retained list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Which topics; quote it, the shell knows `#` and `*` too
    #[arg(value_name = "FILTER", default_value = "#")]
    filter: String,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit retained show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The topic
    topic: String,
    /// With everything that is known of it, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit retained clear`.
#[derive(Debug, clap::Args)]
pub(crate) struct Clear {
    /// Which topics; quote it
    #[arg(value_name = "FILTER")]
    filter: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Page {
    retained: Vec<serde_json::Value>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Retained {
    topic: String,
    payload: String,
    payload_encoding: String,
    payload_bytes: usize,
    #[serde(default)]
    cut: bool,
    qos: u8,
    received_at: String,
}

#[derive(Debug, Deserialize)]
struct Cleared {
    cleared: usize,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::List(args) => list(args).await,
        Args::Show(args) => show(args).await,
        Args::Clear(args) => clear(args).await,
    }
}

async fn list(args: List) -> anyhow::Result<()> {
    let server = args.server.find()?;
    let mut out = std::io::stdout().lock();
    let mut after = String::new();
    loop {
        let path = format!("/api/v1/retained?limit=1000&filter={}{after}", encoded(&args.filter));
        let page: Page = server.json(Method::GET, &path, None).await?;
        if !args.json && after.is_empty() {
            writeln!(out, "{:<28} {:>3} {:>8}  topic and payload", "received", "qos", "bytes")?;
        }
        for value in page.retained {
            if args.json {
                writeln!(out, "{value}")?;
                continue;
            }
            let kept: Retained = serde_json::from_value(value)?;
            let more = if kept.cut { "…" } else { "" };
            let payload = match kept.payload_encoding.as_str() {
                "utf-8" => shown(&kept.payload),
                _ => format!("<{} bytes>", kept.payload_bytes),
            };
            writeln!(
                out,
                "{:<28} {:>3} {:>8}  {} {payload}{more}",
                kept.received_at,
                kept.qos,
                kept.payload_bytes,
                shown(&kept.topic)
            )?;
        }
        match page.next {
            Some(next) => after = format!("&after={}", encoded(&next)),
            None => return Ok(()),
        }
    }
}

async fn show(args: Show) -> anyhow::Result<()> {
    if args.topic.contains(['+', '#']) {
        let error = anyhow::anyhow!("`{}` is a filter, not a topic", args.topic);
        return Err(with_hint(error, Some("`godwit retained list FILTER` shows what it matches")));
    }
    let path = format!("/api/v1/retained?whole=true&limit=1&filter={}", encoded(&args.topic));
    let page: Page = args.server.find()?.json(Method::GET, &path, None).await?;
    let Some(value) = page.retained.into_iter().next() else {
        bail!("nothing is retained on `{}`", args.topic);
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{value}")?;
        return Ok(());
    }
    let kept: Retained = serde_json::from_value(value)?;
    match kept.payload_encoding.as_str() {
        "utf-8" => writeln!(out, "{}", kept.payload)?,
        // As it was, for a file or another program.
        _ => {
            let digit = |at: usize| u8::from_str_radix(kept.payload.get(at..at + 2).unwrap_or("0"), 16);
            let bytes: Result<Vec<u8>, _> = (0..kept.payload.len()).step_by(2).map(digit).collect();
            out.write_all(&bytes?)?;
        }
    }
    Ok(())
}

async fn clear(args: Clear) -> anyhow::Result<()> {
    let path = format!("/api/v1/retained?filter={}", encoded(&args.filter));
    let cleared: Cleared = args.server.find()?.json(Method::DELETE, &path, None).await?;
    writeln!(std::io::stdout().lock(), "cleared {} retained messages", cleared.cleared)?;
    Ok(())
}
