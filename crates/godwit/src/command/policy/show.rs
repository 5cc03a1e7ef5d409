//! `godwit policy list` and `show`.

use std::io::Write;

use reqwest::Method;
use serde::Deserialize;

use crate::http::{ServerArgs, encoded};

/// Arguments of `godwit policy list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit policy show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The policy; `default` is the one of devices without any
    name: String,
    /// This version instead of the one that counts
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Page {
    policies: Vec<Policy>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Policy {
    name: String,
    active: u32,
    versions: Vec<Version>,
    targets: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Version {
    version: u32,
}

#[derive(Debug, Deserialize)]
struct Shown {
    document: String,
}

/// Lists policies.
pub(super) async fn list(args: List) -> anyhow::Result<()> {
    let server = args.server.find()?;
    let mut out = std::io::stdout().lock();
    let mut after = String::new();
    loop {
        let path = format!("/api/v1/policies?after={}", encoded(&after));
        let page: Page = server.json(Method::GET, &path, None).await?;
        if after.is_empty() {
            writeln!(out, "{:<24} {:<6} {:<16} attached to", "name", "counts", "versions")?;
        }
        for policy in page.policies {
            let versions: Vec<String> = policy.versions.iter().map(|one| one.version.to_string()).collect();
            let targets = policy.targets.join(" ");
            writeln!(out, "{:<24} {:<6} {:<16} {targets}", policy.name, policy.active, versions.join(","))?;
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(()),
        }
    }
}

/// Prints a policy as it was put.
pub(super) async fn show(args: Show) -> anyhow::Result<()> {
    let version = args.version.map(|version| format!("?version={version}")).unwrap_or_default();
    let path = format!("/api/v1/policies/{}{version}", encoded(&args.name));
    let shown: Shown = args.server.find()?.json(Method::GET, &path, None).await?;
    writeln!(std::io::stdout().lock(), "{}", shown.document.trim_end())?;
    Ok(())
}
