//! `godwit ca`: the certificate authority: what it is made of, what ends when, and where the root's private key is.
//!
//! The law: the passphrase stays in this process; what goes to the server is the key made of it.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use host::{Disk as _, SystemDisk, SystemRandom};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::archive::error::hex;
use crate::archive::form::Derivation;
use crate::archive::passphrase::{self, PassphraseArgs};
use crate::fault::with_hint;
use crate::http::ServerArgs;

/// What the file of a root key says of itself.
const FORMAT: &str = "godwit root key 1";
/// Far above what one takes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The forms of `godwit ca`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Show the root, the issuing authority and the server's certificate
    Show(Show),
    /// How many certificates of devices end, by week
    Expiry(Show),
    /// Write the root's private key to a file, under a passphrase
    ExportRoot(Export),
    /// Bring the root's private key back
    ImportRoot(Import),
}

/// Arguments of `show` and `expiry`.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    #[command(flatten)]
    server: ServerArgs,
}

const EXPORT_HELP: &str =
    "Devices trust the root. Without its private key on the machine, whoever takes the machine can make no
authority that they trust. Certificates are signed as before, by the issuing authority; in eight years, when
that one is to be followed by a new one, the key is needed for a moment: godwit ca import-root FILE.
Keep the file and the passphrase, and not in one place: without them devices must trust a new root.

Examples:
  godwit ca export-root --out root.key.json            # a copy; the key stays
  godwit ca export-root --out root.key.json --remove   # and is taken away here";

/// Arguments of `godwit ca export-root`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXPORT_HELP)]
pub(crate) struct Export {
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Take the key away from the server
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit ca import-root`.
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The file that `godwit ca export-root` wrote
    file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Authority {
    certificates: Vec<Certificate>,
    expired: u64,
    expiring_by_week: Vec<u64>,
}

#[derive(Debug, Deserialize)]
struct Certificate {
    name: String,
    id: String,
    not_after: String,
    key_is_here: bool,
}

#[derive(Debug, Deserialize)]
struct Exported {
    root: String,
    sealed: String,
}

#[derive(Debug, Deserialize)]
struct Imported {
    renewed: bool,
}

/// The file of a root key.
#[derive(Debug, Serialize, Deserialize)]
struct RootKey {
    format: String,
    /// SHA-256 of the root certificate.
    root: String,
    derivation: Derivation,
    sealed: String,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::Show(args) => show(args).await,
        Args::Expiry(args) => expiry(args).await,
        Args::ExportRoot(args) => export(args).await,
        Args::ImportRoot(args) => import(args).await,
    }
}

async fn show(args: Show) -> anyhow::Result<()> {
    let authority: Authority = args.server.find()?.json(Method::GET, "/api/v1/ca", None).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<8} {:<12} {:<28} certificate", "name", "key", "good until")?;
    for found in authority.certificates {
        let key = if found.key_is_here { "here" } else { "taken away" };
        writeln!(out, "{:<8} {key:<12} {:<28} {}", found.name, found.not_after, found.id)?;
    }
    Ok(())
}

async fn expiry(args: Show) -> anyhow::Result<()> {
    let authority: Authority = args.server.find()?.json(Method::GET, "/api/v1/ca", None).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<10} certificates of devices that end", "week")?;
    writeln!(out, "{:<10} {}", "over", authority.expired)?;
    for (week, count) in authority.expiring_by_week.iter().enumerate() {
        writeln!(out, "{:<10} {count}", week + 1)?;
    }
    Ok(())
}

async fn export(args: Export) -> anyhow::Result<()> {
    if SystemDisk.open(&args.out).is_ok() {
        return Err(with_hint(
            anyhow::anyhow!("`{}` is there already", args.out.display()),
            Some("move it away, or name another file with --out"),
        ));
    }
    let server = args.server.find()?;
    let derivation = passphrase::new_derivation(&SystemRandom);
    let key = passphrase::derive(&args.passphrase.new_one("the root's private key")?, &derivation)?;
    // First a copy that is on this disk, and only then away.
    let ask = |remove: bool| serde_json::json!({ "key": hex(&*key), "remove": remove });
    let path = "/api/v1/ca/root/export";
    let exported: Exported = server.json(Method::POST, path, Some(&ask(false))).await?;
    let Exported { root, sealed } = exported;
    let file = RootKey { format: FORMAT.to_owned(), root, derivation, sealed };
    let text = serde_json::to_vec_pretty(&file)?;
    SystemDisk.replace(&args.out, &text).with_context(|| format!("cannot write `{}`", args.out.display()))?;
    if args.remove {
        let _: Exported = server.json(Method::POST, path, Some(&ask(true))).await?;
    }
    let mut out = std::io::stdout().lock();
    let left = if args.remove { "taken away from the server" } else { "on the server still" };
    writeln!(out, "root key  {}    ({left})", args.out.display())?;
    Ok(())
}

async fn import(args: Import) -> anyhow::Result<()> {
    let shown = args.file.display();
    let bytes =
        SystemDisk.read(&args.file, FILE_BYTES_MAX).with_context(|| format!("cannot read `{shown}`"))?;
    let file: RootKey =
        serde_json::from_slice(&bytes).with_context(|| format!("`{shown}` is no file of a root key"))?;
    anyhow::ensure!(file.format == FORMAT, "`{shown}` is `{}`; it must be `{FORMAT}`", file.format);
    let server = args.server.find()?;
    let key = passphrase::derive(&args.passphrase.known_one(&format!("`{shown}`"))?, &file.derivation)?;
    let body = serde_json::json!({ "key": hex(&*key), "sealed": file.sealed });
    let imported: Imported = server.json(Method::POST, "/api/v1/ca/root/import", Some(&body)).await?;
    let mut out = std::io::stdout().lock();
    let renewed = if imported.renewed { "; certificates that waited for it were made" } else { "" };
    writeln!(out, "the root's private key is back{renewed}")?;
    Ok(())
}
