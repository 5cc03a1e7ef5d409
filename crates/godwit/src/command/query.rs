//! `godwit query`: asks the readings with SQL and prints the answer.

use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

use anyhow::Context;
use reqwest::Method;

use super::target::duration;
use crate::http::ServerArgs;

/// Longest statement that is sent, in bytes.
const STATEMENT_BYTES_MAX: u64 = 1024 * 1024;

/// What `--help` says behind the flags.
const HELP: &str = r#"Tables, all times in UTC:
  readings   time, device, channel, value, text, flags, topic, received_at
  latest     device, channel, time, value, text: the newest of each device and channel
  messages   seq, time, received_at, device, topic, lane, qos, payload, error: what came in, and what could not be understood

Examples:
  godwit query "SELECT * FROM latest"
  godwit query "SELECT date_bin('1 hour', time) AS hour, avg(value) FROM readings
                WHERE channel = 'co2' GROUP BY hour ORDER BY hour"
  godwit query --csv "SELECT * FROM readings WHERE device = 'office-1'" > office.csv
  godwit query "SELECT topic, error, payload FROM messages WHERE error IS NOT NULL""#;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The statement; `-` reads it from standard input
    sql: String,
    /// As CSV: a header line, times as RFC 3339 with Z, nothing for NULL
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// As JSON: an array of objects, one a row
    #[arg(long)]
    json: bool,
    /// How long to wait, at most, until everything acknowledged before is visible
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    wait: Duration,
    #[command(flatten)]
    server: ServerArgs,
}

/// Asks and prints, as the rows come.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let accept = match (args.csv, args.json) {
        (true, _) => "text/csv",
        (_, true) => "application/json",
        _ => "text/plain",
    };
    let sql = if args.sql == "-" { from_stdin()? } else { args.sql };
    let body = serde_json::json!({ "sql": sql, "wait_ms": u64::try_from(args.wait.as_millis())? });
    let server = args.server.find()?;
    let mut answer = server.ask(Method::POST, "/api/v1/query", accept, Some(&body)).await?;
    if let Some(behind) = answer.headers().get("godwit-behind").and_then(|value| value.to_str().ok()) {
        tracing::warn!(
            "the newest {behind} messages are not in this answer yet; `--wait 60s` waits for them"
        );
    }
    let mut out = std::io::stdout().lock();
    while let Some(chunk) = answer.chunk().await.context("the answer broke off: it is incomplete")? {
        match out.write_all(&chunk) {
            // `| head` has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            result => result?,
        }
    }
    out.flush()?;
    Ok(())
}

fn from_stdin() -> anyhow::Result<String> {
    let mut sql = String::new();
    let stdin = std::io::stdin();
    anyhow::ensure!(!stdin.is_terminal(), "`-` reads the statement from standard input: pipe one in");
    stdin.lock().take(STATEMENT_BYTES_MAX).read_to_string(&mut sql).context("cannot read the statement")?;
    Ok(sql)
}
