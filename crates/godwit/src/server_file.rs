//! `<data>/server.json`: where the server of a data directory listens, and the token of its local user.
//!
//! Written by `serve` (mode 0600: who may read it may do what the local user may), read by the commands that are
//! given `--data`. The law: a file whose process is gone is as good as none.

use std::io;
use std::path::{Path, PathBuf};

use host::{Disk, SystemDisk};
use serde::{Deserialize, Serialize};

use crate::fault::with_hint;

/// The user that the token of `server.json` belongs to.
pub(crate) const LOCAL_USER: &str = "local";

const NAME: &str = "server.json";
/// Far above what a hundred listeners take.
const BYTES_MAX: u64 = 64 * 1024;
/// A line of `/proc/PID/stat` has some 50 numbers and a name of at most 16 bytes.
const STAT_BYTES_MAX: u64 = 4 * 1024;

/// What `serve` tells the commands on its own machine.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerFile {
    /// The server's process.
    pub(crate) pid: u32,
    /// Addresses of the MQTT listeners without TLS.
    pub(crate) mqtt: Vec<String>,
    /// Every MQTT listener as a URL: `mqtt`, `mqtts`, `ws` or `wss`.
    #[serde(default)]
    pub(crate) listeners: Vec<String>,
    /// Address of the HTTP API.
    pub(crate) http: String,
    /// Address for PostgreSQL clients, if they are served.
    #[serde(default)]
    pub(crate) postgres: Option<String>,
    /// Password of the user `local`, by MQTT, HTTP and SQL clients. Made anew at every start.
    pub(crate) token: String,
}

/// Why a data directory leads to no server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerFileError {
    /// There is no file.
    #[error("no server runs on data directory `{}`", data.display())]
    Absent { data: PathBuf },
    /// There is one, and its process is gone.
    #[error("the server of data directory `{}` is gone (it was pid {pid})", data.display())]
    Gone { data: PathBuf, pid: u32 },
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("`{}` is malformed", path.display())]
    Malformed {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// The server has no MQTT listener.
    #[error("the server of data directory `{}` has no plain MQTT listener", data.display())]
    NoMqtt { data: PathBuf },
}

impl ServerFileError {
    /// What the reader can do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Absent { data } | Self::Gone { data, .. } => format!(
                "start it with `godwit serve --data {}`, or name another server with --to HOST:PORT",
                data.display()
            ),
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "it holds the server's token: run this as the user that runs the server, or use --to HOST:PORT \
                 with --user and --password"
                    .to_owned()
            }
            Self::Malformed { .. } => "restart the server: it writes the file anew".to_owned(),
            Self::NoMqtt { .. } => "add a [[listener]] with door = \"mqtt\" to its settings".to_owned(),
            Self::Unreadable { .. } => return None,
        })
    }
}

impl ServerFile {
    /// Reads the file of the data directory `data`, of a server that runs. The error says what to do.
    pub(crate) fn read(data: &Path) -> anyhow::Result<Self> {
        Self::find(&SystemDisk, data).map_err(|error| {
            let hint = error.hint();
            with_hint(error, hint)
        })
    }

    /// As [`Self::read`], from a given disk and with an error that can be told apart.
    pub(crate) fn find(disk: &dyn Disk, data: &Path) -> Result<Self, ServerFileError> {
        let path = data.join(NAME);
        let text = match disk.read(&path, BYTES_MAX) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(ServerFileError::Absent { data: data.to_owned() });
            }
            Err(source) => return Err(ServerFileError::Unreadable { path, source }),
        };
        let file: Self =
            serde_json::from_slice(&text).map_err(|source| ServerFileError::Malformed { path, source })?;
        if is_gone(disk, file.pid) {
            return Err(ServerFileError::Gone { data: data.to_owned(), pid: file.pid });
        }
        Ok(file)
    }

    /// Where MQTT clients of this machine connect.
    pub(crate) fn mqtt_address(&self, data: &Path) -> Result<String, ServerFileError> {
        let first = self.mqtt.first().ok_or_else(|| ServerFileError::NoMqtt { data: data.to_owned() })?;
        Ok(reachable(first))
    }

    /// Puts the file in place, mode 0600.
    #[cfg_attr(not(feature = "platform"), allow(dead_code, reason = "only `serve` writes it"))]
    pub(crate) fn write(&self, disk: &dyn Disk, data: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).expect("five fields become JSON");
        disk.replace(&data.join(NAME), &text)
    }

    /// Takes the file away: the server stops.
    #[cfg_attr(not(feature = "platform"), allow(dead_code, reason = "only `serve` removes it"))]
    pub(crate) fn remove(disk: &dyn Disk, data: &Path) -> io::Result<()> {
        disk.remove(&data.join(NAME))
    }
}

/// A listener on every address is reached on the loopback one.
fn reachable(address: &str) -> String {
    match address.rsplit_once(':') {
        Some(("0.0.0.0", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => address.to_owned(),
    }
}

/// Whether no process has this id. Where there is no `/proc` nobody knows, and connecting will tell.
fn is_gone(disk: &dyn Disk, pid: u32) -> bool {
    let there = |who: &str| disk.read(Path::new(&format!("/proc/{who}/stat")), STAT_BYTES_MAX);
    there("self").is_ok()
        && there(&pid.to_string()).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(pid: u32) -> ServerFile {
        let mqtt = vec!["0.0.0.0:1883".to_owned()];
        ServerFile {
            pid,
            mqtt,
            listeners: Vec::new(),
            http: "127.0.0.1:8080".to_owned(),
            postgres: None,
            token: "t".to_owned(),
        }
    }

    #[test]
    fn what_serve_writes_the_commands_read() {
        let data = tempfile::tempdir().expect("a directory");
        let written = file(std::process::id());
        written.write(&SystemDisk, data.path()).expect("written");
        let read = ServerFile::find(&SystemDisk, data.path()).expect("read");
        assert!(read == written);
        assert_eq!(read.mqtt_address(data.path()).expect("an address"), "127.0.0.1:1883");
        ServerFile::remove(&SystemDisk, data.path()).expect("removed");
        assert!(matches!(ServerFile::find(&SystemDisk, data.path()), Err(ServerFileError::Absent { .. })));
    }

    #[test]
    fn no_server_is_an_error_that_says_so() {
        let data = tempfile::tempdir().expect("a directory");
        let absent = ServerFile::find(&SystemDisk, &data.path().join("d")).err().expect("absent");
        assert!(absent.to_string().starts_with("no server runs on data directory"), "{absent}");
        assert!(absent.hint().is_some_and(|hint| hint.contains("godwit serve --data")));
        // No process id is above 2^22 on Linux.
        file(u32::MAX).write(&SystemDisk, data.path()).expect("written");
        let gone = ServerFile::find(&SystemDisk, data.path()).err().expect("gone");
        assert!(matches!(gone, ServerFileError::Gone { pid: u32::MAX, .. }), "{gone}");
        SystemDisk.replace(&data.path().join(NAME), b"{}").expect("written");
        let malformed = ServerFile::find(&SystemDisk, data.path()).err().expect("malformed");
        assert!(matches!(malformed, ServerFileError::Malformed { .. }), "{malformed}");
    }
}
