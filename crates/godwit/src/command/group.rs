//! `godwit group`: named sets of devices, nested by path.

use std::io::Write;

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use crate::http::{ServerArgs, encoded};

/// What `--help` says behind the flags.
const HELP: &str =
    "A device has one home group at a time (`godwit device move`) and may be a member of others. What a group may, and
what is asked of a group, holds for all groups below it: `hq` is in what is said of `hq/floor-17/room-3`.

Examples:
  godwit group add hq/floor-17/room-3        # and hq, and hq/floor-17, if they are not there
  godwit group list --within hq
  godwit group join trial/firmware-2 pump-7  # beside its home
  godwit device list --group hq/floor-17";

/// The forms of `godwit group`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = HELP)]
pub(crate) enum Args {
    /// Make a group, and what it is in
    Add(One),
    /// List groups by path, with how many devices are in each
    List(List),
    /// Show one group
    Show(One),
    /// Remove a group that nobody is in
    Remove(One),
    /// Make a device a member of a group, beside its home
    Join(Member),
    /// End the membership of a device
    Leave(Member),
}

/// A group.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Its path, such as hq/floor-17/room-3
    path: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit group list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only groups in this one, at any depth
    #[arg(long, value_name = "PATH")]
    within: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// A group and a device.
#[derive(Debug, clap::Args)]
pub(crate) struct Member {
    /// The group's path
    path: String,
    /// The device
    device: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Page {
    groups: Vec<serde_json::Value>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Group {
    path: String,
    created: String,
    devices: u64,
    members: u64,
}

#[derive(Debug, Deserialize)]
struct Made {
    groups: Vec<String>,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::Add(args) => add(args).await,
        Args::List(args) => list(args).await,
        Args::Show(args) => show(args).await,
        Args::Remove(args) => remove(args).await,
        Args::Join(args) => member(args, Method::PUT, "is a member of").await,
        Args::Leave(args) => member(args, Method::DELETE, "is no member any more of").await,
    }
}

async fn add(args: One) -> anyhow::Result<()> {
    let body = json!({ "path": args.path });
    let made: Made = args.server.find()?.json(Method::POST, "/api/v1/groups", Some(&body)).await?;
    let mut out = std::io::stdout().lock();
    made.groups.iter().try_for_each(|group| writeln!(out, "made {group}"))?;
    Ok(())
}

async fn list(args: List) -> anyhow::Result<()> {
    let server = args.server.find()?;
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let within = args.within.map_or(String::new(), |path| format!("&within={}", encoded(&path)));
    let mut after = String::new();
    loop {
        let path = format!("/api/v1/groups?limit=1000{within}&after={}", encoded(&after));
        let page: Page = server.json(Method::GET, &path, None).await?;
        if !args.json && after.is_empty() {
            writeln!(out, "{:<40} {:>8} {:>8}  created", "path", "devices", "members")?;
        }
        for value in page.groups {
            if args.json {
                writeln!(out, "{value}")?;
                continue;
            }
            let Group { path, created, devices, members } = serde_json::from_value(value)?;
            writeln!(out, "{path:<40} {devices:>8} {members:>8}  {created}")?;
        }
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    out.flush()?;
    Ok(())
}

async fn show(args: One) -> anyhow::Result<()> {
    let path = format!("/api/v1/groups/{}", args.path);
    let group: Group = args.server.find()?.json(Method::GET, &path, None).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "path      {}", group.path)?;
    writeln!(out, "created   {}", group.created)?;
    writeln!(out, "devices   {}    (godwit device list --group {})", group.devices, group.path)?;
    writeln!(out, "members   {}", group.members)?;
    Ok(())
}

async fn remove(args: One) -> anyhow::Result<()> {
    let path = format!("/api/v1/groups/{}", args.path);
    args.server.find()?.ask(Method::DELETE, &path, "application/json", None).await?;
    writeln!(std::io::stdout().lock(), "removed {}", args.path)?;
    Ok(())
}

async fn member(args: Member, method: Method, what: &str) -> anyhow::Result<()> {
    let path = format!("/api/v1/devices/{}/groups/{}", encoded(&args.device), args.path);
    args.server.find()?.ask(method, &path, "application/json", None).await?;
    writeln!(std::io::stdout().lock(), "{} {what} {}", args.device, args.path)?;
    Ok(())
}
