//! `godwit action`: what the actions of rules deliver, and what they gave up.

use std::io::Write;

use reqwest::Method;

use crate::http::ServerArgs;

/// What `--help` says behind the flags.
const HELP: &str = "Every action of a `rule:` reads the journal by itself and tries for `[sinks] hold` (24 hours) what its receiver does not take.
What is given up is listed as a dead letter, a range of messages that can be tried again while the journal has them.

Examples:
  godwit action list
  godwit action letters
  godwit action retry 7
  godwit action discard 7";

/// The forms of `godwit action`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = HELP)]
pub(crate) enum Args {
    /// List actions: where each goes, what it delivered, what stands in its way
    List(List),
    /// List dead letters, newest first
    Letters(List),
    /// Try the messages of a dead letter again, in their order
    Retry(One),
    /// Take a dead letter off the list without trying it
    Discard(One),
}

/// Arguments of the lists.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments about one dead letter.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Its number, as `godwit action letters` shows it
    #[arg(value_name = "NUMBER")]
    id: i64,
    #[command(flatten)]
    server: ServerArgs,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::List(args) => list(args).await,
        Args::Letters(args) => letters(args).await,
        Args::Retry(args) => retry(args).await,
        Args::Discard(args) => discard(args).await,
    }
}

async fn list(args: List) -> anyhow::Result<()> {
    let found: api::Actions = args.server.find()?.json(Method::GET, "/api/v1/actions", None).await?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&found)?)?;
        return Ok(());
    }
    if found.actions.is_empty() {
        writeln!(out, "no rule has actions; docs/rules-sql.md shows how one is written")?;
        return Ok(());
    }
    writeln!(out, "{:<32} {:>10} {:>8} {:>10}  target", "action", "delivered", "failed", "undefined")?;
    for action in found.actions {
        writeln!(
            out,
            "{:<32} {:>10} {:>8} {:>10}  {}",
            action.name, action.delivered, action.failed, action.undefined, action.target
        )?;
        if let Some(trouble) = action.trouble {
            let (since, attempts, reason) = (trouble.since, trouble.attempts, trouble.reason);
            writeln!(out, "{:<32} takes no messages since {since}, {attempts} attempts: {reason}", "")?;
        }
    }
    Ok(())
}

async fn letters(args: List) -> anyhow::Result<()> {
    let server = args.server.find()?;
    let mut found = api::ActionLetters { letters: Vec::new(), next: Some(i64::MAX.to_string()) };
    while let Some(after) = found.next {
        let path = format!("/api/v1/actions/dead-letters?limit=1000&after={after}");
        let page: api::ActionLetters = server.json(Method::GET, &path, None).await?;
        found.letters.extend(page.letters);
        found.next = page.next;
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&found)?)?;
        return Ok(());
    }
    writeln!(out, "{:>6} {:<32} {:>10} {:>10} {:>8}  reason", "number", "action", "from", "to", "messages")?;
    for letter in found.letters {
        let messages = letter.messages.map_or_else(|| "?".to_owned(), |count| count.to_string());
        writeln!(
            out,
            "{:>6} {:<32} {:>10} {:>10} {:>8}  {}: {}",
            letter.id, letter.action, letter.from, letter.to, messages, letter.reason, letter.detail
        )?;
    }
    Ok(())
}

async fn retry(args: One) -> anyhow::Result<()> {
    let path = format!("/api/v1/actions/dead-letters/{}/retry", args.id);
    let retried: api::ActionRetried = args.server.find()?.json(Method::POST, &path, None).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "delivered {} messages", retried.delivered)?;
    match retried.left {
        None => Ok(()),
        Some(left) => anyhow::bail!(
            "messages {} to {} are still not delivered: {}: {}",
            left.from,
            left.to,
            left.reason,
            left.detail
        ),
    }
}

async fn discard(args: One) -> anyhow::Result<()> {
    let path = format!("/api/v1/actions/dead-letters/{}", args.id);
    args.server.find()?.ask(Method::DELETE, &path, "application/json", None).await?;
    writeln!(std::io::stdout().lock(), "discarded dead letter {}", args.id)?;
    Ok(())
}
