//! `godwit alert`: what fires, who was told, and what operators do about it.
//!
//! Not here: rules (`godwit rule`). The law: what is shown can be read by a program with `--json`.

use std::io::Write;
use std::path::{Path, PathBuf};

use api::{Alert, Alerts, DeadLetters, Explained, Inbox, Receivers, Retried, Silence, Silences};
use reqwest::Method;
use serde_json::json;

use super::moment::moment;
use super::target::duration;
use crate::alertbook;
use crate::http::{ServerArgs, encoded};

/// What `--help` says behind the flags.
const HELP: &str =
    "An alert is an episode: a stretch of time in which the condition of a rule held for a key. `show` says which notices
left for whom, which did not, and why; `godwit rule explain` shows the readings beside that. Who is told is written in
alerts.yaml, in the words of alertmanager.yml (docs/alerts.md); `check` reads such a file without a server.

Examples:
  godwit alert list
  godwit alert list --state resolved --rule RoomTooHot --since 7d
  godwit alert show bd195309-cc15-8bd6-ae41-1de745baca7a
  godwit alert status
  godwit alert ack bd195309-cc15-8bd6-ae41-1de745baca7a
  godwit alert silence 'device=\"pump-7\"' 'severity!=critical' --for 2h --reason 'bearing is being changed'
  godwit alert silence 'alertname=~.+' --group hq/floor-17 --for 1d --reason 'floor is being rebuilt'
  godwit alert silences
  godwit alert expire 0b5a9f8e-6c1d-4e4e-9f0a-1d2c3b4a5968
  godwit alert inbox
  godwit alert dead-letters
  godwit alert retry --way ops/email/0
  godwit alert check alerts.yaml";

/// The forms of `godwit alert`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = HELP)]
pub(crate) enum Args {
    /// Show alerts, the last fired first
    List(List),
    /// Show one: what was told to whom, what was not, and why
    Show(Show),
    /// Show the ways to receivers and what lies on them, and what is wrong with alerts.yaml as it is now
    Status(ShowStatus),
    /// Take one on: it is not repeated
    Ack(Ack),
    /// Silence alerts that match, for a time
    Silence(NewSilence),
    /// Show silences
    Silences(ListSilences),
    /// End a silence now
    Expire(Expire),
    /// Show the notices in the inbox, newest first
    Inbox(ShowInbox),
    /// Show notices that could not be delivered
    DeadLetters(Dead),
    /// Try dead letters again
    Retry(Retry),
    /// Check an alerts.yaml: all faults at once, without a server
    Check(Check),
}

/// Arguments of `godwit alert list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// `firing`, `resolved` or `retracted`; firing and resolved ones by default
    #[arg(long)]
    state: Option<String>,
    /// Of this rule
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Of this device
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Fired not before: `2h`, `7d`, a date or a time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit alert show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// Its id, as `godwit alert list` shows it
    id: String,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit alert status`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowStatus {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit alert ack`.
