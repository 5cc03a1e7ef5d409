//! `godwit device`: adds devices and shows them.

use std::io::Write;

use reqwest::Method;
use serde::Deserialize;

use crate::http::ServerArgs;

/// The forms of `godwit device`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Add a device and give it a way to prove itself
    Add(Add),
    /// List devices
    List(List),
}

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
pub(crate) struct Add {
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

/// Arguments of `godwit device list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Added {
    name: String,
    password: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    devices: Vec<Device>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Device {
    name: String,
    state: String,
    created: String,
    password: bool,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::Add(args) => add(args).await,
        Args::List(args) => list(args).await,
    }
}

async fn add(args: Add) -> anyhow::Result<()> {
    let body = serde_json::json!({ "name": args.name, "password": args.password, "replace": args.replace });
    let added: Added = args.server.find()?.json(Method::POST, "/api/v1/devices", Some(&body)).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "device    {}", added.name)?;
    writeln!(out, "password  {}    (shown this once: store it on the device now)", added.password)?;
    Ok(())
}

async fn list(args: List) -> anyhow::Result<()> {
    let server = args.server.find()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<32} {:<8} {:<9} created", "name", "state", "password")?;
    let mut after = String::new();
    loop {
        let page: Page = server.json(Method::GET, &format!("/api/v1/devices?after={after}"), None).await?;
        for device in page.devices {
            let password = if device.password { "yes" } else { "no" };
            writeln!(out, "{:<32} {:<8} {password:<9} {}", device.name, device.state, device.created)?;
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(()),
        }
    }
}
