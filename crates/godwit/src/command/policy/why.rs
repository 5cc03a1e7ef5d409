//! `godwit policy why` and `simulate`: which statement decides.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::ServerArgs;

/// What is asked: in common to both forms.
#[derive(Debug, clap::Args)]
struct About {
    /// As this client id; the device's name by default
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// From this address
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
    /// With this certificate, by its SHA-256 in hexadecimal
    #[arg(long, value_name = "ID")]
    certificate: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit policy why`.
#[derive(Debug, clap::Args)]
pub(crate) struct Why {
    /// Who
    device: String,
    /// connect, publish, retain-publish, subscribe or receive
    action: String,
    /// The topic; to subscribe the filter, to connect the client id
    topic: String,
    #[command(flatten)]
    about: About,
}

/// Arguments of `godwit policy simulate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Simulate {
    /// A file, or the name of a policy
    policy: String,
    /// Who
    #[arg(long, value_name = "NAME")]
    device: String,
    /// connect, publish, retain-publish, subscribe or receive
    action: String,
    /// The topic; to subscribe the filter, to connect the client id
    topic: String,
    #[command(flatten)]
    about: About,
}

#[derive(Debug, Deserialize)]
struct Decided {
    permitted: bool,
    reason: String,
    by: Option<By>,
    policies: Vec<Judge>,
    advice: String,
    warnings: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Judge {
    policy: String,
    version: u32,
}

#[derive(Debug, Deserialize)]
struct By {
    policy: String,
    version: u32,
    statement: usize,
    sid: Option<String>,
    text: String,
}

/// Asks by the policies that count.
pub(super) async fn why(args: Why) -> anyhow::Result<()> {
    ask(json!({ "device": args.device, "action": args.action, "topic": args.topic }), args.about).await
}

/// Asks by one policy alone.
pub(super) async fn simulate(args: Simulate) -> anyhow::Result<()> {
    let mut question = json!({ "device": args.device, "action": args.action, "topic": args.topic });
    // A name of a policy has no `/`; a file that is there is meant.
    let is_file = args.policy == "-" || args.policy.contains('/') || Path::new(&args.policy).exists();
    if is_file {
        question["document"] = Value::from(super::put::read(Path::new(&args.policy))?);
    } else {
        question["policy"] = Value::from(args.policy);
    }
    ask(question, args.about).await
}

async fn ask(mut question: Value, about: About) -> anyhow::Result<()> {
    question["client_id"] = Value::from(about.client_id);
    question["address"] = Value::from(about.address.map(|address| address.to_string()));
    question["certificate"] = Value::from(about.certificate);
    let decided: Decided =
        about.server.find()?.json(Method::POST, "/api/v1/decisions", Some(&question)).await?;
    let mut out = std::io::stdout().lock();
    let verdict = if decided.permitted { "permitted" } else { "refused" };
    writeln!(out, "{verdict}: {}", decided.reason)?;
    if let Some(by) = decided.by {
        let sid = by.sid.map(|sid| format!(" ({sid})")).unwrap_or_default();
        writeln!(out, "by       policy {}, statement {}{sid}", named(&by.policy, by.version), by.statement)?;
        writeln!(out, "         {}", by.text)?;
    }
    let asked: Vec<String> = decided.policies.iter().map(|one| named(&one.policy, one.version)).collect();
    writeln!(out, "asked    {}", asked.join("; "))?;
    writeln!(out, "change   {}", decided.advice)?;
    for warning in decided.warnings {
        writeln!(out, "warning  {warning}")?;
    }
    Ok(())
}

/// A text that is not put yet has no version.
fn named(policy: &str, version: u32) -> String {
    if version == 0 { policy.to_owned() } else { format!("{policy}, version {version}") }
}
