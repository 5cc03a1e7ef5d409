//! `godwit device list`: shows which devices are known.

use std::io::Write;

use super::shown::{Device, Which};
use crate::http::ServerArgs;

/// What `--help` says behind the flags.
const HELP: &str = "Devices are listed by name, with the day on which the last of their certificates ends. Those that were removed are listed only when asked for.

Examples:
  godwit device list --group hq/floor-17
  godwit device list --name 'pump-*' --attribute model=TX-2
  godwit device list --state seen                    # spoken of, and added by nobody
  godwit device list --state quarantined --json | jq -r .name";

/// Arguments of `godwit device list`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let server = args.server.find()?;
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let mut is_first = true;
    let page = |page: Vec<serde_json::Value>| {
        // Not before the server has answered: what it refuses has no columns.
        if std::mem::take(&mut is_first) && !args.json {
            let (name, certificate) = ("name", "certificate");
            writeln!(
                out,
                "{name:<32} {:<11} {:<9} {certificate:<11} {:<28} created",
                "state", "password", "group"
            )?;
        }
        for value in page {
            if args.json {
                writeln!(out, "{value}")?;
                continue;
            }
            let device: Device = serde_json::from_value(value)?;
            let password = if device.password { "yes" } else { "no" };
            let group = device.group.as_deref().unwrap_or("-");
            // The day on which the last one ends.
            let until = device.certificate_until.as_deref().and_then(|until| until.get(..10)).unwrap_or("-");
            let Device { name, state, created, .. } = &device;
            writeln!(out, "{name:<32} {state:<11} {password:<9} {until:<11} {group:<28} {created}")?;
        }
        Ok(())
    };
    args.which.pages(&server, page).await?;
    out.flush()?;
    Ok(())
}
