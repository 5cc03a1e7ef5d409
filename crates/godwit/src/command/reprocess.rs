//! `godwit reprocess`: messages of the journal once more, through today's routes.
//!
//! The server does it, and goes on when this command is gone; see `series::Reprocess` for what it may overwrite.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use api::{ReprocessOrder, Reprocessed, ReprocessedReason, ReprocessedRoute, ReprocessedState};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use model::Timestamp;
use reqwest::Method;

use super::moment::moment;
use crate::fault::with_hint;
use crate::http::{Server, ServerArgs};

/// How often the server is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What `--help` says behind the flags.
const HELP: &str = r#"For messages that came before their route did, or whose route was wrong. Change the routes, restart the
server, then run what the journal still holds through them. A reading takes the place of one whose
message came at the same time or earlier, never of one that came later. To do it twice changes nothing.

Readings that the same messages made under other names stay; the SQL to see them is printed.

Examples:
  godwit reprocess --since 2h --dry-run
  godwit reprocess --since 2026-11-20 --filter 'tele/+/SENSOR'
  godwit reprocess --watch          # one that is under way"#;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Messages received at this time or later: how long ago, such as 2h, a date, or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = moment, required_unless_present = "watch")]
    since: Option<Timestamp>,
    /// Messages received before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Messages on these topics alone
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// Count what would come of it, and store nothing
    #[arg(long)]
    dry_run: bool,
    /// Start nothing: show the one that is under way, or was the last
    #[arg(long, conflicts_with_all = ["since", "until", "filter", "dry_run"])]
    watch: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Starts it, watches it, and prints what came of it.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let server = args.server.find()?;
    if let Some(since) = args.since {
        let order = ReprocessOrder {
            since: since.to_string(),
            until: args.until.map(|time| time.to_string()),
            filter: args.filter,
            dry_run: args.dry_run,
        };
        let order = serde_json::to_value(order)?;
        server.ask(Method::POST, "/api/v1/reprocess", "application/json", Some(&order)).await?;
    }
    let status = watch(&server).await?;
    let text = told(&status, args.since, args.until);
    std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes())?;
    match status.error {
        None => Ok(()),
        Some(error) => Err(with_hint(
            anyhow::anyhow!("it broke off: {error}"),
            Some("what was done stays; to run it again is harmless"),
        )),
    }
}

async fn watch(server: &Server) -> anyhow::Result<Reprocessed> {
    let is_terminal = std::io::stderr().is_terminal();
    let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:30} {percent} %, {eta} left");
    let bar = ProgressBar::with_draw_target(None, target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    loop {
        let status: Option<Reprocessed> = server.json(Method::GET, "/api/v1/reprocess", None).await?;
        let status = status.ok_or_else(|| {
            let error = anyhow::anyhow!("nothing was reprocessed since the server started");
            with_hint(error, Some("start one with `godwit reprocess --since 2h`"))
        })?;
        if status.state != ReprocessedState::Running {
            bar.finish_and_clear();
            return Ok(status);
        }
        bar.set_length(status.to.saturating_sub(status.from).max(1));
        bar.set_position(status.at.saturating_sub(status.from));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn told(status: &Reprocessed, since: Option<Timestamp>, until: Option<Timestamp>) -> String {
    let mut text = String::new();
    let would = if status.dry_run { "would be " } else { "" };
    // Writing to a `String` does not fail.
    let _ = writeln!(text, "{} messages, {} of them without a route", status.messages, status.unrouted);
    if status.lost > 0 {
        let _ = writeln!(text, "{} messages of the journal are damaged or gone", status.lost);
    }
    for route in &status.routes {
        let ReprocessedRoute {
            filter,
            messages,
            readings,
            new,
            replaced,
            repeated,
            outdated,
            beyond,
            undecodable,
            reasons,
        } = route;
        let _ = writeln!(
            text,
            "{filter}: {messages} messages, {readings} readings: {new} {would}new, {replaced} {would}replaced, \
             {repeated} there already, {outdated} gave way to newer ones"
        );
        if *beyond > 0 {
            let _ = writeln!(
                text,
                "  {beyond} readings are of more channels than a device may have (`series.channels_per_device`)"
            );
        }
        if *undecodable > 0 {
            let _ = writeln!(text, "  {undecodable} messages cannot be decoded:");
        }
        for ReprocessedReason { reason, count, detail } in reasons {
            let _ = writeln!(text, "  {count}: {reason}: {detail}");
        }
    }
    let changed = status.routes.iter().any(|route| route.new + route.replaced > 0);
    if let (true, Some(since)) = (changed, since) {
        let until = until.map_or(String::new(), |until| format!(" AND received_at < '{until}'"));
        let _ = writeln!(
            text,
            "Readings that these messages made under other names stay. See all that came of them:\n  godwit query \
             \"SELECT topic, device, channel, count(*), max(time) FROM readings WHERE received_at >= '{since}'{until} \
             GROUP BY 1, 2, 3 ORDER BY 1, 2, 3\""
        );
    }
    text
}
