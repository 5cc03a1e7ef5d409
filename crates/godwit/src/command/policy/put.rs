//! `godwit policy put`, `activate` and `remove`: policies and their versions.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use reqwest::Method;
use serde::Deserialize;

use crate::fault::with_hint;
use crate::http::{ServerArgs, encoded};

/// Longest file that is sent, in bytes: far more than a policy may have.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Arguments of `godwit policy put`.
#[derive(Debug, clap::Args)]
pub(crate) struct Put {
    /// Its name: letters, digits and `_+=,.@-`, at most 128
    name: String,
    /// The policy as JSON; `-` for standard input
    file: PathBuf,
    /// Keep it without letting it count: `godwit policy activate` does that later
    #[arg(long)]
    inactive: bool,
    /// Only if this version counts now
    #[arg(long, value_name = "N")]
    if_version: Option<u32>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit policy activate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Activate {
    /// The policy
    name: String,
    /// The version that is to count
    version: u32,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit policy remove`.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// The policy
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Answer {
    name: String,
    version: u32,
    active: bool,
    dropped: Option<u32>,
    warnings: Vec<String>,
}

/// Puts a policy, or a new version of it.
pub(super) async fn put(args: Put) -> anyhow::Result<()> {
    let text = read(&args.file)?;
    let path = format!("/api/v1/policies/{}?activate={}", encoded(&args.name), !args.inactive);
    let expected = args.if_version.map(|version| ("if-match", format!("\"{version}\"")));
    let headers: Vec<_> = expected.into_iter().collect();
    let put: Answer = args.server.find()?.put_text(&path, text, &headers).await?;
    let mut out = std::io::stdout().lock();
    let counts = if put.active { "counts now" } else { "does not count yet" };
    writeln!(out, "policy {}, version {}: {counts}", put.name, put.version)?;
    if let Some(dropped) = put.dropped {
        writeln!(out, "version {dropped} had to go for it")?;
    }
    for warning in put.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    Ok(())
}

/// The text of a policy.
pub(in crate::command) fn read(file: &Path) -> anyhow::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let failed = || format!("cannot read `{}`", file.display());
    if file == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX).read_to_string(&mut text).with_context(failed)?;
        return Ok(text);
    }
    let disk: &dyn host::Disk = &host::SystemDisk;
    let bytes = disk.read(file, FILE_BYTES_MAX).with_context(failed)?;
    String::from_utf8(bytes).map_err(|error| {
        with_hint(anyhow::Error::new(error).context(failed()), Some("a policy is UTF-8 text"))
    })
}

/// Lets another version count.
pub(super) async fn activate(args: Activate) -> anyhow::Result<()> {
    let path = format!("/api/v1/policies/{}/activate", encoded(&args.name));
    let body = serde_json::json!({ "version": args.version });
    args.server.find()?.ask(Method::POST, &path, "application/json", Some(&body)).await?;
    writeln!(std::io::stdout().lock(), "policy {}: version {} counts now", args.name, args.version)?;
    Ok(())
}

/// Removes a policy that is attached to nothing.
pub(super) async fn remove(args: Remove) -> anyhow::Result<()> {
    let path = format!("/api/v1/policies/{}", encoded(&args.name));
    args.server.find()?.ask(Method::DELETE, &path, "application/json", None).await?;
    writeln!(std::io::stdout().lock(), "policy {} is removed", args.name)?;
    Ok(())
}
