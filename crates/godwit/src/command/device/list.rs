//! `godwit device list`: shows which devices are known.

use std::io::Write;

use reqwest::Method;
use serde::Deserialize;

use crate::http::ServerArgs;

/// Arguments of `godwit device list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: ServerArgs,
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
