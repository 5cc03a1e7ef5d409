//! `godwit export`: readings as files that anything reads, a folder a day.
//!
//! The server makes the files, this command puts them where they belong; see `series::Lake` for how a file appears.
//! The law: what has a name is whole.

use std::io::IsTerminal as _;
use std::sync::Arc;

use anyhow::Context as _;
use host::{Clock as _, Disk, SystemClock, SystemDisk};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use model::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use series::{Access, Lake};

use super::moment::moment;
use crate::fault::{hinted, with_hint};
use crate::http::ServerArgs;

/// What `--help` says behind the flags.
const HELP: &str = r#"Writes date=2015-02-04/readings.parquet and so on, a file a day (UTC), with the columns of the table
`readings`. Parquet with ordinary types, read by DuckDB, pandas, Spark; a bucket's credentials are
taken from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL).

A server can keep such a folder up to date by itself: [[export]] in docs/import-export.md.

Examples:
  godwit export --to ./lake
  godwit export --to s3://plant-lake/readings --since 2026-01-01 --until 2026-02-01
  godwit export --to ./co2 --channel co2 --since 30d --format csv
  duckdb -c "SELECT device, avg(value) FROM 'lake/*/*.parquet' GROUP BY device""#;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// A folder, or s3://BUCKET/PREFIX
    #[arg(long, value_name = "WHERE")]
    to: String,
    /// Not before this time: a date, RFC 3339, or how long ago, such as 30d
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Only this device; may be said several times
    #[arg(long, value_name = "NAME")]
    device: Vec<String>,
    /// Only this channel; may be said several times
    #[arg(long, value_name = "NAME")]
    channel: Vec<String>,
    /// How the files are written
    #[arg(long, value_enum, default_value = "parquet")]
    format: Format,
    /// Write over files that are there
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// How files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Parquet,
    Csv,
    Jsonl,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

#[derive(Deserialize)]
struct Days {
    days: Vec<Day>,
}

#[derive(Deserialize)]
struct Day {
    date: String,
    from: String,
    to: String,
}

/// Exports, day after day.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let server = args.server.find()?;
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
    // Whether the address is plain HTTP is seen by it: the rest of the environment is read where it is used.
    let endpoint = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT"].iter().find_map(|name| std::env::var(name).ok());
    let access = Access { endpoint, ..Access::default() };
    let lake = Lake::open(&args.to, &access, &disk).map_err(hinted(series::LakeError::hint))?;
    let clock = SystemClock::start();
    let question = |since: Option<Timestamp>, until: Option<Timestamp>| {
        serde_json::json!({
            "since": since.map(|time| time.to_string()),
            "until": until.map(|time| time.to_string()),
            "devices": args.device,
            "channels": args.channel,
            "format": args.format.name(),
        })
    };
    let started = clock.mono_micros();
    let whole = question(args.since, args.until);
    let days: Days = server.json(Method::POST, "/api/v1/export/days", Some(&whole)).await?;
    let names: Vec<String> =
        days.days.iter().map(|day| format!("date={}/readings.{}", day.date, args.format.name())).collect();
    if !args.overwrite {
        for name in &names {
            if lake.has(name).await? {
                let error = anyhow::anyhow!("`{name}` is in `{}` already", args.to);
                return Err(with_hint(error, Some("name another folder, or say --overwrite")));
            }
        }
    }
    let bar = bar(days.days.len() as u64);
    let mut bytes = 0;
    for (day, name) in days.days.iter().zip(&names) {
        bar.set_message(format!("{} ({})", day.date, HumanBytes(bytes)));
        let (from, to) = (Timestamp::parse(&day.from)?, Timestamp::parse(&day.to)?);
        let since = args.since.map_or(from, |since| since.max(from));
        let until = args.until.map_or(to, |until| until.min(to));
        let body = question(Some(since), Some(until));
        let mut answer = server.ask(Method::POST, "/api/v1/export", "*/*", Some(&body)).await?;
        let mut file = lake.begin(name);
        let broke_off = || format!("the export of {} broke off: the days before it are whole", day.date);
        while let Some(piece) = answer.chunk().await.with_context(broke_off)? {
            file.write(&piece).await?;
        }
        bytes += file.finish().await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let seconds = clock.mono_micros().saturating_sub(started) as f64 / 1e6;
    let text = format!("{} days, {} in {seconds:.1} s, in {}\n", names.len(), HumanBytes(bytes), args.to);
    std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes())?;
    Ok(())
}

fn bar(days: u64) -> ProgressBar {
    let is_terminal = std::io::stderr().is_terminal();
    let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} days, {eta} left {msg}");
    ProgressBar::with_draw_target(Some(days), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
