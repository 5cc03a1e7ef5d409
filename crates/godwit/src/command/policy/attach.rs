//! `godwit policy attach` and `detach`: which policies count for whom.

use std::io::Write;

use reqwest::Method;

use crate::http::{ServerArgs, encoded};

/// Arguments of `godwit policy attach` and `detach`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The policy; `default` is one too
    name: String,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// What it is attached to.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct TargetArgs {
    /// A device
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// A group; the policy counts for the groups below it too
    #[arg(long, value_name = "PATH")]
    group: Option<String>,
    /// A certificate, by its SHA-256 in hexadecimal
    #[arg(long, value_name = "ID")]
    certificate: Option<String>,
}

impl TargetArgs {
    fn text(&self) -> String {
        let kinds = [("device", &self.device), ("group", &self.group), ("certificate", &self.certificate)];
        let named =
            kinds.into_iter().find_map(|(kind, name)| name.as_ref().map(|name| format!("{kind}:{name}")));
        named.unwrap_or_default()
    }
}

/// Attaches a policy.
pub(super) async fn attach(args: Args) -> anyhow::Result<()> {
    change(&args, Method::PUT, "counts for").await
}

/// Detaches a policy.
pub(super) async fn detach(args: Args) -> anyhow::Result<()> {
    change(&args, Method::DELETE, "does not count any more for").await
}

async fn change(args: &Args, method: Method, what: &str) -> anyhow::Result<()> {
    let target = args.target.text();
    let path = format!("/api/v1/policies/{}/targets/{}", encoded(&args.name), encoded(&target));
    args.server.find()?.ask(method, &path, "application/json", None).await?;
    writeln!(std::io::stdout().lock(), "policy {} {what} {target}", args.name)?;
    Ok(())
}
