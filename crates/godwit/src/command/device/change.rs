//! `godwit device move, set, replace, remove, quarantine, release`: changes of one device.

use std::io::Write;

use reqwest::Method;
use serde_json::{Value, json};

use super::shown::Device;
use crate::fault::with_hint;
use crate::http::{ServerArgs, encoded};

/// What `--help` says behind the flags of `move`.
const MOVE_HELP: &str = "The placement that ends and the one that begins share one moment, so that readings can be asked for by place
(table `placements`). A new device in the place of a broken one is `godwit device replace`.

Examples:
  godwit device move pump-7 hq/floor-17/room-3
  godwit device move pump-7 --nowhere";

/// Arguments of `godwit device move`.
#[derive(Debug, clap::Args)]
#[command(after_help = MOVE_HELP)]
pub(crate) struct Move {
    /// Its name
    name: String,
    /// The group that becomes its home; made before by `godwit group add`
    #[arg(required_unless_present = "nowhere", conflicts_with = "nowhere")]
    group: Option<String>,
    /// It is in no group any more
    #[arg(long)]
    nowhere: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `--help` says behind the flags of `set`.
const SET_HELP: &str = "Examples:
  godwit device set pump-7 model=TX-2 'room=Pump room, north'
  godwit device set pump-7 model=                     # the attribute is there, and empty
  godwit device set pump-7 --remove model";

/// Arguments of `godwit device set`.
#[derive(Debug, clap::Args)]
#[command(after_help = SET_HELP)]
pub(crate) struct Set {
    /// Its name
    name: String,
    /// Attributes to set
    #[arg(value_name = "KEY=VALUE", required_unless_present = "remove")]
    set: Vec<String>,
    /// Attributes to take away
    #[arg(long, value_name = "KEY")]
    remove: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `--help` says behind the flags of `replace`.
const REPLACE_HELP: &str = "The new device takes the home, memberships and attributes of the old one; attributes that it has itself stay. The old
one is removed: its credentials stop, its readings stay. History by place is unbroken (table `placements`).

Examples:
  godwit device replace pump-7 pump-7b
  godwit device add pump-7b --password                 # if the new one has no way to prove itself yet";

/// Arguments of `godwit device replace`.
#[derive(Debug, clap::Args)]
#[command(after_help = REPLACE_HELP)]
pub(crate) struct Replace {
    /// The device that goes
    old: String,
    /// The device that comes; added if nobody knows it
    new: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `--help` says behind the flags of `remove`.
const REMOVE_HELP: &str = "Its credentials stop and its sessions are cut at once. Its readings and its placements stay, and its name: added
again it is the same device. A device that still speaks through somebody else is listed as `seen` again.

Example:
  godwit device remove pump-7";

/// Arguments of `godwit device remove`.
#[derive(Debug, clap::Args)]
#[command(after_help = REMOVE_HELP)]
pub(crate) struct Remove {
    /// Its name
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `--help` says behind the flags of `quarantine`.
const QUARANTINE_HELP: &str =
    "Its session is cut; it may come back, to its diagnosis topics only, until it is released.

Example:
  godwit device quarantine pump-7 'sends a thousand times what it used to'";

/// Arguments of `godwit device quarantine`.
#[derive(Debug, clap::Args)]
#[command(after_help = QUARANTINE_HELP)]
pub(crate) struct Quarantine {
    /// Its name
    name: String,
    /// Why, in a sentence; it is shown with the device
    reason: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `--help` says behind the flags of `clear`.
const CLEAR_HELP: &str = "Flags are `cloned_identity` (two hosts take turns with one identity) and `unusual_rate` (far more messages than usual).
What was seen is shown by `godwit device show`. What goes on is flagged again.

Example:
  godwit device clear pump-7";

/// Arguments of `godwit device clear`.
#[derive(Debug, clap::Args)]
#[command(after_help = CLEAR_HELP)]
pub(crate) struct Clear {
    /// Its name
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `godwit device release`.
#[derive(Debug, clap::Args)]
pub(crate) struct Release {
    /// Its name
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Asks for a change; the device as it is then.
async fn ask(
    server: &ServerArgs,
    method: Method,
    name: &str,
    rest: &str,
    body: Option<Value>,
) -> anyhow::Result<Device> {
    let path = format!("/api/v1/devices/{}{rest}", encoded(name));
    server.find()?.json(method, &path, body.as_ref()).await
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Moves a device.
pub(crate) async fn r#move(args: Move) -> anyhow::Result<()> {
    let body = json!({ "group": args.group });
    let device = ask(&args.server, Method::PATCH, &args.name, "", Some(body)).await?;
    match device.group {
        Some(group) => say(&format!("{} is in {group} from now on", device.name)),
        None => say(&format!("{} is in no group from now on", device.name)),
    }
}

/// Attributes as they are typed.
pub(super) fn attributes(pairs: &[String]) -> anyhow::Result<Value> {
    let mut attributes = json!({});
    for pair in pairs {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            with_hint(
                anyhow::anyhow!("`{pair}` is no attribute"),
                Some("write it as KEY=VALUE; `godwit device set NAME --remove KEY` takes one away"),
            )
        })?;
        attributes[key] = value.into();
    }
    Ok(attributes)
}

/// Sets and removes attributes.
pub(crate) async fn set(args: Set) -> anyhow::Result<()> {
    let mut attributes = attributes(&args.set)?;
    for key in &args.remove {
        attributes[key] = Value::Null;
    }
    let body = json!({ "attributes": attributes });
    let device = ask(&args.server, Method::PATCH, &args.name, "", Some(body)).await?;
    let said: Vec<String> = device.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let said = if said.is_empty() { "no attributes".to_owned() } else { said.join(" ") };
    say(&format!("{}: {said}", device.name))
}

/// Puts a device in the place of another.
pub(crate) async fn replace(args: Replace) -> anyhow::Result<()> {
    let body = json!({ "by": args.new });
    let device = ask(&args.server, Method::POST, &args.old, "/replace", Some(body)).await?;
    let group = device.group.map_or(String::new(), |group| format!(", in {group}"));
    say(&format!("{} takes the place of {}{group}; {} is removed", device.name, args.old, args.old))
}

/// Removes a device.
pub(crate) async fn remove(args: Remove) -> anyhow::Result<()> {
    let device = ask(&args.server, Method::DELETE, &args.name, "", None).await?;
    say(&format!("{} is removed; its readings stay", device.name))
}

/// Puts a device into quarantine.
pub(crate) async fn quarantine(args: Quarantine) -> anyhow::Result<()> {
    let body = json!({ "reason": args.reason });
    let device = ask(&args.server, Method::PUT, &args.name, "/quarantine", Some(body)).await?;
    say(&format!("{} is in quarantine", device.name))
}

#[derive(Debug, serde::Deserialize)]
struct Cleared {
    cleared: usize,
}

/// Clears flags.
pub(crate) async fn clear(args: Clear) -> anyhow::Result<()> {
    let path = format!("/api/v1/devices/{}/flags", encoded(&args.name));
    let Cleared { cleared } = args.server.find()?.json(Method::DELETE, &path, None).await?;
    say(&format!("{}: {cleared} flags cleared", args.name))
}

/// Ends a quarantine.
pub(crate) async fn release(args: Release) -> anyhow::Result<()> {
    let device = ask(&args.server, Method::DELETE, &args.name, "/quarantine", None).await?;
    say(&format!("{} is {} again", device.name, device.state))
}
