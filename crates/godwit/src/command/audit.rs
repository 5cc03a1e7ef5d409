//! `godwit audit`: who did what, and whether the log of it is as it was written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use api::{AuditEntries, AuditEntry, AuditVerdict};
use identity::{Judge, Recorded, Verdict};
use model::Timestamp;
use reqwest::Method;

use crate::fault::with_hint;
use crate::http::{Server, ServerArgs, encoded};

/// What `--help` says behind the flags.
const HELP: &str =
    "Every change, login and refusal is an entry; entries are chained by SHA-256, and the end of the chain is said to the
journal. `verify` recomputes all of it and names what was changed, removed, moved or cut off by its number. Who can
write the catalog, the journal and has the key can write both anew: keep exports on another machine.

Examples:
  godwit audit list --actor user:alice --since 2026-11-01T00:00:00Z
  godwit audit list --action user. --outcome refused
  godwit audit verify
  godwit audit export > audit.jsonl
  godwit audit verify audit.jsonl      # without a server";

/// The forms of `godwit audit`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = HELP)]
pub(crate) enum Args {
    /// Show entries, the newest first
    List(List),
    /// Find what was changed, removed, moved or cut off
    Verify(Verify),
    /// Write the whole log as JSON lines, with its hashes
    Export(Export),
}

/// Arguments of `godwit audit list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// By whom: the beginning of a name, such as `user:alice`
    #[arg(long, value_name = "TEXT", default_value = "")]
    actor: String,
    /// What was done: the beginning, such as `user.` or `policy.attach`
    #[arg(long, value_name = "TEXT", default_value = "")]
    action: String,
    /// On what: the beginning, such as `device:pump-1`
    #[arg(long, value_name = "TEXT", default_value = "")]
    object: String,
    /// `done` or `refused`
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,
    /// Not before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit audit verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// An exported log, rather than that of a server
    file: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit audit export`.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    #[command(flatten)]
    server: ServerArgs,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::List(args) => list(args).await,
        Args::Verify(args) => match &args.file {
            Some(file) => say(&judge_file(file)?),
            None => {
                let verdict: AuditVerdict =
                    args.server.find()?.json(Method::GET, "/api/v1/audit/verify", None).await?;
                say(&verdict)
            }
        },
        Args::Export(args) => export(&args.server.find()?).await,
    }
}

async fn page(server: &Server, query: &str, after: Option<u64>) -> anyhow::Result<AuditEntries> {
    let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
    server.json(Method::GET, &format!("/api/v1/audit?{query}{after}"), None).await
}

async fn list(args: List) -> anyhow::Result<()> {
    let server = args.server.find()?;
    let mut query = format!(
        "actor={}&action={}&object={}",
        encoded(&args.actor),
        encoded(&args.action),
        encoded(&args.object)
    );
    for (name, value) in [("outcome", &args.outcome), ("since", &args.since), ("until", &args.until)] {
        if let Some(value) = value {
            query += &format!("&{name}={}", encoded(value));
        }
    }
    let mut out = std::io::stdout().lock();
    let (mut left, mut after) = (args.count, None);
    while left > 0 {
        let page = page(&server, &format!("{query}&limit={}", left.min(1_000)), after).await?;
        for entry in &page.entries {
            left = left.saturating_sub(1);
            if args.json {
                writeln!(out, "{}", serde_json::to_string(entry)?)?;
            } else {
                show(&mut out, entry)?;
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    Ok(())
}

fn show(out: &mut impl Write, entry: &AuditEntry) -> std::io::Result<()> {
    let AuditEntry { number, at, actor, action, object, outcome, .. } = entry;
    let refused = if outcome == "done" { String::new() } else { format!(" {outcome}") };
    let address = entry.address.as_ref().map(|address| format!(" from {address}")).unwrap_or_default();
    write!(out, "{number:>6}  {at:<27}  {actor}{address}  {action} {object}{refused}")?;
    match (&entry.before, &entry.after) {
        (Some(before), Some(after)) => writeln!(out, "  {before} -> {after}"),
        (Some(before), None) => writeln!(out, "  {before} ->"),
        (None, Some(after)) => writeln!(out, "  {after}"),
        (None, None) => writeln!(out),
    }
}

async fn export(server: &Server) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut after = None;
    loop {
        let page = page(server, "order=oldest&limit=1000", after).await?;
        for entry in &page.entries {
            writeln!(out, "{}", serde_json::to_string(entry)?)?;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    out.flush()?;
    Ok(())
}

/// Judges an exported log by itself.
fn judge_file(path: &Path) -> anyhow::Result<AuditVerdict> {
    let place = || format!("cannot read `{}`", path.display());
    #[expect(clippy::disallowed_methods, reason = "a command reads the file that it is given, line by line")]
    let file = BufReader::new(File::open(path).with_context(place)?);
    let mut judge = Judge::new(BTreeMap::new());
    for (at, line) in file.lines().enumerate() {
        let line = line.with_context(place)?;
        let entry = serde_json::from_str(&line).ok().and_then(recorded);
        let entry = entry.with_context(|| format!("line {} of `{}` is no entry", at + 1, path.display()))?;
        judge.see(&entry);
    }
    let Verdict { entries, head, faults, fault_count, anchors, anchored, cut } = judge.judged();
    let (last, hash) = head.unwrap_or_default();
    Ok(AuditVerdict {
        sound: fault_count == 0,
        entries,
        last,
        hash: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        anchors,
        anchored,
        cut,
        faults: faults.iter().map(ToString::to_string).collect(),
        fault_count,
    })
}

/// An entry as it was before it became JSON.
fn recorded(entry: AuditEntry) -> Option<Recorded> {
    let is_hex = entry.hash.is_ascii() && entry.hash.len().is_multiple_of(2);
    let bytes = (0..entry.hash.len() / 2).map(|at| u8::from_str_radix(&entry.hash[2 * at..2 * at + 2], 16));
    Some(Recorded {
        number: entry.number,
        at: Timestamp::parse(&entry.at).ok()?,
        actor: entry.actor,
        address: entry.address,
        action: entry.action,
        object: entry.object,
        before: entry.before,
        after: entry.after,
        outcome: entry.outcome,
        hash: is_hex.then(|| bytes.collect::<Result<Vec<u8>, _>>().ok())??,
    })
}

fn say(verdict: &AuditVerdict) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "entries   {}", verdict.entries)?;
    writeln!(out, "last      {} {}", verdict.last, verdict.hash)?;
    match verdict.anchored {
        Some(newest) => writeln!(out, "anchors   {}, the newest of entry {newest}", verdict.anchors)?,
        None => writeln!(out, "anchors   none: an end that is cut off would not be missed")?,
    }
    if verdict.cut > 0 {
        writeln!(out, "cut off   entries 1 to {}, by age; an entry `audit.cut` says so", verdict.cut)?;
    }
    for fault in &verdict.faults {
        writeln!(out, "fault     {fault}")?;
    }
    out.flush()?;
    if verdict.sound && verdict.entries == 0 {
        writeln!(out, "empty     there is no entry: nothing was verified")?;
        return Ok(());
    }
    if verdict.sound {
        writeln!(out, "sound     nothing was changed, removed or moved")?;
        return Ok(());
    }
    let told = anyhow::anyhow!("the audit log is not as it was written: {} faults", verdict.fault_count);
    Err(with_hint(
        told,
        Some("compare it with an export of before; keep the catalog and the journal as they are"),
    ))
}
