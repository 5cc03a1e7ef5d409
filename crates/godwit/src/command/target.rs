//! Which MQTT server a command talks to, and as whom: the flags that `send`, `tail`, `replay` and `load` share.
//!
//! Low-level flags come in, a [`Target`] goes out. The law: a target that is found through a data directory is
//! found anew before each attempt to connect, for a server that was restarted has another token.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use client::{Client, Endpoint, EndpointError, Lookup, Machine, Messages, Options, Tls};
use host::{Disk as _, Random as _, SystemDisk, SystemRandom};
use serde::Deserialize;

use crate::fault::hinted;
use crate::server_file::{LOCAL_USER, ServerFile};

/// `FORMAT` of a data directory has three short fields.
const FORMAT_BYTES_MAX: u64 = 64 * 1024;

/// Largest PEM file that is read: a bundle of authorities, a chain.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// Where to connect and as whom.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct TargetArgs {
    /// Any MQTT server by its address, such as 192.168.1.10:1883 (plain TCP), or :8883 with --ca (TLS)
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "data")]
    to: Option<String>,
    /// Data directory of a server on this machine: its address and token are found there [default: the
    /// directory of `godwit serve`]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// User or device name; `godwit device add NAME --password` makes one
    #[arg(long, value_name = "NAME", env = "GODWIT_USER")]
    user: Option<String>,
    /// Password; better in the environment than on the command line, where others can see it
    #[arg(long, value_name = "PASSWORD", env = "GODWIT_PASSWORD", hide_env_values = true, requires = "user")]
    password: Option<String>,
    /// Speak TLS, trusting this authority: the `ca.pem` of the server's data directory
    #[arg(long, value_name = "FILE", requires = "to")]
    ca: Option<PathBuf>,
    /// Certificate of the device (PEM); `godwit device add NAME --out DIR` makes one
    #[arg(long, value_name = "FILE", requires_all = ["ca", "key"])]
    cert: Option<PathBuf>,
    /// Private key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// MQTT client id [default: a random one]
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Protocol version: 5 or 3.1.1
    #[arg(long, value_name = "VERSION", default_value = "5", value_parser = version)]
    mqtt: mqtt::Version,
}

/// The server that is meant.
#[derive(Clone)]
pub(crate) struct Target {
    lookup: Lookup,
    /// What progress is remembered under: survives a restart of the server, not a new data directory.
    pub(crate) identity: String,
    /// The data directory, when it is found through one.
    pub(crate) data: Option<PathBuf>,
}

impl TargetArgs {
    /// Finds the server that is meant: `--to`, else `--data`, else `GODWIT_DATA`, else where `serve` puts its data.
    pub(crate) fn find(&self) -> anyhow::Result<Target> {
        let username = self.user.clone().map(Into::into);
        let password = self.password.clone().map(Bytes::from);
        if let Some(address) = &self.to {
            let endpoint = Endpoint { address: address.clone(), username, password, tls: self.tls()? };
            let lookup: Lookup = Arc::new(move || Ok(endpoint.clone()));
            return Ok(Target { lookup, identity: address.clone(), data: None });
        }
        let from_environment = || std::env::var_os("GODWIT_DATA").map(PathBuf::from);
        let data = self.data.clone().or_else(from_environment).unwrap_or_else(crate::data::default_dir);
        // Once now, so that no server is an error at once and with its own hint.
        ServerFile::read(&data)?;
        let identity = data_identity(&data)?;
        let at = data.clone();
        let lookup: Lookup = Arc::new(move || {
            let find = || {
                let file = ServerFile::find(&SystemDisk, &at)?;
                let address = file.mqtt_address(&at)?;
                Ok::<_, crate::server_file::ServerFileError>((address, file.token))
            };
            let (address, token) = find().map_err(|error| EndpointError(error.to_string()))?;
            Ok(match &username {
                Some(name) => Endpoint {
                    username: Some(name.clone()),
                    password: password.clone(),
                    ..Endpoint::new(address)
                },
                None => {
                    let (username, password) = (Some(LOCAL_USER.into()), Some(Bytes::from(token)));
                    Endpoint { username, password, ..Endpoint::new(address) }
                }
            })
        });
        Ok(Target { lookup, identity, data: Some(data) })
    }

    /// TLS, as the files say.
    fn tls(&self) -> anyhow::Result<Option<Tls>> {
        let Some(ca) = &self.ca else { return Ok(None) };
        let read = |path: &PathBuf| {
            SystemDisk
                .read(path, PEM_BYTES_MAX)
                .map(zeroize::Zeroizing::new)
                .with_context(|| format!("cannot read `{}`", path.display()))
        };
        let ca = read(ca)?;
        let pair = match (&self.cert, &self.key) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            _ => None,
        };
        let pair = pair.as_ref().map(|(certificate, key)| (&***certificate, &***key));
        Ok(Some(Tls::new(&ca, pair)?))
    }

    /// How to connect to `target`; `what` is a part of the client id when none was given.
    pub(crate) fn options(&self, target: &Target, what: &str) -> Options {
        let client_id = match &self.client_id {
            Some(id) => id.clone(),
            None => format!("godwit-{what}-{:08x}", SystemRandom.number() >> 32),
        };
        Options {
            client_id: client_id.into(),
            version: self.mqtt,
            ..Options::looking_up(Arc::clone(&target.lookup))
        }
    }
}

/// Connects, with an error that says what to do.
pub(crate) async fn connect(options: Options) -> anyhow::Result<(Client, Messages)> {
    Client::connect(options, Machine::system()).await.map_err(hinted(client::ConnectError::hint))
}

/// The id in `FORMAT`: a data directory made anew has another.
fn data_identity(data: &Path) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Format {
        id: String,
    }
    let path = data.join("FORMAT");
    let text = SystemDisk
        .read(&path, FORMAT_BYTES_MAX)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    let format: Format =
        serde_json::from_slice(&text).with_context(|| format!("`{}` is malformed", path.display()))?;
    Ok(format.id)
}

fn version(text: &str) -> Result<mqtt::Version, String> {
    match text {
        "5" | "5.0" | "v5" => Ok(mqtt::Version::V5),
        "3.1.1" | "311" | "4" | "v311" => Ok(mqtt::Version::V311),
        _ => Err("it is 5 or 3.1.1".to_owned()),
    }
}

/// A time as people write it: `500ms`, `2s`, `5m`, `1h`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let seconds_per_unit = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err("write it as 500ms, 2s, 5m or 1h".to_owned()),
    };
    let number: f64 = number.trim().parse().map_err(|_| "write it as 500ms, 2s, 5m or 1h".to_owned())?;
    Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|error| error.to_string())
}

/// QoS 0, 1 or 2.
pub(crate) fn qos(text: &str) -> Result<model::Qos, String> {
    match text {
        "0" => Ok(model::Qos::AtMostOnce),
        "1" => Ok(model::Qos::AtLeastOnce),
        "2" => Ok(model::Qos::ExactlyOnce),
        _ => Err("it is 0, 1 or 2".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let check = |text: &str, ms: u64| assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        check("500ms", 500);
        check("2s", 2_000);
        check("0.5", 500);
        check("5m", 300_000);
        check("1h", 3_600_000);
        for malformed in ["", "s", "-1s", "1 fortnight", "1e400s", "NaN"] {
            assert!(duration(malformed).is_err(), "{malformed:?}");
        }
    }
}
