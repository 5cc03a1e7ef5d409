//! `godwit device export`: devices as CSV, as `godwit device import` reads them.

use std::collections::BTreeSet;

use super::shown::{Device, Which};
use crate::http::ServerArgs;

/// What `--help` says behind the flags.
const HELP: &str =
    "Columns: name, state, group, groups (memberships, with `;` between), password (yes or no, never which), and an
`attr.KEY` for each attribute that any of them has.

Example:
  godwit device export --group hq > devices.csv";

/// Arguments of `godwit device export`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    server: ServerArgs,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let server = args.server.find()?;
    let mut devices: Vec<Device> = Vec::new();
    let take = |page: Vec<serde_json::Value>| {
        for value in page {
            devices.push(serde_json::from_value(value)?);
        }
        Ok(())
    };
    args.which.pages(&server, take).await?;
    let keys: BTreeSet<&str> =
        devices.iter().flat_map(|device| device.attributes.keys().map(String::as_str)).collect();
    let mut out = csv::Writer::from_writer(std::io::stdout().lock());
    let fixed = ["name", "state", "group", "groups", "password"].map(str::to_owned);
    out.write_record(fixed.into_iter().chain(keys.iter().map(|key| format!("attr.{key}"))))?;
    for device in &devices {
        let groups = device.groups.join(";");
        let password = if device.password { "yes" } else { "no" };
        let fixed = [
            device.name.as_str(),
            &device.state,
            device.group.as_deref().unwrap_or_default(),
            &groups,
            password,
        ];
        let attributes = keys.iter().map(|key| device.attributes.get(*key).map_or("", String::as_str));
        out.write_record(fixed.into_iter().chain(attributes))?;
    }
    out.flush()?;
    Ok(())
}
