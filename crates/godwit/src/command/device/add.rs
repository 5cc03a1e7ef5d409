//! `godwit device add`: adds a device and gives it a way to prove itself.

use std::io::Write;
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde::Deserialize;

use super::certificate::files::{KeyArgs, Made, make_dir, read_pem};
use crate::http::{Server, ServerArgs};

/// What `--help` says behind the flags.
const HELP: &str =
    "A certificate is the better way: its private key never has to leave the device (--csr), and nothing that could
be overheard is sent. With --out Godwit makes the key: NAME.cert.pem, NAME.key.pem (mode 0600) and ca.pem. A key or a
password is shown once and kept nowhere. A certificate made elsewhere, whoever signed it, is registered with --certificate;
with --out beside it ca.pem is written, by which the device knows this server.

With a certificate a device connects to port 8883, with a password (its name is the user name) to a listener with
passwords. It may publish below `dt/NAME/` and subscribe below `cmd/NAME/`.

Examples:
  godwit device add pump-1 --out pump-1
  mosquitto_pub -h HOST -p 8883 --cafile pump-1/ca.pem --cert pump-1/pump-1.cert.pem --key pump-1/pump-1.key.pem \\
    -q 1 -t dt/pump-1/state -m '{\"pressure\": 2.1}'
  godwit device add pump-2 --group hq/floor-17 --csr pump-2.csr --out .   # the key stays on the device
  godwit device add pump-3 --certificate pump-3.cert.pem                  # it has one from elsewhere
  godwit device add office-1 --password --group hq/floor-17 --attribute model=TX-2
  godwit device add office-1 --password --replace     # a new one; the old one stops working";

/// Arguments of `godwit device add`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP, group = clap::ArgGroup::new("way").required(true).multiple(true).args(["password", "out", "csr", "certificate"]))]
pub(crate) struct Args {
    /// Its name: letters, digits, `:`, `_` and `-`, at most 128
    name: String,
    /// Make a password for it and print it, once
    #[arg(long, conflicts_with_all = ["out", "csr", "certificate"])]
    password: bool,
    /// The device has a password already: make a new one, the old one stops working
    #[arg(long, requires = "password")]
    replace: bool,
    /// Where it is: a group that exists, such as hq/floor-17 (`godwit group add` makes one)
    #[arg(long, value_name = "PATH", conflicts_with = "replace")]
    group: Option<String>,
    /// What is said of it
    #[arg(long = "attribute", value_name = "KEY=VALUE", conflicts_with = "replace")]
    attributes: Vec<String>,
    /// Register this certificate, which was made elsewhere (PEM)
    #[arg(long, value_name = "FILE", conflicts_with = "csr")]
    certificate: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Deserialize)]
struct Added {
    name: String,
    password: String,
}

impl Args {
    /// Says where the device is, and what it is.
    fn describe(&self, body: &mut serde_json::Value) -> anyhow::Result<()> {
        body["group"] = self.group.clone().into();
        body["attributes"] = super::change::attributes(&self.attributes)?;
        Ok(())
    }
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let server = args.server.find()?;
    if args.password {
        let mut body = serde_json::json!({ "name": args.name, "password": true, "replace": args.replace });
        args.describe(&mut body)?;
        let added: Added = server.json(Method::POST, "/api/v1/devices", Some(&body)).await?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "device    {}", added.name)?;
        writeln!(out, "password  {}    (shown this once: store it on the device now)", added.password)?;
        return Ok(());
    }
    if let Some(file) = &args.certificate {
        return register(&args, file, &server).await;
    }
    // Whatever stands in the way of the files is found before anything is made.
    let place = args.key.prepare(&args.name)?;
    let mut body = place.request.clone();
    body["name"] = args.name.clone().into();
    body["certificate"] = true.into();
    args.describe(&mut body)?;
    let made: Made = server.json(Method::POST, "/api/v1/devices", Some(&body)).await?;
    place.write(&args.name, &made, &mut std::io::stdout().lock())
}

/// Adds the device with a certificate that it has.
async fn register(args: &Args, file: &Path, server: &Server) -> anyhow::Result<()> {
    let mut body = serde_json::json!({ "name": args.name, "certificate_pem": read_pem(file)? });
    args.describe(&mut body)?;
    if let Some(out) = &args.key.out {
        make_dir(out)?;
    }
    let made: Made = server.json(Method::POST, "/api/v1/devices", Some(&body)).await?;
    // The file first: who listens may have heard enough (`| head`).
    let mut told = Vec::new();
    made.say(&args.name, &mut told)?;
    args.key.out.as_ref().map_or(Ok(()), |out| made.write_trusted(out, &mut told))?;
    std::io::stdout().lock().write_all(&told)?;
    Ok(())
}
