//! `godwit device gateway`: the devices that a gateway speaks for.

use std::io::Write;

use reqwest::Method;
use serde::Deserialize;

use crate::http::{ServerArgs, encoded};

/// What `--help` says behind the flags.
const HELP: &str = "A gateway publishes for the devices behind it, and hears what is sent to them, as they would themselves: below
`dt/CHILD/`, `cmd/CHILD/` and `$aws/things/CHILD/`. Policies of its own name them `${godwit:Child}`. What is listed takes the
place of what was listed before.

Examples:
  godwit device gateway gw-1 --child meter-1 --child meter-2
  godwit device gateway gw-1            # who is behind it
  godwit device gateway gw-1 --none     # it is no gateway any more";

/// Arguments of `godwit device gateway`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The gateway
    name: String,
    /// A device behind it; may be given again
    #[arg(long, value_name = "NAME")]
    child: Vec<String>,
    /// Nobody is behind it
    #[arg(long, conflicts_with = "child")]
    none: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Children {
    children: Vec<String>,
}

/// Lists the devices behind a gateway, or shows them.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let server = args.server.find()?;
    let path = format!("/api/v1/devices/{}/children", encoded(&args.name));
    if args.none || !args.child.is_empty() {
        let body = serde_json::json!({ "children": args.child });
        server.ask(Method::PUT, &path, "application/json", Some(&body)).await?;
    }
    let known: Children = server.json(Method::GET, &path, None).await?;
    let mut out = std::io::stdout().lock();
    if known.children.is_empty() {
        writeln!(out, "nobody is behind {}", args.name)?;
    }
    for child in known.children {
        writeln!(out, "{child}")?;
    }
    Ok(())
}
