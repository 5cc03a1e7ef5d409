//! `godwit device add`: adds a device and gives it a way to prove itself.

use std::io::Write;

use reqwest::Method;
use serde::Deserialize;

use crate::http::ServerArgs;

/// What `--help` says behind the flags.
const ADD_HELP: &str =
    "The password is printed once and cannot be shown again. With it, and its name as user name, the
device may publish below `dt/NAME/` and subscribe below `cmd/NAME/`.

Examples:
  godwit device add office-1 --password
  godwit device add office-1 --password --replace   # a new one; the old one stops working";

/// Arguments of `godwit device add`.
#[derive(Debug, clap::Args)]
#[command(after_help = ADD_HELP)]
pub(crate) struct Args {
    /// Its name: letters, digits, `:`, `_` and `-`, at most 128
    name: String,
    /// Make a password for it and print it, once
    #[arg(long, required = true)]
    password: bool,
    /// The device has a password already: make a new one, the old one stops working
    #[arg(long, requires = "password")]
    replace: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Added {
    name: String,
    password: String,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let body = serde_json::json!({ "name": args.name, "password": args.password, "replace": args.replace });
    let added: Added = args.server.find()?.json(Method::POST, "/api/v1/devices", Some(&body)).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "device    {}", added.name)?;
    writeln!(out, "password  {}    (shown this once: store it on the device now)", added.password)?;
    Ok(())
}
