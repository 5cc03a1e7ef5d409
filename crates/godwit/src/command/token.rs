//! `godwit token`: how programs speak for a user.

use std::io::Write;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::target::duration;
use crate::http::{ServerArgs, encoded};

/// What `--help` says behind the flags.
const HELP: &str =
    "A token may what its user may at that moment, within its scopes: `*`, `*:read`, or one of status, readings,
devices, certificates, policies, sessions, mqtt, alerts, users, audit and keys, with `:read` or `:write` where only
that is meant. It is sent as `Authorization: Bearer TOKEN`; MQTT and SQL clients give it as the password, the latter with the
user name `USER:NAME`.

Examples:
  godwit token add alice grafana --scope readings:read
  godwit token add ci deploy --scope devices --expires 30d
  godwit token list
  godwit token remove 1c9v70rz";

/// The forms of `godwit token`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = HELP)]
pub(crate) enum Args {
    /// Make a token and print it, once
    Add(Add),
    /// List tokens
    List(List),
    /// Remove a token: nothing takes it any more, at once
    Remove(Remove),
}

/// Arguments of `godwit token add`.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// The user for whom it speaks
    user: String,
    /// What it is called, once per user
    name: String,
    /// What it is for; several are given one by one
    #[arg(long = "scope", value_name = "SCOPE", default_value = "*:read")]
    scopes: Vec<String>,
    /// How long it works: `30d`, `12h`, or `never` for until it is removed
    #[arg(long, value_name = "DURATION", default_value = "90d")]
    expires: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit token list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit token remove`.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Its id, as `godwit token list` shows it
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize, Serialize)]
struct Token {
    id: String,
    user: String,
    name: String,
    scopes: Vec<String>,
    created: String,
    expires: Option<String>,
    #[serde(skip_serializing)]
    token: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    tokens: Vec<Token>,
    next: Option<String>,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::Add(args) => add(args).await,
        Args::List(args) => list(args).await,
        Args::Remove(args) => remove(args).await,
    }
}

async fn add(args: Add) -> anyhow::Result<()> {
    let life_s = match args.expires.as_str() {
        "never" => None,
        text => {
            Some(duration(text).map_err(|error| anyhow::anyhow!("`--expires {text}`: {error}"))?.as_secs())
        }
    };
    let body = json!({ "user": args.user, "name": args.name, "scopes": args.scopes, "life_s": life_s });
    let made: Token = args.server.find()?.json(Method::POST, "/api/v1/tokens", Some(&body)).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "token     {}    (shown this once)", made.token.unwrap_or_default())?;
    writeln!(out, "id        {}", made.id)?;
    writeln!(out, "for       {}, scopes {}", made.user, made.scopes.join(" "))?;
    writeln!(out, "until     {}", made.expires.as_deref().unwrap_or("it is removed"))?;
    Ok(())
}

async fn list(args: List) -> anyhow::Result<()> {
    let server = args.server.find()?;
    let mut out = std::io::stdout().lock();
    let mut after = String::new();
    loop {
        let page: Tokens =
            server.json(Method::GET, &format!("/api/v1/tokens?limit=1000{after}"), None).await?;
        if !args.json && after.is_empty() {
            writeln!(out, "{:<8} {:<24} {:<16} {:<27} scopes", "id", "user", "name", "expires")?;
        }
        for token in &page.tokens {
            if args.json {
                writeln!(out, "{}", serde_json::to_string(token)?)?;
            } else {
                let Token { id, user, name, scopes, expires, .. } = token;
                let (expires, scopes) = (expires.as_deref().unwrap_or("never"), scopes.join(" "));
                writeln!(out, "{id:<8} {user:<24} {name:<16} {expires:<27} {scopes}")?;
            }
        }
        match page.next {
            Some(next) => after = format!("&after={}", encoded(&next)),
            None => return Ok(()),
        }
    }
}

async fn remove(args: Remove) -> anyhow::Result<()> {
    let path = format!("/api/v1/tokens/{}", encoded(&args.id));
    args.server.find()?.ask(Method::DELETE, &path, "application/json", None).await?;
    writeln!(std::io::stdout(), "token {} is removed", args.id)?;
    Ok(())
}