#[derive(Debug, clap::Args)]
pub(crate) struct Ack {
    /// Its id, as `godwit alert list` shows it
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit alert silence`.
#[derive(Debug, clap::Args)]
pub(crate) struct NewSilence {
    /// What must match: `label=value`, `!=`, `=~` and `!~` for regular expressions; all of them
    #[arg(required = true, value_name = "MATCHER")]
    matchers: Vec<String>,
    /// Only alerts in this group and those below it; whose role is bound to groups means all of his without it
    #[arg(long = "group", value_name = "PATH")]
    groups: Vec<String>,
    /// For how long: `2h`, `3d`
    #[arg(long = "for", value_name = "DURATION", default_value = "1h")]
    lasts: String,
    /// Why: others will read it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit alert silences`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListSilences {
    /// Those that are over too
    #[arg(long)]
    all: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit alert expire`.
#[derive(Debug, clap::Args)]
pub(crate) struct Expire {
    /// Its id, as `godwit alert silences` shows it
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit alert inbox`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowInbox {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit alert dead-letters`.
#[derive(Debug, clap::Args)]
pub(crate) struct Dead {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit alert retry`.
#[derive(Debug, clap::Args)]
pub(crate) struct Retry {
    /// This notice; all by default
    notice: Option<String>,
    /// On this way, as `godwit alert dead-letters` shows it
    #[arg(long, value_name = "WAY")]
    way: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit alert check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The file
    file: PathBuf,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::List(args) => list(args).await,
        Args::Show(args) => show(args).await,
        Args::Status(args) => status(args).await,
        Args::Ack(args) => {
            let path = format!("/api/v1/alerts/{}/acknowledge", encoded(&args.id));
            args.server.find()?.ask(Method::POST, &path, "application/json", None).await?;
            writeln!(std::io::stdout(), "alert {} is acknowledged", args.id)?;
            Ok(())
        }
        Args::Silence(args) => silence(args).await,
        Args::Silences(args) => silences(args).await,
        Args::Expire(args) => {
            let path = format!("/api/v1/silences/{}", encoded(&args.id));
            args.server.find()?.ask(Method::DELETE, &path, "application/json", None).await?;
            writeln!(std::io::stdout(), "silence {} is over", args.id)?;
            Ok(())
        }
        Args::Inbox(args) => inbox(args).await,
        Args::DeadLetters(args) => dead_letters(args).await,
        Args::Retry(args) => retry(args).await,
        Args::Check(args) => check(&args.file),
    }
}

async fn status(args: ShowStatus) -> anyhow::Result<()> {
    let found: Receivers = args.server.find()?.json(Method::GET, "/api/v1/receivers", None).await?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&found)?)?;
        return Ok(());
    }
    writeln!(out, "{:<20} {:<24} {:>8} {:>8}", "receiver", "way", "waiting", "dead")?;
    for way in &found.ways {
        let receiver = way.receiver.as_deref().unwrap_or("(no more)");
        writeln!(out, "{receiver:<20} {:<24} {:>8} {:>8}", way.way, way.waiting, way.dead)?;
    }
    if let Some(problem) = &found.problem {
        writeln!(out, "The files are not right now; this configuration is from before:\n{problem}")?;
    }
    Ok(())
}

fn check(file: &Path) -> anyhow::Result<()> {
    let config = alertbook::read(file, &host::SystemDisk)?;
    writeln!(
        std::io::stdout(),
        "`{}` is right; receivers: {}",
        file.display(),
        config.receivers().join(", ")
    )?;
    Ok(())
}

async fn list(args: List) -> anyhow::Result<()> {
    let mut query = format!("limit={}", args.count);
    for (name, value) in [("state", args.state), ("rule", args.rule), ("device", args.device)] {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", encoded(&value)));
        }
    }
    if let Some(since) = args.since {
        let at = moment(&since).map_err(|error| anyhow::anyhow!("`--since {since}`: {error}"))?;
        query.push_str(&format!("&since={}", encoded(&at.to_string())));
    }
    let found: Alerts =
        args.server.find()?.json(Method::GET, &format!("/api/v1/alerts?{query}"), None).await?;
    let mut out = std::io::stdout().lock();
    if !args.json {
        writeln!(out, "{:<36} {:<9} {:<20} {:<20} {:<20} key", "id", "state", "rule", "fired", "resolved")?;
    }
    for alert in &found.alerts {
        if args.json {
            writeln!(out, "{}", serde_json::to_string(alert)?)?;
        } else {
            writeln!(
                out,
                "{} {:<9} {:<20} {:<20} {:<20} {}{}",
                alert.id,
                alert.state,
                alert.rule,
                alert.fired_at,
                alert.resolved_at.as_deref().unwrap_or("-"),
                pairs(&alert.key),
                notes(alert)
            )?;
        }
    }
    Ok(())
}

