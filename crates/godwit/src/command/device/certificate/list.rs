//! `godwit device certificate list`: which certificates there are.

use std::io::Write;

use reqwest::Method;
use serde::Deserialize;

use crate::http::{ServerArgs, encoded};

/// Arguments of `godwit device certificate list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only those of this device
    name: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Page {
    certificates: Vec<Certificate>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Certificate {
    id: String,
    device: Option<String>,
    status: String,
    origin: String,
    not_after: String,
    last_seen: Option<String>,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let server = args.server.find()?;
    let mut out = std::io::stdout().lock();
    let path = match &args.name {
        Some(name) => format!("/api/v1/devices/{}/certificates", encoded(name)),
        None => "/api/v1/certificates".to_owned(),
    };
    let mut after = String::new();
    loop {
        let page: Page = server.json(Method::GET, &format!("{path}?after={after}"), None).await?;
        if after.is_empty() {
            writeln!(
                out,
                "{:<64}  {:<24} {:<8} {:<10} {:<21} last seen",
                "certificate", "device", "status", "origin", "good until"
            )?;
        }
        for found in page.certificates {
            let device = found.device.as_deref().unwrap_or("-");
            let seen = found.last_seen.as_deref().unwrap_or("never");
            writeln!(
                out,
                "{:<64}  {device:<24} {:<8} {:<10} {:<21} {seen}",
                found.id, found.status, found.origin, found.not_after
            )?;
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(()),
        }
    }
}
