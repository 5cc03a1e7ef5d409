//! `godwit device certificate revoke|deactivate|activate`: whether a certificate may be used.

use std::io::Write;

use reqwest::Method;
use serde::Deserialize;

use crate::fault::with_hint;
use crate::http::{Server, ServerArgs, encoded};

/// What `--help` says behind the flags.
const HELP: &str = "A device's name stands for its certificate when it has just one that can be changed so.

Revoking a certificate revokes also those that its holder got by renewing it. Of one that has retired it must be said
whether they are to be revoked (it was stolen) or kept (tidying up behind a device that renews).

Examples:
  godwit device certificate revoke pump-1
  godwit device certificate revoke 3f1c… --followers keep
  godwit device certificate deactivate 3f1c…   # all 64 digits";

/// Arguments of the three.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The certificate: its 64 digits, or the name of its device
    #[arg(value_name = "ID|NAME")]
    which: String,
    /// With `revoke`: what becomes of certificates that were had by this one through renewal
    #[arg(long, value_name = "revoke|keep", value_parser = ["revoke", "keep"])]
    followers: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Page {
    certificates: Vec<Certificate>,
}

#[derive(Debug, Deserialize)]
struct Certificate {
    id: String,
    device: Option<String>,
    status: String,
}

#[derive(Debug, Deserialize)]
struct Changed {
    #[serde(flatten)]
    certificate: Certificate,
    revoked: Vec<String>,
    standing: Vec<String>,
}

/// Does what was asked.
pub(crate) async fn run(args: Args, status: &str) -> anyhow::Result<()> {
    let server = args.server.find()?;
    let id = match is_id(&args.which) {
        true => args.which.replace(':', "").to_ascii_lowercase(),
        false => only_one_of(&server, &args.which, status).await?,
    };
    let mut body = serde_json::json!({ "status": status });
    if let Some(followers) = &args.followers {
        body["followers"] = followers.as_str().into();
    }
    let path = format!("/api/v1/certificates/{}", encoded(&id));
    let Changed { certificate: changed, revoked, standing } =
        server.json(Method::PATCH, &path, Some(&body)).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "device       {}", changed.device.as_deref().unwrap_or("-"))?;
    writeln!(out, "certificate  {}    {}", changed.id, changed.status)?;
    for id in revoked {
        writeln!(out, "had by it     {id}    revoked")?;
    }
    for id in standing {
        writeln!(out, "had by it     {id}    not revoked")?;
    }
    Ok(())
}

fn is_id(text: &str) -> bool {
    let digits = text.replace(':', "");
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The one certificate of the device that can be changed so.
async fn only_one_of(server: &Server, name: &str, status: &str) -> anyhow::Result<String> {
    let path = format!("/api/v1/devices/{}/certificates?limit=1000", encoded(name));
    let page: Page = server.json(Method::GET, &path, None).await?;
    let can_change = |found: &Certificate| found.status != status && found.status != "revoked";
    let mut fitting = page.certificates.into_iter().filter(can_change);
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one.id),
        (None, _) => Err(with_hint(
            anyhow::anyhow!("device `{name}` has no certificate that could become {status}"),
            Some(format!("see: godwit device certificate list {name}")),
        )),
        (Some(_), Some(_)) => Err(with_hint(
            anyhow::anyhow!("device `{name}` has several certificates"),
            Some(format!("name one by its digits: godwit device certificate list {name}")),
        )),
    }
}