fn pairs(map: &std::collections::BTreeMap<String, String>) -> String {
    map.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn notes(alert: &Alert) -> String {
    let late = if alert.late { "  (late)" } else { "" };
    let taken = alert.acknowledged_by.as_ref().map(|by| format!("  (taken on by {by})")).unwrap_or_default();
    format!("{late}{taken}")
}

async fn show(args: Show) -> anyhow::Result<()> {
    let path = format!("/api/v1/alerts/{}", encoded(&args.id));
    let found: Explained = args.server.find()?.json(Method::GET, &path, None).await?;
    let mut text = String::new();
    if args.json {
        text = format!("{}\n", serde_json::to_string(&found)?);
    } else {
        write_explained(&mut text, &found)?;
    }
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// An alert with everything that was and was not said of it: `godwit rule explain` begins with it too.
pub(crate) fn write_explained(out: &mut String, found: &Explained) -> std::fmt::Result {
    use std::fmt::Write as _;

    let alert = &found.alert;
    writeln!(out, "alert     {}", alert.id)?;
    writeln!(out, "rule      {}, version {}", alert.rule, alert.version)?;
    writeln!(out, "for       {}", pairs(&alert.key))?;
    writeln!(out, "state     {}{}", alert.state, notes(alert))?;
    writeln!(out, "since     {}", alert.started_at)?;
    writeln!(out, "fired     {}, learnt {}", alert.fired_at, alert.learnt_at)?;
    writeln!(out, "resolved  {}", alert.resolved_at.as_deref().unwrap_or("-"))?;
    writeln!(out, "labels    {}", pairs(&alert.labels))?;
    for (name, text) in &alert.annotations {
        writeln!(out, "{name:<9} {text}")?;
    }
    writeln!(out, "values    {}", pairs(&alert.values))?;
    for said in &found.said {
        writeln!(out, "told      {} to {} at {}", said.transition, said.receiver, said.at)?;
        for delivery in &said.deliveries {
            let error = delivery.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            let (way, state, attempts) = (&delivery.way, &delivery.state, delivery.attempts);
            writeln!(
                out,
                "            {way} {state}, {attempts} attempts, notice {}{error}",
                delivery.notice
            )?;
        }
    }
    for one in &found.suppressed {
        writeln!(out, "not told  {} at {}: {}, {}", one.receiver, one.first_at, one.reason, one.detail)?;
    }
    if found.said.is_empty() && found.suppressed.is_empty() {
        let why = match alert.late {
            true => "it came late and pages nobody; the inbox hears of it, or whom a route with `late` names",
            false => "its notice waits for its company",
        };
        writeln!(out, "told      nobody yet: {why}")?;
    }
    Ok(())
}

async fn silence(args: NewSilence) -> anyhow::Result<()> {
    let lasts = duration(&args.lasts).map_err(|error| anyhow::anyhow!("`--for {}`: {error}", args.lasts))?;
    let body = json!({
        "matchers": args.matchers, "groups": args.groups, "reason": args.reason, "for_s": lasts.as_secs(),
    });
    let made: Silence = args.server.find()?.json(Method::POST, "/api/v1/silences", Some(&body)).await?;
    writeln!(std::io::stdout(), "silence {} until {}{}", made.id, made.ends_at, within(&made.groups))?;
    Ok(())
}

async fn silences(args: ListSilences) -> anyhow::Result<()> {
    let path = format!("/api/v1/silences?all={}", args.all);
    let found: Silences = args.server.find()?.json(Method::GET, &path, None).await?;
    let mut out = std::io::stdout().lock();
    for silence in &found.silences {
        if args.json {
            writeln!(out, "{}", serde_json::to_string(silence)?)?;
        } else {
            let Silence { id, matchers, groups, author, reason, starts_at, ends_at, .. } = silence;
            let matchers = matchers.join(" ") + &within(groups);
            writeln!(out, "{id}  {starts_at} to {ends_at}  {matchers}  by {author}: {reason}")?;
        }
    }
    Ok(())
}

/// Where a silence counts.
fn within(groups: &[String]) -> String {
    if groups.is_empty() { String::new() } else { format!(" in {}", groups.join(", ")) }
}

async fn inbox(args: ShowInbox) -> anyhow::Result<()> {
    let path = format!("/api/v1/inbox?limit={}", args.count);
    let found: Inbox = args.server.find()?.json(Method::GET, &path, None).await?;
    let mut out = std::io::stdout().lock();
    for notice in &found.notices {
        if args.json {
            writeln!(out, "{}", serde_json::to_string(notice)?)?;
        } else {
            writeln!(out, "{}  {}", notice.made_at, notice.title)?;
            for line in &notice.lines {
                writeln!(out, "    {line}")?;
            }
        }
    }
    Ok(())
}

async fn dead_letters(args: Dead) -> anyhow::Result<()> {
    let found: DeadLetters = args.server.find()?.json(Method::GET, "/api/v1/dead-letters", None).await?;
    let mut out = std::io::stdout().lock();
    for one in &found.deliveries {
        if args.json {
            writeln!(out, "{}", serde_json::to_string(one)?)?;
        } else {
            let error = one.error.as_deref().unwrap_or("-");
            writeln!(
                out,
                "{}  {:<20} made {}, {} attempts: {error}",
                one.notice, one.way, one.made_at, one.attempts
            )?;
        }
    }
    Ok(())
}

async fn retry(args: Retry) -> anyhow::Result<()> {
    let body = json!({ "notice": args.notice, "way": args.way });
    let tried: Retried =
        args.server.find()?.json(Method::POST, "/api/v1/dead-letters/retry", Some(&body)).await?;
    writeln!(std::io::stdout(), "{} deliveries are tried again", tried.deliveries)?;
    Ok(())
}
