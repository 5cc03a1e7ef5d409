//! `godwit keys`: see, rotate, move and recover the keys of a data directory.
//!
//! Not here: the keys (`host`), where the master key comes from (`keys`). The law: a secret is printed once, to the one
//! who asked.

use std::io::{IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use host::{Clock as _, DataDir, KeySource, RecoveryCode, SystemClock, SystemDisk, SystemRandom};
use reqwest::Method;
use serde::Deserialize;

use crate::fault::{hinted, with_hint};
use crate::http::ServerArgs;
use crate::settings::Settings;

/// What `--help` says behind the flags.
const HELP: &str = "Everything at rest is encrypted: each file and value by a key of its own, those by the ring's keys
(`KEYRING` in the data directory), and the ring by a master key, which is never in the data directory: a key
file, an environment variable, or Vault's Transit engine (`[keys]`, docs/security.md).

Examples:
  godwit keys show
  godwit keys rotate                  # a new master key and a new ring key; nobody stops, no data is rewritten
  godwit keys recovery                # a new recovery code; write it down, it is shown once
  godwit keys recover --data ./data   # the master key is lost: the recovery code opens the ring
  godwit keys move --data ./data --config old.toml --to new.toml    # from one place of the master key to another";

/// The forms of `godwit keys`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = HELP)]
pub(crate) enum Args {
    /// Where the master key is, and which keys the ring has; no secret
    Show(Online),
    /// Make a new master key and a new ring key while everything runs
    Rotate(Online),
    /// Make a new recovery code, shown once; the one before opens nothing any more
    Recovery(Online),
    /// Open a directory that no server runs on by its recovery code, and give it a new master key
    Recover(Recover),
    /// Bring the master key of a directory that no server runs on to another place
    Move(Move),
}

/// Arguments of the forms that ask a server.
#[derive(Debug, clap::Args)]
pub(crate) struct Online {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit keys recover`.
#[derive(Debug, clap::Args)]
pub(crate) struct Recover {
    /// Data directory
    #[arg(long, value_name = "DIR", env = "GODWIT_DATA")]
    data: PathBuf,
    /// Settings whose `[keys]` says where the new master key is; a key file is made [default: `DATA.key`]
    #[arg(long, value_name = "FILE", env = "GODWIT_CONFIG")]
    config: Option<PathBuf>,
}

/// Arguments of `godwit keys move`.
#[derive(Debug, clap::Args)]
pub(crate) struct Move {
    /// Data directory
    #[arg(long, value_name = "DIR", env = "GODWIT_DATA")]
    data: PathBuf,
    /// Settings whose `[keys]` says where the master key is today [default: `DATA.key`]
    #[arg(long, value_name = "FILE", env = "GODWIT_CONFIG")]
    config: Option<PathBuf>,
    /// Settings whose `[keys]` says where it is to be; a key file is made
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Status {
    place: String,
    master: String,
    next_master: Option<String>,
    ring: Vec<Key>,
    recovery_code_made: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Key {
    id: String,
    created: String,
}

#[derive(Debug, Deserialize)]
struct Rotated {
    master: String,
    ring_key: String,
    master_key: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Recovery {
    recovery_code: String,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::Show(args) => show(&args).await,
        Args::Rotate(args) => rotate(&args).await,
        Args::Recovery(args) => recovery(&args).await,
        Args::Recover(args) => tokio::task::spawn_blocking(move || recover(&args)).await?,
        Args::Move(args) => tokio::task::spawn_blocking(move || move_master(&args)).await?,
    }
}

async fn ask(args: &Online, method: Method, path: &str) -> anyhow::Result<serde_json::Value> {
    args.server.find()?.json(method, path, None).await
}

/// Prints `answer` as JSON if that was asked for. Whether it did.
fn said_as_json(args: &Online, answer: &serde_json::Value) -> anyhow::Result<bool> {
    if args.json {
        writeln!(std::io::stdout(), "{answer:#}")?;
    }
    Ok(args.json)
}

async fn show(args: &Online) -> anyhow::Result<()> {
    let answer = ask(args, Method::GET, "/api/v1/keys").await?;
    if said_as_json(args, &answer)? {
        return Ok(());
    }
    let status: Status = serde_json::from_value(answer)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "master key     {}, in {}", status.master, status.place)?;
    if let Some(next) = status.next_master {
        writeln!(out, "               put {next} in place: it was made when the keys were rotated")?;
    }
    let recovery = status.recovery_code_made.as_deref();
    writeln!(out, "recovery code  {}", recovery.unwrap_or("none; make one with `godwit keys recovery`"))?;
    for (at, key) in status.ring.iter().enumerate() {
        let what = if at + 1 == status.ring.len() { "wraps" } else { "opens" };
        writeln!(out, "ring key       {}  made {}  {what}", key.id, key.created)?;
    }
    Ok(())
}

async fn rotate(args: &Online) -> anyhow::Result<()> {
    let answer = ask(args, Method::POST, "/api/v1/keys/rotate").await?;
    if said_as_json(args, &answer)? {
        return Ok(());
    }
    let rotated: Rotated = serde_json::from_value(answer)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "rotated: master key {}, ring key {}", rotated.master, rotated.ring_key)?;
    match rotated.master_key {
        Some(key) => writeln!(
            out,
            "Put the new master key where the old one was, before the next start; it is shown this once:\n  {key}\n\
             Until the server was started with it, the old one opens the data too."
        )?,
        None => writeln!(out, "The old master key opens nothing any more.")?,
    }
    Ok(())
}

async fn recovery(args: &Online) -> anyhow::Result<()> {
    let answer = ask(args, Method::POST, "/api/v1/keys/recovery").await?;
    if said_as_json(args, &answer)? {
        return Ok(());
    }
    let recovery: Recovery = serde_json::from_value(answer)?;
    writeln!(
        std::io::stdout(),
        "{}\nWrite it down and keep it away from the machine: it is shown this once. The code before it opens nothing any more.",
        recovery.recovery_code
    )?;
    Ok(())
}

fn source(config: Option<&Path>) -> anyhow::Result<KeySource> {
    Settings::load(config, &SystemDisk, std::env::vars())?.keys.source()
}

fn recover(args: &Recover) -> anyhow::Result<()> {
    let source = source(args.config.as_deref())?;
    let code = typed_code()?;
    let store = DataDir::recover(&args.data, &code, &source, &SystemDisk, &SystemRandom)
        .map_err(hinted(host::DataDirError::hint))?;
    let status = store.status();
    writeln!(
        std::io::stdout(),
        "The ring is open, and its master key is {} now, in {}.\nThe recovery code stays good; `godwit keys recovery` makes a new one.",
        status.master,
        status.place
    )?;
    Ok(())
}

/// Asked for without an echo, or read from what is piped in.
fn typed_code() -> anyhow::Result<RecoveryCode> {
    let typed = if std::io::stdin().is_terminal() {
        zeroize::Zeroizing::new(
            rpassword::prompt_password("Recovery code: ").context("cannot ask for the recovery code")?,
        )
    } else {
        let mut typed = zeroize::Zeroizing::new(String::new());
        std::io::stdin().take(1024).read_to_string(&mut typed).context("cannot read the recovery code")?;
        typed
    };
    RecoveryCode::parse(&typed).ok_or_else(|| {
        with_hint(
            anyhow::anyhow!("this is no recovery code"),
            Some("it has 26 letters and digits, shown in groups of five; hyphens and capitals do not matter"),
        )
    })
}

fn move_master(args: &Move) -> anyhow::Result<()> {
    let (from, to) = (source(args.config.as_deref())?, source(Some(&args.to))?);
    let dir = DataDir::hold(&args.data, &from, &SystemDisk, &SystemRandom)
        .map_err(hinted(host::DataDirError::hint))?;
    // A ring would be made for a directory that an older version wrote, and that one could not read it any more.
    if dir.key_store().document().is_none() {
        return Err(with_hint(
            anyhow::anyhow!(
                "`{}` has no key ring yet: an older version of Godwit wrote it",
                args.data.display()
            ),
            Some("start it once with today's version, then move its master key"),
        ));
    }
    let now = SystemClock::start().now();
    let status = dir
        .key_store()
        .move_to(&to, now, &SystemDisk, &SystemRandom)
        .map_err(hinted(host::KeyError::hint))?;
    writeln!(
        std::io::stdout(),
        "The master key is {} now, in {}. Start the server with `--config {}`; what was used before opens nothing any more.",
        status.master,
        status.place,
        args.to.display()
    )?;
    Ok(())
}
