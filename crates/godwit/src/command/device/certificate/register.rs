//! `godwit device certificate register`: a certificate that was made elsewhere becomes a device's.

use std::path::PathBuf;

use reqwest::Method;

use super::files::{Made, read_pem};
use crate::http::{ServerArgs, encoded};

/// What `--help` says behind the flags.
const HELP: &str =
    "Who signed it does not matter: another authority, or its own key. It is known by its SHA-256. A device that is not
known yet is added with it: godwit device add NAME --certificate FILE.

Examples:
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \\
    -keyout pump-1.key.pem -out pump-1.cert.pem -subj /CN=pump-1
  godwit device certificate register pump-1.cert.pem --device pump-1";

/// Arguments of `godwit device certificate register`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The certificate (PEM)
    file: PathBuf,
    /// Whose it is: a device that is known
    #[arg(long, value_name = "NAME")]
    device: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let body = serde_json::json!({ "certificate": read_pem(&args.file)? });
    let path = format!("/api/v1/devices/{}/certificates", encoded(&args.device));
    let made: Made = args.server.find()?.json(Method::POST, &path, Some(&body)).await?;
    made.say(&args.device, &mut std::io::stdout().lock())
}
