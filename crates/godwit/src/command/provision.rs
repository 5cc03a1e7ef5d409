//! `godwit provision`: templates by which devices get identities of their own, and claims that they are delivered with.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use host::{Disk, SystemDisk};
use reqwest::Method;
use serde::Deserialize;

use super::policy::read;
use crate::fault::with_hint;
use crate::http::{ServerArgs, encoded};

/// What `--help` says behind the flags.
const HELP: &str = r#"A device that is delivered with a claim asks over MQTT for a certificate of its own; the template says which device it
becomes. A claim may do nothing else. docs/provisioning.md goes through it step by step.

Examples:
  godwit provision template put pumps pumps.json
  godwit provision claim pumps --out claim --days 30 --devices 500
  godwit provision template list                   # how many devices each claim has made
  godwit device certificate revoke ID              # a claim that leaked"#;

/// The forms of `godwit provision`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = HELP)]
pub(crate) enum Args {
    /// Put, list, show or remove a template
    #[command(subcommand)]
    Template(Template),
    /// Make a certificate that devices are delivered with, good for provisioning alone
    Claim(Claim),
}

/// The forms of `godwit provision template`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Template {
    /// Put a template, in place of the one of this name
    Put {
        /// Its name: letters, digits, `_` and `-`, at most 36
        name: String,
        /// The template as JSON; `-` for standard input
        file: PathBuf,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List templates and their claims
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Print a template
    Show {
        /// The template
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove a template and revoke its claims
    Remove {
        /// The template
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Arguments of `godwit provision claim`.
#[derive(Debug, clap::Args)]
pub(crate) struct Claim {
    /// The template that its devices are provisioned by
    template: String,
    /// Write claim.cert.pem, claim.key.pem (mode 0600) and ca.pem to this directory; made when it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// For how many days it is good, at most 366
    #[arg(long, value_name = "N", default_value_t = 30)]
    days: u64,
    /// How many devices it makes, at most 100000
    #[arg(long, value_name = "N", default_value_t = 1000)]
    devices: u64,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Listed {
    templates: Vec<About>,
}

#[derive(Debug, Deserialize)]
struct About {
    name: String,
    version: u64,
    changed: String,
    claims: Vec<ClaimShown>,
}

#[derive(Debug, Deserialize)]
struct ClaimShown {
    certificate: String,
    status: String,
    not_after: String,
    devices: u64,
    devices_max: u64,
}

#[derive(Debug, Deserialize)]
struct Shown {
    body: String,
}

#[derive(Debug, Deserialize)]
struct Put {
    version: u64,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Removed {
    claims_revoked: u64,
}

#[derive(Debug, Deserialize)]
struct Made {
    id: String,
    not_after: String,
    certificate: String,
    private_key: String,
    ca: String,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::Template(form) => template(form).await,
        Args::Claim(args) => claim(args).await,
    }
}

fn path_of(name: &str) -> String {
    format!("/api/v1/provisioning-templates/{}", encoded(name))
}

async fn template(form: Template) -> anyhow::Result<()> {
    match form {
        Template::Put { name, file, server } => {
            let text = read(&file)?;
            let put: Put = server.find()?.put_text(&path_of(&name), text, &[]).await?;
            let mut out = std::io::stdout().lock();
            writeln!(out, "template {name}, version {}", put.version)?;
            for warning in put.warnings {
                writeln!(out, "warning  {warning}")?;
            }
        }
        Template::List { server } => {
            let listed: Listed =
                server.find()?.json(Method::GET, "/api/v1/provisioning-templates", None).await?;
            let mut out = std::io::stdout().lock();
            for About { name, version, changed, claims } in listed.templates {
                writeln!(out, "{name}    version {version}, put {changed}")?;
                for ClaimShown { certificate, status, not_after, devices, devices_max } in claims {
                    writeln!(
                        out,
                        "  claim {certificate}    {status}, {devices} of {devices_max} devices, good until {not_after}"
                    )?;
                }
            }
        }
        Template::Show { name, server } => {
            let shown: Shown = server.find()?.json(Method::GET, &path_of(&name), None).await?;
            writeln!(std::io::stdout().lock(), "{}", shown.body.trim_end())?;
        }
        Template::Remove { name, server } => {
            let removed: Removed = server.find()?.json(Method::DELETE, &path_of(&name), None).await?;
            let claims = removed.claims_revoked;
            writeln!(std::io::stdout().lock(), "template {name} is removed, {claims} claims are revoked")?;
        }
    }
    Ok(())
}

async fn claim(args: Claim) -> anyhow::Result<()> {
    let out = args.out.as_path();
    SystemDisk.create_dir(out).with_context(|| format!("cannot make directory `{}`", out.display()))?;
    let files = ["claim.key.pem", "claim.cert.pem", "ca.pem"].map(|name| out.join(name));
    // Whatever stands in the way is found before anything is made on the server.
    if let Some(there) = files[..2].iter().find(|file| SystemDisk.open(file).is_ok()) {
        return Err(with_hint(
            anyhow::anyhow!("`{}` is there already", there.display()),
            Some("move it away, or name another directory with --out"),
        ));
    }
    let body = serde_json::json!({ "days": args.days, "devices": args.devices });
    let path = format!("{}/claims", path_of(&args.template));
    let made: Made = args.server.find()?.json(Method::POST, &path, Some(&body)).await?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "claim        {}    good until {}", made.id, made.not_after)?;
    writeln!(stdout, "template     {}, {} devices at most", args.template, args.devices)?;
    for (file, text) in files.iter().zip([&made.private_key, &made.certificate, &made.ca]) {
        write(file, text, &made.id)?;
        writeln!(stdout, "             {}", file.display())?;
    }
    Ok(())
}

/// Writes a file of a claim, with mode 0600.
fn write(path: &Path, text: &str, id: &str) -> anyhow::Result<()> {
    SystemDisk.replace(path, text.as_bytes()).map_err(|error| {
        let lost = format!("the claim is of no use without it. Run: godwit device certificate revoke {id}");
        with_hint(anyhow::Error::new(error).context(format!("cannot write `{}`", path.display())), Some(lost))
    })
}
