//! `godwit device certificate add`: a further certificate for a device that is known.

use reqwest::Method;

use super::files::{KeyArgs, Made};
use crate::http::{ServerArgs, encoded};

/// What `--help` says behind the flags.
const HELP: &str = "The ones it has stay as they are: revoke them when the device uses the new one.

Examples:
  godwit device certificate add pump-1 --out pump-1-new
  godwit device certificate add pump-1 --csr pump-1.csr > pump-1.cert.pem";

/// Arguments of `godwit device certificate add`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The device
    name: String,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let server = args.server.find()?;
    let place = args.key.prepare(&args.name)?;
    let path = format!("/api/v1/devices/{}/certificates", encoded(&args.name));
    let made: Made = server.json(Method::POST, &path, Some(&place.request)).await?;
    place.write(&args.name, &made, &mut std::io::stdout().lock())
}
